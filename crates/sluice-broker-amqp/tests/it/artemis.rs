//! The suite against a real ActiveMQ Artemis, and what is its own: queues, patterns, an address that is full.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use sluice_api::{AmqpAddresses, AmqpConfig};
use sluice_broker::{
    BrokerDriver, ErrorKind, StartAt,
    conformance::{Subject, Wrong},
    conformance_suite,
};
use sluice_broker_amqp::AmqpOptions;
use sluice_message::{Message, Topic};
use tokio::task::JoinSet;

use crate::support::{
    CREDIT, TOO_LARGE, amqp, auth, commit, consume, credentials, group, messages, next, open, options,
    payloads, publish, quick, step, try_publish, unused_name, variable,
};

fn at(address: &str) -> AmqpConfig {
    let security = Some(credentials("SLUICE_TEST_ARTEMIS"));
    amqp(&format!("amqp://{address}"), AmqpAddresses::Artemis, security)
}

fn config() -> AmqpConfig {
    at(&variable("SLUICE_TEST_ARTEMIS_AMQP"))
}

struct Artemis;

impl Subject for Artemis {
    fn driver(&self) -> BoxFuture<'_, Arc<dyn BrokerDriver>> {
        Box::pin(async { open(&config(), options()) as Arc<dyn BrokerDriver> })
    }

    fn topic<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Topic> {
        Box::pin(async move { Topic::from(format!("topic://{}", unused_name(name))) })
    }

    fn missing_topic(&self) -> Topic {
        unused_name("missing").into()
    }

    fn makes_topics(&self) -> bool {
        true
    }

    fn too_large(&self) -> usize {
        TOO_LARGE
    }

    fn window(&self) -> Option<usize> {
        Some(CREDIT as usize)
    }

    fn address(&self) -> Option<String> {
        Some(variable("SLUICE_TEST_ARTEMIS_AMQP"))
    }

    fn driver_at<'a>(&'a self, address: &'a str) -> BoxFuture<'a, Arc<dyn BrokerDriver>> {
        Box::pin(async move { open(&at(address), quick()) as Arc<dyn BrokerDriver> })
    }

    fn wrong(&self) -> BoxFuture<'_, Vec<Wrong>> {
        Box::pin(async {
            let password = AmqpConfig { security: Some(auth("sluice", "wrong")), ..config() };
            let refused = Some(ErrorKind::Refused);
            let wrong = |what, config: &AmqpConfig, topic: &str| Wrong {
                what,
                driver: open(config, quick()),
                topic: topic.into(),
                check: refused,
                publish: refused,
                consume: refused,
            };
            vec![
                wrong("a wrong password", &password, "any"),
                wrong("a topic without permission", &config(), "forbidden.topic"),
                Wrong {
                    check: Some(ErrorKind::NoTopic),
                    publish: Some(ErrorKind::NoTopic),
                    consume: Some(ErrorKind::NoTopic),
                    ..wrong("a topic that is not made on demand", &config(), "fixed.topic")
                },
            ]
        })
    }
}

conformance_suite!(Artemis);

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_keeps_what_is_published_before_anybody_reads() {
    let driver = open(&config(), options());
    let queue: Topic = format!("queue://{}", unused_name("kept")).into();
    for payload in ["one", "two", "three"] {
        publish(&driver, &queue, payload).await;
    }
    let mut reader = consume(&driver, &queue, group("any", true)).await;
    let read = messages(&mut reader, 2).await;
    commit(&mut reader, &read[0]).await;
    drop(reader);
    let mut reader = consume(&driver, &queue, group("another", false)).await;
    assert_eq!(payloads(&mut reader, 2).await, ["two", "three"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pattern_reads_several_topics_and_tells_which() {
    let driver = open(&config(), options());
    let parent = unused_name("parent");
    let mut reader = consume(&driver, &format!("topic://{parent}.#").into(), StartAt::Latest).await;
    let topic: Topic = format!("topic://{parent}.one.two").into();
    publish(&driver, &topic, "through").await;
    let found = next(&mut reader).await.expect("Artemis is there");
    let told = found.metadata().find(|(name, _)| *name == "topic").map(|(_, value)| value.into_owned());
    assert_eq!(told.as_deref(), Some(topic.as_str()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_address_is_worth_another_try() {
    let driver = open(&config(), quick());
    let queue: Topic = format!("queue://full.{}", unused_name("queue")).into();
    let error = loop {
        if let Err(error) = try_publish(&driver, &queue, "more").await {
            break error;
        }
    };
    assert!(error.retryable(), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_and_passwords_connect_over_tls() {
    use sluice_api::BrokerSecurity;

    use crate::support::certificates;

    let address = variable("SLUICE_TEST_ARTEMIS_AMQPS");
    let password = credentials("SLUICE_TEST_ARTEMIS").auth;
    for (auth, with_own) in [(password.clone(), false), (password, true), (None, true)] {
        let security = BrokerSecurity { auth, ssl: Some(certificates(with_own)) };
        let url = format!("amqps://{address}");
        let driver = open(&amqp(&url, AmqpAddresses::Artemis, Some(security)), options());
        let topic = unused_name("over-tls").into();
        let mut reader = consume(&driver, &topic, StartAt::Latest).await;
        publish(&driver, &topic, "through").await;
        assert_eq!(payloads(&mut reader, 1).await, ["through"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_addresses_do_no_harm_to_others_on_the_connection() {
    let driver = open(&config(), options());
    let good: Topic = format!("topic://{}", unused_name("good")).into();
    let refused =
        [("topic://forbidden.t", ErrorKind::Refused), ("queue://fixed.nothing", ErrorKind::NoTopic)];
    let mut publishers = JoinSet::new();
    for (topic, kind) in refused.into_iter().cycle().take(10) {
        let driver = driver.clone();
        publishers.spawn(async move {
            for _ in 0..20 {
                let error = try_publish(&driver, &topic.into(), "x").await.expect_err("Artemis refuses it");
                assert_eq!(error.kind, kind, "{error}");
            }
        });
    }
    for _ in 0..2 {
        let (driver, good) = (driver.clone(), good.clone());
        publishers.spawn(async move {
            for number in 0..100 {
                publish(&driver, &good, &number.to_string()).await;
            }
        });
    }
    while let Some(ended) = publishers.join_next().await {
        ended.unwrap_or_else(|error| panic!("{error}"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_larger_than_is_read_is_rejected_and_holds_up_nothing() {
    let driver = open(&config(), AmqpOptions { message_kib: 64, ..options() });
    let queue: Topic = format!("queue://{}", unused_name("large")).into();
    let sized = |bytes| Message::builder().payload(vec![b'x'; bytes]).build();
    for bytes in [63 << 10, 64 << 10, 1] {
        step("publish", driver.publish(&queue, sized(bytes))).await.expect("the broker takes it");
    }
    let mut reader = consume(&driver, &queue, group("any", true)).await;
    let sizes =
        messages(&mut reader, 2).await.iter().map(|message| message.payload().len()).collect::<Vec<_>>();
    assert_eq!(sizes, [63 << 10, 1]);
}
