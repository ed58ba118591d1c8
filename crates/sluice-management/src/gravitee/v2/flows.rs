//! Flows as the contract answers them: its `request` is our `connect`, its `response` our `respond`, its
//! `subscribe` our `deliver`.

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;
use sluice_api::{Channel, ChannelOperator, Flow, HttpSelector, Operation, Step};

/// A flow as it is answered.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Flow")]
pub(super) struct FlowEntity {
    name: String,
    enabled: bool,
    selectors: Vec<SelectorEntity>,
    request: Vec<StepEntity>,
    response: Vec<StepEntity>,
    subscribe: Vec<StepEntity>,
    publish: Vec<StepEntity>,
    tags: Vec<String>,
}

#[derive(Serialize, JsonSchema)]
#[serde(tag = "type", rename_all = "SCREAMING_SNAKE_CASE")]
#[schemars(rename = "Selector")]
enum SelectorEntity {
    #[serde(rename_all = "camelCase")]
    Channel {
        channel: String,
        channel_operator: ChannelOperator,
        operations: Vec<&'static str>,
        entrypoints: Vec<String>,
    },
    #[serde(rename_all = "camelCase")]
    Http {
        path: String,
        path_operator: ChannelOperator,
        methods: Vec<String>,
    },
    Condition {
        condition: String,
    },
}

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "Step")]
struct StepEntity {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<String>,
    enabled: bool,
    policy: String,
    #[serde(skip_serializing_if = "Value::is_null")]
    configuration: Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    condition: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message_condition: Option<String>,
}

impl FlowEntity {
    pub(super) fn of(flow: &Flow) -> Self {
        let steps = |steps: &[Step]| steps.iter().map(StepEntity::of).collect();
        let channel = flow.channel.iter().map(SelectorEntity::of_channel);
        let http = flow.http.iter().map(SelectorEntity::of_http);
        let condition = flow.condition.clone().map(|condition| SelectorEntity::Condition { condition });
        Self {
            name: flow.name.clone(),
            enabled: flow.enabled,
            selectors: channel.chain(http).chain(condition).collect(),
            request: steps(&flow.connect),
            response: steps(&flow.respond),
            subscribe: steps(&flow.deliver),
            publish: steps(&flow.publish),
            tags: flow.tags.clone(),
        }
    }
}

impl SelectorEntity {
    fn of_channel(selector: &Channel) -> Self {
        let operation = |operation: &Operation| match operation {
            Operation::Subscribe => "SUBSCRIBE",
            Operation::Publish => "PUBLISH",
        };
        Self::Channel {
            channel: selector.channel.clone(),
            channel_operator: selector.channel_operator,
            operations: selector.operations.iter().map(operation).collect(),
            entrypoints: selector.entrypoints.clone(),
        }
    }

    fn of_http(selector: &HttpSelector) -> Self {
        Self::Http {
            path: selector.path.clone(),
            path_operator: selector.path_operator,
            methods: selector.methods.clone(),
        }
    }
}

impl StepEntity {
    fn of(step: &Step) -> Self {
        Self {
            name: step.name.clone(),
            description: step.description.clone(),
            enabled: step.enabled,
            policy: step.policy.clone(),
            configuration: step.configuration.shown().clone(),
            condition: step.condition.clone(),
            message_condition: step.message_condition.clone(),
        }
    }
}
