//! The log embedded in the gateway: a broker in a directory, for those who have no other.
//!
//! A message is acknowledged once it is on the disk. One thread writes for all topics: it takes what is
//! queued, writes it in one piece, waits for the disk once and acknowledges all of it, so that many
//! publishers share one wait. Each topic has one partition, its offsets count from 0 without gaps and are
//! never used twice. Topics are made when they are first published to or read.
//!
//! Where things stand: `record` is one message as bytes, `chunk` the messages that were written together,
//! `store` the key-value store below, `writer` the thread, `retention` what it deletes, `reader` what a
//! [`Consumer`] sees, `groups` who of a group reads, `time` which messages were taken when.

mod chunk;
mod groups;
mod reader;
mod record;
mod retention;
mod store;
mod time;
mod writer;

use std::{
    collections::HashMap,
    fmt,
    ops::Range,
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock, mpsc},
    time::Duration,
};

use futures_util::{FutureExt, future::BoxFuture};
use sluice_message::{Message, Offset, Partition, Place, Position, Topic};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, oneshot, watch},
    task::spawn_blocking,
    time::{Instant, timeout_at},
};

pub(crate) use self::writer::now_ms;
use self::{
    groups::{Seat, Seats},
    reader::Reader,
    store::{Extent, Store},
    writer::{Job, Work, Writer},
};
use crate::{Bounds, BrokerDriver, Capabilities, ConsumeSpec, Consumer, DriverError, ErrorKind, Receipt};

/// How much the log keeps and how much it takes at once.
#[derive(Debug, Clone)]
pub struct LogOptions {
    /// How long a message is kept, from when the log took it. Default 7 days.
    pub retention_age: Duration,
    /// Bytes that a topic may hold before its oldest messages go; what is on the disk may be some write
    /// buffers more. Messages that were written in one piece go together, and those written last never go
    /// for their size: they stay even when they alone are more than this. Default 1 GiB.
    pub retention_bytes: u64,
    /// How often to look for messages that are too old. Default 1 minute.
    pub retention_interval: Duration,
    /// Bytes of the largest message, counted as [`Message::size`]. More than
    /// [`LARGEST_MESSAGE`](Self::LARGEST_MESSAGE) counts as that. Default 16 MiB.
    pub max_message_bytes: usize,
    /// Topics that there may be. Default 256.
    pub max_topics: usize,
    /// Groups that there may be, counted for each topic that they read. Default 10,000.
    pub max_groups: usize,
    /// Messages and commits that may wait for the disk at the same time. Default 10,000.
    pub queue_messages: u32,
    /// Bytes that may wait for the disk at the same time; `max_message_bytes` if that is more, so that
    /// the largest message always fits. Default 32 MiB.
    pub queue_bytes: u32,
    /// How long a publish or a commit may take. Default 10 seconds.
    pub publish_timeout: Duration,
}

impl LogOptions {
    /// Bytes beyond which no message can be: what is written in one piece must stay far below 4 GiB.
    pub const LARGEST_MESSAGE: u32 = 1 << 30;

    /// The same without retention: messages stay until they are [trimmed](Log::trim).
    #[must_use]
    pub fn kept_until_trimmed(self) -> Self {
        Self { retention_age: Duration::MAX, retention_bytes: u64::MAX, ..self }
    }

    fn message_limit(&self) -> u32 {
        u32::try_from(self.max_message_bytes)
            .map_or(Self::LARGEST_MESSAGE, |max| max.min(Self::LARGEST_MESSAGE))
    }

    fn queue_bound(&self) -> u32 {
        self.queue_bytes.max(self.message_limit())
    }
}

impl Default for LogOptions {
    fn default() -> Self {
        Self {
            retention_age: Duration::from_hours(7 * 24),
            retention_bytes: 1 << 30,
            retention_interval: Duration::from_mins(1),
            max_message_bytes: 16 << 20,
            max_topics: 256,
            max_groups: 10_000,
            queue_messages: 10_000,
            queue_bytes: 32 << 20,
            publish_timeout: Duration::from_secs(10),
        }
    }
}

