//! How a registry begins: what the store has is read and made to run, and from then on is told what ends by itself.

use std::{
    sync::{Arc, RwLock},
    time::Duration,
};

use sluice_gateway::Gateway;
use sluice_store::{ApiRecord, Store};
use tokio::sync::Mutex;

use super::{
    Inner, ManagedApi, Origin, Registry, RegistryError, State, credentials, hub, live, sentences,
    subscriptions::Among,
};

/// The wait before a failure that the store did not take is given to it again; it doubles each time.
const FIRST_WAIT: Duration = Duration::from_millis(100);

/// The longest such wait.
const LONGEST_WAIT: Duration = Duration::from_secs(30);

impl Registry {
    /// Reads what the store has, deploys what was started and serves its subscriptions: both steps of a start
    /// at once.
    pub async fn open(store: Store, gateway: Gateway) -> Result<Self, RegistryError> {
        let registry = Self::open_apis(store, gateway).await?;
        registry.open_subscriptions().await?;
        Ok(registry)
    }

    /// Reads the event APIs that the store has, and deploys what was started. One that cannot be read, or does
    /// not compile any more, is logged and shown, and stops neither the others nor the start. Nothing is to be
    /// changed before [`open_subscriptions`](Self::open_subscriptions) has come to its end too; it is apart, so
    /// that web clients do not wait for a hundred thousand subscriptions.
    pub async fn open_apis(store: Store, gateway: Gateway) -> Result<Self, RegistryError> {
        // Before the APIs, which are to know them with their first request.
        let credentials = credentials::read(&store).await?;
        for (api, held) in &credentials {
            gateway.credentials(api).set_keys(held.usable_keys());
            gateway.credentials(api).set_secrets(held.usable_secrets());
        }
        let mut state = State { credentials, ..State::default() };
        for (id, record) in store.apis().await? {
            match record {
                Ok(record) => {
                    let api = restored(record, &gateway);
                    state.apis.insert(id, Arc::new(api));
                }
                Err(error) => {
                    tracing::error!(api = %id, %error, "An event API is not served: it can not be read.");
                    state.unreadable.insert(id, error.to_string());
                }
            }
        }
        for record in store.applications().await? {
            state.applications.insert(record.id.clone(), Arc::new(record));
        }
        let (state, leases_changed) = (RwLock::new(state), Arc::default());
        let inner = Inner {
            store,
            gateway,
            changing: Mutex::default(),
            state,
            leases_changed,
            settling: hub::Settling::default(),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Reads the subscriptions that the store has, and serves those that are to be served.
    pub async fn open_subscriptions(&self) -> Result<(), RegistryError> {
        let read = self.inner.store.subscriptions().await?;
        {
            let mut state = self.inner.write();
            for (id, record) in read {
                match record {
                    Ok(record) => state.subscriptions.insert(Arc::new(record)),
                    Err(error) => {
                        tracing::error!(subscription = %id, %error, "A subscription is not served: it can not be read.");
                    }
                }
            }
        }
        // What a crash left half done: the plan closed, its subscriptions not yet.
        self.inner.close_ended_subscriptions(&Among::All).await?;
        self.close_overdue().await?;
        self.inner.serve_all_subscriptions();
        self.watch_leases();
        self.listen_for_failures();
        Ok(())
    }

    /// Notes in the background what the gateway says of subscriptions that it cannot serve.
    fn listen_for_failures(&self) {
        let Some(mut failed) = self.inner.gateway.failed_subscriptions() else { return };
        // Not the registry itself: it would never be let go of.
        let inner = Arc::downgrade(&self.inner);
        tokio::spawn(async move {
            while let Some(failed) = failed.recv().await {
                let (cause, mut wait) = (failed.cause.to_string(), FIRST_WAIT);
                // A record that says of a failed subscription that it is served would be believed.
                loop {
                    let Some(inner) = inner.upgrade() else { return };
                    let registry = Self { inner };
                    let noted = registry.fail_subscription(&failed.served, failed.cause.code, &cause).await;
                    let Err(error) = noted else { break };
                    tracing::error!(
                        subscription = %failed.served.id, %error, "The failure of a subscription could not be noted."
                    );
                    if !matches!(error, RegistryError::Store(_)) {
                        break;
                    }
                    drop(registry);
                    tokio::time::sleep(wait).await;
                    wait = (wait * 2).min(LONGEST_WAIT);
                }
            }
        });
    }
}

fn restored(record: ApiRecord, gateway: &Gateway) -> ManagedApi {
    let deployed = live(&record).map_or(Ok(()), |live| gateway.deploy(live));
    let faults = deployed.err().unwrap_or_default();
    if !faults.is_empty() {
        let problems = sentences(&faults);
        tracing::error!(api = %record.id(), problems, "A started event API can not be served any more.");
    }
    ManagedApi { record, origin: Origin::Management, settled: faults.is_empty(), faults }
}
