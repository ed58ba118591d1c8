//! The brokers that the conformance suite is run against, and what it has to know about them.

use std::{sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use serde_json::{Value, json};
use sluice_broker::{
    BrokerDriver, ErrorKind,
    conformance::{Subject, Wrong},
};
use sluice_broker_mqtt::{Mqtt, MqttOptions};
use sluice_message::Topic;

use crate::support::{at, open, settings, unused, variable};

/// What a reader of a group is sent before it commits: what it asks for, or what Mosquitto gives a client of 3.1.1,
/// which cannot ask.
const WINDOW: usize = 10;
const MOSQUITTOS_WINDOW: usize = 20;
/// More than any broker here takes, in bytes.
const TOO_LARGE: usize = 2 << 20;

/// One broker, one version.
pub(crate) struct Broker {
    address: String,
    more: Value,
    window: Option<usize>,
    wrong: fn() -> Vec<Wrong>,
}

pub(crate) fn mosquitto(version: &str) -> Broker {
    let (more, window, wrong): (_, _, fn() -> _) = match version {
        "5" => (json!({"consumer": {"receiveMaximum": WINDOW}}), Some(WINDOW), wrong_with_mqtt_5),
        version => {
            // A broker does not tell its limit here, so that the gateway has to know one.
            (json!({"version": version, "maximumPacketSize": 1 << 20}), Some(MOSQUITTOS_WINDOW), Vec::new)
        }
    };
    Broker { address: variable("SLUICE_TEST_MQTT"), more, window, wrong }
}

pub(crate) fn artemis() -> Broker {
    let more = json!({
        "maximumPacketSize": 1 << 20,
        "security": {"auth": {
            "username": variable("SLUICE_TEST_ARTEMIS_USER"),
            "password": variable("SLUICE_TEST_ARTEMIS_PASSWORD"),
        }},
    });
    Broker { address: variable("SLUICE_TEST_ARTEMIS_MQTT"), more, window: None, wrong: Vec::new }
}

impl Broker {
    fn open(&self, address: &str, options: MqttOptions) -> Arc<dyn BrokerDriver> {
        let opened = Mqtt::open(&settings(address, self.more.clone()), options);
        Arc::new(opened.expect("opening needs no broker"))
    }
}

impl Subject for Broker {
    fn driver(&self) -> BoxFuture<'_, Arc<dyn BrokerDriver>> {
        Box::pin(async { self.open(&self.address, MqttOptions::default()) })
    }

    fn topic<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Topic> {
        Box::pin(async { unused(name) })
    }

    fn missing_topic(&self) -> Topic {
        unused("missing")
    }

    fn makes_topics(&self) -> bool {
        true
    }

    fn too_large(&self) -> usize {
        TOO_LARGE
    }

    fn has_text_headers(&self) -> bool {
        true
    }

    fn window(&self) -> Option<usize> {
        self.window
    }

    fn address(&self) -> Option<String> {
        Some(self.address.clone())
    }

    fn driver_at<'a>(&'a self, address: &'a str) -> BoxFuture<'a, Arc<dyn BrokerDriver>> {
        let options = MqttOptions { publish_timeout: Duration::from_secs(2), ..MqttOptions::default() };
        Box::pin(async move { self.open(address, options) })
    }

    fn wrong(&self) -> BoxFuture<'_, Vec<Wrong>> {
        Box::pin(async { (self.wrong)() })
    }
}

fn wrong_with_mqtt_5() -> Vec<Wrong> {
    let wrong = |what, name, more, kind: ErrorKind| Wrong {
        what,
        driver: Arc::new(open(&at(name, more))),
        topic: unused("wrong"),
        check: Some(kind),
        publish: Some(kind),
        consume: Some(kind),
    };
    let password = json!({"security": {"auth": {"username": "sluice", "password": "wrong"}}});
    vec![
        wrong("a wrong password", "SLUICE_TEST_MQTT_LOGIN", password, ErrorKind::Refused),
        wrong("no credentials", "SLUICE_TEST_MQTT_LOGIN", json!({}), ErrorKind::Refused),
        wrong(
            "an authority that is not trusted",
            "SLUICE_TEST_MQTT_TLS",
            json!({"security": {"ssl": {}}}),
            ErrorKind::Unreachable,
        ),
        Wrong {
            topic: unused("forbidden/topic"),
            check: None,
            // Mosquitto takes the subscription and delivers nothing.
            consume: None,
            ..wrong("a topic without permission", "SLUICE_TEST_MQTT", json!({}), ErrorKind::Refused)
        },
    ]
}
