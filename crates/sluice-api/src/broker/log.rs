//! Settings of the `log` broker.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{BrokerSettings, chosen, group_problem, yes};
use crate::{AutoOffsetReset, ConsumerSettings, Problem};

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
    /// The record key of each message: an expression of the message, as
    /// `{#jsonPath(#message.content, '$.customer')}`, or of the client. Where it is null, the message keeps the key
    /// that it has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
}

impl Default for LogProducer {
    fn default() -> Self {
        Self { enabled: true, topics: Vec::new(), key: None }
    }
}

impl BrokerSettings for LogConfig {
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
        "log".to_owned()
    }

    fn keep_connection(&mut self) {
        *self = Self::default();
    }

    fn auto_offset_reset(&self) -> AutoOffsetReset {
        self.consumer.auto_offset_reset
    }

    fn encodes_ids(&self) -> bool {
        self.consumer.encode_message_id
    }

    fn group_id(&self) -> Option<&str> {
        self.consumer.group_id.as_deref()
    }

    fn problems(&self) -> Vec<Problem> {
        group_problem(self.group_id(), None).into_iter().collect()
    }

    fn to_value(&self) -> Value {
        serde_json::to_value(self).unwrap_or_default()
    }
}