/// The embedded log. Clones are the same log; dropping the last closes it.
#[derive(Clone)]
pub struct Log(Arc<Inner>);

struct Inner {
    shared: Arc<Shared>,
    jobs: mpsc::Sender<Job>,
    /// Becomes true, or loses its sender, when the writer has ended.
    ended: watch::Receiver<bool>,
}

/// What callers, readers and the writer share.
struct Shared {
    directory: PathBuf,
    /// Which log this is, among all that there are.
    id: String,
    options: LogOptions,
    /// `None` once closed, and for a moment while it is opened anew.
    store: RwLock<Option<Store>>,
    topics: RwLock<HashMap<Topic, Arc<TopicLog>>>,
    seats: Seats,
    /// One permit for each job that may be under way. Closed when the log is closed.
    slots: Arc<Semaphore>,
    /// One permit for each byte that may be under way.
    room: Arc<Semaphore>,
}

/// One topic. Only the writer moves its extent, and only over what is on the disk.
struct TopicLog {
    name: Topic,
    extent: watch::Sender<Extent>,
}

impl Log {
    /// Opens the log in this directory, which is made if it is missing, and starts its writer. Blocks; an
    /// existing log is ready after reading what was written last.
    pub fn open(directory: impl AsRef<Path>, options: LogOptions) -> Result<Self, DriverError> {
        let directory = directory.as_ref().to_owned();
        if options.queue_messages == 0 {
            let text = "The log's queue must hold at least one message.";
            return Err(DriverError::new(ErrorKind::Configuration, text));
        }
        let store = Store::open(&directory)?;
        let mut topics = HashMap::new();
        for name in store.topics() {
            let extent = watch::Sender::new(store.extent(name)?);
            topics.insert(name.clone(), Arc::new(TopicLog { name: name.clone(), extent }));
        }
        let shared = Arc::new(Shared {
            directory,
            id: store.id()?,
            seats: Seats::new(store.group_positions()?),
            store: RwLock::new(Some(store)),
            topics: RwLock::new(topics),
            slots: Arc::new(Semaphore::new(options.queue_messages as usize)),
            room: Arc::new(Semaphore::new(options.queue_bound() as usize)),
            options,
        });
        let (jobs, received) = mpsc::channel();
        let (ending, ended) = watch::channel(false);
        let writer = Writer::new(shared.clone(), received, ending);
        std::thread::Builder::new().name("log-writer".to_owned()).spawn(|| writer.run()).map_err(
            |error| {
                DriverError::new(
                    ErrorKind::Other,
                    format!("The log's writer thread cannot be started: {error}."),
                )
            },
        )?;
        Ok(Self(Arc::new(Inner { shared, jobs, ended })))
    }

    async fn append(&self, topic: &Topic, message: Message) -> Result<Receipt, DriverError> {
        let (size, limit) = (message.size(), self.0.shared.options.message_limit());
        let permits = u32::try_from(size).ok().filter(|size| *size <= limit).ok_or_else(|| {
            let text = format!("A message of {size} bytes is over the log's limit of {limit} bytes.");
            DriverError::new(ErrorKind::TooLarge, text)
        })?;
        let deadline = self.deadline();
        let slot = self.slot(deadline).await?;
        let log = self.topic(topic).await?;
        let room = self.0.shared.room.clone().acquire_many_owned(permits);
        let room = timeout_at(deadline, room).await.map_err(|_| overloaded())?.map_err(|_| closed())?;
        let work = Work::Append { topic: log, message };
        let offset = self.submit(work, [Some(slot), Some(room)], deadline).await?;
        let place = Place { topic: topic.clone(), partition: Partition(0), offset: Offset(offset) };
        Ok(Receipt { place: Some(place) })
    }

