//! The real Apache Kafka that the tests were given.

use rdkafka::{
    ClientConfig,
    admin::{AdminClient, AdminOptions, NewTopic, TopicReplication},
    client::DefaultClientContext,
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
