//! Error bodies of the 3.20 contract, which addresses of no contract have, too.

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::refusal::Refusal;

/// An answer that says what went wrong.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Error {
    message: String,
    http_status: u16,
    #[serde(rename = "technicalCode")]
    technical_code: &'static str,
    #[serde(skip_serializing_if = "Map::is_empty")]
    parameters: Map<String, Value>,
}

impl Error {
    /// A refusal in this contract's form.
    pub(super) fn of(refusal: &Refusal) -> Self {
        Self {
            message: refusal.message.clone(),
            http_status: refusal.status.as_u16(),
            technical_code: refusal.code,
            parameters: refusal.parameters.clone(),
        }
    }
}
