//! Settings of the `amqp` broker: any that speaks AMQP 1.0. How such a broker is written as an address, and what a
//! topic of one may be, stands here for Solace too.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{BrokerSettings, Side, chosen, group_problem, security, yes};
use crate::{BrokerSecurity, Problem, Secret};

/// Settings of `amqp`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AmqpConfig {
    /// `amqp://host:port` or, encrypted, `amqps://host:port`; required. The port is 5672 by default, or 5671.
    pub url: String,
    /// How this broker writes addresses of queues and topics. Default `artemis`.
    #[serde(default)]
    pub addresses: AmqpAddresses,
    /// The host that the broker is told it is spoken to as, for brokers with several virtual ones; RabbitMQ wants
    /// `vhost:name` there. The host of the url when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub virtual_host: Option<String>,
    /// Messages that one reader may hold unacknowledged, 1 to 10,000. Default 500. A reader that has so many gets no
    /// more.
    #[serde(default = "default_credit")]
    pub link_credit: u32,
    /// Bytes that a message may have at the most when it is published, encoded, with its headers; 1,024 at least. What
    /// is larger is refused and not sent. The broker's own limit counts where it says a smaller one, and alone when this
    /// is absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub maximum_message_size: Option<u32>,
    /// Reading.
    #[serde(default)]
    pub consumer: AmqpConsumer,
    /// Publishing.
    #[serde(default)]
    pub producer: AmqpTopics,
    /// Encryption and credentials. A user name is sent by SASL PLAIN, a key store alone means EXTERNAL, neither means
    /// ANONYMOUS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub security: Option<BrokerSecurity>,
}

/// How topics are read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AmqpConsumer {
    /// Whether receivers may read. Default true.
    #[serde(default = "yes")]
    pub enabled: bool,
    /// Addresses: `topic://a/b` or `a/b`, and `queue://name`.
    #[serde(default)]
    pub topics: Vec<String>,
    /// The group that web clients are members of: each message goes to one of them. It may hold expressions of the
    /// client. Without it, and where it comes to nothing, clients are in no group and get every message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group_id: Option<String>,
}

impl Default for AmqpConsumer {
    fn default() -> Self {
        Self { enabled: true, topics: Vec::new(), group_id: None }
    }
}

/// How topics are published to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AmqpTopics {
    /// Whether receivers may publish. Default true.
    #[serde(default = "yes")]
    pub enabled: bool,
    /// Addresses: `topic://a/b` or `a/b`, and `queue://name`.
    #[serde(default)]
    pub topics: Vec<String>,
}

impl Default for AmqpTopics {
    fn default() -> Self {
        Self { enabled: true, topics: Vec::new() }
    }
}

/// How a broker writes addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum AmqpAddresses {
    /// As ActiveMQ Artemis does: the bare name, with a capability that says queue or topic.
    #[default]
    Artemis,
    /// As RabbitMQ before version 4 does, with its plugin for AMQP 1.0: `/amq/queue/name` and `/topic/name`.
    Rabbitmq,
}

/// Where a broker is, taken from a url.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BrokerEndpoint {
    /// A name or an address, without the brackets of IPv6.
    pub host: String,
    /// The port.
    pub port: u16,
    /// Whether the connection is encrypted.
    pub encrypted: bool,
}

impl BrokerEndpoint {
    /// Reads `scheme://host` or `scheme://host:port`. `schemes` names each scheme that may stand there with the port
    /// that it means and whether it means encryption.
    ///
    /// # Errors
    /// A sentence that says what the url must be.
    pub(super) fn parse(url: &str, schemes: &[(&str, u16, bool)]) -> Result<Self, String> {
        let names: Vec<&str> = schemes.iter().map(|(name, ..)| *name).collect();
        let wanted = || format!("Write {}://host:port, and nothing behind the port.", names.join(":// or "));
        let parsed = url::Url::parse(url).map_err(|_| wanted())?;
        let scheme = schemes.iter().find(|(name, ..)| *name == parsed.scheme());
        let Some((_, default_port, encrypted)) = scheme else { return Err(wanted()) };
        if !parsed.username().is_empty() || parsed.password().is_some() {
            return Err("Credentials stand in security.auth, not in the url.".to_owned());
        }
        let bare =
            matches!(parsed.path(), "" | "/") && parsed.query().is_none() && parsed.fragment().is_none();
        let host = parsed.host_str().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
        if !bare || host.is_empty() || parsed.port() == Some(0) {
            return Err(wanted());
        }
        Ok(Self {
            host: host.to_owned(),
            port: parsed.port().unwrap_or(*default_port),
            encrypted: *encrypted,
        })
    }
}

