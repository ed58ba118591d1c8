//! What a deployed API offers its subscribers.

use std::{collections::HashMap, fmt, sync::Arc};

use prometheus_client::metrics::{counter::Counter, gauge::Gauge};
use sluice_api::{ApiId, Qos, Subscription, WebhookConfig};
use sluice_broker::BrokerDriver;
use sluice_message::Topic;
use sluice_policy::{Chains, ChosenBy};
use sluice_stream::Begin;
use tokio::sync::Semaphore;

use crate::Failure;

/// An API as its subscribers' workers see it.
pub struct Route {
    /// The API, for logs.
    pub api: ApiId,
    /// The broker that messages come from.
    pub driver: Arc<dyn BrokerDriver>,
    /// Its topics, where it has no channels.
    pub topics: Vec<Topic>,
    /// The topics of each of its channels, where it has some.
    pub channels: HashMap<String, Vec<Topic>>,
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

impl Route {
    /// The topics of a subscription: those of its channel, where the API has channels.
    ///
    /// # Errors
    /// There is no such channel (`delivery.channel.unknown`).
    pub(crate) fn topics_of(&self, subscription: &Subscription) -> Result<&[Topic], Failure> {
        self.topics_at(subscription.channel.as_deref())
    }

    /// The same for a subscription that asked for this channel.
    pub(crate) fn topics_at(&self, channel: Option<&str>) -> Result<&[Topic], Failure> {
        if self.channels.is_empty() {
            return Ok(&self.topics);
        }
        let channel = channel.unwrap_or_default().trim_matches('/');
        self.channels.get(channel).map(Vec::as_slice).ok_or_else(|| {
            let text = format!("The API has no channel '{channel}'; it serves its subscribers by channels.");
            Failure::new("delivery.channel.unknown", text)
        })
    }
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
