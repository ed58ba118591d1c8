//! A subscription as it is kept: who uses which event API by which plan, how it is called, and where it is in
//! its life. Data only; who may change it when is the registry's part.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sluice_api::{ApiId, ApplicationId, Callback, HubTerms, PlanId, Secret, SubscriptionId};

use crate::Timestamp;

/// A subscription of an application to a plan of an event API.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SubscriptionRecord {
    /// Its id, unique among all subscriptions.
    pub id: SubscriptionId,
    /// The API whose messages it gets.
    pub api: ApiId,
    /// The plan by which it gets them.
    pub plan: PlanId,
    /// Whose it is.
    pub application: ApplicationId,
    /// How its messages are handed over.
    pub consumer: ConsumerConfiguration,
    /// What the subscriber said about itself, for filters.
    pub metadata: BTreeMap<String, String>,
    /// What the publisher says: whether it may.
    pub status: SubscriptionStatus,
    /// What the consumer says: whether it wants to.
    pub consumer_status: ConsumerStatus,
    /// Why its delivery ended: while its consumer status is a failure, and where it was closed because its lease was
    /// over or its subscriber gone.
    pub failure_cause: Option<String>,
    /// What the consumer said when it asked.
    pub consumer_message: Option<String>,
    /// What the publisher said when it agreed, or did not.
    pub publisher_message: Option<String>,
    /// Who asked for it.
    pub subscribed_by: String,
    /// Who agreed, or did not.
    pub processed_by: Option<String>,
    /// When that was.
    pub processed_at: Option<Timestamp>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last changed; grows with each change.
    pub updated_at: Timestamp,
    /// When it begins; at once when absent.
    pub starting_at: Option<Timestamp>,
    /// When it ends; never when absent.
    pub ending_at: Option<Timestamp>,
    /// When it was closed.
    pub closed_at: Option<Timestamp>,
    /// Since when the publisher has it pause.
    pub paused_at: Option<Timestamp>,
    /// Since when the consumer has it pause.
    pub consumer_paused_at: Option<Timestamp>,
}

/// How the messages of a subscription are handed over.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ConsumerConfiguration {
    /// The connector id of the receiver, as it was written.
    pub connector: String,
    /// The part of the API that is asked for: compared with the channels of flows.
    pub channel: Option<String>,
    /// How the subscriber is called.
    pub callback: Callback,
    /// What was agreed on at the hub; `None` for one that was made in another way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hub: Option<HubTerms>,
}

impl ConsumerConfiguration {
    /// Every secret with its field path: those of the callback relative to it.
    pub(crate) fn secrets_mut(&mut self) -> Vec<(String, &mut Secret)> {
        let mut secrets = self.callback.secrets_mut();
        let hub = self.hub.as_mut().and_then(|hub| hub.secret.as_mut());
        secrets.extend(hub.map(|secret| ("hub.secret".to_owned(), secret)));
        secrets
    }
}

/// What the publisher says about a subscription.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum SubscriptionStatus {
    /// Asked for.
    Pending,
    /// Agreed to.
    Accepted,
    /// Not agreed to.
    Rejected,
    /// Agreed to, and stopped for a while.
    Paused,
    /// Over.
    Closed,
}

impl SubscriptionStatus {
    /// Whether it can still come to deliveries.
    pub const fn is_open(self) -> bool {
        matches!(self, Self::Pending | Self::Accepted | Self::Paused)
    }
}

/// What the consumer says about a subscription.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ConsumerStatus {
    /// It wants messages.
    Started,
    /// It wants none for a while.
    Stopped,
    /// It did not take them; delivery stopped until somebody says to go on.
    Failure,
}
