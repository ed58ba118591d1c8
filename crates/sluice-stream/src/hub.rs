//! The hub: one task that owns the one broker consumer of a topic set and feeds the ring.
//!
//! It begins with the first client, reconnects for as long as there are clients, and ends some seconds
//! after the last has gone.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock, Weak,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use sluice_broker::{
    BatchLimit, BrokerDriver, ConsumeSpec, Consumer, DriverError, ErrorKind, StartAt, StopAt,
};
use sluice_message::{Message, Position, Topic};
use tokio::sync::{Semaphore, watch};
use tracing::{debug, info, warn};

use crate::{
    Begin, Cursor, Joining, Lag,
    alone::Alone,
    brought::{check_end, check_topics},
    cursor::Entry,
    group::Groups,
    handed_out::HandedOut,
    lag,
    lost::move_to_what_is_left,
    metrics::{Held, StreamMetrics},
    ring::Ring,
    turns::{Side, Turns},
};

/// Bounds and times of every hub and group.
#[derive(Debug, Clone, Copy)]
pub struct HubOptions {
    /// Messages that a ring keeps for clients that are behind.
    pub ring_messages: usize,
    /// Bytes that a ring keeps; together with `ring_messages`, whichever is reached first.
    pub ring_bytes: usize,
    /// How long a hub or group without clients keeps its consumer, so that a reconnecting client finds it.
    pub linger: Duration,
    /// How long a new client waits for the broker before it is refused.
    pub open_timeout: Duration,
    /// Readers of single clients that read older messages at the same time, at least one. Further clients
    /// wait their turn. A quarter each is reserved for web clients and for subscriptions.
    pub catch_up_readers: usize,
    /// Groups of clients of one owner that may be open at the same time. Clients of further ones are refused.
    pub max_groups: usize,
}

impl Default for HubOptions {
    fn default() -> Self {
        Self {
            ring_messages: 4096,
            ring_bytes: 8 << 20,
            linger: Duration::from_secs(10),
            open_timeout: Duration::from_secs(5),
            catch_up_readers: 16,
            max_groups: 64,
        }
    }
}

/// How much a hub takes from its consumer at once.
const FETCH: BatchLimit = BatchLimit { messages: 1024, bytes: 1 << 20 };

/// The shortest and longest wait between two tries to open or read a broker that fails.
pub(crate) const BACKOFF: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(5));

/// All hubs of a gateway.
#[derive(Debug)]
pub struct Hubs {
    options: HubOptions,
    metrics: Arc<StreamMetrics>,
    turns: Arc<Turns>,
    /// A permit for each hub whose broker is asked how far behind it is.
    measuring: Arc<Semaphore>,
    running: Mutex<HashMap<Key, Arc<Hub>>>,
    groups: Groups,
}

/// Which hub: the driver (by identity, as drivers are shared among APIs with the same connection) and the
/// topics in the order in which they are read.
type Key = (usize, Vec<Topic>);

/// What the task and the cursors of a hub share.
pub(crate) struct Hub {
    pub(crate) driver: Arc<dyn BrokerDriver>,
    pub(crate) topics: Vec<Topic>,
    pub(crate) ring: RwLock<Ring>,
    pub(crate) progress: watch::Sender<Progress>,
    pub(crate) turns: Arc<Turns>,
    /// Messages that the broker has beyond what was read, where that is known.
    pub(crate) behind: Mutex<Option<u64>>,
    pub(crate) measuring: Arc<Semaphore>,
    /// Cursors alive; the task ends some time after it has fallen to zero.
    clients: AtomicUsize,
    /// Those of them that need the text of each message's position.
    telling: AtomicUsize,
}

impl std::fmt::Debug for Hub {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hub").field("topics", &self.topics).finish_non_exhaustive()
    }
}

