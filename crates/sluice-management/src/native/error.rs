//! Error bodies of the contract.

use schemars::JsonSchema;
use serde::Serialize;

use crate::refusal::Refusal;

/// An answer that says what went wrong.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Error {
    /// The stable code of the rule.
    code: &'static str,
    /// What went wrong, and what to do.
    message: String,
    /// The field or parameter that it is about, if it is about one.
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<String>,
}

impl Error {
    pub(super) fn of(refusal: &Refusal) -> Self {
        let path = refusal.problems.first().map(|problem| problem.path.clone());
        let message = match &refusal.problems[..] {
            // The path stands beside it.
            [problem] => &problem.message,
            _ => &refusal.message,
        };
        let path = path.filter(|path| !path.is_empty());
        Self { code: refusal.code, message: message.clone(), path }
    }
}
