//! The broker that a spool is before, and by what a message is known to be meant for it.
//!
//! Settings only say where to ask; which broker answers there is learnt from the broker itself, beside the
//! messages. A message that is taken before that counts as meant for whatever the settings name.

use std::{
    fmt,
    sync::{Arc, OnceLock, Weak},
};

use tokio::time::sleep;

use super::{FIRST_DELAY, LONGEST_DELAY};
use crate::{BrokerDriver, DriverError};

pub(super) struct Destination {
    pub(super) driver: Arc<dyn BrokerDriver>,
    /// As the settings name it.
    address: String,
    identity: OnceLock<String>,
}

/// Which broker a message was taken for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum MeantFor {
    /// The one that says so of itself.
    Identity(String),
    /// The one that settings name like this; which one that was nobody knew.
    Address(String),
}

impl fmt::Display for MeantFor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Identity(text) | Self::Address(text) => f.write_str(text),
        }
    }
}

impl Destination {
    /// The broker of this driver. Which one it is, is learnt in the background.
    pub(super) fn new(driver: Arc<dyn BrokerDriver>, address: String) -> Arc<Self> {
        let destination = Arc::new(Self { driver, address, identity: OnceLock::new() });
        tokio::spawn(learn(Arc::downgrade(&destination)));
        destination
    }

    /// What messages are to carry that are taken now.
    pub(super) fn meant(&self) -> MeantFor {
        match self.identity.get() {
            Some(identity) => MeantFor::Identity(identity.clone()),
            None => MeantFor::Address(self.address.clone()),
        }
    }

    /// Whether a message is meant for this broker. An error, mostly while the broker is away: not known yet.
    pub(super) async fn is_meant(&self, meant: &MeantFor) -> Result<bool, DriverError> {
        match meant {
            MeantFor::Identity(identity) => Ok(*identity == self.identity().await?),
            MeantFor::Address(address) => Ok(*address == self.address),
        }
    }

    async fn identity(&self) -> Result<String, DriverError> {
        if let Some(known) = self.identity.get() {
            return Ok(known.clone());
        }
        let identity = self.driver.identity().await?;
        Ok(self.identity.get_or_init(|| identity).clone())
    }
}

/// Asks until the broker says which one it is, or nobody wants to know any more.
async fn learn(destination: Weak<Destination>) {
    let mut delay = FIRST_DELAY;
    while let Some(asking) = destination.upgrade() {
        match asking.identity().await {
            Err(error) if error.retryable() => drop(asking),
            _ => return,
        }
        sleep(delay).await;
        delay = (delay * 2).min(LONGEST_DELAY);
    }
}
