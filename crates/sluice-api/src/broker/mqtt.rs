//! Settings of the `mqtt5` broker: MQTT 5, or 3.1.1 where the broker speaks nothing newer.

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, de::Error};
use serde_json::Value;

use super::{BrokerSettings, Side, group_problem, security, yes};
use crate::{BrokerSecurity, Problem, Secret};

/// Settings of `mqtt5`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MqttConfig {
    /// The broker's host, by name or address; required.
    pub server_host: String,
    /// Its port; required. A number, or a text that is one.
    #[serde(deserialize_with = "port")]
    #[schemars(with = "PortWritten")]
    pub server_port: u16,
    /// Which MQTT is spoken. Default `5`.
    #[serde(default)]
    pub version: MqttVersion,
    /// What carries it. Default `tcp`.
    #[serde(default)]
    pub transport: MqttTransport,
    /// Where the broker takes WebSockets. Default `/mqtt`. For the transport `websocket` only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// What the ids of the gateway's clients begin with; the broker keeps sessions under them. Default `sluice`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,
    /// How many seconds the broker keeps the session of a durable reader that is away; -1 or less for ever. Default
    /// 86400. MQTT 3.1.1 leaves it to the broker and takes none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_expiry_interval: Option<i64>,
    /// How many attempts to connect again may fail, one after the other, before messages are refused at once rather
    /// than held for the next attempt; and how often a message is sent again whose connection was lost before its
    /// acknowledgement came. From 0 to 10, default 3. Connecting itself is tried for as long as the API is there.
    #[serde(default = "reconnect_attempts")]
    pub reconnect_attempts: u8,
    /// After how many seconds without traffic either side asks whether the other is still there; a broker that says
    /// nothing for twice as long counts as lost. From 1 to 65535, default 30.
    #[serde(default = "keep_alive")]
    pub keep_alive: u16,
    /// The largest MQTT packet in bytes, either way. What is published must fit into what the broker takes, too. The
    /// broker is told of it and leaves out larger messages without a word (MQTT 5), or they end the connection
    /// (3.1.1). From 1024 to 268435455, default 16777216.
    #[serde(default = "maximum_packet_size")]
    pub maximum_packet_size: u32,
    /// The topic to publish to and to read from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topic: Option<String>,
    /// Reading.
    #[serde(default)]
    pub consumer: MqttConsumer,
    /// Publishing.
    #[serde(default)]
    pub producer: MqttProducer,
    /// Encryption and credentials.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub security: Option<BrokerSecurity>,
}

const fn reconnect_attempts() -> u8 {
    3
}

const fn keep_alive() -> u16 {
    30
}

const fn maximum_packet_size() -> u32 {
    16 << 20
}

const fn at_least_once() -> u8 {
    1
}

/// A port as it may be written.
#[derive(Deserialize, JsonSchema)]
#[serde(untagged, expecting = "a port is a number from 1 to 65535, or a text that is one")]
enum PortWritten {
    Number(u16),
    Text(String),
}

fn port<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u16, D::Error> {
    match PortWritten::deserialize(deserializer)? {
        PortWritten::Number(port) => Ok(port),
        PortWritten::Text(text) => text.parse().map_err(|_| {
            D::Error::custom(format_args!("'{text}' is no port; a port is a number from 1 to 65535"))
        }),
    }
}

/// Versions of MQTT.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub enum MqttVersion {
    /// MQTT 5.
    #[default]
    #[serde(rename = "5")]
    V5,
    /// MQTT 3.1.1, without headers, expiry and response topics.
    #[serde(rename = "3.1.1")]
    V311,
}

/// What carries MQTT.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum MqttTransport {
    /// TCP, encrypted where `security.ssl` is given.
    #[default]
    Tcp,
    /// WebSocket, encrypted where `security.ssl` is given.
    Websocket,
}

