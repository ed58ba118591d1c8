//! Certificates and checks of calls by https.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Secret, StoreType, broker::yes};

/// Certificates and checks of https. They hold for the token endpoint, too.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CallbackTls {
    /// Whether the certificate must be for the host that is called. Default true.
    #[serde(default = "yes")]
    pub hostname_verifier: bool,
    /// Whether every certificate is taken, whoever signed it. Default false.
    #[serde(default)]
    pub trust_all: bool,
    /// Whom to trust, in place of the authorities that the system trusts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trust_store: Option<CallbackTrustStore>,
    /// The certificate by which the gateway shows who it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_store: Option<CallbackKeyStore>,
}

/// Certificates of authorities.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CallbackTrustStore {
    /// `PEM`, or `NONE` for the system's certificates.
    #[serde(rename = "type", default)]
    pub kind: StoreType,
    /// One or more certificates as PEM text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<String>,
    /// A file. Refused: a subscriber does not choose the files that the gateway reads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// The password of the store; PEM has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<Secret>,
}

/// The gateway's own certificate and key.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CallbackKeyStore {
    /// `PEM`, or `NONE` for no certificate.
    #[serde(rename = "type", default)]
    pub kind: StoreType,
    /// The certificate and what leads to its authority, as PEM text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cert_content: Option<String>,
    /// Its private key as PEM text, not encrypted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_content: Option<Secret>,
    /// Certificate and key in one PEM text, in place of the two.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<Secret>,
    /// A file. Refused: a subscriber does not choose the files that the gateway reads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// A file, refused like `path`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cert_path: Option<String>,
    /// A file, refused like `path`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_path: Option<String>,
    /// The password of the store; PEM has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<Secret>,
}

impl Default for CallbackTls {
    fn default() -> Self {
        Self { hostname_verifier: true, trust_all: false, trust_store: None, key_store: None }
    }
}

impl CallbackTls {
    pub(super) fn secrets_mut(&mut self) -> Vec<(&'static str, &mut Secret)> {
        let mut secrets = Vec::new();
        if let Some(store) = &mut self.trust_store {
            secrets.push(("trustStore.password", &mut store.password));
        }
        if let Some(store) = &mut self.key_store {
            secrets.push(("keyStore.keyContent", &mut store.key_content));
            secrets.push(("keyStore.content", &mut store.content));
            secrets.push(("keyStore.password", &mut store.password));
        }
        secrets.into_iter().filter_map(|(path, secret)| Some((path, secret.as_mut()?))).collect()
    }
}
