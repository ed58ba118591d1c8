//! The real Apache Kafka that the tests were given.

use rdkafka::{
    ClientConfig, Message, Offset, TopicPartitionList,
    admin::{AdminClient, AdminOptions, NewTopic, TopicReplication},
    client::DefaultClientContext,
    consumer::{Consumer, StreamConsumer},
    message::Headers,
    producer::{FutureProducer, FutureRecord},
};

use super::within;

/// The address of Kafka; a test that needs it fails without it.
pub(crate) fn kafka() -> String {
    std::env::var("SLUICE_TEST_KAFKA").expect(
        "SLUICE_TEST_KAFKA is not set: run the tests by `cargo xtask test`, or start a broker by \
         `cargo xtask broker kafka` and set the variables that it prints",
    )
}

/// Makes a topic that no other test has.
pub(crate) async fn kafka_topic(name: &str, partitions: i32) -> String {
    let admin: AdminClient<DefaultClientContext> =
        ClientConfig::new().set("bootstrap.servers", kafka()).create().unwrap();
    let nanos = std::time::UNIX_EPOCH.elapsed().unwrap().as_nanos();
    let topic = format!("{name}-{nanos}");
    let new = NewTopic::new(&topic, partitions, TopicReplication::Fixed(1));
    let made = admin.create_topics([&new], &AdminOptions::new());
    for result in within("Kafka to make a topic", made).await.unwrap() {
        result.unwrap();
    }
    topic
}

/// A record as a client of Kafka sees it that knows nothing of the gateway.
#[derive(Debug)]
pub(crate) struct KafkaRecord {
    pub(crate) key: Option<Vec<u8>>,
    pub(crate) payload: Vec<u8>,
    /// Whether it has no payload, rather than an empty one.
    pub(crate) is_tombstone: bool,
    /// By name in lower case.
    pub(crate) headers: Vec<(String, Vec<u8>)>,
}

impl KafkaRecord {
    pub(crate) fn header(&self, name: &str) -> Option<&[u8]> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| &**value)
    }
}

/// The first records of a topic with one partition; waits until there are so many.
pub(crate) async fn kafka_records(topic: &str, count: usize) -> Vec<KafkaRecord> {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", kafka()).set("group.id", "tests").set("enable.auto.commit", "false");
    let consumer: StreamConsumer = config.create().unwrap();
    let mut whole = TopicPartitionList::new();
    whole.add_partition_offset(topic, 0, Offset::Beginning).unwrap();
    consumer.assign(&whole).unwrap();
    let mut records = Vec::with_capacity(count);
    while records.len() < count {
        let record = within("a record of Kafka", consumer.recv()).await.unwrap();
        let headers = record
            .headers()
            .into_iter()
            .flat_map(Headers::iter)
            .map(|header| (header.key.to_ascii_lowercase(), header.value.unwrap_or_default().to_vec()));
        records.push(KafkaRecord {
            key: record.key().map(<[u8]>::to_vec),
            payload: record.payload().unwrap_or_default().to_vec(),
            is_tombstone: record.payload().is_none(),
            headers: headers.collect(),
        });
    }
    records
}

/// Puts a record into a topic.
pub(crate) async fn kafka_send(topic: &str, key: &str, payload: &str) {
    let producer: FutureProducer = ClientConfig::new().set("bootstrap.servers", kafka()).create().unwrap();
    let record = FutureRecord::to(topic).key(key).payload(payload);
    within("Kafka to take a record", producer.send(record, super::PATIENCE)).await.unwrap();
}
