//! Resources as they are written: `WebSubApi` and `WebBrokerApi`. Strict: a field that is not here is refused.

use std::collections::BTreeMap;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sluice_api::{HttpPath, Problem};

use crate::time::Moment;

/// The only version of the notation.
pub(super) const API_VERSION: &str = "gateway.api-platform.wso2.com/v1";

/// The annotation that says by which UUID a control plane knows the API.
pub(super) const ARTIFACT_ID: &str = "gateway.api-platform.wso2.com/artifact-id";

const MAX_NAMES: usize = 64;
const MAX_TEXT: usize = 4096;
const MAX_DISPLAY_NAME: usize = 100;
const MAX_CONTEXT: usize = 200;

/// The kinds of resources.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(super) enum Kind {
    /// A hub and a webhook receiver in front of topics of the gateway's own broker.
    WebSubApi,
    /// WebSocket and SSE in front of topics of a broker.
    WebBrokerApi,
}

impl Kind {
    /// As resources name it.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::WebSubApi => "WebSubApi",
            Self::WebBrokerApi => "WebBrokerApi",
        }
    }

    /// The kind of this name.
    pub(super) fn named(name: &str) -> Option<Self> {
        [Self::WebSubApi, Self::WebBrokerApi].into_iter().find(|kind| kind.as_str() == name)
    }
}

/// One resource.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "{S}Resource")]
pub(super) struct Resource<S> {
    /// `gateway.api-platform.wso2.com/v1`.
    #[expect(dead_code, reason = "has to be there; what it says is looked at before")]
    api_version: String,
    /// `WebSubApi` or `WebBrokerApi`.
    #[expect(dead_code, reason = "has to be there; what it says is looked at before")]
    kind: String,
    pub(super) metadata: Metadata,
    pub(super) spec: S,
    /// Answered only; what a client sends back of it has no meaning.
    #[serde(default)]
    #[schemars(with = "Option<Status>", extend("readOnly" = true))]
    #[expect(dead_code, reason = "may be there; means nothing")]
    status: Option<Value>,
}

/// What a resource is known by.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Metadata {
    /// The handle, unique among all APIs: 1 to 64 letters, digits, `-`, `_` or `.`.
    pub(super) name: String,
    /// For choosing resources; keys without whitespace.
    #[serde(default)]
    labels: BTreeMap<String, String>,
    /// Anything else; kept and answered. `gateway.api-platform.wso2.com/artifact-id` is a UUID and belongs to one API.
    #[serde(default)]
    annotations: BTreeMap<String, String>,
}

/// The lifecycle as it is answered.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "ResourceStatus")]
pub(super) struct Status {
    /// The handle.
    pub(super) id: String,
    /// Whether it is to be served: `deployed` or `undeployed`.
    pub(super) state: DeploymentState,
    pub(super) created_at: Moment,
    pub(super) updated_at: Moment,
    /// Absent when undeployed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) deployed_at: Option<Moment>,
    /// What else there is to know: why it is not served, or that it was changed through another contract.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) note: Option<String>,
}

/// Whether an API is to be served.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum DeploymentState {
    /// It is.
    #[default]
    Deployed,
    /// It is kept, with its keys, secrets and subscriptions, and not reachable.
    Undeployed,
}

/// The spec of a `WebSubApi`.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct WebSubApi {
    /// For people: 1 to 100 letters, digits, spaces, `-`, `_` and `.`.
    display_name: String,
    /// As `v1.0`.
    version: String,
    /// The base path. The version is put where `$version` stands, or at the end.
    context: String,
    #[serde(default)]
    vhosts: Option<Vhosts>,
    #[serde(default)]
    deployment_state: DeploymentState,
    /// Policies for all channels; they run before those of the channel.
    #[serde(default)]
    pub(super) all_channels: WebSubHooks,
    /// By name; at least one.
    #[serde(default)]
    pub(super) channels: BTreeMap<String, WebSubHooks>,
}

/// The spec of a `WebBrokerApi`.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct WebBrokerApi {
    /// For people: 1 to 100 letters, digits, spaces, `-`, `_` and `.`.
    display_name: String,
    /// As `v1.0`.
    version: String,
    /// The base path as it is.
    context: String,
    #[serde(default)]
    vhosts: Option<Vhosts>,
    #[serde(default)]
    deployment_state: DeploymentState,
    /// How clients connect: one, or a list with one of each type.
    #[schemars(schema_with = "one_or_many")]
    pub(super) receiver: Vec<Receiver>,
    pub(super) broker: Broker,
    /// Policies for all channels; they run before those of the channel.
    #[serde(default)]
    pub(super) all_channels: WebBrokerHooks,
    /// By name; at least one.
    pub(super) channels: BTreeMap<String, WebBrokerChannel>,
}

