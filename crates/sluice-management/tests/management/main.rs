//! The registry and the REST contract over it, with a real store and a real gateway, and a broker that is
//! never reached.
#![allow(clippy::unwrap_used, reason = "a test may stop at the first thing that is not as it says")]

mod access;
mod definitions;
mod documents;
mod files;
mod native;
mod recorded;
mod refusals;
mod registry;
mod startup;
mod subscriptions;
mod support;
mod v2;
