//! How the deliveries to subscribers stand, and having them done once more.

use sluice_api::SubscriptionId;
use sluice_delivery::{DeliveryState, Replay};

use super::{Registry, RegistryError};

impl Registry {
    /// How the delivery of a subscription stands; `None` where the gateway has nothing to do for it.
    pub fn delivery_state(&self, id: &SubscriptionId) -> Option<DeliveryState> {
        self.inner.gateway.delivery_state(id)
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
