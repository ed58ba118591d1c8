//! Encryption and credentials of the brokers that say them in the same words: MQTT, Solace, AMQP, RabbitMQ.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::yes;
use crate::{Problem, Secret, StoreType};

/// How to connect. Without it, plain text and no credentials.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BrokerSecurity {
    /// User name and password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth: Option<BrokerAuth>,
    /// Certificates. Its presence makes the connection an encrypted one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ssl: Option<BrokerTls>,
}

/// User name and password.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BrokerAuth {
    /// The user name.
    pub username: String,
    /// The password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<Secret>,
}

/// Certificates of a TLS connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BrokerTls {
    /// Whether the broker's certificate must be for the host that is connected to. Default true.
    #[serde(default = "yes")]
    pub hostname_verifier: bool,
    /// Whom to trust, in place of the authorities that the system trusts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trust_store: Option<BrokerTrustStore>,
    /// The certificate by which the gateway shows who it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_store: Option<BrokerKeyStore>,
}

impl Default for BrokerTls {
    fn default() -> Self {
        Self { hostname_verifier: true, trust_store: None, key_store: None }
    }
}

/// Certificates of authorities: a file, or the text itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BrokerTrustStore {
    /// `PEM`, or `NONE` for the system's certificates.
    #[serde(rename = "type")]
    pub kind: StoreType,
    /// A PEM file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// PEM text, in place of a file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<String>,
    /// The password of the store; PEM has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<Secret>,
}

/// The gateway's own certificate and key: in one file or text, or apart.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BrokerKeyStore {
    /// `PEM`, or `NONE` for no certificate.
    #[serde(rename = "type")]
    pub kind: StoreType,
    /// A PEM file with both certificate and key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// PEM text of both, in place of a file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<Secret>,
    /// A PEM file with the certificate and what leads to its authority.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cert_path: Option<String>,
    /// PEM text of the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cert_content: Option<String>,
    /// A PEM file with the private key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_path: Option<String>,
    /// PEM text of the private key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_content: Option<Secret>,
    /// The password of the store; PEM has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<Secret>,
    /// The password of the private key; an encrypted key is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_password: Option<Secret>,
}

impl BrokerSecurity {
    /// Every rule that is broken; paths are relative to these settings.
    pub(super) fn problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        let mut refuse = |field: &str, message: &str| {
            problems.push(Problem::new(field, "endpoints.security.invalid", message));
        };
        if self.auth.as_ref().is_some_and(|auth| auth.username.is_empty()) {
            refuse("auth.username", "A user name is needed; leave 'auth' out to connect without one.");
        }
        let Some(tls) = &self.ssl else { return problems };
        if let Some(store) = &tls.trust_store {
            match store.kind {
                StoreType::None => {}
                StoreType::Pem if store.path.is_some() != store.content.is_some() => {}
                StoreType::Pem => refuse("ssl.trustStore", "Give either path or content."),
                StoreType::Pkcs12 | StoreType::Jks => {
                    refuse(
                        "ssl.trustStore.type",
                        "Only PEM can be read; convert it with keytool and openssl.",
                    );
                }
            }
        }
        if let Some(store) = &tls.key_store {
            let given = |parts: &[bool]| parts.iter().filter(|given| **given).count();
            let both = given(&[store.path.is_some(), store.content.is_some()]);
            let chain = given(&[store.cert_path.is_some(), store.cert_content.is_some()]);
            let key = given(&[store.key_path.is_some(), store.key_content.is_some()]);
            match store.kind {
                StoreType::None => {}
                StoreType::Pem if matches!((both, chain, key), (1, 0, 0) | (0, 1, 1)) => {}
                StoreType::Pem => refuse(
                    "ssl.keyStore",
                    "Give path or content for certificate and key together, or one of certPath and certContent with \
                     one of keyPath and keyContent.",
                ),
                StoreType::Pkcs12 | StoreType::Jks => {
                    refuse("ssl.keyStore.type", "Only PEM can be read; convert it with keytool and openssl.");
                }
            }
            if store.kind == StoreType::Pem && store.key_password.is_some() {
                refuse("ssl.keyStore.keyPassword", "Encrypted keys cannot be read; decrypt it with openssl.");
            }
        }
        problems
    }

    /// Every secret with its path, relative to these settings.
    pub(super) fn secrets_mut(&mut self) -> Vec<(String, &mut Secret)> {
        let mut secrets: Vec<(&str, &mut Option<Secret>)> = Vec::new();
        if let Some(auth) = &mut self.auth {
            secrets.push(("auth.password", &mut auth.password));
        }
        if let Some(tls) = &mut self.ssl {
            if let Some(store) = &mut tls.trust_store {
                secrets.push(("ssl.trustStore.password", &mut store.password));
            }
            if let Some(store) = &mut tls.key_store {
                secrets.push(("ssl.keyStore.content", &mut store.content));
                secrets.push(("ssl.keyStore.keyContent", &mut store.key_content));
                secrets.push(("ssl.keyStore.password", &mut store.password));
                secrets.push(("ssl.keyStore.keyPassword", &mut store.key_password));
            }
        }
        let present = secrets.into_iter();
        present.filter_map(|(path, secret)| Some((path.to_owned(), secret.as_mut()?))).collect()
    }
}

/// The rules and secrets of settings that may have none, with their path.
pub(super) fn problems_of(security: Option<&BrokerSecurity>) -> Vec<Problem> {
    let found = security.map(BrokerSecurity::problems).unwrap_or_default();
    found.into_iter().map(|problem| problem.within("security")).collect()
}

/// Every secret of settings that may have none, with its path.
pub(super) fn secrets_of(security: Option<&mut BrokerSecurity>) -> Vec<(String, &mut Secret)> {
    let found = security.map(BrokerSecurity::secrets_mut).unwrap_or_default();
    found.into_iter().map(|(path, secret)| (format!("security.{path}"), secret)).collect()
}
