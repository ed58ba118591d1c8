//! Why a client is not served, as it is told: the one shape of every error of the gateway's ports.

use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};
use sluice_broker::{DriverError, ErrorKind, Fault};
use sluice_message::Headers;
use sluice_policy::{Misled, Rejection, Rendered};

use crate::Body;

/// How long a client should wait before it tries again, in seconds, when the broker is at fault.
const RETRY_AFTER: u8 = 5;

/// An error answer. The code is the one that logs and docs/errors.md use.
#[derive(Debug, Clone)]
pub struct Refusal {
    /// The status of the answer.
    pub status: StatusCode,
    /// The stable code of the error.
    pub code: &'static str,
    /// One or two sentences: what happened and what to do.
    pub message: String,
    /// The name of the error in another contract.
    key: Option<&'static str>,
    /// Seconds after which the client may try again.
    retry_after: Option<u8>,
    /// The methods that are served instead.
    allow: Option<&'static str>,
    /// What is for the log alone: addresses and the broker's own words.
    detail: Option<String>,
    /// What a policy or the API adds to the answer, or says in place of it.
    told: Option<Box<Told>>,
}

/// What a policy or the API says about an error.
#[derive(Debug, Clone, Default)]
struct Told {
    headers: Headers,
    response: Option<Box<Rendered>>,
}

impl Refusal {
    /// A refusal with these parts.
    pub fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        let message = message.into();
        Self { status, code, message, key: None, retry_after: None, allow: None, detail: None, told: None }
    }

    /// The same with the name that another contract has for this error, shown beside the code.
    #[must_use]
    pub const fn with_key(mut self, key: &'static str) -> Self {
        self.key = Some(key);
        self
    }

    /// The same with the time after which the client may try again, in seconds. Every 503 has one.
    #[must_use]
    pub const fn with_retry_after(mut self, seconds: u8) -> Self {
        self.retry_after = Some(seconds);
        self
    }

    /// A refusal of a request by a method that is not served at its address, naming those that are.
    pub fn of_method(allow: &'static str) -> Self {
        let text = format!("This address takes {allow} only.");
        Self { allow: Some(allow), ..Self::new(StatusCode::METHOD_NOT_ALLOWED, "request.method", text) }
    }

    /// Whether a policy of the API says so, rather than the gateway or the broker.
    pub(crate) const fn is_by_policy(&self) -> bool {
        self.told.is_some()
    }

    /// The same with other words for the log.
    #[must_use]
    pub fn with_detail(mut self, detail: String) -> Self {
        self.detail = Some(detail);
        self
    }

    /// What happened, in the words for the log.
    pub fn detail(&self) -> &str {
        self.detail.as_deref().unwrap_or(&self.message)
    }

    /// The answer, as JSON or as plain text; see [`accepts_json`].
    pub fn into_response(mut self, json: bool) -> Response<Body> {
        let Told { headers, response } = *self.told.take().unwrap_or_default();
        let mut answer = match response {
            Some(rendered) => rendered_answer(*rendered),
            None => self.plain_answer(json),
        };
        put_headers(&headers, answer.headers_mut());
        answer
    }

    fn plain_answer(self, json: bool) -> Response<Body> {
        let (content_type, body) = if json {
            let mut body = serde_json::json!({
                "message": self.message,
                "http_status_code": self.status.as_u16(),
                "code": self.code,
            });
            if let Some(key) = self.key {
                body["key"] = key.into();
            }
            ("application/json", body.to_string())
        } else {
            ("text/plain; charset=utf-8", self.message)
        };
        let mut response = Response::new(Body::Full(body.into()));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
        let is_away = self.status == StatusCode::SERVICE_UNAVAILABLE;
        if let Some(seconds) = self.retry_after.or_else(|| is_away.then_some(RETRY_AFTER)) {
            headers.insert(header::RETRY_AFTER, u16::from(seconds).into());
        }
        if let Some(methods) = self.allow {
            headers.insert(header::ALLOW, HeaderValue::from_static(methods));
        }
        if self.status == StatusCode::UPGRADE_REQUIRED {
            headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
            headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
            headers.insert(header::SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
        }
        response
    }
}

