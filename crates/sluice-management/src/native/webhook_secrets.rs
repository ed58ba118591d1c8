//! Webhook secrets: calls on them, and how they are answered. A secret's text is answered once, to whoever has it made.

use std::time::Duration;

use axum::{
    Json,
    body::Bytes,
    extract::{OriginalUri, Path, State},
    http::{HeaderMap, StatusCode},
    response::IntoResponse,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sluice_api::{ApiId, Secret};
use sluice_store::{Timestamp, WebhookSecretRecord};

use super::{List, apis::Answered};
use crate::{
    Registry,
    request::{absolute, created, json, optional, read},
    time::Moment,
};

/// What the senders of webhooks sign with.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "WebhookSecret")]
pub(super) struct SecretEntity {
    name: String,
    /// For people.
    display_name: String,
    /// Until when the text is good that it had before; absent where none is.
    #[serde(skip_serializing_if = "Option::is_none")]
    former_until: Option<Moment>,
    created_at: Moment,
    updated_at: Moment,
}

/// A secret with its text, which is shown nowhere else.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "MadeWebhookSecret")]
pub(super) struct MadeSecret {
    #[serde(flatten)]
    secret: SecretEntity,
    /// What senders sign with.
    text: String,
}

/// A secret that is asked for.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "WantedWebhookSecret")]
pub(super) struct WantedSecret {
    /// 1 to 100 characters; its name is made of their ASCII letters and digits.
    display_name: String,
}

/// How a secret is made anew.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "RegeneratedWebhookSecret")]
pub(super) struct Regenerated {
    /// For how long the former text stays good: seconds up to 2,592,000 (30 days), default 86,400 (a day).
    grace_period_seconds: Option<u64>,
}

type SecretPath = Path<(ApiId, String)>;

pub(super) async fn list(State(registry): State<Registry>, Path(api): Path<ApiId>) -> Answered {
    let secrets = registry.webhook_secrets(&api)?;
    Ok(Json(List { data: secrets.iter().map(|it| SecretEntity::of(it)).collect() }).into_response())
}

pub(super) async fn create(
    State(registry): State<Registry>,
    Path(api): Path<ApiId>,
    OriginalUri(uri): OriginalUri,
    headers: HeaderMap,
    body: Bytes,
) -> Answered {
    let WantedSecret { display_name } = read(&json(&body)?)?;
    let (secret, text) = registry.create_webhook_secret(&api, &display_name).await?;
    let address = format!("{}/{}", uri.path().trim_end_matches('/'), secret.name);
    Ok(created(&absolute(&headers, &address), Json(MadeSecret::of(&secret, &text))))
}

pub(super) async fn regenerate(
    State(registry): State<Registry>,
    Path((api, name)): SecretPath,
    body: Bytes,
) -> Answered {
    let Regenerated { grace_period_seconds } = read(&optional(&body)?)?;
    let grace = grace_period_seconds.map(Duration::from_secs);
    let (secret, text) = registry.regenerate_webhook_secret(&api, &name, grace).await?;
    Ok(Json(MadeSecret::of(&secret, &text)).into_response())
}

pub(super) async fn delete(State(registry): State<Registry>, Path((api, name)): SecretPath) -> Answered {
    registry.delete_webhook_secret(&api, &name).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

impl SecretEntity {
    fn of(secret: &WebhookSecretRecord) -> Self {
        let former = secret.former.as_ref().filter(|former| former.until > Timestamp::now());
        Self {
            name: secret.name.clone(),
            display_name: secret.display_name.clone(),
            former_until: former.map(|former| Moment(former.until)),
            created_at: Moment(secret.created_at),
            updated_at: Moment(secret.updated_at),
        }
    }
}

impl MadeSecret {
    fn of(secret: &WebhookSecretRecord, text: &Secret) -> Self {
        Self { secret: SecretEntity::of(secret), text: text.expose().to_owned() }
    }
}
