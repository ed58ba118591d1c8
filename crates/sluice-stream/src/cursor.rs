//! A client's place in a hub.
//!
//! Most clients only ever hold a number into the ring. A client that begins with older messages first reads
//! those through a reader of its own that ends by itself, then goes on in the ring; messages that stand in
//! both are handed out once.

use std::{
    pin::Pin,
    sync::{Arc, PoisonError},
    time::Duration,
};

use futures_util::future::BoxFuture;
use sluice_broker::{
    BatchLimit, Bounds, BrokerDriver, ConsumeSpec, Consumer, DriverError, ErrorKind, StartAt, StopAt,
};
use sluice_message::{Message, Position, Topic};
use tokio::{
    sync::watch,
    time::{Sleep, sleep},
};
use tracing::debug;

use crate::{
    StreamMetrics,
    hub::{BACKOFF, Membership, Phase, Progress, names},
    lost::move_to_what_is_left,
    metrics::Held,
};

/// How much a client is handed at once. Small, because a client that reads nothing keeps its batch alive.
const BATCH: BatchLimit = BatchLimit { messages: 64, bytes: 128 << 10 };

/// Where a new client begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Begin {
    /// With what is published from now on.
    Latest,
    /// With the first message that the broker has.
    Earliest,
}

/// What came of waiting for messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// The batch holds the next messages.
    Messages,
    /// So many messages were missed, because this client was too slow or the broker had dropped them. The
    /// count is at least one.
    Skipped(u64),
    /// There will be no more.
    Ended,
}

/// One client's place among the messages of its topics.
pub struct Cursor(Source);

enum Source {
    /// In the ring of a hub.
    Ring(InRing),
    /// Before the ring, through a reader that ends where the ring goes on.
    CatchUp(CatchUp),
    /// With a reader of its own for good, for brokers whose messages are made for each reader.
    Alone(Reading),
}

struct InRing {
    member: Membership,
    progress: watch::Receiver<Progress>,
    next: u64,
    /// What was handed out before the ring was entered and may stand in it too. A partition is taken out at
    /// its first message behind that, so that this is empty again soon.
    seen: Position,
}

struct CatchUp {
    work: Work,
    /// What was handed out so far.
    seen: Position,
    /// Where to go on when everything before it was handed out.
    ring: InRing,
    backoff: Duration,
    metrics: Arc<StreamMetrics>,
}

/// What a client that catches up is waiting for. Kept between calls, so that a call that is dropped, as each
/// heartbeat drops one, does not begin anything anew.
enum Work {
    /// The reader to be opened.
    Opening(BoxFuture<'static, Result<Box<dyn Consumer>, DriverError>>),
    /// The reader to hand out messages.
    Reading(Reading),
    /// The broker to say what it still has.
    Locating(BoxFuture<'static, Result<Bounds, DriverError>>),
    /// The time until the next try.
    Pausing(Pin<Box<Sleep>>),
}

/// A reader of this client alone, counted while it lives.
struct Reading {
    consumer: Box<dyn Consumer>,
    _counted: Held,
}

impl std::fmt::Debug for Cursor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cursor").finish_non_exhaustive()
    }
}

impl Cursor {
    pub(crate) fn of_hub(
        member: Membership,
        progress: watch::Receiver<Progress>,
        begin: Begin,
        metrics: &Arc<StreamMetrics>,
    ) -> Self {
        let next = progress.borrow().next;
        let ring = InRing { member, progress, next, seen: Position::new() };
        let replay = ring.member.0.driver.capabilities().replay;
        Self(if begin == Begin::Earliest && replay {
            Source::CatchUp(CatchUp::new(ring, metrics))
        } else {
            Source::Ring(ring)
        })
    }

    pub(crate) async fn alone(
        driver: &Arc<dyn BrokerDriver>,
        topics: &[Topic],
        metrics: &Arc<StreamMetrics>,
    ) -> Result<Self, DriverError> {
        let (topics, start) = (topics.to_vec(), StartAt::Earliest);
        let consumer = driver.consume(ConsumeSpec { topics, start, stop: StopAt::Never }).await?;
        Ok(Self(Source::Alone(Reading::new(consumer, metrics))))
    }

    /// Waits for the next messages and puts them into `batch`, which is emptied first. Cancel-safe: a
    /// dropped call loses no message. An error ends the stream; those that pass are retried within.
    pub async fn next(&mut self, batch: &mut Vec<Message>) -> Result<Step, DriverError> {
        batch.clear();
        loop {
            let ring = match &mut self.0 {
                Source::Ring(ring) => {
                    let step = ring.next(batch).await?;
                    // A batch that held nothing new is no step for the client.
                    if step == Step::Messages && batch.is_empty() {
                        continue;
                    }
                    return Ok(step);
                }
                Source::Alone(reading) => {
                    reading.consumer.fetch(batch, BATCH).await?;
                    return Ok(if batch.is_empty() { Step::Ended } else { Step::Messages });
                }
                Source::CatchUp(catch_up) => match catch_up.next(batch).await? {
                    Step::Ended if catch_up.ring.was_overtaken() => {
                        catch_up.open();
                        continue;
                    }
                    Step::Ended => catch_up.enter_ring(),
                    step => return Ok(step),
                },
            };
            self.0 = Source::Ring(ring);
        }
    }
}

