//! What a consumer does with the subscriptions of its application.

use std::sync::Arc;

use axum::{
    Json,
    body::Bytes,
    extract::{Path, State},
    http::{HeaderMap, Uri},
    response::{IntoResponse, Response},
};
use sluice_api::{ApiId, ApplicationId, PlanId, Problem, SubscriptionId};
use sluice_store::{ConsumerStatus, SubscriptionRecord};

use super::{
    entity::SubscriptionEntity,
    list::page,
    publisher::shown,
    read::{field, needed, object, read_update, subscribe, told},
};
use crate::{
    Registry, RegistryError, Side, SubscriptionFilter,
    gravitee::request::{address, parameter, texts},
    refusal::Refusal,
    request::created,
};

type Answered = Result<Response, Refusal>;
type Address = Path<(ApplicationId, SubscriptionId)>;

pub(in super::super) async fn create(
    State(registry): State<Registry>,
    Path(application): Path<ApplicationId>,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Answered {
    registry.application(&application)?;
    let plan = PlanId(needed(&uri, "plan")?);
    let to = (api_of(&registry, &plan)?, plan, application.clone());
    let record = subscribe(&registry, to, object(&body)?, Side::Consumer).await?;
    let address = address(&headers, &format!("applications/{application}/subscriptions/{}", record.id));
    Ok(created(&address, Json(SubscriptionEntity::created(&registry, &record))))
}

/// A portal names plan and application in the body.
pub(in super::super) async fn subscribe_from_portal(
    State(registry): State<Registry>,
    headers: HeaderMap,
    body: Bytes,
) -> Answered {
    let mut body = object(&body)?;
    let mut named = |name: &str| -> Result<String, Refusal> {
        field(&mut body, name)?.ok_or_else(|| {
            let message = format!("Name the {name} by its id.");
            vec![Problem::new(name, "field.required", message)].into()
        })
    };
    let (application, plan) = (ApplicationId(named("application")?), PlanId(named("plan")?));
    registry.application(&application)?;
    let to = (api_of(&registry, &plan)?, plan, application.clone());
    let record = subscribe(&registry, to, body, Side::Consumer).await?;
    let address = address(&headers, &format!("applications/{application}/subscriptions/{}", record.id));
    Ok(created(&address, Json(SubscriptionEntity::of(&registry, &record))))
}

pub(in super::super) async fn list(
    State(registry): State<Registry>,
    Path(application): Path<ApplicationId>,
    uri: Uri,
) -> Answered {
    registry.application(&application)?;
    let filter = SubscriptionFilter {
        apis: texts(&uri, "api").into_iter().map(ApiId).collect(),
        plans: texts(&uri, "plan").into_iter().map(PlanId).collect(),
        applications: vec![application],
        ..SubscriptionFilter::default()
    };
    Ok(Json(page(&registry, filter, &uri)?).into_response())
}

pub(in super::super) async fn get(State(registry): State<Registry>, Path(at): Address) -> Answered {
    let record = found(&registry, &at)?;
    Ok(shown(&registry, &record))
}

pub(in super::super) async fn update(
    State(registry): State<Registry>,
    Path(at): Address,
    body: Bytes,
) -> Answered {
    found(&registry, &at)?;
    let (mut update, read) = read_update(&mut object(&body)?)?;
    if update.starting_at.take().is_some() || update.ending_at.take().is_some() {
        let message = "The publisher says when a subscription begins and ends.";
        return Err(vec![Problem::new("ending_at", "subscription.dates.invalid", message)].into());
    }
    let changed = registry.update_subscription(&at.1, update, Side::Consumer).await;
    Ok(shown(&registry, &*changed.map_err(|error| told(&read, error))?))
}

pub(in super::super) async fn close(State(registry): State<Registry>, Path(at): Address) -> Answered {
    found(&registry, &at)?;
    Ok(shown(&registry, &*registry.close_subscription(&at.1).await?))
}

pub(in super::super) async fn change_consumer_status(
    State(registry): State<Registry>,
    Path(at): Address,
    uri: Uri,
) -> Answered {
    found(&registry, &at)?;
    let status = match parameter(&uri, "status").first().map(String::as_str) {
        Some("started") => ConsumerStatus::Started,
        Some("stopped") => ConsumerStatus::Stopped,
        _ => {
            let message = "Say what to do: ?status=STARTED or STOPPED.";
            let problem = Problem::new("status", "subscription.consumerStatus.invalid", message);
            return Err(vec![problem].into());
        }
    };
    Ok(shown(&registry, &*registry.set_consumer_status(&at.1, status).await?))
}

/// A subscription, at the address of its own application only.
pub(super) fn found(
    registry: &Registry,
    (application, id): &(ApplicationId, SubscriptionId),
) -> Result<Arc<SubscriptionRecord>, RegistryError> {
    registry.application(application)?;
    let record = registry.subscription(id)?;
    if record.application == *application {
        Ok(record)
    } else {
        Err(RegistryError::SubscriptionNotFound(id.clone()))
    }
}

/// The API of a plan that is named by itself.
fn api_of(registry: &Registry, plan: &PlanId) -> Result<ApiId, RegistryError> {
    let apis = registry.list();
    let api = apis.iter().find(|api| api.plan(plan).is_ok());
    let api = api.ok_or_else(|| RegistryError::PlanNotFound(plan.clone()))?;
    Ok(api.record.id().clone())
}
