//! The registry and the REST contract over it, with a real store and a real gateway, and a broker that is
//! never reached.
#![allow(clippy::unwrap_used, reason = "a test may stop at the first thing that is not as it says")]

mod access;
mod beyond;
mod credentials;
mod definitions;
mod documents;
mod files;
mod hub;
mod native;
mod native_hub;
mod recorded;
mod refusals;
mod registry;
mod startup;
mod subscriptions;
mod support;
mod v2;
mod wso2;
mod wso2_keys;
mod wso2_names;
mod wso2_secrets;
mod wso2_shapes;