/// How MQTT topics are read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MqttConsumer {
    /// Whether receivers may read. Default true.
    #[serde(default = "yes")]
    pub enabled: bool,
    /// The topic filter to read, in place of the `topic` that both directions share; `+` and `#` are wildcards.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topic: Option<String>,
    /// Several topic filters, in place of one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub topics: Vec<String>,
    /// The quality of service that is asked for: 0, 1 or 2. Default 1. At 0 the broker keeps nothing for a reader that
    /// is away, and nothing holds it back: a durable reader needs 1 or 2.
    #[serde(default = "at_least_once")]
    pub qos: u8,
    /// The name of a shared subscription: the broker gives each message to one of all who use it, this gateway or
    /// others. Without it each gateway gets every message. MQTT 5 only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub share: Option<String>,
    /// The group that web clients are members of, at the broker a shared subscription: each message goes to one of them.
    /// It may hold expressions of the client. Without it, and where it comes to nothing, clients are in no group and get
    /// every message. MQTT 5 only, at qos 1 or 2, and not beside `share`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group_id: Option<String>,
    /// How many messages of QoS 1 and 2 may be on their way or unacknowledged at a time. From 1 to 65535, default
    /// 1000. MQTT 3.1.1 has no such bound and takes none; the broker's own holds there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub receive_maximum: Option<u16>,
    /// What becomes of retained messages when a subscription is made. Default `new`.
    #[serde(default)]
    pub retained: MqttRetained,
}

impl Default for MqttConsumer {
    fn default() -> Self {
        Self {
            enabled: true,
            topic: None,
            topics: Vec::new(),
            qos: at_least_once(),
            share: None,
            group_id: None,
            receive_maximum: None,
            retained: MqttRetained::New,
        }
    }
}

/// When a reader is given the messages that the broker retains.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum MqttRetained {
    /// When its subscription is new. MQTT 3.1.1 gives them whenever a reader connects again, too. A shared
    /// subscription is never given any.
    #[default]
    New,
    /// Never. MQTT 5 only.
    Never,
}

/// How MQTT is published to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MqttProducer {
    /// Whether receivers may publish. Default true.
    #[serde(default = "yes")]
    pub enabled: bool,
    /// The topic to publish to, in place of the `topic` that both directions share.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topic: Option<String>,
    /// Several topics, in place of one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub topics: Vec<String>,
    /// The quality of service: 1 or 2. Default 1. There is no 0: a publisher is told that the broker has its message,
    /// and at 0 the broker does not say so.
    #[serde(default = "at_least_once")]
    pub qos: u8,
    /// Whether the broker keeps the last message of each topic for whoever subscribes later. Default false.
    #[serde(default)]
    pub retained: bool,
    /// The topic that answers are to be sent to. MQTT 5 only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub response_topic: Option<String>,
    /// After how many seconds the broker drops a message that it could not deliver; -1 or less for never, the default.
    /// MQTT 5 only.
    #[serde(default = "never", skip_serializing_if = "is_never")]
    pub message_expiry_interval: i64,
}

impl Default for MqttProducer {
    fn default() -> Self {
        Self {
            enabled: true,
            topic: None,
            topics: Vec::new(),
            qos: at_least_once(),
            retained: false,
            response_topic: None,
            message_expiry_interval: never(),
        }
    }
}

const fn never() -> i64 {
    -1
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands it over so")]
const fn is_never(seconds: &i64) -> bool {
    *seconds < 0
}

fn chosen<'a>(
    enabled: bool,
    several: &'a [String],
    one: Option<&'a String>,
    shared: Option<&'a String>,
) -> Option<Vec<&'a str>> {
    let topics = match several {
        [] => one.or(shared).into_iter().map(String::as_str).collect(),
        several => several.iter().map(String::as_str).collect(),
    };
    enabled.then_some(topics)
}

