//! What an expression can see while it is evaluated: the roots `#message` and `#subscription`.

use std::collections::BTreeMap;

use sluice_message::Message;

/// The things that one evaluation may read. Borrows everything and is cheap to make for each message.
///
/// What is not set is absent: reading `#message` without one is an error, while `#subscription` of a
/// client that has none is there with everything in it null or empty.
#[derive(Debug, Clone, Copy, Default)]
pub struct EvalContext<'a> {
    message: Option<&'a Message>,
    subscription: Option<Subscription<'a>>,
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

impl<'a> EvalContext<'a> {
    /// A context in which nothing is set.
    pub const fn new() -> Self {
        Self { message: None, subscription: None }
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

    pub(crate) const fn message(&self) -> Option<&'a Message> {
        self.message
    }

    pub(crate) const fn subscription(&self) -> Option<Subscription<'a>> {
        self.subscription
    }
}
