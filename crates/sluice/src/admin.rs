//! The admin address: whether the process lives, whether it serves, and its counters. Without a password, so that
//! orchestrators and scrapers can ask; nothing can be changed here, and nothing secret is told.

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use serde_json::{Value, json};
use sluice_gateway::Gateway;
use sluice_management::Registry;

const STARTING: u8 = 0;
const SERVING: u8 = 1;
const STOPPING: u8 = 2;

/// Answers requests to the admin address. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Admin {
    phase: Arc<AtomicU8>,
    gateway: Gateway,
    registry: Registry,
}

impl Admin {
    /// Of a process that is starting.
    pub(crate) fn new(gateway: Gateway, registry: Registry) -> Self {
        Self { phase: Arc::new(AtomicU8::new(STARTING)), gateway, registry }
    }

    /// Everything that was to be served has been tried.
    pub(crate) fn serves(&self) {
        self.phase.store(SERVING, Ordering::Relaxed);
    }

    /// No new request is to be sent here.
    pub(crate) fn stops(&self) {
        self.phase.store(STOPPING, Ordering::Relaxed);
    }

    /// Answers one request.
    pub(crate) async fn answer<B>(self, request: Request<B>) -> Result<Response<Full<Bytes>>, Infallible> {
        let known = matches!(request.uri().path(), "/health" | "/ready" | "/metrics");
        let mut answer = match (request.method(), request.uri().path()) {
            (_, _) if !known => json_answer(
                StatusCode::NOT_FOUND,
                &json!({
                    "code": "route.notFound",
                    "message": "There is nothing at this address; try /health, /ready or /metrics.",
                }),
            ),
            (method, _) if method != Method::GET && method != Method::HEAD => {
                let text = "Only GET and HEAD are served here.";
                let mut answer = json_answer(
                    StatusCode::METHOD_NOT_ALLOWED,
                    &json!({ "code": "route.method", "message": text }),
                );
                answer.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
                answer
            }
            (_, "/health") => json_answer(StatusCode::OK, &json!({ "status": "UP" })),
            (_, "/ready") => self.ready().await,
            _ => self.metrics(),
        };
        answer.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        Ok(answer)
    }

    /// 200 once everything that can be served is, 503 before and while the process stops. What cannot be served, for a
    /// fault of its own or because its broker is away, is named and keeps nobody from the others.
    async fn ready(&self) -> Response<Full<Bytes>> {
        let not_up = self.not_up().await;
        // Asked last: what was not up while the process was starting may be by now.
        let serves = self.phase.load(Ordering::Relaxed) == SERVING;
        let (status, word) = match serves {
            true => (StatusCode::OK, "READY"),
            false => (StatusCode::SERVICE_UNAVAILABLE, "NOT_READY"),
        };
        json_answer(status, &json!({ "status": word, "notUp": not_up }))
    }

    async fn not_up(&self) -> Vec<Value> {
        let silent = self.gateway.unreachable().await;
        let mut not_up: Vec<_> = silent
            .into_iter()
            .map(|(api, fault)| json!({ "api": api.0, "code": fault.code, "reason": fault.reason }))
            .collect();
        for (api, reason) in self.registry.not_served() {
            not_up.push(json!({ "api": api.0, "code": "api.notServed", "reason": reason }));
        }
        for (file, reason) in self.registry.refused_files() {
            let name = file.file_name().unwrap_or(file.as_os_str()).to_string_lossy();
            not_up.push(json!({ "file": name, "code": "api.notServed", "reason": reason }));
        }
        not_up
    }

    fn metrics(&self) -> Response<Full<Bytes>> {
        let mut answer = Response::new(Full::new(self.registry.metrics_text().into()));
        let content_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
        answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
        answer
    }
}

fn json_answer(status: StatusCode, body: &Value) -> Response<Full<Bytes>> {
    let mut answer = Response::new(Full::new(body.to_string().into()));
    *answer.status_mut() = status;
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    answer
}
