//! Policies of a resource as flows of the model: those for all channels are a flow without a selector, which runs first;
//! those of a channel are a flow for the path `/<channel>` below the API's own.

use serde_json::Value;
use sluice_api::{Channel, ChannelOperator, Flow, Problem, Settings, Step};
use sluice_policy::{Hook, catalogue};

use super::resource::{PolicyGroup, PolicyRef};

/// Policies at one hook: its name in the notation, ours, and what stands there.
pub(super) type Group<'g> = (&'static str, Hook, &'g PolicyGroup);

/// The flow of some groups, if anything stands there. `path` is where they stand; `channel` is whose they are, all
/// channels' when absent.
pub(super) fn flow(
    path: &str,
    channel: Option<&str>,
    groups: &[Group<'_>],
    problems: &mut Vec<Problem>,
) -> Option<Flow> {
    let selector = channel.map(|name| Channel {
        channel: format!("/{name}"),
        channel_operator: ChannelOperator::Equals,
        operations: Vec::new(),
        entrypoints: Vec::new(),
    });
    let mut flow = Flow {
        name: channel.unwrap_or("all channels").to_owned(),
        enabled: true,
        channel: selector,
        http: None,
        condition: None,
        connect: Vec::new(),
        respond: Vec::new(),
        subscribe: Vec::new(),
        unsubscribe: Vec::new(),
        publish: Vec::new(),
        deliver: Vec::new(),
        tags: Vec::new(),
    };
    for (name, hook, group) in groups {
        for (index, policy) in group.policies.iter().enumerate() {
            problems.extend(version_problem(policy, &format!("{path}.{name}.policies[{index}]")));
        }
        *steps_mut(&mut flow, *hook) = group.policies.iter().map(step).collect();
    }
    groups.iter().any(|(_, _, group)| !group.policies.is_empty()).then_some(flow)
}

fn steps_mut(flow: &mut Flow, hook: Hook) -> &mut Vec<Step> {
    match hook {
        Hook::Connect => &mut flow.connect,
        Hook::Respond => &mut flow.respond,
        Hook::Subscribe => &mut flow.subscribe,
        Hook::Unsubscribe => &mut flow.unsubscribe,
        Hook::Publish => &mut flow.publish,
        Hook::Deliver => &mut flow.deliver,
    }
}

/// Policies are known by name and major version. Those that are not of the contract have the first.
fn version_problem(policy: &PolicyRef, path: &str) -> Option<Problem> {
    let is_major = policy
        .version
        .strip_prefix('v')
        .is_some_and(|number| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()));
    let entry = catalogue().iter().find(|it| it.id == policy.name || it.aliases.contains(&&*policy.name));
    let versions = entry.map(|entry| if entry.versions.is_empty() { &["v1"][..] } else { entry.versions });
    let message = match versions {
        _ if !is_major => format!("'{}' is no major version; write it as v1.", policy.version),
        Some(versions) if !versions.contains(&&*policy.version) => {
            let known = versions.join(", ");
            format!("There is no version {} of '{}'; known are: {known}.", policy.version, policy.name)
        }
        // One that is not known at all is told where policies are.
        _ => return None,
    };
    Some(Problem::new(format!("{path}.version"), "policy.version.unknown", message))
}

fn step(policy: &PolicyRef) -> Step {
    Step {
        name: None,
        description: None,
        enabled: true,
        policy: policy.name.clone(),
        configuration: Settings::new(policy.params.clone().map_or(Value::Null, Value::Object)),
        condition: None,
        message_condition: None,
        execution_condition: policy.execution_condition.clone(),
    }
}
