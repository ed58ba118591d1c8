//! The broker behind an event API: which kind, and what all kinds have in common. The settings of each kind stand in
//! a file of their own below, with their rules.

mod amqp;
mod expressions;
mod kafka;
mod log;
mod mock;
mod mqtt;
mod rabbitmq;
mod security;
mod solace;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    Problem, Secret, from_value,
    problem::Carried,
    validate::{is_group_name, is_topic_name},
};

pub use self::{
    amqp::{AmqpAddresses, AmqpConfig, AmqpConsumer, AmqpTopics, BrokerEndpoint},
    expressions::{ExpressionSetting, SettingScope, client_settings, has_expression},
    kafka::{
        ClientCredentials, Compression, IsolationLevel, KafkaAutoCreate, KafkaConfig, KafkaConsumer,
        KafkaOauth, KafkaProducer, KafkaSecurity, KeyStore, Sasl, SaslMechanism, SecurityProtocol, StoreType,
        Tls, TrustStore,
    },
    log::{LogConfig, LogProducer},
    mock::{MockConfig, NameValue},
    mqtt::{MqttConfig, MqttConsumer, MqttProducer, MqttRetained, MqttTransport, MqttVersion},
    rabbitmq::{
        RabbitmqConfig, RabbitmqConsumer, RabbitmqExchange, RabbitmqProducer, RabbitmqQueue,
        RabbitmqQueueType,
    },
    security::{BrokerAuth, BrokerKeyStore, BrokerSecurity, BrokerTls, BrokerTrustStore},
    solace::{SolaceConfig, SolaceSemp, SolaceTransport},
};

/// The broker that an API's receivers publish to and read from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Written", into = "Written")]
pub struct Broker {
    /// For people and logs; unique within the API.
    pub name: String,
    /// The group that it shares the work with; its name when it is alone.
    pub group: String,
    /// Its share of the work where that is dealt out by weight. From 1 to 1000, default 1.
    pub weight: u32,
    /// Whether it is published to only while no other one of its group can be used. Default false.
    pub secondary: bool,
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
    /// An MQTT broker, 5 or 3.1.1.
    Mqtt(Box<MqttConfig>),
    /// A Solace event broker.
    Solace(Box<SolaceConfig>),
    /// A broker that speaks AMQP 1.0, as ActiveMQ Artemis.
    Amqp(Box<AmqpConfig>),
    /// A RabbitMQ, by AMQP 0-9-1.
    Rabbitmq(Box<RabbitmqConfig>),
    /// A source of made-up messages, for trying out and for tests.
    Mock(MockConfig),
}

/// How the brokers of a group share what is published to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Balancing {
    /// In turn.
    #[default]
    RoundRobin,
    /// By chance, each as likely as another.
    Random,
    /// In turn, each as often as its weight says.
    WeightedRoundRobin,
    /// By chance, each as likely as its weight says.
    WeightedRandom,
}

impl Balancing {
    /// Its name in definitions.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::RoundRobin => "round-robin",
            Self::Random => "random",
            Self::WeightedRoundRobin => "weighted-round-robin",
            Self::WeightedRandom => "weighted-random",
        }
    }
}

/// Which way messages go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// From web clients to the broker.
    Publish,
    /// From the broker to web clients.
    Deliver,
}

/// What the settings of each kind of broker can say. Paths in problems and secrets are relative to the settings.
trait BrokerSettings {
    /// The topics that receivers publish to; `None` when publishing is switched off.
    fn publish_topics(&self) -> Option<Vec<&str>>;

    /// The topics that receivers read; `None` when reading is switched off.
    fn deliver_topics(&self) -> Option<Vec<&str>>;

    /// See [`BrokerConfig::key`].
    fn key(&self) -> Option<&str> {
        None
    }

    /// See [`BrokerConfig::address`].
    fn address(&self) -> String;

    /// Sets to its default whatever two APIs may have different and still share a driver.
    fn keep_connection(&mut self);

    /// The settings as they are written, defaults filled in and secrets masked.
    fn to_value(&self) -> Value;

