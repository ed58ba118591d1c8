//! Promises of the registry itself.

use std::time::Duration;

use serde_json::json;
use sluice_api::{BrokerConfig, EventApi, MASK, Qos, Secret};
use sluice_gateway::{GatewayOptions, ListenOptions, Listeners};
use sluice_management::{Expected, Registry, RegistryError};
use sluice_store::{Catalogue, Store};
use sqlx::{ConnectOptions, Connection, sqlite::SqliteConnectOptions};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::support::{api, gateway, registry, registry_of};

async fn create(registry: &Registry, api: EventApi) -> Result<EventApi, RegistryError> {
    registry.create(api, Catalogue::new()).await.map(|api| api.record.draft.clone())
}

fn with_password(path: &str, password: &str) -> EventApi {
    let mut api = api("secret", path);
    let broker = json!({"type": "kafka", "configuration": {
        "bootstrapServers": "kafka:9092", "topics": ["t"], "security": {
            "protocol": "SASL_SSL",
            "sasl": {"saslMechanism": "PLAIN", "username": "u", "password": password}
        }
    }});
    api.brokers = vec![sluice_api::from_value(broker).unwrap()];
    api
}

#[tokio::test]
async fn of_two_that_want_a_path_at_once_one_gets_it() {
    let directory = tempfile::tempdir().unwrap();
    let registry = registry(directory.path()).await;
    let wishes = (0..8).map(|number| {
        let registry = registry.clone();
        tokio::spawn(async move { create(&registry, api(&format!("api-{number}"), "/contested")).await })
    });
    let wishes: Vec<_> = wishes.collect();
    let mut granted = 0;
    for wish in wishes {
        match wish.await.unwrap() {
            Ok(_) => granted += 1,
            Err(RegistryError::Invalid(problems)) => {
                assert_eq!(problems[0].code, "api.listener.paths.path.exists");
            }
            Err(other) => panic!("{other}"),
        }
    }
    assert_eq!((granted, registry.list().len()), (1, 1));
}

#[tokio::test]
async fn what_ran_runs_again_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    {
        let registry = registry(directory.path()).await;
        for (name, path) in [("running", "/a"), ("waiting", "/b")] {
            create(&registry, api(name, path)).await.unwrap();
        }
        let id = api("running", "/a").id;
        registry.start(&id, Expected::Any).await.unwrap();
        let draft = api("running", "/moved");
        registry.update(&id, Expected::Any, draft, Catalogue::new()).await.unwrap();
    }
    let registry = registry(directory.path()).await;
    let apis = registry.list();
    assert_eq!(apis.iter().map(|api| api.record.started).collect::<Vec<_>>(), [true, false]);
    let running = &apis[0].record;
    assert_eq!(running.deployed.as_ref().unwrap().paths[0].path, "/a");
    assert_eq!((running.draft.paths[0].path.as_str(), running.plans.len()), ("/moved", 1));
    // Both the path that runs and the one that is to come are taken.
    for path in ["/a", "/moved"] {
        assert!(matches!(create(&registry, api("new", path)).await, Err(RegistryError::Invalid(_))));
    }
}

#[tokio::test]
async fn an_api_that_no_longer_compiles_is_shown_and_stops_no_other() {
    let directory = tempfile::tempdir().unwrap();
    {
        let registry = registry(directory.path()).await;
        for (name, path) in [("bad", "/bad"), ("good", "/good")] {
            let id = create(&registry, api(name, path)).await.unwrap().id;
            registry.start(&id, Expected::Any).await.unwrap();
        }
    }
    {
        let store = Store::open(directory.path()).await.unwrap();
        let (_, record) = store.apis().await.unwrap().remove(0);
        let mut record = record.unwrap();
        record.deployed.as_mut().unwrap().limits.max_body_bytes = 0;
        store.save_api(&record).await.unwrap();
    }
    let registry = registry(directory.path()).await;
    let bad = registry.get(&api("bad", "/bad").id).unwrap();
    assert_eq!(bad.faults[0].code, "limits.range");
    assert!(registry.get(&api("good", "/good").id).unwrap().faults.is_empty());
    // Deploying the draft, which is fine, mends it.
    let mended = registry.deploy(bad.record.id(), Expected::Any).await.unwrap();
    assert!(mended.faults.is_empty() && mended.settled);
}

#[tokio::test]
async fn a_promise_that_only_the_broker_can_not_keep_is_deployed_and_answered_at_each_request() {
    let directory = tempfile::tempdir().unwrap();
    let registry = registry(directory.path()).await;
    let mut api = api("mocked", "/mocked");
    api.receivers[0].qos = Qos::AtLeastOnce;
    let mock = json!({"type": "mock", "configuration": {"messageInterval": 1, "messageContent": "x"}});
    api.brokers = vec![sluice_api::from_value(mock).unwrap()];
    assert_eq!(api.unkept_promises()[0].code, "listeners.entrypoints.qos.unsupported");
    let id = create(&registry, api).await.unwrap().id;
    assert!(registry.start(&id, Expected::Any).await.unwrap().settled);
}

