//! From a definition to chains that can run. Everything that is wrong is told at once.
//!
//! What is switched off is checked like the rest, since one switch brings it back, and then left out. The
//! flows of a closed plan are not looked at: nobody can use it again.

use std::sync::Arc;

use serde_json::Value;
use sluice_api::{EventApi, Plan, PlanStatus, Problem, Step as Written};
use sluice_expression::{Api, Environment};
use sluice_message::Attributes;

use crate::{
    ChosenBy, ClientSettings, Credentials, Hook,
    caller::attribute,
    catalogue::{self, Entry},
    chain::{Compiled, Terms},
    flow::{Flow, Step, receiver_kind},
    site::{Needs, Site},
    templates::Templates,
};

/// What a channel may name in `entrypoints`, also those receivers that this API does not have.
const RECEIVERS: [&str; 7] =
    ["http-get", "http-post", "sse", "webhook", "webhook-receiver", "websocket", "websub"];

/// Compiles what an API says about policies, with the policies of a catalogue.
pub(crate) fn api(
    api: &EventApi,
    environment: &Arc<Environment>,
    credentials: &Arc<Credentials>,
    catalogue: &[Entry],
) -> Result<Compiled, Vec<Problem>> {
    let needs = Needs::default();
    let site = Site { environment, credentials, has_message: false, needs: &needs };
    let mut compiler = Compiler { catalogue, site, problems: Vec::new() };
    let own = compiler.flows("flows", &api.flows);
    let plans = api.plans.iter().enumerate().filter(|(_, plan)| plan.status != PlanStatus::Closed);
    let plans: Vec<_> = plans.map(|(index, plan)| Arc::new(compiler.terms(index, plan))).collect();
    let templates = Templates::compile(&api.response_templates, &site).unwrap_or_else(|problems| {
        compiler.problems.extend(problems);
        Templates::default()
    });
    let client_settings = compiler.client_settings(api);
    let differs = compiler.brokers(api) || !client_settings.is_empty();
    if !compiler.problems.is_empty() {
        return Err(compiler.problems);
    }
    let mut attributes = Attributes::default();
    attributes.set(attribute::API, Value::from(&*api.id.0));
    let plain = |terms: &Arc<Terms>| terms.flows.is_empty() && terms.selection_rule.is_none();
    Ok(Compiled {
        empty: own.is_empty() && plans.iter().all(plain) && templates.is_empty() && !differs,
        api: seen(api),
        environment: Arc::clone(environment),
        plans,
        own,
        templates,
        attributes,
        reads_request: needs.request.get(),
        client_settings,
        withheld: needs.withheld.take().into_iter().collect(),
    })
}

/// The API as expressions see it.
pub(crate) fn seen(api: &EventApi) -> Api {
    let properties = api.properties.iter();
    Api {
        id: api.id.0.clone(),
        name: api.name.clone(),
        version: api.version.clone(),
        properties: properties
            .map(|property| (property.key.clone(), property.value.expose().to_owned()))
            .collect(),
    }
}

struct Compiler<'c> {
    catalogue: &'c [Entry],
    site: Site<'c>,
    problems: Vec<Problem>,
}

