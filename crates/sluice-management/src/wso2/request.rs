//! Bodies of requests: JSON or YAML, as the content type says. JSON is YAML, so what says nothing is read as that.

use axum::http::{HeaderMap, StatusCode, header};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use sluice_api::{Format, parse_document};

use crate::{
    refusal::Refusal,
    request::{json, read},
};

/// What a client may say that a body is; anything else is read as YAML, too.
pub(super) const MEDIA: &[&str] =
    &["application/json", "application/yaml", "application/x-yaml", "text/yaml"];

/// A body as a document.
pub(super) fn document(headers: &HeaderMap, body: &[u8]) -> Result<Value, Refusal> {
    let media = headers.get(header::CONTENT_TYPE).and_then(|media| media.to_str().ok()).unwrap_or_default();
    let media = media.split(';').next().unwrap_or_default().trim();
    if media.eq_ignore_ascii_case("application/json") || media.ends_with("+json") {
        return json(body);
    }
    let text = std::str::from_utf8(body).map_err(|error| {
        let message = format!("The body is not UTF-8 from byte {} on.", error.valid_up_to());
        Refusal::new(StatusCode::BAD_REQUEST, "document.syntax", message)
    })?;
    Ok(parse_document(text, Format::Yaml)?)
}

/// A body as its type.
pub(super) fn body<T: DeserializeOwned>(headers: &HeaderMap, body: &[u8]) -> Result<T, Refusal> {
    read(&document(headers, body)?)
}

/// A body as its type; one that is empty is an object without fields.
pub(super) fn optional<T: DeserializeOwned>(headers: &HeaderMap, body: &[u8]) -> Result<T, Refusal> {
    if body.trim_ascii().is_empty() { read(&Value::Object(Map::new())) } else { self::body(headers, body) }
}
