//! Carrying an API from place to place: one document with the API and its plans.
//!
//! Secrets are masked in what is carried away, so they are given again before it is brought in elsewhere. What
//! the document of another server holds beside API and plans (members, pages, metadata) stays behind: there is
//! one administrator, and nothing that would show it.

use axum::{
    Json,
    body::Bytes,
    extract::{Path, State},
    http::{HeaderMap, HeaderValue, header},
    response::{IntoResponse, Response},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sluice_api::{ApiId, PlanId, Problem};
use sluice_store::Timestamp;

use super::{
    api::ApiEntity,
    apis::{Answered, shown, url},
    plan::PlanEntity,
};
use crate::{
    Registry,
    gravitee::{
        beyond::{refuse_beyond, refuse_plan_beyond},
        catalogue::to_keep,
        fields::Fields,
        plans::read_plans,
        read::{Reading, read_api},
    },
    refusal::Refusal,
    request::{created, json, read},
    time::Moment,
};

/// An API with its plans, as it is carried away.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "ExportedApi")]
pub(super) struct Exported {
    export: Origin,
    api: ApiEntity,
    plans: Vec<PlanEntity>,
}

/// When and by what it was made.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "ExportOrigin")]
struct Origin {
    date: Moment,
    apim_version: &'static str,
}

pub(super) async fn export(
    State(registry): State<Registry>,
    Path(id): Path<ApiId>,
    headers: HeaderMap,
) -> Answered {
    let api = registry.get(&id)?;
    let plans = &api.record.plans;
    refuse_beyond(&api.record.draft)?;
    plans.iter().try_for_each(|record| refuse_plan_beyond(&record.plan))?;
    let document = Exported {
        export: Origin { date: Moment(Timestamp::now()), apim_version: env!("CARGO_PKG_VERSION") },
        api: shown(&api, &headers),
        plans: plans.iter().map(|plan| PlanEntity::of(&id, plan)).collect(),
    };
    let mut response = Json(document).into_response();
    let disposition = HeaderValue::from_static("attachment; filename=\"api-definition.json\"");
    response.headers_mut().insert(header::CONTENT_DISPOSITION, disposition);
    Ok(response)
}

/// An API with its plans, as it is brought in.
#[derive(Deserialize, JsonSchema)]
#[schemars(rename = "ImportedApi")]
pub(super) struct Imported {
    /// As in the body of a create.
    api: Option<Value>,
    /// As in the body of a plan's create.
    plans: Option<Vec<Value>>,
}

pub(super) async fn import(State(registry): State<Registry>, headers: HeaderMap, body: Bytes) -> Answered {
    let document = json(&body)?;
    let imported: Imported = read(&document)?;
    bring_in(&registry, &headers, imported).await.map_err(|error| error.about(&document))
}

async fn bring_in(registry: &Registry, headers: &HeaderMap, imported: Imported) -> Result<Response, Refusal> {
    let Some(api) = imported.api else {
        let message = "There is no API in this document.";
        return Err(vec![Problem::new("api", "field.required", message)].into());
    };
    let mut problems = Vec::new();
    let plans = read_plans(imported.plans.map(Value::Array), &mut problems);
    let draft = read_api(api, Reading::Later)
        .map_err(|found| problems.extend(found.into_iter().map(|problem| problem.within("api"))));
    let (Ok(draft), true) = (draft, problems.is_empty()) else { return Err(problems.into()) };
    let plans = plans.into_iter().map(|mut plan| {
        // What is brought in beside its original is another plan.
        plan.plan.id = PlanId::default();
        (plan.plan, to_keep(&plan.catalogue))
    });
    let fields = Fields::of(&draft.api);
    let imported = registry.import(draft.api, to_keep(&draft.catalogue), plans.collect()).await;
    let api = imported.map_err(|error| fields.rename(error))?;
    Ok(created(&url(api.record.id(), headers), Json(shown(&api, headers))))
}