    /// Writes messages of one topic in this order, all or none, and waits for the disk once.
    pub(crate) async fn append_all(&self, topic: &Topic, messages: Vec<Message>) -> Result<(), DriverError> {
        let limit = self.0.shared.options.message_limit() as usize;
        if let Some(size) = messages.iter().map(Message::size).find(|size| *size > limit) {
            let text = format!("A message of {size} bytes is over the log's limit of {limit} bytes.");
            return Err(DriverError::new(ErrorKind::TooLarge, text));
        }
        let deadline = self.deadline();
        let slot = self.slot(deadline).await?;
        let log = self.topic(topic).await?;
        let bytes = messages.iter().map(Message::size).sum::<usize>();
        let bound = self.0.shared.options.queue_bound();
        // More than the queue holds goes when nothing else does.
        let permits = u32::try_from(bytes).map_or(bound, |bytes| bytes.min(bound));
        let room = self.0.shared.room.clone().acquire_many_owned(permits);
        let room = timeout_at(deadline, room).await.map_err(|_| overloaded())?.map_err(|_| closed())?;
        let work = Work::AppendAll { topic: log, messages };
        self.submit(work, [Some(slot), Some(room)], deadline).await.map(drop)
    }

    /// Records durably that a group has dealt with everything before `next`.
    async fn move_group(&self, seat: Arc<Seat>, next: u64) -> Result<(), DriverError> {
        let deadline = self.deadline();
        let slot = self.slot(deadline).await?;
        self.submit(Work::Commit { seat, next }, [Some(slot), None], deadline).await?;
        Ok(())
    }

    /// Deletes the messages of a topic before this offset, as far as none behind them was written in one piece
    /// with them. They may be back after a crash. Readers that still want them lose their position.
    pub async fn trim(&self, topic: &Topic, before: Offset) -> Result<(), DriverError> {
        self.0.shared.check_open()?;
        let Some(log) = self.0.shared.known_topic(topic) else { return Ok(()) };
        loop {
            let deadline = self.deadline();
            let slot = self.slot(deadline).await?;
            let work = Work::Trim { topic: log.clone(), before: before.0 };
            // A piece at a time, so that publishers do not wait for long.
            if self.submit(work, [Some(slot), None], deadline).await? < retention::PIECE as u64 {
                return Ok(());
            }
        }
    }

    /// Which log this is, among all that there are.
    pub(crate) fn id(&self) -> &str {
        &self.0.shared.id
    }

    /// Makes a topic unless it exists. Blocks.
    pub(crate) fn make_topic(&self, topic: &Topic) -> Result<(), DriverError> {
        match self.0.shared.known_topic(topic) {
            Some(_) => Ok(()),
            None => self.0.shared.create_topic(topic).map(drop),
        }
    }

    /// The offsets that a topic holds now, and bytes on the disk; nothing of a topic that does not exist.
    pub(crate) fn held(&self, topic: &Topic) -> (Range<u64>, u64) {
        let extent = self.0.shared.known_topic(topic).map(|topic| *topic.extent.borrow());
        let Extent { start, end, bytes_at_start, bytes_at_end } = extent.unwrap_or_default();
        (start..end, bytes_at_end.saturating_sub(bytes_at_start))
    }

    /// The first offset of a topic that this group has not dealt with; `None` for a group that does not exist.
    pub(crate) fn committed(&self, topic: &Topic, group: &str) -> Option<u64> {
        self.0.shared.seats.next(topic, group)
    }

    fn deadline(&self) -> Instant {
        Instant::now() + self.0.shared.options.publish_timeout
    }

    async fn slot(&self, deadline: Instant) -> Result<OwnedSemaphorePermit, DriverError> {
        let slot = self.0.shared.slots.clone().acquire_owned();
        timeout_at(deadline, slot).await.map_err(|_| overloaded())?.map_err(|_| closed())
    }

