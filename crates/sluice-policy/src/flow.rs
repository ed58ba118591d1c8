//! A flow that is switched on, and for whom it is.

use std::sync::Arc;

use sluice_api::{Channel, ChannelOperator, HttpSelector, Operation};
use sluice_expression::{EvalContext, Expression};
use sluice_message::Message;

use crate::{
    Caller, Hook, Policy,
    cel::{Condition, View},
};

/// A flow with its steps that are switched on.
#[derive(Debug)]
pub(crate) struct Flow {
    pub(crate) channel: Option<Channel>,
    pub(crate) http: Option<HttpSelector>,
    pub(crate) condition: Option<Expression>,
    pub(crate) connect: Vec<Step>,
    pub(crate) respond: Vec<Step>,
    pub(crate) subscribe: Vec<Step>,
    pub(crate) unsubscribe: Vec<Step>,
    pub(crate) publish: Vec<Step>,
    pub(crate) deliver: Vec<Step>,
}

/// One policy in its place.
#[derive(Debug, Clone)]
pub(crate) struct Step {
    pub(crate) policy: Arc<dyn Policy>,
    /// Asked once for a client.
    pub(crate) condition: Option<Arc<Expression>>,
    /// Asked for each message.
    pub(crate) message_condition: Option<Arc<Expression>>,
    /// Asked each time that the step is reached, after the other two.
    pub(crate) execution: Option<Arc<Condition>>,
}

impl Flow {
    pub(crate) fn steps(&self, hook: Hook) -> &[Step] {
        match hook {
            Hook::Connect => &self.connect,
            Hook::Respond => &self.respond,
            Hook::Subscribe => &self.subscribe,
            Hook::Unsubscribe => &self.unsubscribe,
            Hook::Publish => &self.publish,
            Hook::Deliver => &self.deliver,
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        Hook::ALL.iter().all(|hook| self.steps(*hook).is_empty())
    }

    /// Whether it is for a client.
    pub(crate) fn fits(&self, caller: &Caller) -> bool {
        self.channel.as_ref().is_none_or(|channel| channel_fits(channel, caller))
            && self.http.as_ref().is_none_or(|http| http_fits(http, caller))
            && holds(self.condition.as_ref(), &caller.context())
    }

    /// Whether it is for messages of this direction. At the other hooks there is none.
    pub(crate) fn fits_direction(&self, hook: Hook) -> bool {
        let operation = match hook {
            Hook::Publish => Operation::Publish,
            Hook::Deliver => Operation::Subscribe,
            Hook::Connect | Hook::Respond | Hook::Subscribe | Hook::Unsubscribe => return true,
        };
        self.channel
            .as_ref()
            .is_none_or(|channel| channel.operations.is_empty() || channel.operations.contains(&operation))
    }
}

impl Step {
    /// The step as it runs for one client; `None` where it does not.
    pub(crate) fn bind(&self, context: &EvalContext<'_>) -> Option<Self> {
        holds(self.condition.as_deref(), context).then(|| {
            let policy = self.policy.bind(context).unwrap_or_else(|| self.policy.clone());
            Self { policy, condition: None, ..self.clone() }
        })
    }

    /// Whether it runs for a client that is met or answered.
    pub(crate) fn is_for(&self, caller: &Caller, context: &EvalContext<'_>) -> bool {
        holds(self.condition.as_deref(), context) && self.executes(context, None, caller.channel())
    }

    /// Whether it runs on a message.
    pub(crate) fn takes(&self, context: &EvalContext<'_>, message: &Message, channel: &str) -> bool {
        holds(self.message_condition.as_deref(), &context.with_message(message))
            && self.executes(context, Some(message), channel)
    }

    fn executes(&self, context: &EvalContext<'_>, message: Option<&Message>, channel: &str) -> bool {
        let Some(condition) = &self.execution else { return true };
        let value = condition.value(&View::new(*context, message, channel));
        value.unwrap_or_else(|| self.policy.guards())
    }
}

/// Whether a condition is true. One that has no value is not.
pub(crate) fn holds(condition: Option<&Expression>, context: &EvalContext<'_>) -> bool {
    condition.is_none_or(|condition| matches!(condition.holds(context), Ok(true)))
}

/// A receiver's id without the suffix under which another contract sells more of the same.
pub(crate) fn receiver_kind(id: &str) -> &str {
    id.strip_suffix("-advanced").unwrap_or(id)
}

fn channel_fits(channel: &Channel, caller: &Caller) -> bool {
    let receivers = &channel.entrypoints;
    let operations = &channel.operations;
    let (publishes, subscribes) = match caller.receiver {
        "http-post" | "webhook-receiver" => (true, false),
        "websocket" | "websub" => (true, true),
        _ => (false, true),
    };
    let directed = operations.is_empty()
        || publishes && operations.contains(&Operation::Publish)
        || subscribes && operations.contains(&Operation::Subscribe);
    directed
        && (receivers.is_empty() || receivers.iter().any(|id| receiver_kind(id) == caller.receiver))
        && path_fits(&channel.channel, channel.channel_operator, &caller.sub_path)
}

fn http_fits(http: &HttpSelector, caller: &Caller) -> bool {
    let method = caller.method().unwrap_or_default();
    (http.methods.is_empty() || http.methods.iter().any(|wanted| wanted.eq_ignore_ascii_case(method)))
        && path_fits(&http.path, http.path_operator, &caller.sub_path)
}

/// Compared by segments, so that `/ab` is not below `/a`; a segment `:name` stands for any one segment.
fn path_fits(wanted: &str, operator: ChannelOperator, path: &str) -> bool {
    let mut segments = path.split('/').filter(|segment| !segment.is_empty());
    let mut wanted = wanted.split('/').filter(|segment| !segment.is_empty());
    let begins = wanted
        .all(|wanted| segments.next().is_some_and(|segment| wanted.starts_with(':') || wanted == segment));
    begins && (operator == ChannelOperator::StartsWith || segments.next().is_none())
}