/// How far a hub has come, as its clients watch it.
#[derive(Debug, Clone)]
pub(crate) struct Progress {
    /// The sequence number that the next message will get.
    pub(crate) next: u64,
    /// How many messages the broker had dropped before that one.
    pub(crate) lost: u64,
    pub(crate) phase: Phase,
}

/// Whether a hub is reading.
#[derive(Debug, Clone)]
pub(crate) enum Phase {
    /// Not yet; the error of the last try, if there was one.
    Opening(Option<DriverError>),
    /// Reading: what is published from now on reaches every cursor.
    Live,
    /// Never again: the driver was closed or cannot read these topics.
    Failed(DriverError),
    /// Never again: the source has come to its end.
    Ended,
}

/// Where a hub stood at a moment.
pub(crate) struct Mark {
    /// The number that the next message got, or will get.
    pub(crate) next: u64,
    /// How many messages the broker had dropped before that one.
    pub(crate) lost: u64,
    /// The position behind everything before that number.
    pub(crate) head: Position,
}

/// A cursor's hold on its hub.
#[derive(Debug)]
pub(crate) struct Membership {
    pub(crate) hub: Arc<Hub>,
    /// Whether the cursor needs the text of each message's position.
    pub(crate) tells: bool,
    pub(crate) side: Side,
}

impl Membership {
    fn new(hub: &Arc<Hub>, tells: bool, side: Side) -> Self {
        hub.clients.fetch_add(1, Ordering::Relaxed);
        hub.telling.fetch_add(usize::from(tells), Ordering::Relaxed);
        Self { hub: Arc::clone(hub), tells, side }
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        self.hub.telling.fetch_sub(usize::from(self.tells), Ordering::Relaxed);
        if self.hub.clients.fetch_sub(1, Ordering::Relaxed) == 1 {
            // Wakes the task, which then begins to count its linger time.
            self.hub.progress.send_modify(|_| {});
        }
    }
}

impl Hubs {
    /// No hub yet; they begin with their first client.
    pub fn new(options: HubOptions, metrics: Arc<StreamMetrics>) -> Arc<Self> {
        let turns = Turns::new(options.catch_up_readers, &metrics);
        let measuring = Arc::new(Semaphore::new(lag::AT_ONCE));
        Arc::new(Self {
            options,
            metrics,
            turns,
            measuring,
            running: Mutex::default(),
            groups: Groups::default(),
        })
    }

    /// The counters of these hubs.
    pub const fn metrics(&self) -> &Arc<StreamMetrics> {
        &self.metrics
    }

    pub(crate) const fn options(&self) -> &HubOptions {
        &self.options
    }

    pub(crate) const fn groups(&self) -> &Groups {
        &self.groups
    }

    /// A new client of these topics. Resolves once everything published from now on will reach it; fails
    /// with the broker's error when that takes longer than the open timeout. A position that names another
    /// topic, or lies beyond what the broker has, is an error of the kind `PositionLost`.
    pub async fn join(
        self: &Arc<Self>,
        driver: &Arc<dyn BrokerDriver>,
        topics: &[Topic],
        joining: Joining,
    ) -> Result<Cursor, DriverError> {
        let Joining { begin, lag, tells_positions, side } = joining;
        let capabilities = driver.capabilities();
        if let Begin::After(position) = &begin {
            check_topics(&**driver, position, topics)?;
            if !capabilities.replay && !position.is_empty() {
                let text =
                    format!("The broker of the topics {} has no messages to go back to.", names(topics));
                return Err(DriverError::new(ErrorKind::PositionLost, text));
            }
        }
        let tells = tells_positions && capabilities.replay;
        if !capabilities.shared_reading {
            return Alone::open(driver, topics, begin, tells, &self.metrics).await.map(Cursor::alone);
        }
        // A client that the ring has overtaken can only say where it was by the text of its last message.
        let is_told = tells || (lag == Lag::Stop && capabilities.replay);
        let member = self.membership(driver, topics, is_told, side);
        // Where the first clients begin on a broker that hands something out at once, as retained messages.
        let is_opening = matches!(member.hub.progress.borrow().phase, Phase::Opening(_));
        let first = is_opening.then(|| member.hub.mark().next);
        let progress = tokio::time::timeout(self.options.open_timeout, opened(&member)).await;
        let progress = progress.unwrap_or_else(|_| Err(self.overdue(&member)))?;
        if !capabilities.replay {
            // Without older messages to read there is nothing to catch up with.
            let lag = if lag == Lag::CatchUp { Lag::Skip } else { lag };
            let entry = first.map_or(Entry::Head, Entry::Number);
            return Ok(Cursor::in_hub(member, progress, entry, lag, tells));
        }
        let entry = match begin {
            Begin::Latest => Entry::Head,
            Begin::Earliest => Entry::Behind(Position::new()),
            Begin::After(position) => {
                let checked =
                    tokio::time::timeout(self.options.open_timeout, check_end(&member.hub, &position));
                checked.await.unwrap_or_else(|_| Err(self.overdue(&member)))?;
                Entry::Behind(position)
            }
        };
        Ok(Cursor::in_hub(member, progress, entry, lag, tells))
    }

