//! Calls on the subscriptions to an API, all of them the publisher's.

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    Json,
    body::Bytes,
    extract::{OriginalUri, Path, State},
    http::{HeaderMap, Uri},
    response::{IntoResponse, Response},
};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};
use sluice_api::{ApiId, ApplicationId, PlanId, Problem, SubscriptionId};
use sluice_store::{ConsumerStatus, SubscriptionRecord, SubscriptionStatus};

use super::{
    apis::{Answered, Verification, url},
    subscription::{KeyEntity, SubscriptionEntity},
    upper,
};
use crate::{
    Decision, NewSubscription, Registry, RegistryError, Side, SubscriptionFilter, SubscriptionUpdate,
    gravitee::{consumer::read_consumer, read::unsupported},
    page::{Asked, Page},
    refusal::Refusal,
    request::{self, optional, parameter, parameters, read},
    time,
};

type Address = Path<(ApiId, SubscriptionId)>;

/// How a subscriber is called.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "NewConsumerConfiguration")]
#[expect(dead_code, reason = "stands for its schema; all shapes that there are have a reader of their own")]
struct WrittenConsumer {
    /// The entrypoint that calls, for example `webhook`.
    entrypoint_id: String,
    /// The part of the API that is asked for.
    channel: Option<String>,
    /// As the entrypoint's subscription schema says.
    entrypoint_configuration: Option<Map<String, Value>>,
}

/// A subscription as it is asked for.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "NewSubscription")]
pub(super) struct Written {
    application_id: ApplicationId,
    plan_id: PlanId,
    /// What the subscriber says about itself, for filters.
    metadata: Option<BTreeMap<String, String>>,
    #[serde(skip)]
    #[expect(dead_code, reason = "stands for its schema; it is read by itself")]
    #[schemars(!skip, with = "Option<WrittenConsumer>")]
    consumer_configuration: (),
    /// Not served: no plan has keys.
    custom_api_key: Option<String>,
}

/// What of a subscription is changed; what is absent stays.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "SubscriptionChange")]
pub(super) struct Change {
    /// What the subscriber says about itself, all of it.
    metadata: Option<BTreeMap<String, String>>,
    #[serde(skip)]
    #[expect(dead_code, reason = "stands for its schema; it is read by itself")]
    #[schemars(!skip, with = "Option<WrittenConsumer>")]
    consumer_configuration: (),
    /// When it begins, as ISO 8601; `null` is at once.
    #[serde(default, deserialize_with = "present")]
    #[schemars(with = "Option<String>")]
    starting_at: Option<Option<String>>,
    /// When it ends, as ISO 8601; `null` is never.
    #[serde(default, deserialize_with = "present")]
    #[schemars(with = "Option<String>")]
    ending_at: Option<Option<String>>,
}

/// Tells a field that is `null` from one that is absent.
fn present<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<Option<String>>, D::Error> {
    Option::deserialize(from).map(Some)
}

/// What the publisher says to a subscription that was asked for.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(rename = "SubscriptionDecision")]
pub(super) struct Words {
    /// Why.
    reason: Option<String>,
    /// When it begins, as ISO 8601; at once when absent.
    starting_at: Option<String>,
    /// When it ends, as ISO 8601; never when absent.
    ending_at: Option<String>,
    /// Not served: no plan has keys.
    custom_api_key: Option<String>,
}

/// Where a subscription is to go.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "SubscriptionTransfer")]
pub(super) struct Transfer {
    /// A published plan of the same API that asks for the same.
    plan_id: PlanId,
}

/// A key that an application would like to have.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "KeyWanted")]
pub(super) struct KeyWanted {
    application_id: ApplicationId,
    #[expect(dead_code, reason = "no plan has keys, so the answer is the same for all")]
    api_key: String,
}

fn refuse_key(key: Option<&str>) -> Result<(), Vec<Problem>> {
    let given = key.is_some_and(|key| !key.trim().is_empty());
    if given { Err(vec![unsupported("customApiKey", "An API key")]) } else { Ok(()) }
}

fn shown(registry: &Registry, record: &SubscriptionRecord) -> Response {
    Json(SubscriptionEntity::of(registry, record)).into_response()
}

