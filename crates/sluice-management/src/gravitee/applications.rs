//! Calls on applications. One that is deleted is archived, and can be restored.

use axum::{
    Json,
    body::Bytes,
    extract::{Path, State},
    http::{HeaderMap, StatusCode, Uri},
    response::{IntoResponse, Response},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use sluice_api::{ApplicationId, Problem, from_value};
use sluice_store::{ApplicationRecord, Timestamp};

use super::{
    catalogue::{ApiKeyMode, ApplicationCatalogue, kept, to_keep},
    entity::Owner,
    read::unsupported,
    request::{address, parameter, texts},
    word,
};
use crate::{
    refusal::Refusal,
    request::{self, created},
    {NewApplication, Registry},
};

type Answered = Result<Response, Refusal>;

/// An application as it is written.
#[derive(Deserialize, JsonSchema)]
#[schemars(rename = "NewApplication")]
pub(super) struct Written {
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
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Application")]
pub(super) struct ApplicationEntity<'a> {
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
    pub(super) fn of(record: &'a ApplicationRecord) -> Self {
        Self {
            id: &record.id,
            name: &record.name,
            description: &record.description,
            status: status(record),
            kind: "SIMPLE",
            created_at: record.created_at,
            updated_at: record.updated_at,
            owner: Owner::administrator(),
            catalogue: kept(&record.catalogue),
            disable_membership_notifications: false,
        }
    }
}

fn status(record: &ApplicationRecord) -> &'static str {
    if record.archived_at.is_some() { "ARCHIVED" } else { "ACTIVE" }
}

pub(super) async fn create(State(registry): State<Registry>, headers: HeaderMap, body: Bytes) -> Answered {
    let application = registry.create_application(read(request::json(&body)?)?).await?;
    let address = address(&headers, &format!("applications/{}", application.id));
    Ok(created(&address, Json(ApplicationEntity::of(&application))))
}

/// Those in use, unless other ones are asked for.
pub(super) async fn list(State(registry): State<Registry>, uri: Uri) -> Answered {
    let mut statuses = parameter(&uri, "status");
    if statuses.is_empty() {
        statuses.push("active".to_owned());
    }
    if let Some(other) = statuses.iter().find(|status| !matches!(&***status, "active" | "archived")) {
        let message = format!("'{other}' is neither of ACTIVE, ARCHIVED.");
        return Err(vec![Problem::new("status", "application.status.invalid", message)].into());
    }
    let (ids, groups) = (texts(&uri, "ids"), texts(&uri, "group"));
    let query = texts(&uri, "query").join(",").to_lowercase();
    let mut applications = registry.applications();
    applications.retain(|it| {
        let in_groups = || {
            let catalogue: ApplicationCatalogue = kept(&it.catalogue);
            catalogue.groups.iter().any(|group| groups.contains(group))
        };
        statuses.contains(&word(status(it)))
            && (ids.is_empty() || ids.contains(&it.id.0))
            && (groups.is_empty() || in_groups())
            && it.name.to_lowercase().contains(&query)
    });
    Ok(Json(applications.iter().map(|it| ApplicationEntity::of(it)).collect::<Vec<_>>()).into_response())
}

pub(super) async fn get(State(registry): State<Registry>, Path(id): Path<ApplicationId>) -> Answered {
    Ok(Json(ApplicationEntity::of(&*registry.application(&id)?)).into_response())
}

pub(super) async fn update(
    State(registry): State<Registry>,
    Path(id): Path<ApplicationId>,
    body: Bytes,
) -> Answered {
    let application = registry.update_application(&id, read(request::json(&body)?)?).await?;
    Ok(Json(ApplicationEntity::of(&application)).into_response())
}

pub(super) async fn archive(State(registry): State<Registry>, Path(id): Path<ApplicationId>) -> Answered {
    registry.archive_application(&id).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

pub(super) async fn restore(State(registry): State<Registry>, Path(id): Path<ApplicationId>) -> Answered {
    let application = registry.restore_application(&id).await?;
    Ok(Json(ApplicationEntity::of(&application)).into_response())
}

fn read(document: Value) -> Result<NewApplication, Vec<Problem>> {
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
    let client_id =
        app.get("client_id").and_then(Value::as_str).filter(|id| !id.is_empty()).map(str::to_owned);
    let settings = json!({ "app": app });
    let catalogue = ApplicationCatalogue { settings, api_key_mode, domain, groups };
    Ok(NewApplication { name, description, client_id, catalogue: to_keep(&catalogue) })
}
