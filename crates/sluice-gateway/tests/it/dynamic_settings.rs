//! Expressions in the settings of a broker, over connections: topics and keys for each client and message, and what
//! is worked out when an API is deployed.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use serde_json::{Value, json};
use sluice_api::{BrokerConfig, EventApi, Format, from_value, parse_document};
use sluice_broker::{BrokerDriver, DriverError, Mock};
use sluice_gateway::{DriverFactory, Gateway, GatewayOptions};
use sluice_policy::Environment;
use sluice_stream::{MemoryNotes, MemoryPositions};

use crate::support::{Running, api, serving};

const BY_REGION: &str = "orders-{#request.headers['x-region'][0]}";

/// Posts and streams by region, of which there are two; each order has its customer for a key.
fn by_region() -> Value {
    let broker = json!({ "type": "log", "configuration": {
        "topics": ["orders-eu", "orders-us"],
        "producer": { "topics": [BY_REGION], "key": "{#jsonPath(#message.content, '$.customer')}" },
        "consumer": { "topics": [BY_REGION] },
    }});
    let get =
        json!({ "messagesLimitCount": 1, "messagesLimitDurationMs": 20_000, "metadataInPayload": true });
    api(
        json!([{ "type": "http-post" }, { "type": "sse" }, { "type": "http-get", "configuration": get }]),
        broker,
    )
}

async fn ask(running: &Running, accept: &str, region: &str) -> reqwest::Response {
    let request = reqwest::Client::new().get(running.url("")).header("Accept", accept);
    request.header("X-Region", region).send().await.unwrap()
}

async fn post(running: &Running, region: &str, order: &str) -> reqwest::Response {
    let request = reqwest::Client::new().post(running.url("")).header("X-Region", region);
    request.body(order.to_owned()).send().await.unwrap()
}

