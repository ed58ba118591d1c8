//! Our own management contract, for the console, the command line and the portal: `/api/v1`, JSON in camelCase, words
//! in small letters as definitions have them, times in ISO 8601.
//!
//! It stands on the same registry as the contracts of other products. No dialect is spoken here, so it can show
//! what those have no word for: who is connected, how far behind, and how deliveries stand.

mod api;
mod api_keys;
mod apis;
mod delivery;
mod error;
mod routes;
mod stream;
mod subscription;
mod subscriptions;
mod webhook_secrets;

use axum::{
    Json,
    response::{IntoResponse, Response},
};
use schemars::JsonSchema;
use serde::Serialize;

use crate::refusal::Refusal;

pub(crate) use routes::contract;

/// Where every address of the contract begins.
const BASE: &str = "/api/v1";

/// Whether an address belongs to the contract.
pub(crate) fn is_at(path: &str) -> bool {
    path.strip_prefix(BASE).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// The body that tells a refusal.
pub(crate) fn told(refusal: &Refusal) -> Response {
    Json(error::Error::of(refusal)).into_response()
}

/// A whole list, as it is answered; lists without a bound come in [pages](crate::page).
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "{T}List")]
struct List<T> {
    /// Its items.
    data: Vec<T>,
}
