//! Topics that are made because they are missing.

use std::collections::BTreeMap;

use sluice_api::{KafkaAutoCreate, KafkaConfig};
use sluice_broker::{BrokerDriver, ErrorKind, StartAt};
use sluice_broker_kafka::Kafka;
use sluice_message::Topic;

use crate::support::{consume, message, open, payloads, plain, publish, step, try_consume, unused_name};

fn making(auto_create: KafkaAutoCreate) -> Kafka {
    open(&KafkaConfig { auto_create: Some(auto_create), ..plain() })
}

fn of(partitions: u32, replication_factor: u32) -> KafkaAutoCreate {
    let config = BTreeMap::from([("max.message.bytes".to_owned(), "2000".to_owned())]);
    KafkaAutoCreate { partitions: Some(partitions), replication_factor: Some(replication_factor), config }
}

async fn partitions(kafka: &Kafka, topic: &Topic) -> usize {
    step("bounds", kafka.bounds(std::slice::from_ref(topic))).await.expect("it is there").len()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_topic_is_made_as_the_settings_say_when_it_is_published_to() {
    let (kafka, topic) = (making(of(3, 1)), unused_name("made"));
    publish(&kafka, &topic, "first").await;
    assert_eq!(partitions(&kafka, &topic).await, 3);
    let mut reader = consume(&kafka, &topic, StartAt::Earliest).await;
    assert_eq!(payloads(&mut reader, 1).await, ["first"]);
    let large = step("publish", kafka.publish(&topic, message(&"x".repeat(4000)))).await;
    assert_eq!(large.expect_err("its own settings count").kind, ErrorKind::TooLarge);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_topic_is_made_when_it_is_read_and_not_when_it_is_checked() {
    let (kafka, topic) = (making(KafkaAutoCreate::default()), unused_name("made"));
    step("check", kafka.check(std::slice::from_ref(&topic))).await.expect("it can be made");
    let other = open(&plain());
    let error = step("bounds", other.bounds(std::slice::from_ref(&topic))).await.expect_err("nobody made it");
    assert_eq!(error.kind, ErrorKind::NoTopic, "{error}");
    let mut reader = consume(&kafka, &topic, StartAt::Latest).await;
    publish(&kafka, &topic, "first").await;
    assert_eq!(payloads(&mut reader, 1).await, ["first"]);
    assert_eq!(partitions(&kafka, &topic).await, 1, "as the broker has it");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_the_broker_does_not_make_is_missing_with_the_reason() {
    let (kafka, topic) = (making(of(1, 3)), unused_name("not-made"));
    let published = step("publish", kafka.publish(&topic, message("lost"))).await.err();
    let consumed = try_consume(&kafka, &topic, StartAt::Latest).await.err();
    for error in [published, consumed] {
        let error = error.expect("there are no three brokers");
        assert_eq!(error.kind, ErrorKind::NoTopic, "{error}");
        assert!(error.message.contains("autoCreate") && error.message.contains("eplication"), "{error}");
    }
}
