//! The spool: messages that are taken durably here and handed to their broker as soon as it takes them.
//!
//! [`Spool`] stands before the driver of one event API. What is published is acknowledged once it is in a log of
//! the spool's own, in a topic of that API; one task per API forwards from there, in order. Reading goes to the
//! driver itself. After a crash a message may be forwarded twice, never not at all. While the broker is away
//! messages are taken up to the bound of the API, then publishing fails as overloaded.
//!
//! Where things stand: `lane` is one API and what it has waiting, `forwarder` the task, `envelope` a message as
//! it stands in the log, `destination` the broker it is meant for.

mod destination;
mod envelope;
mod forwarder;
mod lane;

use std::{
    collections::HashMap,
    fmt,
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures_util::{FutureExt, future::BoxFuture};
use prometheus_client::metrics::{counter::Counter, gauge::Gauge};
use sluice_api::{ApiId, BrokerConfig};
use sluice_message::{Message, Position, Topic};
use tokio::sync::Semaphore;

use self::{
    destination::Destination,
    forwarder::Forwarder,
    lane::{Lane, Route},
};
use crate::{
    BatchLimit, Bounds, BrokerDriver, Capabilities, ConsumeSpec, Consumer, DriverError, ErrorKind, Log,
    LogOptions, Receipt,
};

/// What is read from the log at once; what a crash repeats at the most.
const BATCH: BatchLimit = BatchLimit { messages: 32, bytes: 1 << 20 };
/// Publishes of one handle that may be under way.
const SLOTS: u32 = 100_000;
/// The wait before what failed is tried again; it doubles each time.
const FIRST_DELAY: Duration = Duration::from_millis(200);
/// The longest such wait.
const LONGEST_DELAY: Duration = Duration::from_secs(5);

/// The spool of one process: a directory, and a lane in it for each event API that wants one.
pub struct Spools {
    directory: PathBuf,
    options: LogOptions,
    opened: Mutex<Opened>,
}

#[derive(Default)]
struct Opened {
    log: Option<Log>,
    lanes: HashMap<ApiId, Weak<Lane>>,
}

/// What the spool of one API does and has done since the gateway started.
#[derive(Debug, Clone, Default)]
pub struct SpoolMetrics {
    /// Messages that wait for the broker now.
    pub waiting_messages: Gauge,
    /// Bytes that wait for the broker now.
    pub waiting_bytes: Gauge,
    /// Messages that are set aside now.
    pub set_aside_messages: Gauge,
    /// Messages that the broker has taken from the spool.
    pub forwarded: Counter,
    /// Messages that were set aside: the broker refuses them for good, or they were taken for another one.
    pub set_aside: Counter,
}

/// How the spool of one API stands.
#[derive(Debug, Clone)]
pub struct SpoolStatus {
    /// Messages that wait for the broker.
    pub waiting_messages: u64,
    /// Bytes on the disk that they hold. Messages that were written together hold theirs until all have left.
    pub waiting_bytes: u64,
    /// When the one that is next was taken, milliseconds since 1970-01-01 UTC; `None` while none is read.
    pub oldest_waiting_since_ms: Option<i64>,
    /// Messages that the broker refuses for good, or that were taken for another one.
    pub set_aside_messages: u64,
    /// Bytes on the disk that they hold.
    pub set_aside_bytes: u64,
    /// Why messages do not go on just now.
    pub last_error: Option<DriverError>,
}

impl SpoolStatus {
    /// Whether there is no message in the spool.
    pub const fn is_empty(&self) -> bool {
        self.waiting_messages == 0 && self.set_aside_messages == 0
    }
}

impl Spools {
    /// A spool in this directory, which is made and opened when the first API wants it. Of the options those
    /// on retention do not count: nothing goes before it was forwarded.
    pub fn new(directory: PathBuf, options: LogOptions) -> Self {
        Self { directory, options: options.kept_until_trimmed(), opened: Mutex::default() }
    }

    /// A handle on the spool of an API, before this driver. What waits already and all that is taken, through
    /// any handle of the API, goes to the driver of the newest from now on, and its settings and counters are
    /// those that hold. There is one forwarder for all; it ends with the last handle, and messages stay.
    ///
    /// What was taken for another broker than that of `broker` and `driver` is set aside. Without settings the
    /// handle is for what is in the spool already: it takes nothing itself.
    ///
    /// To be called in async code. Blocks while the first API opens the directory; an error says why it cannot
    /// be opened.
    pub fn spool(
        &self,
        api: &ApiId,
        settings: Option<&sluice_api::Spool>,
        broker: &BrokerConfig,
        driver: Arc<dyn BrokerDriver>,
        metrics: SpoolMetrics,
    ) -> Result<Arc<Spool>, DriverError> {
        let mut opened = self.opened();
        let log = self.log(&mut opened)?;
        opened.lanes.retain(|_, lane| lane.strong_count() > 0);
        let former = opened.lanes.get(api).and_then(Weak::upgrade).filter(|lane| lane.enter());
        // Handles that take messages still go by the bound that they know.
        let known = former.as_ref().map_or(0, |lane| lane.route.borrow().max_bytes);
        let max_bytes = settings.map_or(known, |settings| settings.max_bytes);
        let destination = Destination::new(driver, broker.address());
        let route = Route { destination: Arc::clone(&destination), max_bytes, metrics };
        let lane = if let Some(lane) = former {
            lane.route.send_replace(route);
            lane
        } else {
            let (lane, ending) = Lane::new(api.clone(), log, route);
            tokio::spawn(Forwarder::new(Arc::clone(&lane)).run(ending));
            opened.lanes.insert(api.clone(), Arc::downgrade(&lane));
            lane
        };
        lane.show();
        let (slots, has_left) = (Semaphore::new(SLOTS as usize), AtomicBool::new(false));
        Ok(Arc::new(Spool { lane, destination, slots, has_left }))
    }

    /// Whether messages of an API are in the spool, or may still come there through a handle that is open.
    ///
    /// Blocks where the directory is there and not open yet; an error says why it cannot be opened.
    pub fn holds(&self, api: &ApiId) -> Result<bool, DriverError> {
        let mut opened = self.opened();
        if opened.log.is_none() && !self.directory.exists() {
            return Ok(false);
        }
        let log = self.log(&mut opened)?;
        let has_lane = opened.lanes.get(api).is_some_and(|lane| lane.strong_count() > 0);
        Ok(has_lane || Lane::has_messages(&log, api))
    }

    fn opened(&self) -> MutexGuard<'_, Opened> {
        self.opened.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn log(&self, opened: &mut Opened) -> Result<Log, DriverError> {
        Ok(match &mut opened.log {
            Some(log) => log.clone(),
            none => none.insert(Log::open(&self.directory, self.options.clone())?).clone(),
        })
    }
}

impl fmt::Debug for Spools {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Spools").field("directory", &self.directory).finish_non_exhaustive()
    }
}

