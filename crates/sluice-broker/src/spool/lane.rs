//! One event API in the spool: what waits, where it goes, and who holds it.
//!
//! Handles come and go with deployments of the API; the lane stays as long as one of them is open, and with it
//! the one forwarder. Where messages go is said by the newest handle.

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicU64, Ordering},
};

use sluice_api::ApiId;
use sluice_message::{Message, Offset, Topic};
use tokio::sync::{Mutex as Turn, watch};

use super::{
    BATCH, SpoolMetrics, SpoolStatus,
    destination::{Destination, MeantFor},
    envelope,
};
use crate::{BrokerDriver, ConsumeSpec, DriverError, ErrorKind, Log, StartAt, StopAt, log::now_ms};

/// The group in whose name the forwarder reads. The log lets one member of it read at a time.
pub(super) const GROUP: &str = "forwarder";

/// Where messages go, and how many may wait.
#[derive(Clone)]
pub(super) struct Route {
    pub(super) destination: Arc<Destination>,
    pub(super) max_bytes: u64,
    pub(super) metrics: SpoolMetrics,
}

pub(super) struct Lane {
    pub(super) api: ApiId,
    pub(super) log: Log,
    /// What is to be forwarded, in order.
    pub(super) waiting: Topic,
    /// What the broker refused for good, and what was taken for another one.
    pub(super) aside: Topic,
    pub(super) route: watch::Sender<Route>,
    pub(super) stop: watch::Sender<bool>,
    /// Becomes true, or loses its sender, when the forwarder has ended.
    ended: watch::Receiver<bool>,
    /// Bytes on their way into the log, which does not count them yet.
    arriving: AtomicU64,
    /// Open handles. At 0 the lane is at its end.
    handles: Mutex<usize>,
    progress: Mutex<Progress>,
    /// Held by who takes out what was set aside, so that two do not both.
    emptying_aside: Turn<()>,
}

/// What the forwarder tells of itself.
#[derive(Default)]
struct Progress {
    /// When the message that is next was taken.
    oldest_ms: Option<i64>,
    error: Option<DriverError>,
}

impl Lane {
    /// A lane with one open handle. The other value is for its forwarder.
    pub(super) fn new(api: ApiId, log: Log, route: Route) -> (Arc<Self>, watch::Sender<bool>) {
        let (ending, ended) = watch::channel(false);
        let lane = Self {
            waiting: waiting(&api),
            aside: aside(&api),
            api,
            log,
            route: watch::Sender::new(route),
            stop: watch::Sender::new(false),
            ended,
            arriving: AtomicU64::new(0),
            handles: Mutex::new(1),
            progress: Mutex::default(),
            emptying_aside: Turn::default(),
        };
        (Arc::new(lane), ending)
    }

    /// Whether the log has messages of this API.
    pub(super) fn has_messages(log: &Log, api: &ApiId) -> bool {
        waiting_messages(log, &waiting(api)) > 0 || !log.held(&aside(api)).0.is_empty()
    }

    /// One handle more, unless the lane is at its end.
    pub(super) fn enter(&self) -> bool {
        let mut handles = self.handles.lock().unwrap_or_else(PoisonError::into_inner);
        let is_open = *handles > 0;
        *handles += usize::from(is_open);
        is_open
    }

    /// One handle less. The last one stops the forwarder.
    pub(super) fn leave(&self) {
        let mut handles = self.handles.lock().unwrap_or_else(PoisonError::into_inner);
        *handles = handles.saturating_sub(1);
        if *handles > 0 || self.stop.send_replace(true) {
            return;
        }
        let (messages, _) = self.waiting_now();
        if messages > 0 {
            tracing::info!(
                api = %self.api, messages,
                "Messages stay in the spool of an API. They go on when it is served again."
            );
        }
    }

    /// Waits for the forwarder to end, if the lane is at its end.
    pub(super) async fn ended(&self) {
        if *self.stop.borrow() {
            let _ = self.ended.clone().wait_for(|ended| *ended).await;
        }
    }

    /// Takes a message durably. Nothing of it is in the spool after an error of the kind `Overloaded`.
    pub(super) async fn take(
        &self,
        topic: &Topic,
        message: &Message,
        meant: &MeantFor,
    ) -> Result<(), DriverError> {
        let sealed = envelope::seal(topic, message, now_ms(), meant);
        let _arriving = self.make_room(sealed.size() as u64)?;
        let taken = self.log.publish(&self.waiting, sealed).await;
        self.show();
        taken.map(drop)
    }

