//! The records that are kept.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sluice_api::{ApiId, ApplicationId, EventApi, Plan};

/// A moment: milliseconds since the beginning of 1970, UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// This moment by the system's clock.
    pub fn now() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
    }

    /// This moment, or the one right behind `earlier` should the clock stand still or go back: times that
    /// mark versions of a record always grow.
    #[must_use]
    pub fn now_after(earlier: Self) -> Self {
        Self::now().max(Self(earlier.0.saturating_add(1)))
    }

    /// So much later.
    #[must_use]
    pub fn after(self, time: Duration) -> Self {
        let millis = i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
        Self(self.0.saturating_add(millis))
    }
}

/// What a management contract keeps beside a definition and hands back, without meaning for the gateway.
pub type Catalogue = Map<String, Value>;

/// An event API as it is managed.
#[derive(Debug, Clone, PartialEq)]
pub struct ApiRecord {
    /// The definition as last edited. Its plans are in [`ApiRecord::plans`], not here.
    pub draft: EventApi,
    /// The definition as last deployed, also without plans.
    pub deployed: Option<EventApi>,
    /// The plans in the order in which they were made.
    pub plans: Vec<PlanRecord>,
    /// Whether the API is to be served.
    pub started: bool,
    /// What a contract keeps beside the definition.
    pub catalogue: Catalogue,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last changed, started, stopped or deployed; grows with each.
    pub updated_at: Timestamp,
    /// When the deployed definition was deployed.
    pub deployed_at: Option<Timestamp>,
}

impl ApiRecord {
    /// The id that draft and deployed definition share.
    pub const fn id(&self) -> &ApiId {
        &self.draft.id
    }
}

/// A plan of an event API.
#[derive(Debug, Clone, PartialEq)]
pub struct PlanRecord {
    /// The plan itself.
    pub plan: Plan,
    /// What a contract keeps beside the plan.
    pub catalogue: Catalogue,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last changed, published or closed.
    pub updated_at: Timestamp,
    /// When it was published.
    pub published_at: Option<Timestamp>,
    /// When it was closed.
    pub closed_at: Option<Timestamp>,
}

/// An application: who subscribes to plans.
#[derive(Debug, Clone, PartialEq)]
pub struct ApplicationRecord {
    /// Its id.
    pub id: ApplicationId,
    /// For people.
    pub name: String,
    /// For people.
    pub description: String,
    /// The name under which it is known to an authorization server, for expressions.
    pub client_id: Option<String>,
    /// What a contract keeps beside it.
    pub catalogue: Catalogue,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
    /// When it was put away; it is in use when absent.
    pub archived_at: Option<Timestamp>,
}
