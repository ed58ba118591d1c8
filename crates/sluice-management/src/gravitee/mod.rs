//! The 3.20 management contract, as clients of that version know it: paths, bodies, status codes, errors.
//!
//! Reading: names of enums in any case, unknown fields ignored, as the contract says. What is understood but
//! can not be honoured is refused with its field. Answers have the fields of the original's answers, among
//! them what it fills in. All of it is translation; what is allowed is decided by the registry and by
//! [`EventApi::validate`](sluice_api::EventApi::validate).

mod apis;
mod applications;
mod catalogue;
mod connections;
mod consumer;
mod endpoints;
mod entity;
mod error;
mod fields;
mod flows;
mod listeners;
mod plan_calls;
mod plans;
mod plugins;
mod read;
mod request;
mod routes;
mod subscriptions;
mod v2;

pub(crate) use error::ErrorAnswer;
pub(crate) use read::read_file;

use crate::contract::Contract;

/// The contracts that are served.
pub(crate) fn contracts() -> [Contract; 3] {
    [routes::contract(), v2::contract(), routes::portal()]
}

/// Whether an address belongs to the later contract.
pub(crate) fn is_later(path: &str) -> bool {
    path.strip_prefix(v2::BASE).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// An enum's name as it is compared: lower case, words joined by `-`.
fn word(text: &str) -> String {
    text.trim().to_ascii_lowercase().replace('_', "-")
}
