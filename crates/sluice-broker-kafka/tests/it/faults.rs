//! Brokers that are away, go away, or fail. Where they must do so at a given moment it is librdkafka's mock.

use std::time::Duration;

use futures_util::FutureExt as _;
use rdkafka::{
    mocking::MockCluster,
    types::{RDKafkaApiKey, RDKafkaRespErr},
};
use sluice_broker::{BrokerDriver, ErrorKind, StartAt};
use sluice_broker_kafka::{Kafka, KafkaOptions};
use sluice_message::{Message, Topic};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

use crate::support::{at, consume, message, open_with, payloads, step, try_consume};

const QUICK: KafkaOptions = KafkaOptions {
    publish_timeout: Duration::from_secs(2),
    answer_timeout: Duration::from_secs(2),
    join_timeout: Duration::from_secs(2),
    topic_refresh: Duration::from_secs(30),
    pattern_topics: 1000,
    queue_messages: 10,
    queue_kib: 64,
    read_ahead_kib: 1024,
};

/// An address where nobody listens.
async fn nowhere() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("there is a free port");
    listener.local_addr().expect("it is bound").to_string()
}

async fn publish_until_it_works(kafka: &Kafka, topic: &Topic) {
    step("publish until it works", async { while kafka.publish(topic, message("again")).await.is_err() {} })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_is_the_same_by_each_of_its_servers_and_no_other_is() {
    let (cluster, other) = (MockCluster::new(2), MockCluster::new(1));
    let (cluster, other) = (cluster.expect("a mock cluster"), other.expect("another"));
    let servers = cluster.bootstrap_servers();
    let (one, two) = servers.split_once(',').expect("it has two brokers");
    let turned = format!("{two},{one}");
    let known = identity(&servers).await;
    for servers in [one, two, &turned] {
        assert_eq!(identity(servers).await, known, "{servers}");
    }
    assert_ne!(identity(&other.bootstrap_servers()).await, known);
}

async fn identity(servers: &str) -> String {
    let kafka = open_with(&at(servers), KafkaOptions::default());
    step("identity", kafka.identity()).await.expect("the cluster says which it is")
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_broker_a_driver_opens_and_every_call_is_unreachable() {
    let servers = nowhere().await;
    let kafka = open_with(&at(&servers), QUICK);
    let topic = Topic::from("orders");
    let published = step("publish", kafka.publish(&topic, message("lost"))).await.err();
    let group = StartAt::Group { name: "group".into(), from_earliest: true, sole: false };
    let joined = try_consume(&kafka, &topic, group).await.err();
    let consumed = try_consume(&kafka, &topic, StartAt::Latest).await.err();
    let bounds = step("bounds", kafka.bounds(std::slice::from_ref(&topic))).await.err();
    let time = step("position", kafka.position_at(std::slice::from_ref(&topic), 0)).await.err();
    let identity = step("identity", kafka.identity()).await.expect_err("nobody says which cluster it is");
    assert_eq!(identity.kind, ErrorKind::Unreachable, "{identity}");
    assert!(identity.message.contains(&servers), "{identity}");
    for error in [published, joined, consumed, bounds, time] {
        let error = error.expect("nothing works without a broker");
        assert_eq!(error.kind, ErrorKind::Unreachable, "{error}");
        assert!(error.retryable());
        for part in [&*servers, "orders", "refused"] {
            assert!(error.message.contains(part), "{part} is missing in: {error}");
        }
    }
    step("close", kafka.close()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_fit_the_queue_is_refused_at_once() {
    let kafka = open_with(&at(&nowhere().await), QUICK);
    let topic = Topic::from("orders");
    let large = Message::builder().payload(vec![0; 65 << 10]).build();
    let error = step("publish", kafka.publish(&topic, large)).await.expect_err("it can never fit");
    assert_eq!(error.kind, ErrorKind::TooLarge, "{error}");

    let many = (0..QUICK.queue_messages + 5).map(|_| kafka.publish(&topic, message("one of many")));
    let results = step("publish", futures_util::future::join_all(many)).await;
    let kinds: Vec<_> = results.into_iter().filter_map(|result| Some(result.err()?.kind)).collect();
    let count = |kind| kinds.iter().filter(|&&found| found == kind).count();
    assert_eq!((count(ErrorKind::Unreachable), count(ErrorKind::Overloaded)), (10, 5), "{kinds:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn publishing_and_reading_go_on_when_the_broker_comes_back() {
    let cluster = MockCluster::new(1).expect("a mock cluster");
    cluster.create_topic("orders", 1, 1).expect("a topic");
    let kafka = open_with(&at(&cluster.bootstrap_servers()), QUICK);
    let topic = Topic::from("orders");
    let mut reader = consume(&kafka, &topic, StartAt::Earliest).await;
    publish_until_it_works(&kafka, &topic).await;
    assert_eq!(payloads(&mut reader, 1).await, ["again"]);

    cluster.broker_down(1).expect("it is up");
    let error = step("publish", kafka.publish(&topic, message("lost"))).await.expect_err("it is away");
    assert_eq!(error.kind, ErrorKind::Unreachable, "{error}");
    cluster.broker_up(1).expect("it is down");
    publish_until_it_works(&kafka, &topic).await;
    assert_eq!(payloads(&mut reader, 1).await, ["again"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_makes_topics_on_demand_is_never_asked_to() {
    let cluster = MockCluster::new(1).expect("a mock cluster, which makes them");
    let kafka = open_with(&at(&cluster.bootstrap_servers()), QUICK);
    let topic = Topic::from("orders");
    let published = step("publish", kafka.publish(&topic, message("lost"))).await.err();
    let group = StartAt::Group { name: "group".into(), from_earliest: true, sole: false };
    let joined = try_consume(&kafka, &topic, group).await.err();
    let consumed = try_consume(&kafka, &topic, StartAt::Latest).await.err();
    let bounds = step("bounds", kafka.bounds(std::slice::from_ref(&topic))).await.err();
    for error in [published, joined, consumed, bounds] {
        let error = error.expect("there is no topic");
        assert_eq!(error.kind, ErrorKind::NoTopic, "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_closes_while_another_does_waits_until_all_is_settled() {
    let kafka = open_with(&at(&nowhere().await), QUICK);
    let topic = Topic::from("orders");
    let mut publishing = kafka.publish(&topic, message("lost"));
    assert!((&mut publishing).now_or_never().is_none());
    let mut closing = kafka.close();
    assert!((&mut closing).now_or_never().is_none());
    step("close", kafka.close()).await;
    assert!(publishing.now_or_never().is_some());
    step("close", closing).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_producer_that_failed_for_good_is_replaced() {
    let cluster = MockCluster::new(1).expect("a mock cluster");
    cluster.create_topic("orders", 1, 1).expect("a topic");
    // Fatal to an idempotent producer, as where the rights to be one are given only later.
    let refusal = RDKafkaRespErr::RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED;
    cluster.request_errors(RDKafkaApiKey::InitProducerId, &[refusal]);
    let kafka = open_with(&at(&cluster.bootstrap_servers()), QUICK);
    let topic = Topic::from("orders");
    let error = step("publish", kafka.publish(&topic, message("lost"))).await.expect_err("it is refused");
    assert_eq!(error.kind, ErrorKind::Refused, "{error}");
    publish_until_it_works(&kafka, &topic).await;
}

/// The address of a server that says this to whatever it hears, and hangs up.
async fn stranger(answer: &'static [u8]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("there is a free port");
    let address = listener.local_addr().expect("it is bound").to_string();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let _ = stream.read(&mut [0; 1024]).await;
                let _ = stream.write_all(answer).await;
            });
        }
    });
    address
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_speak_kafka_is_told_from_a_kafka_that_is_away() {
    // As web servers, RabbitMQ, servers of TLS and Mosquitto do.
    let answers: [&[u8]; 4] =
        [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"AMQP\x00\x00\x09\x01", b"\x15\x03\x01\x00\x02\x02\x46", b""];
    for answer in answers {
        let servers = stranger(answer).await;
        let (kafka, topic) = (open_with(&at(&servers), QUICK), Topic::from("orders"));
        let published = step("publish", kafka.publish(&topic, message("lost"))).await.err();
        let checked = step("check", kafka.check(std::slice::from_ref(&topic))).await.err();
        for error in [published, checked] {
            let error = error.expect("nobody takes it");
            assert_eq!(error.kind, ErrorKind::Unreachable, "{error}");
            for part in [&*servers, "seems not to speak Kafka", "security.protocol"] {
                assert!(error.message.contains(part), "{part} is missing in: {error}");
            }
        }
    }
}
