//! Connections of clients' own: who shares one, who does not, how many there may be, and what ends them.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, Weak},
    time::Duration,
};

use serde_json::{Value, json};
use sluice_api::{ApiId, BrokerConfig, from_value};
use sluice_broker::{BrokerDriver, DriverError, Log, LogOptions};
use sluice_gateway::{BrokerState, DriverFactory};
use sluice_message::Topic;
use tempfile::TempDir;

use crate::support::{Running, api, serving_by};

/// A log for each user of a Kafka cluster, as if nobody saw what others have.
#[derive(Clone, Default)]
struct Users(Arc<Known>);

#[derive(Default)]
struct Known {
    directory: Mutex<Option<TempDir>>,
    logs: Mutex<BTreeMap<String, Log>>,
    /// Every driver that was opened, by user.
    opened: Mutex<Vec<(String, Weak<Log>)>>,
}

impl DriverFactory for Users {
    fn open(&self, config: &BrokerConfig) -> Result<Arc<dyn BrokerDriver>, DriverError> {
        let BrokerConfig::Kafka(kafka) = config else { panic!("{config:?}") };
        let sasl = kafka.security.as_ref().unwrap().sasl.as_ref().unwrap();
        let (user, password) = sasl.credentials().unwrap();
        let name = format!("{user}-{}", password.expose());
        let log = Arc::new(self.log(&name));
        self.0.opened.lock().unwrap().push((name, Arc::downgrade(&log)));
        Ok(log)
    }
}

impl Users {
    fn log(&self, name: &str) -> Log {
        let mut logs = self.0.logs.lock().unwrap();
        let known = logs.entry(name.to_owned()).or_insert_with(|| {
            let mut directory = self.0.directory.lock().unwrap();
            let directory = directory.get_or_insert_with(|| tempfile::tempdir().unwrap());
            Log::open(directory.path().join(name), LogOptions::default()).unwrap()
        });
        known.clone()
    }

    /// The users whose drivers were opened, in order.
    fn opened(&self) -> Vec<String> {
        self.0.opened.lock().unwrap().iter().map(|(name, _)| name.clone()).collect()
    }

    /// The users whose drivers somebody holds.
    fn open(&self) -> Vec<String> {
        let opened = self.0.opened.lock().unwrap();
        opened.iter().filter(|(_, log)| log.strong_count() > 0).map(|(name, _)| name.clone()).collect()
    }

    /// How many messages a user has.
    async fn count(&self, name: &str) -> u64 {
        let bounds = self.log(name).bounds(&[Topic::from("t")]).await.unwrap();
        bounds.values().map(|held| held.end.0).sum()
    }
}

/// An API whose clients say who they are.
fn by_user(more: &Value) -> Value {
    let mut made = api(
        json!([{ "type": "http-post" }, { "type": "sse", "qos": "at-least-once" }]),
        json!({ "type": "kafka", "configuration": {
            "bootstrapServers": "k:9092", "topics": ["t"],
            "security": { "protocol": "SASL_PLAINTEXT", "sasl": { "saslMechanism": "PLAIN",
                "username": "{#request.headers['user']?.[0]}", "password": "fixed" } },
        } }),
    );
    made.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    made
}

async fn serving(more: &Value) -> (Running, Users) {
    let users = Users::default();
    (serving_by(Box::new(users.clone()), by_user(more)).await, users)
}

/// What a client of the stream gets.
struct Events(reqwest::Response);

impl Events {
    /// A stream that has begun.
    async fn of(running: &Running, user: &str) -> Self {
        let request = reqwest::Client::new().get(running.url("")).header("accept", "text/event-stream");
        let response = request.header("user", user).send().await.unwrap();
        assert_eq!(response.status(), 200);
        Self(response)
    }

    /// Waits for a message with this content.
    async fn message(&mut self, content: &str) {
        let mut read = String::new();
        while !read.contains(&format!("data: {content}\n")) {
            read.push_str(std::str::from_utf8(&self.0.chunk().await.unwrap().unwrap()).unwrap());
        }
    }
}

async fn post(running: &Running, user: &str) -> (u16, String) {
    let request = reqwest::Client::new().post(running.url("")).header("user", user).body("x");
    let response = request.send().await.unwrap();
    (response.status().as_u16(), response.text().await.unwrap())
}

#[tokio::test]
async fn each_client_publishes_and_reads_as_who_it_is() {
    let (running, users) = serving(&json!({})).await;
    assert_eq!(users.opened(), [""; 0], "nobody connects without a client");
    for user in ["one", "two", "one"] {
        assert_eq!(post(&running, user).await.0, 202);
    }
    assert_eq!((users.count("one-fixed").await, users.count("two-fixed").await), (2, 1));
    assert_eq!(users.opened(), ["one-fixed", "two-fixed"], "the same values share a connection");
    let mut stream = Events::of(&running, "two").await;
    assert_eq!(post(&running, "one").await.0, 202);
    assert_eq!(post(&running, "two").await.0, 202);
    stream.message("x").await;
    assert_eq!(users.count("two-fixed").await, 2, "and what the other one published was not shown");
    drop(stream);
    running.stop().await;
}

#[tokio::test]
async fn what_one_client_has_published_is_not_held_against_another() {
    let (running, users) = serving(&json!({})).await;
    for user in ["one", "two", "two"] {
        let request = reqwest::Client::new().post(running.url("")).header("user", user).body("x");
        let response = request.header("idempotency-key", "1").send().await.unwrap();
        assert_eq!(response.status(), 202);
    }
    assert_eq!((users.count("one-fixed").await, users.count("two-fixed").await), (1, 1));
    running.stop().await;
}

