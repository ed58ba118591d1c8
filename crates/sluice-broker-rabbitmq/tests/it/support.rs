//! What the tests share: how to reach RabbitMQ, names that nobody else uses, one step of publishing or reading.

use std::{
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, SystemTime},
};

use lapin::{Channel, Connection, ConnectionProperties};
use serde_json::{Value, json};
use sluice_api::RabbitmqConfig;
use sluice_broker::{BatchLimit, BrokerDriver, ConsumeSpec, Consumer, DriverError, StartAt, StopAt};
use sluice_broker_rabbitmq::{Rabbitmq, RabbitmqOptions};
use sluice_message::{Message, Position, Topic};
use tokio::time::timeout;

/// Far more than any step needs, so that only one that hangs meets it.
const STEP: Duration = Duration::from_secs(60);

pub(crate) fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| {
        panic!("{name} is not set. These tests need a real RabbitMQ: run them with `cargo xtask test`.")
    })
}

/// User name and password.
pub(crate) fn auth() -> Value {
    json!({
        "username": variable("SLUICE_TEST_RABBITMQ_USER"),
        "password": variable("SLUICE_TEST_RABBITMQ_PASSWORD"),
    })
}

/// The settings of a broker at this address, with these settings besides.
pub(crate) fn at(address: &str, settings: Value) -> RabbitmqConfig {
    let (host, port) = address.rsplit_once(':').expect("host:port");
    let port: u16 = port.parse().expect("a port");
    let mut whole = json!({"serverHost": host, "serverPort": port, "security": {"auth": auth()}});
    let Value::Object(fields) = settings else { panic!("settings are an object") };
    whole.as_object_mut().expect("an object").extend(fields);
    serde_json::from_value(whole).expect("settings")
}

pub(crate) fn with(settings: Value) -> RabbitmqConfig {
    at(&variable("SLUICE_TEST_RABBITMQ"), settings)
}

pub(crate) fn plain() -> RabbitmqConfig {
    with(json!({}))
}

pub(crate) fn open(config: &RabbitmqConfig) -> Rabbitmq {
    Rabbitmq::open(config, RabbitmqOptions::default()).expect("opening needs no broker")
}

/// A name that no other test and no earlier run uses.
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

pub(crate) async fn publish(rabbitmq: &Rabbitmq, topic: &Topic, payload: &str) {
    step("publish", rabbitmq.publish(topic, message(payload)))
        .await
        .unwrap_or_else(|error| panic!("{error}"));
}

pub(crate) fn group(name: &Topic, sole: bool) -> StartAt {
    StartAt::Group { name: name.as_str().into(), from_earliest: false, sole }
}

pub(crate) async fn try_consume(
    rabbitmq: &Rabbitmq,
    topics: &[&Topic],
    start: StartAt,
) -> Result<Box<dyn Consumer>, DriverError> {
    let topics = topics.iter().map(|&topic| topic.clone()).collect();
    step("consume", rabbitmq.consume(ConsumeSpec { topics, start, stop: StopAt::Never })).await
}

pub(crate) async fn consume(rabbitmq: &Rabbitmq, topics: &[&Topic], start: StartAt) -> Box<dyn Consumer> {
    try_consume(rabbitmq, topics, start).await.unwrap_or_else(|error| panic!("{error}"))
}

/// The next message or error of a reader.
pub(crate) async fn next(reader: &mut Box<dyn Consumer>) -> Result<Message, DriverError> {
    let mut batch = Vec::new();
    step("fetch", reader.fetch(&mut batch, BatchLimit { messages: 1, bytes: 1 << 20 })).await?;
    Ok(batch.remove(0))
}

pub(crate) fn text(message: &Message) -> String {
    String::from_utf8_lossy(message.payload()).into_owned()
}

pub(crate) async fn payloads(reader: &mut Box<dyn Consumer>, count: usize) -> Vec<String> {
    let mut payloads = Vec::new();
    for _ in 0..count {
        payloads.push(text(&next(reader).await.unwrap_or_else(|error| panic!("{error}"))));
    }
    payloads
}

pub(crate) async fn commit(reader: &mut Box<dyn Consumer>, message: &Message) {
    let position = Position::from_iter([message.place().expect("a place")]);
    step("commit", reader.commit(&position)).await.unwrap_or_else(|error| panic!("{error}"));
}

pub(crate) fn metadata(message: &Message, name: &str) -> Option<String> {
    message.metadata().find(|(found, _)| *found == name).map(|(_, value)| value.into_owned())
}

/// A channel of a client that knows nothing of the driver, and what keeps it open.
pub(crate) async fn other_client() -> (Connection, Channel) {
    let (user, password) = (variable("SLUICE_TEST_RABBITMQ_USER"), variable("SLUICE_TEST_RABBITMQ_PASSWORD"));
    let uri = format!("amqp://{user}:{password}@{}/%2f", variable("SLUICE_TEST_RABBITMQ"));
    let connected = step("connect", Connection::connect(&uri, ConnectionProperties::default())).await;
    let connection = connected.expect("RabbitMQ is there");
    let channel = step("open a channel", connection.create_channel()).await.expect("a channel");
    (connection, channel)
}
