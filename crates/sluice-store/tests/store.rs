//! What the store promises, on a real file.

#![allow(clippy::unwrap_used, reason = "a test may stop at the first thing that is not as it says")]

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use serde_json::json;
use sluice_api::{ApiId, EventApi, MASK, PlanId, SubscriptionId};
use sluice_store::{
    ApiRecord, ApplicationId, ApplicationRecord, Catalogue, ConsumerStatus, PlanRecord, Store, StoreError,
    SubscriptionRecord, SubscriptionStatus, Timestamp,
};
use sqlx::{ConnectOptions, Connection, sqlite::SqliteConnectOptions};

const PASSWORD: &str = "correct-horse-battery";

fn api(id: &str) -> EventApi {
    let document = json!({
        "id": id,
        "name": "Orders",
        "paths": [{"path": "/orders"}],
        "receivers": [{"type": "http-post"}, {"type": "sse", "qos": "none"}],
        "brokers": [{
            "name": "main",
            "type": "kafka",
            "configuration": {
                "bootstrapServers": "kafka:9092",
                "topics": ["orders"],
                "security": {
                    "protocol": "SASL_SSL",
                    "sasl": {"saslMechanism": "PLAIN", "username": "u", "password": PASSWORD}
                }
            }
        }],
        "flows": [{"name": "f", "deliver": [{"policy": "message-filtering", "configuration": {"filter": "x"}}]}]
    });
    EventApi::from_document(document).unwrap()
}

fn record(id: &str) -> ApiRecord {
    let mut draft = api(id);
    draft.name = "Orders, edited".to_owned();
    let plan = json!({"id": "open", "name": "Open", "security": {"type": "key-less"}});
    let plan = PlanRecord {
        plan: sluice_api::from_value(plan).unwrap(),
        catalogue: catalogue("characteristics"),
        created_at: Timestamp(3),
        updated_at: Timestamp(4),
        published_at: Some(Timestamp(4)),
        closed_at: None,
    };
    ApiRecord {
        draft,
        deployed: Some(api(id)),
        plans: vec![plan],
        started: true,
        catalogue: catalogue("labels"),
        created_at: Timestamp(1),
        updated_at: Timestamp(7),
        deployed_at: Some(Timestamp(5)),
    }
}

fn catalogue(name: &str) -> Catalogue {
    Catalogue::from_iter([(name.to_owned(), json!(["a"]))])
}

async fn open(directory: &Path) -> Store {
    Store::open(directory).await.unwrap()
}

async fn refused(directory: &Path) -> StoreError {
    Store::open(directory).await.err().unwrap()
}

/// Runs SQL on the database behind the store's back; the store must be closed.
async fn tamper(directory: &Path, sql: &'static str) {
    let options = SqliteConnectOptions::new().filename(directory.join("sluice.db"));
    let mut connection = options.connect().await.unwrap();
    sqlx::raw_sql(sql).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
}

#[tokio::test]
async fn records_survive_a_restart_as_they_were() {
    let directory = tempfile::tempdir().unwrap();
    let (kept, application) = (
        record("orders"),
        ApplicationRecord {
            id: ApplicationId("app".to_owned()),
            name: "App".to_owned(),
            description: "An application".to_owned(),
            client_id: Some("client".to_owned()),
            catalogue: catalogue("settings"),
            created_at: Timestamp(1),
            updated_at: Timestamp(2),
            archived_at: Some(Timestamp(3)),
        },
    );
    {
        let store = open(directory.path()).await;
        store.save_api(&kept).await.unwrap();
        store.save_application(&application).await.unwrap();
    }
    let store = open(directory.path()).await;
    let (id, read) = store.apis().await.unwrap().remove(0);
    assert_eq!((id, read.unwrap()), (kept.draft.id.clone(), kept));
    assert_eq!(store.applications().await.unwrap(), [application]);
}

#[tokio::test]
async fn saving_again_replaces_and_deleting_forgets() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).await;
    let mut kept = record("orders");
    store.save_api(&kept).await.unwrap();
    kept.plans.clear();
    kept.deployed = None;
    kept.started = false;
    store.save_api(&kept).await.unwrap();
    assert_eq!(store.apis().await.unwrap().remove(0).1.unwrap(), kept);
    store.delete_api(kept.id()).await.unwrap();
    assert!(store.apis().await.unwrap().is_empty());
}

#[tokio::test]
async fn no_secret_is_readable_in_the_data_directory() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).await;
    store.save_api(&record("orders")).await.unwrap();
    store.save_subscriptions([&subscription("one", "orders")]).await.unwrap();
    let holds = |bytes: &[u8], text: &str| bytes.windows(text.len()).any(|part| part == text.as_bytes());
    let mut masked = false;
    for entry in fs::read_dir(directory.path()).unwrap() {
        let bytes = fs::read(entry.unwrap().path()).unwrap();
        assert!(!holds(&bytes, PASSWORD));
        masked |= holds(&bytes, MASK);
    }
    assert!(masked, "the definition itself is there");
}

