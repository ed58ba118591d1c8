//! A client, as policies know it: made once per connection or subscription, and changed by the policies that
//! run when it comes.

use std::sync::{Arc, OnceLock};

use serde_json::Value;
use sluice_api::{PlanId, Subscription};
use sluice_expression::{EvalContext, Request, SubscriptionKind};
use sluice_message::{Attributes, Headers};

use crate::{
    Chains,
    chain::Terms,
    flow::{Flow, receiver_kind},
};

/// The names under which expressions find what is known of every client, as `#context.attributes`.
pub(crate) mod attribute {
    pub(crate) const API: &str = "gravitee.attribute.api";
    pub(crate) const APPLICATION: &str = "gravitee.attribute.application";
    pub(crate) const CONTEXT_PATH: &str = "gravitee.attribute.context-path";
    pub(crate) const PLAN: &str = "gravitee.attribute.plan";
    pub(crate) const SUBSCRIPTION: &str = "gravitee.attribute.subscription";
}

/// One client of one event API. Of an API without policies it keeps next to nothing.
#[derive(Debug, Clone)]
pub struct Caller {
    pub(crate) chains: Chains,
    pub(crate) receiver: &'static str,
    pub(crate) sub_path: Box<str>,
    pub(crate) plan: Option<Arc<Terms>>,
    pub(crate) request: Option<Arc<Request>>,
    pub(crate) subscription: Option<Arc<Subscription>>,
    pub(crate) accept: Option<Box<str>>,
    pub(crate) attributes: Attributes,
    /// Headers that the answer is to have, whatever it is.
    pub(crate) answer_headers: Headers,
    /// The flows that fit, chosen once: what a policy changes later does not change the choice.
    pub(crate) flows: OnceLock<Arc<[Arc<Flow>]>>,
}

impl Caller {
    /// A client of which nothing is known beyond the receiver by which it came, as `http-post`, and the path
    /// below the API's own (for a subscription, the channel that it asked for); slashes at its ends make no
    /// difference.
    pub fn new(chains: &Chains, receiver: &'static str, sub_path: &str) -> Self {
        Self {
            receiver: receiver_kind(receiver),
            sub_path: sub_path.into(),
            plan: None,
            request: None,
            subscription: None,
            accept: None,
            attributes: chains.attributes().clone(),
            answer_headers: Headers::new(),
            flows: OnceLock::new(),
            chains: chains.clone(),
        }
    }

    /// The same with its HTTP request; needed only where [`Chains::reads_request`].
    #[must_use]
    pub fn with_request(mut self, request: Arc<Request>) -> Self {
        self.describe(attribute::CONTEXT_PATH, &request.context_path);
        self.request = Some(request);
        self
    }

    /// The same with the content types that it takes, as its `Accept` header has them; they choose between
    /// response templates.
    #[must_use]
    pub fn with_accept(mut self, accept: Option<&str>) -> Self {
        self.accept = accept.filter(|_| self.chains.has_templates()).map(Into::into);
        self
    }

    /// The same with the subscription by which it uses the API.
    #[must_use]
    pub fn with_subscription(mut self, subscription: Arc<Subscription>) -> Self {
        self.describe(attribute::APPLICATION, &subscription.application.0);
        self.describe(attribute::SUBSCRIPTION, &subscription.id.0);
        self.subscription = Some(subscription);
        self
    }

    /// The same, admitted by this plan; see [`Chains::admits`].
    #[must_use]
    pub fn with_plan(mut self, plan: &PlanId) -> Self {
        self.plan = self.chains.terms(plan).cloned();
        self.describe(attribute::PLAN, &plan.0);
        self
    }

    /// The same client after its API was deployed anew: what it asked for and what policies have noted about it
    /// stays, and the policies that are to come are those of `chains`.
    #[must_use]
    pub fn moved_to(&self, chains: &Chains) -> Self {
        let (plan, subscription) = (self.plan().cloned(), self.subscription.clone());
        let mut moved = Self { plan: None, flows: OnceLock::new(), chains: chains.clone(), ..self.clone() };
        // Noted anew: an API without policies notes nothing.
        if let Some(subscription) = subscription {
            moved = moved.with_subscription(subscription);
        }
        match plan {
            Some(plan) => moved.with_plan(&plan),
            None => moved,
        }
    }

    /// The plan by which it was admitted; `None` also where no policy could ask.
    pub fn plan(&self) -> Option<&PlanId> {
        self.plan.as_ref().map(|terms| &terms.id)
    }

    /// Its request as policies have left it: with headers set and removed.
    pub fn request(&self) -> Option<&Arc<Request>> {
        self.request.as_ref()
    }

    /// Its subscription.
    pub fn subscription(&self) -> Option<&Arc<Subscription>> {
        self.subscription.as_ref()
    }

    /// What policies have noted about it.
    pub fn attributes(&self) -> &Attributes {
        &self.attributes
    }

    /// Everything that expressions can see of it, without a message.
    pub fn context(&self) -> EvalContext<'_> {
        let subscription = self.subscription.as_deref().map(|subscription| sluice_expression::Subscription {
            id: &subscription.id.0,
            kind: if self.is_called() { SubscriptionKind::Push } else { SubscriptionKind::Standard },
            metadata: &subscription.metadata,
            application_name: Some(&subscription.application_name),
            client_id: subscription.client_id.as_deref(),
        });
        self.chains
            .surroundings()
            .with_request(self.request.as_deref())
            .with_subscription(subscription)
            .with_attributes(&self.attributes)
    }

    /// The channel of the API that it uses: the path below the API's own, without slashes at its ends.
    pub(crate) fn channel(&self) -> &str {
        self.sub_path.trim_matches('/')
    }

    /// Whether it is a subscriber that the gateway calls, in place of a client that comes.
    pub(crate) fn is_called(&self) -> bool {
        matches!(self.receiver, "webhook" | "websub")
    }

    /// The method of its request; `None` for a subscription, which is called.
    pub(crate) fn method(&self) -> Option<&str> {
        let usual = match self.receiver {
            "http-post" | "webhook-receiver" => Some("POST"),
            "http-get" | "sse" | "websocket" => Some("GET"),
            _ => None,
        };
        self.request.as_ref().map(|request| &*request.method).or(usual)
    }

    fn describe(&mut self, attribute: &'static str, text: &str) {
        if !self.chains.is_empty() {
            self.attributes.set(attribute, Value::from(text));
        }
    }
}
