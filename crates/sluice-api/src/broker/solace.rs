//! Settings of the `solace` broker: guaranteed messaging by AMQP 1.0, or direct messaging by MQTT.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{
    AmqpConsumer, AmqpTopics, BrokerEndpoint, BrokerSettings, MqttConfig, Side,
    amqp::{
        TOPIC_RULE, bound_problems, connection_problems, default_credit, invalid, is_address, topic_name,
    },
    chosen, group_problem, security,
};
use crate::{BrokerSecurity, Problem, Secret};

/// Settings of `solace`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SolaceConfig {
    /// `tcp://host:port` or, encrypted, `tcps://host:port`; required. The port is that of the broker's AMQP service
    /// (5672 by default, or 5671), or of its MQTT service (1883 by default, or 8883), as `transport` says: the port of
    /// Solace's own protocol (55555) is not spoken.
    pub url: String,
    /// The message VPN, which the broker is told as the host it is spoken to as. The broker's default one, or that of
    /// the port, when absent. Not by MQTT, where the port alone says the VPN.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vpn_name: Option<String>,
    /// Which protocol carries the messages. Default `amqp`.
    #[serde(default)]
    pub transport: SolaceTransport,
    /// Messages that one reader may hold unacknowledged, 1 to 10,000. Default 500. A reader that has so many gets no
    /// more. By AMQP only.
    #[serde(default = "default_credit")]
    pub link_credit: u32,
    /// Bytes that a message may have at the most when it is published, encoded, with its headers; 1,024 at least. What
    /// is larger is refused and not sent. The broker's own limit counts where it says a smaller one, and alone when this
    /// is absent. By AMQP only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub maximum_message_size: Option<u32>,
    /// The broker's management, where queues and their subscriptions are to be made. Without it they must be there, or
    /// the broker's client profile must allow that they are made by who binds to them. By AMQP only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub semp: Option<SolaceSemp>,
    /// Reading.
    #[serde(default)]
    pub consumer: AmqpConsumer,
    /// Publishing.
    #[serde(default)]
    pub producer: AmqpTopics,
    /// Encryption and credentials. By AMQP a user name is sent by SASL PLAIN, a key store alone means EXTERNAL, neither
    /// means ANONYMOUS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub security: Option<BrokerSecurity>,
}

/// Protocols of a Solace broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum SolaceTransport {
    /// AMQP 1.0: queues, topic endpoints, messages that the broker keeps.
    #[default]
    Amqp,
    /// MQTT 5: topics as MQTT writes them, messages that the broker passes on at once.
    Mqtt,
}

/// Access to the broker's management by SEMP v2.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SolaceSemp {
    /// `http://host:8080` or `https://host:1943`, without a path; required.
    pub url: String,
    /// The name of a user of the broker's management with access to the VPN.
    pub username: String,
    /// The user's password.
    pub password: Secret,
}

impl SolaceConfig {
    /// Where the broker is.
    ///
    /// # Errors
    /// A sentence that says what the url must be.
    pub fn endpoint(&self) -> Result<BrokerEndpoint, String> {
        let (plain, encrypted) = match self.transport {
            SolaceTransport::Amqp => (5672, 5671),
            SolaceTransport::Mqtt => (1883, 8883),
        };
        BrokerEndpoint::parse(&self.url, &[("tcp", plain, false), ("tcps", encrypted, true)])
    }

    /// The same broker as one that is spoken to by MQTT 5, for the transport that says so. Topics are as MQTT has them.
    ///
    /// # Errors
    /// A sentence that says what the url must be.
    pub fn mqtt(&self) -> Result<MqttConfig, String> {
        let endpoint = self.endpoint()?;
        let address = json!({ "serverHost": endpoint.host, "serverPort": endpoint.port });
        let mut mqtt: MqttConfig = serde_json::from_value(address).map_err(|error| error.to_string())?;
        let mut security = self.security.clone().unwrap_or_default();
        if endpoint.encrypted {
            security.ssl.get_or_insert_default();
        }
        (mqtt.consumer.enabled, mqtt.consumer.topics) = (self.consumer.enabled, self.consumer.topics.clone());
        (mqtt.producer.enabled, mqtt.producer.topics) = (self.producer.enabled, self.producer.topics.clone());
        mqtt.security = Some(security);
        Ok(mqtt)
    }
}