impl Compiler<'_> {
    /// Takes note of what the settings of brokers need to know of clients; says whether that is anything.
    fn brokers(&mut self, api: &EventApi) -> bool {
        let mut differs = false;
        for (index, broker) in api.brokers.iter().enumerate() {
            match ChosenBy::compile(&broker.configuration, &self.site) {
                Ok(chosen_by) => differs |= chosen_by.differs(),
                Err(problems) => {
                    let path = format!("brokers[{index}].configuration");
                    self.problems.extend(problems.into_iter().map(|problem| problem.within(&path)));
                }
            }
        }
        differs
    }

    /// The settings that clients have values of their own for. To be called when the policies are compiled, which may
    /// choose some.
    fn client_settings(&mut self, api: &EventApi) -> ClientSettings {
        let chosen = self.site.needs.client_settings.get();
        ClientSettings::compile(api, chosen, &self.site).unwrap_or_else(|problems| {
            self.problems.extend(problems);
            ClientSettings::default()
        })
    }

    fn terms(&mut self, index: usize, plan: &Plan) -> Terms {
        let path = format!("plans[{index}]");
        let rule = self.site.optional("selectionRule", plan.selection_rule.as_deref());
        Terms {
            id: plan.id.clone(),
            selection_rule: self.noted(&path, rule).flatten(),
            flows: self.flows(&format!("{path}.flows"), &plan.flows),
        }
    }

    fn flows(&mut self, path: &str, written: &[sluice_api::Flow]) -> Vec<Arc<Flow>> {
        let mut flows = Vec::new();
        for (index, flow) in written.iter().enumerate() {
            let path = format!("{path}[{index}]");
            self.check_receivers(&path, flow);
            let condition = self.site.optional("condition", flow.condition.as_deref());
            let compiled = Flow {
                channel: flow.channel.clone(),
                http: flow.http.clone(),
                condition: self.noted(&path, condition).flatten(),
                connect: self.steps(&path, Hook::Connect, &flow.connect),
                respond: self.steps(&path, Hook::Respond, &flow.respond),
                subscribe: self.steps(&path, Hook::Subscribe, &flow.subscribe),
                unsubscribe: self.steps(&path, Hook::Unsubscribe, &flow.unsubscribe),
                publish: self.steps(&path, Hook::Publish, &flow.publish),
                deliver: self.steps(&path, Hook::Deliver, &flow.deliver),
            };
            if flow.enabled && !compiled.is_empty() {
                flows.push(Arc::new(compiled));
            }
        }
        flows
    }

    fn check_receivers(&mut self, path: &str, flow: &sluice_api::Flow) {
        let receivers = flow.channel.iter().flat_map(|channel| channel.entrypoints.iter().enumerate());
        for (index, receiver) in receivers {
            if !RECEIVERS.contains(&receiver_kind(receiver)) {
                let known = RECEIVERS.join(", ");
                let message = format!("There is no receiver '{receiver}'. Known are: {known}.");
                let path = format!("{path}.channel.entrypoints[{index}]");
                self.problems.push(Problem::new(path, "connector.unknown", message));
            }
        }
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
        let condition = self.site.optional("condition", written.condition.as_deref());
        let at_messages = self.site.with_messages(true);
        let message_condition =
            at_messages.optional("messageCondition", written.message_condition.as_deref());
        let message_condition = message_condition.and_then(|condition| match condition {
            Some(_) if !hook.has_message() => {
                let message = "There are no messages at this hook; write it as 'condition'.";
                Err(Problem::new("messageCondition", "document.field", message))
            }
            condition => Ok(condition),
        });
        let here = self.site.with_messages(hook.has_message());
        let execution = here.execution("executionCondition", written.execution_condition.as_deref());
        match (self.policy(hook, written), condition, message_condition, execution) {
            (Ok(policy), Ok(condition), Ok(message_condition), Ok(execution)) => Ok(Step {
                policy,
                condition: condition.map(Arc::new),
                message_condition: message_condition.map(Arc::new),
                execution: execution.map(Arc::new),
            }),
            (policy, condition, message_condition, execution) => {
                let mut problems = policy.err().unwrap_or_default();
                problems.extend(condition.err());
                problems.extend(message_condition.err());
                problems.extend(execution.err());
                Err(problems)
            }
        }
    }

    fn policy(&self, hook: Hook, written: &Written) -> Result<Arc<dyn crate::Policy>, Vec<Problem>> {
        let id = &*written.policy;
        let Some(entry) = catalogue::find(self.catalogue, id) else {
            let known: Vec<_> = self.catalogue.iter().map(|entry| entry.id).collect();
            let message = format!("There is no policy '{id}'. Known are: {}.", known.join(", "));
            return Err(vec![Problem::new("policy", "policy.unknown", message)]);
        };
        if !entry.hooks.contains(&hook) {
            let hooks: Vec<_> = entry.hooks.iter().map(|hook| hook.as_str()).collect();
            let message = format!("'{id}' runs only at: {}.", hooks.join(", "));
            return Err(vec![Problem::new("policy", "policy.hook.unsupported", message)]);
        }
        // Settings that are left out are all defaults, and what has none is then missed by name.
        let settings = match written.configuration.expose() {
            Value::Null => Value::Object(serde_json::Map::new()),
            settings => settings,
        };
        let built = (entry.build)(settings, hook, &self.site.with_messages(hook.has_message()));
        built.map_err(|problems| problems.into_iter().map(of_settings).collect())
    }

    /// The value, or nothing and a problem more.
    fn noted<T>(&mut self, path: &str, result: Result<T, Problem>) -> Option<T> {
        result.map_err(|problem| self.problems.push(problem.within(path))).ok()
    }
}

fn of_settings(mut problem: Problem) -> Problem {
    if problem.code == "document.field" {
        problem.code = "policy.configuration.invalid";
    }
    problem.within("configuration")
}
