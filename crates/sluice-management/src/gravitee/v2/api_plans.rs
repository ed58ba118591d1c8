//! Calls on the plans of an API.

use axum::{
    Json,
    body::Bytes,
    extract::{OriginalUri, Path, State},
    http::{HeaderMap, StatusCode},
    response::IntoResponse,
};
use sluice_api::{ApiId, PlanId, PlanStatus, Problem};
use sluice_store::PlanRecord;

use super::{
    apis::{Answered, url},
    plan::{PlanEntity, mode, security, status},
    upper,
};
use crate::{
    Registry,
    gravitee::{
        apis::refuse_other_id,
        beyond::refuse_plan_beyond,
        catalogue::{PlanCatalogue, kept, to_keep},
        plan_calls::in_plan,
        plans::{ReadPlan, read_plan},
    },
    page::{Asked, Page},
    refusal::Refusal,
    request::{created, json, parameters, versioned},
};

type PlanPath = Path<(ApiId, PlanId)>;

pub(super) async fn create(
    State(registry): State<Registry>,
    Path(id): Path<ApiId>,
    headers: HeaderMap,
    body: Bytes,
) -> Answered {
    let document = json(&body)?;
    let about = |error: Refusal| error.about(&document);
    let ReadPlan { mut plan, catalogue } =
        read_plan(document.clone(), PlanStatus::Staging, None).map_err(|problems| about(problems.into()))?;
    if !matches!(plan.status, PlanStatus::Staging | PlanStatus::Published) {
        let problem = Problem::new("status", "plan.status.invalid", "A new plan is staging or published.");
        return Err(about(vec![problem].into()));
    }
    plan.id = PlanId::default();
    let plan = registry.create_plan(&id, plan, to_keep(&catalogue)).await;
    let plan = plan.map_err(|error| about(in_plan(&registry, &id)(error).into()))?;
    let address = format!("{}/plans/{}", url(&id, &headers), plan.plan.id);
    Ok(created(&address, Json(PlanEntity::of(&id, &plan))))
}

/// In their order, those that are published unless others are asked for.
pub(super) async fn list(
    State(registry): State<Registry>,
    Path(id): Path<ApiId>,
    OriginalUri(uri): OriginalUri,
    headers: HeaderMap,
) -> Answered {
    let asked = Asked::of(&uri)?;
    let words = |name| parameters(&uri, name).iter().map(|word| upper(word)).collect::<Vec<_>>();
    let (mut statuses, securities, modes) = (words("statuses"), words("securities"), words("mode"));
    if statuses.is_empty() {
        statuses.push("PUBLISHED".to_owned());
    }
    let among = |wanted: &[String], word: Option<&str>| {
        wanted.is_empty() || word.is_some_and(|word| wanted.iter().any(|wanted| wanted == word))
    };
    let api = registry.get(&id)?;
    let fits = |record: &&PlanRecord| {
        let plan = &record.plan;
        among(&statuses, Some(status(plan.status)))
            && among(&securities, security(&plan.security))
            && among(&modes, Some(mode(&plan.security)))
    };
    let mut plans: Vec<_> = api.record.plans.iter().filter(fits).collect();
    plans.sort_by_key(|record| kept::<PlanCatalogue>(&record.catalogue).order);
    Ok(Json(Page::of(asked, &plans, &uri, &headers, |plan| PlanEntity::of(&id, plan))).into_response())
}

pub(super) async fn get(State(registry): State<Registry>, Path((api, plan)): PlanPath) -> Answered {
    let owner = registry.get(&api)?;
    let plan = owner.plan(&plan)?;
    Ok(versioned(plan.updated_at, Json(PlanEntity::of(&api, plan))))
}

pub(super) async fn update(
    State(registry): State<Registry>,
    Path((api, id)): PlanPath,
    body: Bytes,
) -> Answered {
    let document = json(&body)?;
    let about = |error: Refusal| error.about(&document);
    let owner = registry.get(&api)?;
    let former = &owner.plan(&id)?.plan;
    refuse_plan_beyond(former)?;
    let read = read_plan(document.clone(), former.status, Some(former));
    let ReadPlan { mut plan, catalogue } = read.map_err(|problems| about(problems.into()))?;
    refuse_other_id(&plan.id.0, &id.0).map_err(about)?;
    plan.id = id;
    let plan = registry.update_plan(&api, plan, to_keep(&catalogue)).await;
    let plan = plan.map_err(|error| about(in_plan(&registry, &api)(error).into()))?;
    Ok(versioned(plan.updated_at, Json(PlanEntity::of(&api, &plan))))
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
