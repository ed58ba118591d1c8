//! Many messages under way at once, for which a driver has a second producer.

use futures_util::future::join_all;
use rdkafka::{
    mocking::MockCluster,
    types::{RDKafkaApiKey, RDKafkaRespErr},
};
use sluice_api::{KafkaAutoCreate, KafkaConfig};
use sluice_broker::{BrokerDriver, DriverError, ErrorKind, Receipt, StartAt};
use sluice_broker_kafka::Kafka;
use sluice_message::{Message, Topic};

use crate::support::{at, consume, new_topic, open, payloads, plain, publish, step, unused_name};

/// Far more than what makes a driver open its second producer.
const MANY: usize = 1000;

async fn publish_many(kafka: &Kafka, topic: &Topic) -> Vec<Result<Receipt, DriverError>> {
    let messages = (0..MANY).map(|_| Message::builder().payload(vec![b'x'; 1024]).build());
    step("publish many", join_all(messages.map(|message| kafka.publish(topic, message)))).await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_published_many_at_once_is_there_once() {
    let (kafka, topic) = (open(&plain()), new_topic("many", 1).await);
    for round in 1..=3 {
        let published = publish_many(&kafka, &topic).await;
        let places =
            published.into_iter().map(|one| one.expect("Kafka is there").place.expect("it says where"));
        let mut offsets: Vec<u64> = places.map(|place| place.offset.0).collect();
        offsets.sort_unstable();
        let first = ((round - 1) * MANY) as u64;
        assert_eq!(offsets, (first..first + MANY as u64).collect::<Vec<_>>());
    }
    let mut reader = consume(&kafka, &topic, StartAt::Latest).await;
    publish(&kafka, &topic, "after").await;
    assert_eq!(payloads(&mut reader, 1).await, ["after"]);
    step("close", kafka.close()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_takes_no_large_batches_takes_many_small_messages() {
    let config = [("max.message.bytes".to_owned(), "200000".to_owned())].into();
    let auto_create = Some(KafkaAutoCreate { config, ..KafkaAutoCreate::default() });
    let (kafka, topic) = (open(&KafkaConfig { auto_create, ..plain() }), unused_name("narrow"));
    publish(&kafka, &topic, "makes the topic").await;
    for _ in 0..3 {
        for published in publish_many(&kafka, &topic).await {
            published.expect("each of them is small enough");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_producer_that_failed_for_good_is_replaced() {
    let cluster = MockCluster::new(1).expect("a mock cluster");
    cluster.create_topic("orders", 1, 1).expect("a topic");
    let (kafka, topic) = (open(&at(&cluster.bootstrap_servers())), Topic::from("orders"));
    publish(&kafka, &topic, "by the first producer").await;
    let refusal = RDKafkaRespErr::RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED;
    cluster.request_errors(RDKafkaApiKey::InitProducerId, &[refusal]);
    let failures = async || -> Vec<_> {
        publish_many(&kafka, &topic).await.into_iter().filter_map(|one| Some(one.err()?.kind)).collect()
    };
    let failed = async {
        loop {
            let failures = failures().await;
            if !failures.is_empty() {
                return failures;
            }
        }
    };
    let failed = step("the second producer is opened", failed).await;
    assert!(failed.iter().all(|kind| *kind == ErrorKind::Refused), "{failed:?}");
    step("another is opened", async { while !failures().await.is_empty() {} }).await;
}
