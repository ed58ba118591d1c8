//! The suite against a real RabbitMQ of before version 4, by its plugin for AMQP 1.0, and what is its own: queues.

use std::sync::Arc;

use fe2o3_amqp::{Connection, Sender, Session, sasl_profile::SaslProfile};
use futures_util::future::BoxFuture;
use sluice_api::{AmqpAddresses, AmqpConfig, BrokerSecurity};
use sluice_broker::{
    BrokerDriver, ErrorKind,
    conformance::{Subject, Wrong},
    conformance_suite,
};
use sluice_message::Topic;

use crate::support::{
    TOO_LARGE, amqp, auth, certificates, commit, consume, credentials, group, messages, open, options,
    payloads, publish, quick, try_consume, try_publish, unused_name, variable,
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
