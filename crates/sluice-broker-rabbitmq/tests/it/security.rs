//! TLS, logging in, and what is told when either fails.

use std::time::Duration;

use serde_json::{Value, json};
use sluice_api::RabbitmqConfig;
use sluice_broker::{BrokerDriver, DriverError, ErrorKind, StartAt};
use sluice_broker_rabbitmq::{Rabbitmq, RabbitmqOptions};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

use crate::support::{at, auth, consume, open, payloads, plain, publish, step, unused, variable, with};

fn trusting() -> Value {
    json!({"trustStore": {"type": "PEM", "path": variable("SLUICE_TEST_BROKER_CA")}})
}

fn encrypted(security: &Value) -> RabbitmqConfig {
    at(&variable("SLUICE_TEST_RABBITMQ_TLS"), json!({"security": security}))
}

async fn publishes_and_reads(config: &RabbitmqConfig) {
    let topic = unused("secured");
    let rabbitmq = open(config);
    let mut reader = consume(&rabbitmq, &[&topic], StartAt::Latest).await;
    publish(&rabbitmq, &topic, "through").await;
    assert_eq!(payloads(&mut reader, 1).await, ["through"]);
}

async fn refused(config: &RabbitmqConfig) -> DriverError {
    step("check", open(config).check(&[])).await.expect_err("this cannot work")
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_publishes_and_reads_with_a_password_or_a_certificate() {
    publishes_and_reads(&encrypted(&json!({"auth": auth(), "ssl": trusting()}))).await;
    let mut ssl = trusting();
    ssl["keyStore"] = json!({"type": "PEM", "path": variable("SLUICE_TEST_BROKER_CLIENT_PEM")});
    publishes_and_reads(&encrypted(&json!({"ssl": ssl}))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_of_another_authority_is_told() {
    let error = refused(&encrypted(&json!({"auth": auth(), "ssl": {}}))).await;
    assert_eq!(error.kind, ErrorKind::Unreachable);
    assert!(error.message.contains("certificate"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_where_there_is_none_and_none_where_there_is_are_told() {
    let (plain, tls) = (variable("SLUICE_TEST_RABBITMQ"), variable("SLUICE_TEST_RABBITMQ_TLS"));
    let error = refused(&at(&plain, json!({"security": {"auth": auth(), "ssl": trusting()}}))).await;
    assert!(error.message.contains("does not speak TLS"), "{error}");
    let error = refused(&at(&tls, json!({"security": {"auth": auth()}}))).await;
    assert_eq!(error.kind, ErrorKind::Unreachable);
    assert!(error.message.contains(&tls) && error.message.contains("speaks TLS"), "{error}");
}

/// The address of something that answers whatever it is told, as a web server does, and hangs up.
async fn web_server() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
    let address = listener.local_addr().expect("it listens").to_string();
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            // Who has gone already needs no answer.
            let _ = client.read(&mut [0; 1024]).await;
            let _ = client.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n").await;
        }
    });
    address
}

#[tokio::test(flavor = "multi_thread")]
async fn another_protocol_on_the_port_is_told_for_what_it_is() {
    let web = web_server().await;
    let [mqtt, mqtts] = ["SLUICE_TEST_MQTT", "SLUICE_TEST_MQTT_TLS"].map(variable);
    let [artemis, artemises] = ["SLUICE_TEST_ARTEMIS_AMQP", "SLUICE_TEST_ARTEMIS_AMQPS"].map(variable);
    let cases = [
        (&web, false, "web server"),
        (&mqtt, false, "hung up at the first words"),
        (&mqtts, false, "TLS"),
        (&artemis, false, "AMQP"),
        (&artemises, false, "TLS"),
        (&web, true, "does not speak TLS"),
        (&mqtt, true, "may not speak TLS"),
        (&mqtts, true, "hung up at the first words"),
        (&artemis, true, "not speak TLS"),
    ];
    let quick = RabbitmqOptions { answer_timeout: Duration::from_secs(2), ..RabbitmqOptions::default() };
    for (address, is_encrypted, text) in cases {
        let mut security = json!({"auth": auth()});
        if is_encrypted {
            security["ssl"] = trusting();
        }
        let config = at(address, json!({"security": security}));
        let rabbitmq = Rabbitmq::open(&config, quick).expect("opening needs no broker");
        let error = step("check", rabbitmq.check(&[])).await.expect_err("that is no RabbitMQ");
        assert_eq!(error.kind, ErrorKind::Unreachable, "{error}");
        assert!(error.message.contains(text) && error.message.contains(&**address), "{text}: {error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_not_let_in_is_told_why() {
    let mut password = auth();
    password["password"] = json!("wrong");
    let error = refused(&with(json!({"security": {"auth": password}}))).await;
    assert!(error.kind == ErrorKind::Refused && error.message.contains("ACCESS_REFUSED"), "{error}");
    let error = refused(&with(json!({"virtualHost": "nowhere"}))).await;
    assert!(error.kind == ErrorKind::Refused && error.message.contains("nowhere"), "{error}");
    let error = refused(&at("no-such-host.invalid:5672", json!({}))).await;
    assert!(
        error.kind == ErrorKind::Unreachable && error.message.contains("no-such-host.invalid"),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_that_cannot_be_read_are_told_when_the_driver_is_opened() {
    let ssl = json!({"trustStore": {"type": "PEM", "path": "/no/such/file.pem"}});
    let opened = Rabbitmq::open(&encrypted(&json!({"ssl": ssl})), RabbitmqOptions::default());
    let error = opened.err().expect("no such file");
    assert!(error.kind == ErrorKind::Configuration && error.message.contains("/no/such/file.pem"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_written_no_credentials_is_a_guest() {
    let mut config = plain();
    config.security = None;
    // RabbitMQ under test knows no guest.
    assert_eq!(refused(&config).await.kind, ErrorKind::Refused);
}
