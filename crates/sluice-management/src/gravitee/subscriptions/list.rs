//! Pages of subscriptions and of whoever subscribes.

use axum::http::Uri;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value, json};
use sluice_api::Problem;
use sluice_store::{SubscriptionRecord, SubscriptionStatus};

use super::entity::{Names, SubscriptionLine};
use crate::{
    Registry, SubscriptionFilter,
    gravitee::request::{parameter, texts},
    refusal::Refusal,
};

/// The largest page, and the usual one.
const MAX_SIZE: usize = 100;
const DEFAULT_SIZE: usize = 20;

#[derive(Serialize, JsonSchema)]
pub(in super::super) struct SubscriptionPage {
    data: Vec<SubscriptionLine>,
    /// The names behind the ids, by id.
    metadata: Map<String, Value>,
    page: PageInfo,
}

#[derive(Serialize, JsonSchema)]
struct PageInfo {
    current: usize,
    per_page: usize,
    size: usize,
    total_pages: usize,
    total_elements: usize,
}

/// The page of subscriptions that a query asks for, among those that `within` takes.
pub(super) fn page(
    registry: &Registry,
    within: SubscriptionFilter,
    uri: &Uri,
) -> Result<SubscriptionPage, Refusal> {
    // No plan has keys, so none is a subscription's.
    let none = texts(uri, "api_key").iter().any(|key| !key.is_empty());
    let filter = SubscriptionFilter { statuses: statuses(uri)?, ..within };
    let found = if none { Vec::new() } else { registry.subscriptions(&filter) };
    let (number, size) = (page_number(uri)?, page_size(uri)?);
    let shown = found.iter().skip((number - 1).saturating_mul(size)).take(size);
    let expand = parameter(uri, "expand");
    let mut metadata = Map::new();
    let data: Vec<_> = shown
        .map(|record| {
            add_names(registry, record, &mut metadata);
            SubscriptionLine::of(registry, record, &expand)
        })
        .collect();
    let page = PageInfo {
        current: number,
        per_page: size,
        size: data.len(),
        total_pages: found.len().div_ceil(size),
        total_elements: found.len(),
    };
    Ok(SubscriptionPage { data, metadata, page })
}

fn add_names(registry: &Registry, record: &SubscriptionRecord, metadata: &mut Map<String, Value>) {
    let Names { api, plan, application, .. } = Names::of(registry, record);
    let names = [(&record.api.0, api), (&record.plan.0, plan), (&record.application.0, application)];
    for (id, name) in names {
        metadata.insert(id.clone(), json!({ "name": name }));
    }
    metadata.insert(record.subscribed_by.clone(), json!({ "name": record.subscribed_by }));
}

fn statuses(uri: &Uri) -> Result<Vec<SubscriptionStatus>, Refusal> {
    let given = parameter(uri, "status");
    if given.is_empty() {
        return Ok(vec![SubscriptionStatus::Accepted]);
    }
    let statuses = given.iter().map(|status| match &**status {
        "pending" => Ok(SubscriptionStatus::Pending),
        // What was resumed is accepted.
        "accepted" | "resumed" => Ok(SubscriptionStatus::Accepted),
        "rejected" => Ok(SubscriptionStatus::Rejected),
        "paused" => Ok(SubscriptionStatus::Paused),
        "closed" => Ok(SubscriptionStatus::Closed),
        other => {
            let message = format!("'{other}' is none of PENDING, ACCEPTED, REJECTED, PAUSED, CLOSED.");
            Err(vec![Problem::new("status", "subscription.status.invalid", message)].into())
        }
    });
    statuses.collect()
}

/// The number of the page that is asked for, from 1.
pub(super) fn page_number(uri: &Uri) -> Result<usize, Refusal> {
    number(uri, "page", 1, usize::MAX)
}

/// How many items a page has.
pub(super) fn page_size(uri: &Uri) -> Result<usize, Refusal> {
    number(uri, "size", DEFAULT_SIZE, MAX_SIZE)
}

fn number(uri: &Uri, name: &str, default: usize, most: usize) -> Result<usize, Refusal> {
    let Some(text) = texts(uri, name).into_iter().next() else { return Ok(default) };
    text.parse().ok().filter(|number| (1..=most).contains(number)).ok_or_else(|| {
        let message = if most == usize::MAX {
            "A page has a number from 1.".to_owned()
        } else {
            format!("Must be from 1 to {most}.")
        };
        vec![Problem::new(name, "page.invalid", message)].into()
    })
}