    async fn submit(
        &self,
        work: Work,
        permits: [Option<OwnedSemaphorePermit>; 2],
        deadline: Instant,
    ) -> Result<u64, DriverError> {
        let (done, answer) = oneshot::channel();
        self.0.jobs.send(Job { work, permits, done }).map_err(|_| closed())?;
        let answer = timeout_at(deadline, answer).await.map_err(|_| {
            DriverError::new(ErrorKind::Unreachable, "The disk under the log did not answer in time.")
        })?;
        answer.map_err(|_| closed())?
    }

    /// The topic, made if it is missing.
    async fn topic(&self, name: &Topic) -> Result<Arc<TopicLog>, DriverError> {
        if let Some(topic) = self.0.shared.known_topic(name) {
            return Ok(topic);
        }
        let (shared, name) = (self.0.shared.clone(), name.clone());
        blocking(move || shared.create_topic(&name)).await
    }

    async fn range_of(&self, topics: &[Topic]) -> Result<Bounds, DriverError> {
        self.0.shared.check_open()?;
        let bounds = topics.iter().map(|name| {
            let extent = self.0.shared.known_topic(name).map(|topic| *topic.extent.borrow());
            let Extent { start, end, .. } = extent.unwrap_or_default();
            ((name.clone(), Partition(0)), Range { start: Offset(start), end: Offset(end) })
        });
        Ok(bounds.collect())
    }

    async fn shut(&self) {
        let shared = &self.0.shared;
        let settled = async {
            // The semaphore is fair: this waits until all that came before is settled, and what comes later
            // waits behind it and then finds the semaphore closed.
            let all = shared.slots.acquire_many(shared.options.queue_messages).await;
            shared.slots.close();
            drop(all);
            let (done, _) = oneshot::channel();
            // A writer that is gone has nothing left to end.
            let _ = self.0.jobs.send(Job { work: Work::End, permits: [None, None], done });
            let _ = self.0.ended.clone().wait_for(|ended| *ended).await;
        };
        // Every publish has its answer by then; only a disk that hangs is left to wait for.
        if timeout_at(self.deadline(), settled).await.is_err() {
            shared.slots.close();
            tracing::error!(
                directory = %shared.directory.display(),
                "The disk under the log did not answer in time; the log is left without being closed."
            );
        }
    }
}

impl BrokerDriver for Log {
    fn capabilities(&self) -> Capabilities {
        Capabilities::ALL
    }

    fn identity(&self) -> BoxFuture<'_, Result<String, DriverError>> {
        async { Ok(format!("log {}", self.0.shared.id)) }.boxed()
    }

    fn publish<'a>(
        &'a self,
        topic: &'a Topic,
        message: Message,
    ) -> BoxFuture<'a, Result<Receipt, DriverError>> {
        self.append(topic, message).boxed()
    }

    fn consume(&self, spec: ConsumeSpec) -> BoxFuture<'_, Result<Box<dyn Consumer>, DriverError>> {
        async move {
            self.0.shared.check_open()?;
            let reader = Reader::open(self.clone(), spec).await?;
            Ok(Box::new(reader) as Box<dyn Consumer>)
        }
        .boxed()
    }

    fn bounds<'a>(&'a self, topics: &'a [Topic]) -> BoxFuture<'a, Result<Bounds, DriverError>> {
        self.range_of(topics).boxed()
    }

    fn position_at<'a>(
        &'a self,
        topics: &'a [Topic],
        timestamp_ms: i64,
    ) -> BoxFuture<'a, Result<Position, DriverError>> {
        time::position_at(&self.0.shared, topics, timestamp_ms).boxed()
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        self.shut().boxed()
    }
}

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Log").field("directory", &self.0.shared.directory).finish_non_exhaustive()
    }
}

impl Shared {
    fn check_open(&self) -> Result<(), DriverError> {
        if self.slots.is_closed() { Err(closed()) } else { Ok(()) }
    }

