//! What the store promises, on a real file.

#![allow(clippy::unwrap_used, reason = "a test may stop at the first thing that is not as it says")]

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use serde_json::json;
use sluice_api::{ApiId, EventApi, HubSignature, HubTerms, MASK, PlanId, Secret, SubscriptionId};
use sluice_store::{
    ApiKeyRecord, ApiKeySource, ApiKeyStatus, ApiRecord, ApplicationId, ApplicationRecord, Catalogue,
    ConsumerStatus, FormerSecret, HubBeginning, HubMode, HubRequestRecord, PlanRecord, Store, StoreError,
    SubscriptionRecord, SubscriptionStatus, Timestamp, WebhookSecretRecord,
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
    store.save_subscriptions([&at_hub("one", "orders")]).await.unwrap();
    store.save_webhook_secret(&webhook_secret("orders", "github")).await.unwrap();
    store.save_hub_request(&hub_request("r", "orders")).await.unwrap();
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

/// One that was made at a hub.
fn at_hub(id: &str, api: &str) -> SubscriptionRecord {
    let mut record = subscription(id, api);
    record.consumer.hub = Some(terms());
    record
}

fn terms() -> HubTerms {
    HubTerms {
        topic: "https://news.example/orders".to_owned(),
        hub_url: "https://news.example/hub".to_owned(),
        self_url: "https://news.example/orders".to_owned(),
        lease_seconds: 60,
        secret: Some(Secret::new(PASSWORD)),
        signature: HubSignature::Sha512,
    }
}

fn hub_request(id: &str, api: &str) -> HubRequestRecord {
    let begins = HubBeginning { broker: "log".to_owned(), position: "orders@0#41".to_owned() };
    HubRequestRecord {
        id: id.to_owned(),
        api: ApiId(api.to_owned()),
        channel: "paid".to_owned(),
        plan: PlanId("open".to_owned()),
        mode: HubMode::Subscribe,
        callback: "https://a.example/in".to_owned(),
        terms: terms(),
        metadata: [("who".to_owned(), "me".to_owned())].into(),
        begins: Some(begins),
        received_at: Timestamp(5),
    }
}

fn api_key(api: &str, name: &str) -> ApiKeyRecord {
    ApiKeyRecord {
        api: ApiId(api.to_owned()),
        name: name.to_owned(),
        hash: [7; 32],
        masked: "apip_********beef".to_owned(),
        status: ApiKeyStatus::Revoked,
        expires_at: Some(Timestamp(9)),
        source: ApiKeySource::External,
        external_ref: Some("ref".to_owned()),
        issuer: Some("portal".to_owned()),
        roles: vec!["reader".to_owned()],
        created_by: "admin".to_owned(),
        created_at: Timestamp(1),
        updated_at: Timestamp(2),
    }
}

fn webhook_secret(api: &str, name: &str) -> WebhookSecretRecord {
    WebhookSecretRecord {
        api: ApiId(api.to_owned()),
        name: name.to_owned(),
        display_name: "GitHub".to_owned(),
        value: Secret::new(format!("{PASSWORD}-new")),
        former: Some(FormerSecret { value: Secret::new(PASSWORD), until: Timestamp(3) }),
        created_at: Timestamp(1),
        updated_at: Timestamp(2),
    }
}

/// What is kept of these, without those that cannot be read.
fn readable<T>(records: Vec<Result<T, StoreError>>) -> Vec<T> {
    records.into_iter().filter_map(Result::ok).collect()
}

#[tokio::test]
async fn keys_secrets_and_requests_survive_a_restart_and_go_with_their_api() {
    let directory = tempfile::tempdir().unwrap();
    let (key, other_key) = (api_key("orders", "a"), api_key("others", "a"));
    let (secret, other_secret) = (webhook_secret("orders", "a"), webhook_secret("others", "a"));
    let (request, other_request) = (hub_request("r1", "orders"), hub_request("r2", "others"));
    {
        let store = open(directory.path()).await;
        for key in [&key, &other_key] {
            store.save_api_key(key, &[]).await.unwrap();
        }
        for secret in [&secret, &other_secret] {
            store.save_webhook_secret(secret).await.unwrap();
        }
        for request in [&request, &other_request] {
            store.save_hub_request(request).await.unwrap();
        }
    }
    let store = open(directory.path()).await;
    assert_eq!(readable(store.api_keys().await.unwrap()), [key, other_key.clone()]);
    assert_eq!(readable(store.webhook_secrets().await.unwrap()), [secret, other_secret.clone()]);
    assert_eq!(readable(store.hub_requests().await.unwrap()), [request, other_request.clone()]);
    store.delete_api(&ApiId("orders".to_owned())).await.unwrap();
    assert_eq!(readable(store.api_keys().await.unwrap()), [other_key]);
    assert_eq!(readable(store.webhook_secrets().await.unwrap()), [other_secret]);
    assert_eq!(readable(store.hub_requests().await.unwrap()), [other_request]);
}

#[tokio::test]
async fn a_key_is_kept_and_others_forgotten_in_one_go() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).await;
    for name in ["a", "b", "c"] {
        store.save_api_key(&api_key("orders", name), &[]).await.unwrap();
    }
    store.save_api_key(&api_key("orders", "d"), &["a".to_owned(), "b".to_owned()]).await.unwrap();
    let names: Vec<_> = readable(store.api_keys().await.unwrap()).into_iter().map(|key| key.name).collect();
    assert_eq!(names, ["c", "d"]);
}

