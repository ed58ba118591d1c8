//! Subscriptions as the contract answers them: one in full, or as a line of a list.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;
use sluice_api::{ApiId, ApplicationId, PlanId, SubscriptionId};
use sluice_store::{ConsumerStatus, SubscriptionRecord, SubscriptionStatus, Timestamp};

use crate::{
    Registry,
    gravitee::{
        catalogue::{ApiKeyMode, ApplicationCatalogue, kept},
        consumer::flat,
        plans::SecurityEntity,
    },
};

/// One subscription. Fields that the answer to a create leaves out are optional.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Subscription")]
pub(in super::super) struct SubscriptionEntity {
    id: SubscriptionId,
    #[serde(skip_serializing_if = "Option::is_none")]
    api: Option<Named>,
    plan: Named,
    application: Application,
    status: SubscriptionStatus,
    #[serde(rename = "consumerStatus", skip_serializing_if = "Option::is_none")]
    consumer_status: Option<ConsumerStatus>,
    #[serde(rename = "failureCause", skip_serializing_if = "Option::is_none")]
    failure_cause: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    configuration: Option<Value>,
    metadata: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    request: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    processed_by: Option<String>,
    subscribed_by: Person,
    #[serde(flatten)]
    times: Times,
    #[serde(skip_serializing_if = "Option::is_none")]
    consumer_paused_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_id: Option<String>,
}

/// A line of a list: other records are named by their ids.
#[derive(Serialize, JsonSchema)]
pub(super) struct SubscriptionLine {
    id: SubscriptionId,
    api: ApiId,
    plan: PlanId,
    application: ApplicationId,
    status: SubscriptionStatus,
    #[serde(rename = "consumerStatus")]
    consumer_status: ConsumerStatus,
    configuration: Value,
    metadata: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    request: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    processed_by: Option<String>,
    subscribed_by: String,
    #[serde(flatten)]
    times: Times,
    #[serde(rename = "consumerPausedAt", skip_serializing_if = "Option::is_none")]
    consumer_paused_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    security: Option<&'static str>,
    /// No plan has keys.
    #[serde(skip_serializing_if = "Option::is_none")]
    keys: Option<[Value; 0]>,
}

#[derive(Serialize, JsonSchema)]
struct Times {
    #[serde(skip_serializing_if = "Option::is_none")]
    processed_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    starting_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ending_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    paused_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    closed_at: Option<Timestamp>,
    created_at: Timestamp,
    updated_at: Timestamp,
}

#[derive(Serialize, JsonSchema)]
struct Named {
    id: String,
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    security: Option<&'static str>,
}

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "SubscribedApplication")]
struct Application {
    id: ApplicationId,
    name: String,
    #[serde(rename = "type")]
    kind: &'static str,
    description: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    domain: Option<String>,
    owner: Person,
    api_key_mode: ApiKeyMode,
}

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Person {
    id: String,
    display_name: String,
}

impl SubscriptionEntity {
    /// As the answer to a create: without how it is called.
    pub(super) fn created(registry: &Registry, record: &SubscriptionRecord) -> Self {
        let full = Self::of(registry, record);
        let plan = Named { security: None, ..full.plan };
        Self { api: None, plan, consumer_status: None, configuration: None, ..full }
    }

    pub(super) fn of(registry: &Registry, record: &SubscriptionRecord) -> Self {
        let names = Names::of(registry, record);
        let application = registry.application(&record.application).ok();
        let catalogue: ApplicationCatalogue =
            application.as_ref().map(|application| kept(&application.catalogue)).unwrap_or_default();
        let named = |id: &str, name: String, security| Named { id: id.to_owned(), name, security };
        Self {
            id: record.id.clone(),
            api: Some(named(&record.api.0, names.api, None)),
            plan: named(&record.plan.0, names.plan, names.security),
            application: Application {
                id: record.application.clone(),
                name: names.application,
                kind: "SIMPLE",
                description: application.as_ref().map(|it| it.description.clone()).unwrap_or_default(),
                domain: catalogue.domain,
                owner: Person::named(crate::USER),
                api_key_mode: catalogue.api_key_mode,
            },
            status: record.status,
            consumer_status: Some(record.consumer_status),
            failure_cause: record.failure_cause.clone(),
            configuration: Some(flat(&record.consumer)),
            metadata: record.metadata.clone(),
            request: record.consumer_message.clone(),
            reason: record.publisher_message.clone(),
            processed_by: record.processed_by.clone(),
            subscribed_by: Person::named(&record.subscribed_by),
            times: Times::of(record),
            consumer_paused_at: record.consumer_paused_at,
            client_id: application.and_then(|application| application.client_id.clone()),
        }
    }
}

impl SubscriptionLine {
    /// A line, with what `expand` asks for.
    pub(super) fn of(registry: &Registry, record: &SubscriptionRecord, expand: &[String]) -> Self {
        let expanded = |name: &str| expand.iter().any(|asked| asked == name);
        let application = registry.application(&record.application).ok();
        Self {
            id: record.id.clone(),
            api: record.api.clone(),
            plan: record.plan.clone(),
            application: record.application.clone(),
            status: record.status,
            consumer_status: record.consumer_status,
            configuration: flat(&record.consumer),
            metadata: record.metadata.clone(),
            request: record.consumer_message.clone(),
            reason: record.publisher_message.clone(),
            processed_by: record.processed_by.clone(),
            subscribed_by: record.subscribed_by.clone(),
            times: Times::of(record),
            consumer_paused_at: record.consumer_paused_at,
            client_id: application.and_then(|application| application.client_id.clone()),
            security: Names::of(registry, record).security.filter(|_| expanded("security")),
            keys: expanded("keys").then_some([]),
        }
    }
}

impl Times {
    const fn of(record: &SubscriptionRecord) -> Self {
        Self {
            processed_at: record.processed_at,
            starting_at: record.starting_at,
            ending_at: record.ending_at,
            paused_at: record.paused_at,
            closed_at: record.closed_at,
            created_at: record.created_at,
            updated_at: record.updated_at,
        }
    }
}

impl Person {
    fn named(name: &str) -> Self {
        Self { id: name.to_owned(), display_name: name.to_owned() }
    }
}

/// The names of what a subscription belongs to; an id where it is gone.
pub(super) struct Names {
    pub(super) api: String,
    pub(super) plan: String,
    pub(super) application: String,
    security: Option<&'static str>,
}

impl Names {
    pub(super) fn of(registry: &Registry, record: &SubscriptionRecord) -> Self {
        let api = registry.get(&record.api).ok();
        let plan = api.as_ref().and_then(|api| api.plan(&record.plan).ok());
        let application = registry.application(&record.application).ok();
        Self {
            plan: plan.map_or_else(|| record.plan.0.clone(), |plan| plan.plan.name.clone()),
            security: plan.map(|plan| SecurityEntity::of(&plan.plan.security).kind),
            api: api.as_ref().map_or_else(|| record.api.0.clone(), |api| api.record.draft.name.clone()),
            application: application.map_or_else(|| record.application.0.clone(), |it| it.name.clone()),
        }
    }
}
