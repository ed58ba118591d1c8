//! The subscriptions that are to be served, as the management side hands them over. Where they are in their
//! life is decided there; what is put here is delivered while its API is deployed.

use sluice_api::{ApiId, Callback, Problem, Subscription, SubscriptionId};
use sluice_delivery::{DeliveryState, Failed, Failure, Replay, ReplayError, Resting};
use sluice_message::Position;
use tokio::{sync::mpsc, time::Instant};
use tracing::warn;

use crate::Gateway;

impl Gateway {
    /// Everything that keeps a subscriber from being called like this, with paths relative to the callback.
    /// Nothing is contacted.
    pub fn check_callback(&self, callback: &Callback) -> Vec<Problem> {
        self.deliveries().check(callback)
    }

    /// Serves a subscription from now on, in place of the one with the same id. Putting what is served already
    /// changes nothing.
    pub fn put_subscription(&self, subscription: Subscription) {
        self.deliveries().put(subscription);
    }

    /// Stores durably where a subscription begins that is not served yet: behind this position, at the broker of this
    /// [identity](sluice_broker::BrokerDriver::identity).
    ///
    /// # Errors
    /// The store does not take it.
    pub async fn begin_at(
        &self,
        id: &SubscriptionId,
        broker: &str,
        position: &Position,
    ) -> Result<(), String> {
        self.deliveries().begin_at(id, broker, position).await.map_err(|failure| failure.to_string())
    }

    /// Tells whoever was called for this topic of an API that it is subscribed no more, and why. In the background, and
    /// once.
    pub fn deny_hub_subscription(&self, api: &ApiId, callback: &str, topic: &str, reason: &str) {
        self.websub().deny(api, callback, topic, reason);
    }

    /// Resolves once everything published from now on will reach a subscription, or when that is not to be
    /// expected; at the latest after the time that a stream waits for its broker.
    pub async fn placed(&self, id: &SubscriptionId) {
        let timeout = self.options().hub.open_timeout;
        if tokio::time::timeout(timeout, self.deliveries().placed(id)).await.is_err() {
            warn!(subscription = %id, "A subscription has no place yet: its broker does not answer.");
        }
    }

    /// Serves a subscription no more. Its position is kept for a later time, unless it is to be forgotten.
    /// Removing what is not served changes nothing but the position.
    pub fn remove_subscription(&self, id: &SubscriptionId, forget_position: bool) {
        self.deliveries().remove(id, forget_position);
    }

    /// How the deliveries of a subscription stand; `None` when it is not served.
    pub fn delivery_state(&self, id: &SubscriptionId) -> Option<DeliveryState> {
        self.deliveries().state(id)
    }

    /// How far a subscription has come that is not served; its broker has until `deadline` to say how much is left.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn resting(
        &self,
        id: &SubscriptionId,
        api: &ApiId,
        channel: Option<&str>,
        deadline: Instant,
    ) -> Result<Resting, Failure> {
        self.deliveries().resting(id, api, channel, deadline).await
    }

    /// Brings messages once more to a subscription that is served.
    ///
    /// # Errors
    /// What speaks against it, with nothing done.
    pub async fn replay(&self, id: &SubscriptionId, replay: Replay) -> Result<(), ReplayError> {
        self.deliveries().replay(id, replay).await
    }

    /// Tells which subscriptions have failed and are served no more. For one listener; `None` for a second.
    pub fn failed_subscriptions(&self) -> Option<mpsc::Receiver<Failed>> {
        self.failures().take()
    }
}
