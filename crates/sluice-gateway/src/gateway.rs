//! The handle through which event APIs are deployed.

use std::{
    borrow::Cow,
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use arc_swap::ArcSwap;
use sluice_api::{ApiId, EventApi, Problem};
use sluice_broker::{BrokerDriver, DriverError, Spool, SpoolStatus};
use sluice_delivery::{Deliveries, DeliveryOptions, Failed};
use sluice_policy::{Credentials, Environment, with_values};
use sluice_receiver::{PublishFailure, Streams};
use sluice_stream::{HubOptions, Hubs, Notes, Positions, StreamMetrics, client_prefix};
use sluice_websub::{Hub, HubOptions as WebsubOptions};
use tokio::{
    sync::{Semaphore, mpsc},
    task::JoinSet,
};
use tokio_util::task::TaskTracker;
use tracing::{info, warn};

use crate::{
    BrokerStatus, broker_watch,
    client_brokers::ClientBrokers,
    deployment::{Counters, Deployment, Shared},
    drivers::{DriverFactory, Drivers},
    endpoints::Groups,
    key_rings::KeyRings,
    metrics::Metrics,
    moment::Moment,
    public_url::PublicUrl,
    routes::Routes,
};

/// Bounds and times of a gateway.
#[derive(Debug, Clone)]
pub struct GatewayOptions {
    /// Rings and times of the fan-out, by the hubs that streams share.
    pub hub: HubOptions,
    /// Bytes of request bodies held at once, by all APIs together.
    pub body_bytes: usize,
    /// How long a request body, or a WebSocket message in several pieces, may take to arrive.
    pub body_timeout: Duration,
    /// How long the policies that meet a client may take.
    pub request_timeout: Duration,
    /// How long a stop waits for what is in flight.
    pub drain_timeout: Duration,
    /// What expressions see beside messages and clients.
    pub environment: Arc<Environment>,
    /// How clients reach the gateway, for the addresses that a hub tells; by each request's own host when absent.
    pub public_url: Option<PublicUrl>,
    /// Bounds of the hubs of WebSub.
    pub websub: WebsubOptions,
    /// Bounds of calls to subscribers.
    pub deliveries: DeliveryOptions,
}

impl Default for GatewayOptions {
    fn default() -> Self {
        Self {
            hub: HubOptions::default(),
            body_bytes: 256 << 20,
            body_timeout: Duration::from_secs(30),
            request_timeout: Duration::from_secs(30),
            drain_timeout: Duration::from_secs(10),
            environment: Arc::default(),
            public_url: None,
            websub: WebsubOptions::default(),
            deliveries: DeliveryOptions::default(),
        }
    }
}

/// Runs event APIs. A cheap handle; all clones are the same gateway.
#[derive(Clone)]
pub struct Gateway(Arc<Inner>);

struct Inner {
    options: GatewayOptions,
    shared: Shared,
    metrics: Metrics,
    /// What is deployed, by id. The route table is made from it under this lock.
    deployments: Mutex<HashMap<ApiId, Arc<Deployment>>>,
    routes: ArcSwap<Routes>,
    deliveries: Deliveries,
    websub: Hub,
    /// Until somebody listens.
    failures: Mutex<Option<mpsc::Receiver<Failed>>>,
    /// Replaced and stopped deployments that still have something in flight.
    draining: TaskTracker,
}

impl std::fmt::Debug for Gateway {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gateway").finish_non_exhaustive()
    }
}

impl Gateway {
    /// A gateway without an API. `positions` is where it remembers how far its readers have come, `notes` is for
    /// what else has to outlive a restart.
    pub fn new(
        options: GatewayOptions,
        factory: Box<dyn DriverFactory>,
        positions: Arc<dyn Positions>,
        notes: Arc<dyn Notes>,
    ) -> Self {
        let stream = Arc::new(StreamMetrics::default());
        let hubs = Hubs::new(options.hub, Arc::clone(&stream));
        let (deliveries, failures) = Deliveries::new(
            options.deliveries.clone(),
            Arc::clone(&hubs),
            Arc::clone(&positions),
            Arc::clone(&notes),
        );
        let websub = Hub::new(options.websub.clone(), deliveries.clone());
        Self(Arc::new(Inner {
            metrics: Metrics::new(&stream, websub.metrics()),
            shared: Shared {
                drivers: Drivers::new(factory),
                hubs,
                positions,
                notes,
                keys_in_use: Arc::default(),
                streams: Arc::default(),
                body_bytes: Arc::new(Semaphore::new(options.body_bytes.min(Semaphore::MAX_PERMITS))),
                body_timeout: options.body_timeout,
                environment: Arc::clone(&options.environment),
                key_rings: KeyRings::default(),
                calls_of_one_api: options.deliveries.max_calls_of_one_api(),
                watching: Arc::new(Semaphore::new(broker_watch::AT_ONCE)),
                groups: Groups::default(),
            },
            options,
            deployments: Mutex::default(),
            routes: ArcSwap::default(),
            websub,
            deliveries,
            failures: Mutex::new(Some(failures)),
            draining: TaskTracker::new(),
        }))
    }

