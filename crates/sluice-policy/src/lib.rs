//! Policies: rules that run on messages between a receiver and a broker, in chains that are compiled once
//! for each event API.
//!
//! A receiver selects the [`Chain`] of a connection when the connection begins and runs it on every
//! message: before the broker on the way in ([`Hook::Publish`]), before the client on the way out
//! ([`Hook::Deliver`]). Nothing here does I/O or waits. Each policy is one file.

mod catalogue;
mod chain;
mod compile;
mod condition;
mod message_filtering;
mod policy;
#[cfg(test)]
mod tests;

pub use chain::{Chain, Chains, Connection};
pub use policy::{DropReason, Hook, Outcome, Policy, Rejection, Verdict};
pub use sluice_expression::{EvalContext, Subscription, SubscriptionKind};
