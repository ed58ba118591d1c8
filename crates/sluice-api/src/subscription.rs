//! Subscriptions: which application uses an event API by which plan, and how it is called.

use std::{collections::BTreeMap, fmt};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{ApiId, Callback, HubTerms, PlanId};

/// The id of a subscription.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct SubscriptionId(pub String);

impl fmt::Display for SubscriptionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The id of an application.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct ApplicationId(pub String);

impl fmt::Display for ApplicationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A subscription that is called by the gateway. Its life (asked for, accepted, paused, closed) is the
/// management's; the gateway is given those that are to be served.
#[derive(Debug, Clone, PartialEq)]
pub struct Subscription {
    /// Its id, unique among all subscriptions.
    pub id: SubscriptionId,
    /// The API whose messages it gets.
    pub api: ApiId,
    /// The plan by which it gets them.
    pub plan: PlanId,
    /// Whose it is.
    pub application: ApplicationId,
    /// The name of the application, for expressions and logs.
    pub application_name: String,
    /// The client id of the application, for expressions.
    pub client_id: Option<String>,
    /// What the subscriber said about itself, for filters.
    pub metadata: BTreeMap<String, String>,
    /// The part of the API that it asked for: its channel, where it has some; compared with the channels of flows.
    pub channel: Option<String>,
    /// How it is called.
    pub callback: Callback,
    /// What was agreed on at the hub; `None` for one that was made in another way.
    pub hub: Option<HubTerms>,
    /// When it begins: milliseconds since 1970-01-01 UTC; at once when absent.
    pub starting_at: Option<i64>,
    /// When it ends: milliseconds since 1970-01-01 UTC; never when absent.
    pub ending_at: Option<i64>,
}
