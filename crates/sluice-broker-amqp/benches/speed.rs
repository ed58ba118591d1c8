//! What the driver moves beside a bare loop on fe2o3-amqp: `cargo xtask bench drivers`, against Artemis. Both sides
//! send the same durable messages, with address and time, unsettled, and read a queue with acknowledgements.

#![allow(clippy::expect_used, reason = "this is a benchmark: it stops at the first thing that fails")]

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use fe2o3_amqp::{
    Connection, Receiver, Sender, Session,
    connection::ConnectionHandle,
    link::{delivery::Sendable, receiver::CreditMode},
    sasl_profile::SaslProfile,
    session::SessionHandle,
    types::{
        messaging::{Body, Data, Header, Message, Properties},
        primitives::{Binary, Timestamp, Value},
    },
};
use futures_util::{StreamExt, stream::FuturesUnordered};
use sluice_api::{AmqpAddresses, AmqpConfig, AmqpConsumer, AmqpTopics, BrokerAuth, BrokerSecurity, Secret};
use sluice_broker::{
    BrokerDriver, StartAt,
    speed::{Load, compare, open, publish, read, unused, variable},
};
use sluice_broker_amqp::{Amqp, AmqpOptions};
use sluice_message::Topic;
use tokio::net::TcpStream;

/// As the driver's default: messages that may be unacknowledged.
const CREDIT: u32 = 500;

#[tokio::main]
async fn main() {
    // What fits into the memory of the broker of the tests.
    let load = Load { messages: 20_000, ..Load::default() };
    let driver = Amqp::open(&settings(), AmqpOptions::default()).expect("opening needs no broker");
    let published: Topic = format!("topic://{}", unused("speed")).into();
    let mut bare = Bare::connect().await;
    let mut sender = bare.sender(&published).await;
    compare(
        "AMQP 1.0, publishing",
        load,
        async || publish(&driver, &published, load).await,
        async || bare_publish(&mut sender, &published, load).await,
    )
    .await;

    let queue = |name| Topic::from(format!("queue://{}", unused(name)));
    let (topic, bare_topic) = (queue("driver"), queue("bare"));
    let group = StartAt::Group { name: unused("group").into(), from_earliest: false, sole: true };
    let mut reader = open(&driver, &topic, group).await;
    let mut receiving = Bare::connect().await;
    let mut receiver = receiving.receiver(&bare_topic).await;
    let (mut fill, mut bare_fill) = (bare.sender(&topic).await, bare.sender(&bare_topic).await);
    compare(
        "AMQP 1.0, reading a queue",
        load,
        async || {
            bare_publish(&mut fill, &topic, load).await;
            read(&mut *reader, load, true).await
        },
        async || {
            bare_publish(&mut bare_fill, &bare_topic, load).await;
            bare_read(&mut receiver, load).await
        },
    )
    .await;
    drop(reader);
    driver.close().await;
}

fn settings() -> AmqpConfig {
    let username = variable("SLUICE_TEST_ARTEMIS_USER");
    let password = Some(Secret::new(variable("SLUICE_TEST_ARTEMIS_PASSWORD")));
    AmqpConfig {
        url: format!("amqp://{}", variable("SLUICE_TEST_ARTEMIS_AMQP")),
        addresses: AmqpAddresses::Artemis,
        virtual_host: None,
        link_credit: CREDIT,
        maximum_message_size: None,
        consumer: AmqpConsumer::default(),
        producer: AmqpTopics::default(),
        security: Some(BrokerSecurity { auth: Some(BrokerAuth { username, password }), ssl: None }),
    }
}

/// A connection of the library with a session.
struct Bare {
    _connection: ConnectionHandle<()>,
    session: SessionHandle<()>,
}

impl Bare {
    async fn connect() -> Self {
        let (user, password) =
            (variable("SLUICE_TEST_ARTEMIS_USER"), variable("SLUICE_TEST_ARTEMIS_PASSWORD"));
        let stream =
            TcpStream::connect(variable("SLUICE_TEST_ARTEMIS_AMQP")).await.expect("Artemis is there");
        // As the driver does. Otherwise acknowledgements wait for each other on their way, which is no matter of either.
        stream.set_nodelay(true).expect("a socket takes that");
        let connection = Connection::builder()
            .container_id(unused("bare"))
            .hostname("localhost")
            .scheme("amqp")
            .sasl_profile(SaslProfile::Plain { username: user, password })
            .open_with_stream(stream);
        let mut connection = connection.await.expect("a connection");
        let session = Session::begin(&mut connection).await.expect("a session");
        Self { _connection: connection, session }
    }

    async fn sender(&mut self, topic: &Topic) -> Sender {
        Sender::attach(&mut self.session, unused("sender"), topic.as_str()).await.expect("a sender")
    }

    async fn receiver(&mut self, topic: &Topic) -> Receiver {
        let receiver = Receiver::builder().name(unused("receiver")).source(topic.as_str());
        let receiver = receiver.credit_mode(CreditMode::Auto(CREDIT)).attach(&mut self.session).await;
        receiver.expect("a receiver")
    }
}

async fn bare_publish(sender: &mut Sender, topic: &Topic, load: Load) -> Duration {
    let payload = load.payload();
    let started = Instant::now();
    let mut unsettled = FuturesUnordered::new();
    for _ in 0..load.messages {
        let message = Message::builder()
            .header(Header { durable: true, ..Header::default() })
            .properties(
                Properties::builder()
                    .to(topic.as_str())
                    .creation_time(Timestamp::from_milliseconds(now_ms()))
                    .build(),
            )
            .data(Data(Binary::from(payload.to_vec())))
            .build();
        let message = Sendable::builder().message(message).build();
        unsettled.push(sender.send_batchable(message).await.expect("it is sent"));
        if unsettled.len() == load.in_flight {
            unsettled.next().await.expect("one is under way").expect("it is accepted");
        }
    }
    while let Some(settled) = unsettled.next().await {
        settled.expect("it is accepted");
    }
    started.elapsed()
}

fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is later than 1970");
    i64::try_from(since.as_millis()).expect("it is not that late")
}

async fn bare_read(receiver: &mut Receiver, load: Load) -> Duration {
    let started = Instant::now();
    let mut unacknowledged = Vec::new();
    for count in 1..=load.messages {
        let delivery = receiver.recv::<Body<Value>>().await.expect("it is read");
        let (delivery, _) = delivery.into_parts();
        unacknowledged.push(delivery);
        if unacknowledged.len() == load.commit_every || count == load.messages {
            let batch = std::mem::take(&mut unacknowledged);
            receiver.accept_all(batch).await.expect("it is acknowledged");
        }
    }
    started.elapsed()
}
