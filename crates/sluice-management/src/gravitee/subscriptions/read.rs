//! Bodies and parameters of calls on subscriptions.

use std::collections::BTreeMap;

use axum::http::Uri;
use serde_json::{Map, Value};
use sluice_api::{ApiId, ApplicationId, PlanId, Problem, from_value};
use sluice_store::Timestamp;

use crate::{
    NewSubscription, Registry, RegistryError, Side, SubscriptionUpdate,
    gravitee::{
        consumer::{ReadConsumer, read_consumer},
        read::unsupported,
        request::texts,
    },
    refusal::Refusal,
    request,
};

/// A body that is an object, or nothing at all.
pub(super) fn object(body: &[u8]) -> Result<Map<String, Value>, Refusal> {
    if body.trim_ascii().is_empty() {
        return Ok(Map::new());
    }
    Ok(from_value(request::json(body)?).map_err(|problem| vec![problem])?)
}

/// The only value of a query parameter that has to be there.
pub(super) fn needed(uri: &Uri, name: &str) -> Result<String, Refusal> {
    let value = texts(uri, name).into_iter().next().filter(|value| !value.is_empty());
    value.ok_or_else(|| {
        let message = format!("Give it as a query parameter: ?{name}=…");
        vec![Problem::new(name, "field.required", message)].into()
    })
}

/// A field that may be missing, and otherwise is of this type.
pub(super) fn field<T: serde::de::DeserializeOwned>(
    body: &mut Map<String, Value>,
    name: &str,
) -> Result<Option<T>, Vec<Problem>> {
    match body.remove(name) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => from_value(value).map(Some).map_err(|problem| vec![problem.within(name)]),
    }
}

/// Subscribes as a body asks.
pub(super) async fn subscribe(
    registry: &Registry,
    (api, plan, application): (ApiId, PlanId, ApplicationId),
    mut body: Map<String, Value>,
    by: Side,
) -> Result<std::sync::Arc<sluice_store::SubscriptionRecord>, Refusal> {
    refuse_unsupported(&body)?;
    let read = read_consumer(&mut body)?;
    let wanted = NewSubscription {
        api,
        plan,
        application,
        consumer: read.consumer.clone(),
        metadata: field(&mut body, "metadata")?.unwrap_or_default(),
        message: field(&mut body, "request")?,
    };
    let subscribed = registry.subscribe(wanted, by).await;
    subscribed.map_err(|error| told(&read, error))
}

/// What of a subscription a body changes.
pub(super) fn read_update(
    body: &mut Map<String, Value>,
) -> Result<(SubscriptionUpdate, ReadConsumer), Refusal> {
    refuse_unsupported(body)?;
    let read = read_consumer(body)?;
    let mut date = |name: &str| -> Result<Option<Option<Timestamp>>, Vec<Problem>> {
        if body.contains_key(name) { field(body, name).map(Some) } else { Ok(None) }
    };
    let (starting_at, ending_at) = (date("starting_at")?, date("ending_at")?);
    let metadata: Option<BTreeMap<String, String>> = field(body, "metadata")?;
    Ok((SubscriptionUpdate { consumer: read.consumer.clone(), metadata, starting_at, ending_at }, read))
}

/// An error at the fields that the client wrote.
pub(super) fn told(read: &ReadConsumer, error: RegistryError) -> Refusal {
    dates_told(read.rename(error))
}

/// The same where a body has dates only.
pub(super) fn dates_told(error: RegistryError) -> Refusal {
    error.at(|path| if path == "endingAt" { "ending_at" } else { path }.to_owned()).into()
}

/// What would restrict a subscription and can not be honoured must not be passed over.
fn refuse_unsupported(body: &Map<String, Value>) -> Result<(), Refusal> {
    let given = |name: &str| match body.get(name) {
        None | Some(Value::Null) => false,
        Some(value) => value.as_str().is_none_or(|text| !text.trim().is_empty()),
    };
    let mut problems = Vec::new();
    if given("filter") {
        problems.push(unsupported(
            "filter",
            "A filter beside the flows (use metadata and the policy message-filtering)",
        ));
    }
    if given("customApiKey") {
        problems.push(unsupported("customApiKey", "An API key"));
    }
    if problems.is_empty() { Ok(()) } else { Err(problems.into()) }
}
