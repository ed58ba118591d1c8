//! Credentials, certificates, transports.

use std::fs;

use serde_json::{Value, json};
use sluice_api::MqttConfig;
use sluice_broker::{BrokerDriver, ErrorKind, StartAt};
use sluice_broker_mqtt::{Mqtt, MqttOptions};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

use crate::support::{at, consume, open, payloads, publish, settings, step, try_consume, unused, variable};

fn authority() -> Value {
    json!({"type": "PEM", "path": variable("SLUICE_TEST_BROKER_CA")})
}

fn tls() -> Value {
    json!({"ssl": {"trustStore": authority()}})
}

async fn publishes_and_reads(config: MqttConfig) {
    let topic = unused("secured");
    let mqtt = open(&config);
    step("check", mqtt.check(&[])).await.unwrap_or_else(|error| panic!("{error}"));
    let mut reader = consume(&mqtt, &[topic.as_str()], StartAt::Latest).await;
    publish(&mqtt, topic, "through").await;
    assert_eq!(payloads(&mut reader, 1).await, ["through"]);
    step("close", mqtt.close()).await;
}

async fn of_both_versions(name: &str, more: Value) {
    publishes_and_reads(at(name, more.clone())).await;
    let mut of_311 = more;
    of_311["version"] = json!("3.1.1");
    publishes_and_reads(at(name, of_311)).await;
}

/// The errors of all that can be asked of a broker that cannot be used.
async fn fails(config: &MqttConfig, kind: ErrorKind, words: &[&str]) {
    let mqtt = open(config);
    let checked = step("check", mqtt.check(&[])).await.expect_err("it cannot work");
    let consumed = try_consume(&mqtt, &["t"], StartAt::Latest).await.err().expect("it cannot work");
    let address = format!("{}:{}", config.server_host, config.server_port);
    for error in [checked, consumed] {
        assert_eq!(error.kind, kind, "{error}");
        for word in words.iter().chain(&[&*address]) {
            assert!(error.message.contains(word), "'{word}' is not in: {error}");
        }
    }
}

#[tokio::test]
async fn a_user_name_and_a_password_open_the_door() {
    let auth = json!({
        "username": variable("SLUICE_TEST_MQTT_USER"),
        "password": variable("SLUICE_TEST_MQTT_PASSWORD"),
    });
    of_both_versions("SLUICE_TEST_MQTT_LOGIN", json!({"security": {"auth": auth}})).await;
}

#[tokio::test]
async fn a_wrong_password_is_told_in_both_versions() {
    let security = json!({"auth": {"username": variable("SLUICE_TEST_MQTT_USER"), "password": "wrong"}});
    for version in ["5", "3.1.1"] {
        let config = at("SLUICE_TEST_MQTT_LOGIN", json!({"version": version, "security": security.clone()}));
        fails(&config, ErrorKind::Refused, &["security.auth"]).await;
    }
}

#[tokio::test]
async fn tls_websockets_and_both_carry_both_versions() {
    of_both_versions("SLUICE_TEST_MQTT_TLS", json!({"security": tls()})).await;
    of_both_versions("SLUICE_TEST_MQTT_WS", json!({"transport": "websocket"})).await;
    of_both_versions("SLUICE_TEST_MQTT_WSS", json!({"transport": "websocket", "security": tls()})).await;
}

#[tokio::test]
async fn a_client_certificate_opens_the_door_and_without_it_the_door_stays_shut() {
    let own = json!({"type": "PEM", "path": variable("SLUICE_TEST_BROKER_CLIENT_PEM")});
    let security = json!({"ssl": {"trustStore": authority(), "keyStore": own}});
    of_both_versions("SLUICE_TEST_MQTT_MTLS", json!({"security": security})).await;
    fails(&at("SLUICE_TEST_MQTT_MTLS", json!({"security": tls()})), ErrorKind::Refused, &["keyStore"]).await;
}