impl SolaceSemp {
    fn problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        let url = url::Url::parse(&self.url).ok().filter(|url| {
            matches!(url.scheme(), "http" | "https") && url.path() == "/" && url.query().is_none()
        });
        if url.is_none_or(|url| !url.username().is_empty() || url.password().is_some()) {
            problems
                .push(invalid("semp.url", "Write http://host:port or https://host:port, without a path."));
        }
        if self.username.is_empty() {
            problems.push(invalid("semp.username", "A user of the broker's management is needed."));
        }
        problems
    }
}

impl BrokerSettings for SolaceConfig {
    fn publish_topics(&self) -> Option<Vec<&str>> {
        chosen(self.producer.enabled, &self.producer.topics, &[])
    }

    fn deliver_topics(&self) -> Option<Vec<&str>> {
        chosen(self.consumer.enabled, &self.consumer.topics, &[])
    }

    fn address(&self) -> String {
        let vpn = self.vpn_name.as_deref().map(|vpn| format!(" {vpn}")).unwrap_or_default();
        format!("solace {}{vpn}", self.url)
    }

    fn keep_connection(&mut self) {
        (self.consumer, self.producer) = (AmqpConsumer::default(), AmqpTopics::default());
    }

    fn group_id(&self) -> Option<&str> {
        self.consumer.group_id.as_deref()
    }

    fn to_value(&self) -> Value {
        serde_json::to_value(self).unwrap_or_default()
    }

    fn is_topic(&self, topic: &str, side: Side) -> bool {
        if self.transport == SolaceTransport::Mqtt {
            return !topic.contains("://") && self.mqtt().is_ok_and(|mqtt| mqtt.is_topic(topic, side));
        }
        // A level that ends with '*' matches what begins like it, a last level '>' everything below.
        let levels = || topic_name(topic).split('/');
        let is_pattern = levels().any(|level| level.ends_with('*')) || levels().next_back() == Some(">");
        is_address(topic) && (side == Side::Deliver || !is_pattern)
    }