#[tokio::test]
async fn a_client_without_the_value_is_refused_and_told() {
    let (running, users) = serving(&json!({})).await;
    let response = reqwest::Client::new().post(running.url("")).body("x").send().await.unwrap();
    assert_eq!(response.status(), 500);
    let text = response.text().await.unwrap();
    assert!(text.contains("Invalid configuration") && text.contains("security.sasl.username"), "{text}");
    assert!(running.gateway.metrics_text().contains("sluice_misled_total{api=\"a\"} 1"));
    assert_eq!(users.opened(), [""; 0]);
    running.stop().await;
}

#[tokio::test]
async fn nobody_asks_such_a_broker_how_it_is_doing() {
    let (running, _) = serving(&json!({})).await;
    let status = running.gateway.broker_status(&ApiId("a".to_owned()));
    assert!(matches!(status[0].state, BrokerState::OfClients), "{status:?}");
    assert!(!running.gateway.metrics_text().contains("sluice_broker_up{"));
    running.stop().await;
}

#[tokio::test]
async fn there_are_no_more_connections_than_the_limit_says() {
    let (running, users) = serving(&json!({ "limits": { "clientConnections": 2 } })).await;
    let _streams = (Events::of(&running, "one").await, Events::of(&running, "two").await);
    let (status, text) = post(&running, "three").await;
    assert_eq!(status, 503, "{text}");
    assert_eq!(users.open(), ["one-fixed", "two-fixed"]);
    assert_eq!(post(&running, "two").await.0, 202, "who has one may go on");
    running.metric("sluice_client_connections{api=\"a\"} 2").await;
    drop(_streams);
    running.stop().await;
}

#[tokio::test]
async fn streams_go_on_when_the_api_is_deployed_anew() {
    let (running, users) = serving(&json!({})).await;
    let mut stream = Events::of(&running, "one").await;
    running.gateway.deploy(from_value(by_user(&json!({ "description": "New." }))).unwrap()).unwrap();
    assert_eq!(post(&running, "one").await.0, 202);
    stream.message("x").await;
    assert_eq!(users.opened(), ["one-fixed"]);
    drop(stream);
    running.stop().await;
}

#[tokio::test]
async fn connections_that_no_client_uses_are_closed_after_a_while() {
    let (running, users) = serving(&json!({})).await;
    assert_eq!(post(&running, "one").await.0, 202);
    let mut stream = Events::of(&running, "two").await;
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(61)).await;
    running.metric("sluice_client_connections{api=\"a\"} 1").await;
    tokio::time::resume();
    assert_eq!(users.open(), ["two-fixed"]);
    assert_eq!(post(&running, "two").await.0, 202);
    stream.message("x").await;
    drop(stream);
    running.stop().await;
}

#[tokio::test]
async fn a_connection_outlives_its_last_stream_for_a_while() {
    let (running, users) = serving(&json!({})).await;
    let stream = Events::of(&running, "one").await;
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(120)).await;
    drop(stream);
    running.metric("sluice_open_streams{api=\"a\"} 0").await;
    tokio::time::advance(Duration::from_secs(20)).await;
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    tokio::time::resume();
    assert_eq!(post(&running, "one").await.0, 202);
    assert_eq!(users.opened(), ["one-fixed"]);
    running.stop().await;
}

#[tokio::test]
async fn what_no_client_chooses_any_more_is_let_go() {
    let (running, users) = serving(&json!({})).await;
    let mut stream = Events::of(&running, "one").await;
    let mut common = by_user(&json!({}));
    common["brokers"][0]["configuration"]["security"]["sasl"]["username"] = "common".into();
    running.gateway.deploy(from_value(common).unwrap()).unwrap();
    while stream.0.chunk().await.unwrap().is_some() {}
    assert_eq!(post(&running, "one").await.0, 202);
    assert_eq!((users.count("one-fixed").await, users.count("common-fixed").await), (0, 1));
    running.stop().await;
    assert_eq!(users.open(), [""; 0]);
}

#[tokio::test]
async fn what_cannot_be_kept_apart_is_refused_when_the_api_is_deployed() {
    let (running, _) = serving(&json!({})).await;
    let problems = |more: &Value| {
        let problems = running.gateway.check(&from_value(by_user(more)).unwrap());
        problems.into_iter().map(|problem| problem.path).collect::<Vec<_>>()
    };
    assert_eq!(problems(&json!({})), [""; 0]);
    assert_eq!(problems(&json!({ "guarantees": { "spool": {} } })), ["guarantees.spool"]);
    let webhook = json!([{ "type": "webhook" }]);
    assert_eq!(problems(&json!({ "receivers": webhook })), ["receivers[0].type"]);
    let mqtt = json!([{ "name": "b", "type": "mqtt5", "configuration": {
        "serverHost": "h", "serverPort": 1, "topic": "t",
        "security": { "auth": { "username": "{#request.headers['user'][0]}" } },
    } }]);
    assert_eq!(problems(&json!({ "brokers": mqtt })), ["brokers[0].configuration"]);
    let broken = json!([{ "name": "b", "type": "kafka", "configuration": {
        "bootstrapServers": "k:1", "topics": ["t"],
        "security": { "protocol": "SASL_PLAINTEXT", "sasl": { "saslMechanism": "PLAIN",
            "username": "{#request.headers['user'][0]}" } },
    } }]);
    let found = problems(&json!({ "brokers": broken }));
    assert!(found.iter().all(|path| path.starts_with("brokers[0].configuration.security")), "{found:?}");
    assert_eq!(found.len(), 1, "what is wrong beside the client's values is told before any client comes");
    running.stop().await;
}
