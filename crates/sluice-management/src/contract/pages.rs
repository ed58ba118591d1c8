//! Where the documents of the contracts are read, and the list of them.

use std::sync::Arc;

use axum::{
    Json, Router,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use serde_json::{Value, json};

use super::{Contract, openapi::document};
use crate::Registry;

/// Each contract's document in JSON and YAML, and the list of contracts at `/management`.
///
/// A document is made when it is asked for, which is seldom: kept, it would be the largest thing in an idle gateway.
pub(crate) fn pages(contracts: &[Arc<Contract>]) -> Router<Registry> {
    let mut router = Router::new();
    let mut listed = Vec::new();
    for contract in contracts {
        let (json_at, yaml_at) =
            (format!("{}.json", contract.document), format!("{}.yaml", contract.document));
        listed.push(json!({
            "title": contract.title,
            "bases": contract.bases,
            "openapi": [json_at, yaml_at],
        }));
        let (as_json, as_yaml) = (Arc::clone(contract), Arc::clone(contract));
        router = router
            .route(&json_at, get(async move || Json(document(&as_json))))
            .route(&yaml_at, get(async move || yaml(&document(&as_yaml))));
    }
    let listed = json!({ "contracts": listed });
    let list = get(async move || Json(listed));
    router.route("/management/", list.clone()).route("/management", list)
}

fn yaml(document: &Value) -> Response {
    match serde_saphyr::to_string(document) {
        Ok(text) => ([(header::CONTENT_TYPE, "application/yaml")], text).into_response(),
        Err(error) => {
            tracing::error!(%error, "A document can not be written as YAML.");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}
