//! How one subscriber of a webhook is called: address, headers, credentials, retries.

use serde::{Deserialize, Serialize};

use crate::Secret;

/// What a subscriber says about how it is called.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Callback {
    /// Where each message is sent by POST: an http or https URL without credentials.
    pub callback_url: String,
    /// Headers of each call, unless the message has one of the same name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<CallbackHeader>,
}

/// A header of each call.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CallbackHeader {
    /// Its name, without spaces.
    pub name: String,
    /// Its value. Kept like any secret, as it may be one.
    pub value: Secret,
}
