//! Properties of the client library, and names by which the broker knows the gateway.

use std::collections::BTreeMap;

use rdkafka::consumer::{BaseConsumer, Consumer as _};
use sluice_api::KafkaConfig;
use sluice_broker::{BrokerDriver, ErrorKind, StartAt};
use sluice_broker_kafka::{Kafka, KafkaOptions};

use crate::support::{consume, new_topic, open, payloads, plain, publish, step, variable};

fn with(properties: &[(&str, &str)]) -> KafkaConfig {
    let properties = properties.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    KafkaConfig { properties: properties.collect(), ..plain() }
}

#[tokio::test(flavor = "multi_thread")]
async fn properties_of_producers_and_readers_are_both_taken() {
    let topic = new_topic("properties", 1).await;
    let kafka = open(&with(&[("linger.ms", "5"), ("fetch.min.bytes", "1"), ("session.timeout.ms", "8000")]));
    let start = StartAt::Group { name: topic.as_str().into(), from_earliest: true, sole: false };
    let mut reader = consume(&kafka, &topic, start).await;
    publish(&kafka, &topic, "through").await;
    assert_eq!(payloads(&mut reader, 1).await, ["through"]);
}

#[test]
fn properties_that_the_library_does_not_take_are_told_in_its_words() {
    let faulty = [
        ("no.such.property", "1", "No such configuration property"),
        ("linger.ms", "often", "Invalid value"),
    ];
    for (name, value, words) in faulty {
        let opened = Kafka::open(&with(&[(name, value)]), KafkaOptions::default());
        let error = opened.err().expect("it cannot work");
        assert_eq!(error.kind, ErrorKind::Configuration, "{error}");
        assert!(error.message.contains(name) && error.message.contains(words), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_broker_knows_the_gateway_by_its_names() {
    let topic = new_topic("named", 1).await;
    let kafka = open(&KafkaConfig {
        client_id: Some("till-7".to_owned()),
        group_prefix: Some("shop.".to_owned()),
        properties: BTreeMap::new(),
        ..plain()
    });
    let start = StartAt::Group { name: topic.as_str().into(), from_earliest: true, sole: false };
    let _reader = consume(&kafka, &topic, start).await;
    let group = format!("shop.{topic}");
    let asked = tokio::task::spawn_blocking(move || {
        let client: BaseConsumer = rdkafka::ClientConfig::new()
            .set("bootstrap.servers", variable("SLUICE_TEST_KAFKA"))
            .create()
            .expect("a client needs no broker yet");
        let groups = client.fetch_group_list(Some(&group), std::time::Duration::from_secs(30));
        let groups = groups.expect("Kafka is there");
        let members = groups.groups().iter().flat_map(rdkafka::groups::GroupInfo::members);
        members.map(|member| member.client_id().to_owned()).collect::<Vec<_>>()
    });
    assert_eq!(step("ask for members", asked).await.expect("it does not panic"), ["till-7"]);
    step("close", kafka.close()).await;
}
