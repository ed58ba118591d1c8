//! Error bodies of the contract. Who is not let in gets another one than who asks for something that can not be.

use axum::http::StatusCode;
use schemars::JsonSchema;
use serde::Serialize;

use crate::refusal::Refusal;

/// An answer that says what went wrong.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Error {
    /// `authentication_failed` or `forbidden`, where somebody is not let in.
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<&'static str>,
    /// Always `error`.
    status: &'static str,
    /// What went wrong, and what to do.
    message: String,
    /// Every fault at its field, up to a number.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<FieldError>,
}

/// A fault at a field.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "ValidationError")]
struct FieldError {
    /// As `spec.context`.
    field: String,
    /// What is wrong, and what would be right.
    message: String,
}

impl Error {
    pub(super) fn of(refusal: &Refusal) -> Self {
        let code = match refusal.status {
            StatusCode::UNAUTHORIZED => Some("authentication_failed"),
            StatusCode::FORBIDDEN => Some("forbidden"),
            _ => None,
        };
        let errors = refusal.problems.iter().filter(|problem| !problem.path.is_empty());
        let errors = errors
            .map(|problem| FieldError { field: problem.path.clone(), message: problem.message.clone() });
        Self { code, status: "error", message: refusal.message.clone(), errors: errors.collect() }
    }
}
