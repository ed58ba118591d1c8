//! Messages of transactions, which only other publishers make.

use std::time::Duration;

use rdkafka::{
    ClientConfig,
    producer::{BaseProducer, BaseRecord, Producer as _},
};
use sluice_api::{IsolationLevel, KafkaConfig};
use sluice_broker::StartAt;
use sluice_message::Topic;

use crate::support::{consume, new_topic, open, payloads, plain, variable};

const TIME: Duration = Duration::from_secs(30);

/// Writes a message in a transaction that is taken back, and one in another that is not.
fn write(topic: &Topic) {
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", variable("SLUICE_TEST_KAFKA"))
        .set("transactional.id", topic.as_str())
        .create()
        .expect("a producer needs no broker yet");
    producer.init_transactions(TIME).expect("Kafka is there");
    for (payload, is_meant) in [("taken back", false), ("meant", true)] {
        producer.begin_transaction().expect("none is open");
        producer
            .send(BaseRecord::<(), str>::to(topic.as_str()).payload(payload))
            .expect("the queue has room");
        producer.flush(TIME).expect("Kafka is there");
        match is_meant {
            true => producer.commit_transaction(TIME).expect("Kafka is there"),
            false => producer.abort_transaction(TIME).expect("Kafka is there"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_transaction_took_back_is_read_only_where_that_is_asked_for() {
    let topic = new_topic("transactions", 1).await;
    let written = topic.clone();
    tokio::task::spawn_blocking(move || write(&written)).await.expect("it does not panic");
    let kafka = open(&plain());
    let mut reader = consume(&kafka, &topic, StartAt::Earliest).await;
    assert_eq!(payloads(&mut reader, 1).await, ["meant"]);

    let mut config: KafkaConfig = plain();
    config.consumer.isolation_level = IsolationLevel::ReadUncommitted;
    let kafka = open(&config);
    let mut reader = consume(&kafka, &topic, StartAt::Earliest).await;
    assert_eq!(payloads(&mut reader, 2).await, ["taken back", "meant"]);
}
