//! Receivers: how web clients connect, and the settings of each kind.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{Problem, from_value, problem::Carried};

/// One way in or out for web clients.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Written", into = "Written")]
pub struct Receiver {
    /// The connector id as it was written; `sse-advanced` is `sse` under another contract's name.
    pub connector: String,
    /// How much is promised about delivery.
    pub qos: Qos,
    /// The settings of its kind.
    pub configuration: ReceiverConfig,
}

/// Delivery promises, as both dialects name them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Qos {
    /// What is sent while the client is connected, as fast as it goes.
    None,
    /// As the broker does it by itself; may repeat after a reconnect.
    #[default]
    Auto,
    /// Never twice.
    AtMostOnce,
    /// Never lost; may repeat.
    AtLeastOnce,
}

/// The settings of a receiver, by kind.
#[derive(Debug, Clone, PartialEq)]
pub enum ReceiverConfig {
    /// Takes one message per POST.
    HttpPost(HttpPostConfig),
    /// Hands messages out as Server-Sent Events.
    Sse(SseConfig),
}

/// Settings of `http-post`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HttpPostConfig {
    /// Whether request headers become message headers. Credentials and connection headers never do.
    /// Default false.
    #[serde(default)]
    pub request_headers_to_message: bool,
}

/// Settings of `sse`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SseConfig {
    /// Milliseconds without a message after which a comment is sent, so that proxies keep the connection.
    /// Default 5000, at least 2000.
    #[serde(default = "SseConfig::default_heartbeat")]
    pub heartbeat_interval_in_ms: u64,
    /// Whether each message is followed by its metadata as comments. Default false.
    #[serde(default)]
    pub metadata_as_comment: bool,
    /// Whether each message is followed by its headers as comments. Default false.
    #[serde(default)]
    pub headers_as_comment: bool,
}

impl SseConfig {
    const fn default_heartbeat() -> u64 {
        5000
    }
}

impl Default for SseConfig {
    fn default() -> Self {
        Self {
            heartbeat_interval_in_ms: Self::default_heartbeat(),
            metadata_as_comment: false,
            headers_as_comment: false,
        }
    }
}

impl Receiver {
    /// Makes a receiver from its connector id and settings; paths in problems are relative to it.
    pub fn parse(connector: &str, qos: Qos, configuration: Option<Value>) -> Result<Self, Problem> {
        let settings = configuration.unwrap_or_else(|| Value::Object(serde_json::Map::new()));
        let configuration = match connector {
            "http-post" => from_value(settings).map(ReceiverConfig::HttpPost),
            "sse" | "sse-advanced" => from_value(settings).map(ReceiverConfig::Sse),
            unknown => {
                return Err(Problem::new(
                    "type",
                    "connector.unknown",
                    format!("There is no receiver '{unknown}'. Known are: http-post, sse."),
                ));
            }
        };
        let configuration = configuration.map_err(|problem| problem.within("configuration"))?;
        Ok(Self { connector: connector.to_owned(), qos, configuration })
    }
}

impl ReceiverConfig {
    /// The connector id without any alias.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::HttpPost(_) => "http-post",
            Self::Sse(_) => "sse",
        }
    }

    /// Whether it hands messages to the broker.
    pub const fn publishes(&self) -> bool {
        matches!(self, Self::HttpPost(_))
    }

    /// Whether it takes messages from the broker.
    pub const fn delivers(&self) -> bool {
        matches!(self, Self::Sse(_))
    }

    /// The settings as they are written, defaults filled in.
    pub fn to_value(&self) -> Value {
        let value = match self {
            Self::HttpPost(settings) => serde_json::to_value(settings),
            Self::Sse(settings) => serde_json::to_value(settings),
        };
        value.unwrap_or_default()
    }
}

/// A receiver as it stands in a document.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    #[serde(rename = "type")]
    connector: String,
    #[serde(default)]
    qos: Qos,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    configuration: Option<Value>,
}

impl TryFrom<Written> for Receiver {
    type Error = Carried;

    fn try_from(written: Written) -> Result<Self, Carried> {
        Self::parse(&written.connector, written.qos, written.configuration).map_err(Carried)
    }
}

impl From<Receiver> for Written {
    fn from(receiver: Receiver) -> Self {
        let configuration = Some(receiver.configuration.to_value());
        Self { connector: receiver.connector, qos: receiver.qos, configuration }
    }
}
