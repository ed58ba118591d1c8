//! Settings of the `kafka` broker: addresses, topics, how they are read, published to and made, security.

mod consumer;
mod jaas;
mod properties;
mod security;

use std::collections::BTreeMap;

use regex::RegexBuilder;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{BrokerSettings, Side, chosen, group_problem, yes};
use crate::{AutoOffsetReset, Problem, Secret, validate::is_topic_name};

pub use self::{
    consumer::{IsolationLevel, KafkaConsumer},
    security::{
        ClientCredentials, KafkaOauth, KafkaSecurity, KeyStore, Sasl, SaslMechanism, SecurityProtocol,
        StoreType, Tls, TrustStore,
    },
};

/// The longest pattern over topic names, in bytes.
const MAX_PATTERN: usize = 1024;
/// How large a pattern may become when it is compiled, in bytes.
const MAX_COMPILED: usize = 1 << 20;

/// Settings of `kafka`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct KafkaConfig {
    /// `host:port` of one or more brokers of the cluster, separated by commas; required.
    pub bootstrap_servers: String,
    /// The topics to publish to and to read from.
    #[serde(default)]
    pub topics: Vec<String>,
    /// Reading.
    #[serde(default)]
    pub consumer: KafkaConsumer,
    /// Publishing.
    #[serde(default)]
    pub producer: KafkaProducer,
    /// How to connect: encryption and credentials. Without it, plain text and none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub security: Option<KafkaSecurity>,
    /// How topics are made that are not there when they are published to or read. Without it none are made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auto_create: Option<KafkaAutoCreate>,
    /// How the gateway calls itself, for the broker's logs and quotas. Default `sluice`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,
    /// What the names of the gateway's groups at the broker begin with. Default nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group_prefix: Option<String>,
    /// Further properties of the client library, librdkafka. Those that would break a promise of the gateway, or have
    /// a setting of their own, are refused.
    #[serde(
        default,
        skip_serializing_if = "BTreeMap::is_empty",
        deserialize_with = "properties::deserialize"
    )]
    pub properties: BTreeMap<String, String>,
}

/// How topics are made that are not there. None is ever changed or deleted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct KafkaAutoCreate {
    /// Partitions of a new topic. Default as the broker has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partitions: Option<u32>,
    /// Brokers that have a copy of it. Default as the broker has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replication_factor: Option<u32>,
    /// Settings of a new topic, as `retention.ms`.
    #[serde(
        default,
        skip_serializing_if = "BTreeMap::is_empty",
        deserialize_with = "properties::deserialize"
    )]
    pub config: BTreeMap<String, String>,
}

impl KafkaConfig {
    /// All defaults, for the cluster with these `host:port`, separated by commas.
    pub fn new(bootstrap_servers: impl Into<String>) -> Self {
        Self {
            bootstrap_servers: bootstrap_servers.into(),
            topics: Vec::new(),
            consumer: KafkaConsumer::default(),
            producer: KafkaProducer::default(),
            security: None,
            auto_create: None,
            client_id: None,
            group_prefix: None,
            properties: BTreeMap::new(),
        }
    }
}

/// How Kafka is published to. Always idempotent, with `acks=all`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct KafkaProducer {
    /// Whether receivers may publish. Default true.
    #[serde(default = "yes")]
    pub enabled: bool,
    /// The topics to publish to, in place of the `topics` that both directions share.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub topics: Vec<String>,
    /// The record key of each message: an expression of the message, as
    /// `{#jsonPath(#message.content, '$.customer')}`, or of the client. Where it is null, the message keeps the key
    /// that it has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// How batches are compressed on the way to the broker. Default `none`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compression_type: Option<Compression>,
}

impl Default for KafkaProducer {
    fn default() -> Self {
        Self { enabled: true, topics: Vec::new(), key: None, compression_type: None }
    }
}

/// Compression of batches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    /// As they are.
    None,
    /// gzip.
    Gzip,
    /// Snappy.
    Snappy,
    /// LZ4.
    Lz4,
    /// Zstandard.
    Zstd,
}