    fn topic_rule(&self) -> &'static str {
        match self.transport {
            SolaceTransport::Amqp => TOPIC_RULE,
            SolaceTransport::Mqtt => {
                "levels separated by '/'; '+' and '#' as whole levels, for reading only; queues are for AMQP"
            }
        }
    }

    fn problems(&self) -> Vec<Problem> {
        let mut problems = security::problems_of(self.security.as_ref());
        problems.extend(connection_problems(self.endpoint(), self.security.as_ref()));
        problems.extend(bound_problems(self.link_credit, self.maximum_message_size));
        if self.vpn_name.as_ref().is_some_and(|vpn| vpn.is_empty() || vpn.len() > 32) {
            problems.push(invalid("vpnName", "A message VPN has a name of 1 to 32 bytes."));
        }
        if let Some(semp) = &self.semp {
            problems.extend(semp.problems());
        }
        let text =
            "A topic endpoint of Solace has one reader; with 'semp' the gateway makes a queue for the group.";
        let is_sole = self.transport == SolaceTransport::Amqp && self.semp.is_none();
        problems.extend(group_problem(self.group_id(), is_sole.then_some(text)));
        if self.transport == SolaceTransport::Mqtt {
            let text = "By MQTT there is no such thing: leave it out, or choose the transport 'amqp'.";
            let given = [
                ("vpnName", self.vpn_name.is_some()),
                ("semp", self.semp.is_some()),
                ("linkCredit", self.link_credit != default_credit()),
                ("maximumMessageSize", self.maximum_message_size.is_some()),
            ];
            problems.extend(given.iter().filter(|(_, given)| *given).map(|(field, _)| invalid(field, text)));
        }
        problems
    }

    fn secrets_mut(&mut self) -> Vec<(String, &mut Secret)> {
        let mut secrets = security::secrets_of(self.security.as_mut());
        if let Some(semp) = &mut self.semp {
            secrets.push(("semp.password".to_owned(), &mut semp.password));
        }
        secrets
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(settings: Value) -> SolaceConfig {
        serde_json::from_value(settings).unwrap()
    }

    #[test]
    fn the_transport_says_which_port_is_meant() {
        let port = |settings| config(settings).endpoint().unwrap().port;
        assert_eq!(port(json!({"url": "tcp://h"})), 5672);
        assert_eq!(port(json!({"url": "tcps://h"})), 5671);
        assert_eq!(port(json!({"url": "tcps://h", "transport": "mqtt"})), 8883);
        assert_eq!(port(json!({"url": "tcp://h:1", "transport": "mqtt"})), 1);
    }

    #[test]
    fn what_cannot_work_is_told_with_its_field() {
        let fields = |settings| {
            let problems = config(settings).problems();
            problems.into_iter().map(|problem| problem.path).collect::<Vec<_>>()
        };
        let semp = json!({"url": "https://h:1943", "username": "admin", "password": "secret"});
        assert!(fields(json!({"url": "tcps://h", "vpnName": "default", "semp": semp})).is_empty());
        assert_eq!(fields(json!({"url": "amqp://h"})), ["url"]);
        assert_eq!(fields(json!({"url": "tcp://h", "vpnName": "x".repeat(33)})), ["vpnName"]);
        let wrong = json!({"url": "https://h/path", "username": "", "password": "x"});
        assert_eq!(fields(json!({"url": "tcp://h", "semp": wrong})), ["semp.url", "semp.username"]);
        for secret in ["http://admin@h", "http://:hush@h"] {
            let semp = json!({"url": secret, "username": "admin", "password": "x"});
            assert_eq!(fields(json!({"url": "tcp://h", "semp": semp})), ["semp.url"], "errors tell the url");
        }
        let by_mqtt = json!({
            "url": "tcp://h", "transport": "mqtt", "vpnName": "v", "semp": semp, "linkCredit": 7,
            "maximumMessageSize": 2048
        });
        assert_eq!(fields(by_mqtt), ["vpnName", "semp", "linkCredit", "maximumMessageSize"]);
        assert_eq!(fields(json!({"url": "tcp://h", "maximumMessageSize": 1})), ["maximumMessageSize"]);
    }

    #[test]
    fn wildcards_are_for_reading_and_queues_for_amqp() {
        let amqp = config(json!({"url": "tcp://h"}));
        for pattern in ["a/*", "topic://a/b*/c", "a/>"] {
            assert!(amqp.is_topic(pattern, Side::Deliver) && !amqp.is_topic(pattern, Side::Publish));
        }
        assert!(amqp.is_topic("queue://q", Side::Publish) && amqp.is_topic("a/b", Side::Publish));
        let mqtt = config(json!({"url": "tcp://h", "transport": "mqtt"}));
        assert!(mqtt.is_topic("a/+/c", Side::Deliver) && !mqtt.is_topic("a/+/c", Side::Publish));
        assert!(!mqtt.is_topic("queue://q", Side::Deliver) && !mqtt.is_topic("topic://a", Side::Deliver));
    }

    #[test]
    fn by_mqtt_it_is_a_broker_of_mqtt() {
        let config = config(json!({
            "url": "tcps://h:9000", "transport": "mqtt", "consumer": {"topics": ["a/+"]}, "producer": {"enabled": false}
        }));
        let mqtt = config.mqtt().unwrap();
        assert_eq!((mqtt.server_host.as_str(), mqtt.server_port), ("h", 9000));
        assert_eq!((mqtt.deliver_topics(), mqtt.publish_topics()), (Some(vec!["a/+"]), None));
        assert!(mqtt.security.is_some_and(|security| security.ssl.is_some()), "an encrypted url encrypts");
    }

    #[test]
    fn the_password_of_the_management_is_a_secret() {
        let mut config = config(json!({
            "url": "tcp://h", "semp": {"url": "http://h:8080", "username": "admin", "password": "hush"}
        }));
        let paths: Vec<_> = config.secrets_mut().into_iter().map(|(path, _)| path).collect();
        assert_eq!(paths, ["semp.password"]);
        assert!(!config.to_value().to_string().contains("hush"));
    }
}
