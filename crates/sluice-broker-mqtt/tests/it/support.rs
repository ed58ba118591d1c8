//! What the tests share: how to reach a broker, topics that nobody else uses, one step of publishing or reading.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, SystemTime},
};

use serde_json::{Value, json};
use sluice_api::MqttConfig;
use sluice_broker::{BatchLimit, BrokerDriver, ConsumeSpec, Consumer, DriverError, StartAt, StopAt};
use sluice_broker_mqtt::{Mqtt, MqttOptions};
use sluice_message::{Message, Position, Topic};
use tokio::time::timeout;

/// Far more than any step needs, so that only one that hangs meets it.
const STEP: Duration = Duration::from_secs(60);

pub(crate) fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| {
        panic!(
            "{name} is not set. These tests need real brokers: run them with `cargo xtask test`, or start them with \
             `cargo xtask broker mosquitto` and `cargo xtask broker artemis` and export the variables that they print."
        )
    })
}

/// Settings of a broker at this address (`host:port`), with these on top.
pub(crate) fn settings(address: &str, more: Value) -> MqttConfig {
    let (host, port) = address.rsplit_once(':').expect("an address has a port");
    let mut all = json!({"serverHost": host, "serverPort": port});
    let (Some(all_of), Value::Object(more)) = (all.as_object_mut(), more) else {
        panic!("settings are an object")
    };
    all_of.extend(more);
    serde_json::from_value(all).expect("settings that are known")
}

/// Settings of the Mosquitto that stands behind this variable.
pub(crate) fn at(name: &str, more: Value) -> MqttConfig {
    settings(&variable(name), more)
}

pub(crate) fn open(config: &MqttConfig) -> Mqtt {
    Mqtt::open(config, MqttOptions::default()).expect("opening needs no broker")
}

/// MQTT 5 with Mosquitto and nothing else set.
pub(crate) fn plain() -> Mqtt {
    open(&at("SLUICE_TEST_MQTT", json!({})))
}

pub(crate) fn with(more: Value) -> Mqtt {
    open(&at("SLUICE_TEST_MQTT", more))
}

/// The name of a topic that no other test and no earlier run uses.
pub(crate) fn unused(name: &str) -> Topic {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let time = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("it is later than 1970");
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    format!("{name}-{}-{}-{count}", time.as_nanos(), std::process::id()).into()
}

pub(crate) async fn step<T>(name: &str, work: impl Future<Output = T>) -> T {
    timeout(STEP, work).await.unwrap_or_else(|_| panic!("this step did not end: {name}"))
}

pub(crate) fn message(payload: &str) -> Message {
    Message::builder().payload(payload.to_owned()).build()
}

pub(crate) async fn publish(mqtt: &Mqtt, topic: impl Into<Topic>, payload: &str) {
    publish_message(mqtt, topic, message(payload)).await;
}

pub(crate) async fn publish_message(mqtt: &Mqtt, topic: impl Into<Topic>, message: Message) {
    let topic = topic.into();
    step("publish", mqtt.publish(&topic, message)).await.unwrap_or_else(|error| panic!("{topic}: {error}"));
}

pub(crate) fn group(name: &Topic, sole: bool) -> StartAt {
    StartAt::Group { name: Arc::from(name.as_str()), from_earliest: false, sole }
}

pub(crate) async fn try_consume(
    mqtt: &Mqtt,
    topics: &[&str],
    start: StartAt,
) -> Result<Box<dyn Consumer>, DriverError> {
    let topics = topics.iter().map(|topic| Topic::from(*topic)).collect();
    step("consume", mqtt.consume(ConsumeSpec { topics, start, stop: StopAt::Never })).await
}

pub(crate) async fn consume(mqtt: &Mqtt, topics: &[&str], start: StartAt) -> Box<dyn Consumer> {
    try_consume(mqtt, topics, start).await.unwrap_or_else(|error| panic!("{topics:?}: {error}"))
}

/// The next message of a reader, whatever interruptions come before it.
pub(crate) async fn next(reader: &mut Box<dyn Consumer>) -> Message {
    let mut batch = Vec::new();
    step("fetch", async {
        while let Err(error) = reader.fetch(&mut batch, BatchLimit { messages: 1, bytes: 1 << 20 }).await {
            assert!(error.retryable(), "the reader ended: {error}");
        }
    })
    .await;
    batch.remove(0)
}

pub(crate) fn text(message: &Message) -> String {
    String::from_utf8_lossy(message.payload()).into_owned()
}

pub(crate) async fn payloads(reader: &mut Box<dyn Consumer>, count: usize) -> Vec<String> {
    let mut payloads = Vec::new();
    for _ in 0..count {
        payloads.push(text(&next(reader).await));
    }
    payloads
}

pub(crate) async fn commit(reader: &mut Box<dyn Consumer>, message: &Message) {
    let position = Position::from_iter(message.place());
    step("commit", reader.commit(&position)).await.unwrap_or_else(|error| panic!("{error}"));
}

/// What the driver tells about a message under this name.
pub(crate) fn told(message: &Message, name: &str) -> Option<String> {
    message.metadata().find(|(told, _)| *told == name).map(|(_, value)| value.into_owned())
}

pub(crate) fn numbered(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|number| format!("m{number}")).collect()
}
