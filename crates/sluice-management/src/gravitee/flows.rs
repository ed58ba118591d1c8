//! Flows between the contract and the domain: its `subscribe` is our `deliver`, its channel selector our
//! channel.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sluice_api::{Channel, ChannelOperator, Flow, Operation, Problem, Step};

use super::{read::unsupported, word};

/// A flow as it is written.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct WrittenFlow {
    name: Option<String>,
    enabled: Option<bool>,
    selectors: Option<Vec<WrittenSelector>>,
    request: Option<Vec<Value>>,
    response: Option<Vec<Value>>,
    subscribe: Option<Vec<WrittenStep>>,
    publish: Option<Vec<WrittenStep>>,
    tags: Option<Vec<String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WrittenSelector {
    #[serde(rename = "type")]
    kind: Option<String>,
    channel: Option<String>,
    channel_operator: Option<String>,
    operations: Option<Vec<String>>,
    entrypoints: Option<Vec<String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WrittenStep {
    name: Option<String>,
    description: Option<String>,
    enabled: Option<bool>,
    policy: Option<String>,
    configuration: Option<Value>,
    condition: Option<String>,
    message_condition: Option<String>,
}

/// Reads flows; `path` is where they stand.
pub(super) fn read_flows(
    flows: Option<Vec<WrittenFlow>>,
    path: &str,
    problems: &mut Vec<Problem>,
) -> Vec<Flow> {
    let flows = flows.unwrap_or_default().into_iter().enumerate();
    flows.map(|(index, flow)| read_flow(flow, &format!("{path}[{index}]"), problems)).collect()
}

fn read_flow(flow: WrittenFlow, path: &str, problems: &mut Vec<Problem>) -> Flow {
    for (phase, steps) in [("request", &flow.request), ("response", &flow.response)] {
        if steps.as_ref().is_some_and(|steps| !steps.is_empty()) {
            problems.push(unsupported(format!("{path}.{phase}"), "A policy on requests or responses"));
        }
    }
    Flow {
        name: flow.name.unwrap_or_default(),
        enabled: flow.enabled.unwrap_or(true),
        channel: read_selectors(flow.selectors.unwrap_or_default(), path, problems),
        publish: read_steps(flow.publish, &format!("{path}.publish"), problems),
        deliver: read_steps(flow.subscribe, &format!("{path}.subscribe"), problems),
        tags: flow.tags.unwrap_or_default(),
    }
}

fn read_selectors(
    selectors: Vec<WrittenSelector>,
    path: &str,
    problems: &mut Vec<Problem>,
) -> Option<Channel> {
    let mut channel = None;
    for (index, selector) in selectors.into_iter().enumerate() {
        let path = format!("{path}.selectors[{index}]");
        let invalid =
            |message: String| Problem::new(format!("{path}.type"), "flow.selectors.type.invalid", message);
        match &*word(selector.kind.as_deref().unwrap_or_default()) {
            "channel" if channel.is_some() => {
                problems.push(invalid("A flow has at most one channel selector.".to_owned()));
            }
            "channel" => channel = Some(read_channel(selector, &path, problems)),
            kind @ ("condition" | "http") => {
                problems.push(unsupported(format!("{path}.type"), &format!("A selector of type '{kind}'")));
            }
            kind => problems.push(invalid(format!("'{kind}' is no type of selector; write 'channel'."))),
        }
    }
    channel
}

fn read_channel(selector: WrittenSelector, path: &str, problems: &mut Vec<Problem>) -> Channel {
    let mut invalid = |field: &str, text: &str, right: &str| {
        let message = format!("'{text}' is neither of {right}.");
        problems.push(Problem::new(format!("{path}.{field}"), "flow.selectors.invalid", message));
    };
    let channel_operator = match selector.channel_operator.as_deref().map(|text| (text, word(text))) {
        None => ChannelOperator::default(),
        Some((_, operator)) if operator == "starts-with" => ChannelOperator::StartsWith,
        Some((_, operator)) if operator == "equals" => ChannelOperator::Equals,
        Some((text, _)) => {
            invalid("channelOperator", text, "STARTS_WITH, EQUALS");
            ChannelOperator::default()
        }
    };
    let mut operations = Vec::new();
    for operation in selector.operations.unwrap_or_default() {
        match &*word(&operation) {
            "subscribe" => operations.push(Operation::Subscribe),
            "publish" => operations.push(Operation::Publish),
            _ => invalid("operations", &operation, "subscribe, publish"),
        }
    }
    Channel {
        channel: selector.channel.unwrap_or_else(|| "/".to_owned()),
        channel_operator,
        operations,
        entrypoints: selector.entrypoints.unwrap_or_default(),
    }
}

fn read_steps(steps: Option<Vec<WrittenStep>>, path: &str, problems: &mut Vec<Problem>) -> Vec<Step> {
    let mut read = Vec::new();
    for (index, step) in steps.unwrap_or_default().into_iter().enumerate() {
        let path = format!("{path}[{index}]");
        if step.condition.is_some_and(|condition| !condition.trim().is_empty()) {
            let what = "A condition on the request (a messageCondition can)";
            problems.push(unsupported(format!("{path}.condition"), what));
        }
        let Some(policy) = step.policy else {
            let message = "Name the policy of this step.";
            problems.push(Problem::new(format!("{path}.policy"), "field.required", message));
            continue;
        };
        read.push(Step {
            name: step.name,
            description: step.description,
            enabled: step.enabled.unwrap_or(true),
            policy,
            configuration: step.configuration.unwrap_or_default(),
            message_condition: step.message_condition.filter(|condition| !condition.trim().is_empty()),
        });
    }
    read
}

/// A flow as it is answered.
#[derive(Serialize)]
pub(super) struct FlowEntity<'a> {
    name: &'a str,
    enabled: bool,
    selectors: Vec<SelectorEntity<'a>>,
    request: [Value; 0],
    response: [Value; 0],
    subscribe: Vec<StepEntity<'a>>,
    publish: Vec<StepEntity<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tags: Option<&'a [String]>,
}

#[derive(Serialize)]
struct SelectorEntity<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(flatten)]
    channel: &'a Channel,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct StepEntity<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<&'a str>,
    enabled: bool,
    policy: &'a str,
    #[serde(skip_serializing_if = "Value::is_null")]
    configuration: &'a Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    message_condition: Option<&'a str>,
}

impl<'a> FlowEntity<'a> {
    pub(super) fn of(flow: &'a Flow) -> Self {
        let selector = |channel| SelectorEntity { kind: "channel", channel };
        Self {
            name: &flow.name,
            enabled: flow.enabled,
            selectors: flow.channel.iter().map(selector).collect(),
            request: [],
            response: [],
            subscribe: flow.deliver.iter().map(StepEntity::of).collect(),
            publish: flow.publish.iter().map(StepEntity::of).collect(),
            tags: Some(&flow.tags),
        }
    }

    /// Without `tags` where there are none.
    pub(super) fn sparing(flow: &'a Flow) -> Self {
        let entity = Self::of(flow);
        Self { tags: entity.tags.filter(|tags| !tags.is_empty()), ..entity }
    }
}

impl<'a> StepEntity<'a> {
    fn of(step: &'a Step) -> Self {
        Self {
            name: step.name.as_deref(),
            description: step.description.as_deref(),
            enabled: step.enabled,
            policy: &step.policy,
            configuration: &step.configuration,
            message_condition: step.message_condition.as_deref(),
        }
    }
}