impl MqttConfig {
    fn check_connection(&self, rule: &mut impl FnMut(bool, &str, &str)) {
        rule(
            !self.server_host.is_empty() && self.server_port != 0,
            "serverHost",
            "Give the broker's serverHost and a serverPort from 1 to 65535.",
        );
        let path = self.path.as_deref();
        let is_path = |path: &str| {
            path.starts_with('/') && path.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#')
        };
        rule(path.is_none_or(is_path), "path", "A path begins with '/' and has no spaces and no '#'.");
        rule(
            path.is_none() || self.transport == MqttTransport::Websocket,
            "path",
            "A path is for the transport 'websocket' only; leave it out.",
        );
        let is_id = |id: &str| (1..=MAX_CLIENT_ID).contains(&id.len()) && !id.contains(char::is_control);
        rule(
            self.client_id.as_deref().is_none_or(is_id),
            "clientId",
            "A client id has 1 to 128 bytes and no control characters.",
        );
        rule(self.reconnect_attempts <= 10, "reconnectAttempts", "From 0 to 10.");
        rule(
            self.keep_alive > 0,
            "keepAlive",
            "From 1 to 65535 seconds; without it, a frozen broker is not noticed.",
        );
        rule(
            (1024..=268_435_455).contains(&self.maximum_packet_size),
            "maximumPacketSize",
            "From 1024 to 268435455 bytes, which is the most that MQTT knows.",
        );
        let expiry = self.session_expiry_interval;
        rule(
            expiry.is_none_or(|seconds| seconds < i64::from(u32::MAX)),
            "sessionExpiryInterval",
            "At most 4294967294 seconds, or -1 for ever.",
        );
        rule(
            expiry != Some(0),
            "sessionExpiryInterval",
            "With 0 the broker forgets a reader as soon as it is away, and what it had not delivered is lost; give 1 or \
             more seconds, or -1 for ever.",
        );
        rule(
            expiry.is_none() || self.version == MqttVersion::V5,
            "sessionExpiryInterval",
            "MQTT 3.1.1 leaves to the broker how long it keeps sessions; leave it out.",
        );
    }

    fn check_reading(&self, rule: &mut impl FnMut(bool, &str, &str)) {
        let (consumer, is_v5) = (&self.consumer, self.version == MqttVersion::V5);
        rule(consumer.qos <= 2, "consumer.qos", "0, 1 or 2.");
        let is_share =
            |name: &str| !name.is_empty() && name.len() <= 1024 && !name.contains(['/', '+', '#', '\0']);
        rule(
            consumer.share.as_deref().is_none_or(is_share),
            "consumer.share",
            "The name of a shared subscription has 1 to 1024 bytes and no '/', '+' or '#'.",
        );
        rule(
            consumer.share.is_none() || is_v5,
            "consumer.share",
            "Shared subscriptions are part of MQTT 5 only; leave it out.",
        );
        rule(consumer.receive_maximum != Some(0), "consumer.receiveMaximum", "From 1 to 65535 messages.");
        rule(
            consumer.receive_maximum.is_none() || is_v5,
            "consumer.receiveMaximum",
            "MQTT 3.1.1 has no such bound, the broker's own holds; leave it out.",
        );
        rule(
            consumer.retained == MqttRetained::New || is_v5,
            "consumer.retained",
            "MQTT 3.1.1 gives retained messages with every subscription; leave it out.",
        );
    }

    /// Why readers cannot share the messages, where they cannot.
    fn unshared(&self) -> Option<&'static str> {
        if self.version == MqttVersion::V311 {
            Some(
                "A group is a shared subscription, which MQTT 3.1.1 does not have; leave it out, or use version 5.",
            )
        } else if self.consumer.qos == 0 {
            Some("At qos 0 the broker keeps nothing for a group; use consumer.qos 1 or 2.")
        } else if self.consumer.share.is_some() {
            Some("With consumer.share all that is read is one shared subscription; leave out one of the two.")
        } else {
            None
        }
    }

    fn check_publishing(&self, rule: &mut impl FnMut(bool, &str, &str)) {
        let (producer, is_v5) = (&self.producer, self.version == MqttVersion::V5);
        rule(
            producer.qos != 0,
            "producer.qos",
            "At QoS 0 the broker does not say that it has a message, and a publisher must be told so; use 1 or 2.",
        );
        rule(producer.qos <= 2, "producer.qos", "1 or 2.");
        rule(
            producer.response_topic.as_deref().is_none_or(|topic| self.is_topic(topic, Side::Publish)),
            "producer.responseTopic",
            "Answers go to a topic without wildcards.",
        );
        rule(
            producer.response_topic.is_none() || is_v5,
            "producer.responseTopic",
            "MQTT 3.1.1 has no response topics; leave it out.",
        );
        rule(
            producer.message_expiry_interval <= i64::from(u32::MAX) && producer.message_expiry_interval != 0,
            "producer.messageExpiryInterval",
            "From 1 to 4294967295 seconds, or -1 for never.",
        );
        rule(
            producer.message_expiry_interval < 0 || is_v5,
            "producer.messageExpiryInterval",
            "In MQTT 3.1.1 messages do not expire; leave it out.",
        );
    }
}

