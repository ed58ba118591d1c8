//! What an event API may have that these contracts have no words for. Such an API is listed and shown, as far as they
//! go; an edit that would replace what they cannot say is refused, so that nobody loses it unawares.

use axum::http::StatusCode;
use sluice_api::{EventApi, Flow, Plan, ReceiverConfig, Step};

use crate::refusal::Refusal;

/// Parts that are named in one answer.
const MAX_NAMED: usize = 10;

/// Refuses to replace or carry away the definition of an API that has parts beyond these contracts.
pub(super) fn refuse_beyond(api: &EventApi) -> Result<(), Refusal> {
    let mut parts = Vec::new();
    if !api.channels.is_empty() {
        parts.push("channels".to_owned());
    }
    for (index, receiver) in api.receivers.iter().enumerate() {
        if matches!(receiver.configuration, ReceiverConfig::Websub(_) | ReceiverConfig::WebhookReceiver(_)) {
            parts.push(format!("receivers[{index}] ({})", receiver.configuration.kind()));
        }
    }
    parts.extend(of_flows(&api.flows));
    refuse(&parts)
}

/// The same for a plan.
pub(super) fn refuse_plan_beyond(plan: &Plan) -> Result<(), Refusal> {
    refuse(&of_flows(&plan.flows))
}

fn refuse(parts: &[String]) -> Result<(), Refusal> {
    if parts.is_empty() {
        return Ok(());
    }
    let more = parts.len().saturating_sub(MAX_NAMED);
    let named = parts.iter().take(MAX_NAMED).map(String::as_str).collect::<Vec<_>>().join(", ");
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    let message = format!(
        "This has parts that this contract has no words for, and would lose them: {named}{more}. \
         Change it where they are written: through /api/management/v1."
    );
    Err(Refusal::new(StatusCode::CONFLICT, "definition.beyond", message))
}

fn of_flows(flows: &[Flow]) -> Vec<String> {
    let mut parts = Vec::new();
    for (index, flow) in flows.iter().enumerate() {
        for (hook, steps) in [("subscribe", &flow.subscribe), ("unsubscribe", &flow.unsubscribe)] {
            if !steps.is_empty() {
                parts.push(format!("flows[{index}].{hook} (at the hub)"));
            }
        }
        for (hook, steps) in [
            ("connect", &flow.connect),
            ("respond", &flow.respond),
            ("publish", &flow.publish),
            ("deliver", &flow.deliver),
        ] {
            let conditions =
                steps.iter().enumerate().filter(|(_, step): &(_, &Step)| step.execution_condition.is_some());
            parts.extend(
                conditions.map(|(step, _)| format!("flows[{index}].{hook}[{step}].executionCondition")),
            );
        }
    }
    parts
}
