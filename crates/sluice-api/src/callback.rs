//! How one subscriber of a webhook is called: address, headers, credentials, certificates, retries, signature.
//! Data only; the rules are in `validate/callback.rs`, the calls in the crate `sluice-delivery`.

mod auth;
mod tls;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use auth::{
    Assertion, AssertionAlgorithm, AssertionClaim, AssertionKey, BasicCredentials, CallbackAuth, Credentials,
    FixedToken, SecretPlace, TimeUnit,
};
pub use tls::{CallbackKeyStore, CallbackTls, CallbackTrustStore};

use crate::{Secret, broker::yes};

/// What a subscriber says about how it is called.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Callback {
    /// Where each message is sent by POST: an http or https URL without credentials.
    #[schemars(length(min = 1), regex(pattern = "^(http|https)://"))]
    pub callback_url: String,
    /// Headers of each call, unless the message has one of the same name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<CallbackHeader>,
    /// How the gateway proves who it is. Default none.
    #[serde(default, skip_serializing_if = "CallbackAuth::is_none")]
    pub auth: CallbackAuth,
    /// Certificates and checks of https.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ssl: Option<CallbackTls>,
    /// What happens after a call that failed and may succeed later.
    #[serde(default)]
    pub retry: CallbackRetry,
    /// Which messages wait for which. By default `none` where the API's qos is `none`, else `all`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order: Option<CallbackOrder>,
    /// Signs each call as Standard Webhooks have it; not signed when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signature: Option<CallbackSignature>,
}

/// A header of each call.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CallbackHeader {
    /// Its name, without spaces.
    #[schemars(length(min = 1), regex(pattern = r"^\S*$"))]
    pub name: String,
    /// Its value. Kept like any secret, as it may be one.
    pub value: Secret,
}

/// Which messages of one subscription wait for which. What does not wait is called for at the same time, as far
/// as the API's `http.maxConcurrentConnections` goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum CallbackOrder {
    /// Each waits for the one before it.
    All,
    /// Each waits for the one before it with the same record key; messages without a key wait for one another.
    Key,
    /// None waits.
    None,
}

/// What happens after a call that failed and may succeed later.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CallbackRetry {
    /// Whether calls are repeated. Default `Retry On Fail`.
    #[serde(default)]
    pub retry_option: RetryOption,
    /// The same as a flag: where it is false nothing is repeated. Default true.
    #[serde(default = "yes")]
    pub retry_on_fail: bool,
    /// How the wait grows from call to call. Default `LINEAR`.
    #[serde(default)]
    pub retry_strategy: RetryStrategy,
    /// Calls for one message at the most, the first one counted. From 1 to 100,000, default 3.
    #[serde(default = "CallbackRetry::default_attempts")]
    pub max_attempts: u32,
    /// Seconds from the first call to the second. Up to 86,400, default 10.
    #[serde(default = "CallbackRetry::default_initial")]
    pub initial_delay_seconds: u32,
    /// Seconds between two calls at the most; not less than `initialDelaySeconds`. Default 30.
    #[serde(default = "CallbackRetry::default_max")]
    pub max_delay_seconds: u32,
}

/// Whether calls are repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub enum RetryOption {
    /// Never.
    #[serde(rename = "No Retry")]
    Never,
    /// When they failed.
    #[default]
    #[serde(rename = "Retry On Fail")]
    OnFail,
}

/// How the wait between two calls grows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum RetryStrategy {
    /// By the initial delay each time.
    #[default]
    Linear,
    /// To twice of what it was.
    Exponential,
}

/// Signing as Standard Webhooks have it: `webhook-id`, `webhook-timestamp`, `webhook-signature`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CallbackSignature {
    /// The keys, as `whsec_` and 24 to 64 bytes in base64. Two while one takes the other's place: then each
    /// call has a signature by either.
    pub secrets: Vec<Secret>,
}

impl CallbackRetry {
    /// The most calls for one message that can be set.
    pub const MOST_ATTEMPTS: u32 = 100_000;

    /// How often one message is sent at the most.
    pub const fn attempts(&self) -> u32 {
        match self.retry_option {
            RetryOption::OnFail if self.retry_on_fail => self.max_attempts,
            RetryOption::OnFail | RetryOption::Never => 1,
        }
    }

    const fn default_attempts() -> u32 {
        3
    }

    const fn default_initial() -> u32 {
        10
    }

    const fn default_max() -> u32 {
        30
    }
}

impl Default for CallbackRetry {
    fn default() -> Self {
        Self {
            retry_option: RetryOption::default(),
            retry_on_fail: true,
            retry_strategy: RetryStrategy::default(),
            max_attempts: Self::default_attempts(),
            initial_delay_seconds: Self::default_initial(),
            max_delay_seconds: Self::default_max(),
        }
    }
}

impl Callback {
    /// A callback to this address with nothing else said.
    pub fn to(callback_url: impl Into<String>) -> Self {
        Self {
            callback_url: callback_url.into(),
            headers: Vec::new(),
            auth: CallbackAuth::None,
            ssl: None,
            retry: CallbackRetry::default(),
            order: None,
            signature: None,
        }
    }

    /// Every secret with its field path, in a stable order: what a store encrypts, and what an update fills
    /// in again where a client sent the mask back.
    pub fn secrets_mut(&mut self) -> Vec<(String, &mut Secret)> {
        let mut secrets = Vec::new();
        for (index, header) in self.headers.iter_mut().enumerate() {
            secrets.push((format!("headers[{index}].value"), &mut header.value));
        }
        secrets.extend(
            self.auth.secrets_mut().into_iter().map(|(path, secret)| (format!("auth.{path}"), secret)),
        );
        if let Some(tls) = &mut self.ssl {
            secrets
                .extend(tls.secrets_mut().into_iter().map(|(path, secret)| (format!("ssl.{path}"), secret)));
        }
        if let Some(signature) = &mut self.signature {
            let keys = signature.secrets.iter_mut().enumerate();
            secrets.extend(keys.map(|(index, secret)| (format!("signature.secrets[{index}]"), secret)));
        }
        secrets
    }
}