    /// Everything that keeps this definition from being deployed here: rules of the definition, its
    /// policies, its broker's settings. Nothing is deployed.
    pub fn check(&self, api: &EventApi) -> Vec<Problem> {
        let shared = &self.0.shared;
        let api = with_values(api, &shared.environment);
        let compiled =
            api.and_then(|api| Deployment::compile(api.into_owned(), shared, Counters::default(), None));
        compiled.err().unwrap_or_default()
    }

    /// Deploys a definition, in place of the deployed one with the same id. Requests that come from now on
    /// are served by it; streams of the former one go on under it, or are told to reconnect where something has
    /// changed that was settled when they came. Deploying what is deployed already changes nothing. Does not
    /// wait for the broker.
    pub fn deploy(&self, api: EventApi) -> Result<(), Vec<Problem>> {
        let inner = &self.0;
        let filled_in = match with_values(&api, &inner.shared.environment)? {
            Cow::Owned(filled_in) => Some(filled_in),
            Cow::Borrowed(_) => None,
        };
        let api = filled_in.unwrap_or(api);
        let mut deployments = inner.lock();
        let former = deployments.get(&api.id).cloned();
        if former.as_ref().is_some_and(|former| *former.api == api) {
            return Ok(());
        }
        let has_spool = api.guarantees.spool.is_some() || inner.shared.drivers.has_spooled(&api.id);
        let counters = Counters {
            api: inner.metrics.of_api(&api.id),
            deliveries: inner.metrics.of_deliveries(&api.id),
            spool: has_spool.then(|| inner.metrics.of_spool(&api.id)),
            journals: Some(inner.metrics.journals.clone()),
            endpoints: inner.metrics.endpoints.clone(),
        };
        let deployment = Arc::new(Deployment::compile(api, &inner.shared, counters, former.as_deref())?);
        let api = Arc::clone(&deployment.api);
        inner.metrics.endpoints.keep(&api);
        deployments.insert(api.id.clone(), Arc::clone(&deployment));
        inner.publish_routes(&deployments);
        let same_route = match (former.as_ref().map(|former| &former.route), &deployment.route) {
            (Some(Some(former)), Some(route)) => Arc::ptr_eq(former, route),
            (Some(None), None) => true,
            _ => false,
        };
        if !same_route {
            inner.deliveries.set_route(&api.id, deployment.route.as_ref());
        }
        if let Some(settings) = api.websub() {
            inner.websub.learn(&api.id, settings);
        }
        drop(deployments);
        deployment.watch.begin(&api.id, &inner.shared.watching, &deployment.binding.drain);
        if !deployment.binding.chains.client_settings().is_empty() {
            let drain = deployment.binding.drain.clone();
            tokio::spawn(ClientBrokers::sweep(Arc::downgrade(&deployment), drain));
        }
        info!(api = %api.id, name = api.name, "An event API is deployed.");
        if api.websub().is_some() && inner.options.public_url.is_none() {
            warn!(
                api = %api.id,
                "Without a public URL the hub of this API tells subscribers the host by which they were subscribed, \
                 whatever they called it; set --public-url."
            );
        }
        for problem in api.unkept_promises() {
            warn!(api = %api.id, %problem, "A promise of an event API cannot be kept; its requests are refused.");
        }
        if let Some(former) = former {
            former.hand_over(&deployment, &inner.shared);
            inner.start_drain(former);
        }
        Ok(())
    }

    /// Serves no new request of an API from now on. Its streams are told, and what is in flight is finished
    /// in the background, up to the drain timeout. Undeploying what is not deployed changes nothing.
    pub fn undeploy(&self, id: &ApiId) {
        let mut deployments = self.0.lock();
        let Some(former) = deployments.remove(id) else { return };
        self.0.publish_routes(&deployments);
        self.0.deliveries.set_route(id, None);
        drop(deployments);
        info!(api = %id, "An event API is no longer served.");
        former.stop();
        self.0.start_drain(former);
    }

