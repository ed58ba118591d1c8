//! Partial updates of an API, by JSON Merge Patch (RFC 7396) or JSON Patch (RFC 6902).
//!
//! The patch is applied to the API as it is answered; what comes out is read like the body of an update.

use axum::http::{HeaderMap, StatusCode, header};
use json_patch::{Patch, PatchOperation};
use serde_json::{Value, json};
use sluice_api::{Problem, from_value};

use crate::{gravitee::read::unsupported, refusal::Refusal};

/// The media types that are read.
pub(super) const MEDIA: [&str; 3] =
    ["application/merge-patch+json", "application/json", "application/json-patch+json"];

/// Operations in one JSON Patch.
const MAX_OPERATIONS: usize = 256;

/// What the copy operations of one JSON Patch copy together, in bytes of JSON: each could double the document.
const MAX_COPIED: usize = 1 << 20;

/// What may be patched. The rest is made by the gateway, or has calls of its own.
const PATCHABLE: [&str; 23] = [
    "apiVersion",
    "categories",
    "crossId",
    "description",
    "disableMembershipNotifications",
    "endpointGroups",
    "flowExecution",
    "flows",
    "groups",
    "guarantees",
    "labels",
    "lifecycleState",
    "limits",
    "listeners",
    "name",
    "analytics",
    "failover",
    "properties",
    "resources",
    "responseTemplates",
    "services",
    "tags",
    "visibility",
];

/// Applies a patch, of the kind that the media type says, to an API.
pub(super) fn patched(api: Value, headers: &HeaderMap, patch: Value) -> Result<Value, Refusal> {
    let media = headers.get(header::CONTENT_TYPE).and_then(|media| media.to_str().ok());
    let media = media.map_or("application/json", |media| media.split(';').next().unwrap_or(media)).trim();
    match media.to_ascii_lowercase().as_str() {
        "application/json" | "application/merge-patch+json" => Ok(without_removed(merged(api, &patch)?)),
        "application/json-patch+json" => Ok(without_removed(operated(api, patch)?)),
        _ => {
            let message = format!("A patch is of one of the media types {}.", MEDIA.join(", "));
            Err(Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "body.mediaType", message))
        }
    }
}

/// What an update leaves out may stay as it was; what a patch took away shall not.
fn without_removed(mut api: Value) -> Value {
    for field in ["limits", "guarantees"] {
        if api[field].is_null() {
            api[field] = json!({});
        }
    }
    api
}

fn merged(mut api: Value, patch: &Value) -> Result<Value, Vec<Problem>> {
    let Value::Object(fields) = patch else {
        return Err(vec![Problem::new("", "patch.invalid", "A merge patch is an object.")]);
    };
    let problems: Vec<_> = fields.keys().filter_map(|field| unpatchable(field)).collect();
    if !problems.is_empty() {
        return Err(problems);
    }
    json_patch::merge(&mut api, patch);
    Ok(api)
}

fn operated(mut api: Value, patch: Value) -> Result<Value, Vec<Problem>> {
    let Patch(operations) = from_value(patch).map_err(|problem| vec![problem])?;
    if operations.len() > MAX_OPERATIONS {
        let message = format!("A patch has at most {MAX_OPERATIONS} operations.");
        return Err(vec![Problem::new("", "patch.invalid", message)]);
    }
    let mut copied = 0;
    for (index, operation) in operations.iter().enumerate() {
        let at = format!("[{index}]");
        let field = |pointer: &str| pointer.split('/').nth(1).unwrap_or_default().to_owned();
        let changed = match operation {
            PatchOperation::Test(_) => vec![],
            PatchOperation::Move(it) => vec![field(it.from.as_str()), field(it.path.as_str())],
            other => vec![field(other.path().as_str())],
        };
        if let Some(problem) = changed.iter().find_map(|field| unpatchable(field)) {
            return Err(vec![problem.within(&at)]);
        }
        let invalid = |message: String| vec![Problem::new(&*at, "patch.invalid", message)];
        copied += copies(&api, operation);
        if copied > MAX_COPIED {
            return Err(invalid(format!("The operations up to here copy more than {MAX_COPIED} bytes.")));
        }
        json_patch::patch(&mut api, std::slice::from_ref(operation))
            .map_err(|error| invalid(format!("{error}.")))?;
    }
    Ok(api)
}

/// The bytes of JSON that an operation copies.
fn copies(api: &Value, operation: &PatchOperation) -> usize {
    let PatchOperation::Copy(copy) = operation else { return 0 };
    let value = api.pointer(copy.from.as_str());
    value.and_then(|value| serde_json::to_vec(value).ok()).map_or(0, |text| text.len())
}

fn unpatchable(field: &str) -> Option<Problem> {
    let patchable = PATCHABLE.contains(&field);
    (!patchable).then(|| unsupported(field, "Patching this field"))
}
