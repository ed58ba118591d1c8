//! Calls subscribers: outbound HTTP with retries, dead letters, signatures and a guard against addresses that are
//! not to be called. Serves webhooks; other ways of calling out go through the same.
//!
//! [`Deliveries`] is told which subscriptions there are and which APIs are deployed, each as a [`Route`]. For
//! each subscription that has one it keeps a [worker](worker::Worker), which reads the topics by a cursor of the
//! shared hub, runs the deliver policies, and calls. Who may subscribe, and what becomes of a subscription that
//! failed, is decided elsewhere.

mod assertion;
mod auth;
mod call;
mod client;
mod deliveries;
mod exchange;
mod failure;
mod guard;
mod place;
mod ranges;
mod request;
mod retry;
mod route;
mod session;
mod signature;
mod tls;
mod worker;

pub use deliveries::{Deliveries, DeliveryOptions, Failed};
pub use failure::Failure;
pub use guard::{Guard, GuardOptions, Lookup, Refused};
pub use route::{DeadLetters, DeliveryMetrics, Route};
