//! The suite against a real RabbitMQ of before version 4, by its plugin for AMQP 1.0, and what is its own: queues.

use std::sync::Arc;

use fe2o3_amqp::{Connection, Sender, Session, sasl_profile::SaslProfile};
use futures_util::future::{BoxFuture, join, join_all};
use sluice_api::{AmqpAddresses, AmqpConfig, BrokerSecurity};
use sluice_broker::{
    BrokerDriver, ErrorKind,
    conformance::{Subject, Wrong},
    conformance_suite,
};
use sluice_broker_amqp::AmqpOptions;
use sluice_message::{Message, Topic};

use crate::support::{
    TOO_LARGE, amqp, auth, certificates, commit, consume, credentials, group, message, messages, open,
    options, payloads, publish, quick, step, try_consume, try_publish, unused_name, variable,
};

fn at(address: &str) -> AmqpConfig {
    let security = Some(credentials("SLUICE_TEST_RABBITMQ"));
    amqp(&format!("amqp://{address}"), AmqpAddresses::Rabbitmq, security)
}

fn config() -> AmqpConfig {
    at(&variable("SLUICE_TEST_RABBITMQ"))
}

struct RabbitMq;

impl Subject for RabbitMq {
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

    fn address(&self) -> Option<String> {
        Some(variable("SLUICE_TEST_RABBITMQ"))
    }

    fn driver_at<'a>(&'a self, address: &'a str) -> BoxFuture<'a, Arc<dyn BrokerDriver>> {
        Box::pin(async move { open(&at(address), quick()) as Arc<dyn BrokerDriver> })
    }

    fn wrong(&self) -> BoxFuture<'_, Vec<Wrong>> {
        Box::pin(async {
            let password = AmqpConfig { security: Some(auth("sluice", "wrong")), ..config() };
            let host = AmqpConfig { virtual_host: Some("vhost:nowhere".to_owned()), ..config() };
            let wrong = |what, config: &AmqpConfig, topic: &str, kind| Wrong {
                what,
                // RabbitMQ takes its time to refuse.
                driver: open(config, options()),
                topic: topic.into(),
                check: Some(kind),
                publish: Some(kind),
                consume: Some(kind),
            };
            vec![
                wrong("a wrong password", &password, "any", ErrorKind::Refused),
                wrong("a virtual host that is not there", &host, "any", ErrorKind::Refused),
                wrong("a queue that is not there", &config(), "queue://nowhere", ErrorKind::NoTopic),
                wrong("a queue without permission", &config(), "queue://forbidden.queue", ErrorKind::Refused),
            ]
        })
    }
}

conformance_suite!(RabbitMq);

