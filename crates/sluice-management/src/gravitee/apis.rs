//! Calls on APIs.

use axum::{
    Json,
    body::Bytes,
    extract::{Path, State},
    http::{HeaderMap, StatusCode, Uri},
    response::{IntoResponse, Response},
};
use schemars::JsonSchema;
use serde::Deserialize;
use sluice_api::{ApiId, Problem, from_value};

use super::{
    beyond::refuse_beyond,
    catalogue::to_keep,
    entity::{Answer, ApiEntity},
    fields::Fields,
    plans::ReadPlan,
    read::{ReadApi, Reading, keep_additions, read_api, unsupported},
    request::{address, parameter},
};
use crate::{
    refusal::Refusal,
    request::{created, expected, json, versioned},
    {ManagedApi, Registry, RegistryError},
};

type Answered = Result<Response, Refusal>;

/// A label for people, as long as the contract allows.
const MAX_LABEL: usize = 32;

pub(super) async fn create(State(registry): State<Registry>, headers: HeaderMap, body: Bytes) -> Answered {
    let ReadApi { mut api, catalogue, plans } = read_api(json(&body)?, Reading::Create)?;
    if !plans.is_empty() {
        return Err(
            vec![unsupported("plans", "A plan in the body of a create (add it to the API's plans)")].into()
        );
    }
    // The contract gives every API an id of its own.
    api.id = ApiId::default();
    let fields = Fields::of(&api);
    let api = registry.create(api, to_keep(&catalogue)).await.map_err(|error| fields.rename(error))?;
    let address = address(&headers, &format!("v4/apis/{}", api.record.id()));
    Ok(created(&address, Json(ApiEntity::of(&api, Answer::Created))))
}

pub(super) async fn list(State(registry): State<Registry>, headers: HeaderMap) -> Response {
    let apis = registry.list();
    let urls: Vec<_> = apis.iter().map(|api| url(api, &headers)).collect();
    let entities = apis.iter().zip(&urls);
    let entities: Vec<_> = entities.map(|(api, url)| ApiEntity::of(api, Answer::Read { url })).collect();
    Json(entities).into_response()
}

pub(super) async fn get(
    State(registry): State<Registry>,
    Path(id): Path<ApiId>,
    headers: HeaderMap,
) -> Answered {
    Ok(shown(&*registry.get(&id)?, &headers))
}

pub(super) async fn update(
    State(registry): State<Registry>,
    Path(id): Path<ApiId>,
    headers: HeaderMap,
    body: Bytes,
) -> Answered {
    let former = registry.get(&id)?;
    refuse_beyond(&former.record.draft)?;
    let mut document = json(&body)?;
    keep_additions(&mut document, &former.record.draft);
    let ReadApi { api, catalogue, plans } = read_api(document, Reading::Update)?;
    refuse_other_id(&api.id.0, &id.0)?;
    refuse_plan_changes(&former, &plans)?;
    let fields = Fields::of(&api);
    let api = registry.update(&id, expected(&headers), api, to_keep(&catalogue)).await;
    let api = api.map_err(|error| fields.rename(error))?;
    Ok(shown(&api, &headers))
}

/// An error in the fields of the API as it is now.
pub(super) fn told(registry: &Registry, id: &ApiId) -> impl Fn(RegistryError) -> RegistryError {
    let fields = registry.get(id).map(|api| Fields::of(&api.record.draft)).unwrap_or_default();
    move |error| fields.rename(error)
}

/// A body may leave its id out, but not name another.
pub(super) fn refuse_other_id(body: &str, address: &str) -> Result<(), Refusal> {
    if body.is_empty() || body == address {
        return Ok(());
    }
    let message = format!("The body is of [{body}], the address of [{address}].");
    Err(vec![Problem::new("id", "id.mismatch", message)].into())
}

/// A client may send back the plans that it was shown; changing them has a call of its own.
fn refuse_plan_changes(api: &ManagedApi, plans: &[ReadPlan]) -> Result<(), Refusal> {
    for (index, plan) in plans.iter().enumerate() {
        if !api.plan(&plan.plan.id).is_ok_and(|record| plan.shows(record)) {
            let what = "A new or changed plan in the body of an API (use the API's plans)";
            return Err(vec![unsupported(format!("plans[{index}]"), what)].into());
        }
    }
    Ok(())
}

pub(super) async fn act(
    State(registry): State<Registry>,
    Path(id): Path<ApiId>,
    headers: HeaderMap,
    uri: Uri,
) -> Answered {
    let action = parameter(&uri, "action");
    let api = match action.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["start"] => registry.start(&id, expected(&headers)).await.map_err(told(&registry, &id))?,
        ["stop"] => registry.stop(&id, expected(&headers)).await.map_err(told(&registry, &id))?,
        _ => {
            let message = "Say what to do: ?action=START or ?action=STOP.";
            return Err(vec![Problem::new("action", "action.invalid", message)].into());
        }
    };
    Ok(versioned(api.record.updated_at, StatusCode::NO_CONTENT))
}

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Deployment {
    deployment_label: Option<String>,
}

pub(super) async fn deploy(
    State(registry): State<Registry>,
    Path(id): Path<ApiId>,
    headers: HeaderMap,
    body: Bytes,
) -> Answered {
    if !body.trim_ascii().is_empty() {
        let deployment: Deployment = from_value(json(&body)?).map_err(|problem| vec![problem])?;
        let label = deployment.deployment_label.unwrap_or_default();
        if label.chars().count() > MAX_LABEL {
            let message = format!("A label has at most {MAX_LABEL} characters.");
            return Err(vec![Problem::new("deploymentLabel", "deployment.label.invalid", message)].into());
        }
        tracing::info!(api = %id, label, "A deployment was asked for.");
    }
    let api = registry.deploy(&id, expected(&headers)).await.map_err(told(&registry, &id))?;
    Ok(versioned(api.record.updated_at, Json(ApiEntity::of(&api, Answer::Deployed))))
}

pub(super) async fn delete(
    State(registry): State<Registry>,
    Path(id): Path<ApiId>,
    headers: HeaderMap,
    uri: Uri,
) -> Answered {
    let close_plans = parameter(&uri, "closePlans") == ["true"];
    registry.delete(&id, expected(&headers), close_plans).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// No API has an image; the addresses are there because answers name them.
pub(super) async fn image(State(registry): State<Registry>, Path(id): Path<ApiId>) -> Answered {
    registry.get(&id)?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

fn shown(api: &ManagedApi, headers: &HeaderMap) -> Response {
    let url = url(api, headers);
    versioned(api.record.updated_at, Json(ApiEntity::of(api, Answer::Read { url: &url })))
}

fn url(api: &ManagedApi, headers: &HeaderMap) -> String {
    address(headers, &format!("v4/apis/{}", api.record.id()))
}
