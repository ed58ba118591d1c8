//! The management server's front: who may come in, how large a body may be, and answers in JSON to what no
//! contract knows.

use std::sync::Arc;

use axum::{
    Router,
    extract::{DefaultBodyLimit, Request, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::get,
};

use crate::{
    Auth, ManagementOptions, Registry, auth::Admission, contract::pages, gravitee, native, refusal::Refusal,
    wso2,
};

/// The largest body that is read; larger ones get 413.
const MAX_BODY_BYTES: usize = 1 << 20;

/// Every management contract and the counters, for the administrator only.
pub fn router(registry: Registry, auth: Auth, options: ManagementOptions) -> Router {
    let contracts = gravitee::contracts().into_iter().chain([native::contract(), wso2::contract()]);
    let contracts: Vec<_> = contracts.map(Arc::new).collect();
    let served = contracts.iter().map(|contract| contract.router());
    served
        .fold(pages(&contracts), Router::merge)
        // Where clients of its earlier versions look for it.
        .merge(wso2::contract().router_at(""))
        .route("/metrics", get(metrics))
        .with_state(registry)
        .layer(wso2::shared(options))
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .layer(middleware::from_fn_with_state(auth, guard))
        .layer(middleware::from_fn(in_contract))
        .layer(middleware::from_fn(wso2::mark_older))
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
        return Refusal::new(StatusCode::FORBIDDEN, "request.crossSite", message).into_response();
    }
    let authorization = authorization(request.headers()).map(str::to_owned);
    match auth.admit(authorization.as_deref()).await {
        Admission::Granted => next.run(request).await,
        Admission::Refused => {
            let message = "Name and password of the administrator are needed, by HTTP Basic.";
            Refusal::new(StatusCode::UNAUTHORIZED, "auth.required", message).into_response()
        }
        Admission::Busy => {
            let message = "Too many passwords are being checked; try again in a moment.";
            let answer = Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "auth.busy", message);
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

/// Errors in the form of the contract whose address it is, also those that the framework answers by itself,
/// unknown addresses and methods among them.
async fn in_contract(request: Request, next: Next) -> Response {
    let uri = request.uri().clone();
    let mut response = next.run(request).await;
    if response.status().as_u16() < 400 {
        return response;
    }
    let told = response.extensions_mut().remove::<Refusal>();
    let refusal = told.unwrap_or_else(|| by_status(response.status()));
    let mut answer = if native::is_at(uri.path()) {
        native::told(&refusal)
    } else if wso2::is_at(uri.path()) {
        wso2::told(&refusal)
    } else {
        gravitee::told(uri.path(), &refusal)
    };
    *answer.status_mut() = refusal.status;
    for name in [header::ALLOW, header::RETRY_AFTER, header::WWW_AUTHENTICATE] {
        if let Some(value) = response.headers_mut().remove(&name) {
            answer.headers_mut().insert(name, value);
        }
    }
    answer
}

fn by_status(status: StatusCode) -> Refusal {
    let (code, message) = match status {
        StatusCode::NOT_FOUND => ("route.notFound", "There is nothing at this address."),
        StatusCode::METHOD_NOT_ALLOWED => {
            ("route.method", "This method is not served at this address; see the header Allow.")
        }
        StatusCode::PAYLOAD_TOO_LARGE => ("body.tooLarge", "The body is larger than 1 MiB."),
        _ => ("request.invalid", "The request can not be read."),
    };
    Refusal::new(status, code, message)
}
