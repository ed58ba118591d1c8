//! The real brokers that the tests were given, as the broker section of a native definition.

use serde_json::{Value, json};

/// A variable by which `cargo xtask test` says where something is; a test that needs it fails without it.
pub(crate) fn given(variable: &str) -> String {
    std::env::var(variable).unwrap_or_else(|_| {
        panic!("{variable} is not set: run the tests by `cargo xtask test`, or see `cargo xtask help`")
    })
}

/// Host and port of the broker that this variable names.
pub(crate) fn address(variable: &str) -> (String, u16) {
    let address = given(variable);
    let (host, port) = address.rsplit_once(':').unwrap();
    (host.to_owned(), port.parse().unwrap())
}

/// A name that no other test and no earlier run has.
pub(crate) fn unique(name: &str) -> String {
    format!("{name}-{}", std::time::UNIX_EPOCH.elapsed().unwrap().as_nanos())
}

/// User name and password for a broker whose variables begin like this.
fn auth(prefix: &str) -> Value {
    json!({ "username": given(&format!("{prefix}_USER")), "password": given(&format!("{prefix}_PASSWORD")) })
}

/// Mosquitto, to publish to and read from one topic.
pub(crate) fn mqtt_broker(topic: &str) -> Value {
    let (host, port) = address("SLUICE_TEST_MQTT");
    json!({ "type": "mqtt5", "configuration": {
        "serverHost": host, "serverPort": port, "topic": topic,
        "security": { "auth": auth("SLUICE_TEST_MQTT") },
    }})
}

/// RabbitMQ by AMQP 0-9-1, with one routing key for both directions.
pub(crate) fn rabbitmq_broker(key: &str) -> Value {
    let (host, port) = address("SLUICE_TEST_RABBITMQ");
    json!({ "type": "rabbitmq", "configuration": {
        "serverHost": host, "serverPort": port,
        "consumer": { "routingKey": key }, "producer": { "routingKey": key },
        "security": { "auth": auth("SLUICE_TEST_RABBITMQ") },
    }})
}

/// Artemis by AMQP 1.0, with one topic for both directions.
pub(crate) fn artemis_broker(topic: &str) -> Value {
    let topic = format!("topic://{topic}");
    json!({ "type": "amqp", "configuration": {
        "url": format!("amqp://{}", given("SLUICE_TEST_ARTEMIS_AMQP")),
        "consumer": { "topics": [topic] }, "producer": { "topics": [topic] },
        "security": { "auth": auth("SLUICE_TEST_ARTEMIS") },
    }})
}
