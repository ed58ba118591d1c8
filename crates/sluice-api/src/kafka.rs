//! Settings of the `kafka` broker: addresses, topics, security.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{ConsumerSettings, Secret, broker::yes};

/// Settings of `kafka`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct KafkaConfig {
    /// `host:port` of one or more brokers of the cluster, separated by commas; required.
    pub bootstrap_servers: String,
    /// The topics to publish to and to read from.
    #[serde(default)]
    pub topics: Vec<String>,
    /// Reading.
    #[serde(default)]
    pub consumer: ConsumerSettings,
    /// Publishing.
    #[serde(default)]
    pub producer: KafkaProducer,
    /// How to connect: encryption and credentials. Without it, plain text and none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub security: Option<KafkaSecurity>,
}

/// How Kafka is published to. Always idempotent, with `acks=all`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct KafkaProducer {
    /// Whether receivers may publish. Default true.
    #[serde(default = "yes")]
    pub enabled: bool,
    /// The topics to publish to, in place of the `topics` that both directions share.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub topics: Vec<String>,
    /// How batches are compressed on the way to the broker. Default `none`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compression_type: Option<Compression>,
}

impl Default for KafkaProducer {
    fn default() -> Self {
        Self { enabled: true, topics: Vec::new(), compression_type: None }
    }
}

/// Compression of batches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    /// As they are.
    None,
    /// gzip.
    Gzip,
    /// Snappy.
    Snappy,
    /// LZ4.
    Lz4,
    /// Zstandard.
    Zstd,
}

/// Encryption and credentials of the connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct KafkaSecurity {
    /// Which of the two is used. Default `PLAINTEXT`.
    #[serde(default)]
    pub protocol: SecurityProtocol,
    /// Credentials; required for the `SASL_` protocols.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sasl: Option<Sasl>,
    /// Certificates; for the `SSL` protocols. Without a trust store the system's certificates are trusted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ssl: Option<Tls>,
}

/// The security protocol of a listener, as Kafka names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum SecurityProtocol {
    /// Neither.
    #[default]
    Plaintext,
    /// Credentials in plain text.
    SaslPlaintext,
    /// Credentials over TLS.
    SaslSsl,
    /// TLS.
    Ssl,
}

impl SecurityProtocol {
    /// Whether credentials are sent.
    pub const fn uses_sasl(self) -> bool {
        matches!(self, Self::SaslPlaintext | Self::SaslSsl)
    }

    /// Whether the connection is encrypted.
    pub const fn uses_tls(self) -> bool {
        matches!(self, Self::Ssl | Self::SaslSsl)
    }

    /// As Kafka writes it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Plaintext => "PLAINTEXT",
            Self::SaslPlaintext => "SASL_PLAINTEXT",
            Self::SaslSsl => "SASL_SSL",
            Self::Ssl => "SSL",
        }
    }
}

/// SASL credentials: a mechanism with either user name and password, or the JAAS line that Java clients use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Sasl {
    /// How the credentials are proven.
    pub sasl_mechanism: SaslMechanism,
    /// `…LoginModule required username="…" password="…";`
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sasl_jaas_config: Option<Secret>,
    /// The user name, when there is no JAAS line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// The password, when there is no JAAS line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<Secret>,
}

/// SASL mechanisms.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum SaslMechanism {
    /// User name and password as they are.
    #[serde(rename = "PLAIN")]
    Plain,
    /// Salted challenge with SHA-256.
    #[serde(rename = "SCRAM-SHA-256")]
    ScramSha256,
    /// Salted challenge with SHA-512.
    #[serde(rename = "SCRAM-SHA-512")]
    ScramSha512,
}

impl SaslMechanism {
    /// As Kafka writes it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::ScramSha256 => "SCRAM-SHA-256",
            Self::ScramSha512 => "SCRAM-SHA-512",
        }
    }
}

/// Certificates of a TLS connection.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Tls {
    /// Whom to trust.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trust_store: Option<TrustStore>,
    /// What to show to the broker.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_store: Option<KeyStore>,
}

/// Certificates of the authorities that the broker's certificate may come from.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TrustStore {
    /// `PEM`, or `NONE` for the system's certificates.
    #[serde(rename = "type")]
    pub kind: StoreType,
    /// A PEM file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub location: Option<String>,
    /// PEM text, in place of a file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificates: Option<String>,
    /// The password of the store; PEM has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<Secret>,
}

