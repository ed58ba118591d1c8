//! How to connect to Kafka: encryption, and credentials of every SASL mechanism there is.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use url::{Host, Url};

use super::jaas;
use crate::{Problem, Secret};

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

/// SASL credentials: a mechanism with what it takes, or the JAAS line that Java clients use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Sasl {
    /// How the credentials are proven.
    pub sasl_mechanism: SaslMechanism,
    /// `…LoginModule required username="…" password="…";`, or with `clientId`, `clientSecret` and `scope` for
    /// `OAUTHBEARER`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sasl_jaas_config: Option<Secret>,
    /// The user name, when there is no JAAS line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// The password, when there is no JAAS line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<Secret>,
    /// Where tokens come from; for `OAUTHBEARER`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oauth: Option<KafkaOauth>,
}

/// The client credentials by which tokens are asked for, as RFC 6749 section 4.4 says.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct KafkaOauth {
    /// The token endpoint: an `https` URL, or an `http` one of this machine. Required, unless the JAAS line has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_endpoint_url: Option<String>,
    /// Who asks. Required, unless the JAAS line has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,
    /// How that is proven, as the password of HTTP Basic. Required, unless the JAAS line has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_secret: Option<Secret>,
    /// What the token is to be good for. Default nothing, which leaves it to the endpoint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<String>,
    /// Whom to trust of token endpoints. Without it the system's certificates.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trust_store: Option<TrustStore>,
}

/// Client credentials that are complete.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientCredentials {
    /// The token endpoint.
    pub token_endpoint_url: String,
    /// Who asks.
    pub client_id: String,
    /// How that is proven.
    pub client_secret: Secret,
    /// What the token is to be good for.
    pub scope: Option<String>,
    /// Whom to trust of token endpoints.
    pub trust_store: Option<TrustStore>,
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
    /// A token of an OAuth 2 server.
    #[serde(rename = "OAUTHBEARER")]
    Oauthbearer,
}

impl SaslMechanism {
    /// As Kafka writes it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::ScramSha256 => "SCRAM-SHA-256",
            Self::ScramSha512 => "SCRAM-SHA-512",
            Self::Oauthbearer => "OAUTHBEARER",
        }
    }
}

impl Sasl {
    /// A mechanism, without credentials yet.
    pub const fn new(sasl_mechanism: SaslMechanism) -> Self {
        Self { sasl_mechanism, sasl_jaas_config: None, username: None, password: None, oauth: None }
    }

    /// User name and password, from the two fields or out of the JAAS line.
    pub fn credentials(&self) -> Option<(String, Secret)> {
        if let Some(line) = &self.sasl_jaas_config {
            let mut options = jaas::options(line.expose())?;
            let mut option = |wanted| take(&mut options, &[wanted]);
            return Some((option("username")?, Secret::new(option("password")?)));
        }
        Some((self.username.clone()?, self.password.clone()?))
    }

    /// What tokens are asked for with: from the fields, and what they do not say out of the JAAS line, by the names of
    /// Kafka's own clients or those of Strimzi's.
    pub fn client_credentials(&self) -> Option<ClientCredentials> {
        let mut options = match &self.sasl_jaas_config {
            Some(line) => jaas::options(line.expose())?,
            None => Vec::new(),
        };
        let mut option = |names: &[&str]| take(&mut options, names);
        let oauth = self.oauth.clone().unwrap_or_default();
        let endpoint = ["sasl.oauthbearer.token.endpoint.url", "oauth.token.endpoint.uri"];
        let written = (
            option(&endpoint),
            option(&["clientId", "oauth.client.id"]),
            option(&["clientSecret", "oauth.client.secret"]).map(Secret::new),
            option(&["scope", "oauth.scope"]),
        );
        Some(ClientCredentials {
            token_endpoint_url: oauth.token_endpoint_url.or(written.0)?,
            client_id: oauth.client_id.or(written.1)?,
            client_secret: oauth.client_secret.or(written.2)?,
            scope: oauth.scope.or(written.3),
            trust_store: oauth.trust_store,
        })
    }

    /// Whether the JAAS line asks for what cannot be sent: the client library takes no extensions with a token.
    fn has_extensions(&self) -> bool {
        let options = self.sasl_jaas_config.as_ref().and_then(|line| jaas::options(line.expose()));
        options.is_some_and(|options| options.iter().any(|(name, _)| name.starts_with("extension_")))
    }
}

