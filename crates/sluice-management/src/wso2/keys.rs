//! Calls on the API keys of an API of either kind. The text of a key is answered once, when it is made here.

use std::sync::Arc;

use axum::{
    Json,
    http::{HeaderMap, StatusCode},
    response::IntoResponse,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sluice_api::{ApiId, Problem, Secret};
use sluice_store::{ApiKeyRecord, Timestamp};

use super::{
    apis::{Answered, find},
    request,
    resource::Kind,
};
use crate::{
    NewApiKey, Registry, RegistryError,
    key_words::{KeySource, KeyStatus},
    refusal::Refusal,
    time::{self, Moment},
};

/// A key that is asked for, or the new text of one.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "ApiKeyRequest")]
pub(super) struct KeyRequest {
    /// 3 to 63 small letters and digits, in words joined by `-`. Made up when absent.
    #[serde(default)]
    name: Option<String>,
    /// The text, where it was made elsewhere: at least 36 characters. Made here when absent.
    #[serde(default)]
    api_key: Option<Secret>,
    /// What is shown in place of the text.
    #[serde(default)]
    masked_api_key: Option<String>,
    #[serde(default)]
    expires_in: Option<ExpiresIn>,
    /// When it ends; goes before `expiresIn`.
    #[serde(default)]
    #[schemars(with = "Option<Moment>")]
    expires_at: Option<String>,
    /// What it is called elsewhere.
    #[serde(default)]
    external_ref_id: Option<String>,
    /// Who issued it.
    #[serde(default)]
    issuer: Option<String>,
    /// What its bearer is, for policies that ask for a role; an addition to the contract.
    #[serde(default)]
    roles: Vec<String>,
}

/// When a key with a new text ends.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "ApiKeyRegeneration")]
pub(super) struct Regeneration {
    #[serde(default)]
    expires_in: Option<ExpiresIn>,
    /// When it ends; goes before `expiresIn`.
    #[serde(default)]
    #[schemars(with = "Option<Moment>")]
    expires_at: Option<String>,
}

/// A time from now on.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ExpiresIn {
    unit: Unit,
    /// How many of them, from 1.
    #[schemars(range(min = 1))]
    duration: i64,
}

#[derive(Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(rename = "ExpiryUnit")]
enum Unit {
    Seconds,
    Minutes,
    Hours,
    Days,
    Weeks,
    /// Of 30 days.
    Months,
}

/// A key that was made or changed.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "ApiKeyAnswer")]
pub(super) struct KeyAnswer {
    /// Always `success`.
    status: &'static str,
    message: &'static str,
    /// How many more keys may be made for the API.
    remaining_api_key_quota: usize,
    api_key: KeyEntity,
}

/// All keys of an API.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "ApiKeyList")]
pub(super) struct KeyList {
    /// Always `success`.
    status: &'static str,
    total_count: usize,
    api_keys: Vec<KeyEntity>,
}

/// A key as it is answered.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "ApiKey")]
struct KeyEntity {
    name: String,
    /// The text when it was just made here, else what is shown in its place.
    api_key: String,
    /// The handle of the API.
    api_id: ApiId,
    status: KeyStatus,
    created_at: Moment,
    created_by: String,
    /// Null for a key that does not end.
    expires_at: Option<Moment>,
    source: KeySource,
    #[serde(skip_serializing_if = "Option::is_none")]
    external_ref_id: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    roles: Vec<String>,
}

/// What is answered when a key was revoked.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "ApiKeyRevoked")]
pub(super) struct Revoked {
    /// Always `success`.
    status: &'static str,
    message: &'static str,
}

pub(super) async fn create(
    kind: Kind,
    registry: Registry,
    api: ApiId,
    headers: HeaderMap,
    body: &[u8],
) -> Answered {
    find(&registry, kind, &api)?;
    let wanted = request::optional::<KeyRequest>(&headers, body)?.wanted()?;
    let external = wanted.text.is_some();
    let (record, text) = registry.create_api_key(&api, wanted).await.map_err(told)?;
    let answer = answer(&registry, &record, "API key generated successfully", (!external).then_some(&text))?;
    Ok((StatusCode::CREATED, Json(answer)).into_response())
}

pub(super) fn list(kind: Kind, registry: &Registry, api: &ApiId) -> Answered {
    find(registry, kind, api)?;
    let keys = registry.api_keys(api)?;
    let api_keys: Vec<_> = keys.iter().map(|record| KeyEntity::of(record, None)).collect();
    Ok(Json(KeyList { status: "success", total_count: api_keys.len(), api_keys }).into_response())
}

