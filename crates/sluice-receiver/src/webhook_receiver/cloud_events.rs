//! Requests that are CloudEvents 1.0 by the HTTP protocol binding: in binary mode, where headers hold the attributes,
//! and in structured mode, where the body holds the whole event. The body stays as it is in both; what becomes a
//! message is an event by the Kafka protocol binding, section 3, in the same mode.
//!
//! A batch is refused: its events could be published one by one only, and when one of them fails nobody could be told
//! truly which of them are there.

use std::collections::BTreeMap;

use http::{HeaderMap, StatusCode, header};
use serde_json::Value;
use sluice_message::{Headers, Message};

use super::attributes::{self, Fault};
use crate::Refusal;

/// What the names of the headers of an event begin with in HTTP, and in a message.
pub(super) const HTTP_PREFIX: &str = "ce-";
const MESSAGE_PREFIX: &str = "ce_";

/// How a request holds an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    Binary,
    Structured,
}

/// How a request holds an event, if it says that it is one.
///
/// # Errors
/// 415 for a batch, and for a form of events other than JSON.
pub(super) fn mode(headers: &HeaderMap) -> Result<Option<Mode>, Refusal> {
    let content_type =
        headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let media_type = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    match media_type.strip_prefix("application/cloudevents") {
        Some("+json") => Ok(Some(Mode::Structured)),
        Some(batch) if batch.starts_with("-batch") => {
            Err(not_taken("Events are taken one by one, not in batches. Send a request for each."))
        }
        Some(_) => Err(not_taken("Of structured events only application/cloudevents+json is taken.")),
        None if headers.keys().any(|name| name.as_str().starts_with(HTTP_PREFIX)) => Ok(Some(Mode::Binary)),
        None => Ok(None),
    }
}

/// The attributes of an event in binary mode as message headers.
///
/// # Errors
/// 400 with the attribute that is missing or is not as it must be.
pub(super) fn binary(headers: &HeaderMap) -> Result<Headers, Refusal> {
    let mut found = BTreeMap::new();
    for (header, value) in headers {
        let Some(name) = header.as_str().strip_prefix(HTTP_PREFIX) else { continue };
        let value = decoded(value.as_bytes()).ok_or_else(|| Fault::new(name, "is no text in UTF-8"))?;
        if matches!(name, "datacontenttype" | "data") {
            return Err(Fault::new(name, "has no header of its own: it is Content-Type, or the body").into());
        }
        if found.insert(name, value).is_some() {
            return Err(Fault::new(name, "is there twice").into());
        }
    }
    attributes::check(&found)?;
    Ok(found.into_iter().map(|(name, value)| (format!("{MESSAGE_PREFIX}{name}"), value)).collect())
}

/// Checks an event in structured mode.
///
/// # Errors
/// 400 for a body that is no JSON object, or with the attribute that is missing or is not as it must be.
pub(super) fn check_structured(message: &Message) -> Result<(), Refusal> {
    let json = message.json();
    let event = json.as_deref().and_then(Value::as_object).ok_or_else(|| {
        let text = format!(
            "The body is no event: it must be a JSON object of at most {} bytes.",
            sluice_message::MAX_JSON_BYTES
        );
        Refusal::new(StatusCode::BAD_REQUEST, "webhook.event", text)
    })?;
    let mut found = BTreeMap::new();
    for (name, value) in event {
        let text = match (&**name, value) {
            // An attribute that is null is not there, and data is what its sender likes.
            (_, Value::Null) | ("data", _) => continue,
            ("data_base64", Value::String(_)) if !event.contains_key("data") => continue,
            ("data_base64", _) => {
                return Err(Fault::new(name, "must be text, and data must not be there beside it").into());
            }
            (_, Value::String(text)) => text.clone(),
            (_, Value::Bool(_)) if !attributes::is_text(name) => value.to_string(),
            (_, Value::Number(number)) if !attributes::is_text(name) && is_integer(number) => {
                value.to_string()
            }
            _ => return Err(Fault::new(name, "is of a type that it cannot have").into()),
        };
        found.insert(&**name, text);
    }
    Ok(attributes::check(&found)?)
}

/// What is told where an event is needed and a request is none.
pub(super) fn required() -> Refusal {
    let text = "Only CloudEvents are taken: with ce-id, ce-source, ce-specversion and ce-type as headers, or as \
                application/cloudevents+json.";
    Refusal::new(StatusCode::BAD_REQUEST, "webhook.event", text)
}

/// Integers of events have 32 bits.
fn is_integer(number: &serde_json::Number) -> bool {
    number.as_i64().is_some_and(|number| i32::try_from(number).is_ok())
}

fn not_taken(text: &str) -> Refusal {
    Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "webhook.event.format", text)
}

impl From<Fault> for Refusal {
    fn from(fault: Fault) -> Self {
        let text = format!("The event's attribute '{}' {}.", fault.attribute, fault.what);
        Self::new(StatusCode::BAD_REQUEST, "webhook.event", text)
    }
}

/// The text of a header of an event: without the quotes in which it may stand, and with percent escapes resolved
/// (HTTP protocol binding, section 3.1.3.2). `None` where it is no UTF-8.
fn decoded(value: &[u8]) -> Option<String> {
    let quoted = value.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\""));
    let plain: Vec<u8> = match quoted {
        Some(quoted) => unescaped(quoted),
        None => value.to_vec(),
    };
    let mut bytes = Vec::with_capacity(plain.len());
    let mut rest = &*plain;
    while let Some((&byte, behind)) = rest.split_first() {
        let digit = |at: usize| behind.get(at).and_then(|digit| char::from(*digit).to_digit(16));
        rest = match (byte, digit(0), digit(1)) {
            (b'%', Some(high), Some(low)) => {
                bytes.push((high << 4 | low) as u8);
                &behind[2..]
            }
            _ => {
                bytes.push(byte);
                behind
            }
        };
    }
    String::from_utf8(bytes).ok()
}

/// A quoted string without its backslashes (RFC 9110 section 5.6.4).
fn unescaped(quoted: &[u8]) -> Vec<u8> {
    let mut bytes = quoted.iter();
    std::iter::from_fn(|| {
        let byte = bytes.next()?;
        if *byte == b'\\' { bytes.next().or(Some(byte)) } else { Some(byte) }
    })
    .copied()
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_unquoted_and_its_escapes_resolved_once() {
        for (written, read) in [
            ("plain", Some("plain")),
            ("Euro%20%E2%82%AC%20%F0%9F%98%80", Some("Euro € 😀")),
            (r#""a \"b\" \\ %41""#, Some(r#"a "b" \ A"#)),
            ("%2541", Some("%41")),
            ("100%", Some("100%")),
            ("%zz", Some("%zz")),
            ("\"", Some("\"")),
            ("%ff", None),
        ] {
            assert_eq!(decoded(written.as_bytes()).as_deref(), read, "{written}");
        }
    }
}
