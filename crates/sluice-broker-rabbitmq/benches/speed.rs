//! What the driver moves beside a bare loop on lapin: `cargo xtask bench drivers`. Both sides send persistent messages
//! with publisher confirms, and read a durable queue with acknowledgements.

#![allow(clippy::expect_used, reason = "this is a benchmark: it stops at the first thing that fails")]

use std::time::{Duration, Instant};

use futures_util::{StreamExt, stream::FuturesUnordered};
use lapin::{
    BasicProperties, Channel, Connection, ConnectionProperties, Consumer,
    options::{
        BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, BasicQosOptions, ConfirmSelectOptions,
        QueueBindOptions, QueueDeclareOptions,
    },
    types::FieldTable,
};
use serde_json::json;
use sluice_api::RabbitmqConfig;
use sluice_broker::{
    BrokerDriver, StartAt,
    speed::{Load, compare, open, publish, read, unused, variable},
};
use sluice_broker_rabbitmq::{Rabbitmq, RabbitmqOptions};
use sluice_message::Topic;

const EXCHANGE: &str = "amq.topic";
/// As the driver's.
const PREFETCH: u16 = 1000;

#[tokio::main]
async fn main() {
    let load = Load::default();
    let driver = Rabbitmq::open(&settings(), RabbitmqOptions::default()).expect("opening needs no broker");
    let published: Topic = unused("speed").into();
    let publisher = channel().await;
    compare(
        "RabbitMQ, publishing",
        load,
        async || publish(&driver, &published, load).await,
        async || bare_publish(&publisher, &published, load).await,
    )
    .await;

    let (topic, bare_topic): (Topic, Topic) = (unused("driver").into(), unused("bare").into());
    let group = StartAt::Group { name: unused("group").into(), from_earliest: false, sole: true };
    let mut reader = open(&driver, &topic, group).await;
    let mut bare = consumer(&bare_topic).await;
    compare(
        "RabbitMQ, reading a durable queue",
        load,
        async || {
            bare_publish(&publisher, &topic, load).await;
            read(&mut *reader, load, true).await
        },
        async || {
            bare_publish(&publisher, &bare_topic, load).await;
            bare_read(&mut bare, load).await
        },
    )
    .await;
    drop(reader);
    driver.close().await;
}

fn settings() -> RabbitmqConfig {
    let address = variable("SLUICE_TEST_RABBITMQ");
    let (host, port) = address.rsplit_once(':').expect("host:port");
    let port: u16 = port.parse().expect("a port");
    let (user, password) = (variable("SLUICE_TEST_RABBITMQ_USER"), variable("SLUICE_TEST_RABBITMQ_PASSWORD"));
    let security = json!({"auth": {"username": user, "password": password}});
    let settings = json!({"serverHost": host, "serverPort": port, "security": security});
    serde_json::from_value(settings).expect("settings")
}

/// A channel with publisher confirms on a connection of its own.
async fn channel() -> Channel {
    let (user, password) = (variable("SLUICE_TEST_RABBITMQ_USER"), variable("SLUICE_TEST_RABBITMQ_PASSWORD"));
    let uri = format!("amqp://{user}:{password}@{}/%2f", variable("SLUICE_TEST_RABBITMQ"));
    let connection = Connection::connect(&uri, ConnectionProperties::default()).await.expect("a connection");
    let channel = connection.create_channel().await.expect("a channel");
    channel.confirm_select(ConfirmSelectOptions::default()).await.expect("confirms");
    channel
}

async fn bare_publish(channel: &Channel, topic: &Topic, load: Load) -> Duration {
    let payload = load.payload();
    let properties = BasicProperties::default().with_delivery_mode(2);
    let started = Instant::now();
    let mut unconfirmed = FuturesUnordered::new();
    for _ in 0..load.messages {
        let (exchange, key) = (EXCHANGE.into(), topic.as_str().into());
        let options = BasicPublishOptions::default();
        let sent = channel.basic_publish(exchange, key, options, &payload, properties.clone()).await;
        unconfirmed.push(sent.expect("it is sent"));
        if unconfirmed.len() == load.in_flight {
            unconfirmed.next().await.expect("one is under way").expect("it is confirmed");
        }
    }
    while let Some(confirmed) = unconfirmed.next().await {
        confirmed.expect("it is confirmed");
    }
    started.elapsed()
}

async fn consumer(topic: &Topic) -> Consumer {
    let channel = channel().await;
    let prefetching = channel.basic_qos(PREFETCH, BasicQosOptions::default()).await;
    prefetching.expect("a prefetch");
    let queue =
        channel.queue_declare(topic.as_str().into(), QueueDeclareOptions::durable(), FieldTable::default());
    let queue = queue.await.expect("a queue").name().clone();
    let bound = channel.queue_bind(
        queue.clone(),
        EXCHANGE.into(),
        topic.as_str().into(),
        QueueBindOptions::default(),
        FieldTable::default(),
    );
    bound.await.expect("it is bound");
    let reading =
        channel.basic_consume(queue, "".into(), BasicConsumeOptions::default(), FieldTable::default());
    reading.await.expect("a consumer")
}

async fn bare_read(consumer: &mut Consumer, load: Load) -> Duration {
    let started = Instant::now();
    for count in 1..=load.messages {
        let delivery = consumer.next().await.expect("there is more").expect("it is read");
        assert_eq!(delivery.data.len(), load.bytes);
        if count % load.commit_every == 0 || count == load.messages {
            delivery.ack(BasicAckOptions { multiple: true }).await.expect("it is acknowledged");
        }
    }
    started.elapsed()
}
