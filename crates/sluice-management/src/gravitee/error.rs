//! Error bodies of the contract, and problems of the domain in the contract's field names.

use axum::{
    Json,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use serde_json::{Map, Value};
use sluice_api::Problem;

use crate::{RegistryError, registry::sentences};

/// Problems named in one answer; a definition may have hundreds.
const MAX_PROBLEMS: usize = 10;

/// An answer that says what went wrong.
#[derive(Debug, Serialize)]
pub(crate) struct ErrorAnswer {
    message: String,
    http_status: u16,
    #[serde(rename = "technicalCode")]
    technical_code: &'static str,
    #[serde(skip_serializing_if = "Map::is_empty")]
    parameters: Map<String, Value>,
}

impl ErrorAnswer {
    pub(crate) fn new(status: StatusCode, technical_code: &'static str, message: impl Into<String>) -> Self {
        let message = message.into();
        Self { message, http_status: status.as_u16(), technical_code, parameters: Map::new() }
    }

    fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.parameters.insert(name.to_owned(), value.into());
        self
    }
}

impl IntoResponse for ErrorAnswer {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.http_status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, Json(self)).into_response();
        if status == StatusCode::UNAUTHORIZED {
            let challenge = HeaderValue::from_static("Basic realm=\"Sluice\", charset=\"UTF-8\"");
            response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
        }
        response
    }
}

/// Problems whose paths are the contract's already.
impl From<Vec<Problem>> for ErrorAnswer {
    fn from(mut problems: Vec<Problem>) -> Self {
        let more = problems.len().saturating_sub(MAX_PROBLEMS);
        problems.truncate(MAX_PROBLEMS);
        let mut message = sentences(&problems);
        if more > 0 {
            message.push_str(&format!(" And {more} more."));
        }
        let code = problems.first().map_or("request.invalid", |problem| problem.code);
        let answer = Self::new(StatusCode::BAD_REQUEST, code, message);
        match problems.into_iter().next() {
            Some(problem) if !problem.path.is_empty() => answer.with("path", problem.path),
            _ => answer,
        }
    }
}

impl From<RegistryError> for ErrorAnswer {
    fn from(error: RegistryError) -> Self {
        let message = error.to_string();
        let answer = |status, code| Self::new(status, code, message.clone());
        match error {
            RegistryError::ApiNotFound(id) => answer(StatusCode::NOT_FOUND, "api.notFound").with("api", id.0),
            RegistryError::PlanNotFound(id) => {
                answer(StatusCode::NOT_FOUND, "plan.notFound").with("plan", id.0)
            }
            RegistryError::ApplicationNotFound(id) => {
                answer(StatusCode::NOT_FOUND, "application.notFound").with("application", id.0)
            }
            RegistryError::Invalid(problems) => in_contract_terms(problems).into(),
            RegistryError::ManagedByFile { id, file } => {
                answer(StatusCode::BAD_REQUEST, "api.managed.by.file")
                    .with("api", id.0)
                    .with("file", file.display().to_string())
            }
            RegistryError::Outdated(id) => {
                answer(StatusCode::PRECONDITION_FAILED, "api.outdated").with("api", id.0)
            }
            RegistryError::Unreadable { id, .. } => failed(answer, "api.unreadable").with("api", id.0),
            RegistryError::NotServed { id, problems } => {
                let problems = sentences(&in_contract_terms(problems));
                failed(answer, "api.notServed").with("api", id.0).with("problems", problems)
            }
            RegistryError::Store(_) => failed(answer, "store.failed"),
            RegistryError::Interrupted(_) => failed(answer, "change.interrupted"),
        }
    }
}

fn failed(answer: impl Fn(StatusCode, &'static str) -> ErrorAnswer, code: &'static str) -> ErrorAnswer {
    let answer = answer(StatusCode::INTERNAL_SERVER_ERROR, code);
    tracing::error!(code, error = answer.message, "A management call failed.");
    answer
}

/// The same problems at the fields that a client of this contract wrote.
pub(super) fn in_contract_terms(problems: Vec<Problem>) -> Vec<Problem> {
    problems.into_iter().map(|problem| Problem { path: contract_path(&problem.path), ..problem }).collect()
}

/// There is one listener and one endpoint in what this dialect accepts, so an index maps to an index.
fn contract_path(path: &str) -> String {
    const NAMES: [(&str, &str); 5] = [
        ("receivers", "listeners[0].entrypoints"),
        ("paths", "listeners[0].paths"),
        ("brokers[0]", "endpointGroups[0].endpoints[0]"),
        ("brokers", "endpointGroups"),
        ("version", "apiVersion"),
    ];
    for (ours, theirs) in NAMES {
        if let Some(rest) = path.strip_prefix(ours) {
            return format!("{theirs}{rest}");
        }
    }
    path.replace("].channel", "].selectors[0]").replace("].deliver", "].subscribe")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_named_as_the_contract_names_them() {
        for (ours, theirs) in [
            ("receivers[1].qos", "listeners[0].entrypoints[1].qos"),
            ("paths[0].path", "listeners[0].paths[0].path"),
            ("brokers[0].configuration.topics", "endpointGroups[0].endpoints[0].configuration.topics"),
            ("flows[2].deliver[0].policy", "flows[2].subscribe[0].policy"),
            ("plans[0].flows[0].channel.channel", "plans[0].flows[0].selectors[0].channel"),
            ("version", "apiVersion"),
            ("name", "name"),
        ] {
            assert_eq!(contract_path(ours), theirs);
        }
    }
}