impl BrokerSettings for KafkaConfig {
    fn publish_topics(&self) -> Option<Vec<&str>> {
        chosen(self.producer.enabled, &self.producer.topics, &self.topics)
    }

    fn deliver_topics(&self) -> Option<Vec<&str>> {
        chosen(self.consumer.enabled, &self.consumer.topics, &self.topics)
    }

    fn key(&self) -> Option<&str> {
        self.producer.key.as_deref()
    }

    fn address(&self) -> String {
        let mut servers: Vec<_> = self.bootstrap_servers.split(',').map(str::trim).collect();
        servers.sort_unstable();
        format!("kafka {}", servers.join(","))
    }

    fn keep_connection(&mut self) {
        self.topics.clear();
        let isolation_level = self.consumer.isolation_level;
        self.consumer = KafkaConsumer { isolation_level, ..KafkaConsumer::default() };
        let compression_type = self.producer.compression_type;
        self.producer = KafkaProducer { compression_type, ..KafkaProducer::default() };
    }

    fn auto_offset_reset(&self) -> AutoOffsetReset {
        self.consumer.auto_offset_reset
    }

    fn group_id(&self) -> Option<&str> {
        self.consumer.group_id.as_deref()
    }

    fn encodes_ids(&self) -> bool {
        self.consumer.encode_message_id
    }

    fn to_value(&self) -> Value {
        serde_json::to_value(self).unwrap_or_default()
    }

    /// A name, or, for reading, a pattern: `^` and a regular expression over the whole name.
    fn is_topic(&self, topic: &str, side: Side) -> bool {
        match topic.strip_prefix('^') {
            Some(_) => side == Side::Deliver && is_pattern(topic),
            None => is_topic_name(topic),
        }
    }

    fn topic_rule(&self) -> &'static str {
        "1 to 240 letters, digits, '.', '_' or '-'; for reading only, '^' and a regular expression over names"
    }

    fn secrets_mut(&mut self) -> Vec<(String, &mut Secret)> {
        let found = self.security.as_mut().map(security::secrets_mut).unwrap_or_default();
        found.into_iter().map(|(path, secret)| (path.to_owned(), secret)).collect()
    }

    fn problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        // Nothing else may stand there: the text goes to the client library and into log lines.
        let in_host = |byte: u8| {
            byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'[' | b']' | b':')
        };
        let is_address = |address: &str| {
            let parts = address.trim_matches(' ').rsplit_once(':');
            parts.is_some_and(|(host, port)| {
                !host.is_empty() && host.bytes().all(in_host) && port.parse::<u16>().is_ok()
            })
        };
        if !self.bootstrap_servers.split(',').all(is_address) {
            problems.push(Problem::new(
                "bootstrapServers",
                "endpoints.configuration.invalid",
                format!("{:?} is not a list of host:port separated by commas.", self.bootstrap_servers),
            ));
        }
        problems.extend(self.security.iter().flat_map(security::problems));
        self.check_names(&mut problems);
        self.check_auto_create(&mut problems);
        problems.extend(properties::problems(&self.properties));
        problems.extend(group_problem(self.group_id(), None));
        problems
    }
}

impl KafkaConfig {
    fn check_names(&self, problems: &mut Vec<Problem>) {
        for (field, name) in [("clientId", &self.client_id), ("groupPrefix", &self.group_prefix)] {
            if name.as_ref().is_some_and(|name| name.len() > 100 || !is_topic_name(name)) {
                let message = "1 to 100 letters, digits, '.', '_' or '-' are needed.";
                problems.push(Problem::new(field, "endpoints.configuration.invalid", message));
            }
        }
    }

