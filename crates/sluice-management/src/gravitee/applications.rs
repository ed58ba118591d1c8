//! Calls on applications.

use axum::{
    Json,
    body::Bytes,
    extract::{Path, State},
    http::HeaderMap,
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use sluice_api::{Problem, from_value};
use sluice_store::{ApplicationId, ApplicationRecord, Timestamp};

use super::{
    ErrorAnswer,
    catalogue::{ApiKeyMode, ApplicationCatalogue, kept, to_keep},
    entity::Owner,
    read::unsupported,
    request::{self, address, created},
    word,
};
use crate::Registry;

type Answered = Result<Response, ErrorAnswer>;

/// An application as it is written.
#[derive(Deserialize)]
struct Written {
    name: Option<String>,
    description: Option<String>,
    settings: Option<Map<String, Value>>,
    /// Of its only kind of settings, in the older notation.
    #[serde(rename = "type")]
    kind: Option<String>,
    #[serde(rename = "clientId")]
    client_id: Option<String>,
    api_key_mode: Option<String>,
    domain: Option<String>,
    groups: Option<Vec<String>>,
}

/// An application as it is answered.
#[derive(Serialize)]
struct ApplicationEntity<'a> {
    id: &'a ApplicationId,
    name: &'a str,
    description: &'a str,
    status: &'static str,
    #[serde(rename = "type")]
    kind: &'static str,
    created_at: Timestamp,
    updated_at: Timestamp,
    owner: Owner,
    #[serde(flatten)]
    catalogue: ApplicationCatalogue,
    disable_membership_notifications: bool,
}

impl<'a> ApplicationEntity<'a> {
    fn of(record: &'a ApplicationRecord) -> Self {
        Self {
            id: &record.id,
            name: &record.name,
            description: &record.description,
            status: "ACTIVE",
            kind: "SIMPLE",
            created_at: record.created_at,
            updated_at: record.updated_at,
            owner: Owner::administrator(),
            catalogue: kept(&record.catalogue),
            disable_membership_notifications: false,
        }
    }
}

pub(super) async fn create(State(registry): State<Registry>, headers: HeaderMap, body: Bytes) -> Answered {
    let (name, description, catalogue) = read(request::json(&body)?)?;
    let application = registry.create_application(name, description, to_keep(&catalogue)).await?;
    let address = address(&headers, &format!("applications/{}", application.id));
    Ok(created(&address, Json(ApplicationEntity::of(&application))))
}

pub(super) async fn list(State(registry): State<Registry>) -> Response {
    let applications = registry.applications();
    Json(applications.iter().map(|it| ApplicationEntity::of(it)).collect::<Vec<_>>()).into_response()
}

pub(super) async fn get(State(registry): State<Registry>, Path(id): Path<ApplicationId>) -> Answered {
    Ok(Json(ApplicationEntity::of(&*registry.application(&id)?)).into_response())
}

fn read(document: Value) -> Result<(String, String, ApplicationCatalogue), Vec<Problem>> {
    let written: Written = from_value(document).map_err(|problem| vec![problem])?;
    let mut problems = Vec::new();
    let mut needed = |field: &str, text: Option<String>| {
        let text = text.unwrap_or_default();
        if text.trim().is_empty() {
            let message = format!("An application needs '{field}'.");
            problems.push(Problem::new(field, "field.required", message));
        }
        text
    };
    let (name, description) = (needed("name", written.name), needed("description", written.description));
    let settings = written.settings.unwrap_or_default();
    // Its secret would have to be registered with, and kept by, an authorization server.
    if settings.get("oauth").is_some_and(|oauth| !oauth.is_null()) {
        problems.push(unsupported("settings.oauth", "An OAuth client"));
    }
    let app = match settings.get("app") {
        None | Some(Value::Null) => {
            let given = [("type", written.kind), ("client_id", written.client_id)];
            let given = given.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?.into())));
            given.collect()
        }
        Some(Value::Object(app)) => app.clone(),
        Some(_) => {
            problems.push(Problem::new("settings.app", "document.field", "Must be an object."));
            Map::new()
        }
    };
    let api_key_mode = match written.api_key_mode.as_deref().map(word).as_deref() {
        None | Some("unspecified") => ApiKeyMode::Unspecified,
        Some("shared") => ApiKeyMode::Shared,
        Some("exclusive") => ApiKeyMode::Exclusive,
        Some(other) => {
            let message = format!("'{other}' is none of UNSPECIFIED, SHARED, EXCLUSIVE.");
            problems.push(Problem::new("api_key_mode", "document.field", message));
            ApiKeyMode::Unspecified
        }
    };
    if !problems.is_empty() {
        return Err(problems);
    }
    let (domain, groups) = (written.domain, written.groups.unwrap_or_default());
    let settings = json!({ "app": app });
    Ok((name, description, ApplicationCatalogue { settings, api_key_mode, domain, groups }))
}