    /// Says goodbye on every stream, waits for what is in flight up to the drain timeout, also of APIs that
    /// were undeployed before, closes the brokers and stores the last positions. Listeners are to be stopped
    /// first or at the same time.
    pub async fn shut_down(&self) {
        let timeout = self.0.options.drain_timeout;
        let (calls, websub) = (self.0.deliveries.shut_down(timeout), self.0.websub.shut_down(timeout));
        let ((), finished, ()) = tokio::join!(self.drain_all(), calls, websub);
        if !finished {
            warn!(
                "Calls to subscribers were still under way after the drain timeout; they will be repeated."
            );
        }
        let mut closing = JoinSet::new();
        // What waits in a spool stays there; what is being forwarded needs its broker still.
        let spools: Vec<_> =
            self.0.lock().values().filter_map(|deployment| deployment.spool.clone()).collect();
        for spool in spools {
            closing.spawn(async move { spool.close().await });
        }
        // What is being written is acknowledged to the broker still.
        for journal in self.0.shared.drivers.journals() {
            closing.spawn(async move { journal.close().await });
        }
        while closing.join_next().await.is_some() {}
        for driver in self.0.shared.drivers.all() {
            closing.spawn(async move { driver.close().await });
        }
        closing.join_all().await;
        if let Err(error) = self.0.shared.positions.flush().await {
            warn!(%error, "Not every position was stored; some messages will be delivered again.");
        }
        if let Err(error) = self.0.shared.notes.flush().await {
            warn!(%error, "Not every note was stored; some waits will begin anew.");
        }
    }

    async fn drain_all(&self) {
        for deployment in self.deployed() {
            deployment.stop();
            self.0.start_drain(deployment);
        }
        self.0.draining.close();
        self.0.draining.wait().await;
    }

    /// The API keys and webhook secrets of an API, whether it is deployed or not. What is set there counts at once.
    pub fn credentials(&self, id: &ApiId) -> Arc<Credentials> {
        self.0.shared.key_rings.of(id)
    }

    /// Forgets how far the clients of an API have come that is gone for good, what they have published, and its keys.
    pub async fn forget_clients(&self, id: &ApiId) {
        self.0.shared.key_rings.forget(id);
        if let Err(error) = self.0.shared.positions.forget_prefix(&client_prefix(&id.0)).await {
            warn!(api = %id, %error, "The positions of the clients of a deleted API could not be forgotten.");
        }
        if let Err(error) = self.0.shared.notes.forget_prefix(&sluice_receiver::notes_prefix(id)).await {
            warn!(api = %id, %error, "What was published to a deleted API could not be forgotten.");
        }
    }

    /// How the brokers of an API are doing, the one that serves first; nothing where it is not served.
    pub fn broker_status(&self, id: &ApiId) -> Vec<BrokerStatus> {
        let deployment = self.0.lock().get(id).cloned();
        deployment.map(|deployment| deployment.watch.status()).unwrap_or_default()
    }

    /// Why the last publish to an API failed; `None` where it succeeded, there was none, or the API is not served.
    pub fn publish_failure(&self, id: &ApiId) -> Option<PublishFailure> {
        let deployment = self.0.lock().get(id).cloned()?;
        let mut bindings = std::iter::once(&deployment.binding).chain(deployment.channels.values());
        bindings.find_map(|binding| binding.failures.publish_failure())
    }

    /// How the spool of an API stands; `None` where it has none, or is not served.
    pub fn spool_status(&self, id: &ApiId) -> Option<SpoolStatus> {
        Some(self.spool(id)?.status())
    }

    /// Lets the broker of an API have once more what was set aside in its spool, and returns how many messages
    /// that are; `None` where there is no spool.
    ///
    /// # Errors
    /// The spool cannot be written to.
    pub async fn retry_spool(&self, id: &ApiId) -> Option<Result<u64, DriverError>> {
        Some(self.spool(id)?.retry_set_aside().await)
    }

    /// Deletes what is set aside in the spool of an API, and returns how many messages that were; `None` where
    /// there is no spool.
    ///
    /// # Errors
    /// The spool cannot be written to.
    pub async fn discard_set_aside(&self, id: &ApiId) -> Option<Result<u64, DriverError>> {
        Some(self.spool(id)?.discard_set_aside().await)
    }

    /// The spool of an API; one that its definition does not want any more only as long as it holds messages.
    fn spool(&self, id: &ApiId) -> Option<Arc<Spool>> {
        let deployment = self.0.lock().get(id).cloned()?;
        let is_wanted = deployment.api.guarantees.spool.is_some();
        deployment.spool.clone().filter(|spool| is_wanted || !spool.status().is_empty())
    }

    /// Who is connected, and who was too slow.
    pub fn streams(&self) -> &Arc<Streams> {
        &self.0.shared.streams
    }

    /// All counters, and how brokers and readers are doing now, in the OpenMetrics text format.
    pub fn metrics_text(&self) -> String {
        let mut moment = Moment::default();
        for deployment in self.deployed() {
            let calls = deployment.route.is_some();
            moment.add(&deployment, calls.then(|| self.0.deliveries.lag(&deployment.api.id)));
        }
        self.0.metrics.render(moment)
    }

