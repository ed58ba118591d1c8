//! Calls subscribers: outbound HTTP with retries, dead letters, signatures and a guard against addresses that are
//! not to be called. Serves webhooks; other ways of calling out go through the same.
//!
//! [`Deliveries`] is told which subscriptions there are and which APIs are deployed, each as a [`Route`]. For
//! each subscription that has one it keeps a [worker](worker::Worker), which has one [session](session::Session)
//! after the other: a cursor of the shared hub, the deliver policies, and the [flow](flow::Flow) of messages
//! through [lanes](lanes) and a [circuit](breaker) to the subscriber. How far each has come is in its
//! [ledger](ledger). Who may subscribe, and what becomes of a subscription that failed, is decided elsewhere.

mod arrival;
mod assertion;
mod auth;
mod backoff;
mod breaker;
mod call;
mod client;
mod clock;
mod dead_letters;
mod deliveries;
mod event_headers;
mod exchange;
mod failure;
mod fetch;
mod flow;
mod gate;
mod guard;
mod home;
mod hub_call;
mod judge;
mod lanes;
mod ledger;
mod letter;
mod moving;
mod place;
mod ranges;
mod replay;
mod request;
mod resting;
mod retries;
mod retry;
mod route;
mod session;
mod signature;
mod state;
mod tls;
mod told;
mod worker;

pub use deliveries::{Deliveries, DeliveryOptions, Failed};
pub use failure::Failure;
pub use fetch::{Fetched, Fetcher};
pub use guard::{Guard, GuardOptions, Lookup, Refused};
pub use replay::{Replay, ReplayError};
pub use resting::Resting;
pub use route::{DeadLetters, DeliveryMetrics, Route};
pub use state::{DeliveryState, LastFailure, Phase, Retrying, SubscriptionLag};
