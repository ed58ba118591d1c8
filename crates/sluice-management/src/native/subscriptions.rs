//! Calls on the subscriptions to an event API.

use axum::{
    Json,
    extract::{OriginalUri, Path, State},
    http::HeaderMap,
    response::IntoResponse,
};
use sluice_api::{ApiId, ApplicationId, PlanId, SubscriptionId};

use super::{
    apis::Answered,
    subscription::{SubscriptionEntity, status},
};
use crate::{
    Registry, SubscriptionFilter,
    page::{Asked, Page},
    request::parameters,
};

pub(super) async fn list(
    State(registry): State<Registry>,
    Path(api): Path<ApiId>,
    OriginalUri(uri): OriginalUri,
    headers: HeaderMap,
) -> Answered {
    registry.get(&api)?;
    let asked = Asked::of(&uri)?;
    let words = |name| parameters(&uri, name).into_iter().filter(|word| !word.is_empty());
    let filter = SubscriptionFilter {
        apis: vec![api],
        plans: words("plan").map(PlanId).collect(),
        applications: words("application").map(ApplicationId).collect(),
        statuses: words("status").map(|word| status(&word)).collect::<Result<_, _>>()?,
    };
    let records = registry.subscriptions(&filter);
    let page = Page::of(asked, &records, &uri, &headers, |record| SubscriptionEntity::of(&registry, record));
    Ok(Json(page).into_response())
}

pub(super) async fn get(
    State(registry): State<Registry>,
    Path((api, id)): Path<(ApiId, SubscriptionId)>,
) -> Answered {
    let record = registry.subscription_to(&api, &id)?;
    Ok(Json(SubscriptionEntity::of(&registry, &record)).into_response())
}
