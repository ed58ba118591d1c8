//! API keys: calls on them, and how they are answered. A key's text is answered once, to whoever has it made.

use axum::{
    Json,
    body::Bytes,
    extract::{OriginalUri, Path, State},
    http::HeaderMap,
    response::IntoResponse,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sluice_api::{ApiId, Secret};
use sluice_store::ApiKeyRecord;

use super::apis::Answered;
use crate::{
    NewApiKey, Registry,
    key_words::{KeySource, KeyStatus},
    refusal::Refusal,
    request::{absolute, created, json, optional, read},
    time::{self, Moment},
};

/// The keys of an API.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "ApiKeyList")]
pub(super) struct ApiKeyList {
    /// By their names.
    data: Vec<ApiKeyEntity>,
    /// How many more may be made.
    remaining: usize,
}

/// A key by which clients may use an API, as far as its policies ask for keys.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "ApiKey")]
pub(super) struct ApiKeyEntity {
    name: String,
    /// What is shown of its text.
    masked: String,
    status: KeyStatus,
    /// When it ends; never when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<Moment>,
    source: KeySource,
    /// What it is called elsewhere, where it was made.
    #[serde(skip_serializing_if = "Option::is_none")]
    external_ref: Option<String>,
    /// Who issued it, for policies that take the keys of one issuer only.
    #[serde(skip_serializing_if = "Option::is_none")]
    issuer: Option<String>,
    /// What its bearer is, for policies that ask for a role.
    roles: Vec<String>,
    created_by: String,
    created_at: Moment,
    updated_at: Moment,
}

/// A key with its text, which is shown nowhere else.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "MadeApiKey")]
pub(super) struct MadeApiKey {
    #[serde(flatten)]
    key: ApiKeyEntity,
    /// What clients send.
    text: String,
}

/// A key that is asked for.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "WantedApiKey")]
pub(super) struct WantedKey {
    /// 3 to 63 small letters and digits, in words joined by `-`. Made up when absent.
    name: Option<String>,
    /// Its text, where somebody else has made it: 36 to 512 visible ASCII characters. Made here when absent.
    text: Option<Secret>,
    /// What is shown in place of the text; made of its end when absent.
    masked: Option<String>,
    /// When it ends, as `2026-11-21T04:48:04Z`; never when absent.
    expires_at: Option<String>,
    /// What it is called elsewhere.
    external_ref: Option<String>,
    /// Who issued it.
    issuer: Option<String>,
    /// What its bearer is.
    #[serde(default)]
    roles: Vec<String>,
}

/// How a key is made anew.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "RegeneratedApiKey")]
pub(super) struct Regenerated {
    /// When it ends, as `2026-11-21T04:48:04Z`; as before when absent.
    expires_at: Option<String>,
}

type KeyPath = Path<(ApiId, String)>;

pub(super) async fn list(State(registry): State<Registry>, Path(api): Path<ApiId>) -> Answered {
    let keys = registry.api_keys(&api)?;
    let data = keys.iter().map(|key| ApiKeyEntity::of(key)).collect();
    Ok(Json(ApiKeyList { data, remaining: registry.remaining_api_keys(&api)? }).into_response())
}

pub(super) async fn create(
    State(registry): State<Registry>,
    Path(api): Path<ApiId>,
    OriginalUri(uri): OriginalUri,
    headers: HeaderMap,
    body: Bytes,
) -> Answered {
    let wanted = wanted(&body)?;
    let (key, text) = registry.create_api_key(&api, wanted).await?;
    let address = format!("{}/{}", uri.path().trim_end_matches('/'), key.name);
    Ok(created(&absolute(&headers, &address), Json(MadeApiKey::of(&key, &text))))
}

pub(super) async fn replace(
    State(registry): State<Registry>,
    Path((api, name)): KeyPath,
    body: Bytes,
) -> Answered {
    let key = registry.replace_api_key(&api, &name, wanted(&body)?).await?;
    Ok(Json(ApiKeyEntity::of(&key)).into_response())
}

pub(super) async fn regenerate(
    State(registry): State<Registry>,
    Path((api, name)): KeyPath,
    body: Bytes,
) -> Answered {
    let Regenerated { expires_at } = read(&optional(&body)?)?;
    let expires_at = time::read("expiresAt", expires_at.as_deref())?;
    let (key, text) = registry.regenerate_api_key(&api, &name, expires_at.map(Some)).await?;
    Ok(Json(MadeApiKey::of(&key, &text)).into_response())
}

pub(super) async fn revoke(State(registry): State<Registry>, Path((api, name)): KeyPath) -> Answered {
    let key = registry.revoke_api_key(&api, &name).await?;
    Ok(Json(ApiKeyEntity::of(&key)).into_response())
}

fn wanted(body: &[u8]) -> Result<NewApiKey, Refusal> {
    let WantedKey { name, text, masked, expires_at, external_ref, issuer, roles } = read(&json(body)?)?;
    let expires_at = time::read("expiresAt", expires_at.as_deref())?;
    Ok(NewApiKey { name, text, masked, expires_at, external_ref, issuer, roles })
}

impl ApiKeyEntity {
    fn of(key: &ApiKeyRecord) -> Self {
        Self {
            name: key.name.clone(),
            masked: key.masked.clone(),
            status: KeyStatus::of(key),
            expires_at: key.expires_at.map(Moment),
            source: key.source.into(),
            external_ref: key.external_ref.clone(),
            issuer: key.issuer.clone(),
            roles: key.roles.clone(),
            created_by: key.created_by.clone(),
            created_at: Moment(key.created_at),
            updated_at: Moment(key.updated_at),
        }
    }
}

impl MadeApiKey {
    fn of(key: &ApiKeyRecord, text: &Secret) -> Self {
        Self { key: ApiKeyEntity::of(key), text: text.expose().to_owned() }
    }
}
