//! The journal: messages that are read from a broker which keeps none, and kept here for whoever reads later.
//!
//! [`Journal`] stands around the driver of one event API where that has no [`replay`](Capabilities::replay). For each
//! topic of the API one task reads in the name of a group of its own, so that the broker keeps what is published while
//! the gateway is away; it writes into a log of the journal's and acknowledges only what the disk has. Reading is
//! served from that log, with places, positions and as many readers as are wanted; publishing goes to the broker.
//! Killed at any moment nothing is lost that the broker had, and something may be there twice.
//!
//! A topic is another one at another address: what was read there is not handed out as if it came from here.
//!
//! Where things stand: `lane` is one topic and who holds it, `reading` the task, `envelope` a message as it stands in
//! the log, `names` what topics are called there, `reader` what a [`Consumer`] sees.

mod envelope;
mod lane;
mod names;
mod reader;
mod reading;

use std::{
    collections::HashMap,
    fmt,
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicBool, Ordering},
    },
};

use futures_util::{FutureExt, future::BoxFuture};
use prometheus_client::metrics::{counter::Counter, gauge::Gauge};
use sluice_api::{ApiId, Broker};
use sluice_message::{Message, Position, Topic};
use tokio::sync::Semaphore;

use self::{
    lane::{Lane, Route},
    names::{Name, Names},
    reader::Reader,
    reading::Reading,
};
use crate::{
    Bounds, BrokerDriver, Capabilities, ConsumeSpec, Consumer, DriverError, ErrorKind, Log, LogOptions,
    Receipt, StartAt,
};

/// Publishes of one handle that may be under way.
const SLOTS: u32 = 100_000;

/// The journals of one process: a directory, and a topic in it for each that an event API reads.
pub struct Journals {
    directory: PathBuf,
    options: LogOptions,
    opened: Mutex<Opened>,
}

#[derive(Default)]
struct Opened {
    log: Option<Log>,
    /// By what the topic is called in the log.
    lanes: HashMap<Topic, Weak<Lane>>,
    /// By API and name of the broker.
    journals: HashMap<(ApiId, String), Weak<Journal>>,
}

/// What the journals of one API do and have done since the gateway started.
#[derive(Debug, Clone, Default)]
pub struct JournalMetrics {
    /// Messages that are on the disk.
    pub messages: Counter,
    /// Their bytes.
    pub bytes: Counter,
    /// Tries to read or write that failed.
    pub errors: Counter,
    /// Topics that are being read now.
    pub reading: Gauge,
}

impl Journals {
    /// Journals in this directory, which is made and opened when the first API wants one. Of the options those on
    /// retention say how long and how much is kept of each topic. That on the size of a message does not count: what
    /// the broker has taken fits.
    pub fn new(directory: PathBuf, mut options: LogOptions) -> Self {
        // One for each topic is the journal's own.
        options.max_groups = options.max_groups.saturating_add(options.max_topics);
        options.max_message_bytes = LogOptions::LARGEST_MESSAGE as usize;
        Self { directory, options, opened: Mutex::default() }
    }

    /// Whether there can be a journal of this broker, which nothing is opened for.
    ///
    /// # Errors
    /// Of kind `Unsupported`: the broker keeps nothing for readers that are away.
    pub fn can_keep(broker: &Broker, driver: &dyn BrokerDriver) -> Result<(), DriverError> {
        if driver.capabilities().groups {
            return Ok(());
        }
        let text = format!(
            "The broker '{}' keeps nothing for readers that are away, so that http-get, webhooks and streams that promise \
             delivery cannot be served from it; set qos none or auto for streams, or use a broker of another kind.",
            broker.name
        );
        Err(DriverError::new(ErrorKind::Unsupported, text))
    }

