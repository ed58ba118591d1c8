//! The words by which every contract says whether an API key may be used, and who made its text.

use schemars::JsonSchema;
use serde::Serialize;
use sluice_store::{ApiKeyRecord, ApiKeySource, ApiKeyStatus, Timestamp};

/// Whether a key may be used.
#[derive(Clone, Copy, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(rename = "ApiKeyStatus")]
pub(crate) enum KeyStatus {
    Active,
    Expired,
    Revoked,
}

/// Who made the text of a key.
#[derive(Clone, Copy, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(rename = "ApiKeySource")]
pub(crate) enum KeySource {
    /// The gateway.
    Local,
    /// Somebody else.
    External,
}

impl KeyStatus {
    /// That of a key now.
    pub(crate) fn of(key: &ApiKeyRecord) -> Self {
        match key.status {
            ApiKeyStatus::Revoked => Self::Revoked,
            ApiKeyStatus::Active if key.expires_at.is_some_and(|end| end <= Timestamp::now()) => {
                Self::Expired
            }
            ApiKeyStatus::Active => Self::Active,
        }
    }
}

impl From<ApiKeySource> for KeySource {
    fn from(source: ApiKeySource) -> Self {
        match source {
            ApiKeySource::Local => Self::Local,
            ApiKeySource::External => Self::External,
        }
    }
}