pub(super) async fn create(
    State(registry): State<Registry>,
    Path(api): Path<ApiId>,
    headers: HeaderMap,
    body: Bytes,
) -> Answered {
    let document = request::json(&body)?;
    registry.get(&api)?;
    let written: Written = read(&document)?;
    refuse_key(written.custom_api_key.as_deref())?;
    let about = |error: Refusal| error.about(&document);
    let mut fields = document.as_object().cloned().unwrap_or_default();
    let consumer = read_consumer(&mut fields).map_err(|problems| about(problems.into()))?;
    let wanted = NewSubscription {
        api: api.clone(),
        plan: written.plan_id,
        application: written.application_id,
        consumer: consumer.consumer.clone(),
        metadata: written.metadata.unwrap_or_default(),
        message: None,
    };
    let subscribed = registry.subscribe(wanted, Side::Publisher).await;
    let record = subscribed.map_err(|error| about(consumer.rename(error).into()))?;
    let address = format!("{}/subscriptions/{}", url(&api, &headers), record.id);
    Ok(request::created(&address, Json(SubscriptionEntity::of(&registry, &record))))
}

pub(super) async fn list(
    State(registry): State<Registry>,
    Path(api): Path<ApiId>,
    OriginalUri(uri): OriginalUri,
    headers: HeaderMap,
) -> Answered {
    registry.get(&api)?;
    let asked = Asked::of(&uri)?;
    let ids = |name| parameters(&uri, name).into_iter().filter(|id| !id.is_empty());
    let filter = SubscriptionFilter {
        apis: vec![api],
        plans: ids("planIds").map(PlanId).collect(),
        applications: ids("applicationIds").map(ApplicationId).collect(),
        statuses: parameters(&uri, "statuses").iter().map(|word| status(word)).collect::<Result<_, _>>()?,
        ..SubscriptionFilter::default()
    };
    // No plan has keys, so there is no subscription of a key.
    let of_key = parameter(&uri, "apiKey").is_some_and(|key| !key.is_empty());
    let records = if of_key { Vec::new() } else { registry.subscriptions(&filter) };
    let page = Page::of(asked, &records, &uri, &headers, |record| SubscriptionEntity::of(&registry, record));
    Ok(Json(page).into_response())
}

fn status(word: &str) -> Result<SubscriptionStatus, Vec<Problem>> {
    match &*upper(word.trim()) {
        "PENDING" => Ok(SubscriptionStatus::Pending),
        // What was resumed is accepted.
        "ACCEPTED" | "RESUMED" => Ok(SubscriptionStatus::Accepted),
        "REJECTED" => Ok(SubscriptionStatus::Rejected),
        "PAUSED" => Ok(SubscriptionStatus::Paused),
        "CLOSED" => Ok(SubscriptionStatus::Closed),
        _ => {
            let message = format!("'{word}' is none of PENDING, ACCEPTED, REJECTED, PAUSED, CLOSED.");
            Err(vec![Problem::new("statuses", "subscription.status.invalid", message)])
        }
    }
}

/// Whether a subscription with a key of one's own could be created.
pub(super) async fn verify(
    State(registry): State<Registry>,
    Path(api): Path<ApiId>,
    body: Bytes,
) -> Answered {
    registry.get(&api)?;
    let wanted: KeyWanted = read(&request::json(&body)?)?;
    registry.application(&wanted.application_id)?;
    let reason = Some("No plan of this gateway asks for an API key.".to_owned());
    Ok(Json(Verification { ok: false, reason }).into_response())
}

pub(super) async fn get(State(registry): State<Registry>, Path(at): Address) -> Answered {
    let record = registry.subscription_to(&at.0, &at.1)?;
    Ok(shown(&registry, &record))
}

pub(super) async fn update(State(registry): State<Registry>, Path(at): Address, body: Bytes) -> Answered {
    registry.subscription_to(&at.0, &at.1)?;
    let document = request::json(&body)?;
    let change: Change = read(&document)?;
    let about = |error: Refusal| error.about(&document);
    let mut fields = document.as_object().cloned().unwrap_or_default();
    let consumer = read_consumer(&mut fields).map_err(|problems| about(problems.into()))?;
    let date = |name: &str, date: Option<Option<String>>| {
        let read = date.map(|date| time::read(name, date.as_deref())).transpose();
        read.map_err(|problem| about(vec![problem].into()))
    };
    let update = SubscriptionUpdate {
        consumer: consumer.consumer.clone(),
        metadata: change.metadata,
        starting_at: date("startingAt", change.starting_at)?,
        ending_at: date("endingAt", change.ending_at)?,
    };
    let changed = registry.update_subscription(&at.1, update, Side::Publisher).await;
    let record = changed.map_err(|error| about(consumer.rename(error).into()))?;
    Ok(shown(&registry, &record))
}