    /// A journal of these topics around the driver of a broker of an API; the one that is there where nothing has
    /// changed. Topics that an open journal of this broker reads already go on being read without a gap, by this
    /// driver from now on; each is read until the last journal that has it is closed or dropped.
    ///
    /// To be called in async code. Blocks while the directory is opened or topics are made.
    ///
    /// # Errors
    /// The broker keeps nothing for readers that are away, there are more topics than there may be, or the directory
    /// cannot be opened.
    pub fn journal(
        &self,
        api: &ApiId,
        broker: &Broker,
        driver: Arc<dyn BrokerDriver>,
        topics: &[Topic],
        metrics: JournalMetrics,
    ) -> Result<Arc<Journal>, DriverError> {
        Self::can_keep(broker, &*driver)?;
        let names = Names::new(api, broker, topics);
        let mut opened = self.opened();
        opened.lanes.retain(|_, lane| lane.strong_count() > 0);
        opened.journals.retain(|_, journal| journal.strong_count() > 0);
        let key = (api.clone(), broker.name.clone());
        let known = opened.journals.get(&key).and_then(Weak::upgrade);
        if let Some(known) = known.filter(|known| known.is_of(&names, &driver)) {
            return Ok(known);
        }
        let log = self.log(&mut opened)?;
        for name in names.iter() {
            log.make_topic(&name.stored).map_err(|error| too_many(name, error, self.options.max_topics))?;
        }
        let route = Route { driver: Arc::clone(&driver), metrics };
        let lanes = names.iter().map(|name| opened.enter(api, name, &log, &route)).collect();
        let journal = Arc::new(Journal {
            api: api.clone(),
            driver,
            log,
            names: Arc::new(names),
            lanes,
            slots: Semaphore::new(SLOTS as usize),
            has_left: AtomicBool::new(false),
        });
        opened.journals.insert(key, Arc::downgrade(&journal));
        Ok(journal)
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

impl Opened {
    /// A handle on a topic: of the lane that reads it, or of a new one.
    fn enter(&mut self, api: &ApiId, name: &Name, log: &Log, route: &Route) -> Handle {
        let former = self.lanes.get(&name.stored).and_then(Weak::upgrade);
        if let Some((lane, number)) = former.as_ref().and_then(|lane| Some((lane, lane.enter(route)?))) {
            return Handle { number, lane: Arc::clone(lane) };
        }
        let (lane, ending) = Lane::new(api, name, log, route);
        let before = former.map(|former| former.ending());
        tokio::spawn(Reading::new(Arc::clone(&lane)).run(before, ending));
        self.lanes.insert(name.stored.clone(), Arc::downgrade(&lane));
        Handle { lane, number: 0 }
    }
}

impl fmt::Debug for Journals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Journals").field("directory", &self.directory).finish_non_exhaustive()
    }
}

/// The driver of one broker of an event API with the journal around it.
pub struct Journal {
    api: ApiId,
    driver: Arc<dyn BrokerDriver>,
    log: Log,
    names: Arc<Names>,
    /// In the order of the names.
    lanes: Vec<Handle>,
    /// One permit for each publish that may be under way. Closed when the handle is closed.
    slots: Semaphore,
    has_left: AtomicBool,
}

/// What keeps a topic being read.
struct Handle {
    lane: Arc<Lane>,
    number: u64,
}

impl Journal {
    /// Whether this is open, and of these topics by this driver.
    fn is_of(&self, names: &Names, driver: &Arc<dyn BrokerDriver>) -> bool {
        !self.slots.is_closed() && *self.names == *names && Arc::ptr_eq(&self.driver, driver)
    }

    fn check_open(&self) -> Result<(), DriverError> {
        if self.slots.is_closed() { Err(closed()) } else { Ok(()) }
    }

    /// What topics are called in the log.
    fn stored(&self, topics: &[Topic]) -> Result<Vec<Topic>, DriverError> {
        self.check_open()?;
        topics.iter().map(|topic| self.names.stored(topic).map(|(_, stored)| stored.clone())).collect()
    }

    async fn open(&self, spec: ConsumeSpec) -> Result<Box<dyn Consumer>, DriverError> {
        let topics = self.stored(&spec.topics)?;
        for topic in &spec.topics {
            let (index, _) = self.names.stored(topic)?;
            self.lanes[index].lane.begun().await?;
        }
        let start = match spec.start {
            StartAt::After(position) => StartAt::After(self.names.position_inside(&position)),
            other => other,
        };
        let opened = self.log.consume(ConsumeSpec { topics, start, stop: spec.stop }).await;
        let reader = opened.map_err(|error| self.names.told(error))?;
        Ok(Box::new(Reader::new(reader, Arc::clone(&self.names))))
    }

