//! What is read from a request and put on an answer, beside bodies: addresses, versions, query parameters.

use std::time::{Duration, UNIX_EPOCH};

use axum::{
    extract::Query,
    http::{HeaderMap, HeaderValue, StatusCode, Uri, header},
    response::{IntoResponse, Response},
};
use serde_json::Value;
use sluice_api::{Format, parse_document};
use sluice_store::Timestamp;

use super::{ErrorAnswer, word};
use crate::Expected;

/// Where every address of the contract begins: there is one organization with one environment.
pub(super) const BASE: &str = "/management/organizations/DEFAULT/environments/DEFAULT";

/// Reads a JSON body; a fault is told with line and column.
pub(super) fn json(body: &[u8]) -> Result<Value, ErrorAnswer> {
    let text = std::str::from_utf8(body).map_err(|error| {
        let message = format!("The body is not UTF-8 from byte {} on.", error.valid_up_to());
        ErrorAnswer::new(StatusCode::BAD_REQUEST, "document.syntax", message)
    })?;
    parse_document(text, Format::Json).map_err(|problem| vec![problem].into())
}

/// The address of something below [`BASE`], as the client that asks would write it.
pub(super) fn address(headers: &HeaderMap, path: &str) -> String {
    absolute(headers, &format!("{BASE}/{path}"))
}

/// A path with its query, as an address that the client that asks would write.
pub(super) fn absolute(headers: &HeaderMap, path: &str) -> String {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    host.map_or_else(|| path.to_owned(), |host| format!("http://{host}{path}"))
}

/// A 201 with the address of what was created.
pub(super) fn created(address: &str, body: impl IntoResponse) -> Response {
    let mut response = (StatusCode::CREATED, body).into_response();
    if let Ok(location) = HeaderValue::from_str(address) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    response
}

/// Marks an answer with the version that it shows, or has made.
pub(super) fn versioned(updated_at: Timestamp, answer: impl IntoResponse) -> Response {
    let mut response = answer.into_response();
    let modified = UNIX_EPOCH + Duration::from_millis(u64::try_from(updated_at.0).unwrap_or_default());
    let headers = [
        (header::ETAG, format!("\"{}\"", updated_at.0)),
        (header::LAST_MODIFIED, httpdate::fmt_http_date(modified)),
    ];
    for (name, value) in headers {
        if let Ok(value) = HeaderValue::from_str(&value) {
            response.headers_mut().insert(name, value);
        }
    }
    response
}

/// The versions that `If-Match` allows. A tag that is none of ours matches nothing.
pub(super) fn expected(headers: &HeaderMap) -> Expected {
    let mut times = Vec::new();
    for value in headers.get_all(header::IF_MATCH) {
        for tag in value.to_str().unwrap_or_default().split(',').map(str::trim) {
            if tag == "*" {
                return Expected::Any;
            }
            times.extend(tag.trim_matches('"').parse().ok().map(Timestamp));
        }
    }
    if headers.contains_key(header::IF_MATCH) { Expected::UpdatedAt(times) } else { Expected::Any }
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