/// The hosts by which an API is reached; every host when absent.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Vhosts {
    /// The host of production.
    main: String,
    /// Another host for the same API.
    #[serde(default)]
    sandbox: Option<String>,
}

/// Policies by hook.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct WebSubHooks {
    /// When somebody subscribes, before that is verified.
    #[serde(default)]
    pub(super) on_subscription: PolicyGroup,
    /// When somebody unsubscribes.
    #[serde(default)]
    pub(super) on_unsubscription: PolicyGroup,
    /// For each message on its way to the broker.
    #[serde(default)]
    pub(super) on_message_received: PolicyGroup,
    /// For each message on its way to a subscriber.
    #[serde(default)]
    pub(super) on_message_delivery: PolicyGroup,
}

/// Policies by hook.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct WebBrokerHooks {
    /// When a client connects.
    #[serde(default)]
    pub(super) on_connection_init: PolicyGroup,
    /// For each message on its way to the broker.
    #[serde(default)]
    pub(super) on_produce: PolicyGroup,
    /// For each message on its way to a client.
    #[serde(default)]
    pub(super) on_consume: PolicyGroup,
}

/// A channel of a `WebBrokerApi`.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct WebBrokerChannel {
    /// Where its messages are published to; the normalized name of the channel when absent.
    #[serde(default, rename = "produceTo")]
    pub(super) produce_to: Option<TopicRef>,
    /// Where its messages are read from; the normalized name of the channel when absent.
    #[serde(default, rename = "consumeFrom")]
    pub(super) consume_from: Option<TopicRef>,
    /// When a client connects.
    #[serde(default)]
    pub(super) on_connection_init: PolicyGroup,
    /// For each message on its way to the broker.
    #[serde(default)]
    pub(super) on_produce: PolicyGroup,
    /// For each message on its way to a client.
    #[serde(default)]
    pub(super) on_consume: PolicyGroup,
}

/// Names a topic.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct TopicRef {
    pub(super) topic: String,
}

/// The policies at one hook, in the order in which they run.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct PolicyGroup {
    #[serde(default)]
    pub(super) policies: Vec<PolicyRef>,
}

/// One policy.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "PolicyReference")]
pub(super) struct PolicyRef {
    pub(super) name: String,
    /// The major version alone, as `v1`.
    #[schemars(regex(pattern = r"^v\d+$"))]
    pub(super) version: String,
    /// A CEL expression; where it is not true, the policy is passed by.
    #[serde(default)]
    pub(super) execution_condition: Option<String>,
    /// The settings of the policy.
    #[serde(default)]
    pub(super) params: Option<Map<String, Value>>,
}

/// How clients connect.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "WebBrokerReceiver")]
pub(super) struct Receiver {
    /// For people.
    #[expect(dead_code, reason = "is for people, who are answered what was written")]
    name: String,
    /// `websocket` or `sse`.
    #[serde(rename = "type")]
    pub(super) kind: String,
    /// Its settings.
    #[serde(default)]
    pub(super) properties: Option<Map<String, Value>>,
}

/// The broker behind a `WebBrokerApi`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "WebBrokerDriver")]
pub(super) struct Broker {
    /// For people and logs.
    pub(super) name: String,
    /// `kafka`, or `log`, which is embedded in the gateway.
    #[serde(rename = "type")]
    pub(super) kind: String,
    /// Its settings.
    #[serde(default)]
    pub(super) properties: Option<Map<String, Value>>,
}

fn one_or_many(generator: &mut SchemaGenerator) -> Schema {
    let one = generator.subschema_for::<Receiver>();
    json_schema!({ "anyOf": [one, { "type": "array", "items": one, "minItems": 1 }] })
}

/// What both kinds of spec have.
#[derive(Clone, Copy)]
pub(super) struct Common<'s> {
    pub(super) display_name: &'s str,
    pub(super) version: &'s str,
    pub(super) context: &'s str,
    pub(super) vhosts: Option<&'s Vhosts>,
    pub(super) deployment_state: DeploymentState,
}