pub(super) async fn accept(state: State<Registry>, at: Address, body: Bytes) -> Answered {
    process(state, at, &body, true).await
}

pub(super) async fn reject(state: State<Registry>, at: Address, body: Bytes) -> Answered {
    process(state, at, &body, false).await
}

async fn process(
    State(registry): State<Registry>,
    Path(at): Address,
    body: &[u8],
    accepted: bool,
) -> Answered {
    registry.subscription_to(&at.0, &at.1)?;
    let document = optional(body)?;
    let words: Words = read(&document)?;
    refuse_key(words.custom_api_key.as_deref())?;
    let date = |name: &str, date: Option<String>| {
        time::read(name, date.as_deref()).map_err(|problem| Refusal::from(vec![problem]).about(&document))
    };
    let decision = Decision {
        accepted,
        reason: words.reason,
        starting_at: date("startingAt", words.starting_at)?,
        ending_at: date("endingAt", words.ending_at)?,
    };
    let processed = registry.process_subscription(&at.1, decision).await;
    let record = processed.map_err(|error| Refusal::from(error).about(&document))?;
    Ok(shown(&registry, &record))
}

pub(super) async fn pause(State(registry): State<Registry>, Path(at): Address) -> Answered {
    registry.subscription_to(&at.0, &at.1)?;
    answered(&registry, registry.pause_subscription(&at.1).await)
}

pub(super) async fn resume(State(registry): State<Registry>, Path(at): Address) -> Answered {
    registry.subscription_to(&at.0, &at.1)?;
    answered(&registry, registry.resume_subscription(&at.1).await)
}

pub(super) async fn close(State(registry): State<Registry>, Path(at): Address) -> Answered {
    registry.subscription_to(&at.0, &at.1)?;
    answered(&registry, registry.close_subscription(&at.1).await)
}

pub(super) async fn resume_failure(State(registry): State<Registry>, Path(at): Address) -> Answered {
    registry.subscription_to(&at.0, &at.1)?;
    answered(&registry, registry.resume_failure(&at.1).await)
}

pub(super) async fn transfer(State(registry): State<Registry>, Path(at): Address, body: Bytes) -> Answered {
    registry.subscription_to(&at.0, &at.1)?;
    let transfer: Transfer = read(&request::json(&body)?)?;
    answered(&registry, registry.transfer_subscription(&at.1, &transfer.plan_id).await)
}

pub(super) async fn change_consumer_status(
    State(registry): State<Registry>,
    Path(at): Address,
    uri: Uri,
) -> Answered {
    registry.subscription_to(&at.0, &at.1)?;
    let status = match parameter(&uri, "status").map(|word| upper(&word)).as_deref() {
        Some("STARTED") => ConsumerStatus::Started,
        Some("STOPPED") => ConsumerStatus::Stopped,
        _ => {
            let message = "Say what to do: ?status=STARTED or STOPPED.";
            let problem = Problem::new("status", "subscription.consumerStatus.invalid", message);
            return Err(vec![problem].into());
        }
    };
    answered(&registry, registry.set_consumer_status(&at.1, status).await)
}

/// No plan has keys, so a subscription has none.
pub(super) async fn keys(
    State(registry): State<Registry>,
    Path(at): Address,
    OriginalUri(uri): OriginalUri,
    headers: HeaderMap,
) -> Answered {
    registry.subscription_to(&at.0, &at.1)?;
    let none: [KeyEntity; 0] = [];
    Ok(Json(Page::of(Asked::of(&uri)?, &none, &uri, &headers, KeyEntity::clone)).into_response())
}

fn answered(registry: &Registry, changed: Result<Arc<SubscriptionRecord>, RegistryError>) -> Answered {
    Ok(shown(registry, &*changed?))
}