    /// Why a hub is not reading yet.
    fn overdue(&self, member: &Membership) -> DriverError {
        match &member.hub.progress.borrow().phase {
            Phase::Opening(Some(error)) => error.clone(),
            _ => DriverError::new(
                ErrorKind::Unreachable,
                format!(
                    "No answer from the broker within {} ms for the topics {}.",
                    self.options.open_timeout.as_millis(),
                    names(&member.hub.topics)
                ),
            ),
        }
    }

    fn membership(
        self: &Arc<Self>,
        driver: &Arc<dyn BrokerDriver>,
        topics: &[Topic],
        tells: bool,
        side: Side,
    ) -> Membership {
        let key = key(driver, topics);
        let mut running = self.lock();
        if let Some(hub) = running.get(&key) {
            return Membership::new(hub, tells, side);
        }
        let ring =
            Ring::new(BatchLimit { messages: self.options.ring_messages, bytes: self.options.ring_bytes });
        let (progress, _) = watch::channel(Progress { next: 0, lost: 0, phase: Phase::Opening(None) });
        let hub = Arc::new(Hub {
            driver: Arc::clone(driver),
            topics: topics.to_vec(),
            ring: RwLock::new(ring),
            progress,
            turns: Arc::clone(&self.turns),
            behind: Mutex::default(),
            measuring: Arc::clone(&self.measuring),
            clients: AtomicUsize::new(0),
            telling: AtomicUsize::new(0),
        });
        let member = Membership::new(&hub, tells, side);
        running.insert(key.clone(), Arc::clone(&hub));
        tokio::spawn(run(hub, key, Arc::downgrade(self), self.options.linger, Arc::clone(&self.metrics)));
        member
    }

    /// The hub of these topics, if there is one now.
    pub(crate) fn running(&self, driver: &Arc<dyn BrokerDriver>, topics: &[Topic]) -> Option<Arc<Hub>> {
        self.lock().get(&key(driver, topics)).cloned()
    }