    /// Where a client that brings no position begins.
    fn auto_offset_reset(&self) -> AutoOffsetReset {
        AutoOffsetReset::Latest
    }

    /// See [`BrokerConfig::group_id`].
    fn group_id(&self) -> Option<&str> {
        None
    }

    /// Whether ids shown to clients are encoded in base64, the one form there is.
    fn encodes_ids(&self) -> bool {
        true
    }

    /// Whether the broker can have such a topic, and the driver use it in this direction.
    fn is_topic(&self, topic: &str, _side: Side) -> bool {
        is_topic_name(topic)
    }

    /// What a topic is, to end a sentence that says that something is none.
    fn topic_rule(&self) -> &'static str {
        "1 to 240 letters, digits, '.', '_' or '-'"
    }

    /// Every rule that the settings break, beside those on topics.
    fn problems(&self) -> Vec<Problem> {
        Vec::new()
    }

    /// Every secret with its path.
    fn secrets_mut(&mut self) -> Vec<(String, &mut Secret)> {
        Vec::new()
    }
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
    /// The group that web clients are members of: each message goes to one of them. It may hold expressions of the
    /// client. Without it, and where it comes to nothing, clients are in no group and get every message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group_id: Option<String>,
}

impl Default for ConsumerSettings {
    fn default() -> Self {
        Self {
            enabled: true,
            encode_message_id: true,
            auto_offset_reset: AutoOffsetReset::default(),
            topics: Vec::new(),
            group_id: None,
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
            "mqtt5" | "mqtt5-advanced" | "mqtt" => {
                from_value(settings).map(|settings| BrokerConfig::Mqtt(Box::new(settings)))
            }
            "solace" => from_value(settings).map(|settings| BrokerConfig::Solace(Box::new(settings))),
            "amqp" => from_value(settings).map(|settings| BrokerConfig::Amqp(Box::new(settings))),
            "rabbitmq" => from_value(settings).map(|settings| BrokerConfig::Rabbitmq(Box::new(settings))),
            "mock" => from_value(settings).map(BrokerConfig::Mock),
            unknown => {
                return Err(Problem::new(
                    "type",
                    "connector.unknown",
                    format!(
                        "There is no broker driver '{unknown}'. Known are: {}.",
                        BrokerConfig::KINDS.join(", ")
                    ),
                ));
            }
        };
        let configuration = configuration.map_err(|problem| problem.within("configuration"))?;
        let (name, connector) = (name.to_owned(), connector.to_owned());
        Ok(Self { group: name.clone(), name, weight: 1, secondary: false, connector, configuration })
    }
}

impl BrokerConfig {
    /// The connector ids, without aliases.
    pub const KINDS: [&str; 7] = ["kafka", "log", "mock", "mqtt5", "solace", "amqp", "rabbitmq"];

