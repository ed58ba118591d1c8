//! What is read from a request and put on an answer, whichever contract is spoken: bodies, versions, query
//! parameters, addresses.

use std::time::{Duration, UNIX_EPOCH};

use axum::{
    extract::Query,
    http::{HeaderMap, HeaderValue, StatusCode, Uri, header},
    response::{IntoResponse, Response},
};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use sluice_api::{Format, Problem, from_value, parse_document};
use sluice_store::Timestamp;

use crate::{Expected, refusal::Refusal};

/// Reads a JSON body; a fault is told with line and column.
pub(crate) fn json(body: &[u8]) -> Result<Value, Refusal> {
    let text = std::str::from_utf8(body).map_err(|error| {
        let message = format!("The body is not UTF-8 from byte {} on.", error.valid_up_to());
        Refusal::new(StatusCode::BAD_REQUEST, "document.syntax", message)
    })?;
    Ok(parse_document(text, Format::Json)?)
}

/// A JSON body, or nothing at all, as an object.
pub(crate) fn optional(body: &[u8]) -> Result<Value, Refusal> {
    if body.trim_ascii().is_empty() { Ok(Value::Object(Map::new())) } else { json(body) }
}

/// A document as its type; it must be an object. (A list would be taken for the fields in their order.)
pub(crate) fn read<T: DeserializeOwned>(document: &Value) -> Result<T, Refusal> {
    let read = if document.is_object() {
        from_value(document.clone())
    } else {
        Err(Problem::new("", "document.field", "Must be an object."))
    };
    read.map_err(|problem| Refusal::from(problem).about(document))
}

/// The last value given for a query parameter, as it was written.
pub(crate) fn parameter(uri: &Uri, name: &str) -> Option<String> {
    pairs(uri).into_iter().rev().find_map(|(given, value)| (given == name).then_some(value))
}

/// The values given for a query parameter, repeated or separated by commas, as they were written.
pub(crate) fn parameters(uri: &Uri, name: &str) -> Vec<String> {
    let given = pairs(uri).into_iter().filter(|(given, _)| given == name);
    given.flat_map(|(_, value)| value.split(',').map(str::to_owned).collect::<Vec<_>>()).collect()
}

fn pairs(uri: &Uri) -> Vec<(String, String)> {
    Query::try_from_uri(uri).map(|Query(pairs)| pairs).unwrap_or_default()
}

/// A path with its query, as an address that the client that asks would write.
pub(crate) fn absolute(headers: &HeaderMap, path: &str) -> String {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    host.map_or_else(|| path.to_owned(), |host| format!("http://{host}{path}"))
}

/// A 201 with the address of what was created.
pub(crate) fn created(address: &str, body: impl IntoResponse) -> Response {
    let mut response = (StatusCode::CREATED, body).into_response();
    if let Ok(location) = HeaderValue::from_str(address) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    response
}

/// Marks an answer with the version that it shows, or has made.
pub(crate) fn versioned(updated_at: Timestamp, answer: impl IntoResponse) -> Response {
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
pub(crate) fn expected(headers: &HeaderMap) -> Expected {
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
