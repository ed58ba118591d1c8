//! What the publisher of an API does with the subscriptions to it.

use axum::{
    Json,
    body::Bytes,
    extract::{Path, State},
    http::{HeaderMap, Uri},
    response::{IntoResponse, Response},
};
use sluice_api::{ApiId, ApplicationId, PlanId, Problem, SubscriptionId};
use sluice_store::SubscriptionRecord;

use super::{
    entity::SubscriptionEntity,
    list::{page, page_number, page_size},
    read::{dates_told, field, needed, object, read_update, subscribe, told},
};
use crate::{
    Decision, Registry, Side, SubscriptionFilter,
    gravitee::{
        applications::ApplicationEntity,
        read::unsupported,
        request::{address, parameter, texts},
    },
    refusal::Refusal,
    request::created,
};

type Answered = Result<Response, Refusal>;
type Address = Path<(ApiId, SubscriptionId)>;

pub(in super::super) async fn create(
    State(registry): State<Registry>,
    Path(api): Path<ApiId>,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Answered {
    registry.get(&api)?;
    let (application, plan) = (ApplicationId(needed(&uri, "application")?), PlanId(needed(&uri, "plan")?));
    if texts(&uri, "customApiKey").iter().any(|key| !key.is_empty()) {
        return Err(vec![unsupported("customApiKey", "An API key")].into());
    }
    let to = (api.clone(), plan, application);
    let record = subscribe(&registry, to, object(&body)?, Side::Publisher).await?;
    let address = address(&headers, &format!("v4/apis/{api}/subscriptions/{}", record.id));
    Ok(created(&address, Json(SubscriptionEntity::created(&registry, &record))))
}

pub(in super::super) async fn list(
    State(registry): State<Registry>,
    Path(api): Path<ApiId>,
    uri: Uri,
) -> Answered {
    registry.get(&api)?;
    let filter = SubscriptionFilter {
        apis: vec![api],
        plans: texts(&uri, "plan").into_iter().map(PlanId).collect(),
        applications: texts(&uri, "application").into_iter().map(ApplicationId).collect(),
        ..SubscriptionFilter::default()
    };
    Ok(Json(page(&registry, filter, &uri)?).into_response())
}

/// The applications with an open subscription to an API.
pub(in super::super) async fn subscribers(
    State(registry): State<Registry>,
    Path(api): Path<ApiId>,
    uri: Uri,
) -> Answered {
    registry.get(&api)?;
    let open = registry.subscriptions(&SubscriptionFilter { apis: vec![api], ..Default::default() });
    let wanted = texts(&uri, "query").into_iter().next().unwrap_or_default().to_lowercase();
    let subscribes =
        |id: &ApplicationId| open.iter().any(|record| record.application == *id && record.status.is_open());
    let mut found = registry.applications();
    found.retain(|it| subscribes(&it.id) && it.name.to_lowercase().contains(&wanted));
    let (number, size) = (page_number(&uri)?, page_size(&uri)?);
    let shown = found.iter().skip((number - 1).saturating_mul(size)).take(size);
    Ok(Json(shown.map(|it| ApplicationEntity::of(it)).collect::<Vec<_>>()).into_response())
}

/// Whether a subscription with a key of one's own could be created: no plan has keys.
pub(in super::super) async fn can_create(
    State(registry): State<Registry>,
    Path(api): Path<ApiId>,
    uri: Uri,
) -> Answered {
    registry.get(&api)?;
    registry.application(&ApplicationId(needed(&uri, "application")?))?;
    needed(&uri, "key")?;
    Ok(Json(false).into_response())
}

pub(in super::super) async fn get(State(registry): State<Registry>, Path(at): Address) -> Answered {
    let record = registry.subscription_to(&at.0, &at.1)?;
    Ok(shown(&registry, &record))
}

pub(in super::super) async fn update(
    State(registry): State<Registry>,
    Path(at): Address,
    body: Bytes,
) -> Answered {
    registry.subscription_to(&at.0, &at.1)?;
    let (update, read) = read_update(&mut object(&body)?)?;
    let changed = registry.update_subscription(&at.1, update, Side::Publisher).await;
    Ok(shown(&registry, &*changed.map_err(|error| told(&read, error))?))
}

pub(in super::super) async fn close(State(registry): State<Registry>, Path(at): Address) -> Answered {
    registry.subscription_to(&at.0, &at.1)?;
    Ok(shown(&registry, &*registry.close_subscription(&at.1).await?))
}

pub(in super::super) async fn change_status(
    State(registry): State<Registry>,
    Path(at): Address,
    uri: Uri,
) -> Answered {
    registry.subscription_to(&at.0, &at.1)?;
    let record = match parameter(&uri, "status").first().map(String::as_str) {
        Some("closed") => registry.close_subscription(&at.1).await?,
        Some("paused") => registry.pause_subscription(&at.1).await?,
        Some("resumed") => registry.resume_subscription(&at.1).await?,
        _ => {
            let message = "Say what to do: ?status=CLOSED, PAUSED or RESUMED.";
            return Err(vec![Problem::new("status", "subscription.status.invalid", message)].into());
        }
    };
    Ok(shown(&registry, &record))
}

pub(in super::super) async fn process(
    State(registry): State<Registry>,
    Path(at): Address,
    body: Bytes,
) -> Answered {
    registry.subscription_to(&at.0, &at.1)?;
    let mut body = object(&body)?;
    if field::<String>(&mut body, "customApiKey")?.is_some_and(|key| !key.is_empty()) {
        return Err(vec![unsupported("customApiKey", "An API key")].into());
    }
    let Some(accepted) = field(&mut body, "accepted")? else {
        let message = "Say whether the subscription is accepted: true or false.";
        return Err(vec![Problem::new("accepted", "field.required", message)].into());
    };
    let decision = Decision {
        accepted,
        reason: field(&mut body, "reason")?,
        starting_at: field(&mut body, "starting_at")?,
        ending_at: field(&mut body, "ending_at")?,
    };
    let processed = registry.process_subscription(&at.1, decision).await;
    Ok(shown(&registry, &*processed.map_err(dates_told)?))
}

pub(in super::super) async fn transfer(
    State(registry): State<Registry>,
    Path(at): Address,
    body: Bytes,
) -> Answered {
    registry.subscription_to(&at.0, &at.1)?;
    let plan: Option<String> = field(&mut object(&body)?, "plan")?;
    let Some(plan) = plan.map(PlanId) else {
        let message = "Name the plan to move to.";
        return Err(vec![Problem::new("plan", "field.required", message)].into());
    };
    Ok(shown(&registry, &*registry.transfer_subscription(&at.1, &plan).await?))
}

pub(super) fn shown(registry: &Registry, record: &SubscriptionRecord) -> Response {
    Json(SubscriptionEntity::of(registry, record)).into_response()
}
