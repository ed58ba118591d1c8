//! What the driver moves beside a bare loop on rumqttc: `cargo xtask bench drivers`. Both sides speak MQTT 5 at QoS 1,
//! and read a persistent session with acknowledgements of their own.

#![allow(clippy::expect_used, reason = "this is a benchmark: it stops at the first thing that fails")]

use std::time::{Duration, Instant};

use futures_util::{StreamExt, stream};
use rumqttc_v5::{
    AckMode, AsyncClient, Event, EventLoop, Incoming, MqttOptions as Options, NetworkOptions, PublishOptions,
    QoS,
};
use serde_json::json;
use sluice_api::MqttConfig;
use sluice_broker::{
    BrokerDriver, StartAt,
    speed::{Load, compare, open, publish, read, unused, variable},
};
use sluice_broker_mqtt::{Mqtt, MqttOptions};
use sluice_message::Topic;

/// As the driver's: how many messages may be unacknowledged.
const RECEIVE_MAXIMUM: u16 = 1000;
/// As the driver's: how many packets are taken from either side before the other gets its turn.
const BATCH: usize = 256;

#[tokio::main]
async fn main() {
    let load = Load::default();
    let driver = Mqtt::open(&settings(), MqttOptions::default()).expect("opening needs no broker");
    let published: Topic = unused("speed").into();
    let (publisher, events) = connect();
    tokio::spawn(turn(events));
    compare(
        "MQTT, publishing",
        load,
        async || publish(&driver, &published, load).await,
        async || bare_publish(&publisher, &published, load).await,
    )
    .await;

    let (topic, bare_topic): (Topic, Topic) = (unused("driver").into(), unused("bare").into());
    let group = StartAt::Group { name: unused("group").into(), from_earliest: false, sole: true };
    let mut reader = open(&driver, &topic, group).await;
    let (subscriber, mut events) = connect();
    subscribe(&subscriber, &mut events, &bare_topic).await;
    compare(
        "MQTT, reading a persistent session",
        load,
        async || {
            bare_publish(&publisher, &topic, load).await;
            read(&mut *reader, load, true).await
        },
        async || {
            bare_publish(&publisher, &bare_topic, load).await;
            bare_read(&subscriber, &mut events, load).await
        },
    )
    .await;
    drop(reader);
    driver.close().await;
}

fn settings() -> MqttConfig {
    let address = variable("SLUICE_TEST_MQTT");
    let (host, port) = address.rsplit_once(':').expect("host:port");
    serde_json::from_value(json!({"serverHost": host, "serverPort": port})).expect("settings")
}

fn connect() -> (AsyncClient, EventLoop) {
    let address = variable("SLUICE_TEST_MQTT");
    let (host, port) = address.rsplit_once(':').expect("host:port");
    let port: u16 = port.parse().expect("a port");
    let mut options = Options::new(unused("bare"), (host.to_owned(), port));
    let mut network = NetworkOptions::new();
    network.set_tcp_nodelay(true);
    options
        .set_network_options(network)
        // It is not turned while its session is filled.
        .set_keep_alive(600)
        .set_max_request_batch(BATCH)
        .set_read_batch_size(BATCH)
        .set_receive_maximum(Some(RECEIVE_MAXIMUM))
        .set_ack_mode(AckMode::Manual)
        .set_session_expiry_interval(Some(3600));
    AsyncClient::builder(options).unbounded().build()
}

/// What a publisher's connection needs to go on.
async fn turn(mut events: EventLoop) {
    while events.poll().await.is_ok() {}
}

async fn bare_publish(client: &AsyncClient, topic: &Topic, load: Load) -> Duration {
    let payload = load.payload();
    let started = Instant::now();
    let publishes = (0..load.messages).map(|_| {
        let payload = payload.clone();
        async move {
            let options = PublishOptions::new(QoS::AtLeastOnce);
            let sent = client.publish_tracked(topic.as_str(), payload, options).await;
            sent.expect("it is sent").wait_async().await.expect("it is acknowledged");
        }
    });
    let mut settled = stream::iter(publishes).buffer_unordered(load.in_flight);
    while settled.next().await.is_some() {}
    started.elapsed()
}

async fn subscribe(client: &AsyncClient, events: &mut EventLoop, topic: &Topic) {
    client.subscribe(topic.as_str(), QoS::AtLeastOnce).await.expect("it is asked for");
    while !matches!(events.poll().await.expect("a connection"), Event::Incoming(Incoming::SubAck(_))) {}
}

async fn bare_read(client: &AsyncClient, events: &mut EventLoop, load: Load) -> Duration {
    let started = Instant::now();
    let (mut read, mut unacknowledged) = (0, Vec::new());
    while read < load.messages {
        let event = events.poll().await.expect("a connection");
        let Event::Incoming(Incoming::Publish(message)) = event else { continue };
        assert_eq!(message.payload.len(), load.bytes);
        read += 1;
        unacknowledged.push(message);
        if unacknowledged.len() == load.commit_every || read == load.messages {
            for message in unacknowledged.drain(..) {
                client.try_ack(&message).expect("it is acknowledged");
            }
        }
    }
    started.elapsed()
}
