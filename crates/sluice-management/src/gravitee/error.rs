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
            RegistryError::SubscriptionNotFound(id) => {
                answer(StatusCode::NOT_FOUND, "subscription.notFound").with("subscription", id.0)
            }
            RegistryError::Invalid(problems) => problems.into(),
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
                let problems = sentences(&problems);
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
