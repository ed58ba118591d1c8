//! Calls on the plans of an API.

use axum::{
    Json,
    body::Bytes,
    extract::{Path, State},
    http::{HeaderMap, StatusCode, Uri},
    response::{IntoResponse, Response},
};
use sluice_api::{ApiId, PlanId, PlanStatus, Problem};
use sluice_store::PlanRecord;

use super::{
    apis::{refuse_other_id, told},
    beyond::refuse_plan_beyond,
    catalogue::to_keep,
    plans::{PlanEntity, ReadPlan, SecurityEntity, read_plan},
    request::{address, parameter},
    word,
};
use crate::{
    refusal::Refusal,
    request::{created, json},
    {Registry, RegistryError},
};

type Answered = Result<Response, Refusal>;
type PlanPath = Path<(ApiId, PlanId)>;

pub(super) async fn create(
    State(registry): State<Registry>,
    Path(id): Path<ApiId>,
    headers: HeaderMap,
    body: Bytes,
) -> Answered {
    let ReadPlan { mut plan, catalogue } = read_plan(json(&body)?, PlanStatus::Staging, None)?;
    if !matches!(plan.status, PlanStatus::Staging | PlanStatus::Published) {
        let message = "A new plan is staging or published.";
        return Err(vec![Problem::new("status", "plan.status.invalid", message)].into());
    }
    plan.id = PlanId::default();
    let plan = registry.create_plan(&id, plan, to_keep(&catalogue)).await;
    let plan = plan.map_err(in_plan(&registry, &id))?;
    let address = address(&headers, &format!("v4/apis/{id}/plans/{}", plan.plan.id));
    Ok(created(&address, Json(PlanEntity::of(&id, &plan))))
}

pub(super) async fn list(State(registry): State<Registry>, Path(id): Path<ApiId>, uri: Uri) -> Answered {
    let (mut statuses, securities) = (parameter(&uri, "status"), parameter(&uri, "security"));
    if statuses.is_empty() {
        statuses.push("published".to_owned());
    }
    let api = registry.get(&id)?;
    let status = |record: &PlanRecord| {
        let name = serde_json::to_value(record.plan.status).ok();
        name.and_then(|name| name.as_str().map(word)).unwrap_or_default()
    };
    let plans = api.record.plans.iter().filter(|record| {
        let security = SecurityEntity::of(&record.plan.security).kind;
        statuses.contains(&status(record))
            && (securities.is_empty() || securities.iter().any(|asked| asked == security))
    });
    Ok(Json(plans.map(|plan| PlanEntity::of(&id, plan)).collect::<Vec<_>>()).into_response())
}

pub(super) async fn get(State(registry): State<Registry>, Path((api, plan)): PlanPath) -> Answered {
    let api = registry.get(&api)?;
    Ok(Json(PlanEntity::of(api.record.id(), api.plan(&plan)?)).into_response())
}

pub(super) async fn update(
    State(registry): State<Registry>,
    Path((api, id)): PlanPath,
    body: Bytes,
) -> Answered {
    let owner = registry.get(&api)?;
    let former = &owner.plan(&id)?.plan;
    refuse_plan_beyond(former)?;
    let ReadPlan { mut plan, catalogue } = read_plan(json(&body)?, former.status, Some(former))?;
    refuse_other_id(&plan.id.0, &id.0)?;
    plan.id = id;
    let plan = registry.update_plan(&api, plan, to_keep(&catalogue)).await;
    Ok(Json(PlanEntity::of(&api, &plan.map_err(in_plan(&registry, &api))?)).into_response())
}

pub(super) async fn publish(State(registry): State<Registry>, Path((api, plan)): PlanPath) -> Answered {
    let plan = registry.publish_plan(&api, &plan).await.map_err(in_plan(&registry, &api))?;
    Ok(Json(PlanEntity::of(&api, &plan)).into_response())
}

pub(super) async fn deprecate(State(registry): State<Registry>, Path((api, plan)): PlanPath) -> Answered {
    let plan = registry.deprecate_plan(&api, &plan).await.map_err(in_plan(&registry, &api))?;
    Ok(Json(PlanEntity::of(&api, &plan)).into_response())
}

pub(super) async fn close(State(registry): State<Registry>, Path((api, plan)): PlanPath) -> Answered {
    let plan = registry.close_plan(&api, &plan).await.map_err(in_plan(&registry, &api))?;
    Ok(Json(PlanEntity::of(&api, &plan)).into_response())
}

pub(super) async fn delete(State(registry): State<Registry>, Path((api, plan)): PlanPath) -> Answered {
    registry.delete_plan(&api, &plan).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// An error at the fields of the one plan that the call is about.
pub(super) fn in_plan(registry: &Registry, api: &ApiId) -> impl Fn(RegistryError) -> RegistryError {
    let told = told(registry, api);
    move |error| match told(error) {
        RegistryError::Invalid(problems) => {
            let alone = |path: &str| match path.strip_prefix("plans[").and_then(|rest| rest.split_once("]."))
            {
                Some((_, field)) => field.to_owned(),
                None => path.to_owned(),
            };
            let problems = problems.into_iter().map(|it| Problem { path: alone(&it.path), ..it });
            RegistryError::Invalid(problems.collect())
        }
        other => other,
    }
}
