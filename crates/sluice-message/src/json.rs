//! Parsed payloads, kept beside their messages within a bound for all messages together.
//!
//! Parsed JSON can take seventy times the memory of its text, so the bounds on messages in bytes say little
//! about it.

use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::Value;

/// The largest payload that is parsed, in bytes: 1 MiB. A larger one counts as no JSON.
pub const MAX_JSON_BYTES: usize = 1 << 20;

/// What all kept values may take together, in bytes, about.
const MAX_KEPT_BYTES: usize = 64 << 20;

/// What all kept values take now.
static KEPT: AtomicUsize = AtomicUsize::new(0);

/// A parsed payload that may be kept: it is counted for as long as it lives.
#[derive(Debug)]
pub(crate) struct Parsed {
    /// `None` when the payload is no JSON.
    pub(crate) value: Option<Value>,
    _counted: Counted,
}

/// Bytes that are counted as kept.
#[derive(Debug)]
struct Counted(usize);

impl Drop for Counted {
    fn drop(&mut self) {
        KEPT.fetch_sub(self.0, Ordering::Relaxed);
    }
}

/// Parses a payload; an error holds the value when there is no room to keep it.
pub(crate) fn parse(payload: &[u8]) -> Result<Parsed, Option<Value>> {
    let value = if payload.len() > MAX_JSON_BYTES { None } else { serde_json::from_slice(payload).ok() };
    let bytes = value.as_ref().map_or(0, weight);
    let counted = KEPT.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |kept| {
        Some(kept + bytes).filter(|total| *total <= MAX_KEPT_BYTES)
    });
    match counted {
        Ok(_) => Ok(Parsed { value, _counted: Counted(bytes) }),
        Err(_) => Err(value),
    }
}

/// What a value takes in memory, about. The parser bounds the depth.
fn weight(value: &Value) -> usize {
    /// A node of the tree that an object is kept in has room for eleven entries.
    const OBJECT: usize = 11 * (size_of::<String>() + size_of::<Value>());
    size_of::<Value>()
        + match value {
            Value::String(text) => text.len(),
            Value::Array(items) => items.iter().map(weight).sum(),
            Value::Object(fields) => {
                OBJECT + fields.iter().map(|(name, value)| name.len() + weight(value)).sum::<usize>()
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => 0,
        }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Message;

    #[test]
    fn parsed_messages_are_kept_within_a_bound_and_readable_beyond_it() {
        let dense = format!("[{}]", vec!["{}"; 300_000].join(","));
        let messages: Vec<_> = (0..4).map(|_| Message::builder().payload(dense.clone()).build()).collect();
        for message in &messages {
            assert_eq!(message.json().unwrap().as_array().unwrap().len(), 300_000);
            assert!(KEPT.load(Ordering::Relaxed) <= MAX_KEPT_BYTES);
        }
        drop(messages);
        assert_eq!(KEPT.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn a_payload_over_the_bound_is_no_json() {
        let text =
            |bytes: usize| Message::builder().payload(format!("\"{}\"", "x".repeat(bytes - 2))).build();
        assert!(text(MAX_JSON_BYTES).json().is_some());
        assert!(text(MAX_JSON_BYTES + 1).json().is_none());
    }
}
