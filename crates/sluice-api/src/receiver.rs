//! Receivers: how web clients connect, and the settings of each kind.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    BrokerConfig, Problem, Qos, Secret, WebhookConfig, WebhookReceiverConfig, WebsubConfig, broker::yes,
    from_value, problem::Carried,
};

/// One way in or out for web clients.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Written", into = "Written")]
pub struct Receiver {
    /// The connector id as it was written; `sse-advanced` is `sse` under another contract's name.
    pub connector: String,
    /// How much is promised about delivery.
    pub qos: Qos,
    /// Where messages go that a subscriber does not take; only for receivers that call their clients.
    pub dlq: Option<DeadLetter>,
    /// The settings of its kind.
    pub configuration: ReceiverConfig,
}

/// Where messages go that could not be delivered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DeadLetter {
    /// The name of a broker of this API, or of its group. It must be able to publish.
    pub endpoint: String,
}

/// The settings of a receiver, by kind.
#[derive(Debug, Clone, PartialEq)]
pub enum ReceiverConfig {
    /// Takes one message per POST.
    HttpPost(HttpPostConfig),
    /// Hands messages out as the answer to one GET.
    HttpGet(HttpGetConfig),
    /// Hands messages out as Server-Sent Events.
    Sse(SseConfig),
    /// Takes and hands out messages on one connection.
    Websocket(WebsocketConfig),
    /// Calls each subscriber with each message.
    Webhook(WebhookConfig),
    /// A hub, at which subscribers ask to be called with each message.
    Websub(Box<WebsubConfig>),
    /// Takes what webhook senders push.
    WebhookReceiver(Box<WebhookReceiverConfig>),
}

/// Settings of `http-post`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HttpPostConfig {
    /// Whether request headers become message headers. Credentials and connection headers never do.
    /// Default false.
    #[serde(default)]
    pub request_headers_to_message: bool,
}

/// Settings of `http-get`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HttpGetConfig {
    /// The most messages in one answer. From 1 to 10,000, default 500.
    #[serde(default = "HttpGetConfig::default_count")]
    #[schemars(range(min = 1, max = Self::MAX_COUNT))]
    pub messages_limit_count: u32,
    /// How long one answer collects messages, in milliseconds. From 1 to 60,000, default 5000.
    #[serde(default = "HttpGetConfig::default_duration")]
    #[schemars(range(min = 1, max = Self::MAX_DURATION_MS))]
    pub messages_limit_duration_ms: u64,
    /// Whether the headers of each message are in the answer. Default false.
    #[serde(default)]
    pub headers_in_payload: bool,
    /// Whether the metadata of each message is in the answer. Default false.
    #[serde(default)]
    pub metadata_in_payload: bool,
}

impl HttpGetConfig {
    /// The largest `messagesLimitCount` that can be set.
    pub const MAX_COUNT: u32 = 10_000;
    /// The largest `messagesLimitDurationMs` that can be set.
    pub const MAX_DURATION_MS: u64 = 60_000;

    const fn default_count() -> u32 {
        500
    }

    const fn default_duration() -> u64 {
        5000
    }
}

impl Default for HttpGetConfig {
    fn default() -> Self {
        Self {
            messages_limit_count: Self::default_count(),
            messages_limit_duration_ms: Self::default_duration(),
            headers_in_payload: false,
            metadata_in_payload: false,
        }
    }
}

/// The largest `maxConnections` that can be set.
pub(crate) const MAX_CONNECTIONS: u32 = 1_000_000;

/// Settings of `websocket`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct WebsocketConfig {
    /// Whether and how a client's messages are published.
    #[serde(default)]
    pub publisher: WebsocketPublisher,
    /// Whether a client is sent the topic's messages. Default true.
    #[serde(default)]
    pub subscriber: Direction,
    /// What kind of frames messages are sent in. Default `binary`.
    #[serde(default)]
    pub frames: FrameFormat,
    /// The subprotocols of the API in the order of preference. With none, the first that a client offers is
    /// agreed to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub subprotocols: Vec<String>,
    /// The origins whose pages may connect beside the API's own, as `https://app.example`; `*` is every page.
    /// Clients that are no browser send no origin and are not asked.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allowed_origins: Vec<String>,
    /// Whether frames are compressed for clients that ask for it. Default true.
    #[serde(default = "yes")]
    pub compression: bool,
    /// Milliseconds of silence after which a client is asked whether it is there. From 1000 to 3,600,000,
    /// default 30,000.
    #[serde(default = "WebsocketConfig::default_ping")]
    #[schemars(range(min = 1000, max = 3_600_000))]
    pub ping_interval_ms: u64,
    /// Milliseconds without a sign of life after which a client is disconnected; longer than
    /// `pingIntervalMs`. Default 90,000.
    #[serde(default = "WebsocketConfig::default_idle")]
    #[schemars(range(min = 1001, max = 86_400_000))]
    pub idle_timeout_ms: u64,
    /// The largest frame taken, in bytes; as large as a message may be when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_frame_bytes: Option<usize>,
    /// The most clients at once, of all channels together; one more is refused before it is a WebSocket. From 1 to
    /// 1,000,000; as many as the gateway takes when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = MAX_CONNECTIONS))]
    pub max_connections: Option<u32>,
}