fn subscription(id: &str, api: &str) -> SubscriptionRecord {
    let consumer = json!({
        "connector": "webhook", "channel": null,
        "callback": {"callbackUrl": "https://a.example/", "headers": [{"name": "X-Key", "value": PASSWORD}]}
    });
    SubscriptionRecord {
        id: SubscriptionId(id.to_owned()),
        api: ApiId(api.to_owned()),
        plan: PlanId("push".to_owned()),
        application: ApplicationId("app".to_owned()),
        consumer: sluice_api::from_value(consumer).unwrap(),
        metadata: [("feature".to_owned(), "demo".to_owned())].into(),
        status: SubscriptionStatus::Paused,
        consumer_status: ConsumerStatus::Failure,
        failure_cause: Some("410 Gone".to_owned()),
        consumer_message: Some("please".to_owned()),
        publisher_message: None,
        subscribed_by: "admin".to_owned(),
        processed_by: Some("admin".to_owned()),
        processed_at: Some(Timestamp(2)),
        created_at: Timestamp(1),
        updated_at: Timestamp(3),
        starting_at: Some(Timestamp(2)),
        ending_at: None,
        closed_at: None,
        paused_at: Some(Timestamp(3)),
        consumer_paused_at: None,
    }
}

#[tokio::test]
async fn subscriptions_survive_a_restart_and_go_with_their_api() {
    let directory = tempfile::tempdir().unwrap();
    let (one, two) = (subscription("one", "orders"), subscription("two", "others"));
    {
        let store = open(directory.path()).await;
        store.save_subscriptions([&one, &two]).await.unwrap();
        store.save_subscriptions([&one]).await.unwrap();
        // Keeping an API anew is not the end of it.
        store.save_api(&record("orders")).await.unwrap();
        store.save_api(&record("orders")).await.unwrap();
    }
    let store = open(directory.path()).await;
    let mut kept: Vec<_> = store.subscriptions().await.unwrap().map(|it| it.1.unwrap()).collect();
    kept.sort_by_key(|record| record.id.clone());
    assert_eq!(kept, [one, two.clone()]);
    store.delete_api(&ApiId("orders".to_owned())).await.unwrap();
    let left = store.subscriptions().await.unwrap();
    assert_eq!(left.map(|it| it.1.unwrap()).collect::<Vec<_>>(), [two]);
}

#[tokio::test]
async fn one_unreadable_subscription_hides_no_other() {
    let directory = tempfile::tempdir().unwrap();
    {
        let store = open(directory.path()).await;
        store.save_subscriptions([&subscription("good", "a"), &subscription("bad", "a")]).await.unwrap();
    }
    let moved = "UPDATE subscription_secrets SET sealed = (SELECT sealed FROM subscription_secrets
                 WHERE subscription = 'good') WHERE subscription = 'bad'";
    tamper(directory.path(), moved).await;
    let store = open(directory.path()).await;
    for (id, read) in store.subscriptions().await.unwrap() {
        assert_eq!(read.is_ok(), id.0 == "good");
    }
}

#[tokio::test]
async fn a_key_that_others_may_read_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    drop(open(directory.path()).await);
    let key = directory.path().join("secret.key");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    let error = refused(directory.path()).await.to_string();
    assert!(error.contains(key.to_str().unwrap()) && error.contains("mode 0644"), "{error}");
}

#[tokio::test]
async fn a_database_of_a_newer_version_is_refused_by_name() {
    let directory = tempfile::tempdir().unwrap();
    drop(open(directory.path()).await);
    tamper(directory.path(), "PRAGMA user_version = 99").await;
    let error = refused(directory.path()).await;
    assert!(matches!(error, StoreError::Newer { found: 99, .. }), "{error}");
    assert!(error.to_string().contains("sluice.db"), "{error}");
}

#[tokio::test]
async fn a_second_process_is_refused_while_the_first_runs() {
    let directory = tempfile::tempdir().unwrap();
    let _first = open(directory.path()).await;
    let error = refused(directory.path()).await;
    assert!(matches!(error, StoreError::InUse { .. }), "{error}");
}

#[tokio::test]
async fn a_file_that_is_no_database_is_refused_by_name() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("sluice.db"), "this is no database, whatever it is called").unwrap();
    let error = refused(directory.path()).await;
    assert!(error.to_string().contains("sluice.db"), "{error}");
}

#[tokio::test]
async fn one_unreadable_record_hides_no_other() {
    let directory = tempfile::tempdir().unwrap();
    {
        let store = open(directory.path()).await;
        store.save_api(&record("good")).await.unwrap();
        store.save_api(&record("bad")).await.unwrap();
    }
    tamper(directory.path(), "UPDATE secrets SET sealed = x'00' WHERE api = 'bad'").await;
    let store = open(directory.path()).await;
    for (id, read) in store.apis().await.unwrap() {
        assert_eq!(read.is_ok(), id.0 == "good");
    }
}

#[tokio::test]
async fn a_lost_key_is_told_and_not_replaced() {
    let directory = tempfile::tempdir().unwrap();
    {
        open(directory.path()).await.save_api(&record("orders")).await.unwrap();
    }
    fs::remove_file(directory.path().join("secret.key")).unwrap();
    let error = refused(directory.path()).await.to_string();
    assert!(error.contains("secret.key is missing"), "{error}");
}
