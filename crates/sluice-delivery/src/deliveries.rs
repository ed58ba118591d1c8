//! All subscriptions of a gateway, and a worker for each.
//!
//! Subscriptions and routes come and go in any order; a worker is told of every change that concerns it and
//! lives through them, so that two workers never serve one subscription.

use std::{
    collections::{HashMap, HashSet},
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use sluice_api::{ApiId, Callback, Problem, Subscription, SubscriptionId, WebhookConfig};
use sluice_message::Position;
use sluice_stream::{Hubs, Notes, Positions};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio_util::task::TaskTracker;
use tracing::warn;

use crate::{
    DeliveryState, Failure, Guard, GuardOptions, Route, SubscriptionLag,
    arrival::Arrival,
    client::Clients,
    clock::until,
    exchange::Exchange,
    home,
    lanes::Room,
    moving::Leg,
    replay::{Asked, Going},
    retries::Retries,
    state::Watched,
    worker::Worker,
};

/// Bounds of all deliveries together.
#[derive(Debug, Clone)]
pub struct DeliveryOptions {
    /// Which addresses may be called.
    pub guard: Guard,
    /// Calls under way at once. Subscriptions take turns.
    pub max_calls: usize,
    /// The longest time that a server may ask to be left alone, by `Retry-After`.
    pub longest_wait: Duration,
    /// Messages of one subscription that are held behind those of the same key, where it keeps the order of each
    /// key only; and as many that are tried again while others go on.
    pub held_messages: usize,
    /// Bytes of them; together with `held_messages`, whichever is reached first.
    pub held_bytes: usize,
    /// How long a subscription goes on at its former broker when its API gets another one, to bring what is left
    /// there.
    pub drain_timeout: Duration,
}

/// Readers of dead letters that are brought again, at once.
const LETTER_READERS: usize = 16;

impl Default for DeliveryOptions {
    fn default() -> Self {
        Self {
            guard: Guard::new(GuardOptions::default()),
            max_calls: 512,
            longest_wait: Duration::from_secs(3600),
            held_messages: 1000,
            held_bytes: 8 << 20,
            drain_timeout: Duration::from_secs(10),
        }
    }
}

impl DeliveryOptions {
    /// How many calls one API may have under way: a quarter of all, at least one.
    pub const fn max_calls_of_one_api(&self) -> usize {
        if self.max_calls < 4 { 1 } else { self.max_calls / 4 }
    }
}

/// How many reports of failures may wait to be read.
const REPORTS: usize = 1024;

/// A subscription that is served no more, because it cannot be called.
#[derive(Debug, Clone, PartialEq)]
pub struct Failed {
    /// Which, as it was served: it may have been changed meanwhile.
    pub served: Arc<Subscription>,
    /// Why.
    pub cause: Failure,
}

/// Serves subscriptions. A cheap handle; all clones are the same.
#[derive(Clone)]
pub struct Deliveries(pub(crate) Arc<Shared>);

/// What all workers have in common.
pub(crate) struct Shared {
    pub(crate) clients: Clients,
    pub(crate) hubs: Arc<Hubs>,
    pub(crate) positions: Arc<dyn Positions>,
    pub(crate) notes: Arc<dyn Notes>,
    /// A permit for each call under way; waiting is in turn.
    pub(crate) calls: Semaphore,
    pub(crate) longest_wait: Duration,
    /// How much one subscription may hold.
    pub(crate) room: Room,
    pub(crate) drain_timeout: Duration,
    /// A permit for each reader of dead letters.
    pub(crate) letter_readers: Semaphore,
    pub(crate) reports: mpsc::Sender<Failed>,
    table: Mutex<Table>,
    workers: TaskTracker,
}

#[derive(Default)]
struct Table {
    routes: HashMap<ApiId, Deployed>,
    workers: HashMap<SubscriptionId, Working>,
    /// The workers of each API that has some.
    of_api: HashMap<ApiId, HashSet<SubscriptionId>>,
}

/// A worker, as it is told and asked.
struct Working {
    api: ApiId,
    task: watch::Sender<Task>,
    placed: watch::Receiver<bool>,
    watched: Arc<Watched>,
}

/// What a worker is to do.
#[derive(Debug, Clone)]
pub(crate) enum Task {
    /// Serve this subscription, as soon as there is a route.
    Serve(Serving),
    /// Finish, and forget how far it has come where nobody will go on.
    End {
        /// Whether the position is forgotten.
        forget: bool,
    },
}

/// A route, and when it came.
#[derive(Debug, Clone)]
pub(crate) struct Deployed {
    pub(crate) route: Arc<Route>,
    pub(crate) arrival: Arc<Arrival>,
}

/// A subscription that is to be served.
#[derive(Debug, Clone)]
pub(crate) struct Serving {
    pub(crate) subscription: Arc<Subscription>,
    pub(crate) route: Option<Deployed>,
    /// What was asked for last; it may be done already.
    pub(crate) replay: Option<Asked>,
}

impl fmt::Debug for Deliveries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Deliveries").finish_non_exhaustive()
    }
}