impl AmqpConfig {
    /// Where the broker is.
    ///
    /// # Errors
    /// A sentence that says what the url must be.
    pub fn endpoint(&self) -> Result<BrokerEndpoint, String> {
        BrokerEndpoint::parse(&self.url, &[("amqp", 5672, false), ("amqps", 5671, true)])
    }
}

impl BrokerSettings for AmqpConfig {
    fn publish_topics(&self) -> Option<Vec<&str>> {
        chosen(self.producer.enabled, &self.producer.topics, &[])
    }

    fn deliver_topics(&self) -> Option<Vec<&str>> {
        chosen(self.consumer.enabled, &self.consumer.topics, &[])
    }

    fn address(&self) -> String {
        let virtual_host = self.virtual_host.as_deref().map(|host| format!(" {host}")).unwrap_or_default();
        format!("amqp {}{virtual_host}", self.url)
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
        // Both brokers take '*' and '#' between dots as wildcards, which nothing can be published to.
        let is_pattern = topic_name(topic).split('.').any(|word| matches!(word, "*" | "#"));
        is_address(topic) && (side == Side::Deliver || !is_pattern)
    }

    fn topic_rule(&self) -> &'static str {
        TOPIC_RULE
    }

    fn problems(&self) -> Vec<Problem> {
        let mut problems = security::problems_of(self.security.as_ref());
        problems.extend(connection_problems(self.endpoint(), self.security.as_ref()));
        problems.extend(bound_problems(self.link_credit, self.maximum_message_size));
        if self.virtual_host.as_ref().is_some_and(|host| host.is_empty() || host.len() > 255) {
            problems.push(invalid("virtualHost", "Give 1 to 255 bytes, or leave it out."));
        }
        let text = "RabbitMQ keeps no topics for a group by AMQP 1.0; use the broker 'rabbitmq'.";
        let unshared = (self.addresses == AmqpAddresses::Rabbitmq).then_some(text);
        problems.extend(group_problem(self.group_id(), unshared));
        problems
    }

    fn secrets_mut(&mut self) -> Vec<(String, &mut Secret)> {
        security::secrets_of(self.security.as_mut())
    }
}

pub(super) const TOPIC_RULE: &str = "topic:// or queue:// and a name (a name alone is a topic), 250 bytes at the most; \
                                     wildcards for reading only";

/// A message of so many bytes has room for headers and little else.
const LEAST_MESSAGE: u32 = 1024;

pub(super) const fn default_credit() -> u32 {
    500
}

/// The name behind the prefix.
pub(super) fn topic_name(topic: &str) -> &str {
    topic.strip_prefix("topic://").or_else(|| topic.strip_prefix("queue://")).unwrap_or(topic)
}

/// Whether this is an address of AMQP, whatever wildcards stand in it.
pub(super) fn is_address(topic: &str) -> bool {
    let name = topic_name(topic);
    topic.len() <= 250 && !name.is_empty() && !name.contains("://") && !name.chars().any(char::is_control)
}

pub(super) fn invalid(field: &str, message: impl Into<String>) -> Problem {
    Problem::new(field, "endpoints.configuration.invalid", message)
}

