//! The management contract of `WebSubApi` and `WebBrokerApi` resources, as existing clients know it: paths, bodies, status
//! codes, errors.
//!
//! A resource is read strictly, its templates are filled in, and it becomes an event API like any other; the registry
//! and [`EventApi::validate`](sluice_api::EventApi::validate) decide what is allowed. What was written is kept beside
//! the API and answered.

mod apis;
mod broker;
mod entity;
mod error;
mod fields;
mod keys;
mod policy;
mod render;
mod request;
mod resource;
mod routes;
mod secrets;
mod stale;
mod topics;
mod translate;
mod webbroker;
mod websub;

use std::sync::Arc;

use axum::{
    Extension, Json,
    extract::Request,
    http::{HeaderMap, HeaderValue, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use serde_json::Value;
use sluice_api::{EventApi, Problem};
use tokio::sync::Mutex;

use crate::{ManagementOptions, refusal::Refusal};
use resource::{DeploymentState, Kind};

pub(crate) use routes::contract;

/// Where every address of the contract begins.
const BASE: &str = "/api/management/v1";

/// What older clients call at the root.
const AT_ROOT: [&str; 2] = ["/websub-apis", "/webbroker-apis"];

/// What the calls share beside the registry.
struct Dialect {
    options: ManagementOptions,
    /// Held by the one change of a resource that is under way: it is more than one step of the registry.
    changing: Mutex<()>,
}

/// What the calls of the contract need, as a layer around them.
pub(crate) fn shared(options: ManagementOptions) -> Extension<impl Clone + Send + Sync + 'static> {
    Extension(Arc::new(Dialect { options, changing: Mutex::default() }))
}

/// Whether an address belongs to the contract.
pub(crate) fn is_at(path: &str) -> bool {
    is_below(path, BASE) || is_older(path)
}

fn is_older(path: &str) -> bool {
    AT_ROOT.iter().any(|base| is_below(path, base))
}

fn is_below(path: &str, base: &str) -> bool {
    path.strip_prefix(base).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// The body that tells a refusal.
pub(crate) fn told(refusal: &Refusal) -> Response {
    Json(error::Error::of(refusal)).into_response()
}

/// Marks the answers at older addresses with the one that is to be used.
pub(crate) async fn mark_older(request: Request, next: Next) -> Response {
    let path = request.uri().path().to_owned();
    let mut response = next.run(request).await;
    if is_older(&path) {
        mark(response.headers_mut(), &path);
    }
    response
}

fn mark(headers: &mut HeaderMap, path: &str) {
    let warning = format!("299 - \"This address is deprecated; use {BASE}{path}.\"");
    let link = format!("<{BASE}{path}>; rel=\"successor-version\"");
    headers.insert("deprecation", HeaderValue::from_static("true"));
    for (name, value) in [(header::LINK, link), (header::WARNING, warning)] {
        if let Ok(value) = HeaderValue::from_str(&value) {
            headers.insert(name, value);
        }
    }
}

/// Whether a document is a resource: no other notation has these fields.
pub(crate) fn is_resource(document: &Value) -> bool {
    ["kind", "spec"].iter().any(|field| document.get(field).is_some())
}

/// Reads a resource from a file.
pub(crate) fn read_file(document: Value, options: &ManagementOptions) -> Result<EventApi, Vec<Problem>> {
    let named = document.get("kind").and_then(Value::as_str).unwrap_or_default();
    let Some(kind) = Kind::named(named) else {
        let message = format!("There is no kind '{named}'. Known are: WebSubApi, WebBrokerApi.");
        return Err(vec![Problem::new("kind", "resource.invalid", message)]);
    };
    let read = translate::read(document, kind, options)?;
    if read.state == DeploymentState::Undeployed {
        let message = "What stands in a file is served; take the file away instead.";
        return Err(vec![Problem::new("spec.deploymentState", "feature.unsupported", message)]);
    }
    Ok(read.api)
}
