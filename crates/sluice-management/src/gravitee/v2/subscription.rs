//! A subscription as the contract answers it.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;
use sluice_api::{ApiId, ApplicationId, PlanId, SubscriptionId};
use sluice_store::{ConsumerConfiguration, ConsumerStatus, SubscriptionRecord, SubscriptionStatus};

use super::plan;
use crate::{Registry, gravitee::entity::Owner, time::Moment};

/// A subscription as it is answered.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "Subscription")]
pub(super) struct SubscriptionEntity {
    id: SubscriptionId,
    api: ApiReference,
    plan: PlanReference,
    application: ApplicationReference,
    #[serde(skip_serializing_if = "Option::is_none")]
    consumer_message: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    publisher_message: Option<String>,
    metadata: BTreeMap<String, String>,
    consumer_configuration: ConsumerEntity,
    /// Why delivery ended, while `consumerStatus` is `FAILURE`.
    #[serde(skip_serializing_if = "Option::is_none")]
    failure_cause: Option<String>,
    /// What the publisher says: `PENDING`, `ACCEPTED`, `REJECTED`, `PAUSED` or `CLOSED`.
    status: SubscriptionStatus,
    /// What the consumer says: `STARTED`, `STOPPED`, or `FAILURE`.
    consumer_status: ConsumerStatus,
    subscribed_by: User,
    #[serde(skip_serializing_if = "Option::is_none")]
    processed_by: Option<User>,
    #[serde(skip_serializing_if = "Option::is_none")]
    processed_at: Option<Moment>,
    created_at: Moment,
    updated_at: Moment,
    #[serde(skip_serializing_if = "Option::is_none")]
    starting_at: Option<Moment>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ending_at: Option<Moment>,
    #[serde(skip_serializing_if = "Option::is_none")]
    closed_at: Option<Moment>,
    #[serde(skip_serializing_if = "Option::is_none")]
    paused_at: Option<Moment>,
    #[serde(skip_serializing_if = "Option::is_none")]
    consumer_paused_at: Option<Moment>,
    origin: &'static str,
}

#[derive(Serialize, JsonSchema)]
struct ApiReference {
    id: ApiId,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
}

#[derive(Serialize, JsonSchema)]
struct PlanReference {
    id: PlanId,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mode: Option<&'static str>,
}

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct ApplicationReference {
    id: ApplicationId,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<String>,
    primary_owner: Owner,
}

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct User {
    id: String,
    display_name: String,
}

impl User {
    fn of(name: &str) -> Self {
        Self { id: name.to_owned(), display_name: name.to_owned() }
    }
}

/// A key of a subscription.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[schemars(rename = "ApiKey")]
pub(super) enum KeyEntity {}

/// How messages are handed over.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "ConsumerConfiguration")]
struct ConsumerEntity {
    entrypoint_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    channel: Option<String>,
    /// As the entrypoint's subscription schema says; secrets are masked.
    entrypoint_configuration: Value,
}

impl ConsumerEntity {
    fn of(consumer: &ConsumerConfiguration) -> Self {
        Self {
            entrypoint_id: consumer.connector.clone(),
            channel: consumer.channel.clone(),
            entrypoint_configuration: serde_json::to_value(&consumer.callback).unwrap_or_default(),
        }
    }
}

impl SubscriptionEntity {
    /// Names of what it belongs to are looked up; what is gone has only its id.
    pub(super) fn of(registry: &Registry, record: &SubscriptionRecord) -> Self {
        let api = registry.get(&record.api).ok();
        let plan = api.as_ref().and_then(|api| api.plan(&record.plan).ok()).map(|found| &found.plan);
        let application = registry.application(&record.application).ok();
        let moment = |time: Option<_>| time.map(Moment);
        Self {
            id: record.id.clone(),
            plan: PlanReference {
                id: record.plan.clone(),
                name: plan.map(|plan| plan.name.clone()),
                mode: plan.map(|plan| plan::mode(&plan.security)),
            },
            api: ApiReference {
                id: record.api.clone(),
                name: api.as_ref().map(|api| api.record.draft.name.clone()),
            },
            application: ApplicationReference {
                id: record.application.clone(),
                name: application.as_ref().map(|application| application.name.clone()),
                description: application.map(|application| application.description.clone()),
                primary_owner: Owner::administrator(),
            },
            consumer_message: record.consumer_message.clone(),
            publisher_message: record.publisher_message.clone(),
            metadata: record.metadata.clone(),
            consumer_configuration: ConsumerEntity::of(&record.consumer),
            failure_cause: record.failure_cause.clone(),
            status: record.status,
            consumer_status: record.consumer_status,
            subscribed_by: User::of(&record.subscribed_by),
            processed_by: record.processed_by.as_deref().map(User::of),
            processed_at: moment(record.processed_at),
            created_at: Moment(record.created_at),
            updated_at: Moment(record.updated_at),
            starting_at: moment(record.starting_at),
            ending_at: moment(record.ending_at),
            closed_at: moment(record.closed_at),
            paused_at: moment(record.paused_at),
            consumer_paused_at: moment(record.consumer_paused_at),
            origin: "MANAGEMENT",
        }
    }
}