    /// Takes a hub out of service, unless a client has joined meanwhile. Joining takes the same lock, so
    /// that no client can be left with a hub that has ended.
    fn retire(&self, key: &Key, hub: &Hub, only_if_idle: bool) -> bool {
        let mut running = self.lock();
        if only_if_idle && hub.clients.load(Ordering::Relaxed) > 0 {
            return false;
        }
        running.remove(key);
        true
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Arc<Hub>>> {
        // The map is whole after any panic: each change of it is one call.
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn key(driver: &Arc<dyn BrokerDriver>, topics: &[Topic]) -> Key {
    (Arc::as_ptr(driver).cast::<()>() as usize, topics.to_vec())
}

/// Waits until a hub reads, or until it is plain that it does not.
async fn opened(member: &Membership) -> Result<watch::Receiver<Progress>, DriverError> {
    let mut progress = member.hub.progress.subscribe();
    let settled = progress.wait_for(|progress| match &progress.phase {
        // An outage may pass in a moment; the other errors stay until somebody does something.
        Phase::Opening(failed) => failed.as_ref().is_some_and(|error| error.kind != ErrorKind::Unreachable),
        Phase::Live | Phase::Failed(_) | Phase::Ended => true,
    });
    let phase = settled.await.map_or(Phase::Ended, |progress| progress.phase.clone());
    match phase {
        Phase::Failed(error) | Phase::Opening(Some(error)) => Err(error),
        Phase::Opening(None) | Phase::Live | Phase::Ended => Ok(progress),
    }
}

/// The life of a hub.
async fn run(hub: Arc<Hub>, key: Key, hubs: Weak<Hubs>, linger: Duration, metrics: Arc<StreamMetrics>) {
    debug!(topics = %names(&hub.topics), "A hub begins.");
    let mut reader =
        Reader { hub: &hub, metrics: &metrics, is_placed: false, backoff: BACKOFF.0, told: None };
    loop {
        tokio::select! {
            end = reader.read() => {
                if let Some(hubs) = hubs.upgrade() {
                    hubs.retire(&key, &hub, false);
                }
                hub.set_phase(end);
                break;
            }
            () = idle(&hub, linger) => {
                if hubs.upgrade().is_none_or(|hubs| hubs.retire(&key, &hub, true)) {
                    break;
                }
            }
            never = lag::measure(&hub) => match never {},
        }
    }
    debug!(topics = %names(&hub.topics), "A hub ends.");
}

/// Resolves when the hub has been without clients for `linger`.
async fn idle(hub: &Hub, linger: Duration) {
    let mut changes = hub.progress.subscribe();
    loop {
        if hub.clients.load(Ordering::Relaxed) == 0 {
            tokio::time::sleep(linger).await;
            if hub.clients.load(Ordering::Relaxed) == 0 {
                return;
            }
        }
        if changes.changed().await.is_err() {
            return;
        }
    }
}

/// Reads the broker on behalf of a hub. How far it has come stands in the ring.
struct Reader<'a> {
    hub: &'a Hub,
    metrics: &'a StreamMetrics,
    /// Whether the place where the hub begins was fixed.
    is_placed: bool,
    /// How long to wait after the next failure; short again as soon as something was read.
    backoff: Duration,
    /// The failure that the log was told last, until the broker is read again.
    told: Option<String>,
}

impl Reader<'_> {
    /// Reads until there is nothing more to read, ever; returns why. May be dropped and called again: what
    /// was read stands in the ring.
    async fn read(&mut self) -> Phase {
        loop {
            let error = match self.open().await {
                Ok(mut consumer) => {
                    self.hub.set_phase(Phase::Live);
                    info!(topics = %names(&self.hub.topics), "Reading from the broker.");
                    self.told = None;
                    let _open = Held::new(&self.metrics.hub_consumers);
                    match self.pump(&mut *consumer).await {
                        Ok(()) => return Phase::Ended,
                        Err(error) => error,
                    }
                }
                Err(error) => error,
            };
            if error.kind == ErrorKind::PositionLost {
                self.lose_position(&error).await;
            } else if error.retryable() {
                self.report(&error);
            } else {
                return Phase::Failed(error);
            }
            tokio::time::sleep(self.backoff).await;
            self.backoff = (self.backoff * 2).min(BACKOFF.1);
        }
    }

    /// Opens the consumer where the hub has come to, at first at the end of the topics.
    async fn open(&mut self) -> Result<Box<dyn Consumer>, DriverError> {
        let (driver, topics) = (&self.hub.driver, &self.hub.topics);
        let replay = driver.capabilities().replay;
        if replay && !self.is_placed {
            // The end is fixed as a position, so that a reconnect continues there and not at a later end.
            let position = driver.ends(topics).await?;
            self.hub.change(|ring| ring.begin(position));
            self.is_placed = true;
        }
        let start = if replay { StartAt::After(self.hub.mark().head) } else { StartAt::Latest };
        driver.consume(ConsumeSpec { topics: topics.clone(), start, stop: StopAt::Never }).await
    }

    /// Moves batches from the consumer to the ring until an error, or until the source has ended.
    async fn pump(&mut self, consumer: &mut dyn Consumer) -> Result<(), DriverError> {
        let mut batch = Vec::new();
        loop {
            consumer.fetch(&mut batch, FETCH).await?;
            if batch.is_empty() {
                return Ok(());
            }
            self.backoff = BACKOFF.0;
            self.metrics.messages_read.inc_by(batch.len() as u64);
            self.hub.append(&mut batch);
        }
    }

    /// Goes on behind what the broker has lost, and lets every client hear of it.
    async fn lose_position(&mut self, error: &DriverError) {
        let bounds = match self.hub.driver.bounds(&self.hub.topics).await {
            Ok(bounds) => bounds,
            Err(error) => {
                self.report(&error);
                return;
            }
        };
        let mut position = self.hub.mark().head;
        let missing = move_to_what_is_left(&mut position, &bounds);
        if missing > 0 {
            warn!(
                topics = %names(&self.hub.topics), missing, %error,
                "The broker no longer has messages that were not read yet; clients are told of the gap."
            );
            self.metrics.positions_lost.inc();
            self.hub.change(|ring| ring.mark_gap(missing, position));
        }
    }

    /// Tells the log once of each cause, however often it is met again, and those who wait each time.
    fn report(&mut self, error: &DriverError) {
        let (topics, wait_ms) = (names(&self.hub.topics), self.backoff.as_millis());
        if self.told.as_ref() == Some(&error.message) {
            debug!(%topics, %error, wait_ms, "Reading from the broker failed once more.");
        } else {
            warn!(%topics, %error, wait_ms, "Reading from the broker failed; it is tried again until it succeeds.");
            self.told = Some(error.message.clone());
        }
        if matches!(self.hub.progress.borrow().phase, Phase::Opening(_)) {
            self.hub.set_phase(Phase::Opening(Some(error.clone())));
        }
    }
}

impl Hub {
    /// Where the hub stands now.
    pub(crate) fn mark(&self) -> Mark {
        let ring = self.ring.read().unwrap_or_else(PoisonError::into_inner);
        Mark { next: ring.next(), lost: ring.lost(), head: ring.head().clone() }
    }

