//! Channels: the named parts of an event API, each with topics of its own.
//!
//! An API without channels is one whole: its topics stand with its broker. In one with channels a client says which
//! one it means, and flows are chosen by it: a flow for the channel `paid` has the selector `/paid`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A named part of an event API.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ApiChannel {
    /// The topic that its messages are published to; named like the channel when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub produce_to: Option<String>,
    /// The topic that its messages are delivered from; named like the channel when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub consume_from: Option<String>,
    /// Where the content of the channel is fetched from when a publisher tells the hub that it has changed: an http
    /// or https URL. Without one a publisher sends the content along.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_url: Option<String>,
}

impl ApiChannel {
    /// The topic that its messages are published to, for a channel of this name.
    pub fn publish_topic<'a>(&'a self, name: &'a str) -> &'a str {
        self.produce_to.as_deref().unwrap_or(name)
    }

    /// The topic that its messages are delivered from, for a channel of this name.
    pub fn deliver_topic<'a>(&'a self, name: &'a str) -> &'a str {
        self.consume_from.as_deref().unwrap_or(name)
    }
}
