//! Why a management call was not done, whichever contract is spoken: each contract tells it in a form of its own.
//!
//! A handler answers with a [`Refusal`]; the server's front writes the body, because errors that no handler made
//! have to be told in the form of the contract, too.

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::{Map, Value};
use sluice_api::Problem;
use sluice_delivery::ReplayError;

use crate::{RegistryError, registry::sentences};

/// Problems named in one answer; a definition may have hundreds.
const MAX_PROBLEMS: usize = 10;

/// What went wrong.
#[derive(Debug, Clone)]
pub(crate) struct Refusal {
    pub(crate) status: StatusCode,
    /// The stable code, as in docs/errors.md.
    pub(crate) code: &'static str,
    /// What went wrong, and what to do.
    pub(crate) message: String,
    /// What the message speaks of.
    pub(crate) parameters: Map<String, Value>,
    /// Every fault at its field, up to a number.
    pub(crate) problems: Vec<Problem>,
    /// What the problems are about.
    pub(crate) document: Option<Box<Value>>,
}

impl Refusal {
    pub(crate) fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        let (parameters, problems) = (Map::new(), Vec::new());
        Self { status, code, message: message.into(), parameters, problems, document: None }
    }

    /// The same, about this body.
    pub(crate) fn about(self, document: &Value) -> Self {
        Self { document: Some(Box::new(document.clone())), ..self }
    }

    fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.parameters.insert(name.to_owned(), value.into());
        self
    }
}

impl IntoResponse for Refusal {
    /// Status and headers; the body is written further out.
    fn into_response(self) -> Response {
        let status = self.status;
        let mut response = status.into_response();
        response.extensions_mut().insert(self);
        if status == StatusCode::UNAUTHORIZED {
            let challenge = HeaderValue::from_static("Basic realm=\"Sluice\", charset=\"UTF-8\"");
            response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
        }
        response
    }
}

/// Problems whose paths are the contract's already.
impl From<Vec<Problem>> for Refusal {
    fn from(mut problems: Vec<Problem>) -> Self {
        let more = problems.len().saturating_sub(MAX_PROBLEMS);
        problems.truncate(MAX_PROBLEMS);
        let mut message = sentences(&problems);
        if more > 0 {
            message.push_str(&format!(" And {more} more."));
        }
        let code = problems.first().map_or("request.invalid", |problem| problem.code);
        let refusal = Self::new(StatusCode::BAD_REQUEST, code, message);
        let first = problems.first().filter(|problem| !problem.path.is_empty());
        let refusal = match first {
            Some(problem) => refusal.with("path", problem.path.clone()),
            None => refusal,
        };
        Self { problems, ..refusal }
    }
}

impl From<Problem> for Refusal {
    fn from(problem: Problem) -> Self {
        vec![problem].into()
    }
}

impl From<RegistryError> for Refusal {
    fn from(error: RegistryError) -> Self {
        let message = error.to_string();
        let refusal = |status, code| Self::new(status, code, message.clone());
        match error {
            RegistryError::ApiNotFound(id) => {
                refusal(StatusCode::NOT_FOUND, "api.notFound").with("api", id.0)
            }
            RegistryError::PlanNotFound(id) => {
                refusal(StatusCode::NOT_FOUND, "plan.notFound").with("plan", id.0)
            }
            RegistryError::ApplicationNotFound(id) => {
                refusal(StatusCode::NOT_FOUND, "application.notFound").with("application", id.0)
            }
            RegistryError::SubscriptionNotFound(id) => {
                refusal(StatusCode::NOT_FOUND, "subscription.notFound").with("subscription", id.0)
            }
            RegistryError::ApiKeyNotFound(name) => {
                refusal(StatusCode::NOT_FOUND, "apiKey.notFound").with("apiKey", name)
            }
            RegistryError::WebhookSecretNotFound(name) => {
                refusal(StatusCode::NOT_FOUND, "webhookSecret.notFound").with("webhookSecret", name)
            }
            RegistryError::Conflict(problem) => Self { status: StatusCode::CONFLICT, ..problem.into() },
            RegistryError::Invalid(problems) => problems.into(),
            RegistryError::ManagedByFile { id, file } => {
                refusal(StatusCode::BAD_REQUEST, "api.managed.by.file")
                    .with("api", id.0)
                    .with("file", file.display().to_string())
            }
            RegistryError::Outdated(id) => {
                refusal(StatusCode::PRECONDITION_FAILED, "api.outdated").with("api", id.0)
            }
            RegistryError::Unreadable { id, .. } => failed(refusal, "api.unreadable").with("api", id.0),
            RegistryError::NotServed { id, problems } => {
                let problems = sentences(&problems);
                failed(refusal, "api.notServed").with("api", id.0).with("problems", problems)
            }
            RegistryError::NotReplayed(error) => match &error {
                ReplayError::UnknownPosition(text) => Problem::new("position", error.code(), text).into(),
                ReplayError::NotServed => refusal(StatusCode::CONFLICT, error.code()),
                ReplayError::Broker(_) => refusal(StatusCode::SERVICE_UNAVAILABLE, error.code()),
                ReplayError::Unsupported(_) | ReplayError::NoDeadLetters => {
                    refusal(StatusCode::BAD_REQUEST, error.code())
                }
            },
            RegistryError::Spool(error) => refusal(StatusCode::SERVICE_UNAVAILABLE, error.code()),
            RegistryError::Store(_) => failed(refusal, "store.failed"),
            RegistryError::Interrupted(_) => failed(refusal, "change.interrupted"),
        }
    }
}

fn failed(refusal: impl Fn(StatusCode, &'static str) -> Refusal, code: &'static str) -> Refusal {
    let refusal = refusal(StatusCode::INTERNAL_SERVER_ERROR, code);
    tracing::error!(code, error = refusal.message, "A management call failed.");
    refusal
}
