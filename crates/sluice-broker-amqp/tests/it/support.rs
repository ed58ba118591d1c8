//! What the tests share: how to reach the brokers, names that nobody else uses, one step of publishing or reading.

use std::{sync::Arc, time::Duration};

use sluice_api::{
    AmqpAddresses, AmqpConfig, AmqpConsumer, AmqpTopics, BrokerAuth, BrokerKeyStore, BrokerSecurity,
    BrokerTls, BrokerTrustStore, Secret, SolaceConfig, SolaceTransport, StoreType,
};
use sluice_broker::{BatchLimit, BrokerDriver, ConsumeSpec, Consumer, DriverError, StartAt, StopAt};
use sluice_broker_amqp::{Amqp, AmqpOptions};
use sluice_message::{Message, Position, Topic};
use tokio::time::timeout;
use uuid::Uuid;

/// Far more than any step needs, so that only one that hangs meets it.
const STEP: Duration = Duration::from_secs(60);

/// Messages that a reader under test may hold unacknowledged.
pub(crate) const CREDIT: u32 = 20;

/// A payload of so many bytes is more than the drivers under test hold.
pub(crate) const TOO_LARGE: usize = 2 << 20;

pub(crate) fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| {
        panic!(
            "{name} is not set. These tests need real brokers: run them with `cargo xtask test`, or start one with \
             `cargo xtask broker` and export the variables that it prints."
        )
    })
}

/// The driver's bounds, small enough for tests to meet them.
pub(crate) fn options() -> AmqpOptions {
    AmqpOptions { queue_kib: 1024, ..AmqpOptions::default() }
}

/// The same with short times, for what fails by them.
pub(crate) fn quick() -> AmqpOptions {
    let two_seconds = Duration::from_secs(2);
    AmqpOptions {
        publish_timeout: two_seconds,
        answer_timeout: two_seconds,
        idle_timeout: two_seconds,
        ..options()
    }
}

pub(crate) fn auth(username: &str, password: &str) -> BrokerSecurity {
    let password = Some(Secret::new(password));
    BrokerSecurity { auth: Some(BrokerAuth { username: username.to_owned(), password }), ssl: None }
}

/// The credentials of the broker whose variables begin with this.
pub(crate) fn credentials(broker: &str) -> BrokerSecurity {
    auth(&variable(&format!("{broker}_USER")), &variable(&format!("{broker}_PASSWORD")))
}

/// Certificates of the test brokers: whom to trust, and the gateway's own where it is wanted.
pub(crate) fn certificates(with_own: bool) -> BrokerTls {
    let pem = |path: String| (StoreType::Pem, Some(path));
    let (kind, path) = pem(variable("SLUICE_TEST_BROKER_CA"));
    let trust_store = Some(BrokerTrustStore { kind, path, ..BrokerTrustStore::default() });
    let key_store = with_own.then(|| {
        let (kind, path) = pem(variable("SLUICE_TEST_BROKER_CLIENT_PEM"));
        BrokerKeyStore { kind, path, ..BrokerKeyStore::default() }
    });
    BrokerTls { hostname_verifier: true, trust_store, key_store }
}

pub(crate) fn amqp(url: &str, addresses: AmqpAddresses, security: Option<BrokerSecurity>) -> AmqpConfig {
    AmqpConfig {
        url: url.to_owned(),
        addresses,
        virtual_host: None,
        link_credit: CREDIT,
        maximum_message_size: None,
        consumer: AmqpConsumer::default(),
        producer: AmqpTopics::default(),
        security,
    }
}

pub(crate) fn solace(address: &str, security: Option<BrokerSecurity>) -> SolaceConfig {
    SolaceConfig {
        url: format!("tcp://{address}"),
        vpn_name: Some("tests".to_owned()),
        transport: SolaceTransport::Amqp,
        link_credit: CREDIT,
        maximum_message_size: None,
        semp: None,
        consumer: AmqpConsumer::default(),
        producer: AmqpTopics::default(),
        security,
    }
}

pub(crate) fn open(config: &AmqpConfig, options: AmqpOptions) -> Arc<Amqp> {
    Arc::new(Amqp::open(config, options).expect("opening needs no broker"))
}

pub(crate) fn open_solace(config: &SolaceConfig, options: AmqpOptions) -> Arc<Amqp> {
    Arc::new(Amqp::open_solace(config, options).expect("opening needs no broker"))
}

/// A name that no other test and no earlier run uses.
pub(crate) fn unused_name(name: &str) -> String {
    format!("{name}-{}", Uuid::new_v4().simple())
}

pub(crate) async fn step<T>(name: &str, work: impl Future<Output = T>) -> T {
    timeout(STEP, work).await.unwrap_or_else(|_| panic!("this step did not end: {name}"))
}

pub(crate) fn message(payload: &str) -> Message {
    Message::builder().payload(payload.to_owned()).build()
}

pub(crate) async fn try_publish(driver: &Amqp, topic: &Topic, payload: &str) -> Result<(), DriverError> {
    step("publish", driver.publish(topic, message(payload))).await.map(drop)
}

pub(crate) async fn publish(driver: &Amqp, topic: &Topic, payload: &str) {
    try_publish(driver, topic, payload).await.unwrap_or_else(|error| panic!("{error}"));
}

pub(crate) fn group(name: &str, sole: bool) -> StartAt {
    StartAt::Group { name: name.into(), from_earliest: false, sole }
}

pub(crate) async fn try_consume(
    driver: &Amqp,
    topic: &Topic,
    start: StartAt,
) -> Result<Box<dyn Consumer>, DriverError> {
    let spec = ConsumeSpec { topics: vec![topic.clone()], start, stop: StopAt::Never };
    step("consume", driver.consume(spec)).await
}

pub(crate) async fn consume(driver: &Amqp, topic: &Topic, start: StartAt) -> Box<dyn Consumer> {
    try_consume(driver, topic, start).await.unwrap_or_else(|error| panic!("{error}"))
}

/// The next message or error of a reader.
pub(crate) async fn next(reader: &mut Box<dyn Consumer>) -> Result<Message, DriverError> {
    let mut batch = Vec::new();
    step("fetch", reader.fetch(&mut batch, BatchLimit { messages: 1, bytes: 1 << 20 })).await?;
    Ok(batch.remove(0))
}

pub(crate) async fn messages(reader: &mut Box<dyn Consumer>, count: usize) -> Vec<Message> {
    let mut messages = Vec::new();
    for _ in 0..count {
        messages.push(next(reader).await.unwrap_or_else(|error| panic!("{error}")));
    }
    messages
}

pub(crate) async fn payloads(reader: &mut Box<dyn Consumer>, count: usize) -> Vec<String> {
    let messages = messages(reader, count).await;
    messages.iter().map(|message| String::from_utf8_lossy(message.payload()).into_owned()).collect()
}

pub(crate) async fn commit(reader: &mut Box<dyn Consumer>, message: &Message) {
    let position = Position::from_iter(message.place());
    step("commit", reader.commit(&position)).await.unwrap_or_else(|error| panic!("{error}"));
}
