//! What a policy is, and what it can say about a message.

use std::{fmt, sync::Arc};

use sluice_expression::{EvalContext, EvalError};
use sluice_message::Message;

/// Where on a message's way a chain of policies runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hook {
    /// From the client to the broker.
    Publish,
    /// From the broker to the client.
    Deliver,
}

impl Hook {
    /// Its name in definitions.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Publish => "publish",
            Self::Deliver => "deliver",
        }
    }
}

/// One rule with its settings, shared by all connections of an API.
pub trait Policy: fmt::Debug + Send + Sync {
    /// The id under which it stands in the catalogue.
    fn id(&self) -> &'static str;

    /// Judges one message. Called for every message of every connection, so it neither waits nor locks.
    fn apply(&self, context: &EvalContext<'_>, message: Message) -> Verdict;

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

/// A refused message, as the client is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    /// The HTTP status, from 400 to 599.
    pub status: u16,
    /// The stable code of the rule, as in docs/errors.md.
    pub code: &'static str,
    /// One sentence that says what is wrong and what would be right.
    pub message: String,
}

/// What became of a message in a chain.
#[derive(Debug)]
pub enum Outcome {
    /// It goes on: this one, which policies may have changed.
    Pass(Message),
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
