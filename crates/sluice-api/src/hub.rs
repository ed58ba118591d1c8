//! What a WebSub subscriber and the hub have agreed on, beside its callback. Data only; the protocol is in the crate
//! `sluice-websub`, the calls in `sluice-delivery`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Secret;

/// What a subscriber was told and has said when it subscribed at a hub.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HubTerms {
    /// The topic as the subscriber wrote it.
    pub topic: String,
    /// The public URL of the hub, for `Link` with `rel="hub"`.
    pub hub_url: String,
    /// The public URL of the topic, for `Link` with `rel="self"`.
    pub self_url: String,
    /// Seconds for which it was agreed on, the last time.
    pub lease_seconds: u64,
    /// What each call is signed with; not signed when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<Secret>,
    /// How.
    #[serde(default)]
    pub signature: HubSignature,
}

/// The hash functions of `X-Hub-Signature`, WebSub section 7.1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum HubSignature {
    /// SHA-1; for subscribers that know no other.
    Sha1,
    /// SHA-256.
    #[default]
    Sha256,
    /// SHA-384.
    Sha384,
    /// SHA-512.
    Sha512,
}

impl HubSignature {
    /// Its name in the header.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sha1 => "sha1",
            Self::Sha256 => "sha256",
            Self::Sha384 => "sha384",
            Self::Sha512 => "sha512",
        }
    }
}
