//! The 3.20 management contract, as clients of that version know it: paths, bodies, status codes, errors.
//!
//! Reading: names of enums in any case, unknown fields ignored, as the contract says. What is understood but
//! can not be honoured is refused with its field. Answers have the fields of the original's answers, among
//! them what it fills in. All of it is translation; what is allowed is decided by the registry and by
//! [`EventApi::validate`](sluice_api::EventApi::validate).

mod apis;
mod applications;
mod beyond;
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

pub(crate) use read::read_file;

use axum::{
    Json,
    response::{IntoResponse, Response},
};

use crate::{contract::Contract, refusal::Refusal};

/// The contracts that are served.
pub(crate) fn contracts() -> [Contract; 3] {
    [routes::contract(), v2::contract(), routes::portal()]
}

/// The body that tells a refusal at this address.
pub(crate) fn told(path: &str, refusal: &Refusal) -> Response {
    let is_later = path.strip_prefix(v2::BASE).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    if is_later {
        Json(v2::Error::of(refusal)).into_response()
    } else {
        Json(error::Error::of(refusal)).into_response()
    }
}

/// An enum's name as it is compared: lower case, words joined by `-`.
fn word(text: &str) -> String {
    text.trim().to_ascii_lowercase().replace('_', "-")
}
