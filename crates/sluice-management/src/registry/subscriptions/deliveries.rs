//! How the deliveries to subscribers stand, and having them done once more.

use sluice_api::SubscriptionId;
use sluice_delivery::{DeliveryState, Replay, Resting};
use sluice_store::{ConsumerStatus, SubscriptionRecord, SubscriptionStatus};
use tokio::time::Instant;

use super::{Registry, RegistryError};

impl Registry {
    /// How the delivery of a subscription stands; `None` where the gateway has nothing to do for it.
    pub fn delivery_state(&self, record: &SubscriptionRecord) -> Option<DeliveryState> {
        // Not of one that has just been told to stop.
        is_wanted(record).then(|| self.inner.gateway.delivery_state(&record.id)).flatten()
    }

    /// How far an open subscription has come that is not served: paused, stopped or failed. `None` of any other. The
    /// broker has until `deadline` to say how much is left.
    pub async fn resting(&self, record: &SubscriptionRecord, deadline: Instant) -> Option<Resting> {
        let SubscriptionRecord { id, api, consumer, .. } = record;
        if is_wanted(record) || !record.status.is_open() {
            return None;
        }
        let resting = self.inner.gateway.resting(id, api, consumer.channel.as_deref(), deadline).await;
        resting
            .inspect_err(|error| tracing::warn!(subscription = %id, %error, "It cannot be read how far a subscription has come."))
            .ok()
    }

    /// Has messages of a subscription delivered once more. From where is durable when this is done; the messages
    /// follow.
    pub async fn replay(&self, id: &SubscriptionId, replay: Replay) -> Result<(), RegistryError> {
        if !self.subscription(id)?.status.is_open() {
            let message = "The subscription is closed.";
            return Err(RegistryError::refused("", "subscription.closed", message));
        }
        Ok(self.inner.gateway.replay(id, replay).await?)
    }
}

/// Whether a subscription is to be served.
fn is_wanted(record: &SubscriptionRecord) -> bool {
    record.status == SubscriptionStatus::Accepted && record.consumer_status == ConsumerStatus::Started
}
