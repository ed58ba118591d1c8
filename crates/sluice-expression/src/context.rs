//! What an expression can see while it is evaluated: one view for each of the roots.

use std::collections::BTreeMap;

use sluice_message::{Attributes, Message};

use crate::{Api, Environment, Request, Response};

/// The things that one evaluation may read. Borrows everything and is cheap to make for each message.
///
/// What is not set is absent. Reading `#message` without one is an error, and so is a secret that there is
/// not; every other root is there all the same, with everything in it null or empty.
#[derive(Debug, Clone, Copy, Default)]
pub struct EvalContext<'a> {
    message: Option<&'a Message>,
    subscription: Option<Subscription<'a>>,
    request: Option<&'a Request>,
    response: Option<&'a Response>,
    attributes: Option<&'a Attributes>,
    api: Option<&'a Api>,
    environment: Option<&'a Environment>,
    parameters: Option<&'a BTreeMap<String, String>>,
}

/// The subscription by which a client uses an API.
#[derive(Debug, Clone, Copy)]
pub struct Subscription<'a> {
    /// Its id.
    pub id: &'a str,
    /// Who holds the connection.
    pub kind: SubscriptionKind,
    /// What the subscriber said about itself.
    pub metadata: &'a BTreeMap<String, String>,
    /// The name of the application that subscribed.
    pub application_name: Option<&'a str>,
    /// The client id by which that application is known to an identity provider.
    pub client_id: Option<&'a str>,
}

/// Who holds the connection of a subscription.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SubscriptionKind {
    /// The client connects to the gateway.
    Standard,
    /// The gateway calls the client.
    Push,
}

impl SubscriptionKind {
    /// The name that `#subscription.type` shows.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Standard => "standard",
            Self::Push => "push",
        }
    }
}

impl<'a> Subscription<'a> {
    /// A subscription of which nothing is known beyond what each has.
    pub const fn new(id: &'a str, kind: SubscriptionKind, metadata: &'a BTreeMap<String, String>) -> Self {
        Self { id, kind, metadata, application_name: None, client_id: None }
    }
}

impl<'a> EvalContext<'a> {
    /// A context in which nothing is set.
    pub const fn new() -> Self {
        Self {
            message: None,
            subscription: None,
            request: None,
            response: None,
            attributes: None,
            api: None,
            environment: None,
            parameters: None,
        }
    }

    /// The same context with this as `#message`.
    #[must_use]
    pub const fn with_message(mut self, message: &'a Message) -> Self {
        self.message = Some(message);
        self
    }

    /// The same context with this as `#subscription`; `None` for a client without one.
    #[must_use]
    pub const fn with_subscription(mut self, subscription: Option<Subscription<'a>>) -> Self {
        self.subscription = subscription;
        self
    }

    /// The same context with this as `#request`; `None` where there is no HTTP request.
    #[must_use]
    pub const fn with_request(mut self, request: Option<&'a Request>) -> Self {
        self.request = request;
        self
    }

    /// The same context with this as `#response`; `None` where nothing was answered yet.
    #[must_use]
    pub const fn with_response(mut self, response: Option<&'a Response>) -> Self {
        self.response = response;
        self
    }

    /// The same context with these as `#context.attributes`.
    #[must_use]
    pub const fn with_attributes(mut self, attributes: &'a Attributes) -> Self {
        self.attributes = Some(attributes);
        self
    }

    /// The same context with this as `#api`, and its properties as `#properties`.
    #[must_use]
    pub const fn with_api(mut self, api: &'a Api) -> Self {
        self.api = Some(api);
        self
    }

    /// The same context with this as `#dictionaries`, `#secrets`, `#node` and `#endpoints`.
    #[must_use]
    pub const fn with_environment(mut self, environment: &'a Environment) -> Self {
        self.environment = Some(environment);
        self
    }

    /// The same context with these as `#parameters`: what an error says about itself.
    #[must_use]
    pub const fn with_parameters(mut self, parameters: &'a BTreeMap<String, String>) -> Self {
        self.parameters = Some(parameters);
        self
    }

    /// The same context without what belongs to the publisher: `#api`, `#properties`, `#dictionaries`, `#secrets` and
    /// whatever else is not the client's. For expressions that a client wrote.
    #[must_use]
    pub const fn for_client(mut self) -> Self {
        self.attributes = None;
        self.api = None;
        self.environment = None;
        self.parameters = None;
        self
    }

    /// The message, where there is one.
    pub const fn message(&self) -> Option<&'a Message> {
        self.message
    }

    pub(crate) const fn subscription(&self) -> Option<Subscription<'a>> {
        self.subscription
    }

    /// The HTTP request of the client, where there is one and something reads it.
    pub const fn request(&self) -> Option<&'a Request> {
        self.request
    }

    pub(crate) const fn response(&self) -> Option<&'a Response> {
        self.response
    }

    /// What policies have noted about the client.
    pub const fn attributes(&self) -> Option<&'a Attributes> {
        self.attributes
    }

    /// The API.
    pub const fn api(&self) -> Option<&'a Api> {
        self.api
    }

    pub(crate) const fn environment(&self) -> Option<&'a Environment> {
        self.environment
    }

    pub(crate) const fn parameters(&self) -> Option<&'a BTreeMap<String, String>> {
        self.parameters
    }
}
