//! The event API itself.

use std::{collections::BTreeMap, fmt};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    ApiChannel, Balancing, Broker, Cors, Flow, Guarantees, Plan, Receiver, ReceiverConfig, ResponseTemplate,
    Secret, WebhookReceiverConfig, WebsubConfig, flow,
};

/// The id of an event API: letters, digits, `-`, `_` and `.`, at most 64.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct ApiId(pub String);

impl fmt::Display for ApiId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A published contract: paths, receivers, the broker behind them, flows of policies, plans.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EventApi {
    /// Unique among all event APIs. In a file it may be left out and is then made from the name.
    #[serde(default)]
    pub id: ApiId,
    /// For people; required.
    pub name: String,
    /// The version of the API, free text.
    #[serde(default = "first_version")]
    pub version: String,
    /// For people.
    #[serde(default)]
    pub description: String,
    /// Where the API is reached. A path serves everything below it and belongs to one API. None are needed
    /// where every receiver calls its clients.
    #[serde(default)]
    pub paths: Vec<HttpPath>,
    /// Which pages of other origins may use the API; none when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cors: Option<Cors>,
    /// How web clients connect; at most one of each kind.
    pub receivers: Vec<Receiver>,
    /// The brokers. The group of the first serves receivers; the others take dead letters, or what policies choose
    /// them for.
    pub brokers: Vec<Broker>,
    /// By group, how its brokers share what is published to it; in turn where it is not named.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub balancing: BTreeMap<String, Balancing>,
    /// Its named parts, each with topics of its own; the topics are then not set at the broker. One whole when empty.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub channels: BTreeMap<String, ApiChannel>,
    /// Policies on the messages' way.
    #[serde(default)]
    pub flows: Vec<Flow>,
    /// Who may use the API. Without a published plan nobody may.
    #[serde(default)]
    pub plans: Vec<Plan>,
    /// Named values that expressions can read as `#properties`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub properties: Vec<Property>,
    /// What a client is told in place of an error's own text: by the key of the error, then by content type.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub response_templates: BTreeMap<String, BTreeMap<String, ResponseTemplate>>,
    /// Bounds that this API sets for itself.
    #[serde(default)]
    pub limits: Limits,
    /// What it promises beyond the qos of each receiver.
    #[serde(default, skip_serializing_if = "is_usual")]
    pub guarantees: Guarantees,
}

fn is_usual(guarantees: &Guarantees) -> bool {
    *guarantees == Guarantees::default()
}

/// A named value of an API.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Property {
    /// Its name, unique within the API.
    pub key: String,
    /// Its value, kept like any secret.
    pub value: Secret,
    /// Whether the value is not to be shown again. Default false.
    #[serde(default)]
    pub encrypted: bool,
}

fn first_version() -> String {
    "1.0".to_owned()
}

/// One path at which an API is reached.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HttpPath {
    /// Only requests for this host, compared without case and port; all hosts when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// Begins with `/`. A trailing slash makes no difference.
    pub path: String,
}

impl HttpPath {
    /// The path with exactly one slash between segments and at both ends: what equality is judged by.
    pub fn normalized(&self) -> String {
        let mut normal = String::with_capacity(self.path.len() + 2);
        normal.push('/');
        for segment in self.path.split('/').filter(|segment| !segment.is_empty()) {
            normal.push_str(segment);
            normal.push('/');
        }
        normal
    }

    /// Whether a request could belong to both: same host (or no host) and one path at or below the other.
    pub fn conflicts_with(&self, other: &Self) -> bool {
        let hosts_differ = match (&self.host, &other.host) {
            (Some(one), Some(two)) => !one.eq_ignore_ascii_case(two),
            (None, None) => false,
            // An API for one host is found before an API for all hosts, so the two can live side by side.
            _ => true,
        };
        let (one, two) = (self.normalized(), other.normalized());
        !hosts_differ && (one.starts_with(&two) || two.starts_with(&one))
    }
}

/// Bounds that an API sets for itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Limits {
    /// The largest request body taken, in bytes; larger ones get 413. From 1 to 64 MiB, default 1 MiB.
    #[serde(default = "Limits::default_max_body_bytes")]
    pub max_body_bytes: usize,
    /// Different connections to brokers that clients may have at once, where their credentials differ. From 1 to 1,000,
    /// default 100.
    #[serde(default = "Limits::default_client_connections")]
    pub client_connections: usize,
}

impl Limits {
    /// The largest `maxBodyBytes` that can be set: 64 MiB.
    pub const MAX_BODY_BYTES: usize = 64 << 20;

    /// The largest `clientConnections` that can be set.
    pub const MAX_CLIENT_CONNECTIONS: usize = 1000;

