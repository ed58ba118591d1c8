//! The broker of a `WebBrokerApi`. It is what the API says and nothing else: no address, certificate or password of the
//! gateway is ever added, so that whoever writes an API can not have them sent to an address of their own.

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;
use sluice_api::{
    Broker, BrokerConfig, KafkaConfig, KafkaSecurity, KeyStore, Problem, Sasl, SaslMechanism, Secret,
    SecurityProtocol, StoreType, Tls, TrustStore, from_value,
};

use super::resource;

/// The settings of `kafka`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct KafkaProperties {
    /// `host:port` of one or more brokers of the cluster.
    brokers: Vec<String>,
    /// Whether the connection is encrypted.
    #[serde(default)]
    tls: bool,
    /// A PEM file with the authorities to trust; those of the system when absent.
    #[serde(default)]
    tls_ca_file: Option<String>,
    /// A PEM file with the certificate to show.
    #[serde(default)]
    tls_cert_file: Option<String>,
    /// A PEM file with its key; may be the same.
    #[serde(default)]
    tls_key_file: Option<String>,
    /// How the credentials are proven.
    #[serde(default)]
    sasl_mechanism: Option<Mechanism>,
    #[serde(default)]
    sasl_username: Option<String>,
    #[serde(default)]
    sasl_password: Option<Secret>,
}

#[derive(Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
enum Mechanism {
    Plain,
    #[serde(rename = "scram-sha-256")]
    ScramSha256,
    #[serde(rename = "scram-sha-512")]
    ScramSha512,
}

/// Reads a broker; paths are relative to it.
pub(super) fn read(written: &resource::Broker) -> Result<Broker, Vec<Problem>> {
    let properties = written.properties.clone().unwrap_or_default();
    if written.kind != "kafka" {
        let broker = Broker::parse(&written.name, &written.kind, Some(Value::Object(properties)));
        return broker.map_err(|problem| {
            vec![Problem { path: problem.path.replacen("configuration", "properties", 1), ..problem }]
        });
    }
    if properties.contains_key("tls_server_name") {
        let message =
            "The name in the broker's certificate is always that of its address; write the address so.";
        return Err(vec![Problem::new("properties.tls_server_name", "feature.unsupported", message)]);
    }
    let properties: KafkaProperties =
        from_value(Value::Object(properties)).map_err(|problem| vec![problem.within("properties")])?;
    let problems = properties.problems();
    if !problems.is_empty() {
        return Err(problems.into_iter().map(|problem| problem.within("properties")).collect());
    }
    Ok(Broker {
        name: written.name.clone(),
        group: written.name.clone(),
        weight: 1,
        secondary: false,
        connector: "kafka".to_owned(),
        configuration: BrokerConfig::Kafka(Box::new(properties.into_config())),
    })
}

/// Where a field of the model stands in the properties.
pub(super) fn property(field: &str) -> &str {
    match field {
        "bootstrapServers" => "brokers",
        "security.sasl" => "sasl_mechanism",
        "security.sasl.password" => "sasl_password",
        "security.protocol" => "tls",
        _ if field.starts_with("security.ssl.trustStore") => "tls_ca_file",
        _ if field.starts_with("security.ssl.keyStore.keyLocation") => "tls_key_file",
        _ if field.starts_with("security.ssl.keyStore") => "tls_cert_file",
        other => other,
    }
}

impl KafkaProperties {
    fn problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        let mut refuse = |field: &str, message: &str| {
            problems.push(Problem::new(field, "endpoints.security.invalid", message));
        };
        if self.brokers.is_empty() {
            refuse("brokers", "Name at least one broker as host:port.");
        }
        let files = [
            ("tls_ca_file", &self.tls_ca_file),
            ("tls_cert_file", &self.tls_cert_file),
            ("tls_key_file", &self.tls_key_file),
        ];
        for (field, _) in files.into_iter().filter(|(_, file)| file.is_some() && !self.tls) {
            refuse(field, "Certificates need an encrypted connection: set tls to true.");
        }
        match (&self.tls_cert_file, &self.tls_key_file) {
            (Some(_), None) => {
                refuse("tls_key_file", "A certificate needs its key; it may be in the same file.");
            }
            (None, Some(_)) => refuse("tls_cert_file", "A key needs its certificate."),
            _ => {}
        }
        let named = self.sasl_username.is_some();
        match (&self.sasl_mechanism, named && self.sasl_password.is_some()) {
            (Some(_), false) => {
                let message = "An API brings its own credentials: give sasl_username and sasl_password. Those of the \
                               gateway are never used for it.";
                refuse("sasl_mechanism", message);
            }
            (None, _) if named || self.sasl_password.is_some() => {
                refuse(
                    "sasl_mechanism",
                    "Say how the credentials are proven: plain, scram-sha-256 or scram-sha-512.",
                );
            }
            _ => {}
        }
        problems
    }

    fn into_config(self) -> KafkaConfig {
        let protocol = match (self.tls, self.sasl_mechanism.is_some()) {
            (false, false) => SecurityProtocol::Plaintext,
            (false, true) => SecurityProtocol::SaslPlaintext,
            (true, false) => SecurityProtocol::Ssl,
            (true, true) => SecurityProtocol::SaslSsl,
        };
        let trust_store = self.tls_ca_file.map(|file| TrustStore {
            kind: StoreType::Pem,
            location: Some(file),
            ..TrustStore::default()
        });
        let key_location = self.tls_key_file.filter(|key| Some(key) != self.tls_cert_file.as_ref());
        let key_store = self.tls_cert_file.map(|file| KeyStore {
            kind: StoreType::Pem,
            location: Some(file),
            key_location,
            ..KeyStore::default()
        });
        let (username, password) = (self.sasl_username, self.sasl_password);
        let sasl =
            self.sasl_mechanism.map(|mechanism| Sasl { username, password, ..Sasl::new(mechanism.into()) });
        let ssl = self.tls.then_some(Tls { trust_store, key_store });
        KafkaConfig {
            security: (protocol != SecurityProtocol::Plaintext).then_some(KafkaSecurity {
                protocol,
                sasl,
                ssl,
            }),
            ..KafkaConfig::new(self.brokers.join(","))
        }
    }
}

impl From<Mechanism> for SaslMechanism {
    fn from(mechanism: Mechanism) -> Self {
        match mechanism {
            Mechanism::Plain => Self::Plain,
            Mechanism::ScramSha256 => Self::ScramSha256,
            Mechanism::ScramSha512 => Self::ScramSha512,
        }
    }
}