    fn check_auto_create(&self, problems: &mut Vec<Problem>) {
        let Some(auto_create) = &self.auto_create else { return };
        let mut refuse = |field: &str, message: &str| {
            problems.push(Problem::new(field, "endpoints.configuration.invalid", message));
        };
        if auto_create.partitions.is_some_and(|count| !(1..=10_000).contains(&count)) {
            refuse("autoCreate.partitions", "From 1 to 10000 partitions are possible.");
        }
        if auto_create.replication_factor.is_some_and(|count| !(1..=32_767).contains(&count)) {
            refuse("autoCreate.replicationFactor", "From 1 to 32767 copies are possible.");
        }
        let text = |(name, value): (&String, &String)| name.len() + value.len() <= 1024 && !name.is_empty();
        let is_sound = auto_create.config.len() <= 64 && auto_create.config.iter().all(text);
        if !is_sound
            || auto_create
                .config
                .iter()
                .any(|(name, value)| [name, value].iter().any(|text| text.contains('\0')))
        {
            refuse(
                "autoCreate.config",
                "At most 64 settings of at most 1024 bytes are possible, none with U+0000.",
            );
        }
        let sasl = self.security.as_ref().and_then(|security| security.sasl.as_ref());
        if sasl.is_some_and(|sasl| sasl.sasl_mechanism == SaslMechanism::Oauthbearer) {
            refuse(
                "autoCreate",
                "The client library cannot make topics with a token (OAUTHBEARER); make them at the broker.",
            );
        }
    }
}

/// Whether this is a pattern over topic names: `^` and what every name must match as a whole, bounded in size.
fn is_pattern(topic: &str) -> bool {
    let compiled = || RegexBuilder::new(topic).size_limit(MAX_COMPILED).build().is_ok();
    (2..=MAX_PATTERN).contains(&topic.len()) && !topic.contains('\0') && compiled()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(config: &KafkaConfig) -> Vec<String> {
        config.problems().into_iter().map(|problem| problem.path).collect()
    }

    #[test]
    fn a_pattern_is_for_reading_and_must_compile() {
        let config = KafkaConfig::new("localhost:9092");
        assert!(config.is_topic(r"^orders\.(eu|us)", Side::Deliver));
        assert!(!config.is_topic(r"^orders\.(eu|us)", Side::Publish));
        for topic in ["^", "^(", "^a{1000000}", &format!("^{}", "x".repeat(MAX_PATTERN))] {
            assert!(!config.is_topic(topic, Side::Deliver), "{topic:.40}");
        }
        assert!(config.is_topic(&format!("^{}", "x".repeat(MAX_PATTERN - 1)), Side::Deliver));
    }

    #[test]
    fn apis_share_a_connection_only_where_all_of_it_is_the_same() {
        let connection = |change: fn(&mut KafkaConfig)| {
            let mut config = KafkaConfig::new("localhost:9092");
            change(&mut config);
            config.keep_connection();
            config
        };
        let plain = connection(|_| ());
        assert_eq!(connection(|config| config.topics.push("a".to_owned())), plain);
        assert_eq!(connection(|config| config.consumer.topics.push("^a".to_owned())), plain);
        assert_ne!(connection(|config| config.client_id = Some("a".to_owned())), plain);
        assert_ne!(connection(|config| config.group_prefix = Some("a".to_owned())), plain);
        assert_ne!(connection(|config| config.auto_create = Some(KafkaAutoCreate::default())), plain);
        assert_ne!(
            connection(|config| config.consumer.isolation_level = IsolationLevel::ReadUncommitted),
            plain
        );
    }

    #[test]
    fn numbers_and_names_have_bounds() {
        let mut config = KafkaConfig::new("localhost:9092");
        config.client_id = Some("x".repeat(100));
        config.auto_create = Some(KafkaAutoCreate {
            partitions: Some(10_000),
            replication_factor: Some(1),
            config: BTreeMap::new(),
        });
        assert_eq!(paths(&config), [""; 0]);
        config.client_id = Some("x".repeat(101));
        config.group_prefix = Some("with space".to_owned());
        config.auto_create = Some(KafkaAutoCreate {
            partitions: Some(10_001),
            replication_factor: Some(0),
            config: BTreeMap::new(),
        });
        assert_eq!(
            paths(&config),
            ["clientId", "groupPrefix", "autoCreate.partitions", "autoCreate.replicationFactor"]
        );
    }
}
