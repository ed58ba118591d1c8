//! Policies: rules that run between a client and a broker, in chains that are compiled once for each event API.
//!
//! When a client comes, its receiver makes a [`Caller`], runs the policies that stand at
//! [`Hook::Connect`] ([`Chains::meet`], which may wait) and those at [`Hook::Respond`] on the head of the
//! answer ([`Chains::respond`]). It then selects the [`Chain`] for messages once and runs it on each: before the
//! broker on the way in ([`Hook::Publish`]), before the client on the way out ([`Hook::Deliver`]). Chains for
//! messages do no I/O and do not wait. Each policy is one file in `policies`.

mod caller;
mod catalogue;
mod cel;
mod chain;
mod client_settings;
mod compile;
mod credentials;
mod endpoint;
mod flow;
mod freemarker;
mod identity;
mod policies;
mod policy;
mod rejection;
mod secrecy;
mod settings;
mod site;
mod steering;
mod templates;
#[cfg(test)]
mod tests;
mod topics;

pub use caller::Caller;
pub use catalogue::{Entry, catalogue};
pub use chain::{Chain, Chains};
pub use client_settings::{ClientSettings, ClientValues};
pub use credentials::{ApiKey, Credentials, WebhookSecret};
pub use endpoint::chosen_endpoint;
pub use policy::{DropReason, Hook, Outcome, Policy, Verdict};
pub use rejection::{Rejection, Rendered};
pub use settings::with_values;
pub use sluice_expression::{
    Api, Environment, EvalContext, Request, Response, Subscription, SubscriptionKind,
};
pub use topics::{ChosenBy, Misled};