    pub(crate) fn deployed(&self) -> Vec<Arc<Deployment>> {
        self.0.lock().values().cloned().collect()
    }

    pub(crate) fn routes(&self) -> arc_swap::Guard<Arc<Routes>> {
        self.0.routes.load()
    }

    pub(crate) fn shared(&self) -> &Shared {
        &self.0.shared
    }

    pub(crate) fn websub(&self) -> &Hub {
        &self.0.websub
    }

    pub(crate) fn deliveries(&self) -> &Deliveries {
        &self.0.deliveries
    }

    pub(crate) fn failures(&self) -> MutexGuard<'_, Option<mpsc::Receiver<Failed>>> {
        self.0.failures.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn options(&self) -> &GatewayOptions {
        &self.0.options
    }

    pub(crate) fn metrics(&self) -> &Metrics {
        &self.0.metrics
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, HashMap<ApiId, Arc<Deployment>>> {
        // The map is whole after any panic: each change of it is one call.
        self.deployments.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn publish_routes(&self, deployments: &HashMap<ApiId, Arc<Deployment>>) {
        self.routes.store(Arc::new(Routes::new(deployments.values())));
    }

    /// Lets a deployment finish what it has in flight. The counters of an API that is gone go when nothing
    /// counts any more.
    fn start_drain(self: &Arc<Self>, deployment: Arc<Deployment>) {
        let inner = Arc::clone(self);
        self.draining.spawn(async move {
            drain(&deployment, inner.options.drain_timeout).await;
            // Under the lock: the API may be about to be deployed anew, with the same counters.
            let deployments = inner.lock();
            if !deployments.contains_key(&deployment.api.id) {
                inner.metrics.forget(&deployment.api.id);
                inner.shared.streams.forget(&deployment.api.id);
            }
        });
    }
}

async fn drain(deployment: &Deployment, timeout: Duration) {
    if tokio::time::timeout(timeout, deployment.done()).await.is_err() {
        warn!(
            api = %deployment.api.id, in_flight = deployment.binding.in_flight.len(),
            "Not everything was done within the drain timeout; what is left is cut off."
        );
        // What did not move on in all that time.
        deployment.stop();
    }
}

#[cfg(test)]
mod tests {
    use sluice_stream::{MemoryNotes, MemoryPositions};

    use super::*;
    use crate::deployment::tests::{MockOnly, definition};

    /// A gateway that never gives up on what is in flight.
    fn patient() -> Gateway {
        let options = GatewayOptions { drain_timeout: Duration::MAX, ..GatewayOptions::default() };
        Gateway::new(
            options,
            Box::new(MockOnly),
            Arc::new(MemoryPositions::default()),
            Arc::new(MemoryNotes::default()),
        )
    }

    fn deploy(gateway: &Gateway) -> Arc<Deployment> {
        let api = definition("a", None, "/a");
        let id = api.id.clone();
        gateway.deploy(api).unwrap();
        Arc::clone(&gateway.0.lock()[&id])
    }

    fn is_routed(gateway: &Gateway) -> bool {
        gateway.routes().find(None, "/a").is_some()
    }

    #[tokio::test]
    async fn an_undeployed_api_finishes_what_is_in_flight_without_anyone_waiting() {
        let gateway = patient();
        let deployment = deploy(&gateway);
        let request = deployment.binding.in_flight.token();
        gateway.undeploy(&deployment.api.id);
        assert!(!is_routed(&gateway));
        deployment.binding.drain.cancelled().await;

        let again = deploy(&gateway);
        assert!(is_routed(&gateway) && !again.binding.drain.is_cancelled());
        drop(request);
        gateway.0.draining.close();
        gateway.0.draining.wait().await;
        assert!(gateway.metrics_text().contains("api=\"a\""), "the counters belong to the new one");
    }

    #[tokio::test]
    async fn the_counters_of_an_undeployed_api_go_when_it_has_drained() {
        let gateway = patient();
        let deployment = deploy(&gateway);
        let request = deployment.binding.in_flight.token();
        gateway.undeploy(&deployment.api.id);
        assert!(gateway.metrics_text().contains("api=\"a\""));
        drop(request);
        gateway.shut_down().await;
        assert!(!gateway.metrics_text().contains("api=\"a\""));
    }

    #[tokio::test]
    async fn a_shutdown_waits_for_what_an_undeployed_api_has_in_flight() {
        let gateway = patient();
        let deployment = deploy(&gateway);
        let request = deployment.binding.in_flight.token();
        gateway.undeploy(&deployment.api.id);
        let mut shutdown = std::pin::pin!(gateway.shut_down());
        tokio::select! {
            biased;
            () = &mut shutdown => panic!("a request was still in flight"),
            () = deployment.binding.drain.cancelled() => {}
        }
        drop(request);
        shutdown.await;
    }
}