/// The value of the first option that has one of these names.
fn take(options: &mut Vec<(String, String)>, names: &[&str]) -> Option<String> {
    let at = options.iter().position(|(name, _)| names.contains(&name.as_str()))?;
    Some(options.swap_remove(at).1)
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

/// Every secret with its path, relative to the settings around these.
pub(super) fn secrets_mut(security: &mut KafkaSecurity) -> Vec<(&'static str, &mut Secret)> {
    let mut secrets: Vec<(&str, &mut Option<Secret>)> = Vec::new();
    if let Some(sasl) = &mut security.sasl {
        secrets.push(("security.sasl.saslJaasConfig", &mut sasl.sasl_jaas_config));
        secrets.push(("security.sasl.password", &mut sasl.password));
        if let Some(oauth) = &mut sasl.oauth {
            secrets.push(("security.sasl.oauth.clientSecret", &mut oauth.client_secret));
            if let Some(store) = &mut oauth.trust_store {
                secrets.push(("security.sasl.oauth.trustStore.password", &mut store.password));
            }
        }
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
    secrets.into_iter().filter_map(|(path, secret)| Some((path, secret.as_mut()?))).collect()
}

/// Every rule that these settings break; paths are relative to those around them.
pub(super) fn problems(security: &KafkaSecurity) -> Vec<Problem> {
    let mut problems = Vec::new();
    check_sasl(security, &mut problems);
    check_tls(security, &mut problems);
    problems
}

fn check_sasl(security: &KafkaSecurity, problems: &mut Vec<Problem>) {
    let mut refuse = |field: &str, message: &str| {
        problems.push(Problem::new(format!("security.{field}"), "endpoints.security.invalid", message));
    };
    let sasl = match (&security.sasl, security.protocol.uses_sasl()) {
        (None, false) => return,
        (None, true) => return refuse("sasl", "This protocol needs credentials."),
        (Some(_), false) => {
            return refuse("protocol", "Credentials are given, but this protocol does not send them.");
        }
        (Some(sasl), true) => sasl,
    };
    if sasl.sasl_mechanism != SaslMechanism::Oauthbearer {
        if sasl.oauth.is_some() {
            refuse("sasl.oauth", "Only the mechanism OAUTHBEARER has tokens.");
        }
        if sasl.credentials().is_none() {
            refuse("sasl", "Give username and password, or a saslJaasConfig that has both in quotes.");
        }
        return;
    }
    if sasl.has_extensions() {
        refuse("sasl.saslJaasConfig", "Extensions of SASL (extension_…) cannot be sent; leave them out.");
    }
    let Some(credentials) = sasl.client_credentials() else {
        return refuse(
            "sasl.oauth",
            "Give tokenEndpointUrl, clientId and clientSecret, here or in saslJaasConfig in quotes.",
        );
    };
    if !is_endpoint(&credentials.token_endpoint_url) {
        refuse(
            "sasl.oauth.tokenEndpointUrl",
            "An https URL is needed, without user and password; http is for this machine only (localhost).",
        );
    }
    if let Some(message) = credentials.trust_store.as_ref().and_then(untrustworthy) {
        refuse("sasl.oauth.trustStore", message);
    }
}

/// The secret of the client goes there, so only over TLS, or to this machine.
fn is_endpoint(text: &str) -> bool {
    let Ok(url) = Url::parse(text) else { return false };
    let is_here = match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    };
    let is_private = url.scheme() == "https" || (url.scheme() == "http" && is_here);
    is_private && url.has_host() && url.username().is_empty() && url.password().is_none()
}

/// Why a trust store cannot be used, if so.
fn untrustworthy(store: &TrustStore) -> Option<&'static str> {
    match store.kind {
        StoreType::None => None,
        StoreType::Pem if store.location.is_some() != store.certificates.is_some() => None,
        StoreType::Pem => Some("Give either location or certificates."),
        StoreType::Pkcs12 | StoreType::Jks => {
            Some("Only PEM can be read; convert it with keytool and openssl.")
        }
    }
}

