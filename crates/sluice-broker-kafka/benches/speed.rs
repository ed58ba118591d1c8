//! What the driver moves beside a bare loop on rdkafka: `cargo xtask bench drivers`. Both sides wait for all replicas,
//! idempotently, and commit synchronously; what else is set is the driver's choice here and the library's there.

#![allow(clippy::expect_used, reason = "this is a benchmark: it stops at the first thing that fails")]

use std::time::{Duration, Instant};

use futures_util::{StreamExt, stream};
use rdkafka::{
    ClientConfig, Offset, TopicPartitionList,
    admin::{AdminClient, AdminOptions, NewTopic, TopicReplication},
    client::DefaultClientContext,
    consumer::{CommitMode, Consumer, StreamConsumer},
    producer::{FutureProducer, FutureRecord},
    util::Timeout,
};
use sluice_api::KafkaConfig;
use sluice_broker::{
    BrokerDriver, StartAt,
    speed::{Load, compare, open, publish, read, unused, variable},
};
use sluice_broker_kafka::{Kafka, KafkaOptions};
use sluice_message::Topic;

/// Where topics and groups begin that were never read.
const EARLIEST: &str = "earliest";

#[tokio::main]
async fn main() {
    let servers = variable("SLUICE_TEST_KAFKA");
    // A commit is a round trip, which nobody makes for a hundred messages.
    let load = Load { commit_every: 1000, ..Load::default() };
    let driver = Kafka::open(&KafkaConfig::new(&*servers), KafkaOptions::default());
    let driver = driver.expect("opening needs no broker");
    let (published, filled) = (new_topic(&servers).await, new_topic(&servers).await);
    let producer: FutureProducer =
        client(&servers).set("enable.idempotence", "true").set("acks", "all").create().expect("a producer");
    compare(
        "Kafka, publishing",
        load,
        async || publish(&driver, &published, load).await,
        async || bare_publish(&producer, &published, load).await,
    )
    .await;
    bare_publish(&producer, &filled, load).await;
    compare(
        "Kafka, reading from the first message",
        load,
        async || {
            let mut reader = open(&driver, &filled, StartAt::Earliest).await;
            read(&mut *reader, load, false).await
        },
        async || bare_read(&servers, &filled, load).await,
    )
    .await;
    compare(
        "Kafka, reading as a group",
        load,
        async || {
            let group = StartAt::Group { name: unused("group").into(), from_earliest: true, sole: true };
            let mut reader = open(&driver, &filled, group).await;
            read(&mut *reader, load, true).await
        },
        async || bare_read_as_group(&servers, &filled, load).await,
    )
    .await;
    driver.close().await;
}

fn client(servers: &str) -> ClientConfig {
    let mut client = ClientConfig::new();
    client.set("bootstrap.servers", servers);
    client
}

async fn new_topic(servers: &str) -> Topic {
    let admin: AdminClient<DefaultClientContext> = client(servers).create().expect("an admin client");
    let name = unused("speed");
    let topic = NewTopic::new(&name, 1, TopicReplication::Fixed(1));
    let made = admin.create_topics([&topic], &AdminOptions::new()).await;
    made.expect("Kafka answers").remove(0).expect("the topic is new");
    name.into()
}

async fn bare_publish(producer: &FutureProducer, topic: &Topic, load: Load) -> Duration {
    let payload = load.payload();
    let started = Instant::now();
    let publishes = (0..load.messages).map(|_| {
        let record = FutureRecord::<[u8], [u8]>::to(topic.as_str()).payload(&*payload);
        producer.send(record, Timeout::Never)
    });
    let mut settled = stream::iter(publishes).buffer_unordered(load.in_flight);
    while let Some(published) = settled.next().await {
        published.expect("it is published");
    }
    started.elapsed()
}

fn reader(servers: &str, group: &str) -> StreamConsumer {
    let mut settings = client(servers);
    settings.set("group.id", group).set("enable.auto.commit", "false").set("auto.offset.reset", EARLIEST);
    settings.create().expect("a consumer")
}

/// At a position, without joining the group.
async fn bare_read(servers: &str, topic: &Topic, load: Load) -> Duration {
    let reader = reader(servers, "speed");
    let mut start = TopicPartitionList::new();
    start.add_partition_offset(topic.as_str(), 0, Offset::Beginning).expect("an offset");
    reader.assign(&start).expect("it is assigned");
    let started = Instant::now();
    for _ in 0..load.messages {
        let record = reader.recv().await.expect("it is read");
        assert_eq!(record.payload_len(), load.bytes);
    }
    started.elapsed()
}

/// From the first message on, so that joining does not count.
async fn bare_read_as_group(servers: &str, topic: &Topic, load: Load) -> Duration {
    let reader = reader(servers, &unused("group"));
    reader.subscribe(&[topic.as_str()]).expect("it is subscribed to");
    let mut record = reader.recv().await.expect("it is read");
    let started = Instant::now();
    for count in 1..=load.messages {
        if count % load.commit_every == 0 || count == load.messages {
            reader.commit_message(&record, CommitMode::Sync).expect("it is committed");
        }
        if count < load.messages {
            record = reader.recv().await.expect("it is read");
        }
    }
    started.elapsed()
}