/// The longest beginning of client ids, in bytes: the driver adds to it, and MQTT allows 65,535.
const MAX_CLIENT_ID: usize = 128;

impl BrokerSettings for MqttConfig {
    fn publish_topics(&self) -> Option<Vec<&str>> {
        let producer = &self.producer;
        chosen(producer.enabled, &producer.topics, producer.topic.as_ref(), self.topic.as_ref())
    }

    fn deliver_topics(&self) -> Option<Vec<&str>> {
        let consumer = &self.consumer;
        chosen(consumer.enabled, &consumer.topics, consumer.topic.as_ref(), self.topic.as_ref())
    }

    fn address(&self) -> String {
        format!("mqtt {}:{}", self.server_host, self.server_port)
    }

    fn keep_connection(&mut self) {
        self.topic = None;
        let (consumer, producer) = (&mut self.consumer, &mut self.producer);
        (consumer.enabled, consumer.topic, consumer.topics) = (true, None, Vec::new());
        consumer.group_id = None;
        (producer.enabled, producer.topic, producer.topics) = (true, None, Vec::new());
    }

    fn group_id(&self) -> Option<&str> {
        self.consumer.group_id.as_deref()
    }

    fn to_value(&self) -> Value {
        serde_json::to_value(self).unwrap_or_default()
    }

    /// MQTT 5 section 4.7: no empty topic, no control characters, 65,535 bytes at the most; wildcards in filters only, as whole
    /// levels, `#` last. Topics of the broker itself (`$`) are for reading only.
    fn is_topic(&self, topic: &str, side: Side) -> bool {
        let levels = || topic.split('/');
        let sound = (1..=65_535).contains(&topic.len()) && !topic.contains(char::is_control);
        let is_filter = || {
            let count = levels().count();
            levels().enumerate().all(|(at, level)| match level {
                "+" => true,
                "#" => at + 1 == count,
                other => !other.contains(['+', '#']),
            })
        };
        sound
            && match side {
                Side::Publish => !topic.contains(['+', '#']) && !topic.starts_with('$'),
                Side::Deliver => is_filter() && !topic.starts_with("$share/"),
            }
    }