    const fn default_max_body_bytes() -> usize {
        1 << 20
    }

    const fn default_client_connections() -> usize {
        100
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_body_bytes: Self::default_max_body_bytes(),
            client_connections: Self::default_client_connections(),
        }
    }
}

impl EventApi {
    /// The brokers of a group with their indexes, in the order in which they stand.
    pub fn group<'a>(&'a self, name: &'a str) -> impl Iterator<Item = (usize, &'a Broker)> {
        self.brokers.iter().enumerate().filter(move |(_, broker)| broker.group == name)
    }

    /// The brokers that serve receivers, with their indexes: those of the group of the first.
    pub fn serving(&self) -> impl Iterator<Item = (usize, &Broker)> {
        self.brokers.first().into_iter().flat_map(|first| self.group(&first.group))
    }

    /// The broker of this name, or the brokers of the group of this name, with their indexes; none where there is
    /// neither.
    pub fn named<'a>(&'a self, endpoint: &'a str) -> impl Iterator<Item = (usize, &'a Broker)> {
        let alone = self.brokers.iter().any(|broker| broker.name == endpoint);
        self.brokers
            .iter()
            .enumerate()
            .filter(move |(_, broker)| if alone { broker.name == endpoint } else { broker.group == endpoint })
    }

    /// The broker that a receiver names for its dead letters, or the first of the group; those of a group have the
    /// same topics.
    pub fn dead_letter_broker<'a>(&'a self, endpoint: &'a str) -> Option<&'a Broker> {
        self.named(endpoint).next().map(|(_, broker)| broker)
    }

    /// The settings of its hub, where it has one.
    pub fn websub(&self) -> Option<&WebsubConfig> {
        self.receivers.iter().find_map(|receiver| match &receiver.configuration {
            ReceiverConfig::Websub(settings) => Some(&**settings),
            _ => None,
        })
    }

    /// The settings of its way in for webhook senders, where it has one.
    pub fn webhook_receiver(&self) -> Option<&WebhookReceiverConfig> {
        self.receivers.iter().find_map(|receiver| match &receiver.configuration {
            ReceiverConfig::WebhookReceiver(settings) => Some(&**settings),
            _ => None,
        })
    }

    /// Every secret of the definition with its field path, in a stable order: what a store encrypts, and
    /// what an update fills in again where a client sent the mask back.
    pub fn secrets_mut(&mut self) -> Vec<(String, &mut Secret)> {
        let mut secrets = Vec::new();
        for (index, broker) in self.brokers.iter_mut().enumerate() {
            let prefix = format!("brokers[{index}].configuration");
            let found = broker.configuration.secrets_mut();
            secrets.extend(found.into_iter().map(|(path, secret)| (format!("{prefix}.{path}"), secret)));
        }
        for (index, receiver) in self.receivers.iter_mut().enumerate() {
            let prefix = format!("receivers[{index}].configuration");
            let found = receiver.configuration.secrets_mut();
            secrets.extend(found.into_iter().map(|(path, secret)| (format!("{prefix}.{path}"), secret)));
        }
        secrets.extend(flow::secrets_mut("flows", &mut self.flows));
        for (index, plan) in self.plans.iter_mut().enumerate() {
            let found = plan.secrets_mut();
            secrets
                .extend(found.into_iter().map(|(path, secret)| (format!("plans[{index}].{path}"), secret)));
        }
        let properties = self.properties.iter_mut().enumerate();
        secrets.extend(
            properties.map(|(index, property)| (format!("properties[{index}].value"), &mut property.value)),
        );
        secrets
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(host: Option<&str>, path: &str) -> HttpPath {
        HttpPath { host: host.map(str::to_owned), path: path.to_owned() }
    }

    #[test]
    fn a_path_conflicts_with_itself_and_what_is_nested() {
        assert!(path(None, "/a").conflicts_with(&path(None, "/a/")));
        assert!(path(None, "/a").conflicts_with(&path(None, "/a/b")));
        assert!(path(None, "/").conflicts_with(&path(None, "/b")));
        assert!(!path(None, "/a").conflicts_with(&path(None, "/ab")));
    }

    #[test]
    fn the_same_path_on_two_hosts_is_no_conflict() {
        assert!(!path(Some("a.example"), "/a").conflicts_with(&path(Some("b.example"), "/a")));
        assert!(!path(Some("a.example"), "/a").conflicts_with(&path(None, "/a")));
        assert!(path(Some("a.example"), "/a").conflicts_with(&path(Some("A.EXAMPLE"), "/a")));
    }

    #[test]
    fn a_path_is_normalized_to_one_slash_between_segments() {
        assert_eq!(path(None, "//a///b").normalized(), "/a/b/");
        assert_eq!(path(None, "/").normalized(), "/");
    }
}
