//! The chains of an event API: which policies run for a client, and running them: once when it comes, on its
//! answer, on each message.
//!
//! Flows are chosen once for a client, not for a message; an empty chain is an empty list.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use sluice_api::{EventApi, PlanId, Problem};
use sluice_expression::{Api, Environment, EvalContext, Expression, Response};
use sluice_message::{Attributes, Message};

use crate::{
    Caller, ClientSettings, Credentials, Hook, Outcome, Rejection, Rendered, Verdict,
    catalogue::CATALOGUE,
    compile,
    flow::{self, Flow, Step},
    templates::Templates,
};

/// The compiled policies of one event API. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Chains(Arc<Compiled>);

/// What a definition is compiled to.
#[derive(Debug)]
pub(crate) struct Compiled {
    pub(crate) api: Api,
    pub(crate) environment: Arc<Environment>,
    pub(crate) plans: Vec<Arc<Terms>>,
    pub(crate) own: Vec<Arc<Flow>>,
    pub(crate) templates: Templates,
    /// What is known of every client.
    pub(crate) attributes: Attributes,
    pub(crate) reads_request: bool,
    /// The broker settings that differ from client to client.
    pub(crate) client_settings: ClientSettings,
    /// Headers that are taken off every message before it gets to the broker, in lower case.
    pub(crate) withheld: Arc<[Box<str>]>,
    /// Whether there is no flow and no rule, so that nothing needs to be known of a client.
    pub(crate) empty: bool,
}

/// A plan, as far as policies are concerned.
#[derive(Debug)]
pub(crate) struct Terms {
    pub(crate) id: PlanId,
    pub(crate) selection_rule: Option<Expression>,
    pub(crate) flows: Vec<Arc<Flow>>,
}

/// The policies of one client at one hook, in order.
#[derive(Debug, Clone, Default)]
pub struct Chain {
    steps: Vec<Step>,
    /// Headers that must not get to the broker; none on the way from it.
    withheld: Arc<[Box<str>]>,
    /// Of the client, where a step asks.
    channel: Box<str>,
    errors: Option<Errors>,
}

/// How what a chain rejects is told; only where an API has words of its own for it.
#[derive(Debug, Clone)]
struct Errors {
    chains: Chains,
    accept: Option<Box<str>>,
}

impl Chains {
    /// Compiles every flow of an event API and of its plans, the plans' selection rules and the response
    /// templates. Expressions see the environment as it is now; a change of it is compiled anew. `credentials` are
    /// those of this API; what changes in them later counts at once.
    ///
    /// # Errors
    /// All problems at once, each with its path in the API: a policy that is not known or may not stand
    /// where it does, settings that are not understood, an expression that does not parse or asks for a
    /// secret or a dictionary that there is not.
    pub fn compile(
        api: &EventApi,
        environment: &Arc<Environment>,
        credentials: &Arc<Credentials>,
    ) -> Result<Self, Vec<Problem>> {
        compile::api(api, environment, credentials, CATALOGUE).map(Self::from_compiled)
    }

    pub(crate) fn from_compiled(compiled: Compiled) -> Self {
        Self(Arc::new(compiled))
    }

    /// Whether anything here needs [`Caller::with_request`]. Otherwise no request needs to be made up.
    pub fn reads_request(&self) -> bool {
        self.0.reads_request
    }

    /// The broker settings that differ from client to client, and what they come to.
    pub fn client_settings(&self) -> &ClientSettings {
        &self.0.client_settings
    }

    /// Whether a plan takes a client: its selection rule is true, or it has none. `caller` has no plan yet.
    pub fn admits(&self, plan: &PlanId, caller: &Caller) -> bool {
        let rule = self.terms(plan).and_then(|terms| terms.selection_rule.as_ref());
        rule.is_none() || flow::holds(rule, &caller.context())
    }

    /// Runs the policies that a client meets at a hook that [meets clients](Hook::meets_client): those of its plan,
    /// then those of the API. Flows are chosen at the first, once, and stay chosen for messages and the answer.
    ///
    /// # Errors
    /// The client is turned away, and told why.
    pub async fn meet(&self, hook: Hook, caller: &mut Caller) -> Result<(), Rejection> {
        if self.0.empty || !hook.meets_client() {
            return Ok(());
        }
        for flow in self.chosen(caller).iter() {
            for step in flow.steps(hook) {
                if !step.is_for(caller, &caller.context()) {
                    continue;
                }
                if let Err(mut rejection) = step.policy.meet(caller).await {
                    for header in &std::mem::take(&mut caller.answer_headers) {
                        if rejection.headers.get(&header.name).is_none() {
                            rejection.headers.append(header.name.clone(), header.value.clone());
                        }
                    }
                    if let Some(rendered) = self.rendered(caller, &rejection.key, &rejection.parameters) {
                        rejection.response = Some(Box::new(rendered));
                    }
                    return Err(rejection);
                }
            }
        }
        Ok(())
    }

    /// Whether [`respond`](Self::respond) would do anything for this client.
    pub fn responds(&self, caller: &Caller) -> bool {
        !caller.answer_headers.is_empty()
            || !self.0.empty && self.chosen(caller).iter().any(|flow| !flow.respond.is_empty())
    }