fn check_tls(security: &KafkaSecurity, problems: &mut Vec<Problem>) {
    let mut refuse = |field: &str, message: &str| {
        problems.push(Problem::new(format!("security.{field}"), "endpoints.security.invalid", message));
    };
    let Some(tls) = &security.ssl else { return };
    if !security.protocol.uses_tls() {
        refuse("protocol", "Certificates are given, but this protocol does not encrypt.");
    }
    if let Some(message) = tls.trust_store.as_ref().and_then(untrustworthy) {
        refuse("ssl.trustStore", message);
    }
    if let Some(store) = &tls.key_store {
        if store.key_location.is_some() && (store.kind != StoreType::Pem || store.location.is_none()) {
            refuse(
                "ssl.keyStore.keyLocation",
                "Only a PEM chain in another file (location) has its key apart.",
            );
        }
        match store.kind {
            StoreType::None => {}
            StoreType::Pem if store.location.is_some() => {}
            StoreType::Pem if store.key.is_some() && store.certificate_chain.is_some() => {}
            StoreType::Pem => refuse("ssl.keyStore", "Give either location, or key and certificateChain."),
            StoreType::Pkcs12 if store.location.is_some() => {}
            StoreType::Pkcs12 => refuse("ssl.keyStore.location", "Name the PKCS#12 file."),
            StoreType::Jks => {
                refuse("ssl.keyStore.type", "Only PEM and PKCS12 can be read; convert it with keytool.");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn jaas(sasl_mechanism: SaslMechanism, line: &str) -> Sasl {
        Sasl { sasl_jaas_config: Some(Secret::new(line)), ..Sasl::new(sasl_mechanism) }
    }

    fn security(sasl: Sasl) -> KafkaSecurity {
        KafkaSecurity { protocol: SecurityProtocol::SaslSsl, sasl: Some(sasl), ssl: None }
    }

    #[test]
    fn credentials_are_read_from_a_jaas_line() {
        let line = r#"org.apache.kafka.common.security.plain.PlainLoginModule required username="u" password='p\'"x';"#;
        let credentials = jaas(SaslMechanism::Plain, line).credentials();
        assert_eq!(credentials, Some(("u".to_owned(), Secret::new("p'\"x"))));
    }

    #[test]
    fn a_jaas_line_without_both_is_no_credential() {
        for line in [
            "module required username=\"u\";",
            "module required xusername=\"u\" password=\"p\";",
            "module required username=\"u password=;",
        ] {
            assert_eq!(jaas(SaslMechanism::Plain, line).credentials(), None);
        }
    }

    #[test]
    fn client_credentials_are_read_from_a_jaas_line_in_both_spellings() {
        let lines = [
            r#"m required clientId="c" clientSecret="s" scope="a b" sasl.oauthbearer.token.endpoint.url="https://i/t";"#,
            r#"m required oauth.client.id="c" oauth.client.secret="s" oauth.scope="a b" oauth.token.endpoint.uri="https://i/t";"#,
        ];
        for line in lines {
            let found = jaas(SaslMechanism::Oauthbearer, line).client_credentials().expect("it has all");
            assert_eq!((&*found.client_id, found.client_secret.expose()), ("c", "s"));
            assert_eq!((&*found.token_endpoint_url, found.scope.as_deref()), ("https://i/t", Some("a b")));
        }
        let mut sasl = jaas(SaslMechanism::Oauthbearer, r#"m required clientId="c" clientSecret="s";"#);
        assert_eq!(sasl.client_credentials(), None, "the endpoint is missing");
        let url = Some("https://i/t".to_owned());
        sasl.oauth = Some(KafkaOauth { token_endpoint_url: url, ..KafkaOauth::default() });
        assert!(sasl.client_credentials().is_some());
    }

    #[test]
    fn the_secret_of_a_client_goes_over_tls_or_to_this_machine() {
        let paths = |url: &str| -> Vec<String> {
            let oauth = KafkaOauth {
                token_endpoint_url: Some(url.to_owned()),
                client_id: Some("c".to_owned()),
                client_secret: Some(Secret::new("s")),
                ..KafkaOauth::default()
            };
            let sasl = Sasl { oauth: Some(oauth), ..Sasl::new(SaslMechanism::Oauthbearer) };
            problems(&security(sasl)).into_iter().map(|problem| problem.path).collect()
        };
        for url in
            ["https://idp.example/token", "http://localhost:1/t", "http://127.0.0.1/t", "http://[::1]/t"]
        {
            assert_eq!(paths(url), [""; 0], "{url}");
        }
        for url in ["http://idp.example/token", "ftp://idp/t", "idp/token", "https://u:p@idp.example/t"] {
            assert_eq!(paths(url), ["security.sasl.oauth.tokenEndpointUrl"], "{url}");
        }
    }

    #[test]
    fn what_oauth_cannot_send_or_does_not_have_is_refused() {
        let extended = r#"m required clientId="c" clientSecret="s" extension_a="b" oauth.token.endpoint.uri="https://i";"#;
        let found = problems(&security(jaas(SaslMechanism::Oauthbearer, extended)));
        assert_eq!(
            found.iter().map(|problem| &*problem.path).collect::<Vec<_>>(),
            ["security.sasl.saslJaasConfig"]
        );
        let found = problems(&security(Sasl::new(SaslMechanism::Oauthbearer)));
        assert_eq!(found.iter().map(|problem| &*problem.path).collect::<Vec<_>>(), ["security.sasl.oauth"]);
    }
}