/// The driver of one event API with the spool before it.
pub struct Spool {
    lane: Arc<Lane>,
    destination: Arc<Destination>,
    /// One permit for each publish that may be under way. Closed when the handle is closed.
    slots: Semaphore,
    has_left: AtomicBool,
}

impl Spool {
    /// How the spool stands.
    pub fn status(&self) -> SpoolStatus {
        self.lane.status()
    }

    /// Lets the broker of now have what was set aside, behind what waits now, and returns how many messages
    /// that are. What is cut short may be repeated.
    pub async fn retry_set_aside(&self) -> Result<u64, DriverError> {
        self.check_open()?;
        self.lane.put_back().await
    }

    /// Deletes what is set aside, and returns how many messages that were. Some may be back after a crash.
    pub async fn discard_set_aside(&self) -> Result<u64, DriverError> {
        self.check_open()?;
        self.lane.discard_aside().await
    }

    fn check_open(&self) -> Result<(), DriverError> {
        if self.slots.is_closed() { Err(closed()) } else { Ok(()) }
    }

    fn leave(&self) {
        if !self.has_left.swap(true, Ordering::SeqCst) {
            self.lane.leave();
        }
    }
}

impl BrokerDriver for Spool {
    fn capabilities(&self) -> Capabilities {
        self.destination.driver.capabilities()
    }

    fn identity(&self) -> BoxFuture<'_, Result<String, DriverError>> {
        self.destination.driver.identity()
    }

    /// Resolves once the message is durable in the spool. Where it will be at the broker is not known then.
    fn publish<'a>(
        &'a self,
        topic: &'a Topic,
        message: Message,
    ) -> BoxFuture<'a, Result<Receipt, DriverError>> {
        async move {
            let _slot = self.slots.acquire().await.map_err(|_| closed())?;
            self.lane.take(topic, &message, &self.destination.meant()).await?;
            Ok(Receipt { place: None })
        }
        .boxed()
    }

    fn consume(&self, spec: ConsumeSpec) -> BoxFuture<'_, Result<Box<dyn Consumer>, DriverError>> {
        async move {
            self.check_open()?;
            self.destination.driver.consume(spec).await
        }
        .boxed()
    }

    fn check<'a>(&'a self, topics: &'a [Topic]) -> BoxFuture<'a, Result<(), DriverError>> {
        self.destination.driver.check(topics)
    }

    fn covers(&self, wanted: &Topic, topic: &Topic) -> bool {
        self.destination.driver.covers(wanted, topic)
    }

    fn bounds<'a>(&'a self, topics: &'a [Topic]) -> BoxFuture<'a, Result<Bounds, DriverError>> {
        async move {
            self.check_open()?;
            self.destination.driver.bounds(topics).await
        }
        .boxed()
    }

    fn position_at<'a>(
        &'a self,
        topics: &'a [Topic],
        timestamp_ms: i64,
    ) -> BoxFuture<'a, Result<Position, DriverError>> {
        async move {
            self.check_open()?;
            self.destination.driver.position_at(topics, timestamp_ms).await
        }
        .boxed()
    }

    /// Waits until every publish through this handle is settled and, where this is the last handle of its API,
    /// for the message that is being forwarded. The driver behind it, which others may have too, stays open.
    fn close(&self) -> BoxFuture<'_, ()> {
        async move {
            let all = self.slots.acquire_many(SLOTS).await;
            self.slots.close();
            drop(all);
            self.leave();
            self.lane.ended().await;
        }
        .boxed()
    }
}

impl Drop for Spool {
    fn drop(&mut self) {
        self.leave();
    }
}

impl fmt::Debug for Spool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Spool").field("api", &self.lane.api).finish_non_exhaustive()
    }
}

fn closed() -> DriverError {
    DriverError::new(ErrorKind::Closed, "The spool is closed.")
}
