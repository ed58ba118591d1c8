//! From the flows of a definition to chains that can run. Everything that is wrong is told at once.
//!
//! What is switched off is checked like the rest, since one switch brings it back, and then left out. The
//! flows of a closed plan are not looked at: nobody can use it again.

use std::sync::Arc;

use serde_json::Value;
use sluice_api::{EventApi, PlanStatus, Problem, Step as Written};
use sluice_expression::Expression;

use crate::{
    Hook,
    catalogue::Entry,
    chain::{Flow, Flows, Step, receiver_kind},
    condition,
};

/// What a channel may name in `entrypoints`, also those receivers that this API does not have.
const RECEIVERS: [&str; 6] = ["http-get", "http-post", "sse", "webhook", "websocket", "websub"];

/// Compiles all flows of an API with the policies of a catalogue.
pub(crate) fn flows(api: &EventApi, catalogue: &[Entry]) -> Result<Flows, Vec<Problem>> {
    let mut compiler = Compiler { catalogue, problems: Vec::new() };
    let own = compiler.flows("flows", &api.flows);
    let plans = api.plans.iter().enumerate().filter(|(_, plan)| plan.status != PlanStatus::Closed);
    let plans = plans
        .map(|(index, plan)| (plan.id.clone(), compiler.flows(&format!("plans[{index}].flows"), &plan.flows)))
        .collect();
    if compiler.problems.is_empty() { Ok(Flows { plans, own }) } else { Err(compiler.problems) }
}

struct Compiler<'c> {
    catalogue: &'c [Entry],
    problems: Vec<Problem>,
}

impl Compiler<'_> {
    fn flows(&mut self, path: &str, written: &[sluice_api::Flow]) -> Vec<Flow> {
        let mut flows = Vec::new();
        for (index, flow) in written.iter().enumerate() {
            let path = format!("{path}[{index}]");
            let receivers = flow.channel.iter().flat_map(|channel| channel.entrypoints.iter().enumerate());
            for (index, receiver) in receivers {
                if !RECEIVERS.contains(&receiver_kind(receiver)) {
                    let known = RECEIVERS.join(", ");
                    let message = format!("There is no receiver '{receiver}'. Known are: {known}.");
                    let path = format!("{path}.channel.entrypoints[{index}]");
                    self.problems.push(Problem::new(path, "connector.unknown", message));
                }
            }
            let publish = self.steps(&path, Hook::Publish, &flow.publish);
            let deliver = self.steps(&path, Hook::Deliver, &flow.deliver);
            if flow.enabled && !(publish.is_empty() && deliver.is_empty()) {
                flows.push(Flow { channel: flow.channel.clone(), publish, deliver });
            }
        }
        flows
    }

    fn steps(&mut self, path: &str, hook: Hook, written: &[Written]) -> Vec<Step> {
        let mut steps = Vec::new();
        for (index, step) in written.iter().enumerate() {
            let path = format!("{path}.{}[{index}]", hook.as_str());
            match self.step(hook, step) {
                Ok(compiled) if step.enabled => steps.push(compiled),
                Ok(_) => {}
                Err(problems) => {
                    self.problems.extend(problems.into_iter().map(|problem| problem.within(&path)));
                }
            }
        }
        steps
    }

    fn step(&self, hook: Hook, written: &Written) -> Result<Step, Vec<Problem>> {
        match (self.policy(hook, written), condition(written)) {
            (Ok(policy), Ok(condition)) => Ok(Step { policy, condition }),
            (policy, condition) => Err(policy.err().into_iter().chain(condition.err()).collect()),
        }
    }

    fn policy(&self, hook: Hook, written: &Written) -> Result<Arc<dyn crate::Policy>, Problem> {
        let id = &*written.policy;
        let Some(entry) = self.catalogue.iter().find(|entry| entry.id == id) else {
            let known: Vec<_> = self.catalogue.iter().map(|entry| entry.id).collect();
            let message = format!("There is no policy '{id}'. Known are: {}.", known.join(", "));
            return Err(Problem::new("policy", "policy.unknown", message));
        };
        if !entry.hooks.contains(&hook) {
            let hooks: Vec<_> = entry.hooks.iter().map(|hook| hook.as_str()).collect();
            let message = format!("'{id}' runs only at: {}.", hooks.join(", "));
            return Err(Problem::new("policy", "policy.hook.unsupported", message));
        }
        // Settings that are left out are all defaults, and what has none is then missed by name.
        let settings = match &written.configuration {
            Value::Null => Value::Object(serde_json::Map::new()),
            settings => settings.clone(),
        };
        (entry.build)(settings).map_err(|mut problem| {
            if problem.code == "document.field" {
                problem.code = "policy.configuration.invalid";
            }
            problem.within("configuration")
        })
    }
}

/// The condition of a step; a blank one is none, as both dialects have it.
fn condition(written: &Written) -> Result<Option<Arc<Expression>>, Problem> {
    let source = written.message_condition.as_deref().filter(|source| !source.trim().is_empty());
    let parsed = source.map(|source| condition::parse("messageCondition", source)).transpose()?;
    Ok(parsed.map(Arc::new))
}
