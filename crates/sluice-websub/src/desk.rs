//! Where the hub keeps what it was asked, and what came of it. Somebody else's work: the hub knows the trait only.

use std::collections::BTreeMap;

use futures_util::future::BoxFuture;
use sluice_api::{ApiId, HubTerms, PlanId, SubscriptionId};

/// What a subscriber asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// To be called.
    Subscribe,
    /// Not to be called any more.
    Unsubscribe,
}

impl Mode {
    /// Its name in `hub.mode`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Subscribe => "subscribe",
            Self::Unsubscribe => "unsubscribe",
        }
    }
}

/// A request that was answered 202 and is not settled yet.
#[derive(Debug, Clone, PartialEq)]
pub struct HubRequest {
    /// Unique.
    pub id: String,
    /// The API.
    pub api: ApiId,
    /// Its channel.
    pub channel: String,
    /// The plan by which it was admitted.
    pub plan: PlanId,
    /// What is asked for.
    pub mode: Mode,
    /// Who is to be called.
    pub callback: String,
    /// What will be agreed on. The lease is the one that the hub grants.
    pub terms: HubTerms,
    /// What policies have noted about the subscriber, for filters.
    pub metadata: BTreeMap<String, String>,
    /// Where a new subscription begins; `None` where it is to unsubscribe.
    pub begins: Option<Begins>,
    /// When it was answered: milliseconds since 1970-01-01 UTC.
    pub received_at_ms: i64,
}

/// How far a channel had come at the moment of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Begins {
    /// At which broker, by its driver's identity.
    pub broker: String,
    /// The position, as its text.
    pub position: String,
}

/// What there is of a callback and a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// A subscription that is open.
    Subscribed,
    /// None.
    Unknown,
}

/// Something could not be kept, or not be read.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct DeskError(pub String);

/// Keeps requests and subscriptions. What it says is durable.
pub trait Desk: Send + Sync + 'static {
    /// Keeps a request until it is settled. Of several for one callback and channel all are kept.
    fn keep(&self, request: HubRequest) -> BoxFuture<'_, Result<(), DeskError>>;

    /// The requests that are not settled, the oldest first: what a restart has interrupted.
    fn unsettled(&self) -> BoxFuture<'_, Result<Vec<HubRequest>, DeskError>>;

    /// Does what a verified request asks for, in one step with forgetting the request. To subscribe makes a subscription
    /// whose lease begins now, at the position of the request; or renews the open one of the same callback and channel,
    /// with the new lease, secret and addresses and where it is in its topics, also where it had failed. To
    /// unsubscribe closes it; where there is none nothing happens. `None` where the API or its channel is gone
    /// meanwhile, and where nothing happened; the request is then kept until it is dropped.
    fn fulfil<'a>(
        &'a self,
        request: &'a HubRequest,
    ) -> BoxFuture<'a, Result<Option<SubscriptionId>, DeskError>>;

    /// Forgets a request that was not verified. What was there before it stays.
    fn drop_request<'a>(&'a self, request: &'a HubRequest) -> BoxFuture<'a, Result<(), DeskError>>;

    /// What there is of a callback and a channel now; without I/O.
    fn standing(&self, api: &ApiId, channel: &str, callback: &str) -> Standing;

    /// How many open subscriptions an API has; without I/O.
    fn count(&self, api: &ApiId) -> usize;
}