impl InRing {
    async fn next(&mut self, batch: &mut Vec<Message>) -> Result<Step, DriverError> {
        let next = self.next;
        let progress = self.progress.wait_for(|progress| {
            progress.next > next || matches!(progress.phase, Phase::Ended | Phase::Failed(_))
        });
        let phase = match progress.await {
            Ok(progress) if progress.next > next => None,
            Ok(progress) => Some(progress.phase.clone()),
            Err(_) => Some(Phase::Ended),
        };
        match phase {
            Some(Phase::Failed(error)) => return Err(error),
            Some(_) => return Ok(Step::Ended),
            None => {}
        }
        let read = {
            let ring = self.member.0.ring.read().unwrap_or_else(PoisonError::into_inner);
            ring.read(next, BATCH, batch)
        };
        self.next = read.next;
        if read.skipped > 0 {
            return Ok(Step::Skipped(read.skipped));
        }
        if !self.seen.is_empty() {
            batch.retain(|message| self.is_new(message));
        }
        Ok(Step::Messages)
    }

    fn is_new(&mut self, message: &Message) -> bool {
        let Some(place) = message.place() else { return true };
        if self.seen.covers(place) {
            return false;
        }
        self.seen.forget(&place.topic, place.partition);
        true
    }

    /// Whether messages behind this client's number have left the ring already.
    fn was_overtaken(&self) -> bool {
        let ring = self.member.0.ring.read().unwrap_or_else(PoisonError::into_inner);
        ring.read(self.next, BatchLimit { messages: 1, bytes: 0 }, &mut Vec::new()).skipped > 0
    }
}

impl CatchUp {
    fn new(ring: InRing, metrics: &Arc<StreamMetrics>) -> Self {
        let (work, metrics) = (Work::Pausing(Box::pin(sleep(Duration::ZERO))), Arc::clone(metrics));
        let mut catch_up = Self { work, seen: Position::new(), ring, backoff: BACKOFF.0, metrics };
        catch_up.open();
        catch_up
    }

    /// Begins to read behind what was seen. The ring's number is taken before the reader fixes its end, so
    /// that every message is before that end or in the ring, or both.
    fn open(&mut self) {
        self.ring.next = self.ring.progress.borrow_and_update().next;
        let hub = &self.ring.member.0;
        let start = if self.seen.is_empty() { StartAt::Earliest } else { StartAt::After(self.seen.clone()) };
        let spec = ConsumeSpec { topics: hub.topics.clone(), start, stop: StopAt::End };
        let driver = Arc::clone(&hub.driver);
        self.work = Work::Opening(Box::pin(async move { driver.consume(spec).await }));
    }

    /// The next batch, or how many messages the broker has lost meanwhile; ended when everything before
    /// the ring was handed out.
    async fn next(&mut self, batch: &mut Vec<Message>) -> Result<Step, DriverError> {
        loop {
            let failed = match &mut self.work {
                Work::Opening(opening) => match opening.await {
                    Ok(consumer) => {
                        self.work = Work::Reading(Reading::new(consumer, &self.metrics));
                        continue;
                    }
                    Err(error) => error,
                },
                Work::Reading(reading) => match reading.consumer.fetch(batch, BATCH).await {
                    Ok(()) => {
                        self.backoff = BACKOFF.0;
                        self.seen.extend(batch.iter().filter_map(Message::place));
                        return Ok(if batch.is_empty() { Step::Ended } else { Step::Messages });
                    }
                    Err(error) => error,
                },
                Work::Locating(locating) => match locating.await {
                    Ok(bounds) => {
                        let missing = move_to_what_is_left(&mut self.seen, &bounds);
                        self.pause();
                        if missing > 0 {
                            return Ok(Step::Skipped(missing));
                        }
                        continue;
                    }
                    Err(error) => error,
                },
                Work::Pausing(pause) => {
                    pause.await;
                    self.open();
                    continue;
                }
            };
            self.recover(failed)?;
        }
    }

    /// What to wait for after an error; the error itself where waiting does not help.
    fn recover(&mut self, error: DriverError) -> Result<(), DriverError> {
        let hub = &self.ring.member.0;
        if error.kind == ErrorKind::PositionLost {
            let (driver, topics) = (Arc::clone(&hub.driver), hub.topics.clone());
            self.work = Work::Locating(Box::pin(async move { driver.bounds(&topics).await }));
        } else if error.retryable() {
            debug!(topics = %names(&hub.topics), %error, "Reading older messages failed; trying again.");
            self.pause();
        } else {
            return Err(error);
        }
        Ok(())
    }

    fn pause(&mut self) {
        self.work = Work::Pausing(Box::pin(sleep(self.backoff)));
        self.backoff = (self.backoff * 2).min(BACKOFF.1);
    }

    fn enter_ring(&mut self) -> InRing {
        InRing {
            member: Membership::clone(&self.ring.member),
            progress: self.ring.progress.clone(),
            next: self.ring.next,
            seen: std::mem::take(&mut self.seen),
        }
    }
}

impl Reading {
    fn new(consumer: Box<dyn Consumer>, metrics: &StreamMetrics) -> Self {
        Self { consumer, _counted: Held::new(&metrics.client_readers) }
    }
}