impl WebsocketConfig {
    const fn default_ping() -> u64 {
        30_000
    }

    const fn default_idle() -> u64 {
        90_000
    }
}

impl Default for WebsocketConfig {
    fn default() -> Self {
        Self {
            publisher: WebsocketPublisher::default(),
            subscriber: Direction::default(),
            frames: FrameFormat::default(),
            subprotocols: Vec::new(),
            allowed_origins: Vec::new(),
            compression: true,
            ping_interval_ms: Self::default_ping(),
            idle_timeout_ms: Self::default_idle(),
            max_frame_bytes: None,
            max_connections: None,
        }
    }
}

/// The way in of a connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WebsocketPublisher {
    /// Whether a client's messages are published. Default true.
    #[serde(default = "yes")]
    pub enabled: bool,
    /// Whether each frame of a client is a JSON document with the message, its key and its headers, as those that
    /// are sent with `frames: json`. Otherwise it is the message itself. Default false.
    #[serde(default)]
    pub envelope: bool,
    /// Whether a client is told in a text frame of each message that the broker has it, or why it does not. Otherwise
    /// it hears nothing of the first and is disconnected after the second. Where it is sent messages, too, their
    /// `frames` must be `json` or `binary`. Default false.
    #[serde(default)]
    pub acknowledge: bool,
}

impl Default for WebsocketPublisher {
    fn default() -> Self {
        Self { enabled: true, envelope: false, acknowledge: false }
    }
}

/// One of the two directions of a connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Direction {
    /// Whether it is open. Default true.
    #[serde(default = "yes")]
    pub enabled: bool,
}

impl Default for Direction {
    fn default() -> Self {
        Self { enabled: true }
    }
}

/// What kind of frames messages are sent in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum FrameFormat {
    /// Binary frames.
    #[default]
    Binary,
    /// Text frames; a message that is not UTF-8 is sent in a binary frame.
    Text,
    /// As the message's `Content-Type` says: text frames for text, JSON and XML, binary ones for the rest.
    /// Messages that are published on this connection are marked with the kind of frame they came in.
    Auto,
    /// Text frames, each a JSON document with the message and, where the qos is at-least-once or at-most-once,
    /// the position to resume from. Gaps are told in such frames, too.
    Json,
}

/// Settings of `sse`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SseConfig {
    /// Milliseconds without a message after which a comment is sent, so that proxies keep the connection.
    /// Default 5000, at least 2000.
    #[serde(default = "SseConfig::default_heartbeat")]
    #[schemars(range(min = 2000, max = 3_600_000))]
    pub heartbeat_interval_in_ms: u64,
    /// Whether each message is followed by its metadata as comments. Default false.
    #[serde(default)]
    pub metadata_as_comment: bool,
    /// Whether each message is followed by its headers as comments. Default false.
    #[serde(default)]
    pub headers_as_comment: bool,
    /// The most clients at once, of all channels together; one more is refused. From 1 to 1,000,000; as many as the
    /// gateway takes when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = MAX_CONNECTIONS))]
    pub max_connections: Option<u32>,
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
            max_connections: None,
        }
    }
}

