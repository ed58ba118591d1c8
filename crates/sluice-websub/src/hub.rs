//! The hub: what all requests have in common, and its beginning and end.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::Duration,
};

use sluice_api::{ApiId, WebsubConfig};
use sluice_delivery::Deliveries;
use tokio::sync::Semaphore;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{info, warn};

use crate::{
    Desk, DeskError, HubMetrics,
    hosts::Hosts,
    lines::{Lines, Pending},
    news::News,
    of_api::OfApi,
};

/// Bounds of all hubs of a gateway together.
#[derive(Debug, Clone)]
pub struct HubOptions {
    /// Calls to callbacks, to verify and to deny, that are under way at once; from 1 to 65,536. One API has a quarter
    /// of them.
    pub verifications: usize,
    /// Requests of one API that may wait to be settled.
    pub queue: usize,
    /// How long to wait before each further try to verify, where a callback could not be reached.
    pub retry_waits: Vec<Duration>,
    /// How old a request may become before it is dropped.
    pub longest: Duration,
    /// How long the broker may take to say how far a channel has come.
    pub place_timeout: Duration,
}

/// More calls at once than any gateway has sockets for.
const MAX_VERIFICATIONS: usize = 65_536;

impl Default for HubOptions {
    fn default() -> Self {
        Self {
            verifications: 64,
            queue: 10_000,
            retry_waits: vec![Duration::from_secs(2), Duration::from_secs(10)],
            longest: Duration::from_secs(3600),
            place_timeout: Duration::from_secs(5),
        }
    }
}

/// The hub of a gateway. A cheap handle; all clones are the same.
#[derive(Clone)]
pub struct Hub(pub(crate) Arc<Shared>);

/// What all requests have in common.
pub(crate) struct Shared {
    pub(crate) options: HubOptions,
    pub(crate) deliveries: Deliveries,
    desk: OnceLock<Arc<dyn Desk>>,
    apis: Mutex<HashMap<ApiId, Arc<OfApi>>>,
    pub(crate) lines: Lines,
    pub(crate) hosts: Hosts,
    pub(crate) news: News,
    /// A permit for each call to a callback.
    pub(crate) turns: Semaphore,
    /// As many again, for what the desk does for verified requests.
    pub(crate) fulfilling: Semaphore,
    pub(crate) metrics: HubMetrics,
    stopping: CancellationToken,
    pub(crate) tasks: TaskTracker,
}

impl fmt::Debug for Hub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hub").finish_non_exhaustive()
    }
}

impl Hub {
    /// A hub without a desk: until it is [open](Self::open), requests to subscribe are answered 503.
    pub fn new(options: HubOptions, deliveries: Deliveries) -> Self {
        let verifications = options.verifications.clamp(1, MAX_VERIFICATIONS);
        Self(Arc::new(Shared {
            options: HubOptions { verifications, ..options },
            deliveries,
            desk: OnceLock::new(),
            apis: Mutex::default(),
            lines: Lines::default(),
            hosts: Hosts::default(),
            news: News::default(),
            turns: Semaphore::new(verifications),
            fulfilling: Semaphore::new(verifications),
            metrics: HubMetrics::default(),
            stopping: CancellationToken::new(),
            tasks: TaskTracker::new(),
        }))
    }

    /// From now on there is a desk; unsettled requests of an earlier run are taken up, each as soon as its API is
    /// [known](Self::learn).
    ///
    /// # Errors
    /// What is unsettled could not be read, or the hub was open already.
    pub async fn open(&self, desk: Arc<dyn Desk>) -> Result<(), DeskError> {
        let unsettled = desk.unsettled().await?;
        self.0.desk.set(desk).map_err(|_| DeskError("The hub is open already.".to_owned()))?;
        if !unsettled.is_empty() {
            info!(
                requests = unsettled.len(),
                "The hub takes up requests that an earlier run did not settle."
            );
        }
        for request in unsettled {
            self.0.enqueue(Pending::new(request, None, &self.0.metrics.unsettled));
        }
        Ok(())
    }

    /// Takes the settings that an API has from now on; to be told whenever one with a hub is deployed. Requests from
    /// before a restart wait for it.
    pub fn learn(&self, api: &ApiId, settings: &WebsubConfig) {
        self.0.of_api(api).learn(settings);
    }

    /// What it counts.
    pub fn metrics(&self) -> &HubMetrics {
        &self.0.metrics
    }

    /// Takes no more requests and ends; calls under way are finished within `timeout`. What is not settled then is
    /// taken up after the next start.
    pub async fn shut_down(&self, timeout: Duration) {
        self.0.stopping.cancel();
        self.0.tasks.close();
        if tokio::time::timeout(timeout, self.0.tasks.wait()).await.is_err() {
            warn!(
                "Calls of the hub were still under way when it ended; what they are about is taken up again."
            );
        }
    }
}

impl Shared {
    /// What there is of an API, made where it is not there yet: there are as many as APIs with a hub.
    pub(crate) fn of_api(&self, api: &ApiId) -> Arc<OfApi> {
        let mut apis = self.apis.lock().unwrap_or_else(PoisonError::into_inner);
        let of_api = apis.entry(api.clone()).or_insert_with(|| Arc::new(OfApi::new(&self.options)));
        Arc::clone(of_api)
    }

    /// The desk, while the hub takes requests.
    pub(crate) fn desk(&self) -> Option<&Arc<dyn Desk>> {
        self.desk.get().filter(|_| !self.is_stopping())
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.is_cancelled()
    }

    /// The end of something that may take long; `None` when the hub stops before.
    pub(crate) async fn unless_stopping<T>(&self, wait: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            done = wait => Some(done),
            () = self.stopping.cancelled() => None,
        }
    }
}
