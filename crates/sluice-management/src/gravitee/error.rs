//! Error bodies of the contract, and problems of the domain in the contract's field names.

use axum::{
    Json,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value};
use sluice_api::Problem;

use super::v2;
use crate::{RegistryError, registry::sentences};

/// Problems named in one answer; a definition may have hundreds.
const MAX_PROBLEMS: usize = 10;

/// An answer that says what went wrong.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[schemars(rename = "Error")]
pub(crate) struct ErrorAnswer {
    pub(super) message: String,
    pub(super) http_status: u16,
    #[serde(rename = "technicalCode")]
    pub(super) technical_code: &'static str,
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub(super) parameters: Map<String, Value>,
    /// Every fault at its field, for the later contract.
    #[serde(skip)]
    pub(super) problems: Vec<Problem>,
    /// What the problems are about, likewise.
    #[serde(skip)]
    pub(super) document: Option<Box<Value>>,
}

impl ErrorAnswer {
    pub(crate) fn new(status: StatusCode, technical_code: &'static str, message: impl Into<String>) -> Self {
        let message = message.into();
        let (parameters, problems) = (Map::new(), Vec::new());
        Self { message, http_status: status.as_u16(), technical_code, parameters, problems, document: None }
    }

    /// The same error, about this body.
    pub(super) fn about(self, document: &Value) -> Self {
        Self { document: Some(Box::new(document.clone())), ..self }
    }

    fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.parameters.insert(name.to_owned(), value.into());
        self
    }
}

impl ErrorAnswer {
    /// As the later contract tells it.
    pub(crate) fn in_later_contract(&self) -> Response {
        (self.status(), Json(v2::Error::of(self))).into_response()
    }

    fn status(&self) -> StatusCode {
        StatusCode::from_u16(self.http_status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }
}

impl IntoResponse for ErrorAnswer {
    fn into_response(self) -> Response {
        let status = self.status();
        let mut response = (status, Json(&self)).into_response();
        // Contracts tell the same error in different forms; which one it is to be is known further out.
        response.extensions_mut().insert(self);
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
        let first = problems.first().filter(|problem| !problem.path.is_empty());
        let answer = match first {
            Some(problem) => answer.with("path", problem.path.clone()),
            None => answer,
        };
        Self { problems, ..answer }
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
