//! Flows: which policies run on which messages, in which order.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Secret, Settings, broker::yes};

/// Lists of policies, one for each hook, with the conditions under which they run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Flow {
    /// For people.
    #[serde(default)]
    pub name: String,
    /// Whether it runs at all. Default true.
    #[serde(default = "yes")]
    pub enabled: bool,
    /// Which messages it is for; all when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channel: Option<Channel>,
    /// Which requests it is for, by path and method; all when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http: Option<HttpSelector>,
    /// An expression, evaluated once for each connection; the flow is for those where it is true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub condition: Option<String>,
    /// Policies on a client's request, once, before anything else.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub connect: Vec<Step>,
    /// Policies on the answer to that request, once, before its first byte is sent.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub respond: Vec<Step>,
    /// Policies on a request to subscribe at the hub, once, before the subscriber is asked whether it is meant.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub subscribe: Vec<Step>,
    /// Policies on a request to unsubscribe there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unsubscribe: Vec<Step>,
    /// Policies on the way from the client to the broker.
    #[serde(default)]
    pub publish: Vec<Step>,
    /// Policies on the way from the broker to the client.
    #[serde(default)]
    pub deliver: Vec<Step>,
    /// Sharding tags, kept for the contract.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
}

/// Which connections a flow is for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Channel {
    /// Compared with the request's path below the API's own, segment by segment; a segment `:name` stands for
    /// any one. Default `/`.
    #[serde(default = "root")]
    pub channel: String,
    /// How it is compared. Default `STARTS_WITH`.
    #[serde(default)]
    pub channel_operator: ChannelOperator,
    /// Only these directions; both when empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub operations: Vec<Operation>,
    /// Only these receivers, by connector id; all when empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub entrypoints: Vec<String>,
}

/// Which requests a flow is for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HttpSelector {
    /// Compared like [`Channel::channel`]. Default `/`.
    #[serde(default = "root")]
    pub path: String,
    /// How it is compared. Default `STARTS_WITH`.
    #[serde(default)]
    pub path_operator: ChannelOperator,
    /// Only these methods, in capitals; all when empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub methods: Vec<String>,
}

fn root() -> String {
    "/".to_owned()
}

/// How a channel is compared with a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ChannelOperator {
    /// The path begins with it.
    #[default]
    StartsWith,
    /// The path is it.
    Equals,
}

/// A direction, named from the client's side.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Operation {
    /// The client receives.
    Subscribe,
    /// The client sends.
    Publish,
}

/// One policy in a flow.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Step {
    /// For people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// For people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Whether it runs. Default true.
    #[serde(default = "yes")]
    pub enabled: bool,
    /// The id of the policy.
    pub policy: String,
    /// The policy's settings, as its schema says.
    #[serde(default)]
    pub configuration: Settings,
    /// An expression, evaluated once for each connection; where it is not true, the step is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub condition: Option<String>,
    /// An expression; messages for which it is not true pass by this step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message_condition: Option<String>,
    /// A CEL expression, evaluated each time that the step is reached; where it is not true, the step is passed by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub execution_condition: Option<String>,
}

/// Every secret in the policies of flows, with its field path; `path` is where the flows stand.
pub(crate) fn secrets_mut<'f>(path: &str, flows: &'f mut [Flow]) -> Vec<(String, &'f mut Secret)> {
    let mut secrets = Vec::new();
    for (index, flow) in flows.iter_mut().enumerate() {
        let hooks = [
            ("connect", &mut flow.connect),
            ("respond", &mut flow.respond),
            ("subscribe", &mut flow.subscribe),
            ("unsubscribe", &mut flow.unsubscribe),
            ("publish", &mut flow.publish),
            ("deliver", &mut flow.deliver),
        ];
        for (hook, steps) in hooks {
            for (step, Step { configuration, .. }) in steps.iter_mut().enumerate() {
                let prefix = format!("{path}[{index}].{hook}[{step}].configuration");
                let found = configuration.secrets_mut();
                secrets.extend(found.map(|(path, secret)| (format!("{prefix}.{path}"), secret)));
            }
        }
    }
    secrets
}
