//! Settings of the `mock` broker.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::BrokerSettings;
use crate::AutoOffsetReset;

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

impl BrokerSettings for MockConfig {
    /// The mock has one topic, named like it.
    fn publish_topics(&self) -> Option<Vec<&str>> {
        Some(vec!["mock"])
    }

    fn deliver_topics(&self) -> Option<Vec<&str>> {
        Some(vec!["mock"])
    }

    fn address(&self) -> String {
        "mock".to_owned()
    }

    fn keep_connection(&mut self) {}

    fn auto_offset_reset(&self) -> AutoOffsetReset {
        AutoOffsetReset::Earliest
    }

    fn to_value(&self) -> Value {
        serde_json::to_value(self).unwrap_or_default()
    }
}