#[tokio::test]
async fn a_masked_secret_keeps_its_value() {
    let directory = tempfile::tempdir().unwrap();
    let registry = registry(directory.path()).await;
    let id = create(&registry, with_password("/a", "hunter2")).await.unwrap().id;
    let update = async |password: &str| {
        let draft = with_password("/b", password);
        let changed = registry.update(&id, Expected::Any, draft, Catalogue::new()).await;
        changed.map(|api| api.record.draft.clone().secrets_mut()[0].1.clone())
    };
    assert_eq!(update(MASK).await.unwrap(), Secret::new("hunter2"));
    assert_eq!(update("new").await.unwrap(), Secret::new("new"));
    assert_eq!(update(MASK).await.unwrap(), Secret::new("new"));
}

#[tokio::test]
async fn a_masked_secret_does_not_follow_to_another_address() {
    let directory = tempfile::tempdir().unwrap();
    let registry = registry(directory.path()).await;
    let id = create(&registry, with_password("/a", "hunter2")).await.unwrap().id;
    let mut draft = with_password("/a", MASK);
    let BrokerConfig::Kafka(kafka) = &mut draft.brokers[0].configuration else { panic!("another broker") };
    kafka.bootstrap_servers = "elsewhere:9092".to_owned();
    let Err(RegistryError::Invalid(problems)) =
        registry.update(&id, Expected::Any, draft, Catalogue::new()).await
    else {
        panic!("the secret was given to another address");
    };
    assert_eq!(problems[0].code, "secret.masked");
}

#[tokio::test]
async fn a_mask_without_a_secret_behind_it_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let registry = registry(directory.path()).await;
    let Err(RegistryError::Invalid(problems)) = create(&registry, with_password("/a", MASK)).await else {
        panic!("the mask was taken for a secret");
    };
    assert_eq!(problems[0].code, "secret.masked");
    assert_eq!(problems[0].path, "brokers[0].configuration.security.sasl.password");
}

#[tokio::test]
async fn a_refused_change_leaves_everything_as_it_was() {
    let directory = tempfile::tempdir().unwrap();
    let registry = registry(directory.path()).await;
    let id = create(&registry, api("one", "/one")).await.unwrap().id;
    create(&registry, api("two", "/two")).await.unwrap();
    let before = registry.start(&id, Expected::Any).await.unwrap();
    let taken = registry.update(&id, Expected::Any, api("one", "/two"), Catalogue::new()).await;
    assert!(matches!(taken, Err(RegistryError::Invalid(_))));
    assert_eq!(registry.get(&id).unwrap().record, before.record);
}

#[tokio::test]
async fn what_can_not_be_kept_changes_nothing_that_runs() {
    let directory = tempfile::tempdir().unwrap();
    let id = api("one", "/one").id;
    {
        let registry = registry(directory.path()).await;
        create(&registry, api("one", "/one")).await.unwrap();
        registry.start(&id, Expected::Any).await.unwrap();
    }
    let options = SqliteConnectOptions::new().filename(directory.path().join("sluice.db"));
    let mut connection = options.connect().await.unwrap();
    let full = "CREATE TRIGGER full BEFORE INSERT ON apis BEGIN SELECT RAISE(ABORT, 'disk full'); END";
    sqlx::raw_sql(full).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();

    let registry = registry(directory.path()).await;
    let stopped = registry.stop(&id, Expected::Any).await;
    assert!(matches!(&stopped, Err(RegistryError::Store(error)) if error.to_string().contains("disk full")));
    assert!(matches!(create(&registry, api("two", "/two")).await, Err(RegistryError::Store(_))));
    let apis = registry.list();
    assert_eq!((apis.len(), apis[0].record.started), (1, true));
}

#[tokio::test]
async fn a_client_that_never_finishes_holds_up_no_change() {
    let never = Duration::MAX;
    let gateway =
        gateway(GatewayOptions { body_timeout: never, drain_timeout: never, ..GatewayOptions::default() });
    let directory = tempfile::tempdir().unwrap();
    let registry = registry_of(directory.path(), &gateway).await;
    let id = create(&registry, api("a", "/a")).await.unwrap().id;
    registry.start(&id, Expected::Any).await.unwrap();
    registry.sync_files(vec![("b".into(), Ok(api("b", "/b")))]).await.unwrap();

    let listeners = Listeners::new(ListenOptions::default());
    let (socket, address) = Listeners::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    listeners.serve(socket, move |request, client| {
        let gateway = gateway.clone();
        async move { gateway.serve(request, client).await }
    });
    let mut stuck = Vec::new();
    for path in ["/a", "/b"] {
        let mut client = TcpStream::connect(address).await.unwrap();
        let head =
            format!("POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\nExpect: 100-continue\r\n\r\n");
        client.write_all(head.as_bytes()).await.unwrap();
        // The answer comes when the body is waited for.
        let mut answer = [0; 12];
        client.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"HTTP/1.1 100");
        stuck.push(client);
    }

    registry.stop(&id, Expected::Any).await.unwrap();
    registry.start(&id, Expected::Any).await.unwrap();
    registry.stop(&id, Expected::Any).await.unwrap();
    registry.delete(&id, Expected::Any, true).await.unwrap();
    registry.sync_files(Vec::new()).await.unwrap();
    assert!(registry.list().is_empty());
}
