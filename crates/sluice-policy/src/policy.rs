//! What a policy is, and what it can say: of a connection, of its answer, of a message.

use std::{fmt, sync::Arc, time::Duration};

use futures_util::future::{self, BoxFuture, FutureExt};
use sluice_expression::{EvalContext, EvalError, Response};
use sluice_message::Message;

use crate::{Caller, Rejection};

/// Where on its way a chain of policies runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Hook {
    /// When a client comes, before anything else.
    Connect,
    /// When somebody asks a hub to be called, before that is verified.
    Subscribe,
    /// When somebody asks a hub not to be called any more.
    Unsubscribe,
    /// Before the first byte of the answer to it.
    Respond,
    /// For each message from the client to the broker.
    Publish,
    /// For each message from the broker to the client.
    Deliver,
}

impl Hook {
    /// All of them, in the order in which they run.
    pub const ALL: [Self; 6] =
        [Self::Connect, Self::Subscribe, Self::Unsubscribe, Self::Publish, Self::Deliver, Self::Respond];

    /// Its name in definitions.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Subscribe => "subscribe",
            Self::Unsubscribe => "unsubscribe",
            Self::Respond => "respond",
            Self::Publish => "publish",
            Self::Deliver => "deliver",
        }
    }

    /// Its name in the management contract that speaks of phases; `None` where that has none.
    pub const fn phase(self) -> Option<&'static str> {
        match self {
            Self::Connect => Some("request"),
            Self::Respond => Some("response"),
            Self::Publish => Some("publish"),
            Self::Deliver => Some("subscribe"),
            Self::Subscribe | Self::Unsubscribe => None,
        }
    }

    /// Whether a client is judged there by its request, and may be turned away.
    pub const fn meets_client(self) -> bool {
        matches!(self, Self::Connect | Self::Subscribe | Self::Unsubscribe)
    }

    /// Whether policies see a message there.
    pub const fn has_message(self) -> bool {
        matches!(self, Self::Publish | Self::Deliver)
    }
}

/// One rule with its settings, shared by all connections of an API. The catalogue says at which hooks it
/// may stand; what it does at the others is never asked.
pub trait Policy: fmt::Debug + Send + Sync {
    /// The id under which it stands in the catalogue.
    fn id(&self) -> &'static str;

    /// Judges a client that comes, or that subscribes or unsubscribes at a hub: at a hook that
    /// [meets clients](Hook::meets_client). It may wait, and change what is known of the client from here on.
    fn meet<'a>(&'a self, _caller: &'a mut Caller) -> BoxFuture<'a, Result<(), Rejection>> {
        future::ready(Ok(())).boxed()
    }

    /// Whether it asks who somebody is, or what they may. Such a rule holds also where it cannot be told whether it is
    /// for somebody: a client chooses what it sends, and so could have it passed by.
    fn guards(&self) -> bool {
        false
    }

    /// Changes the head of an answer.
    fn respond(&self, _caller: &mut Caller, _answer: &mut Response) {}

    /// Judges one message. Called for every message of every connection, so it neither waits nor locks.
    fn apply(&self, _context: &EvalContext<'_>, message: Message) -> Verdict {
        Verdict::Continue(message)
    }

    /// The same rule made for one connection, where its settings leave something to the subscriber;
    /// `None` where the shared one serves. Called once, before the first message; `context` has no message.
    fn bind(&self, _context: &EvalContext<'_>) -> Option<Arc<dyn Policy>> {
        None
    }
}

/// What a policy says about a message.
#[derive(Debug)]
pub enum Verdict {
    /// It goes on: this one, or another in its place.
    Continue(Message),
    /// It goes on after so long.
    Delay(Message, Duration),
    /// It goes no further, and nobody did anything wrong.
    Drop {
        /// Why.
        reason: DropReason,
        /// Whether the broker may take it for delivered.
        acknowledge: bool,
    },
    /// It goes no further, and whoever sent it is told.
    Reject(Rejection),
}

/// Why a message was dropped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DropReason {
    /// The rule says that it is not wanted.
    Unwanted,
    /// The rule came to no result for this message and is set to drop it then.
    Undecided(EvalError),
}

impl fmt::Display for DropReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unwanted => f.write_str("The rule does not want this message."),
            Self::Undecided(error) => write!(f, "The rule came to no result: {error}"),
        }
    }
}

/// What became of a message in a chain.
#[derive(Debug)]
pub enum Outcome {
    /// It goes on: this one, which policies may have changed.
    Pass(Message),
    /// It goes on after so long; the caller waits, and lets nothing of this client overtake it.
    Delayed(Message, Duration),
    /// It is not wanted; the caller counts it.
    Dropped {
        /// The id of the policy that dropped it.
        policy: &'static str,
        /// Why.
        reason: DropReason,
        /// Whether the position of the client moves past it as if it had been delivered. Where false, a
        /// receiver that acknowledges by itself leaves it unacknowledged.
        acknowledge: bool,
    },
    /// It is refused, and the sender is told.
    Rejected(Rejection),
}
