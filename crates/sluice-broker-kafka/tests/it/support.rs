//! What the tests share: how to reach Kafka, topics that nobody else uses, one step of publishing or reading.

use std::{
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, SystemTime},
};

use rdkafka::{
    ClientConfig,
    admin::{AdminClient, AdminOptions, NewTopic, TopicReplication},
    client::DefaultClientContext,
};
use sluice_api::{
    KafkaConfig, KafkaSecurity, KeyStore, Sasl, SaslMechanism, Secret, SecurityProtocol, StoreType, Tls,
    TrustStore,
};
use sluice_broker::{BatchLimit, BrokerDriver, ConsumeSpec, Consumer, DriverError, StartAt, StopAt};
use sluice_broker_kafka::{Kafka, KafkaOptions};
use sluice_message::{Message, Topic};
use tokio::time::timeout;

/// Far more than any step needs, so that only one that hangs meets it.
const STEP: Duration = Duration::from_secs(60);

pub(crate) fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| {
        panic!(
            "{name} is not set. These tests need a real Kafka: run them with `cargo xtask test`, or start one \
             with `cargo xtask broker kafka` and export the variables that it prints."
        )
    })
}

pub(crate) fn at(servers: &str) -> KafkaConfig {
    KafkaConfig::new(servers)
}

pub(crate) fn plain() -> KafkaConfig {
    at(&variable("SLUICE_TEST_KAFKA"))
}

pub(crate) fn secured(
    server: &str,
    protocol: SecurityProtocol,
    sasl: Option<Sasl>,
    ssl: Option<Tls>,
) -> KafkaConfig {
    let security = Some(KafkaSecurity { protocol, sasl, ssl });
    KafkaConfig { security, ..at(&variable(server)) }
}

pub(crate) fn credentials(sasl_mechanism: SaslMechanism) -> Sasl {
    Sasl {
        username: Some(variable("SLUICE_TEST_KAFKA_USER")),
        password: Some(Secret::new(variable("SLUICE_TEST_KAFKA_PASSWORD"))),
        ..Sasl::new(sasl_mechanism)
    }
}

pub(crate) fn trusting(key_store: Option<KeyStore>) -> Tls {
    let location = Some(variable("SLUICE_TEST_KAFKA_CA"));
    Tls {
        trust_store: Some(TrustStore { kind: StoreType::Pem, location, ..TrustStore::default() }),
        key_store,
    }
}

pub(crate) fn open(config: &KafkaConfig) -> Kafka {
    open_with(config, KafkaOptions::default())
}

pub(crate) fn open_with(config: &KafkaConfig, options: KafkaOptions) -> Kafka {
    Kafka::open(config, options).expect("opening needs no broker")
}

/// The name of a topic that no other test and no earlier run uses.
pub(crate) fn unused_name(name: &str) -> Topic {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let time = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("it is later than 1970");
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    format!("{name}-{}-{}-{count}", time.as_nanos(), std::process::id()).into()
}

pub(crate) fn admin() -> AdminClient<DefaultClientContext> {
    let servers = variable("SLUICE_TEST_KAFKA");
    ClientConfig::new()
        .set("bootstrap.servers", servers)
        .create()
        .expect("an admin client needs no broker yet")
}

/// For the Kafka with the secured listeners, which need not be the one without.
pub(crate) fn secured_admin() -> AdminClient<DefaultClientContext> {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", variable("SLUICE_TEST_KAFKA_SASL"))
        .set("security.protocol", "SASL_PLAINTEXT")
        .set("sasl.mechanism", "PLAIN")
        .set("sasl.username", variable("SLUICE_TEST_KAFKA_USER"))
        .set("sasl.password", variable("SLUICE_TEST_KAFKA_PASSWORD"));
    config.create().expect("an admin client needs no broker yet")
}

pub(crate) async fn new_topic(name: &str, partitions: i32) -> Topic {
    let topic = unused_name(name);
    make_topic(&admin(), &topic, partitions).await;
    topic
}

pub(crate) async fn new_secured_topic() -> Topic {
    let topic = unused_name("secured");
    make_topic(&secured_admin(), &topic, 1).await;
    topic
}

pub(crate) async fn make_topic(admin: &AdminClient<DefaultClientContext>, topic: &Topic, partitions: i32) {
    let new = NewTopic::new(topic.as_str(), partitions, TopicReplication::Fixed(1));
    let made = step("make a topic", admin.create_topics([&new], &AdminOptions::new())).await;
    made.expect("Kafka answers").remove(0).expect("the topic is new");
}

pub(crate) async fn step<T>(name: &str, work: impl Future<Output = T>) -> T {
    timeout(STEP, work).await.unwrap_or_else(|_| panic!("this step did not end: {name}"))
}

pub(crate) fn message(payload: &str) -> Message {
    Message::builder().payload(payload.to_owned()).build()
}

pub(crate) async fn publish(kafka: &Kafka, topic: &Topic, payload: &str) {
    step("publish", kafka.publish(topic, message(payload))).await.unwrap_or_else(|error| panic!("{error}"));
}

pub(crate) async fn try_consume(
    kafka: &Kafka,
    topic: &Topic,
    start: StartAt,
) -> Result<Box<dyn Consumer>, DriverError> {
    let spec = ConsumeSpec { topics: vec![topic.clone()], start, stop: StopAt::Never };
    step("consume", kafka.consume(spec)).await
}

pub(crate) async fn consume(kafka: &Kafka, topic: &Topic, start: StartAt) -> Box<dyn Consumer> {
    try_consume(kafka, topic, start).await.unwrap_or_else(|error| panic!("{error}"))
}

/// The next message or error of a reader.
pub(crate) async fn next(reader: &mut Box<dyn Consumer>) -> Result<Message, DriverError> {
    let mut batch = Vec::new();
    step("fetch", reader.fetch(&mut batch, BatchLimit { messages: 1, bytes: 1 << 20 })).await?;
    Ok(batch.remove(0))
}

pub(crate) async fn payloads(reader: &mut Box<dyn Consumer>, count: usize) -> Vec<String> {
    let mut payloads = Vec::new();
    for _ in 0..count {
        let message = next(reader).await.unwrap_or_else(|error| panic!("{error}"));
        payloads.push(String::from_utf8_lossy(message.payload()).into_owned());
    }
    payloads
}

/// Asks every few milliseconds until an answer is there, which no event tells.
pub(crate) async fn until<T, F: Future<Output = Option<T>>>(name: &str, ask: impl Fn() -> F) -> T {
    let asking = async {
        loop {
            if let Some(answer) = ask().await {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    step(name, asking).await
}