impl Deliveries {
    /// No subscription yet. The other half tells which ones fail; it has to be read.
    pub fn new(
        options: DeliveryOptions,
        hubs: Arc<Hubs>,
        positions: Arc<dyn Positions>,
        notes: Arc<dyn Notes>,
    ) -> (Self, mpsc::Receiver<Failed>) {
        let (reports, failed) = mpsc::channel(REPORTS);
        let shared = Shared {
            clients: Clients::new(options.guard),
            hubs,
            positions,
            notes,
            calls: Semaphore::new(options.max_calls.clamp(1, Semaphore::MAX_PERMITS)),
            longest_wait: options.longest_wait,
            room: Room { messages: options.held_messages, bytes: options.held_bytes },
            drain_timeout: options.drain_timeout,
            letter_readers: Semaphore::new(LETTER_READERS),
            reports,
            table: Mutex::default(),
            workers: TaskTracker::new(),
        };
        (Self(Arc::new(shared)), failed)
    }

    /// Everything that keeps a subscriber from being called like this, with paths relative to the callback.
    /// Nothing is contacted.
    pub fn check(&self, callback: &Callback) -> Vec<Problem> {
        let problems = callback.problems();
        if !problems.is_empty() {
            return problems;
        }
        let called = (callback, None);
        let made = Exchange::new(called, &WebhookConfig::default(), &self.0.clients, self.0.longest_wait);
        made.err().into_iter().collect()
    }

    /// Sets what an API offers from now on; with `None` its subscriptions rest. Calls under way are finished
    /// under the former route. Setting the route that is there already changes nothing.
    pub fn set_route(&self, api: &ApiId, route: Option<&Arc<Route>>) {
        let mut table = self.0.table();
        let deployed =
            route.map(|route| Deployed { route: Arc::clone(route), arrival: Arc::new(Arrival::now()) });
        match &deployed {
            Some(deployed) => drop(table.routes.insert(api.clone(), deployed.clone())),
            None => drop(table.routes.remove(api)),
        }
        let workers = table.of_api.get(api).into_iter().flatten();
        for worker in workers.filter_map(|id| table.workers.get(id)) {
            worker.task.send_if_modified(|task| match task {
                Task::Serve(serving) => {
                    let same = match (&serving.route, route) {
                        (Some(known), Some(route)) => Arc::ptr_eq(&known.route, route),
                        (None, None) => true,
                        _ => false,
                    };
                    if !same {
                        serving.route.clone_from(&deployed);
                    }
                    !same
                }
                Task::End { .. } => false,
            });
        }
    }

    /// Notes durably where a subscription begins that was not served yet: behind this position of this broker, as the
    /// driver [calls](sluice_broker::BrokerDriver::identity) it. It counts in place of what is stored of the
    /// subscription; at another broker it says nothing, and the subscription begins where its API says.
    ///
    /// # Errors
    /// It cannot be stored (`store.failed`).
    pub async fn begin_at(
        &self,
        id: &SubscriptionId,
        broker: &str,
        position: &Position,
    ) -> Result<(), Failure> {
        let noted = home::begin(&self.0, id, broker, position.clone()).await;
        noted.map_err(|trouble| trouble.failure())
    }

    /// Serves a subscription from now on, in place of the one with the same id. Putting what is served already
    /// changes nothing.
    pub fn put(&self, subscription: Subscription) {
        let mut table = self.0.table();
        let subscription = Arc::new(subscription);
        let route = table.routes.get(&subscription.api).cloned();
        let serving = Serving { subscription: Arc::clone(&subscription), route, replay: None };
        table.file(&subscription);
        if let Some(worker) = table.workers.get(&subscription.id) {
            worker.task.send_if_modified(|known| {
                let replay = match known {
                    Task::Serve(known) if known.subscription == subscription => return false,
                    Task::Serve(known) => known.replay.take(),
                    Task::End { .. } => None,
                };
                *known = Task::Serve(Serving { replay, ..serving });
                true
            });
            return;
        }
        let (task, tasks) = watch::channel(Task::Serve(serving));
        let (placing, placed) = watch::channel(false);
        let id = subscription.id.clone();
        let retries = Retries::new(&self.0.notes, &id);
        let watched = Arc::new(Watched::new(Arc::clone(&retries)));
        let worker =
            Worker::new(Arc::clone(&self.0), id.clone(), tasks, retries, Arc::clone(&watched), placing);
        table.workers.insert(id, Working { api: subscription.api.clone(), task, placed, watched });
        self.0.workers.spawn(worker.run());
    }

    /// How the deliveries of a subscription stand; `None` where it is paused, has failed or is not there.
    pub fn state(&self, id: &SubscriptionId) -> Option<DeliveryState> {
        let watched = Arc::clone(&self.0.table().workers.get(id)?.watched);
        Some(watched.state())
    }

    /// How far the subscriptions of an API are behind. Cheap: neither the store nor a broker is asked.
    pub fn lag(&self, api: &ApiId) -> SubscriptionLag {
        let watched: Vec<_> = {
            let table = self.0.table();
            let workers = table.of_api.get(api).into_iter().flatten().filter_map(|id| table.workers.get(id));
            workers.map(|worker| Arc::clone(&worker.watched)).collect()
        };
        watched.iter().map(|watched| watched.lag()).fold(SubscriptionLag::default(), |lag, own| {
            SubscriptionLag { total: lag.total.saturating_add(own), largest: lag.largest.max(own) }
        })
    }

