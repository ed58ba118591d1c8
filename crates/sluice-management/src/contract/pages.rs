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
pub(crate) fn pages(contracts: &[Contract]) -> Router<Registry> {
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
        let document = Arc::new(document(contract));
        let as_json = Arc::clone(&document);
        router = router
            .route(&json_at, get(async move || Json((*as_json).clone())))
            .route(&yaml_at, get(async move || yaml(&document)));
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