    fn known_topic(&self, name: &Topic) -> Option<Arc<TopicLog>> {
        self.topics.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    fn all_topics(&self) -> Vec<Arc<TopicLog>> {
        self.topics.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// Calls `work` with the store. Blocks as long as the store is opened anew.
    fn with_store<T>(&self, work: impl FnOnce(&Store) -> Result<T, DriverError>) -> Result<T, DriverError> {
        match &*self.store.read().unwrap_or_else(PoisonError::into_inner) {
            Some(store) => work(store),
            None => Err(self.no_store()),
        }
    }

    fn no_store(&self) -> DriverError {
        if self.slots.is_closed() {
            return closed();
        }
        let text = format!("The log in {} could not be opened again yet.", self.directory.display());
        DriverError::new(ErrorKind::Storage, text)
    }

    fn create_topic(&self, name: &Topic) -> Result<Arc<TopicLog>, DriverError> {
        check_name(name)?;
        // Held until the topic is known, so that two who ask at the same time get the same.
        let mut store = self.store.write().unwrap_or_else(PoisonError::into_inner);
        let store = store.as_mut().ok_or_else(|| self.no_store())?;
        if let Some(topic) = self.known_topic(name) {
            return Ok(topic);
        }
        let limit = self.options.max_topics;
        if store.topics().len() >= limit {
            let text = format!("The topic {name} cannot be made: the log holds {limit} topics, its limit.");
            return Err(DriverError::new(ErrorKind::Configuration, text));
        }
        store.create_topic(name)?;
        let extent = watch::Sender::new(store.extent(name)?);
        let topic = Arc::new(TopicLog { name: name.clone(), extent });
        let mut topics = self.topics.write().unwrap_or_else(PoisonError::into_inner);
        topics.insert(name.clone(), topic.clone());
        Ok(topic)
    }

    /// Opens the store anew after it refused to write. What it then holds is what counts.
    fn reopen_store(&self) -> Result<(), DriverError> {
        let mut slot = self.store.write().unwrap_or_else(PoisonError::into_inner);
        *slot = None;
        let mut store = Store::open(&self.directory)?;
        for topic in self.all_topics() {
            store.create_topic(&topic.name)?;
            topic.extent.send_replace(store.extent(&topic.name)?);
        }
        *slot = Some(store);
        Ok(())
    }

    /// Lets go of the directory, and of everybody who waits for messages.
    fn close_store(&self) {
        self.slots.close();
        self.topics.write().unwrap_or_else(PoisonError::into_inner).clear();
        *self.store.write().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

/// As Kafka names topics, so that an event API can move from one to the other.
fn check_name(name: &Topic) -> Result<(), DriverError> {
    const LONGEST: usize = 240;
    let text = name.as_str();
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    let good =
        (1..=LONGEST).contains(&text.len()) && text.bytes().all(allowed) && text != "." && text != "..";
    if good {
        return Ok(());
    }
    let shown: String = text.chars().take(LONGEST).collect();
    let text = format!(
        "{shown:?} is no name for a topic: 1 to {LONGEST} letters, digits, '.', '_' and '-' make one."
    );
    Err(DriverError::new(ErrorKind::Configuration, text))
}

/// Runs what blocks on a thread that may.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, DriverError> + Send + 'static,
) -> Result<T, DriverError> {
    spawn_blocking(work).await.unwrap_or_else(|error| {
        Err(DriverError::new(ErrorKind::Other, format!("A task of the log ended early: {error}.")))
    })
}

fn closed() -> DriverError {
    DriverError::new(ErrorKind::Closed, "The log is closed.")
}

fn overloaded() -> DriverError {
    let text = "More messages wait for the disk under the log than it may hold. Publish more slowly.";
    DriverError::new(ErrorKind::Overloaded, text)
}

#[cfg(test)]
mod tests;
