//! A client's place in a hub.
//!
//! Most clients only ever hold a number into the ring. A client whose next message is not in the ring, at its
//! beginning or because it was too slow, [catches up](crate::catch_up) first; messages that stand both there
//! and in the ring are handed out once.

use std::sync::{Arc, PoisonError};

use sluice_broker::{BatchLimit, BrokerDriver, ConsumeSpec, Consumer, DriverError, StartAt, StopAt};
use sluice_message::{Message, Position, Topic};
use tokio::sync::watch;

use crate::{
    StreamMetrics,
    catch_up::CatchUp,
    hub::{Membership, Phase, Progress},
    metrics::Held,
};

/// How much a client is handed at once. Small, because a client that reads nothing keeps its batch alive.
pub(crate) const BATCH: BatchLimit = BatchLimit { messages: 64, bytes: 128 << 10 };

/// Where a new client begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Begin {
    /// With what is published from now on.
    Latest,
    /// With the first message that the broker has.
    Earliest,
    /// With what follows this position.
    After(Position),
}

/// What becomes of a client that is too slow for the ring.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lag {
    /// It goes on with the oldest message in the ring and is told how many it missed.
    Skip,
    /// It reads what it missed through a reader of its own, then goes on in the ring. On a broker without
    /// older messages to read this is the same as `Skip`.
    CatchUp,
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
    /// In a hub: in its ring, or on the way there.
    Hub(InRing, Option<Box<CatchUp>>),
    /// With a reader of its own for good, for brokers whose messages are made for each reader.
    Alone(Alone),
}

/// A place in the ring of a hub.
pub(crate) struct InRing {
    pub(crate) member: Membership,
    progress: watch::Receiver<Progress>,
    /// The number of the message that comes next.
    next: u64,
    lag: Lag,
    /// What was handed out. For a client that skips, and so never goes back, only what may come again in the
    /// ring: a partition is taken out at its first message behind that, and soon it costs nothing.
    pub(crate) position: Position,
}

struct Alone {
    consumer: Box<dyn Consumer>,
    position: Position,
    _counted: Held,
}

impl std::fmt::Debug for Cursor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cursor").finish_non_exhaustive()
    }
}

impl Cursor {
    /// Begins with what the hub reads next.
    pub(crate) fn at_head(member: Membership, progress: watch::Receiver<Progress>, lag: Lag) -> Self {
        let mark = member.0.mark();
        let position = if lag == Lag::CatchUp { mark.head } else { Position::new() };
        Self(Source::Hub(InRing { member, progress, next: mark.next, lag, position }, None))
    }

    /// Begins behind this position: in the ring if that holds everything that follows.
    pub(crate) fn behind(
        member: Membership,
        progress: watch::Receiver<Progress>,
        position: Position,
        lag: Lag,
    ) -> Self {
        let mut ring = InRing { member, progress, next: 0, lag, position };
        let catch_up = (!ring.enter()).then(|| Box::new(CatchUp::new(&ring)));
        Self(Source::Hub(ring, catch_up))
    }

    pub(crate) async fn alone(
        driver: &Arc<dyn BrokerDriver>,
        topics: &[Topic],
        position: Position,
        metrics: &StreamMetrics,
    ) -> Result<Self, DriverError> {
        let start = if position.is_empty() { StartAt::Earliest } else { StartAt::After(position.clone()) };
        let spec = ConsumeSpec { topics: topics.to_vec(), start, stop: StopAt::Never };
        let consumer = driver.consume(spec).await?;
        Ok(Self(Source::Alone(Alone { consumer, position, _counted: Held::new(&metrics.client_readers) })))
    }

    /// Waits for the next messages and puts them into `batch`, which is emptied first. Cancel-safe: a
    /// dropped call loses no message. An error ends the stream; those that pass are retried within.
    pub async fn next(&mut self, batch: &mut Vec<Message>) -> Result<Step, DriverError> {
        batch.clear();
        let (ring, catch_up) = match &mut self.0 {
            Source::Hub(ring, catch_up) => (ring, catch_up),
            Source::Alone(alone) => return alone.next(batch).await,
        };
        loop {
            if let Some(catching_up) = catch_up {
                if let Some(step) = catching_up.next(ring, batch).await? {
                    return Ok(step);
                }
                *catch_up = None;
            }
            match ring.next(batch).await? {
                Some(step) => return Ok(step),
                None => *catch_up = Some(Box::new(CatchUp::new(ring))),
            }
        }
    }

    /// How far this client has come: the position to store when everything that [`next`](Self::next) has
    /// handed out is dealt with. Before the first call it is where the client began. For a client that skips
    /// it is looked up in the ring, which takes a while; it is not meant to be asked for each message.
    pub fn position(&self) -> Position {
        match &self.0 {
            Source::Hub(ring, None) if ring.lag == Lag::Skip => ring.position_in_ring(),
            Source::Hub(ring, _) => ring.position.clone(),
            Source::Alone(alone) => alone.position.clone(),
        }
    }
}

impl InRing {
    /// The next batch, or how many messages are missing; `None` when the ring no longer has the next message
    /// and the client is to catch up.
    async fn next(&mut self, batch: &mut Vec<Message>) -> Result<Option<Step>, DriverError> {
        loop {
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
                Some(_) => return Ok(Some(Step::Ended)),
                None => {}
            }
            let read = {
                let ring = self.member.0.ring.read().unwrap_or_else(PoisonError::into_inner);
                ring.read(next, BATCH, batch)
            };
            if read.skipped > 0 && self.lag == Lag::CatchUp {
                return Ok(None);
            }
            self.next = read.next;
            if read.skipped > 0 {
                return Ok(Some(Step::Skipped(read.skipped)));
            }
            if self.lag == Lag::CatchUp || !self.position.is_empty() {
                batch.retain(|message| self.is_new(message));
            }
            // A batch that held nothing new is no step for the client.
            if !batch.is_empty() {
                return Ok(Some(Step::Messages));
            }
        }
    }

    /// Whether a message was not handed out yet; it is from then on.
    fn is_new(&mut self, message: &Message) -> bool {
        let Some(place) = message.place() else { return true };
        if self.position.covers(place) {
            return false;
        }
        match self.lag {
            Lag::CatchUp => self.position.advance(place),
            Lag::Skip => self.position.forget(&place.topic, place.partition),
        }
        true
    }

    /// Moves to the position, if the ring holds everything behind it.
    pub(crate) fn enter(&mut self) -> bool {
        let ring = self.member.0.ring.read().unwrap_or_else(PoisonError::into_inner);
        let number = ring.number_at(&self.position);
        drop(ring);
        self.next = number.unwrap_or(self.next);
        number.is_some()
    }

    /// Moves to this number, if the ring still has it.
    pub(crate) fn enter_at(&mut self, number: u64) -> bool {
        self.next = number;
        self.member.0.ring.read().unwrap_or_else(PoisonError::into_inner).keeps(number)
    }

    fn position_in_ring(&self) -> Position {
        let ring = self.member.0.ring.read().unwrap_or_else(PoisonError::into_inner);
        let mut position = ring.position_at(self.next);
        drop(ring);
        position.merge(&self.position);
        position
    }
}

impl Alone {
    async fn next(&mut self, batch: &mut Vec<Message>) -> Result<Step, DriverError> {
        self.consumer.fetch(batch, BATCH).await?;
        self.position.extend(batch.iter().filter_map(Message::place));
        Ok(if batch.is_empty() { Step::Ended } else { Step::Messages })
    }
}
