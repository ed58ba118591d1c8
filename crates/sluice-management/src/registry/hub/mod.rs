//! What the hub of the gateway asks and has done: requests are kept until they are settled, and become subscriptions
//! like any other.
//!
//! The protocol is the hub's; which address is asked, and whether it means it, is known there. Here is only what comes
//! of it.

mod settling;

use std::sync::{Arc, Weak};

use futures_util::future::BoxFuture;
use sluice_api::{ApiId, SubscriptionId, WebsubConfig};
use sluice_store::{ApiRecord, HubBeginning, HubMode, HubRequestRecord, Timestamp};
use sluice_websub::{Begins, Desk, DeskError, HubRequest, Mode, Standing};

pub(super) use settling::Settling;

use super::{Inner, Registry};

/// Whose the subscriptions are that are made at a hub, and by whom they were asked for: nobody says a name there.
pub(super) const HUB: &str = "websub";

impl Registry {
    /// Where the hub keeps what it was asked. It does not keep the registry: without one it fails.
    pub fn desk(&self) -> Arc<dyn Desk> {
        Arc::new(HubDesk(Arc::downgrade(&self.inner)))
    }
}

/// The settings by which the subscribers at the hub of an API are called.
pub(super) fn served_websub(record: &ApiRecord) -> Option<&WebsubConfig> {
    record.deployed.as_ref().unwrap_or(&record.draft).websub()
}

/// The desk of a registry that may be gone.
struct HubDesk(Weak<Inner>);

impl HubDesk {
    fn registry(&self) -> Result<Registry, DeskError> {
        let inner = self.0.upgrade().ok_or_else(|| DeskError("The gateway is being stopped.".to_owned()))?;
        Ok(Registry { inner })
    }
}

impl Desk for HubDesk {
    fn keep(&self, request: HubRequest) -> BoxFuture<'_, Result<(), DeskError>> {
        Box::pin(async move {
            let store = &self.registry()?.inner.store;
            store.save_hub_request(&to_record(request)).await.map_err(told)
        })
    }

    fn unsettled(&self) -> BoxFuture<'_, Result<Vec<HubRequest>, DeskError>> {
        Box::pin(async move {
            let mut requests = Vec::new();
            for record in self.registry()?.inner.store.hub_requests().await.map_err(told)? {
                match record {
                    Ok(record) => requests.push(of_record(record)),
                    Err(error) => {
                        tracing::error!(%error, "A request to the hub is not settled: it can not be read.");
                    }
                }
            }
            Ok(requests)
        })
    }

    fn fulfil<'a>(
        &'a self,
        request: &'a HubRequest,
    ) -> BoxFuture<'a, Result<Option<SubscriptionId>, DeskError>> {
        Box::pin(async move { self.registry()?.fulfil(request).await.map_err(told) })
    }

    fn drop_request<'a>(&'a self, request: &'a HubRequest) -> BoxFuture<'a, Result<(), DeskError>> {
        Box::pin(async move {
            let store = &self.registry()?.inner.store;
            store.settle_hub_requests(&[&request.id], &[], &[]).await.map_err(told)
        })
    }

    fn standing(&self, api: &ApiId, channel: &str, callback: &str) -> Standing {
        let Ok(Registry { inner }) = self.registry() else { return Standing::Unknown };
        let state = inner.read();
        let known = state.subscriptions.at_hub(api, channel, callback);
        let now = Timestamp::now();
        match known.filter(|known| known.ending_at.is_none_or(|end| end > now)) {
            Some(_) => Standing::Subscribed,
            None => Standing::Unknown,
        }
    }

    fn count(&self, api: &ApiId) -> usize {
        self.registry().map_or(0, |registry| registry.inner.read().subscriptions.count_at_hub(api))
    }
}

fn told(error: impl std::fmt::Display) -> DeskError {
    DeskError(error.to_string())
}

fn to_record(request: HubRequest) -> HubRequestRecord {
    HubRequestRecord {
        id: request.id,
        api: request.api,
        channel: request.channel,
        plan: request.plan,
        mode: match request.mode {
            Mode::Subscribe => HubMode::Subscribe,
            Mode::Unsubscribe => HubMode::Unsubscribe,
        },
        callback: request.callback,
        terms: request.terms,
        metadata: request.metadata,
        begins: request.begins.map(|Begins { broker, position }| HubBeginning { broker, position }),
        received_at: Timestamp(request.received_at_ms),
    }
}

fn of_record(record: HubRequestRecord) -> HubRequest {
    HubRequest {
        id: record.id,
        api: record.api,
        channel: record.channel,
        plan: record.plan,
        mode: match record.mode {
            HubMode::Subscribe => Mode::Subscribe,
            HubMode::Unsubscribe => Mode::Unsubscribe,
        },
        callback: record.callback,
        terms: record.terms,
        metadata: record.metadata,
        begins: record.begins.map(|HubBeginning { broker, position }| Begins { broker, position }),
        received_at_ms: record.received_at.0,
    }
}