    /// Resolves once everything published from now on will reach a subscription, or when that is not to be
    /// expected: its API is not served, or it has failed. The broker may keep one waiting.
    pub async fn placed(&self, id: &SubscriptionId) {
        let mut placed = {
            let table = self.0.table();
            let Some(worker) = table.workers.get(id) else { return };
            match &*worker.task.borrow() {
                Task::Serve(Serving { subscription, route: Some(_), .. }) if is_now(subscription) => {}
                _ => return,
            }
            worker.placed.clone()
        };
        // An error: the worker has ended.
        let _ended = placed.wait_for(|placed| *placed).await;
    }

    /// Serves a subscription no more. A call under way is finished. Its position is kept for a later time
    /// unless it is to be forgotten.
    pub fn remove(&self, id: &SubscriptionId, forget: bool) {
        if let Some(worker) = self.0.table().workers.get(id) {
            worker.task.send_replace(Task::End { forget });
            return;
        }
        if forget {
            let (shared, id) = (Arc::clone(&self.0), id.clone());
            self.0.workers.spawn(async move { shared.forget(&id).await });
        }
    }

    /// Ends all workers; calls under way are finished within `timeout`. False when some were cut off.
    pub async fn shut_down(&self, timeout: Duration) -> bool {
        for worker in self.0.table().workers.values() {
            // A position that is about to be forgotten still is.
            worker.task.send_if_modified(|task| {
                let serving = matches!(task, Task::Serve(..));
                if serving {
                    *task = Task::End { forget: false };
                }
                serving
            });
        }
        self.0.workers.close();
        tokio::time::timeout(timeout, self.0.workers.wait()).await.is_ok()
    }
}

/// Whether a subscription has begun and is not over.
fn is_now(subscription: &Subscription) -> bool {
    subscription.starting_at.and_then(until).is_none()
        && subscription.ending_at.is_none_or(|end| until(end).is_some())
}

impl Table {
    /// Has a worker found by the API of its subscription.
    fn file(&mut self, subscription: &Subscription) {
        let (id, api) = (&subscription.id, &subscription.api);
        if let Some(worker) = self.workers.get_mut(id)
            && worker.api != *api
        {
            let former = std::mem::replace(&mut worker.api, api.clone());
            self.unfile(id, &former);
        }
        self.of_api.entry(api.clone()).or_default().insert(id.clone());
    }

    fn unfile(&mut self, id: &SubscriptionId, api: &ApiId) {
        if let Some(workers) = self.of_api.get_mut(api) {
            workers.remove(id);
            if workers.is_empty() {
                self.of_api.remove(api);
            }
        }
    }

    fn remove(&mut self, id: &SubscriptionId) {
        if let Some(worker) = self.workers.remove(id) {
            self.unfile(id, &worker.api);
        }
    }
}

impl Shared {
    fn table(&self) -> MutexGuard<'_, Table> {
        // The table is whole after any panic: each change of it is one call.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a worker out that has nothing more to do, unless it was given something meanwhile.
    pub(crate) fn leave(&self, id: &SubscriptionId, task: &watch::Receiver<Task>) -> bool {
        let mut table = self.table();
        // Asked under the lock that every task is given under.
        let done = !task.has_changed().unwrap_or(false);
        if done {
            table.remove(id);
        }
        done
    }

    /// What an API offers now.
    pub(crate) fn route_of_api(&self, api: &ApiId) -> Option<Arc<Route>> {
        self.table().routes.get(api).map(|deployed| Arc::clone(&deployed.route))
    }

    /// What a subscription is served by.
    pub(crate) fn leg_of(&self, id: &SubscriptionId) -> Option<Leg> {
        let task = self.table().workers.get(id)?.task.borrow().clone();
        match task {
            Task::Serve(Serving { subscription, route, .. }) => Leg::of(route?, &subscription).ok(),
            Task::End { .. } => None,
        }
    }

    /// Has a worker bring messages again, and waits until it is durable from where. False where it is not served.
    pub(crate) async fn replay(&self, id: &SubscriptionId, going: Going) -> bool {
        let done = {
            let table = self.table();
            let Some(worker) = table.workers.get(id) else { return false };
            let (asked, done) = Asked::new(going);
            worker.task.send_if_modified(|task| match task {
                Task::Serve(serving) => {
                    serving.replay = Some(asked);
                    true
                }
                Task::End { .. } => false,
            });
            done
        };
        // An error: the worker has ended, or was told something else.
        done.await.is_ok()
    }

    /// Forgets how far a subscription has come, and all else that is stored of it.
    pub(crate) async fn forget(&self, id: &SubscriptionId) {
        if let Err(error) = home::forget(self, id).await {
            warn!(subscription = %id, %error, "What is stored of a closed subscription could not be forgotten.");
        }
    }
}