/// The rules on how to connect that Solace and other brokers share.
pub(super) fn connection_problems(
    endpoint: Result<BrokerEndpoint, String>,
    security: Option<&BrokerSecurity>,
) -> Vec<Problem> {
    let mut problems = Vec::new();
    match endpoint {
        Err(text) => problems.push(invalid("url", text)),
        Ok(endpoint) if !endpoint.encrypted && security.is_some_and(|security| security.ssl.is_some()) => {
            let text = "Certificates are given, but this url is one of connections that are not encrypted.";
            problems.push(invalid("url", text));
        }
        Ok(_) => {}
    }
    problems
}

/// The rules on numbers that Solace and other brokers share.
pub(super) fn bound_problems(link_credit: u32, maximum_message_size: Option<u32>) -> Vec<Problem> {
    let mut problems = Vec::new();
    if !(1..=10_000).contains(&link_credit) {
        problems.push(invalid("linkCredit", "Give a number from 1 to 10000."));
    }
    if maximum_message_size.is_some_and(|bytes| bytes < LEAST_MESSAGE) {
        problems.push(invalid("maximumMessageSize", format!("Give {LEAST_MESSAGE} bytes or more.")));
    }
    problems
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn problems(settings: Value) -> Vec<(String, String)> {
        let config: AmqpConfig = serde_json::from_value(settings).unwrap();
        config.problems().into_iter().map(|problem| (problem.path, problem.message)).collect()
    }

    #[test]
    fn a_url_names_host_port_and_encryption() {
        let endpoint =
            |url: &str| BrokerEndpoint::parse(url, &[("amqp", 5672, false), ("amqps", 5671, true)]);
        let expected =
            |host: &str, port, encrypted| Ok(BrokerEndpoint { host: host.to_owned(), port, encrypted });
        assert_eq!(endpoint("amqp://broker"), expected("broker", 5672, false));
        assert_eq!(endpoint("amqps://broker"), expected("broker", 5671, true));
        assert_eq!(endpoint("amqps://[::1]:7000/"), expected("::1", 7000, true));
        for wrong in ["broker:5672", "http://broker", "amqp://", "amqp://h/path", "amqp://h?x", "amqp://h:0"]
        {
            assert!(endpoint(wrong).unwrap_err().contains("amqp:// or amqps://host:port"), "{wrong}");
        }
        assert!(endpoint("amqp://me:secret@h").unwrap_err().contains("security.auth"));
    }

    #[test]
    fn what_cannot_work_is_told_with_its_field() {
        assert!(problems(json!({"url": "amqp://h"})).is_empty());
        let fields = |settings| problems(settings).into_iter().map(|(path, _)| path).collect::<Vec<_>>();
        assert_eq!(fields(json!({"url": "amqp://h", "security": {"ssl": {}}})), ["url"]);
        assert_eq!(fields(json!({"url": "amqps://h", "linkCredit": 0})), ["linkCredit"]);
        assert_eq!(fields(json!({"url": "amqps://h", "linkCredit": 10_001})), ["linkCredit"]);
        assert_eq!(fields(json!({"url": "amqps://h", "virtualHost": ""})), ["virtualHost"]);
        assert_eq!(fields(json!({"url": "amqp://h", "maximumMessageSize": 1023})), ["maximumMessageSize"]);
        assert!(problems(json!({"url": "amqp://h", "maximumMessageSize": 1024})).is_empty());
    }

    #[test]
    fn wildcards_are_for_reading_only() {
        let config: AmqpConfig = serde_json::from_value(json!({"url": "amqp://h"})).unwrap();
        for topic in ["a", "topic://a.b", "queue://a b", "queue://address::queue"] {
            assert!(
                config.is_topic(topic, Side::Publish) && config.is_topic(topic, Side::Deliver),
                "{topic}"
            );
        }
        for pattern in ["a.#", "topic://a.*.c"] {
            assert!(!config.is_topic(pattern, Side::Publish) && config.is_topic(pattern, Side::Deliver));
        }
        for wrong in ["", "topic://", "queue://", "other://a", "topic://queue://a", "a\nb", &"x".repeat(251)]
        {
            assert!(!config.is_topic(wrong, Side::Deliver), "{wrong}");
        }
        assert!(config.is_topic(&"x".repeat(250), Side::Deliver));
    }
}
