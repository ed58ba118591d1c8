//! TLS, logging in, and what is told when either fails.

use serde_json::{Value, json};
use sluice_api::RabbitmqConfig;
use sluice_broker::{BrokerDriver, DriverError, ErrorKind, StartAt};
use sluice_broker_rabbitmq::{Rabbitmq, RabbitmqOptions};

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
    assert!(error.message.contains(&tls), "{error}");
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