#[tokio::test]
async fn a_secret_that_is_deleted_or_has_no_former_is_read_so() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).await;
    let kept = WebhookSecretRecord { former: None, ..webhook_secret("orders", "a") };
    store.save_webhook_secret(&webhook_secret("orders", "a")).await.unwrap();
    store.save_webhook_secret(&kept).await.unwrap();
    store.save_webhook_secret(&webhook_secret("orders", "b")).await.unwrap();
    store.delete_webhook_secret(&kept.api, "b").await.unwrap();
    assert_eq!(readable(store.webhook_secrets().await.unwrap()), [kept]);
}

#[tokio::test]
async fn a_request_is_settled_with_what_comes_of_it_or_not_at_all() {
    let directory = tempfile::tempdir().unwrap();
    {
        let store = open(directory.path()).await;
        store.save_hub_request(&hub_request("r1", "orders")).await.unwrap();
        store.save_hub_request(&hub_request("r2", "orders")).await.unwrap();
        store.save_subscriptions([&at_hub("old", "orders")]).await.unwrap();
        let forgotten = [SubscriptionId("old".to_owned())];
        store.settle_hub_requests(&["r1"], &[at_hub("r1", "orders")], &forgotten).await.unwrap();
    }
    let full =
        "CREATE TRIGGER full BEFORE INSERT ON subscriptions BEGIN SELECT RAISE(ABORT, 'disk full'); END";
    tamper(directory.path(), full).await;
    let store = open(directory.path()).await;
    store.settle_hub_requests(&["r2"], &[at_hub("r2", "orders")], &[]).await.unwrap_err();
    assert_eq!(readable(store.hub_requests().await.unwrap()), [hub_request("r2", "orders")]);
    let kept: Vec<_> = store.subscriptions().await.unwrap().map(|it| it.1.unwrap()).collect();
    assert_eq!(kept, [at_hub("r1", "orders")]);
    store.settle_hub_requests(&["r2"], &[], &[]).await.unwrap();
    assert!(store.hub_requests().await.unwrap().is_empty());
}

#[tokio::test]
async fn thousands_of_requests_are_read_in_the_order_in_which_they_came() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).await;
    let requests: Vec<_> =
        (0..2500).rev().map(|number| hub_request(&format!("r{number}"), "orders")).collect();
    let saved = futures_util::future::try_join_all(requests.iter().map(|it| store.save_hub_request(it)));
    saved.await.unwrap();
    assert!(readable(store.hub_requests().await.unwrap()) == requests);
}

#[tokio::test]
async fn of_requests_that_come_at_once_one_that_cannot_be_kept_hinders_no_other() {
    let directory = tempfile::tempdir().unwrap();
    drop(open(directory.path()).await);
    let refusing = "CREATE TRIGGER no BEFORE INSERT ON hub_requests WHEN NEW.id = 'r2'
                    BEGIN SELECT RAISE(ABORT, 'not this one'); END";
    tamper(directory.path(), refusing).await;
    let store = open(directory.path()).await;
    let requests = ["r1", "r2", "r3"].map(|id| hub_request(id, "orders"));
    let saved = futures_util::future::join_all(requests.iter().map(|it| store.save_hub_request(it))).await;
    assert_eq!(saved.iter().map(Result::is_ok).collect::<Vec<_>>(), [true, false, true]);
    let kept = readable(store.hub_requests().await.unwrap());
    assert_eq!(kept.iter().map(|it| it.id.as_str()).collect::<Vec<_>>(), ["r1", "r3"]);
}

#[tokio::test]
async fn one_unreadable_key_secret_or_request_hides_no_other() {
    let directory = tempfile::tempdir().unwrap();
    {
        let store = open(directory.path()).await;
        for name in ["good", "bad"] {
            store.save_api_key(&api_key("orders", name), &[]).await.unwrap();
            store.save_webhook_secret(&webhook_secret("orders", name)).await.unwrap();
            store.save_hub_request(&hub_request(name, "orders")).await.unwrap();
        }
    }
    let spoiled = "UPDATE api_keys SET record = '{}' WHERE name = 'bad';
                   UPDATE webhook_secrets SET value = (SELECT value FROM webhook_secrets WHERE name = 'good')
                   WHERE name = 'bad';
                   UPDATE hub_requests SET secret = (SELECT secret FROM hub_requests WHERE id = 'good')
                   WHERE id = 'bad'";
    tamper(directory.path(), spoiled).await;
    let store = open(directory.path()).await;
    let names = |errors: Vec<StoreError>| errors.iter().map(ToString::to_string).collect::<String>();
    let keys = store.api_keys().await.unwrap();
    assert_eq!(keys.iter().filter(|key| key.is_ok()).count(), 1);
    assert!(names(keys.into_iter().filter_map(Result::err).collect()).contains("API key bad of orders"));
    assert_eq!(readable(store.webhook_secrets().await.unwrap()), [webhook_secret("orders", "good")]);
    assert_eq!(readable(store.hub_requests().await.unwrap()), [hub_request("good", "orders")]);
}

#[tokio::test]
async fn subscriptions_survive_a_restart_and_go_with_their_api() {
    let directory = tempfile::tempdir().unwrap();
    let (one, two) = (at_hub("one", "orders"), subscription("two", "others"));
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
