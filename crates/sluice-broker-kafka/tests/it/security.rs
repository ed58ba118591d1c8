//! Credentials and certificates.

use std::{fs, process::Command, time::Duration};

use sluice_api::{
    KafkaConfig, KeyStore, Sasl, SaslMechanism, Secret, SecurityProtocol, StoreType, Tls, TrustStore,
};
use sluice_broker::{BrokerDriver, ErrorKind, StartAt};
use sluice_broker_kafka::KafkaOptions;

use crate::support::{
    at, consume, credentials, message, new_secured_topic, open, open_with, payloads, publish, secured, step,
    trusting, try_consume, unused_name, variable,
};

async fn publishes_and_reads(config: KafkaConfig) {
    let topic = new_secured_topic().await;
    let kafka = open(&config);
    let mut reader = consume(&kafka, &topic, StartAt::Latest).await;
    publish(&kafka, &topic, "through").await;
    assert_eq!(payloads(&mut reader, 1).await, ["through"]);
}

fn sasl_plaintext(sasl: Sasl) -> KafkaConfig {
    secured("SLUICE_TEST_KAFKA_SASL", SecurityProtocol::SaslPlaintext, Some(sasl), None)
}

fn mutual(key_store: Option<KeyStore>) -> KafkaConfig {
    secured("SLUICE_TEST_KAFKA_MTLS", SecurityProtocol::Ssl, None, Some(trusting(key_store)))
}

