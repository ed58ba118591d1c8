//! The spool before Kafka: what is taken while Kafka is away, and what Kafka refuses for good.

use std::{sync::Arc, time::Duration};

use rdkafka::{
    admin::{AdminOptions, NewTopic, TopicReplication},
    mocking::MockCluster,
};
use sluice_api::{ApiId, BrokerConfig};
use sluice_broker::{BrokerDriver, LogOptions, Spool, SpoolMetrics, Spools, StartAt};
use sluice_broker_kafka::{Kafka, KafkaOptions};
use sluice_message::{Message, Topic};
use tempfile::TempDir;

use crate::support::{
    admin, at, consume, message, new_topic, open, open_with, payloads, plain, step, unused_name,
};

fn spool(directory: &TempDir, kafka: Kafka) -> Arc<Spool> {
    let spools = Spools::new(directory.path().join("spool"), LogOptions::default());
    let (api, settings) = (ApiId("orders".to_owned()), sluice_api::Spool::default());
    let broker = BrokerConfig::Kafka(Box::new(plain()));
    let spool = spools.spool(&api, Some(&settings), &broker, Arc::new(kafka), SpoolMetrics::default());
    spool.expect("the directory is there")
}

async fn publish(spool: &Spool, topic: &Topic, numbers: std::ops::Range<usize>) {
    for number in numbers {
        let published = spool.publish(topic, message(&number.to_string())).await;
        published.expect("the spool takes it");
    }
}

fn numbered(numbers: std::ops::Range<usize>) -> Vec<String> {
    numbers.map(|number| number.to_string()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_spooled_while_kafka_was_away_arrives_in_order() {
    let cluster = MockCluster::new(1).expect("a mock cluster");
    cluster.create_topic("orders", 1, 1).expect("a topic");
    let options = KafkaOptions { publish_timeout: Duration::from_secs(1), ..KafkaOptions::default() };
    let directory = tempfile::tempdir().expect("a directory");
    let spool = spool(&directory, open_with(&at(&cluster.bootstrap_servers()), options));
    let topic = Topic::from("orders");
    publish(&spool, &topic, 0..10).await;
    cluster.broker_down(1).expect("it is up");
    publish(&spool, &topic, 10..50).await;
    cluster.broker_up(1).expect("it is down");
    publish(&spool, &topic, 50..60).await;
    let kafka = open(&at(&cluster.bootstrap_servers()));
    let mut found = Vec::new();
    let mut reader = consume(&kafka, &topic, StartAt::Earliest).await;
    while found.last().is_none_or(|last| last != "59") {
        found.extend(payloads(&mut reader, 1).await);
    }
    // A message whose acknowledgement was lost may stand there twice.
    found.dedup();
    assert_eq!(found, numbered(0..60));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_kafka_refuses_for_good_is_set_aside() {
    let compacted = unused_name("compacted");
    let new =
        NewTopic::new(compacted.as_str(), 1, TopicReplication::Fixed(1)).set("cleanup.policy", "compact");
    let made = step("make a topic", admin().create_topics([&new], &AdminOptions::new())).await;
    made.expect("Kafka answers").remove(0).expect("the topic is new");
    let topic = new_topic("spooled", 1).await;
    let directory = tempfile::tempdir().expect("a directory");
    let spool = spool(&directory, open(&plain()));
    publish(&spool, &topic, 0..2).await;
    publish(&spool, &compacted, 2..3).await;
    let large = Message::builder().payload(vec![b'x'; 2 << 20]).build();
    spool.publish(&topic, large).await.expect("the spool takes it");
    publish(&spool, &topic, 3..5).await;
    let mut reader = consume(&open(&plain()), &topic, StartAt::Earliest).await;
    assert_eq!(payloads(&mut reader, 4).await, ["0", "1", "3", "4"]);
    assert_eq!(spool.status().set_aside_messages, 2);
}
