//! Calls on the webhook secrets of a `WebSubApi`. The text of one is answered once, when it is made.

use std::time::Duration;

use axum::{
    Json,
    http::{HeaderMap, StatusCode},
    response::IntoResponse,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sluice_api::{ApiId, Secret};
use sluice_store::WebhookSecretRecord;

use super::{
    apis::{Answered, find},
    request,
    resource::Kind,
};
use crate::{Registry, time::Moment};

/// A secret that is asked for.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "WebhookSecretRequest")]
pub(super) struct SecretRequest {
    /// What it is called: 1 to 100 characters. Its name is made of this.
    #[schemars(length(min = 1, max = 100))]
    display_name: String,
}

/// How a secret gets another text.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "WebhookSecretRegeneration")]
pub(super) struct Regeneration {
    /// Seconds that the former text is good for beside the new one; a day when absent. An addition to the contract.
    #[serde(default)]
    grace_period_seconds: Option<u64>,
}

/// A secret that was made or has another text.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "WebhookSecretAnswer")]
pub(super) struct SecretAnswer {
    /// Always `success`.
    status: &'static str,
    message: &'static str,
    /// The text; answered this once.
    secret: String,
    webhook_secret: SecretEntity,
}

/// All secrets of an API.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "WebhookSecretList")]
pub(super) struct SecretList {
    /// Always `success`.
    status: &'static str,
    total_count: usize,
    secrets: Vec<SecretEntity>,
}

/// A secret without its text.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "WebhookSecret")]
struct SecretEntity {
    name: String,
    display_name: String,
    /// Always `active`: one that is deleted is not kept.
    status: &'static str,
    created_at: Moment,
    updated_at: Moment,
    /// Until when the former text is good, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    former_until: Option<Moment>,
}

impl SecretEntity {
    fn of(record: &WebhookSecretRecord) -> Self {
        let now = sluice_store::Timestamp::now();
        let former_until = record.former.as_ref().map(|former| former.until).filter(|until| *until > now);
        Self {
            name: record.name.clone(),
            display_name: record.display_name.clone(),
            status: "active",
            created_at: Moment(record.created_at),
            updated_at: Moment(record.updated_at),
            former_until: former_until.map(Moment),
        }
    }
}

fn answer(record: &WebhookSecretRecord, text: &Secret, message: &'static str) -> Json<SecretAnswer> {
    let secret = text.expose().to_owned();
    Json(SecretAnswer { status: "success", message, secret, webhook_secret: SecretEntity::of(record) })
}

pub(super) async fn create(registry: Registry, api: ApiId, headers: HeaderMap, body: &[u8]) -> Answered {
    find(&registry, Kind::WebSubApi, &api)?;
    let SecretRequest { display_name } = request::body(&headers, body)?;
    let (record, text) = registry.create_webhook_secret(&api, &display_name).await?;
    Ok((StatusCode::CREATED, answer(&record, &text, "Webhook secret generated successfully")).into_response())
}

pub(super) fn list(registry: &Registry, api: &ApiId) -> Answered {
    find(registry, Kind::WebSubApi, api)?;
    let records = registry.webhook_secrets(api)?;
    let secrets: Vec<_> = records.iter().map(|record| SecretEntity::of(record)).collect();
    Ok(Json(SecretList { status: "success", total_count: secrets.len(), secrets }).into_response())
}

pub(super) async fn regenerate(
    registry: Registry,
    api: ApiId,
    name: String,
    headers: HeaderMap,
    body: &[u8],
) -> Answered {
    find(&registry, Kind::WebSubApi, &api)?;
    let Regeneration { grace_period_seconds } = request::optional(&headers, body)?;
    let grace = grace_period_seconds.map(Duration::from_secs);
    let (record, text) = registry.regenerate_webhook_secret(&api, &name, grace).await?;
    Ok(answer(&record, &text, "Webhook secret regenerated successfully").into_response())
}

pub(super) async fn delete(registry: Registry, api: ApiId, name: String) -> Answered {
    find(&registry, Kind::WebSubApi, &api)?;
    registry.delete_webhook_secret(&api, &name).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}