/// The gateway's own certificate and key.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct KeyStore {
    /// `PEM` or `PKCS12`.
    #[serde(rename = "type")]
    pub kind: StoreType,
    /// A PKCS#12 file, or a PEM file that holds both chain and key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub location: Option<String>,
    /// The PEM file of the private key, where `location` holds the chain alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_location: Option<String>,
    /// The password of a PKCS#12 file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<Secret>,
    /// PEM text of the private key, in place of a file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<Secret>,
    /// The password of the private key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_password: Option<Secret>,
    /// PEM text of the certificate chain, in place of a file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate_chain: Option<String>,
}

/// The file format of a key or trust store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum StoreType {
    /// Not used.
    #[default]
    None,
    /// PEM text.
    Pem,
    /// PKCS#12.
    Pkcs12,
    /// A Java key store.
    Jks,
}

impl KafkaConfig {
    pub(crate) fn secrets_mut(&mut self) -> Vec<(String, &mut Secret)> {
        let mut secrets: Vec<(&str, &mut Option<Secret>)> = Vec::new();
        if let Some(security) = &mut self.security {
            if let Some(sasl) = &mut security.sasl {
                secrets.push(("security.sasl.saslJaasConfig", &mut sasl.sasl_jaas_config));
                secrets.push(("security.sasl.password", &mut sasl.password));
            }
            if let Some(tls) = &mut security.ssl {
                if let Some(store) = &mut tls.trust_store {
                    secrets.push(("security.ssl.trustStore.password", &mut store.password));
                }
                if let Some(store) = &mut tls.key_store {
                    secrets.push(("security.ssl.keyStore.password", &mut store.password));
                    secrets.push(("security.ssl.keyStore.key", &mut store.key));
                    secrets.push(("security.ssl.keyStore.keyPassword", &mut store.key_password));
                }
            }
        }
        let present = secrets.into_iter();
        present.filter_map(|(path, secret)| Some((path.to_owned(), secret.as_mut()?))).collect()
    }
}

impl Sasl {
    /// User name and password, from the two fields or out of the JAAS line.
    pub fn credentials(&self) -> Option<(String, Secret)> {
        if let Some(line) = &self.sasl_jaas_config {
            let option = |name| jaas_option(line.expose(), name);
            return Some((option("username")?, Secret::new(option("password")?)));
        }
        Some((self.username.clone()?, self.password.clone()?))
    }
}

/// The value of `name="value"` in a JAAS line; quotes are single or double, `\` takes the next character
/// as it is.
fn jaas_option(line: &str, name: &str) -> Option<String> {
    let mut rest = line;
    while let Some(at) = rest.find(name) {
        let begins_word = rest[..at].chars().next_back().is_none_or(char::is_whitespace);
        let after = rest[at + name.len()..].trim_start();
        if let (true, Some(value)) = (begins_word, after.strip_prefix('=')) {
            return unquote(value.trim_start());
        }
        rest = &rest[at + name.len()..];
    }
    None
}

fn unquote(text: &str) -> Option<String> {
    let quote = text.chars().next().filter(|first| matches!(first, '"' | '\''))?;
    let mut value = String::new();
    let mut characters = text.chars().skip(1);
    while let Some(character) = characters.next() {
        match character {
            '\\' => value.push(characters.next()?),
            end if end == quote => return Some(value),
            other => value.push(other),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn jaas(line: &str) -> Option<(String, Secret)> {
        let sasl_jaas_config = Some(Secret::new(line));
        Sasl { sasl_mechanism: SaslMechanism::Plain, sasl_jaas_config, username: None, password: None }
            .credentials()
    }

    #[test]
    fn credentials_are_read_from_a_jaas_line() {
        let line = r#"org.apache.kafka.common.security.plain.PlainLoginModule required username="u" password='p\'"x';"#;
        assert_eq!(jaas(line), Some(("u".to_owned(), Secret::new("p'\"x"))));
    }

    #[test]
    fn a_jaas_line_without_both_is_no_credential() {
        assert_eq!(jaas("module required username=\"u\";"), None);
        assert_eq!(jaas("module required xusername=\"u\" password=\"p\";"), None);
        assert_eq!(jaas("module required username=\"u password=;"), None);
    }
}