#[tokio::test]
async fn each_client_has_the_topic_of_its_region_and_each_message_its_key() {
    let running = serving(by_region()).await;
    let mut stream = ask(&running, "text/event-stream", "eu").await;
    let mut polled = ask(&running, "application/json", "us").await;
    assert_eq!(polled.chunk().await.unwrap().unwrap(), "{\"items\":[");
    for (region, order) in [("us", r#"{"customer":"c1"}"#), ("eu", r#"{"customer":"c2"}"#)] {
        assert_eq!(post(&running, region, order).await.status(), 202);
    }
    let mut read = String::new();
    while !read.contains("data: ") {
        read.push_str(std::str::from_utf8(&stream.chunk().await.unwrap().unwrap()).unwrap());
    }
    assert!(read.contains("c2") && !read.contains("c1"), "{read}");
    let polled = polled.text().await.unwrap();
    assert!(polled.contains(r#""key":"c1""#) && polled.contains(r#""topic":"orders-us""#), "{polled}");
    drop(stream);
    running.stop().await;
}

#[tokio::test]
async fn a_topic_that_the_api_may_not_have_is_500_and_counted() {
    let running = serving(by_region()).await;
    let not_ours = post(&running, "asia", r#"{"customer":"c"}"#).await;
    assert_eq!(not_ours.status(), 500);
    let told: Value = not_ours.json().await.unwrap();
    assert_eq!(told["code"], "endpoint.expression.invalid");
    assert!(told["message"].as_str().unwrap().starts_with("Invalid configuration: "), "{told}");
    assert_eq!(post(&running, "eu", "no JSON to find a key in").await.status(), 500);
    assert_eq!(ask(&running, "text/event-stream", "../eu").await.status(), 500);
    assert_eq!(ask(&running, "application/json", "asia").await.status(), 500);
    running.metric("sluice_misled_total{api=\"a\"} 4").await;
    running.metric("sluice_publish_failures_total{api=\"a\"} 2").await;
    assert_eq!(post(&running, "eu", r#"{"customer":"c"}"#).await.status(), 202);
    running.stop().await;
}

#[tokio::test]
async fn the_example_can_be_deployed() {
    let example = include_str!("../../../../examples/orders-by-region.yaml");
    let example = EventApi::from_document(parse_document(example, Format::Yaml).unwrap()).unwrap();
    let gateway = gateway(Recorder::default());
    assert_eq!(gateway.check(&example), []);
    gateway.shut_down().await;
}

/// Remembers what it was to connect to.
#[derive(Clone, Default)]
struct Recorder(Arc<Mutex<Vec<BrokerConfig>>>);

impl DriverFactory for Recorder {
    fn open(&self, config: &BrokerConfig) -> Result<Arc<dyn BrokerDriver>, DriverError> {
        self.0.lock().unwrap().push(config.clone());
        let mock = from_value(json!({ "messageInterval": 1000, "messageContent": "x" })).unwrap();
        Ok(Arc::new(Mock::new(mock)))
    }
}

/// On a Kafka whose address is a property and whose password is a secret of the gateway.
fn on_kafka(host: &str) -> EventApi {
    let broker = json!({ "type": "kafka", "configuration": {
        "bootstrapServers": "{#properties['host']}:9092",
        "topics": ["{#dictionaries['stages']['topic']}"],
        "security": { "protocol": "SASL_PLAINTEXT", "sasl": {
            "saslMechanism": "PLAIN", "username": "me", "password": "{#secrets.get('kafka')}" } },
    }});
    let mut api = api(json!([{ "type": "sse" }]), broker);
    api["properties"] = json!([{ "key": "host", "value": host }]);
    from_value(api).unwrap()
}

fn gateway(factory: Recorder) -> Gateway {
    let texts = |name: &str, text: &str| BTreeMap::from([(name.to_owned(), text.to_owned())]);
    let environment = Arc::new(Environment {
        secrets: texts("kafka", "hunter2"),
        dictionaries: BTreeMap::from([("stages".to_owned(), texts("topic", "orders-test"))]),
        ..Environment::default()
    });
    Gateway::new(
        GatewayOptions { environment, ..GatewayOptions::default() },
        Box::new(factory),
        Arc::new(MemoryPositions::default()),
        Arc::new(MemoryNotes::default()),
    )
}

#[tokio::test]
async fn a_connection_is_made_with_properties_and_secrets_and_anew_only_when_they_change() {
    let factory = Recorder::default();
    let gateway = gateway(factory.clone());
    gateway.deploy(on_kafka("one")).unwrap();
    gateway.deploy(on_kafka("one")).unwrap();
    gateway.deploy(on_kafka("other")).unwrap();
    let opened = factory.0.lock().unwrap().clone();
    let seen: Vec<_> = opened
        .iter()
        .map(|config| {
            let BrokerConfig::Kafka(kafka) = config else { panic!("{config:?}") };
            let sasl = kafka.security.as_ref().unwrap().sasl.as_ref().unwrap();
            (&*kafka.bootstrap_servers, &*kafka.topics[0], sasl.password.as_ref().unwrap().expose())
        })
        .collect();
    assert_eq!(seen, [("one:9092", "orders-test", "hunter2"), ("other:9092", "orders-test", "hunter2")]);
    gateway.shut_down().await;
}

#[tokio::test]
async fn a_value_that_breaks_a_rule_of_its_setting_keeps_the_api_from_being_deployed() {
    let gateway = gateway(Recorder::default());
    let path = |api: &EventApi| {
        let problems = gateway.check(api);
        problems.into_iter().map(|problem| problem.path).collect::<Vec<_>>()
    };
    assert!(path(&on_kafka("one")).is_empty());
    let of = |setting: &str| format!("brokers[0].configuration.{setting}");
    assert_eq!(path(&on_kafka("")), [of("bootstrapServers")], "it has no value");
    assert_eq!(path(&on_kafka("no host")), [of("bootstrapServers")], "it breaks a rule");
    gateway.shut_down().await;
}
