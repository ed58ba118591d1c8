//! Bodies of which every field has its type.

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use sluice_api::{Problem, from_value};

use crate::gravitee::{ErrorAnswer, request};

/// A body, or nothing at all, as an object.
pub(super) fn optional(body: &[u8]) -> Result<Value, ErrorAnswer> {
    if body.trim_ascii().is_empty() { Ok(Value::Object(Map::new())) } else { request::json(body) }
}

/// A document as its type; it must be an object. (A list would be taken for the fields in their order.)
pub(super) fn read<T: DeserializeOwned>(document: &Value) -> Result<T, ErrorAnswer> {
    let read = if document.is_object() {
        from_value(document.clone())
    } else {
        Err(Problem::new("", "document.field", "Must be an object."))
    };
    read.map_err(|problem| ErrorAnswer::from(vec![problem]).about(document))
}
