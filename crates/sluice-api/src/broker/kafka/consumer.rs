//! How Kafka topics are read: which, named or by a pattern, and where readers begin.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::yes;
use crate::AutoOffsetReset;

/// How Kafka topics are read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", from = "Written")]
#[schemars(with = "Written")]
pub struct KafkaConsumer {
    /// Whether receivers may read.
    pub enabled: bool,
    /// Whether ids shown to clients are encoded in base64.
    pub encode_message_id: bool,
    /// Where a client that brings no position begins.
    pub auto_offset_reset: AutoOffsetReset,
    /// The topics to read; one that begins with `^` is a pattern.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub topics: Vec<String>,
    /// Which messages of transactions are read.
    #[serde(skip_serializing_if = "is_default")]
    pub isolation_level: IsolationLevel,
    /// The group that web clients are members of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group_id: Option<String>,
}

/// Which messages of transactions are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum IsolationLevel {
    /// Those of transactions that were committed: what a transaction took back was never published.
    #[default]
    ReadCommitted,
    /// All, as soon as they are written.
    ReadUncommitted,
}

impl IsolationLevel {
    /// As Kafka writes it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ReadCommitted => "read_committed",
            Self::ReadUncommitted => "read_uncommitted",
        }
    }
}

impl Default for KafkaConsumer {
    fn default() -> Self {
        Self {
            enabled: true,
            encode_message_id: true,
            auto_offset_reset: AutoOffsetReset::default(),
            topics: Vec::new(),
            isolation_level: IsolationLevel::default(),
            group_id: None,
        }
    }
}

/// Reading, as it stands in a document.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "KafkaConsumer")]
struct Written {
    /// Whether receivers may read. Default true.
    #[serde(default = "yes")]
    enabled: bool,
    /// Whether ids shown to clients are encoded in base64. Default true.
    #[serde(default = "yes")]
    encode_message_id: bool,
    /// Where a client that brings no position begins. Default `latest`.
    #[serde(default)]
    auto_offset_reset: AutoOffsetReset,
    /// The topics to read, in place of the `topics` that both directions share. One that begins with `^` is a regular
    /// expression, and stands for every topic whose whole name it matches, also for those that are made later.
    #[serde(default)]
    topics: Topics,
    /// A regular expression for the topics to read, beside `topics`.
    #[serde(default, alias = "topics.pattern")]
    topic_pattern: Option<String>,
    /// Which messages of transactions are read: `read_committed` or `read_uncommitted`. Default `read_committed`.
    #[serde(default)]
    isolation_level: IsolationLevel,
    /// The group that web clients are members of: each message goes to one of them. It may hold expressions of the
    /// client. Without it, and where it comes to nothing, clients are in no group and get every message.
    #[serde(default)]
    group_id: Option<String>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(untagged)]
enum Topics {
    /// Names and patterns.
    Named(Vec<String>),
    /// One pattern.
    Matching(Matching),
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Matching {
    /// A regular expression for the topics to read.
    pattern: String,
}

impl Default for Topics {
    fn default() -> Self {
        Self::Named(Vec::new())
    }
}

impl From<Written> for KafkaConsumer {
    fn from(written: Written) -> Self {
        let as_topic = |pattern: String| match pattern.starts_with('^') {
            true => pattern,
            false => format!("^{pattern}"),
        };
        let mut topics = match written.topics {
            Topics::Named(topics) => topics,
            Topics::Matching(Matching { pattern }) => vec![as_topic(pattern)],
        };
        topics.extend(written.topic_pattern.map(as_topic));
        Self {
            enabled: written.enabled,
            encode_message_id: written.encode_message_id,
            auto_offset_reset: written.auto_offset_reset,
            topics,
            isolation_level: written.isolation_level,
            group_id: written.group_id,
        }
    }
}

fn is_default(level: &IsolationLevel) -> bool {
    *level == IsolationLevel::default()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn topics(written: Value) -> Vec<String> {
        serde_json::from_value::<KafkaConsumer>(written).expect("it is well written").topics
    }

    #[test]
    fn a_pattern_may_be_written_in_every_way_there_is() {
        let expected = [r"^orders\..*"];
        for written in [
            json!({ "topics": [r"^orders\..*"] }),
            json!({ "topics": { "pattern": r"orders\..*" } }),
            json!({ "topicPattern": r"orders\..*" }),
            json!({ "topics.pattern": r"^orders\..*" }),
        ] {
            assert_eq!(topics(written), expected);
        }
        assert_eq!(topics(json!({ "topics": ["a"], "topicPattern": "b.*" })), ["a", "^b.*"]);
        assert_eq!(topics(json!({})), [""; 0]);
    }

    #[test]
    fn what_is_written_out_is_read_back() {
        let read: KafkaConsumer = serde_json::from_value(json!({ "topicPattern": "b.*" })).expect("sound");
        let again = serde_json::to_value(&read).expect("it can be written");
        assert_eq!(serde_json::from_value::<KafkaConsumer>(again).expect("sound"), read);
        assert!(serde_json::from_value::<KafkaConsumer>(json!({ "topic": "x" })).is_err());
    }
}
