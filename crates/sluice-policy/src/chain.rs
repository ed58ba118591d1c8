//! The chains of an event API: which policies run for a connection, and running them on a message.
//!
//! Flows are chosen once for a connection, not for a message; an empty chain is an empty list.

use std::sync::Arc;

use sluice_api::{Channel, ChannelOperator, EventApi, Operation, PlanId, Problem};
use sluice_expression::{EvalContext, Expression};
use sluice_message::Message;

use crate::{Hook, Outcome, Policy, Verdict, catalogue::CATALOGUE, compile};

/// The compiled policies of one event API. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Chains(Arc<Flows>);

/// The flows of an API by whom they are for.
#[derive(Debug, Default)]
pub(crate) struct Flows {
    pub(crate) plans: Vec<(PlanId, Vec<Flow>)>,
    pub(crate) own: Vec<Flow>,
}

/// A flow that is switched on, with its steps that are.
#[derive(Debug)]
pub(crate) struct Flow {
    pub(crate) channel: Option<Channel>,
    pub(crate) publish: Vec<Step>,
    pub(crate) deliver: Vec<Step>,
}

/// One policy in its place.
#[derive(Debug, Clone)]
pub(crate) struct Step {
    pub(crate) policy: Arc<dyn Policy>,
    pub(crate) condition: Option<Arc<Expression>>,
}

/// What is known of a connection when it begins.
#[derive(Debug, Clone, Copy)]
pub struct Connection<'a> {
    /// The kind of receiver, without alias, as `http-post`.
    pub receiver: &'a str,
    /// The path of the request below the API's own; slashes at its ends make no difference.
    pub sub_path: &'a str,
    /// The plan by which the client was admitted.
    pub plan: Option<&'a PlanId>,
    /// What expressions can see of the client; without a message.
    pub context: EvalContext<'a>,
}

/// The policies of one connection at one hook, in order.
#[derive(Debug, Clone, Default)]
pub struct Chain(Vec<Step>);

impl Chains {
    /// Compiles every flow of an event API and of its plans.
    ///
    /// # Errors
    /// All problems at once, each with its path in the API: a policy that is not known or may not stand
    /// where it does, settings that are not understood, an expression that does not parse.
    pub fn compile(api: &EventApi) -> Result<Self, Vec<Problem>> {
        compile::flows(api, CATALOGUE).map(Self::from_flows)
    }

    pub(crate) fn from_flows(flows: Flows) -> Self {
        Self(Arc::new(flows))
    }

    /// The chain for one connection: the flows of its plan, then those of the API, each where its channel
    /// fits. Select again when the metadata of the subscription changes.
    pub fn select(&self, hook: Hook, connection: &Connection<'_>) -> Chain {
        let plans = self.0.plans.iter().filter(|(id, _)| Some(id) == connection.plan);
        let flows = plans.flat_map(|(_, flows)| flows).chain(&self.0.own);
        let fitting =
            flows.filter(|flow| flow.channel.as_ref().is_none_or(|channel| fits(channel, hook, connection)));
        let steps = fitting.flat_map(|flow| match hook {
            Hook::Publish => &flow.publish,
            Hook::Deliver => &flow.deliver,
        });
        Chain(steps.map(|step| step.bind(&connection.context)).collect())
    }
}

impl Step {
    fn bind(&self, context: &EvalContext<'_>) -> Self {
        let policy = self.policy.bind(context).unwrap_or_else(|| self.policy.clone());
        Self { policy, condition: self.condition.clone() }
    }
}

impl Chain {
    /// Whether it has no policy, so that messages pass as they are.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Runs the policies on a message, up to the first that lets it go no further. A step with a condition
    /// is passed over unless the condition is true for this message.
    ///
    /// `context` is what expressions can see beside the message.
    pub fn run(&self, context: &EvalContext<'_>, mut message: Message) -> Outcome {
        for Step { policy, condition } in &self.0 {
            let applies = condition
                .as_ref()
                .is_none_or(|condition| matches!(condition.holds(&context.with_message(&message)), Ok(true)));
            if !applies {
                continue;
            }
            match policy.apply(context, message) {
                Verdict::Continue(next) => message = next,
                Verdict::Drop { reason, acknowledge } => {
                    return Outcome::Dropped { policy: policy.id(), reason, acknowledge };
                }
                Verdict::Reject(rejection) => return Outcome::Rejected(rejection),
            }
        }
        Outcome::Pass(message)
    }
}

fn fits(channel: &Channel, hook: Hook, connection: &Connection<'_>) -> bool {
    let operation = match hook {
        Hook::Publish => Operation::Publish,
        Hook::Deliver => Operation::Subscribe,
    };
    let receivers = &channel.entrypoints;
    (channel.operations.is_empty() || channel.operations.contains(&operation))
        && (receivers.is_empty() || receivers.iter().any(|id| receiver_kind(id) == connection.receiver))
        && path_fits(channel, connection.sub_path)
}

/// A receiver's id without the suffix under which another contract sells more of the same.
pub(crate) fn receiver_kind(id: &str) -> &str {
    id.strip_suffix("-advanced").unwrap_or(id)
}

/// Compared by segments, so that `/ab` is not below `/a`; a segment `:name` stands for any one segment.
fn path_fits(channel: &Channel, path: &str) -> bool {
    let mut segments = path.split('/').filter(|segment| !segment.is_empty());
    let mut wanted = channel.channel.split('/').filter(|segment| !segment.is_empty());
    let begins = wanted
        .all(|wanted| segments.next().is_some_and(|segment| wanted.starts_with(':') || wanted == segment));
    begins && (channel.channel_operator == ChannelOperator::StartsWith || segments.next().is_none())
}
