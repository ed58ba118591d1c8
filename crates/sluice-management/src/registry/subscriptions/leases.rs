//! Leases: subscriptions that were made at a hub and end by themselves. Deliveries end on time by what the gateway was
//! told with the subscription; here is what becomes of the record.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use sluice_store::Timestamp;
use tokio::time::timeout;

use super::{Inner, Registry, RegistryError, changes::end};

/// Why a subscription is over that nobody has renewed.
pub(in super::super) const LEASE_OVER: &str = "The lease is over.";

/// The longest time between two looks: the system's clock may be set meanwhile.
const LONGEST_SLEEP: Duration = Duration::from_secs(30);

/// The shortest, so that many leases that end one after the other are written together.
const SHORTEST_SLEEP: Duration = Duration::from_millis(200);

/// Subscriptions that are closed in one go, between which other changes have their turn.
const AT_ONCE: usize = 500;

impl Registry {
    /// Closes subscriptions whose lease is over, in the background, as long as there is a registry.
    pub(in super::super) fn watch_leases(&self) {
        let inner = Arc::downgrade(&self.inner);
        tokio::spawn(async move {
            while let Some(sleep) = look(&inner).await {
                tokio::time::sleep(SHORTEST_SLEEP).await;
                let Some(changed) = inner.upgrade().map(|inner| Arc::clone(&inner.leases_changed)) else {
                    return;
                };
                // Either way it is looked again.
                let _elapsed = timeout(sleep, changed.notified()).await;
            }
        });
    }

    /// Closes what is over now.
    pub(in super::super) async fn close_overdue(&self) -> Result<(), RegistryError> {
        while self.exclusively(async move |inner| inner.close_some_overdue().await).await? == AT_ONCE {}
        Ok(())
    }
}

/// Closes what is over, and says how long nothing will be; `None` when there is no registry any more.
async fn look(inner: &Weak<Inner>) -> Option<Duration> {
    let registry = Registry { inner: inner.upgrade()? };
    if let Err(error) = registry.close_overdue().await {
        tracing::error!(%error, "Subscriptions whose lease is over could not be closed; they are tried again.");
        return Some(LONGEST_SLEEP);
    }
    let next = registry.inner.read().subscriptions.next_end();
    let wait = next.map(|end| u64::try_from(end.0.saturating_sub(Timestamp::now().0)).unwrap_or_default());
    Some(wait.map_or(LONGEST_SLEEP, Duration::from_millis).min(LONGEST_SLEEP))
}

impl Inner {
    async fn close_some_overdue(&self) -> Result<usize, RegistryError> {
        let over = self.read().subscriptions.over(Timestamp::now(), AT_ONCE);
        if over.is_empty() {
            return Ok(0);
        }
        let closed = over.iter().map(|record| {
            let mut record = (**record).clone();
            end(&mut record, LEASE_OVER);
            record
        });
        self.keep_subscriptions(closed.collect()).await?;
        tracing::info!(subscriptions = over.len(), "The leases of subscriptions are over.");
        Ok(over.len())
    }
}