#[tokio::test]
async fn a_certificate_of_an_authority_that_is_not_trusted_is_told() {
    let config = at("SLUICE_TEST_MQTT_TLS", json!({"security": {"ssl": {}}}));
    fails(&config, ErrorKind::Unreachable, &["certificate", "trustStore"]).await;
}

#[tokio::test]
async fn a_certificate_for_another_host_is_told_and_can_be_put_up_with() {
    let address = variable("SLUICE_TEST_MQTT_TLS").replace("127.0.0.1", "127.0.0.2");
    // A listener under a name that is not in the certificate leads to the broker.
    let listener = TcpListener::bind(&*address).await.expect("the whole of 127.0.0.0/8 is this machine");
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let broker = tokio::net::TcpStream::connect(variable("SLUICE_TEST_MQTT_TLS")).await;
            let mut broker = broker.expect("the broker is there");
            tokio::spawn(async move { tokio::io::copy_bidirectional(&mut client, &mut broker).await });
        }
    });
    fails(&settings(&address, json!({"security": tls()})), ErrorKind::Unreachable, &["serverHost"]).await;
    let any_host = json!({"ssl": {"trustStore": authority(), "hostnameVerifier": false}});
    publishes_and_reads(settings(&address, json!({"security": any_host}))).await;
}

#[tokio::test]
async fn plain_text_on_a_tls_port_and_tls_on_a_plain_port_are_told() {
    let plain_on_tls = at("SLUICE_TEST_MQTT_TLS", json!({}));
    fails(&plain_on_tls, ErrorKind::Unreachable, &["closed the connection", "TLS"]).await;
    let tls_on_plain = at("SLUICE_TEST_MQTT", json!({"security": tls()}));
    fails(&tls_on_plain, ErrorKind::Unreachable, &[]).await;
}

#[tokio::test]
async fn a_web_server_on_that_port_is_told() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("it is bound").to_string();
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let _ = client.read(&mut [0; 1024]).await;
            let _ = client
                .write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                .await;
        }
    });
    for version in ["5", "3.1.1"] {
        fails(&settings(&address, json!({"version": version})), ErrorKind::Unreachable, &["MQTT"]).await;
        let websocket = json!({"version": version, "transport": "websocket"});
        fails(&settings(&address, websocket), ErrorKind::Unreachable, &["404", "path"]).await;
    }
}

#[tokio::test]
async fn a_host_that_does_not_exist_is_told() {
    fails(&settings("nowhere.invalid:1883", json!({})), ErrorKind::Unreachable, &["cannot be reached"]).await;
}

#[test]
fn a_certificate_that_cannot_be_read_is_told_when_the_driver_is_opened() {
    let file = tempfile::NamedTempFile::new().expect("a temporary file");
    fs::write(file.path(), "no certificate").expect("it can be written");
    for path in ["/does/not/exist.pem", file.path().to_str().expect("a path in UTF-8")] {
        let security = json!({"ssl": {"trustStore": {"type": "PEM", "path": path}}});
        let config = settings("localhost:1", json!({"security": security}));
        let error = Mqtt::open(&config, MqttOptions::default()).err().expect("it cannot be read");
        assert_eq!(error.kind, ErrorKind::Configuration);
        assert!(error.message.contains("trustStore"), "{error}");
    }
}

#[tokio::test]
async fn an_address_of_ipv6_is_connected_to_with_and_without_brackets() {
    // Machines without IPv6 have nothing to show here.
    let Ok(listener) = TcpListener::bind("[::1]:0").await else { return };
    let port = listener.local_addr().expect("it is bound").port();
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let broker = tokio::net::TcpStream::connect(variable("SLUICE_TEST_MQTT")).await;
            let mut broker = broker.expect("the broker is there");
            tokio::spawn(async move { tokio::io::copy_bidirectional(&mut client, &mut broker).await });
        }
    });
    for host in ["::1", "[::1]"] {
        publishes_and_reads(settings(&format!("{host}:{port}"), json!({}))).await;
    }
}
