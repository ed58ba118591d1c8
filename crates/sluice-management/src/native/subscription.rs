//! A subscription as the contract answers it: what was agreed, and how its delivery stands.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sluice_api::{ApiId, ApplicationId, HubSignature, HubTerms, PlanId, Problem, SubscriptionId};
use sluice_store::{ConsumerStatus, SubscriptionRecord, SubscriptionStatus};

use tokio::time::Instant;

use super::delivery::DeliveryEntity;
use crate::{Registry, time::Moment};

/// A subscription as it is answered.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "Subscription")]
pub(super) struct SubscriptionEntity {
    id: SubscriptionId,
    api: ApiId,
    plan: PlanId,
    application: ApplicationId,
    /// What the publisher says.
    #[serde(serialize_with = "StatusWord::serialize")]
    #[schemars(with = "StatusWord")]
    status: SubscriptionStatus,
    /// What the consumer says, or that its delivery failed.
    #[serde(serialize_with = "ConsumerWord::serialize")]
    #[schemars(with = "ConsumerWord")]
    consumer_status: ConsumerStatus,
    /// Why delivery ended: while `consumerStatus` is `failure`, and where its lease was over or its subscriber gone.
    #[serde(skip_serializing_if = "Option::is_none")]
    failure_cause: Option<String>,
    /// What the subscriber said about itself, for filters.
    metadata: BTreeMap<String, String>,
    /// Where the subscriber is called, without the query, in which keys often stand.
    callback_url: String,
    /// The part of the API that it asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    channel: Option<String>,
    /// What was agreed on at the hub; absent for one that was made in another way.
    #[serde(skip_serializing_if = "Option::is_none")]
    hub: Option<HubEntity>,
    created_at: Moment,
    updated_at: Moment,
    #[serde(skip_serializing_if = "Option::is_none")]
    starting_at: Option<Moment>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ending_at: Option<Moment>,
    #[serde(skip_serializing_if = "Option::is_none")]
    closed_at: Option<Moment>,
    /// How its delivery stands; absent while the gateway has nothing to do for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    delivery: Option<DeliveryEntity>,
}

/// What a subscriber and the hub have agreed on.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "HubTerms")]
struct HubEntity {
    /// The topic as the subscriber wrote it.
    topic: String,
    /// Seconds for which it was agreed on, the last time.
    lease_seconds: u64,
    /// When that is over.
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<Moment>,
    /// How calls are signed; absent where the subscriber gave no secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    signature: Option<HubSignature>,
}

impl HubEntity {
    fn of(terms: HubTerms, record: &SubscriptionRecord) -> Self {
        Self {
            topic: terms.topic,
            lease_seconds: terms.lease_seconds,
            expires_at: record.ending_at.map(Moment),
            signature: terms.secret.is_some().then_some(terms.signature),
        }
    }
}

/// The publisher's word in this contract.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(remote = "SubscriptionStatus", rename_all = "lowercase")]
#[schemars(rename = "SubscriptionStatus")]
pub(super) enum StatusWord {
    Pending,
    Accepted,
    Rejected,
    Paused,
    Closed,
}

/// The consumer's word in this contract.
#[derive(Serialize, JsonSchema)]
#[serde(remote = "ConsumerStatus", rename_all = "lowercase")]
#[schemars(rename = "ConsumerStatus")]
enum ConsumerWord {
    Started,
    Stopped,
    Failure,
}

/// Reads the publisher's word.
pub(super) fn status(word: &str) -> Result<SubscriptionStatus, Problem> {
    let text: serde::de::value::StrDeserializer<'_, serde::de::value::Error> =
        serde::de::IntoDeserializer::into_deserializer(word);
    StatusWord::deserialize(text).map_err(|_| {
        let message = format!("'{word}' is none of pending, accepted, rejected, paused, closed.");
        Problem::new("status", "subscription.status.invalid", message)
    })
}

impl SubscriptionEntity {
    pub(super) fn of(registry: &Registry, record: &SubscriptionRecord) -> Self {
        let url = &record.consumer.callback.callback_url;
        Self {
            id: record.id.clone(),
            api: record.api.clone(),
            plan: record.plan.clone(),
            application: record.application.clone(),
            status: record.status,
            consumer_status: record.consumer_status,
            failure_cause: record.failure_cause.clone(),
            metadata: record.metadata.clone(),
            callback_url: url.split('?').next().unwrap_or_default().to_owned(),
            channel: record.consumer.channel.clone(),
            hub: registry.hub_terms(record).map(|terms| HubEntity::of(terms, record)),
            created_at: Moment(record.created_at),
            updated_at: Moment(record.updated_at),
            starting_at: record.starting_at.map(Moment),
            ending_at: record.ending_at.map(Moment),
            closed_at: record.closed_at.map(Moment),
            delivery: registry.delivery_state(record).map(DeliveryEntity::from),
        }
    }

    /// With how far it has come where it is not served.
    pub(super) async fn rested(self, registry: &Registry, record: &SubscriptionRecord, by: Instant) -> Self {
        let resting = registry.resting(record, by).await.map(DeliveryEntity::from);
        Self { delivery: resting.or(self.delivery), ..self }
    }
}