    fn make_room(&self, size: u64) -> Result<Arriving<'_>, DriverError> {
        let max = self.route.borrow().max_bytes;
        if size > max {
            let text = format!("A message of {size} bytes is over the limit of the spool, {max} bytes.");
            return Err(DriverError::new(ErrorKind::TooLarge, text));
        }
        // Counted before the log is looked at: what it takes in between is then counted twice, not never.
        let arriving = self.arriving.fetch_add(size, Ordering::SeqCst).saturating_add(size);
        let room = Arriving { lane: self, size };
        let (waiting, aside) = (self.waiting_now().1, self.aside_now().1);
        if arriving.saturating_add(waiting).saturating_add(aside) <= max {
            return Ok(room);
        }
        let text = format!(
            "The spool of the API {} may hold {max} bytes (guarantees.spool.maxBytes): {waiting} wait for the \
             broker, {aside} are set aside.",
            self.api
        );
        Err(DriverError::new(ErrorKind::Overloaded, text))
    }

    /// Messages that wait, and the bytes that they hold. Those count until all that was written with them left.
    pub(super) fn waiting_now(&self) -> (u64, u64) {
        (waiting_messages(&self.log, &self.waiting), self.log.held(&self.waiting).1)
    }

    fn aside_now(&self) -> (u64, u64) {
        let (offsets, bytes) = self.log.held(&self.aside);
        (offsets.end - offsets.start, bytes)
    }

    pub(super) fn status(&self) -> SpoolStatus {
        let (waiting_messages, waiting_bytes) = self.waiting_now();
        let (set_aside_messages, set_aside_bytes) = self.aside_now();
        let progress = self.progress();
        SpoolStatus {
            waiting_messages,
            waiting_bytes,
            oldest_waiting_since_ms: progress.oldest_ms,
            set_aside_messages,
            set_aside_bytes,
            last_error: progress.error.clone(),
        }
    }

    /// Notes when the message that is next was taken; `None` where none is known.
    pub(super) fn set_oldest(&self, taken_ms: Option<i64>) {
        self.progress().oldest_ms = taken_ms;
    }

    /// Notes why messages wait; `None` once they go on.
    pub(super) fn set_error(&self, error: Option<DriverError>) {
        self.progress().error = error;
    }

    fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets the gauges.
    pub(super) fn show(&self) {
        // One at a time, so that what was seen last is shown last.
        let _showing = self.progress();
        let (messages, bytes) = self.waiting_now();
        let (aside, _) = self.aside_now();
        let route = self.route.borrow();
        let gauge = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        route.metrics.waiting_messages.set(gauge(messages));
        route.metrics.waiting_bytes.set(gauge(bytes));
        route.metrics.set_aside_messages.set(gauge(aside));
    }

    /// Puts a message where nothing is forwarded from.
    pub(super) async fn set_aside(&self, sealed: &Message) -> Result<(), DriverError> {
        self.log.publish(&self.aside, sealed.clone()).await?;
        self.route.borrow().metrics.set_aside.inc();
        Ok(())
    }

    /// Deletes what was set aside, and returns how many messages that were.
    pub(super) async fn discard_aside(&self) -> Result<u64, DriverError> {
        let _turn = self.emptying_aside.lock().await;
        let before = self.log.held(&self.aside).0;
        self.log.trim(&self.aside, Offset(before.end)).await?;
        self.show();
        let messages = self.log.held(&self.aside).0.start - before.start;
        if messages > 0 {
            tracing::warn!(api = %self.api, messages, "Messages that were set aside in a spool are deleted.");
        }
        Ok(messages)
    }

    /// Puts what was set aside behind what waits, meant for the broker of now, and returns how many messages
    /// that were.
    pub(super) async fn put_back(&self) -> Result<u64, DriverError> {
        let _turn = self.emptying_aside.lock().await;
        if self.aside_now().0 == 0 {
            return Ok(0);
        }
        let spec =
            ConsumeSpec { topics: vec![self.aside.clone()], start: StartAt::Earliest, stop: StopAt::End };
        let mut reader = self.log.consume(spec).await?;
        let mut count = 0;
        loop {
            let mut batch = Vec::new();
            reader.fetch(&mut batch, BATCH).await?;
            let Some(last) = batch.last().and_then(Message::place).map(|place| place.offset) else {
                self.show();
                return Ok(count);
            };
            for sealed in batch {
                self.log.publish(&self.waiting, self.for_this_broker(sealed)).await?;
                count += 1;
            }
            self.log.trim(&self.aside, last.next()).await?;
        }
    }

    /// The message as if it had been taken now. What cannot be read stays as it is.
    fn for_this_broker(&self, sealed: Message) -> Message {
        let Some(outgoing) = envelope::open(&sealed, now_ms()) else { return sealed };
        let meant = self.route.borrow().destination.meant();
        envelope::seal(&outgoing.topic, &outgoing.message, outgoing.taken_ms, &meant)
    }
}

fn waiting(api: &ApiId) -> Topic {
    Topic::from(format!("waiting-{api}"))
}

fn aside(api: &ApiId) -> Topic {
    Topic::from(format!("aside-{api}"))
}

fn waiting_messages(log: &Log, waiting: &Topic) -> u64 {
    let offsets = log.held(waiting).0;
    let next = log.committed(waiting, GROUP).unwrap_or_default().max(offsets.start);
    offsets.end.saturating_sub(next)
}

/// Bytes on their way into the log, as long as it lives. They count no more when a publisher goes away while the
/// log writes: it then counts them itself in a moment.
struct Arriving<'a> {
    lane: &'a Lane,
    size: u64,
}

impl Drop for Arriving<'_> {
    fn drop(&mut self) {
        self.lane.arriving.fetch_sub(self.size, Ordering::SeqCst);
    }
}