#[tokio::test(flavor = "multi_thread")]
async fn every_sasl_mechanism_publishes_and_reads() {
    for mechanism in [SaslMechanism::Plain, SaslMechanism::ScramSha256, SaslMechanism::ScramSha512] {
        publishes_and_reads(sasl_plaintext(credentials(mechanism))).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_jaas_line_is_as_good_as_user_name_and_password() {
    let (user, password) = (variable("SLUICE_TEST_KAFKA_USER"), variable("SLUICE_TEST_KAFKA_PASSWORD"));
    let line = format!(
        "org.apache.kafka.common.security.scram.ScramLoginModule required username=\"{user}\" password=\"{password}\";"
    );
    publishes_and_reads(sasl_plaintext(Sasl {
        sasl_jaas_config: Some(Secret::new(line)),
        ..Sasl::new(SaslMechanism::ScramSha512)
    }))
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_publishes_and_reads_with_and_without_credentials() {
    let ssl = |tls| secured("SLUICE_TEST_KAFKA_SSL", SecurityProtocol::Ssl, None, Some(tls));
    publishes_and_reads(ssl(trusting(None))).await;
    let text = fs::read_to_string(variable("SLUICE_TEST_KAFKA_CA")).expect("the file is there");
    let store = TrustStore { kind: StoreType::Pem, certificates: Some(text), ..TrustStore::default() };
    publishes_and_reads(ssl(Tls { trust_store: Some(store), key_store: None })).await;
    let sasl = Some(credentials(SaslMechanism::ScramSha256));
    let tls = Some(trusting(None));
    publishes_and_reads(secured("SLUICE_TEST_KAFKA_SASL_SSL", SecurityProtocol::SaslSsl, sasl, tls)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_certificate_may_be_a_pem_file_pem_text_or_pkcs12() {
    let pem_file = variable("SLUICE_TEST_KAFKA_CLIENT_PEM");
    let pem = fs::read_to_string(&pem_file).expect("the file is there");
    let from_file = KeyStore { kind: StoreType::Pem, location: Some(pem_file), ..KeyStore::default() };
    let from_text = KeyStore {
        kind: StoreType::Pem,
        key: Some(Secret::new(&pem)),
        certificate_chain: Some(pem[pem.find("-----BEGIN CERTIFICATE").expect("it is there")..].to_owned()),
        ..KeyStore::default()
    };
    let pkcs12 = KeyStore {
        kind: StoreType::Pkcs12,
        location: Some(variable("SLUICE_TEST_KAFKA_CLIENT_P12")),
        password: Some(Secret::new(variable("SLUICE_TEST_KAFKA_PASSWORD"))),
        ..KeyStore::default()
    };
    for key_store in [from_file, from_text, pkcs12] {
        publishes_and_reads(mutual(Some(key_store))).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_private_key_may_be_encrypted_as_text_and_as_a_file() {
    let pem_file = variable("SLUICE_TEST_KAFKA_CLIENT_PEM");
    let pem = fs::read_to_string(&pem_file).expect("the file is there");
    let encrypting = Command::new("openssl")
        .args(["pkcs8", "-topk8", "-passout", "pass:key-password", "-in", &pem_file])
        .output()
        .expect("openssl made the certificates of the tests");
    let key = String::from_utf8(encrypting.stdout).expect("PEM is text");
    assert!(key.contains("ENCRYPTED PRIVATE KEY"), "{}", String::from_utf8_lossy(&encrypting.stderr));
    let directory = tempfile::tempdir().expect("there is room");
    let key_file = directory.path().join("key.pem");
    fs::write(&key_file, &key).expect("there is room");
    let key_password = Some(Secret::new("key-password"));
    let text = KeyStore {
        kind: StoreType::Pem,
        key: Some(Secret::new(key)),
        key_password: key_password.clone(),
        certificate_chain: Some(pem[pem.find("-----BEGIN CERTIFICATE").expect("it is there")..].to_owned()),
        ..KeyStore::default()
    };
    let file = KeyStore {
        kind: StoreType::Pem,
        location: Some(pem_file),
        key_location: Some(key_file.display().to_string()),
        key_password,
        ..KeyStore::default()
    };
    for key_store in [text, file] {
        publishes_and_reads(mutual(Some(key_store))).await;
    }
}

const QUICK: KafkaOptions = KafkaOptions {
    publish_timeout: Duration::from_secs(2),
    answer_timeout: Duration::from_secs(2),
    join_timeout: Duration::from_secs(2),
    topic_refresh: Duration::from_secs(30),
    pattern_topics: 1000,
    queue_messages: 10,
    queue_kib: 1024,
    read_ahead_kib: 1024,
};

/// Asserts that publishing and reading both fail so, with this text and without the password.
async fn fails(config: &KafkaConfig, kind: ErrorKind, text: &str) {
    let kafka = open_with(config, QUICK);
    let topic = unused_name("out-of-reach");
    let published = step("publish", kafka.publish(&topic, message("lost"))).await.err();
    let consumed = try_consume(&kafka, &topic, StartAt::Latest).await.err();
    for error in [published, consumed] {
        let error = error.expect("neither works");
        assert_eq!(error.kind, kind, "{error}");
        assert!(error.message.contains(text) && error.message.contains(&config.bootstrap_servers), "{error}");
        assert!(!error.message.contains("wrong-password"), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_is_refused() {
    for mechanism in [SaslMechanism::Plain, SaslMechanism::ScramSha256] {
        let password = Some(Secret::new("wrong-password"));
        let config = sasl_plaintext(Sasl { password, ..credentials(mechanism) });
        fails(&config, ErrorKind::Refused, "refuses the login").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_work_until_somebody_acts_is_told_at_once_and_not_when_time_is_up() {
    // A step ends the test before that.
    let patient = KafkaOptions { publish_timeout: Duration::from_secs(900), ..KafkaOptions::default() };
    let password = Some(Secret::new("wrong-password"));
    let refused = sasl_plaintext(Sasl { password, ..credentials(SaslMechanism::ScramSha256) });
    let untrusted = secured("SLUICE_TEST_KAFKA_SSL", SecurityProtocol::Ssl, None, None);
    for (config, kind) in [(refused, ErrorKind::Refused), (untrusted, ErrorKind::Unreachable)] {
        let kafka = open_with(&config, patient);
        let topic = unused_name("out-of-reach");
        let published = step("publish", kafka.publish(&topic, message("lost"))).await.err();
        let checked = step("check", kafka.check(std::slice::from_ref(&topic))).await.err();
        let consumed = try_consume(&kafka, &topic, StartAt::Latest).await.err();
        for error in [published, checked, consumed] {
            assert_eq!(error.map(|error| error.kind), Some(kind));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_of_an_unknown_authority_is_not_trusted() {
    let system = secured("SLUICE_TEST_KAFKA_SSL", SecurityProtocol::Ssl, None, None);
    fails(&system, ErrorKind::Unreachable, "certificate verify failed").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_client_certificate_is_told() {
    fails(&mutual(None), ErrorKind::Unreachable, "bad certificate").await;
}

#[test]
fn settings_that_cannot_work_are_told_when_opening() {
    let jks =
        KeyStore { kind: StoreType::Jks, location: Some("store.jks".to_owned()), ..KeyStore::default() };
    let missing =
        KeyStore { kind: StoreType::Pem, location: Some("missing.pem".to_owned()), ..KeyStore::default() };
    // As a pipe is: reading it would wait for ever.
    let directory =
        KeyStore { kind: StoreType::Pem, location: Some("/dev".to_owned()), ..KeyStore::default() };
    let faulty = [
        (mutual(Some(jks)), "keyStore"),
        (mutual(Some(missing)), "missing.pem"),
        (mutual(Some(directory)), "is not a file"),
    ];
    for (config, text) in faulty {
        let error = sluice_broker_kafka::Kafka::open(&config, QUICK).err().expect("it cannot work");
        assert_eq!(error.kind, ErrorKind::Configuration, "{error}");
        assert!(error.message.contains(text), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_security_protocol_is_told() {
    fails(&at(&variable("SLUICE_TEST_KAFKA_SSL")), ErrorKind::Unreachable, "another security.protocol").await;
    let encrypted = secured("SLUICE_TEST_KAFKA", SecurityProtocol::Ssl, None, Some(trusting(None)));
    fails(&encrypted, ErrorKind::Unreachable, "another security.protocol").await;
}
