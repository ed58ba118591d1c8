//! The broker behind an event API: which kind, which topics, and the settings of each kind.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{KafkaConfig, KafkaProducer, Problem, Secret, from_value, problem::Carried};

/// The broker that an API's receivers publish to and read from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Written", into = "Written")]
pub struct Broker {
    /// For people and logs; unique within the API.
    pub name: String,
    /// The group that another contract puts it in; the name when there is none.
    pub group: String,
    /// Its share of the work among several; kept for the contract, 1 by default.
    pub weight: u32,
    /// The connector id as it was written; `kafka-advanced` is `kafka` under another contract's name.
    pub connector: String,
    /// The settings of its kind.
    pub configuration: BrokerConfig,
}

/// The settings of a broker, by kind.
#[derive(Debug, Clone, PartialEq)]
pub enum BrokerConfig {
    /// The log embedded in the gateway.
    Log(LogConfig),
    /// An Apache Kafka cluster.
    Kafka(Box<KafkaConfig>),
    /// A source of made-up messages, for trying out and for tests.
    Mock(MockConfig),
}

/// Settings of `log`: those of `kafka` without addresses and credentials.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LogConfig {
    /// The topics to publish to and to read from.
    #[serde(default)]
    pub topics: Vec<String>,
    /// Reading.
    #[serde(default)]
    pub consumer: ConsumerSettings,
    /// Publishing.
    #[serde(default)]
    pub producer: LogProducer,
}

/// How topics are read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ConsumerSettings {
    /// Whether receivers may read. Default true.
    #[serde(default = "yes")]
    pub enabled: bool,
    /// Whether ids shown to clients are encoded in base64. Default true.
    #[serde(default = "yes")]
    pub encode_message_id: bool,
    /// Where a client that brings no position begins. Default `latest`.
    #[serde(default)]
    pub auto_offset_reset: AutoOffsetReset,
    /// The topics to read, in place of the `topics` that both directions share.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub topics: Vec<String>,
}

impl Default for ConsumerSettings {
    fn default() -> Self {
        Self {
            enabled: true,
            encode_message_id: true,
            auto_offset_reset: AutoOffsetReset::default(),
            topics: Vec::new(),
        }
    }
}

/// Where a client that brings no position begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum AutoOffsetReset {
    /// With what is published from now on.
    #[default]
    Latest,
    /// With the first message the broker still has.
    Earliest,
    /// Nowhere: a client without a position is an error.
    None,
}

/// How the embedded log is published to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LogProducer {
    /// Whether receivers may publish. Default true.
    #[serde(default = "yes")]
    pub enabled: bool,
    /// The topics to publish to, in place of the `topics` that both directions share.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub topics: Vec<String>,
}

impl Default for LogProducer {
    fn default() -> Self {
        Self { enabled: true, topics: Vec::new() }
    }
}

/// Settings of `mock`: messages numbered from 0, made for each client anew. What is published to it is
/// acknowledged and forgotten.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MockConfig {
    /// Milliseconds between two messages. Default 1000.
    #[serde(default = "MockConfig::default_interval")]
    pub message_interval: u64,
    /// The content of each message, followed by its number. Default `mock message`.
    #[serde(default = "MockConfig::default_content")]
    pub message_content: String,
    /// How many messages there are; without it there is no end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message_count: Option<u64>,
    /// Headers of each message.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<NameValue>,
    /// Metadata of each message.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub metadata: Vec<NameValue>,
}

impl Default for MockConfig {
    fn default() -> Self {
        Self {
            message_interval: Self::default_interval(),
            message_content: Self::default_content(),
            message_count: None,
            headers: Vec::new(),
            metadata: Vec::new(),
        }
    }
}

impl MockConfig {
    const fn default_interval() -> u64 {
        1000
    }

    fn default_content() -> String {
        "mock message".to_owned()
    }
}

/// A name and its value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NameValue {
    /// The name.
    pub name: String,
    /// The value.
    pub value: String,
}

pub(crate) const fn yes() -> bool {
    true
}

impl Broker {
    /// Makes a broker from its connector id and settings, with the group named like it and weight 1; paths
    /// in problems are relative to it.
    pub fn parse(name: &str, connector: &str, configuration: Option<Value>) -> Result<Self, Problem> {
        let settings = configuration.unwrap_or_else(|| Value::Object(serde_json::Map::new()));
        let configuration = match connector {
            "log" => from_value(settings).map(BrokerConfig::Log),
            "kafka" | "kafka-advanced" => {
                from_value(settings).map(|settings| BrokerConfig::Kafka(Box::new(settings)))
            }
            "mock" => from_value(settings).map(BrokerConfig::Mock),
            unknown => {
                return Err(Problem::new(
                    "type",
                    "connector.unknown",
                    format!("There is no broker driver '{unknown}'. Known are: kafka, log, mock."),
                ));
            }
        };
        let configuration = configuration.map_err(|problem| problem.within("configuration"))?;
        let (name, connector) = (name.to_owned(), connector.to_owned());
        Ok(Self { group: name.clone(), name, weight: 1, connector, configuration })
    }
}