    /// Puts on the answer's head what policies left for it when the client came, then runs the policies for
    /// answers. Not for the answer of a [`Rejection`], which has its headers already.
    pub fn respond(&self, caller: &mut Caller, answer: &mut Response) {
        for header in &std::mem::take(&mut caller.answer_headers) {
            answer.headers.set(header.name.clone(), header.value.clone());
        }
        if self.0.empty {
            return;
        }
        for flow in self.chosen(caller).iter() {
            for step in &flow.respond {
                if step.is_for(caller, &caller.context().with_response(Some(answer))) {
                    step.policy.respond(caller, answer);
                }
            }
        }
    }

    /// The chain for the messages of one client: the flows of its plan, then those of the API. Select again
    /// when the metadata of the subscription changes.
    pub fn select(&self, hook: Hook, caller: &Caller) -> Chain {
        if self.0.empty {
            return Chain::default();
        }
        let context = caller.context();
        let flows = self.chosen(caller);
        let fitting = flows.iter().filter(|flow| flow.fits_direction(hook));
        let steps: Vec<_> =
            fitting.flat_map(|flow| flow.steps(hook)).filter_map(|step| step.bind(&context)).collect();
        let told = self.has_templates() && !steps.is_empty();
        let errors = told.then(|| Errors { chains: self.clone(), accept: caller.accept.clone() });
        let withheld = if hook == Hook::Publish { Arc::clone(&self.0.withheld) } else { Arc::default() };
        let asks = steps.iter().any(|step| step.execution.is_some());
        let channel = if asks { caller.channel().into() } else { Box::default() };
        Chain { steps, withheld, channel, errors }
    }

    /// The answer that the API has written for an error with this key, in a content type that the client
    /// takes; `None` where it has none. For errors of the gateway's own as for those of policies.
    pub fn rendered(
        &self,
        caller: &Caller,
        key: &str,
        parameters: &BTreeMap<String, String>,
    ) -> Option<Rendered> {
        self.0.templates.render(key, caller.accept.as_deref(), parameters, &caller.context())
    }

    pub(crate) fn terms(&self, plan: &PlanId) -> Option<&Arc<Terms>> {
        self.0.plans.iter().find(|terms| terms.id == *plan)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.empty
    }

    /// Whether a header carries a key of this API.
    pub(crate) fn withholds(&self, header: &str) -> bool {
        self.0.withheld.iter().any(|name| name.eq_ignore_ascii_case(header))
    }

    pub(crate) fn has_templates(&self) -> bool {
        !self.0.templates.is_empty()
    }

    pub(crate) fn attributes(&self) -> &Attributes {
        &self.0.attributes
    }

    /// What expressions see without a client.
    pub(crate) fn surroundings(&self) -> EvalContext<'_> {
        EvalContext::new().with_api(&self.0.api).with_environment(&self.0.environment)
    }

    fn chosen(&self, caller: &Caller) -> Arc<[Arc<Flow>]> {
        let choose = || {
            let of_plan = caller.plan.iter().flat_map(|terms| &terms.flows);
            of_plan.chain(&self.0.own).filter(|flow| flow.fits(caller)).cloned().collect()
        };
        caller.flows.get_or_init(choose).clone()
    }
}

impl Chain {
    /// Whether it has nothing to do, so that messages pass as they are.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty() && self.withheld.is_empty()
    }

    /// Runs the policies on a message, up to the first that lets it go no further. A step with a condition
    /// is passed over unless the condition is true for this message.
    ///
    /// `context` is what expressions can see beside the message: [`Caller::context`].
    pub fn run(&self, context: &EvalContext<'_>, mut message: Message) -> Outcome {
        let mut delay = Duration::ZERO;
        if self.withheld.iter().any(|name| message.headers().get(name).is_some()) {
            message = self.without_keys(&message);
        }
        for step in &self.steps {
            if !step.takes(context, &message, &self.channel) {
                continue;
            }
            let policy = &step.policy;
            match policy.apply(context, message) {
                Verdict::Continue(next) => message = next,
                Verdict::Delay(next, time) => {
                    message = next;
                    delay = delay.saturating_add(time);
                }
                Verdict::Drop { reason, acknowledge } => {
                    return Outcome::Dropped { policy: policy.id(), reason, acknowledge };
                }
                Verdict::Reject(rejection) => return Outcome::Rejected(self.told(context, rejection)),
            }
        }
        if delay.is_zero() { Outcome::Pass(message) } else { Outcome::Delayed(message, delay) }
    }

    fn without_keys(&self, message: &Message) -> Message {
        let mut headers = message.headers().clone();
        self.withheld.iter().for_each(|name| headers.remove(name));
        message.to_builder().headers(headers).build()
    }

    fn told(&self, context: &EvalContext<'_>, mut rejection: Rejection) -> Rejection {
        if let Some(Errors { chains, accept }) = &self.errors {
            let templates = &chains.0.templates;
            let rendered =
                templates.render(&rejection.key, accept.as_deref(), &rejection.parameters, context);
            rejection.response = rendered.map(Box::new).or(rejection.response);
        }
        rejection
    }
}
