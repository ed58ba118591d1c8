//! A client's place in a hub.
//!
//! Most clients only ever hold a number into the ring. A client that begins with older messages first reads
//! those through a reader of its own that ends by itself, then goes on in the ring; messages that stand in
//! both are handed out once.

use std::sync::{Arc, PoisonError};

use sluice_broker::{BatchLimit, BrokerDriver, ConsumeSpec, Consumer, DriverError, StartAt, StopAt};
use sluice_message::{Message, Position, Topic};
use tokio::sync::watch;

use crate::{
    StreamMetrics,
    hub::{Membership, Phase, Progress},
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
pub struct Cursor {
    source: Source,
    metrics: Arc<StreamMetrics>,
}

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
    reading: Reading,
    seen: Position,
    ring: InRing,
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
    pub(crate) async fn of_hub(
        member: Membership,
        progress: watch::Receiver<Progress>,
        begin: Begin,
        metrics: &Arc<StreamMetrics>,
    ) -> Result<Self, DriverError> {
        let next = progress.borrow().next;
        let ring = InRing { member, progress, next, seen: Position::new() };
        let replay = ring.member.0.driver.capabilities().replay;
        let source = if begin == Begin::Earliest && replay {
            Source::CatchUp(CatchUp::begin(ring, Position::new(), metrics).await?)
        } else {
            Source::Ring(ring)
        };
        Ok(Self { source, metrics: Arc::clone(metrics) })
    }

    pub(crate) async fn alone(
        driver: &Arc<dyn BrokerDriver>,
        topics: &[Topic],
        metrics: &Arc<StreamMetrics>,
    ) -> Result<Self, DriverError> {
        let (topics, start) = (topics.to_vec(), StartAt::Earliest);
        let consumer = driver.consume(ConsumeSpec { topics, start, stop: StopAt::Never }).await?;
        let source = Source::Alone(Reading::new(consumer, metrics));
        Ok(Self { source, metrics: Arc::clone(metrics) })
    }

    /// Waits for the next messages and puts them into `batch`, which is emptied first. Cancel-safe: a
    /// dropped call loses no message. An error that may be retried is retried within.
    pub async fn next(&mut self, batch: &mut Vec<Message>) -> Result<Step, DriverError> {
        batch.clear();
        loop {
            let ring = match &mut self.source {
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
                Source::CatchUp(catch_up) => {
                    if catch_up.next(batch).await? {
                        return Ok(Step::Messages);
                    }
                    if catch_up.ring.was_overtaken() {
                        catch_up.restart(&self.metrics).await?;
                        continue;
                    }
                    catch_up.enter_ring()
                }
            };
            self.source = Source::Ring(ring);
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
    /// Begins to read behind `seen`. The ring's number is taken before the reader fixes its end, so that
    /// every message is before that end or in the ring, or both.
    async fn begin(
        mut ring: InRing,
        seen: Position,
        metrics: &Arc<StreamMetrics>,
    ) -> Result<Self, DriverError> {
        ring.next = ring.progress.borrow_and_update().next;
        let reading = Self::open(&ring, &seen, metrics).await?;
        Ok(Self { reading, seen, ring })
    }

    async fn open(
        ring: &InRing,
        seen: &Position,
        metrics: &Arc<StreamMetrics>,
    ) -> Result<Reading, DriverError> {
        let hub = &ring.member.0;
        let start = if seen.is_empty() { StartAt::Earliest } else { StartAt::After(seen.clone()) };
        let spec = ConsumeSpec { topics: hub.topics.clone(), start, stop: StopAt::End };
        Ok(Reading::new(hub.driver.consume(spec).await?, metrics))
    }

    /// Reads on, because the ring has moved past the place where this client was to enter it.
    async fn restart(&mut self, metrics: &Arc<StreamMetrics>) -> Result<(), DriverError> {
        let next = self.ring.progress.borrow_and_update().next;
        self.reading = Self::open(&self.ring, &self.seen, metrics).await?;
        self.ring.next = next;
        Ok(())
    }

    /// The next batch; false when everything before the ring was handed out.
    async fn next(&mut self, batch: &mut Vec<Message>) -> Result<bool, DriverError> {
        self.reading.consumer.fetch(batch, BATCH).await?;
        for place in batch.iter().filter_map(Message::place) {
            self.seen.advance(place);
        }
        Ok(!batch.is_empty())
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