    fn leave(&self) {
        if !self.has_left.swap(true, Ordering::SeqCst) {
            for Handle { lane, number } in &self.lanes {
                lane.leave(*number);
            }
        }
    }
}

impl BrokerDriver for Journal {
    fn capabilities(&self) -> Capabilities {
        let Capabilities { keys, headers, tombstones, .. } = self.driver.capabilities();
        Capabilities { keys, headers, tombstones, ..Capabilities::ALL }
    }

    /// That of the journal, whichever connection it reads by.
    fn identity(&self) -> BoxFuture<'_, Result<String, DriverError>> {
        async { Ok(format!("journal {} {}", self.log.id(), self.names.home())) }.boxed()
    }

    /// Resolves as the broker's driver does. Where the message will be in the journal is not known then.
    fn publish<'a>(
        &'a self,
        topic: &'a Topic,
        message: Message,
    ) -> BoxFuture<'a, Result<Receipt, DriverError>> {
        async move {
            let _slot = self.slots.acquire().await.map_err(|_| closed())?;
            self.driver.publish(topic, message).await?;
            Ok(Receipt { place: None })
        }
        .boxed()
    }

    /// Waits, the first time, until the broker keeps messages for the journal; after that it needs no broker.
    fn consume(&self, spec: ConsumeSpec) -> BoxFuture<'_, Result<Box<dyn Consumer>, DriverError>> {
        self.open(spec).boxed()
    }

    /// Asks the broker, then tells of a topic of the API that is not read just now.
    fn check<'a>(&'a self, topics: &'a [Topic]) -> BoxFuture<'a, Result<(), DriverError>> {
        async move {
            self.check_open()?;
            self.driver.check(topics).await?;
            self.lanes.iter().find_map(|handle| handle.lane.error()).map_or(Ok(()), Err)
        }
        .boxed()
    }

    fn bounds<'a>(&'a self, topics: &'a [Topic]) -> BoxFuture<'a, Result<Bounds, DriverError>> {
        async move {
            let topics = self.stored(topics)?;
            let bounds = self.log.bounds(&topics).await.map_err(|error| self.names.told(error))?;
            Ok(self.names.bounds_outside(bounds))
        }
        .boxed()
    }

    /// By when a message came into the journal.
    fn position_at<'a>(
        &'a self,
        topics: &'a [Topic],
        timestamp_ms: i64,
    ) -> BoxFuture<'a, Result<Position, DriverError>> {
        async move {
            let topics = self.stored(topics)?;
            let position = self.log.position_at(&topics, timestamp_ms).await;
            Ok(self.names.position_outside(&position.map_err(|error| self.names.told(error))?))
        }
        .boxed()
    }

    /// Waits until every publish through this handle is settled and, for topics that no other handle has, until what
    /// is being written is acknowledged. The driver behind it, which others may have too, stays open.
    fn close(&self) -> BoxFuture<'_, ()> {
        async move {
            let all = self.slots.acquire_many(SLOTS).await;
            self.slots.close();
            drop(all);
            self.leave();
            for handle in &self.lanes {
                handle.lane.ended().await;
            }
        }
        .boxed()
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        self.leave();
    }
}

impl fmt::Debug for Journal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Journal").field("api", &self.api).finish_non_exhaustive()
    }
}

fn too_many(name: &Name, error: DriverError, limit: usize) -> DriverError {
    match error.kind {
        ErrorKind::Configuration => DriverError::new(
            error.kind,
            format!(
                "The topic {} cannot be kept in the gateway's journal: it holds {limit} topics, its limit \
                 (journal.maxTopics).",
                name.wanted
            ),
        ),
        _ => error,
    }
}

fn closed() -> DriverError {
    DriverError::new(ErrorKind::Closed, "The journal is closed.")
}
