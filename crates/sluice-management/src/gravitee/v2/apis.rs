//! Calls on APIs.

use axum::{
    Json,
    body::Bytes,
    extract::{OriginalUri, Path, State},
    http::{HeaderMap, StatusCode, Uri},
    response::{IntoResponse, Response},
};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;
use sluice_api::{ApiId, EventApi, HttpPath, Problem};
use sluice_store::Catalogue;

use super::{BASE, api::ApiEntity, patch::patched};
use crate::{
    Expected, ManagedApi, Registry, RegistryError,
    gravitee::{
        apis::{refuse_other_id, told},
        beyond::refuse_beyond,
        catalogue::{ApiCatalogue, kept, to_keep},
        fields::Fields,
        plans::ReadPlan,
        read::{ReadApi, Reading, keep_additions, read_api, unsupported},
    },
    page::{Asked, Page},
    refusal::Refusal,
    request::{absolute, created, expected, json, parameter, read, versioned},
};

pub(super) type Answered = Result<Response, Refusal>;

/// A label for people, as long as the contract allows.
const MAX_LABEL: usize = 32;

/// How often a change is made anew because another came between. Each time at least one of them is kept.
const MAX_TRIES: usize = 64;

/// The address of an API of this contract, as the client that asks would write it.
pub(super) fn url(api: &ApiId, headers: &HeaderMap) -> String {
    absolute(headers, &format!("{BASE}/environments/DEFAULT/apis/{api}"))
}

pub(super) fn shown(api: &ManagedApi, headers: &HeaderMap) -> ApiEntity {
    ApiEntity::of(api, &url(api.record.id(), headers))
}

pub(super) async fn create(State(registry): State<Registry>, headers: HeaderMap, body: Bytes) -> Answered {
    let document = json(&body)?;
    let about = |error: Refusal| error.about(&document);
    let ReadApi { mut api, catalogue, plans } =
        read_api(document.clone(), Reading::Later).map_err(|problems| about(problems.into()))?;
    refuse_plans(&plans)?;
    // The contract gives every API an id of its own.
    api.id = ApiId::default();
    let fields = Fields::of(&api);
    let created_api = registry.create(api, to_keep(&catalogue)).await;
    let api = created_api.map_err(|error| about(fields.rename(error).into()))?;
    Ok(created(&url(api.record.id(), &headers), Json(shown(&api, &headers))))
}

/// Plans have calls of their own.
fn refuse_plans(plans: &[ReadPlan]) -> Result<(), Refusal> {
    if plans.is_empty() {
        return Ok(());
    }
    Err(vec![unsupported("plans", "A plan in the body of an API (use the API's plans)")].into())
}

pub(super) async fn list(
    State(registry): State<Registry>,
    OriginalUri(uri): OriginalUri,
    headers: HeaderMap,
) -> Answered {
    let asked = Asked::of(&uri)?;
    let page = Page::of(asked, &registry.list(), &uri, &headers, |api| shown(api, &headers));
    Ok(Json(page).into_response())
}

pub(super) async fn get(
    State(registry): State<Registry>,
    Path(id): Path<ApiId>,
    headers: HeaderMap,
) -> Answered {
    Ok(answer(&*registry.get(&id)?, &headers))
}

pub(super) fn answer(api: &ManagedApi, headers: &HeaderMap) -> Response {
    versioned(api.record.updated_at, Json(shown(api, headers)))
}

pub(super) async fn update(
    State(registry): State<Registry>,
    Path(id): Path<ApiId>,
    headers: HeaderMap,
    body: Bytes,
) -> Answered {
    let document = json(&body)?;
    change(&registry, &id, &headers, |_| Ok(document.clone())).await
}

pub(super) async fn patch(
    State(registry): State<Registry>,
    Path(id): Path<ApiId>,
    headers: HeaderMap,
    uri: Uri,
    body: Bytes,
) -> Answered {
    if parameter(&uri, "dryRun").is_some_and(|value| value != "false") {
        return Err(vec![unsupported("dryRun", "A patch that is only tried")].into());
    }
    let patch = json(&body)?;
    let document = |former: &ManagedApi| {
        let shown = serde_json::to_value(shown(former, &headers)).unwrap_or_default();
        patched(shown, &headers, patch.clone())
    };
    change(&registry, &id, &headers, document).await
}

/// Replaces the draft of an API by a document that is made of what is there. When another change comes between,
/// it is made anew, so that neither is lost.
async fn change(
    registry: &Registry,
    id: &ApiId,
    headers: &HeaderMap,
    document: impl Fn(&ManagedApi) -> Result<Value, Refusal>,
) -> Answered {
    let asked = expected(headers);
    let mut tries = MAX_TRIES;
    loop {
        tries -= 1;
        let former = registry.get(id)?;
        refuse_beyond(&former.record.draft)?;
        let document = document(&former)?;
        let about = |error: Refusal| error.about(&document);
        let (draft, catalogue) = draft(&former, &document).map_err(about)?;
        let fields = Fields::of(&draft);
        let read = match &asked {
            Expected::Any => Expected::UpdatedAt(vec![former.record.updated_at]),
            Expected::UpdatedAt(_) => asked.clone(),
        };
        match registry.update(id, read, draft, catalogue).await {
            Err(RegistryError::Outdated(_)) if asked == Expected::Any && tries > 0 => {}
            Err(error) => return Err(about(fields.rename(error).into())),
            Ok(api) => return Ok(answer(&api, headers)),
        }
    }
}

