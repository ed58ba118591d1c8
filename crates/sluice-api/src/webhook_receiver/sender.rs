//! How a webhook sender is recognized: by whose scheme it signs, and with which secrets.

use base64::{Engine, engine::general_purpose::STANDARD};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{NO_NAME, invalid};
use crate::{Problem, Secret, validate::is_token};

const MAX_SECRETS: usize = 16;
const MAX_SECRET_BYTES: usize = 1024;
const MAX_PREFIX_BYTES: usize = 64;

/// Who signs what is pushed, and how.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct WebhookSender {
    /// Whose scheme of signing it is.
    pub provider: WebhookProvider,
    /// The secrets that it may sign with, beside the webhook secrets of the API; each is good by itself. Without any
    /// secret at all every request is refused. At most 16, of 1 to 1024 bytes; with `standard-webhooks` each is
    /// base64, with or without `whsec_` before it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub secrets: Vec<Secret>,
    /// Seconds by which the time of a request may differ from the gateway's. From 1 to 86,400, default 300; only
    /// with `stripe`, `slack` and `standard-webhooks`, which sign the time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 86_400))]
    pub tolerance_seconds: Option<u32>,
    /// The header with the signature; with `hmac`, and needed there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub header: Option<String>,
    /// The hash function; with `hmac`, and with `github`, where `sha1` reads the header `X-Hub-Signature`. Default
    /// `sha256`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub algorithm: Option<HmacAlgorithm>,
    /// How the signature is written; with `hmac` only. Default `hex`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encoding: Option<SignatureEncoding>,
    /// What stands before the signature, as `sha256=`; with `hmac` only. At most 64 bytes, default nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
}

/// Whose scheme of signing it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum WebhookProvider {
    /// `X-Hub-Signature-256: sha256=` over the body.
    Github,
    /// `Stripe-Signature: t=,v1=` over time and body.
    Stripe,
    /// `X-Slack-Signature: v0=` over version, time and body.
    Slack,
    /// `X-Shopify-Hmac-Sha256` in base64 over the body.
    Shopify,
    /// `webhook-signature: v1,` over id, time and body, also with the header names of `svix`.
    #[serde(alias = "svix")]
    StandardWebhooks,
    /// Any header over the body.
    Hmac,
}

/// The hash functions of HMAC (RFC 2104).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum HmacAlgorithm {
    /// SHA-1; for senders that know no other.
    Sha1,
    /// SHA-256.
    #[default]
    Sha256,
    /// SHA-512.
    Sha512,
}

/// How a signature is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum SignatureEncoding {
    /// Hexadecimal digits, in either case.
    #[default]
    Hex,
    /// Base64 with padding (RFC 4648 section 4).
    Base64,
}

impl WebhookProvider {
    /// Whether its requests have an id by which repeats are known.
    pub const fn has_delivery_ids(self) -> bool {
        !matches!(self, Self::Hmac)
    }

    const fn signs_time(self) -> bool {
        matches!(self, Self::Stripe | Self::Slack | Self::StandardWebhooks)
    }
}

impl WebhookSender {
    const DEFAULT_TOLERANCE_SECONDS: u32 = 300;

    /// Seconds by which the time of a request may differ from the gateway's.
    pub fn tolerance_seconds(&self) -> u32 {
        self.tolerance_seconds.unwrap_or(Self::DEFAULT_TOLERANCE_SECONDS)
    }

    /// The key that a secret's text stands for; `None` for a text that is no secret of this provider.
    pub fn key(&self, secret: &Secret) -> Option<Vec<u8>> {
        let text = secret.expose();
        let key = if self.provider == WebhookProvider::StandardWebhooks {
            STANDARD.decode(text.strip_prefix("whsec_").unwrap_or(text)).ok()?
        } else {
            text.as_bytes().to_vec()
        };
        // Anybody can sign with nothing.
        Some(key).filter(|key| !key.is_empty())
    }

    /// Every rule that these settings break, with paths relative to them.
    pub(super) fn problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        self.check_secrets(&mut problems);
        self.check_scheme(&mut problems);
        match self.tolerance_seconds {
            Some(_) if !self.provider.signs_time() => {
                problems.push(invalid("toleranceSeconds", "This provider does not sign the time."));
            }
            Some(seconds) if !(1..=86_400).contains(&seconds) => {
                problems.push(invalid("toleranceSeconds", "Must be from 1 to 86400."));
            }
            _ => {}
        }
        problems
    }

    fn check_secrets(&self, problems: &mut Vec<Problem>) {
        if self.secrets.len() > MAX_SECRETS {
            problems.push(invalid("secrets", format!("At most {MAX_SECRETS} secrets are allowed.")));
        }
        for (index, secret) in self.secrets.iter().enumerate() {
            let path = format!("secrets[{index}]");
            if !(1..=MAX_SECRET_BYTES).contains(&secret.expose().len()) {
                problems.push(invalid(path, format!("Must be from 1 to {MAX_SECRET_BYTES} bytes long.")));
            } else if self.key(secret).is_none() {
                problems.push(invalid(path, "Must be base64, with or without 'whsec_' before it."));
            }
        }
    }

    fn check_scheme(&self, problems: &mut Vec<Problem>) {
        if self.provider != WebhookProvider::Hmac {
            let set = [
                ("header", self.header.is_some()),
                ("encoding", self.encoding.is_some()),
                ("prefix", self.prefix.is_some()),
                ("algorithm", self.algorithm.is_some() && self.provider != WebhookProvider::Github),
            ];
            for (field, _) in set.into_iter().filter(|(_, is_set)| *is_set) {
                problems.push(invalid(field, "This provider's scheme is fixed; set it with 'hmac' only."));
            }
            if self.provider == WebhookProvider::Github && self.algorithm == Some(HmacAlgorithm::Sha512) {
                problems.push(invalid("algorithm", "Must be sha256 or sha1."));
            }
            return;
        }
        match &self.header {
            None => problems.push(invalid("header", "Must be there: the header with the signature.")),
            Some(name) if !is_token(name) => problems.push(invalid("header", NO_NAME)),
            Some(_) => {}
        }
        let prefix = self.prefix.as_deref().unwrap_or_default();
        if prefix.len() > MAX_PREFIX_BYTES || !prefix.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
            let message =
                format!("Must be at most {MAX_PREFIX_BYTES} bytes of ASCII without control characters.");
            problems.push(invalid("prefix", message));
        }
    }
}
