//! Flows between the contract and the domain: its `request` and `response` are our `connect` and `respond`, its
//! `subscribe` is our `deliver`, each of its selectors is one of our fields.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sluice_api::{Channel, ChannelOperator, Flow, HttpSelector, Operation, Problem, Settings, Step};

use super::word;

/// A flow as it is written.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "NewFlow")]
pub(super) struct WrittenFlow {
    name: Option<String>,
    enabled: Option<bool>,
    selectors: Option<Vec<WrittenSelector>>,
    request: Option<Vec<WrittenStep>>,
    response: Option<Vec<WrittenStep>>,
    subscribe: Option<Vec<WrittenStep>>,
    publish: Option<Vec<WrittenStep>>,
    tags: Option<Vec<String>>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "NewSelector")]
struct WrittenSelector {
    #[serde(rename = "type")]
    kind: Option<String>,
    channel: Option<String>,
    channel_operator: Option<String>,
    operations: Option<Vec<String>>,
    entrypoints: Option<Vec<String>>,
    path: Option<String>,
    path_operator: Option<String>,
    methods: Option<Vec<String>>,
    condition: Option<String>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "NewStep")]
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
    let mut read = Flow {
        name: flow.name.unwrap_or_default(),
        enabled: flow.enabled.unwrap_or(true),
        channel: None,
        http: None,
        condition: None,
        connect: read_steps(flow.request, &format!("{path}.request"), problems),
        respond: read_steps(flow.response, &format!("{path}.response"), problems),
        publish: read_steps(flow.publish, &format!("{path}.publish"), problems),
        subscribe: Vec::new(),
        unsubscribe: Vec::new(),
        deliver: read_steps(flow.subscribe, &format!("{path}.subscribe"), problems),
        tags: flow.tags.unwrap_or_default(),
    };
    for (index, selector) in flow.selectors.unwrap_or_default().into_iter().enumerate() {
        read_selector(selector, &mut read, &format!("{path}.selectors[{index}]"), problems);
    }
    read
}

fn read_selector(selector: WrittenSelector, flow: &mut Flow, path: &str, problems: &mut Vec<Problem>) {
    let kind = word(selector.kind.as_deref().unwrap_or_default());
    let mut invalid = |message: String| {
        problems.push(Problem::new(format!("{path}.type"), "flow.selectors.type.invalid", message));
    };
    match &*kind {
        "channel" if flow.channel.is_none() => flow.channel = Some(read_channel(selector, path, problems)),
        "http" if flow.http.is_none() => flow.http = Some(read_http(selector, path, problems)),
        "condition" if flow.condition.is_none() => {
            let condition = selector.condition.unwrap_or_default();
            if condition.trim().is_empty() {
                let message = "A selector of type 'condition' needs one.";
                problems.push(Problem::new(format!("{path}.condition"), "field.required", message));
            }
            flow.condition = Some(condition);
        }
        "channel" | "http" | "condition" => invalid(format!("A flow has at most one {kind} selector.")),
        _ => invalid(format!("'{kind}' is no type of selector; write 'channel', 'http' or 'condition'.")),
    }
}

fn read_channel(selector: WrittenSelector, path: &str, problems: &mut Vec<Problem>) -> Channel {
    let channel_operator =
        read_operator(selector.channel_operator.as_deref(), &format!("{path}.channelOperator"), problems);
    let mut operations = Vec::new();
    for operation in selector.operations.unwrap_or_default() {
        match &*word(&operation) {
            "subscribe" => operations.push(Operation::Subscribe),
            "publish" => operations.push(Operation::Publish),
            _ => problems.push(neither(format!("{path}.operations"), &operation, "subscribe, publish")),
        }
    }
    Channel {
        channel: selector.channel.unwrap_or_else(|| "/".to_owned()),
        channel_operator,
        operations,
        entrypoints: selector.entrypoints.unwrap_or_default(),
    }
}

fn read_http(selector: WrittenSelector, path: &str, problems: &mut Vec<Problem>) -> HttpSelector {
    let methods = selector.methods.unwrap_or_default();
    HttpSelector {
        path: selector.path.unwrap_or_else(|| "/".to_owned()),
        path_operator: read_operator(
            selector.path_operator.as_deref(),
            &format!("{path}.pathOperator"),
            problems,
        ),
        methods: methods.iter().map(|method| method.trim().to_ascii_uppercase()).collect(),
    }
}

fn read_operator(operator: Option<&str>, path: &str, problems: &mut Vec<Problem>) -> ChannelOperator {
    match operator.map(word).as_deref() {
        None | Some("starts-with") => ChannelOperator::StartsWith,
        Some("equals") => ChannelOperator::Equals,
        Some(_) => {
            problems.push(neither(path, operator.unwrap_or_default(), "STARTS_WITH, EQUALS"));
            ChannelOperator::default()
        }
    }
}

fn neither(path: impl Into<String>, text: &str, right: &str) -> Problem {
    Problem::new(path, "flow.selectors.invalid", format!("'{text}' is neither of {right}."))
}

fn read_steps(steps: Option<Vec<WrittenStep>>, path: &str, problems: &mut Vec<Problem>) -> Vec<Step> {
    let given = |text: &String| !text.trim().is_empty();
    let mut read = Vec::new();
    for (index, step) in steps.unwrap_or_default().into_iter().enumerate() {
        let Some(policy) = step.policy else {
            let message = "Name the policy of this step.";
            problems.push(Problem::new(format!("{path}[{index}].policy"), "field.required", message));
            continue;
        };
        read.push(Step {
            name: step.name,
            description: step.description,
            enabled: step.enabled.unwrap_or(true),
            policy,
            configuration: Settings::new(step.configuration.unwrap_or_default()),
            condition: step.condition.filter(given),
            message_condition: step.message_condition.filter(given),
            execution_condition: None,
        });
    }
    read
}

/// A flow as it is answered.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Flow")]
pub(super) struct FlowEntity<'a> {
    name: &'a str,
    enabled: bool,
    selectors: Vec<SelectorEntity<'a>>,
    request: Vec<StepEntity<'a>>,
    response: Vec<StepEntity<'a>>,
    subscribe: Vec<StepEntity<'a>>,
    publish: Vec<StepEntity<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tags: Option<&'a [String]>,
}

#[derive(Serialize, JsonSchema)]
#[serde(tag = "type", rename_all = "lowercase")]
#[schemars(rename = "Selector")]
enum SelectorEntity<'a> {
    Channel(&'a Channel),
    Http(&'a HttpSelector),
    Condition { condition: &'a str },
}

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "Step")]
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
    condition: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message_condition: Option<&'a str>,
}

impl<'a> FlowEntity<'a> {
    pub(super) fn of(flow: &'a Flow) -> Self {
        let steps = |steps: &'a [Step]| steps.iter().map(StepEntity::of).collect();
        let selectors = flow.channel.iter().map(SelectorEntity::Channel);
        let selectors = selectors.chain(flow.http.iter().map(SelectorEntity::Http));
        let conditions = flow.condition.iter().map(|condition| SelectorEntity::Condition { condition });
        Self {
            name: &flow.name,
            enabled: flow.enabled,
            selectors: selectors.chain(conditions).collect(),
            request: steps(&flow.connect),
            response: steps(&flow.respond),
            subscribe: steps(&flow.deliver),
            publish: steps(&flow.publish),
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
            configuration: step.configuration.shown(),
            condition: step.condition.as_deref(),
            message_condition: step.message_condition.as_deref(),
        }
    }
}
