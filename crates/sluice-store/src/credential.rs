//! API keys and webhook secrets as they are kept. Data only; who may make them, and how long they are good, is the
//! registry's part.

use serde::{Deserialize, Serialize};
use sluice_api::{ApiId, Secret};

use crate::Timestamp;

/// A key by which a client may use an API.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ApiKeyRecord {
    /// The API.
    pub api: ApiId,
    /// Its name, unique within the API.
    pub name: String,
    /// The SHA-256 of its text; the text itself is kept nowhere.
    pub hash: [u8; 32],
    /// What is shown of its text, for people.
    pub masked: String,
    /// Whether it may be used.
    pub status: ApiKeyStatus,
    /// When it ends; never when absent.
    pub expires_at: Option<Timestamp>,
    /// Who made its text.
    pub source: ApiKeySource,
    /// What it is called elsewhere, where it was made.
    pub external_ref: Option<String>,
    /// Who issued it, for policies that take the keys of one issuer only.
    pub issuer: Option<String>,
    /// What its bearer is, for policies that ask for a role.
    pub roles: Vec<String>,
    /// Who had it made.
    pub created_by: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last changed; grows with each change.
    pub updated_at: Timestamp,
}

/// Whether a key may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ApiKeyStatus {
    /// It may, until it expires.
    Active,
    /// It may not any more.
    Revoked,
}

/// Who made the text of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ApiKeySource {
    /// The gateway.
    Local,
    /// Somebody else.
    External,
}

/// A secret by which the webhook senders of an API sign.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WebhookSecretRecord {
    /// The API.
    pub api: ApiId,
    /// Its name, unique within the API.
    pub name: String,
    /// For people.
    pub display_name: String,
    /// Its text.
    pub value: Secret,
    /// What it was before, where that is good for a while.
    pub former: Option<FormerSecret>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last changed; grows with each change.
    pub updated_at: Timestamp,
}

/// What a secret was before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FormerSecret {
    /// Its text.
    pub value: Secret,
    /// Until when it is good.
    pub until: Timestamp,
}