    fn topic_rule(&self) -> &'static str {
        "levels separated by '/'; '+' and '#' as whole levels, for reading only"
    }

    fn problems(&self) -> Vec<Problem> {
        let mut problems = security::problems_of(self.security.as_ref());
        let mut rule = |holds: bool, field: &str, message: &str| {
            if !holds {
                problems.push(Problem::new(field, "endpoints.configuration.invalid", message));
            }
        };
        self.check_connection(&mut rule);
        self.check_reading(&mut rule);
        self.check_publishing(&mut rule);
        problems.extend(group_problem(self.group_id(), self.unshared()));
        problems
    }

    fn secrets_mut(&mut self) -> Vec<(String, &mut Secret)> {
        security::secrets_of(self.security.as_mut())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(more: Value) -> MqttConfig {
        let mut all = json!({"serverHost": "localhost", "serverPort": 1883});
        if let (Some(all), Value::Object(more)) = (all.as_object_mut(), more) {
            all.extend(more);
        }
        serde_json::from_value(all).expect("settings that are known")
    }

    fn paths(more: Value) -> Vec<String> {
        read(more).problems().into_iter().map(|problem| problem.path).collect()
    }

    #[test]
    fn a_port_is_a_number_or_a_text_that_is_one() {
        assert_eq!(read(json!({"serverPort": "8883"})).server_port, 8883);
        for port in [json!("x"), json!("70000"), json!(70000), json!(-1), json!(null)] {
            let config = json!({"serverHost": "localhost", "serverPort": port});
            assert!(serde_json::from_value::<MqttConfig>(config).is_err(), "{port}");
        }
        assert_eq!(paths(json!({"serverPort": "0"})), ["serverHost"]);
    }

    #[test]
    fn settings_come_back_as_they_were_written() {
        let config = read(json!({
            "version": "5", "transport": "websocket", "path": "/ws", "clientId": "g", "sessionExpiryInterval": -1,
            "reconnectAttempts": 10, "keepAlive": 1, "maximumPacketSize": 1024,
            "consumer": {"topics": ["a/#"], "qos": 2, "share": "s", "receiveMaximum": 1, "retained": "never"},
            "producer": {"topic": "a", "qos": 2, "retained": true, "responseTopic": "b", "messageExpiryInterval": 1},
        }));
        assert!(config.problems().is_empty(), "{:?}", config.problems());
        assert_eq!(serde_json::from_value::<MqttConfig>(config.to_value()).ok(), Some(config));
    }

    #[test]
    fn values_have_bounds() {
        assert_eq!(
            paths(json!({
                "path": "/x", "clientId": "", "reconnectAttempts": 11, "keepAlive": 0, "maximumPacketSize": 1023,
                "sessionExpiryInterval": 0,
                "consumer": {"qos": 3, "share": "a/b", "receiveMaximum": 0},
                "producer": {"qos": 3, "responseTopic": "a/+", "messageExpiryInterval": 0},
            })),
            [
                "path",
                "clientId",
                "reconnectAttempts",
                "keepAlive",
                "maximumPacketSize",
                "sessionExpiryInterval",
                "consumer.qos",
                "consumer.share",
                "consumer.receiveMaximum",
                "producer.qos",
                "producer.responseTopic",
                "producer.messageExpiryInterval",
            ]
        );
        assert_eq!(paths(json!({"maximumPacketSize": 268_435_456})), ["maximumPacketSize"]);
        assert_eq!(paths(json!({"sessionExpiryInterval": 4_294_967_295_u32})), ["sessionExpiryInterval"]);
        assert_eq!(paths(json!({"transport": "websocket", "path": "no slash"})), ["path"]);
    }

    #[test]
    fn publishing_at_qos_0_is_refused_and_says_why() {
        let problems = read(json!({"producer": {"qos": 0}})).problems();
        assert_eq!(problems.len(), 1);
        assert!(problems[0].message.contains("does not say that it has a message"), "{problems:?}");
    }

    #[test]
    fn what_mqtt_3_1_1_does_not_have_is_refused_there() {
        assert_eq!(paths(json!({"version": "3.1.1"})), [""; 0]);
        assert_eq!(
            paths(json!({
                "version": "3.1.1", "sessionExpiryInterval": 1,
                "consumer": {"share": "s", "receiveMaximum": 1, "retained": "never"},
                "producer": {"responseTopic": "b", "messageExpiryInterval": 1},
            })),
            [
                "sessionExpiryInterval",
                "consumer.share",
                "consumer.receiveMaximum",
                "consumer.retained",
                "producer.responseTopic",
                "producer.messageExpiryInterval",
            ]
        );
    }

    #[test]
    fn apis_with_other_topics_share_a_driver_and_those_with_other_terms_do_not() {
        let connection = |more| {
            let mut config = read(more);
            config.keep_connection();
            config
        };
        let plain = connection(json!({}));
        let topics = json!({"topic": "a", "consumer": {"topic": "b", "enabled": false}, "producer": {"topics": ["c"]}});
        assert_eq!(connection(topics), plain);
        assert_ne!(connection(json!({"consumer": {"qos": 2}})), plain);
        assert_ne!(connection(json!({"producer": {"retained": true}})), plain);
    }

    #[test]
    fn a_topic_is_checked_for_its_direction() {
        let config = read(json!({}));
        for filter in ["#", "a/+/c", "+", "$SYS/#", "a/#", "/"] {
            assert!(config.is_topic(filter, Side::Deliver), "{filter}");
        }
        for filter in ["", "a#", "#/a", "a+/b", "a\u{7}", "$share/g/a", &*"a".repeat(65_536)] {
            assert!(!config.is_topic(filter, Side::Deliver), "{filter}");
        }
        assert!(config.is_topic("a/b", Side::Publish));
        for topic in ["a/+", "#", "$SYS/x", "", "a\0"] {
            assert!(!config.is_topic(topic, Side::Publish), "{topic}");
        }
    }
}