impl BrokerConfig {
    /// The connector id without any alias.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Log(_) => "log",
            Self::Kafka(_) => "kafka",
            Self::Mock(_) => "mock",
        }
    }

    /// The topics that receivers publish to; `None` when publishing is switched off. The mock has one topic,
    /// named like it.
    pub fn publish_topics(&self) -> Option<Vec<&str>> {
        match self {
            Self::Log(log) => topics(log.producer.enabled, &log.producer.topics, &log.topics),
            Self::Kafka(kafka) => topics(kafka.producer.enabled, &kafka.producer.topics, &kafka.topics),
            Self::Mock(_) => Some(vec!["mock"]),
        }
    }

    /// The topics that receivers read; `None` when reading is switched off.
    pub fn deliver_topics(&self) -> Option<Vec<&str>> {
        match self {
            Self::Log(log) => topics(log.consumer.enabled, &log.consumer.topics, &log.topics),
            Self::Kafka(kafka) => topics(kafka.consumer.enabled, &kafka.consumer.topics, &kafka.topics),
            Self::Mock(_) => Some(vec!["mock"]),
        }
    }

    /// Which broker these settings name, whatever else they say: the same text for the same addresses, without
    /// secrets. A broker may have several addresses; which one it is says only the broker itself.
    pub fn address(&self) -> String {
        match self {
            Self::Kafka(kafka) => {
                let mut servers: Vec<_> = kafka.bootstrap_servers.split(',').map(str::trim).collect();
                servers.sort_unstable();
                format!("kafka {}", servers.join(","))
            }
            other => other.kind().to_owned(),
        }
    }

    /// The part that says how to connect: what two APIs must have in common to share a driver.
    #[must_use]
    pub fn connection(&self) -> Self {
        let mut connection = self.clone();
        match &mut connection {
            Self::Log(log) => *log = LogConfig::default(),
            Self::Kafka(kafka) => {
                kafka.topics.clear();
                kafka.consumer = ConsumerSettings::default();
                let compression_type = kafka.producer.compression_type;
                kafka.producer = KafkaProducer { compression_type, ..KafkaProducer::default() };
            }
            Self::Mock(_) => {}
        }
        connection
    }

    /// Where a client that brings no position begins.
    pub const fn auto_offset_reset(&self) -> AutoOffsetReset {
        match self {
            Self::Log(log) => log.consumer.auto_offset_reset,
            Self::Kafka(kafka) => kafka.consumer.auto_offset_reset,
            Self::Mock(_) => AutoOffsetReset::Earliest,
        }
    }

    /// The settings as they are written, defaults filled in and secrets masked.
    pub fn to_value(&self) -> Value {
        let value = match self {
            Self::Log(settings) => serde_json::to_value(settings),
            Self::Kafka(settings) => serde_json::to_value(settings),
            Self::Mock(settings) => serde_json::to_value(settings),
        };
        value.unwrap_or_default()
    }

    pub(crate) fn secrets_mut(&mut self) -> Vec<(String, &mut Secret)> {
        match self {
            Self::Kafka(kafka) => kafka.secrets_mut(),
            Self::Log(_) | Self::Mock(_) => Vec::new(),
        }
    }
}

fn topics<'a>(enabled: bool, own: &'a [String], shared: &'a [String]) -> Option<Vec<&'a str>> {
    let topics = if own.is_empty() { shared } else { own };
    enabled.then(|| topics.iter().map(String::as_str).collect())
}

/// A broker as it stands in a document.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    #[serde(default = "default_name")]
    name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    group: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    weight: Option<u32>,
    #[serde(rename = "type")]
    connector: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    configuration: Option<Value>,
}

fn default_name() -> String {
    "default".to_owned()
}

impl TryFrom<Written> for Broker {
    type Error = Carried;

    fn try_from(written: Written) -> Result<Self, Carried> {
        let mut broker =
            Self::parse(&written.name, &written.connector, written.configuration).map_err(Carried)?;
        broker.group = written.group.unwrap_or(broker.group);
        broker.weight = written.weight.unwrap_or(broker.weight);
        Ok(broker)
    }
}

impl From<Broker> for Written {
    fn from(broker: Broker) -> Self {
        Self {
            group: Some(broker.group),
            weight: Some(broker.weight),
            connector: broker.connector,
            configuration: Some(broker.configuration.to_value()),
            name: broker.name,
        }
    }
}