/// What a document says of an API. What it leaves out of what is for people stays as it was.
fn draft(former: &ManagedApi, document: &Value) -> Result<(EventApi, Catalogue), Refusal> {
    let mut whole = document.clone();
    keep_additions(&mut whole, &former.record.draft);
    if let Value::Object(fields) = &mut whole {
        let kept: ApiCatalogue = kept(&former.record.catalogue);
        let kept = to_keep(&kept);
        for field in ["visibility", "lifecycleState"] {
            if fields.get(field).is_none_or(Value::is_null) {
                fields.insert(field.to_owned(), kept.get(field).cloned().unwrap_or_default());
            }
        }
    }
    let draft = read_api(whole, Reading::Later)?;
    refuse_other_id(&draft.api.id.0, &former.record.id().0)?;
    refuse_plans(&draft.plans)?;
    Ok((draft.api, to_keep(&draft.catalogue)))
}

pub(super) async fn start(
    State(registry): State<Registry>,
    Path(id): Path<ApiId>,
    headers: HeaderMap,
) -> Answered {
    let api = registry.start(&id, expected(&headers)).await.map_err(told(&registry, &id))?;
    Ok(versioned(api.record.updated_at, StatusCode::NO_CONTENT))
}

pub(super) async fn stop(
    State(registry): State<Registry>,
    Path(id): Path<ApiId>,
    headers: HeaderMap,
) -> Answered {
    let api = registry.stop(&id, expected(&headers)).await.map_err(told(&registry, &id))?;
    Ok(versioned(api.record.updated_at, StatusCode::NO_CONTENT))
}

/// A deployment that is asked for.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Deployment {
    /// For people and the log.
    #[schemars(length(max = MAX_LABEL))]
    deployment_label: Option<String>,
}

pub(super) async fn deploy(
    State(registry): State<Registry>,
    Path(id): Path<ApiId>,
    headers: HeaderMap,
    body: Bytes,
) -> Answered {
    if !body.trim_ascii().is_empty() {
        let deployment: Deployment = read(&json(&body)?)?;
        let label = deployment.deployment_label.unwrap_or_default();
        if label.chars().count() > MAX_LABEL {
            let message = format!("A label has at most {MAX_LABEL} characters.");
            return Err(vec![Problem::new("deploymentLabel", "deployment.label.invalid", message)].into());
        }
        tracing::info!(api = %id, label, "A deployment was asked for.");
    }
    let api = registry.deploy(&id, expected(&headers)).await.map_err(told(&registry, &id))?;
    Ok(versioned(api.record.updated_at, StatusCode::ACCEPTED))
}

pub(super) async fn delete(
    State(registry): State<Registry>,
    Path(id): Path<ApiId>,
    headers: HeaderMap,
    uri: Uri,
) -> Answered {
    let close_plans = parameter(&uri, "closePlans").is_some_and(|value| value.eq_ignore_ascii_case("true"));
    registry.delete(&id, expected(&headers), close_plans).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// Paths that an API could have.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct WantedPaths {
    /// The API that is to have them, where it is there already.
    api_id: Option<ApiId>,
    /// The paths.
    paths: Vec<WantedPath>,
}

#[derive(Deserialize, JsonSchema)]
struct WantedPath {
    /// Every host when absent.
    host: Option<String>,
    /// Default `/`.
    path: Option<String>,
}

/// Whether something is possible.
#[derive(serde::Serialize, JsonSchema)]
pub(super) struct Verification {
    pub(super) ok: bool,
    /// Why not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) reason: Option<String>,
}

pub(super) async fn verify_paths(State(registry): State<Registry>, body: Bytes) -> Answered {
    let wanted: WantedPaths = read(&json(&body)?)?;
    let path = |wanted: WantedPath| HttpPath {
        host: wanted.host.filter(|host| !host.is_empty()),
        path: wanted.path.unwrap_or_else(|| "/".to_owned()),
    };
    let paths: Vec<_> = wanted.paths.into_iter().map(path).collect();
    let problems = registry.path_problems(wanted.api_id.as_ref(), &paths);
    let reason = problems.first().map(|problem| problem.message.clone());
    Ok(Json(Verification { ok: reason.is_none(), reason }).into_response())
}

/// No API has an image; the addresses are there because answers name them.
pub(super) async fn image(State(registry): State<Registry>, Path(id): Path<ApiId>) -> Answered {
    registry.get(&id)?;
    Ok(StatusCode::NO_CONTENT.into_response())
}
