//! The handle through which event APIs are deployed.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use arc_swap::ArcSwap;
use sluice_api::{ApiId, EventApi, Problem};
use sluice_stream::{HubOptions, Hubs, StreamMetrics};
use tokio_util::task::TaskTracker;
use tracing::{info, warn};

use crate::{
    deployment::Deployment,
    drivers::{DriverFactory, Drivers},
    metrics::Metrics,
    routes::Routes,
};

/// Bounds and times of a gateway.
#[derive(Debug, Clone)]
pub struct GatewayOptions {
    /// Rings and times of the fan-out.
    pub hub: HubOptions,
    /// How long a request body may take to arrive.
    pub body_timeout: Duration,
    /// How long a stop waits for what is in flight.
    pub drain_timeout: Duration,
}

impl Default for GatewayOptions {
    fn default() -> Self {
        Self {
            hub: HubOptions::default(),
            body_timeout: Duration::from_secs(30),
            drain_timeout: Duration::from_secs(10),
        }
    }
}

/// Runs event APIs. A cheap handle; all clones are the same gateway.
#[derive(Clone)]
pub struct Gateway(Arc<Inner>);

struct Inner {
    options: GatewayOptions,
    drivers: Drivers,
    hubs: Arc<Hubs>,
    metrics: Metrics,
    /// What is deployed, by id. The route table is made from it under this lock.
    deployments: Mutex<HashMap<ApiId, Arc<Deployment>>>,
    routes: ArcSwap<Routes>,
    /// Replaced deployments that still have something in flight.
    draining: TaskTracker,
}

impl std::fmt::Debug for Gateway {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gateway").finish_non_exhaustive()
    }
}

impl Gateway {
    /// A gateway without an API.
    pub fn new(options: GatewayOptions, factory: Box<dyn DriverFactory>) -> Self {
        let stream = Arc::new(StreamMetrics::default());
        Self(Arc::new(Inner {
            drivers: Drivers::new(factory),
            metrics: Metrics::new(&stream),
            hubs: Hubs::new(options.hub, stream),
            options,
            deployments: Mutex::default(),
            routes: ArcSwap::default(),
            draining: TaskTracker::new(),
        }))
    }

    /// Everything that keeps this definition from being deployed here: rules of the definition, its
    /// policies, its broker's settings. Nothing is deployed.
    pub fn check(&self, api: &EventApi) -> Vec<Problem> {
        let compiled = Deployment::compile(
            api.clone(),
            &self.0.drivers,
            &self.0.hubs,
            sluice_receiver::ApiMetrics::default(),
        );
        compiled.err().unwrap_or_default()
    }

    /// Deploys a definition, in place of the deployed one with the same id. Requests that come from now on
    /// are served by it; streams of the former one are told to reconnect. Deploying what is deployed
    /// already changes nothing. Does not wait for the broker.
    pub fn deploy(&self, api: EventApi) -> Result<(), Vec<Problem>> {
        let inner = &self.0;
        let mut deployments = inner.lock();
        if deployments.get(&api.id).is_some_and(|deployed| deployed.api == api) {
            return Ok(());
        }
        let metrics = inner.metrics.of_api(&api.id);
        let deployment = Deployment::compile(api, &inner.drivers, &inner.hubs, metrics)?;
        let (id, name) = (deployment.api.id.clone(), deployment.api.name.clone());
        let former = deployments.insert(id.clone(), Arc::new(deployment));
        inner.publish_routes(&deployments);
        drop(deployments);
        info!(api = %id, name, "An event API is deployed.");
        if let Some(former) = former {
            let timeout = inner.options.drain_timeout;
            inner.draining.spawn(async move { drain(&former, timeout).await });
        }
        Ok(())
    }

    /// Stops serving an API; returns once its clients were told and what was in flight is done, or the drain
    /// timeout has passed. False when it was not deployed.
    pub async fn undeploy(&self, id: &ApiId) -> bool {
        let former = {
            let mut deployments = self.0.lock();
            let former = deployments.remove(id);
            self.0.publish_routes(&deployments);
            former
        };
        let Some(former) = former else { return false };
        drain(&former, self.0.options.drain_timeout).await;
        self.0.metrics.forget(id);
        info!(api = %id, "An event API is no longer served.");
        true
    }

    /// Says goodbye on every stream, waits for what is in flight up to the drain timeout, and closes the
    /// brokers. Listeners are to be stopped first or at the same time.
    pub async fn shut_down(&self) {
        let deployments: Vec<_> = self.0.lock().values().cloned().collect();
        for deployment in deployments {
            let timeout = self.0.options.drain_timeout;
            self.0.draining.spawn(async move { drain(&deployment, timeout).await });
        }
        self.0.draining.close();
        self.0.draining.wait().await;
        for driver in self.0.drivers.all() {
            driver.close().await;
        }
    }

    /// All counters in the OpenMetrics text format.
    pub fn metrics_text(&self) -> String {
        self.0.metrics.render()
    }

    pub(crate) fn routes(&self) -> arc_swap::Guard<Arc<Routes>> {
        self.0.routes.load()
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
}

async fn drain(deployment: &Deployment, timeout: Duration) {
    if tokio::time::timeout(timeout, deployment.drain()).await.is_err() {
        warn!(
            api = %deployment.api.id, in_flight = deployment.binding.in_flight.len(),
            "Not everything was done within the drain timeout; what is left is cut off."
        );
    }
}
