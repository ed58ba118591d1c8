//! The v2 management contract, as clients of the later versions know it: names of enums in capitals, times in
//! ISO 8601, lists in pages, changes by patches, definitions carried from place to place.
//!
//! It stands on the same model as the 3.20 contract and reads bodies with the same readers, so that an API
//! made by one is an API of the other. Here is what differs: addresses, answers, error bodies.

mod api;
mod api_plans;
mod apis;
mod connections;
mod error;
mod flows;
mod patch;
mod plan;
mod routes;
mod search;
mod subscription;
mod subscriptions;
mod transfer;

pub(super) use error::Error;
pub(super) use routes::{BASE, contract};

/// A word of the domain as this contract writes it.
fn upper(word: &str) -> String {
    word.replace('-', "_").to_ascii_uppercase()
}