impl Receiver {
    /// Makes a receiver without a dead letter endpoint from its connector id and settings; paths in problems
    /// are relative to it.
    pub fn parse(connector: &str, qos: Qos, configuration: Option<Value>) -> Result<Self, Problem> {
        let settings = configuration.unwrap_or_else(|| Value::Object(serde_json::Map::new()));
        let configuration = match connector {
            "http-post" => from_value(settings).map(ReceiverConfig::HttpPost),
            "http-get" => from_value(settings).map(ReceiverConfig::HttpGet),
            "websocket" => from_value(settings).map(ReceiverConfig::Websocket),
            "webhook" | "webhook-advanced" => from_value(settings).map(ReceiverConfig::Webhook),
            "websub" => from_value(settings).map(|settings| ReceiverConfig::Websub(Box::new(settings))),
            "webhook-receiver" => {
                from_value(settings).map(|settings| ReceiverConfig::WebhookReceiver(Box::new(settings)))
            }
            "sse" | "sse-advanced" => from_value(settings).map(ReceiverConfig::Sse),
            unknown => {
                return Err(Problem::new(
                    "type",
                    "connector.unknown",
                    format!(
                        "There is no receiver '{unknown}'. Known are: http-get, http-post, sse, webhook, \
                         webhook-receiver, websocket, websub."
                    ),
                ));
            }
        };
        let configuration = configuration.map_err(|problem| problem.within("configuration"))?;
        Ok(Self { connector: connector.to_owned(), qos, dlq: None, configuration })
    }
}

impl ReceiverConfig {
    /// The connector id without any alias.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::HttpPost(_) => "http-post",
            Self::HttpGet(_) => "http-get",
            Self::Sse(_) => "sse",
            Self::Websocket(_) => "websocket",
            Self::Webhook(_) => "webhook",
            Self::Websub(_) => "websub",
            Self::WebhookReceiver(_) => "webhook-receiver",
        }
    }

    /// Whether it hands messages to the broker.
    pub const fn publishes(&self) -> bool {
        match self {
            // A hub is told of new content by its publishers.
            Self::HttpPost(_) | Self::WebhookReceiver(_) | Self::Websub(_) => true,
            Self::Websocket(settings) => settings.publisher.enabled,
            Self::HttpGet(_) | Self::Sse(_) | Self::Webhook(_) => false,
        }
    }

    /// Whether it takes messages from the broker.
    pub const fn delivers(&self) -> bool {
        match self {
            Self::HttpPost(_) | Self::WebhookReceiver(_) => false,
            Self::Websocket(settings) => settings.subscriber.enabled,
            Self::HttpGet(_) | Self::Sse(_) | Self::Webhook(_) | Self::Websub(_) => true,
        }
    }

    /// Whether its clients are called by the gateway, by subscription.
    pub const fn calls_clients(&self) -> bool {
        matches!(self, Self::Webhook(_) | Self::Websub(_))
    }

    /// Whether clients come to a path of the API: those of a hub do, to subscribe.
    pub const fn has_path(&self) -> bool {
        !matches!(self, Self::Webhook(_))
    }

    /// How its clients are called, where they are.
    pub fn calls(&self) -> Option<&WebhookConfig> {
        match self {
            Self::Webhook(settings) => Some(settings),
            Self::Websub(settings) => Some(&settings.delivery),
            _ => None,
        }
    }

    /// The promises that it can keep with a broker.
    pub fn offered_qos(&self, broker: &BrokerConfig) -> &'static [Qos] {
        crate::offered(self.kind(), broker.kind())
    }

    /// The settings as they are written, defaults filled in and secrets masked.
    pub fn to_value(&self) -> Value {
        let value = match self {
            Self::HttpPost(settings) => serde_json::to_value(settings),
            Self::HttpGet(settings) => serde_json::to_value(settings),
            Self::Sse(settings) => serde_json::to_value(settings),
            Self::Websocket(settings) => serde_json::to_value(settings),
            Self::Webhook(settings) => serde_json::to_value(settings),
            Self::Websub(settings) => serde_json::to_value(settings),
            Self::WebhookReceiver(settings) => serde_json::to_value(settings),
        };
        value.unwrap_or_default()
    }

    pub(crate) fn secrets_mut(&mut self) -> Vec<(String, &mut Secret)> {
        match self {
            Self::Webhook(settings) => settings.secrets_mut(),
            Self::Websub(settings) => settings.secrets_mut(),
            Self::WebhookReceiver(settings) => settings.secrets_mut(),
            Self::HttpPost(_) | Self::HttpGet(_) | Self::Sse(_) | Self::Websocket(_) => Vec::new(),
        }
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
    dlq: Option<DeadLetter>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    configuration: Option<Value>,
}

impl TryFrom<Written> for Receiver {
    type Error = Carried;

    fn try_from(written: Written) -> Result<Self, Carried> {
        let receiver = Self::parse(&written.connector, written.qos, written.configuration);
        receiver.map(|receiver| Self { dlq: written.dlq, ..receiver }).map_err(Carried)
    }
}

impl From<Receiver> for Written {
    fn from(receiver: Receiver) -> Self {
        let configuration = Some(receiver.configuration.to_value());
        Self { connector: receiver.connector, qos: receiver.qos, dlq: receiver.dlq, configuration }
    }
}