    fn append(&self, batch: &mut Vec<Message>) {
        let tells = || self.telling.load(Ordering::Relaxed) > 0;
        let tell = |head: &Position, batch: &mut Vec<Message>| {
            HandedOut { position: head.clone(), tells: true }.add(batch);
        };
        let is_told = tells();
        if is_told {
            // Many texts take a while, and those who read the ring would wait for its lock.
            tell(&self.mark().head, batch);
        }
        self.change(|ring| {
            // A client that needs them may have come meanwhile. One that comes later waits for this lock.
            if !is_told && tells() {
                tell(ring.head(), batch);
            }
            batch.drain(..).for_each(|message| ring.push(message));
        });
    }

    /// Changes the ring, then wakes the clients once.
    fn change(&self, change: impl FnOnce(&mut Ring)) {
        let mut ring = self.ring.write().unwrap_or_else(PoisonError::into_inner);
        change(&mut ring);
        let (next, lost) = (ring.next(), ring.lost());
        drop(ring);
        self.progress.send_modify(|progress| (progress.next, progress.lost) = (next, lost));
    }

    fn set_phase(&self, phase: Phase) {
        self.progress.send_modify(|progress| progress.phase = phase);
    }
}

pub(crate) fn names(topics: &[Topic]) -> String {
    topics.iter().map(Topic::as_str).collect::<Vec<_>>().join(", ")
}