    /// The connector id without any alias.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Log(_) => "log",
            Self::Kafka(_) => "kafka",
            Self::Mqtt(_) => "mqtt5",
            Self::Solace(_) => "solace",
            Self::Amqp(_) => "amqp",
            Self::Rabbitmq(_) => "rabbitmq",
            Self::Mock(_) => "mock",
        }
    }

    fn settings(&self) -> &dyn BrokerSettings {
        match self {
            Self::Log(settings) => settings,
            Self::Kafka(settings) => &**settings,
            Self::Mqtt(settings) => &**settings,
            Self::Solace(settings) => &**settings,
            Self::Amqp(settings) => &**settings,
            Self::Rabbitmq(settings) => &**settings,
            Self::Mock(settings) => settings,
        }
    }

    fn settings_mut(&mut self) -> &mut dyn BrokerSettings {
        match self {
            Self::Log(settings) => settings,
            Self::Kafka(settings) => &mut **settings,
            Self::Mqtt(settings) => &mut **settings,
            Self::Solace(settings) => &mut **settings,
            Self::Amqp(settings) => &mut **settings,
            Self::Rabbitmq(settings) => &mut **settings,
            Self::Mock(settings) => settings,
        }
    }

    /// The topics that receivers publish to; `None` when publishing is switched off. The mock has one topic,
    /// named like it.
    pub fn publish_topics(&self) -> Option<Vec<&str>> {
        self.settings().publish_topics()
    }

    /// The topics that receivers read; `None` when reading is switched off.
    pub fn deliver_topics(&self) -> Option<Vec<&str>> {
        self.settings().deliver_topics()
    }

    /// The expression that makes the record key of each message; `None` also where the broker has no keys.
    pub fn key(&self) -> Option<&str> {
        self.settings().key()
    }

    /// Whether the broker can have such a topic, and its driver use it in this direction.
    pub fn is_topic(&self, topic: &str, side: Side) -> bool {
        self.settings().is_topic(topic, side)
    }

    /// What a topic of this kind of broker is, to end a sentence that says that something is none.
    pub fn topic_rule(&self) -> &'static str {
        self.settings().topic_rule()
    }

    /// Which broker these settings name, whatever else they say: the same text for the same addresses, without
    /// secrets. A broker may have several addresses; which one it is says only the broker itself.
    pub fn address(&self) -> String {
        self.settings().address()
    }

    /// The part that says how to connect: what two APIs must have in common to share a driver.
    #[must_use]
    pub fn connection(&self) -> Self {
        let mut connection = self.clone();
        connection.settings_mut().keep_connection();
        connection
    }

    /// Whether the broker keeps messages for readers that come later, and positions mean something to it.
    pub const fn keeps_messages(&self) -> bool {
        matches!(self, Self::Log(_) | Self::Kafka(_) | Self::Mock(_))
    }

    /// Where a client that brings no position begins.
    pub fn auto_offset_reset(&self) -> AutoOffsetReset {
        self.settings().auto_offset_reset()
    }

    /// The group whose members share the messages, in which expressions of a client may stand; `None` also where the
    /// broker has no groups.
    pub fn group_id(&self) -> Option<&str> {
        self.settings().group_id()
    }

    /// Whether ids are to be shown encoded, the one form there is.
    pub(crate) fn encodes_ids(&self) -> bool {
        self.settings().encodes_ids()
    }

    /// Every rule that these settings break, beside those on topics; paths are relative to them.
    pub(crate) fn problems(&self) -> Vec<Problem> {
        self.settings().problems()
    }

    /// The settings as they are written, defaults filled in and secrets masked.
    pub fn to_value(&self) -> Value {
        self.settings().to_value()
    }

    pub(crate) fn secrets_mut(&mut self) -> Vec<(String, &mut Secret)> {
        self.settings_mut().secrets_mut()
    }
}

/// The topics of one direction: its own, or those that both share.
fn chosen<'a>(enabled: bool, own: &'a [String], shared: &'a [String]) -> Option<Vec<&'a str>> {
    let topics = if own.is_empty() { shared } else { own };
    enabled.then(|| topics.iter().map(String::as_str).collect())
}

/// What is wrong with a group, where members cannot share the work for this reason, if there is one, or where it can
/// be the name of none.
fn group_problem(group: Option<&str>, unshared: Option<&str>) -> Option<Problem> {
    let group = group?;
    let unsound = || {
        let sound = has_expression(group) || is_group_name(group);
        (!sound).then_some("A group has a name of 1 to 128 letters, digits, '.', '_' or '-'.")
    };
    let message = unshared.or_else(unsound)?;
    Some(Problem::new("consumer.groupId", "endpoints.configuration.invalid", message))
}

pub(crate) const fn yes() -> bool {
    true
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
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    secondary: bool,
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
        broker.secondary = written.secondary;
        Ok(broker)
    }
}

impl From<Broker> for Written {
    fn from(broker: Broker) -> Self {
        Self {
            group: Some(broker.group),
            weight: Some(broker.weight),
            secondary: broker.secondary,
            connector: broker.connector,
            configuration: Some(broker.configuration.to_value()),
            name: broker.name,
        }
    }
}
