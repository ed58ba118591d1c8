//! What a receiver is given of the event API that it serves.

use std::{borrow::Cow, sync::Arc, time::Duration};

use prometheus_client::metrics::{counter::Counter, gauge::Gauge};
use sluice_api::{ApiId, EventApi};
use sluice_broker::BrokerDriver;
use sluice_message::{Message, Topic};
use sluice_policy::{Caller, Chains, ChosenBy, Credentials, Misled};
use sluice_stream::{Begin, Hubs, Notes, Positions};
use tokio::sync::Semaphore;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    endpoints::{Endpoints, Way},
    failures::FailureLog,
    idempotency::KeysInUse,
    streams::Streams,
    succession::Succession,
};

/// An event API as its receivers see it: a broker, topics, policies, bounds.
pub struct Binding {
    /// The API served, for logs.
    pub api: ApiId,
    /// The definition served.
    pub definition: Arc<EventApi>,
    /// The channel that it is about, where the API has channels.
    pub channel: Option<Arc<str>>,
    /// The keys and secrets of the API.
    pub credentials: Arc<Credentials>,
    /// The broker that messages come from.
    pub driver: Arc<dyn BrokerDriver>,
    /// What messages are published to: the same broker, or the spool before it.
    pub publisher: Arc<dyn BrokerDriver>,
    /// The name of the broker or group of brokers that it is about, where a policy chose it in place of those that
    /// serve.
    pub endpoint: Option<Arc<str>>,
    /// What policies can choose in place of these.
    pub endpoints: Arc<Endpoints>,
    /// Whose connections these are, where clients have connections of their own: what is remembered of a client counts
    /// there alone.
    pub whose: Option<Arc<str>>,
    /// The topics that each published message goes to.
    pub publish_topics: Vec<Topic>,
    /// The topics that messages are delivered from.
    pub deliver_topics: Vec<Topic>,
    /// The attributes by which policies choose other topics.
    pub chosen_by: ChosenBy,
    /// Where a client that brings no position begins.
    pub begin: Begin,
    /// The hubs that clients share: one broker consumer each. They have nothing to do with those of WebSub.
    pub hubs: Arc<Hubs>,
    /// How far the clients have come that the gateway remembers from one request to the next.
    pub positions: Arc<dyn Positions>,
    /// What else the gateway remembers from one request to the next.
    pub notes: Arc<dyn Notes>,
    /// The keys of publishes that are under way; shared by all APIs.
    pub keys_in_use: Arc<KeysInUse>,
    /// All streams of the gateway that are open.
    pub streams: Arc<Streams>,
    /// The policies.
    pub chains: Chains,
    /// The largest request body, in bytes.
    pub max_body_bytes: usize,
    /// Bytes of request bodies and of WebSocket messages that the gateway may hold at once, one permit a byte;
    /// shared by all APIs.
    pub body_bytes: Arc<Semaphore>,
    /// How long a request body, or a WebSocket message in several pieces, may take to arrive.
    pub body_timeout: Duration,
    /// Set when the API stops serving: streams say goodbye and end.
    pub drain: CancellationToken,
    /// What comes in place of this when the API is deployed anew: streams move there, or say goodbye.
    pub succession: Succession,
    /// What is counted of this API.
    pub metrics: ApiMetrics,
    /// Tells the log of publishes that failed.
    pub failures: Arc<FailureLog>,
    /// Everything in flight holds a token of it, so that a drain can wait.
    pub in_flight: TaskTracker,
}

impl Binding {
    /// The topics that a client is sent that may be in a group.
    ///
    /// # Errors
    /// There are none that this API can use; counted.
    pub(crate) fn shared_topics_for(&self, caller: &Caller) -> Result<Cow<'_, [Topic]>, Misled> {
        self.counted(self.chosen_by.deliver_shared(&self.deliver_topics, caller))
    }

    /// The topics that a client is sent whose receiver serves no groups.
    ///
    /// # Errors
    /// There are none that this API can use, or the client is in a group; counted.
    pub(crate) fn topics_for(&self, caller: &Caller) -> Result<Cow<'_, [Topic]>, Misled> {
        self.counted(self.chosen_by.deliver(&self.deliver_topics, caller))
    }

    /// A message of a client with its record key, and the topics that it goes to on this way.
    ///
    /// # Errors
    /// There is no key, or are no topics, that this API can use; counted.
    pub(crate) fn addressed<'a>(
        &self,
        way: Way<'a>,
        caller: &Caller,
        message: Message,
    ) -> Result<(Message, Cow<'a, [Topic]>), Misled> {
        self.counted((|| {
            let message = way.chosen_by.with_key(caller, message)?;
            let message = way.chosen_by.with_response_topic(caller, message);
            let topics = way.chosen_by.publish(way.topics, caller, &message)?;
            Ok((message, topics))
        })())
    }

    pub(crate) fn counted<T>(&self, result: Result<T, Misled>) -> Result<T, Misled> {
        result.inspect_err(|_| {
            self.metrics.misled.inc();
        })
    }
}

impl std::fmt::Debug for Binding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Binding").field("api", &self.api).finish_non_exhaustive()
    }
}

/// What is counted of one event API. Handles are shared: a clone counts into the same numbers.
#[derive(Debug, Clone, Default)]
pub struct ApiMetrics {
    /// Messages that the broker has acknowledged.
    pub published: Counter,
    /// Publish requests that were refused or failed, whoever's fault it was.
    pub publish_failed: Counter,
    /// Publish requests that were answered without publishing, because their key had been published with before.
    pub replayed: Counter,
    /// Messages with a key that were published, without that being noted: their repeats are published, too.
    pub unnoted: Counter,
    /// Messages written towards clients, counted for each client.
    pub delivered: Counter,
    /// Messages that a policy kept back, in either direction.
    pub dropped_by_policy: Counter,
    /// Messages that clients were too slow for, counted for each client.
    pub skipped: Counter,
    /// Messages that the broker had dropped before clients could get them, counted for each client.
    pub lost: Counter,
    /// Clients that were disconnected because they were too slow.
    pub overrun: Counter,
    /// Clients and messages for which a policy or the broker's settings came to no topic or key that can be used.
    pub misled: Counter,
    /// Streams open now.
    pub streams: Gauge,
}
