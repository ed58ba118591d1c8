//! The management server's front: who may come in, how large a body may be, and answers in JSON to what no
//! contract knows.

use axum::{
    Router,
    extract::{DefaultBodyLimit, Request, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::get,
};

use crate::{
    Auth, Registry,
    auth::Admission,
    gravitee::{self, ErrorAnswer},
};

/// The largest body that is read; larger ones get 413.
const MAX_BODY_BYTES: usize = 1 << 20;

/// Every management contract and the counters, for the administrator only.
pub fn router(registry: Registry, auth: Auth) -> Router {
    gravitee::routes()
        .route("/metrics", get(metrics))
        .with_state(registry)
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .layer(middleware::map_response(in_json))
        .layer(middleware::from_fn_with_state(auth, guard))
}

/// What is counted, for Prometheus.
async fn metrics(State(registry): State<Registry>) -> impl IntoResponse {
    let content_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, content_type)], registry.metrics_text())
}

async fn guard(State(auth): State<Auth>, request: Request, next: Next) -> Response {
    if is_from_elsewhere(&request) {
        let message =
            "This request was made by a page of another origin, with the credentials of whoever looks at it.";
        return ErrorAnswer::new(StatusCode::FORBIDDEN, "request.crossSite", message).into_response();
    }
    let authorization = authorization(request.headers()).map(str::to_owned);
    match auth.admit(authorization.as_deref()).await {
        Admission::Granted => next.run(request).await,
        Admission::Refused => {
            let message = "Name and password of the administrator are needed, by HTTP Basic.";
            ErrorAnswer::new(StatusCode::UNAUTHORIZED, "auth.required", message).into_response()
        }
        Admission::Busy => {
            let message = "Too many passwords are being checked; try again in a moment.";
            let answer = ErrorAnswer::new(StatusCode::SERVICE_UNAVAILABLE, "auth.busy", message);
            let mut response = answer.into_response();
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
            response
        }
    }
}

/// Whether a browser sent this on behalf of a page that does not come from here. Browsers keep Basic credentials
/// and add them to whatever any page asks for.
fn is_from_elsewhere(request: &Request) -> bool {
    let text = |name| request.headers().get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    if let Some(site) = text("sec-fetch-site") {
        return !matches!(site, "same-origin" | "none");
    }
    let origin = text("origin").map(|origin| origin.split_once("://").map_or(origin, |(_, host)| host));
    origin.is_some_and(|origin| text("host") != Some(origin))
}

fn authorization(headers: &HeaderMap) -> Option<&str> {
    headers.get(header::AUTHORIZATION)?.to_str().ok()
}

/// Errors that the framework answers by itself, unknown addresses and methods among them, in the form that
/// all others have.
async fn in_json(response: Response) -> Response {
    let status = response.status();
    let json = HeaderValue::from_static("application/json");
    if status.as_u16() < 400 || response.headers().get(header::CONTENT_TYPE) == Some(&json) {
        return response;
    }
    let (code, message) = match status {
        StatusCode::NOT_FOUND => ("route.notFound", "There is nothing at this address."),
        StatusCode::METHOD_NOT_ALLOWED => {
            ("route.method", "This method is not served at this address; see the header Allow.")
        }
        StatusCode::PAYLOAD_TOO_LARGE => ("body.tooLarge", "The body is larger than 1 MiB."),
        _ => ("request.invalid", "The request can not be read."),
    };
    let mut answer = ErrorAnswer::new(status, code, message).into_response();
    if let Some(allow) = response.headers().get(header::ALLOW) {
        answer.headers_mut().insert(header::ALLOW, allow.clone());
    }
    answer
}