impl From<DriverError> for Refusal {
    fn from(error: DriverError) -> Self {
        let status = match (error.kind, error.fault()) {
            (ErrorKind::TooLarge, _) => StatusCode::PAYLOAD_TOO_LARGE,
            (_, Fault::Client) => StatusCode::BAD_REQUEST,
            (ErrorKind::Rejected, _) => StatusCode::BAD_GATEWAY,
            // A closed driver belongs to a deployment that is being replaced: the next try finds the new one.
            (ErrorKind::Closed, _) => StatusCode::SERVICE_UNAVAILABLE,
            _ if error.retryable() => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self { detail: Some(error.message), ..Self::new(status, error.kind.code(), told(error.kind)) }
    }
}

/// What a web client is told of a broker's error. Not the broker's own words: they name addresses and topics
/// that are no client's business.
const fn told(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::Unreachable => {
            "The broker behind this API did not answer in time. Try again; a message that was on its way may or may \
             not have been taken."
        }
        ErrorKind::Refused => "The broker behind this API refuses the gateway. Its operator has to act.",
        ErrorKind::NoTopic => "The topic behind this API does not exist. Its operator has to act.",
        ErrorKind::TooLarge => "The message is larger than the broker behind this API takes.",
        ErrorKind::Rejected => {
            "The broker behind this API does not take this message, and will not if it comes again. It may be too large."
        }
        ErrorKind::Invalid => "The message breaks a rule of the topic behind this API.",
        ErrorKind::Overloaded => {
            "More messages are under way than may be; this one was not taken. Try again."
        }
        ErrorKind::PositionLost => {
            "The messages behind this position are no longer kept, or it lies beyond the end."
        }
        ErrorKind::Closed => "This API is being deployed anew. Try again.",
        ErrorKind::Storage => "The gateway cannot write to its disk. Its operator has to act.",
        ErrorKind::Unsupported | ErrorKind::Configuration | ErrorKind::Other => {
            "The broker behind this API cannot be used as it is set. Its operator has to act."
        }
    }
}

impl From<Misled> for Refusal {
    fn from(error: Misled) -> Self {
        match error {
            // These may be the client's own choice.
            Misled::NoGroupName => Self::new(StatusCode::BAD_REQUEST, error.code(), error.to_string()),
            Misled::NotShared => Self::new(StatusCode::BAD_REQUEST, error.code(), error.to_string())
                .with_key("INCOMPATIBLE_QOS"),
            _ => {
                let text = format!("Invalid configuration: {error}");
                Self::new(StatusCode::INTERNAL_SERVER_ERROR, error.code(), text)
                    .with_key("FAILURE_ENDPOINT_CONFIGURATION_INVALID")
            }
        }
    }
}

impl From<Rejection> for Refusal {
    fn from(rejection: Rejection) -> Self {
        let status = StatusCode::from_u16(rejection.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let told = Told { headers: rejection.headers, response: rejection.response };
        Self { told: Some(Box::new(told)), ..Self::new(status, rejection.code, rejection.message) }
    }
}

/// An answer in the API's own words.
fn rendered_answer(rendered: Rendered) -> Response<Body> {
    let mut answer = Response::new(Body::Full(rendered.body.into()));
    *answer.status_mut() = StatusCode::from_u16(rendered.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    if let Ok(content_type) = HeaderValue::try_from(rendered.content_type) {
        answer.headers_mut().insert(header::CONTENT_TYPE, content_type);
    }
    put_headers(&rendered.headers, answer.headers_mut());
    answer
}

/// Puts headers that policies have made on an answer; those that HTTP cannot carry are left out.
pub fn put_headers(made: &Headers, answer: &mut HeaderMap) {
    for made in made {
        if let (Ok(name), Ok(value)) =
            (HeaderName::try_from(&*made.name), HeaderValue::from_bytes(&made.value))
        {
            answer.append(name, value);
        }
    }
}

/// Whether a client takes errors as JSON: its `Accept` names JSON, names everything, or is not there.
pub fn accepts_json(headers: &HeaderMap) -> bool {
    let mut named = headers.get_all(header::ACCEPT).iter().peekable();
    named.peek().is_none()
        || named.any(|value| {
            let value = value.to_str().unwrap_or_default().to_ascii_lowercase();
            value.split(',').any(|range| {
                let range = range.split(';').next().unwrap_or_default().trim();
                matches!(range, "application/json" | "application/*" | "*/*")
            })
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(accept: Option<&'static str>) -> Response<Body> {
        let accept = accept.map(|accept| (header::ACCEPT, HeaderValue::from_static(accept)));
        let headers = HeaderMap::from_iter(accept);
        Refusal::new(StatusCode::NOT_FOUND, "x", "Gone.").into_response(accepts_json(&headers))
    }

    #[test]
    fn an_error_is_json_unless_the_client_wants_something_else() {
        let json = |accept| answer(accept).headers()[header::CONTENT_TYPE] == "application/json";
        assert!(json(None) && json(Some("*/*")) && json(Some("text/html, application/json;q=0.9")));
        assert!(!json(Some("text/event-stream")) && !json(Some("text/plain")));
    }

    #[test]
    fn a_broker_that_is_away_is_503_with_a_time_to_retry() {
        let refusal = Refusal::from(DriverError::new(ErrorKind::Unreachable, "No answer."));
        let response = refusal.into_response(true);
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(response.headers()[header::RETRY_AFTER], "5");
    }
}
