//! Groups: how far each has come in a topic, and which member reads.
//!
//! A topic of the log has one partition, so one member of a group reads it at a time. The others stand by:
//! they wait for the turn, which passes on when the reading member goes.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use sluice_message::Topic;
use tokio::sync::{Mutex as Turn, OwnedMutexGuard};

use crate::{DriverError, ErrorKind};

/// One group in one topic.
pub(super) struct Seat {
    pub(super) topic: Topic,
    pub(super) group: Arc<str>,
    /// The first offset that is not committed.
    next: AtomicU64,
    turn: Arc<Turn<()>>,
}

/// Held by the member that reads.
pub(super) type ReadingTurn = OwnedMutexGuard<()>;

impl Seat {
    fn new(topic: Topic, group: Arc<str>, next: u64) -> Arc<Self> {
        Arc::new(Self { topic, group, next: AtomicU64::new(next), turn: Arc::default() })
    }

    /// The first offset that is not committed.
    pub(super) fn next(&self) -> u64 {
        self.next.load(Ordering::Acquire)
    }

    /// Moves forward and returns where the group stands then. A commit that comes late, from a member that
    /// lost its turn, never moves a group back.
    pub(super) fn advance(&self, next: u64) -> u64 {
        self.next.fetch_max(next, Ordering::AcqRel).max(next)
    }

    /// The turn to read, if no other member has it.
    pub(super) fn try_turn(&self) -> Option<ReadingTurn> {
        self.turn.clone().try_lock_owned().ok()
    }

    /// Waits for the turn to read.
    pub(super) async fn turn(&self) -> ReadingTurn {
        self.turn.clone().lock_owned().await
    }
}

/// A topic and the name of a group that reads it.
type Name = (Topic, Arc<str>);

/// Every group of the log.
pub(super) struct Seats(Mutex<HashMap<Name, Arc<Seat>>>);

impl Seats {
    /// The groups that the store knows.
    pub(super) fn new(positions: Vec<(Topic, String, u64)>) -> Self {
        let seats = positions.into_iter().map(|(topic, group, next)| {
            let group: Arc<str> = group.into();
            ((topic.clone(), group.clone()), Seat::new(topic, group, next))
        });
        Self(Mutex::new(seats.collect()))
    }

    /// The seat of a group, made at `next` if there is none; then the second value is true.
    pub(super) fn seat(
        &self,
        topic: &Topic,
        group: &Arc<str>,
        next: u64,
        limit: usize,
    ) -> Result<(Arc<Seat>, bool), DriverError> {
        let mut seats = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (topic.clone(), group.clone());
        if let Some(seat) = seats.get(&key) {
            return Ok((seat.clone(), false));
        }
        if seats.len() >= limit {
            let text = format!("The group {group} cannot be made: the log knows {limit} groups, its limit.");
            return Err(DriverError::new(ErrorKind::Configuration, text));
        }
        let seat = Seat::new(topic.clone(), group.clone(), next);
        seats.insert(key, seat.clone());
        Ok((seat, true))
    }

    /// The first offset that a group has not committed, if there is such a group.
    pub(super) fn next(&self, topic: &Topic, group: &str) -> Option<u64> {
        let seats = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        seats.get(&(topic.clone(), group.into())).map(|seat| seat.next())
    }

    /// Forgets a group that could not be recorded.
    pub(super) fn forget(&self, seat: &Seat) {
        let mut seats = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        seats.remove(&(seat.topic.clone(), seat.group.clone()));
    }
}