pub(super) async fn regenerate(
    kind: Kind,
    registry: Registry,
    api: ApiId,
    name: String,
    headers: HeaderMap,
    body: &[u8],
) -> Answered {
    find(&registry, kind, &api)?;
    let Regeneration { expires_in, expires_at } = request::optional(&headers, body)?;
    let expires_at = expiry(expires_in.as_ref(), expires_at.as_deref())?.map(Some);
    let (record, text) = registry.regenerate_api_key(&api, &name, expires_at).await.map_err(told)?;
    Ok(Json(answer(&registry, &record, "API key regenerated successfully", Some(&text))?).into_response())
}

pub(super) async fn replace(
    kind: Kind,
    registry: Registry,
    api: ApiId,
    name: String,
    headers: HeaderMap,
    body: &[u8],
) -> Answered {
    find(&registry, kind, &api)?;
    let wanted = request::body::<KeyRequest>(&headers, body)?.wanted()?;
    let record = registry.replace_api_key(&api, &name, wanted).await.map_err(told)?;
    Ok(Json(answer(&registry, &record, "API key updated successfully", None)?).into_response())
}

pub(super) async fn revoke(kind: Kind, registry: Registry, api: ApiId, name: String) -> Answered {
    find(&registry, kind, &api)?;
    registry.revoke_api_key(&api, &name).await?;
    Ok(Json(Revoked { status: "success", message: "API key revoked successfully" }).into_response())
}

fn answer(
    registry: &Registry,
    record: &Arc<ApiKeyRecord>,
    message: &'static str,
    text: Option<&Secret>,
) -> Result<KeyAnswer, Refusal> {
    let remaining_api_key_quota = registry.remaining_api_keys(&record.api)?;
    Ok(KeyAnswer {
        status: "success",
        message,
        remaining_api_key_quota,
        api_key: KeyEntity::of(record, text),
    })
}

impl KeyEntity {
    fn of(record: &ApiKeyRecord, text: Option<&Secret>) -> Self {
        let api_key = text.map_or_else(|| record.masked.clone(), |text| text.expose().to_owned());
        Self {
            name: record.name.clone(),
            api_key,
            api_id: record.api.clone(),
            status: KeyStatus::of(record),
            created_at: Moment(record.created_at),
            created_by: record.created_by.clone(),
            expires_at: record.expires_at.map(Moment),
            source: record.source.into(),
            external_ref_id: record.external_ref.clone(),
            roles: record.roles.clone(),
        }
    }
}

impl KeyRequest {
    fn wanted(self) -> Result<NewApiKey, Problem> {
        Ok(NewApiKey {
            expires_at: expiry(self.expires_in.as_ref(), self.expires_at.as_deref())?,
            name: self.name,
            text: self.api_key,
            masked: self.masked_api_key,
            external_ref: self.external_ref_id,
            issuer: self.issuer,
            roles: self.roles,
        })
    }
}

fn expiry(span: Option<&ExpiresIn>, at: Option<&str>) -> Result<Option<Timestamp>, Problem> {
    if let Some(at) = time::read("expiresAt", at)? {
        return Ok(Some(at));
    }
    let Some(ExpiresIn { unit, duration }) = span else { return Ok(None) };
    let ms = unit.seconds().checked_mul(*duration).and_then(|seconds| seconds.checked_mul(1000));
    let end = ms.filter(|ms| *ms > 0).and_then(|ms| Timestamp::now().0.checked_add(ms));
    let end = end.ok_or_else(|| {
        Problem::new(
            "expiresIn.duration",
            "document.field",
            "Must be from 1, and end at a time that can be written.",
        )
    })?;
    Ok(Some(Timestamp(end)))
}

impl Unit {
    const fn seconds(self) -> i64 {
        match self {
            Self::Seconds => 1,
            Self::Minutes => 60,
            Self::Hours => 3600,
            Self::Days => 86_400,
            Self::Weeks => 7 * 86_400,
            Self::Months => 30 * 86_400,
        }
    }
}

/// A refusal of the registry in the fields of the contract.
fn told(error: RegistryError) -> RegistryError {
    let field = |path: &str| match path {
        "text" => "apiKey".to_owned(),
        "masked" => "maskedApiKey".to_owned(),
        "externalRef" => "externalRefId".to_owned(),
        other => other.to_owned(),
    };
    error.at(field)
}