impl WebSubApi {
    pub(super) fn common(&self) -> Common<'_> {
        let Self { display_name, version, context, deployment_state, .. } = self;
        Common {
            display_name,
            version,
            context,
            vhosts: self.vhosts.as_ref(),
            deployment_state: *deployment_state,
        }
    }
}

impl WebBrokerApi {
    pub(super) fn common(&self) -> Common<'_> {
        let Self { display_name, version, context, deployment_state, .. } = self;
        Common {
            display_name,
            version,
            context,
            vhosts: self.vhosts.as_ref(),
            deployment_state: *deployment_state,
        }
    }
}

impl Common<'_> {
    /// The rules of the notation that the model does not have.
    pub(super) fn problems(&self, problems: &mut Vec<Problem>) {
        let mut refuse = |path: &str, message: String| {
            problems.push(Problem::new(path, "resource.invalid", message));
        };
        let in_name = |it: char| it.is_ascii_alphanumeric() || matches!(it, '-' | '_' | '.' | ' ');
        let name = self.display_name;
        if !(1..=MAX_DISPLAY_NAME).contains(&name.len())
            || !name.chars().all(in_name)
            || name.trim().is_empty()
        {
            let message =
                format!("1 to {MAX_DISPLAY_NAME} letters, digits, spaces, '-', '_' and '.' are allowed.");
            refuse("spec.displayName", message);
        }
        if !is_version(self.version) {
            refuse("spec.version", format!("'{}' is no version; write it as v1.0.", self.version));
        }
        let context = self.context;
        if !context.starts_with('/')
            || (context.ends_with('/') && context.len() > 1)
            || context.len() > MAX_CONTEXT
        {
            let message = format!(
                "A context begins with '/', does not end with it, and has at most {MAX_CONTEXT} \
                                   characters."
            );
            refuse("spec.context", message);
        }
    }

    /// Where the API is reached, when its base path is this.
    pub(super) fn paths(&self, base: &str) -> Vec<HttpPath> {
        let path = |host: Option<&str>| HttpPath { host: host.map(str::to_owned), path: base.to_owned() };
        let Some(vhosts) = self.vhosts else { return vec![path(None)] };
        let sandbox = vhosts.sandbox.as_deref().map(|host| path(Some(host)));
        std::iter::once(path(Some(&vhosts.main))).chain(sandbox).collect()
    }
}

/// Whether it is `v` and up to three numbers with dots between them; the `v` may be left out.
fn is_version(text: &str) -> bool {
    let numbers: Vec<_> = text.strip_prefix('v').unwrap_or(text).split('.').collect();
    let number =
        |text: &&str| (1..=9).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    numbers.len() <= 3 && numbers.iter().all(number)
}

impl Metadata {
    /// The rules that the model does not have.
    pub(super) fn problems(&self, problems: &mut Vec<Problem>) {
        for (field, names) in [("labels", &self.labels), ("annotations", &self.annotations)] {
            let path = format!("metadata.{field}");
            if names.len() > MAX_NAMES {
                let message = format!("At most {MAX_NAMES} are allowed.");
                problems.push(Problem::new(&*path, "resource.invalid", message));
            }
            for (name, value) in names {
                let spaced = field == "labels" && name.contains(char::is_whitespace);
                if name.is_empty() || spaced || name.len().max(value.len()) > MAX_TEXT {
                    let message = format!(
                        "A name is not empty, that of a label has no whitespace, and names and values have at most \
                         {MAX_TEXT} bytes."
                    );
                    problems.push(Problem::new(format!("{path}.{name}"), "resource.invalid", message));
                }
            }
        }
        if let Some(id) = self.artifact_id().filter(|id| uuid::Uuid::parse_str(id).is_err()) {
            let path = format!("metadata.annotations.{ARTIFACT_ID}");
            problems.push(Problem::new(path, "resource.invalid", format!("'{id}' is no UUID.")));
        }
    }

    /// By which UUID a control plane knows the API, where it says so.
    pub(super) fn artifact_id(&self) -> Option<&str> {
        self.annotations.get(ARTIFACT_ID).map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_has_up_to_three_numbers() {
        for version in ["v1", "1", "v1.0", "v1.0.12", "2.3"] {
            assert!(is_version(version), "{version}");
        }
        for other in ["", "v", "v1.", "v1.0.0.0", "1.x", "V1", "v1.0-beta", "v1234567890"] {
            assert!(!is_version(other), "{other}");
        }
    }
}
