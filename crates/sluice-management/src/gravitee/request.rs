//! What is read from a request and put on an answer in this contract: addresses, query parameters.

use axum::{
    extract::Query,
    http::{HeaderMap, Uri},
};

use super::word;
use crate::request::absolute;

/// Where every address of the contract begins: there is one organization with one environment.
pub(super) const BASE: &str = "/management/organizations/DEFAULT/environments/DEFAULT";

/// The address of something below [`BASE`], as the client that asks would write it.
pub(super) fn address(headers: &HeaderMap, path: &str) -> String {
    absolute(headers, &format!("{BASE}/{path}"))
}

/// The words given for a query parameter, repeated or separated by commas.
pub(super) fn parameter(uri: &Uri, name: &str) -> Vec<String> {
    texts(uri, name).iter().map(|text| word(text)).collect()
}

/// The texts given for a query parameter, repeated or separated by commas.
pub(super) fn texts(uri: &Uri, name: &str) -> Vec<String> {
    let pairs = Query::<Vec<(String, String)>>::try_from_uri(uri).map(|Query(pairs)| pairs);
    let pairs = pairs.unwrap_or_default().into_iter().filter(|(given, _)| given == name);
    pairs
        .flat_map(|(_, value)| value.split(',').map(|text| text.trim().to_owned()).collect::<Vec<_>>())
        .collect()
}
