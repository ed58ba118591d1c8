//! Calls on the subscriptions to an event API.

use std::{sync::Arc, time::Duration};

use axum::{
    Json,
    extract::{OriginalUri, Path, State},
    http::{HeaderMap, StatusCode},
    response::IntoResponse,
};
use sluice_api::{ApiId, ApplicationId, PlanId, SubscriptionId};
use sluice_store::{ConsumerStatus, SubscriptionRecord};
use tokio::time::Instant;

use super::{
    apis::Answered,
    subscription::{SubscriptionEntity, status},
};
use crate::{
    Registry, SubscriptionFilter,
    page::{Asked, Page},
    request::{parameter, parameters},
};

/// How long brokers may take to say how far subscriptions are behind that are not served.
const BROKERS: Duration = Duration::from_secs(2);

/// One subscription.
async fn shown(registry: &Registry, record: &SubscriptionRecord) -> Answered {
    let entity = SubscriptionEntity::of(registry, record);
    Ok(Json(entity.rested(registry, record, Instant::now() + BROKERS).await).into_response())
}

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
        channels: words("channel").collect(),
        callbacks: parameter(&uri, "callback").into_iter().collect(),
    };
    let records = registry.subscriptions(&filter);
    let page = Page::of(asked, &records, &uri, &headers, Arc::clone);
    let by = Instant::now() + BROKERS;
    let mut entities = Vec::with_capacity(page.items().len());
    for record in page.items() {
        entities.push(SubscriptionEntity::of(&registry, record).rested(&registry, record, by).await);
    }
    Ok(Json(page.with(entities)).into_response())
}

pub(super) async fn get(
    State(registry): State<Registry>,
    Path((api, id)): Path<(ApiId, SubscriptionId)>,
) -> Answered {
    let record = registry.subscription_to(&api, &id)?;
    shown(&registry, &record).await
}

pub(super) async fn pause(
    State(registry): State<Registry>,
    Path((api, id)): Path<(ApiId, SubscriptionId)>,
) -> Answered {
    registry.subscription_to(&api, &id)?;
    let record = registry.pause_subscription(&id).await?;
    shown(&registry, &record).await
}

pub(super) async fn resume(
    State(registry): State<Registry>,
    Path((api, id)): Path<(ApiId, SubscriptionId)>,
) -> Answered {
    let record = registry.subscription_to(&api, &id)?;
    let record = match record.consumer_status {
        ConsumerStatus::Failure if record.paused_at.is_none() => registry.resume_failure(&id).await?,
        _ => registry.resume_subscription(&id).await?,
    };
    shown(&registry, &record).await
}

pub(super) async fn close(
    State(registry): State<Registry>,
    Path((api, id)): Path<(ApiId, SubscriptionId)>,
) -> Answered {
    registry.subscription_to(&api, &id)?;
    registry.close_subscription(&id).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}
