//! A client's place in a hub.
//!
//! Most clients only ever hold a number into the ring. A client whose next message is not in the ring, at its
//! beginning or because it was too slow, [catches up](crate::catch_up) first; messages that stand both there
//! and in the ring are handed out once.

use std::sync::{Arc, Weak};

use sluice_broker::{BatchLimit, DriverError};
use sluice_message::{Message, Position};
use tokio::sync::watch;

use crate::{
    Confirm, Side, Standing,
    alone::Alone,
    catch_up::CatchUp,
    group::InGroup,
    handed_out::HandedOut,
    hub::{Membership, Progress},
    in_ring::InRing,
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

/// How a client joins its hub.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Joining {
    /// Where it begins.
    pub begin: Begin,
    /// What becomes of it when it is too slow.
    pub lag: Lag,
    /// Whether its messages have the text of their [position](Message::position), to resume behind them. On a
    /// broker without older messages to read they have none. Messages may have it unasked, where others want it.
    pub tells_positions: bool,
    /// For whom it reads.
    pub side: Side,
}

impl Joining {
    /// For a web client, without positions.
    pub const fn new(begin: Begin, lag: Lag) -> Self {
        Self { begin, lag, tells_positions: false, side: Side::Client }
    }

    /// For this side.
    #[must_use]
    pub fn of(self, side: Side) -> Self {
        Self { side, ..self }
    }

    /// With positions, if so.
    #[must_use]
    pub fn telling_positions(self, tells_positions: bool) -> Self {
        Self { tells_positions, ..self }
    }
}

/// What becomes of a client that is too slow for the ring.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lag {
    /// It goes on with the oldest message in the ring and is told how many it missed.
    Skip,
    /// It gets nothing more: its stream ends with [`Step::Overrun`]. Messages that the broker had dropped are
    /// no fault of its own and end nothing.
    Stop,
    /// It reads what it missed through a reader of its own, then goes on in the ring. On a broker without
    /// older messages to read this is the same as `Skip`.
    CatchUp,
}

/// What came of waiting for messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// The batch holds the next messages.
    Messages,
    /// So many messages were missed, because this client was too slow. The count is at least one.
    Skipped(u64),
    /// So many messages were missed, because the broker had dropped them. The count is at least one.
    Lost(u64),
    /// This client was too slow; as it wanted, there will be no more. So many messages were read for it that
    /// it was not handed. [`Cursor::position`] is where it can resume.
    Overrun(u64),
    /// There will be no more.
    Ended,
}

/// Where a client enters a hub.
pub(crate) enum Entry {
    /// With what the hub reads next.
    Head,
    /// With the message of this number, where the ring still has it; else with what the hub reads next.
    Number(u64),
    /// Behind this position.
    Behind(Position),
}

/// One client's place among the messages of its topics.
pub struct Cursor {
    source: Source,
    standing: Arc<Standing>,
}

enum Source {
    /// In a hub: in its ring, or on the way there.
    Hub(InRing, Option<Box<CatchUp>>),
    /// With a reader of its own for good, for brokers whose messages are made for each reader.
    Alone(Alone),
    /// In a group, which deals out each message to one of its members.
    Group(InGroup),
}

impl std::fmt::Debug for Cursor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cursor").finish_non_exhaustive()
    }
}

impl Cursor {
    /// In a hub.
    pub(crate) fn in_hub(
        member: Membership,
        progress: watch::Receiver<Progress>,
        entry: Entry,
        lag: Lag,
        tells: bool,
    ) -> Self {
        let standing = Standing::new(Arc::downgrade(&member.hub));
        let mut ring = InRing::new(member, progress, &standing, lag, tells);
        let mut catch_up = None;
        match entry {
            Entry::Head => ring.enter_at_head(),
            Entry::Number(number) => ring.enter_at_number(number),
            Entry::Behind(mut position) => {
                if !ring.enter(&mut position) {
                    catch_up = Some(Box::new(CatchUp::new(&ring, HandedOut { position, tells })));
                }
            }
        }
        Self { source: Source::Hub(ring, catch_up), standing }
    }

    /// With a reader of its own for good.
    pub(crate) fn alone(alone: Alone) -> Self {
        Self { source: Source::Alone(alone), standing: Standing::new(Weak::new()) }
    }

    /// A member of a group.
    pub(crate) fn in_group(member: InGroup) -> Self {
        Self { source: Source::Group(member), standing: Standing::new(Weak::new()) }
    }

    /// By which the client says what it is done with, where others get the rest.
    pub fn confirm(&self) -> Option<Confirm> {
        match &self.source {
            Source::Group(member) => member.confirm(),
            Source::Hub(..) | Source::Alone(_) => None,
        }
    }

    /// Waits for the next messages and puts them into `batch`, which is emptied first. Cancel-safe: a
    /// dropped call loses no message. An error ends the stream; those that pass are retried within.
    pub async fn next(&mut self, batch: &mut Vec<Message>) -> Result<Step, DriverError> {
        batch.clear();
        let (ring, catch_up) = match &mut self.source {
            Source::Hub(ring, catch_up) => (ring, catch_up),
            Source::Alone(alone) => return alone.next(batch).await,
            Source::Group(member) => return member.next(batch).await,
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
                None => *catch_up = Some(Box::new(CatchUp::new(ring, ring.handed_out()))),
            }
        }
    }

    /// Where this client stands, to be looked at from outside.
    pub const fn standing(&self) -> &Arc<Standing> {
        &self.standing
    }

    /// How far this client has come: the position to store when everything that [`next`](Self::next) has
    /// handed out is dealt with. Before the first call it is where the client began. It takes a while; it is
    /// not meant to be asked for each message. A client that skips and does not tell positions stands at the
    /// oldest message in the ring, once that has overtaken it. A member of a group has none.
    pub fn position(&self) -> Position {
        match &self.source {
            Source::Hub(_, Some(catch_up)) => catch_up.position().clone(),
            Source::Hub(ring, None) => ring.position(),
            Source::Alone(alone) => alone.position().clone(),
            Source::Group(_) => Position::new(),
        }
    }
}