/// Makes a queue, as the plugin does for whoever attaches to an address of this form.
async fn new_queue(name: &str) -> Topic {
    let name = unused_name(name);
    let mut connection = Connection::builder()
        .container_id("sluice-tests")
        .sasl_profile(SaslProfile::Plain {
            username: variable("SLUICE_TEST_RABBITMQ_USER"),
            password: variable("SLUICE_TEST_RABBITMQ_PASSWORD"),
        })
        .open(&*format!("amqp://{}", variable("SLUICE_TEST_RABBITMQ")))
        .await
        .expect("RabbitMQ is there");
    let mut session = Session::begin(&mut connection).await.expect("RabbitMQ gives a session");
    let sender = Sender::attach(&mut session, "maker", format!("/queue/{name}")).await;
    drop(sender.expect("RabbitMQ makes the queue"));
    // How it answers this is its own affair.
    let _ = connection.close().await;
    format!("queue://{name}").into()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_is_shared_and_gets_again_what_was_not_acknowledged() {
    let driver = open(&config(), options());
    let queue = new_queue("shared").await;
    for payload in ["one", "two", "three"] {
        publish(&driver, &queue, payload).await;
    }
    let mut reader = consume(&driver, &queue, group("any", false)).await;
    let read = messages(&mut reader, 3).await;
    commit(&mut reader, &read[0]).await;
    drop(reader);
    let mut reader = consume(&driver, &queue, group("any", false)).await;
    assert_eq!(payloads(&mut reader, 2).await, ["two", "three"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_subscribes_to_is_taken_and_what_no_queue_is_there_for_is_not() {
    let driver = open(&config(), quick());
    publish(&driver, &unused_name("lonely").into(), "gone").await;
    let published = try_publish(&driver, &"queue://nowhere".into(), "lost").await;
    assert_eq!(published.err().map(|error| error.kind), Some(ErrorKind::NoTopic));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_of_a_topic_is_refused_with_the_way_out() {
    let driver = open(&config(), quick());
    let refused = try_consume(&driver, &"topic://any".into(), group("any", true)).await;
    let error = refused.err().expect("RabbitMQ has no such thing over AMQP 1.0");
    assert_eq!(error.kind, ErrorKind::Unsupported);
    assert!(error.message.contains("queue://name") && error.message.contains("'rabbitmq'"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_and_passwords_connect_over_tls() {
    let address = variable("SLUICE_TEST_RABBITMQ_TLS");
    let password = credentials("SLUICE_TEST_RABBITMQ").auth;
    for (auth, with_own) in [(password.clone(), false), (password, true), (None, true)] {
        let security = BrokerSecurity { auth, ssl: Some(certificates(with_own)) };
        let url = format!("amqps://{address}");
        let driver = open(&amqp(&url, AmqpAddresses::Rabbitmq, Some(security)), options());
        let topic = unused_name("over-tls").into();
        let mut reader = consume(&driver, &topic, sluice_broker::StartAt::Latest).await;
        publish(&driver, &topic, "through").await;
        assert_eq!(payloads(&mut reader, 1).await, ["through"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_over_the_brokers_limit_is_too_large_and_harms_no_other() {
    let driver = open(&config(), AmqpOptions { queue_kib: 64 << 10, ..options() });
    let topic: Topic = unused_name("over-the-limit").into();
    publish(&driver, &topic, "before").await;
    // RabbitMQ ends the session, with all that is under way on it.
    let large = || Message::builder().payload(vec![b'x'; 3 << 20]).build();
    let others = join_all((0..50).map(|_| driver.publish(&topic, message("other"))));
    let (refused, others) = step("publish", join(driver.publish(&topic, large()), others)).await;
    let error = refused.expect_err("RabbitMQ takes 2 MiB");
    assert_eq!(error.kind, ErrorKind::TooLarge, "{error}");
    assert!(error.message.contains("2097152"), "{error}");
    assert!(others.iter().all(Result::is_ok), "{others:?}");
    // Now the limit is known.
    let error = step("publish", driver.publish(&topic, large())).await.expect_err("RabbitMQ takes 2 MiB");
    assert_eq!(error.kind, ErrorKind::TooLarge, "{error}");
    let largest = Message::builder().payload(vec![b'x'; 2 << 20]).build();
    step("publish the largest", driver.publish(&topic, largest)).await.expect("RabbitMQ takes it");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_over_the_set_size_is_not_sent() {
    let small = AmqpConfig { maximum_message_size: Some(4096), ..config() };
    let driver = open(&small, options());
    let topic: Topic = unused_name("over-the-setting").into();
    let sized = |bytes| Message::builder().payload(vec![b'x'; bytes]).build();
    let error = step("publish", driver.publish(&topic, sized(4096))).await.expect_err("headers come on top");
    assert_eq!(error.kind, ErrorKind::TooLarge, "{error}");
    assert!(error.message.contains("maximumMessageSize allows 4096"), "{error}");
    step("publish", driver.publish(&topic, sized(3800))).await.expect("it is within the limit");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_larger_than_is_read_is_rejected_and_holds_up_nothing() {
    let driver = open(&config(), AmqpOptions { message_kib: 64, ..options() });
    let queue: Topic = new_queue("large").await;
    let sized = |bytes| Message::builder().payload(vec![b'x'; bytes]).build();
    for bytes in [63 << 10, 64 << 10, 1] {
        step("publish", driver.publish(&queue, sized(bytes))).await.expect("the broker takes it");
    }
    let mut reader = consume(&driver, &queue, group("any", true)).await;
    let sizes =
        messages(&mut reader, 2).await.iter().map(|message| message.payload().len()).collect::<Vec<_>>();
    assert_eq!(sizes, [63 << 10, 1]);
}
