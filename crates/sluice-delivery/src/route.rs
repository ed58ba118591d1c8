//! What a deployed API offers its subscribers.

use std::{fmt, sync::Arc};

use prometheus_client::metrics::{counter::Counter, gauge::Gauge};
use sluice_api::{ApiId, Qos, WebhookConfig};
use sluice_broker::BrokerDriver;
use sluice_message::Topic;
use sluice_policy::{Chains, ChosenBy};
use sluice_stream::Begin;
use tokio::sync::Semaphore;

/// An API as its subscribers' workers see it.
pub struct Route {
    /// The API, for logs.
    pub api: ApiId,
    /// The broker that messages come from.
    pub driver: Arc<dyn BrokerDriver>,
    /// Its topics.
    pub topics: Vec<Topic>,
    /// The attributes by which policies choose other topics.
    pub chosen_by: ChosenBy,
    /// Where a subscription without a position begins.
    pub begin: Begin,
    /// How much is promised about delivery.
    pub qos: Qos,
    /// The policies.
    pub chains: Chains,
    /// What all calls have in common.
    pub webhook: WebhookConfig,
    /// Where messages go that a subscriber does not take.
    pub dead_letters: Option<DeadLetters>,
    /// A permit for each call under way, so that the subscribers of one API cannot take all that there are.
    pub calls: Semaphore,
    /// What is counted.
    pub metrics: DeliveryMetrics,
}

/// Where messages go that a subscriber does not take.
pub struct DeadLetters {
    /// The broker.
    pub driver: Arc<dyn BrokerDriver>,
    /// Its topics. Each letter goes to all of them.
    pub topics: Vec<Topic>,
}

impl DeadLetters {
    /// The topics from which letters are brought again: the first, as it has all that the others have.
    pub(crate) fn read(&self) -> &[Topic] {
        self.topics.get(..1).unwrap_or_default()
    }
}

/// What is counted of the deliveries of one API. Handles are shared: a clone counts into the same numbers.
#[derive(Debug, Clone, Default)]
pub struct DeliveryMetrics {
    /// Messages that a subscriber has taken, counted for each.
    pub delivered: Counter,
    /// Messages that a policy kept back.
    pub dropped_by_policy: Counter,
    /// Messages that a subscription without promises missed, because it was too slow.
    pub skipped: Counter,
    /// Messages that the broker had dropped before they could be delivered, or that were left at a former broker or in
    /// a dropped topic; about.
    pub lost: Counter,
    /// Dead letters that were brought again, and are dealt with.
    pub replayed: Counter,
    /// Dead letters that could not be brought again, as their message was too large to be put there.
    pub letters_passed_over: Counter,
    /// Calls that did not succeed.
    pub failed_calls: Counter,
    /// Messages that were put with the dead letters.
    pub dead_lettered: Counter,
    /// Messages that were given up, as the API says they are to be.
    pub given_up: Counter,
    /// Headers of messages that HTTP cannot carry.
    pub headers_left_out: Counter,
    /// Subscriptions that are being served.
    pub subscriptions: Gauge,
    /// Subscribers that are left alone, as their circuit is open.
    pub open_circuits: Gauge,
}

impl fmt::Debug for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Route").field("api", &self.api).finish_non_exhaustive()
    }
}
