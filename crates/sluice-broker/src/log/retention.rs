//! What the log no longer keeps: the oldest messages of a topic that are too old or too many, or that nobody
//! wants any more.
//!
//! The writer calls this between batches, a bounded piece at a time, so that nobody waits long for it. The
//! offsets of what was deleted are never used again, even when everything was.

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    LogOptions, Shared, TopicLog,
    chunk::ChunkKey,
    store::{Extent, Store},
    writer::now_ms,
};
use crate::DriverError;

/// Chunks that are deleted in one piece at the most.
pub(super) const PIECE: usize = 1_000;

pub(super) struct Retention {
    age: Duration,
    bytes: u64,
    interval: Duration,
    next_round: Instant,
    /// Topics that may hold too much.
    due: VecDeque<Arc<TopicLog>>,
}

impl Retention {
    pub(super) fn new(options: &LogOptions) -> Self {
        Self {
            age: options.retention_age,
            bytes: options.retention_bytes,
            interval: options.retention_interval,
            // The first round comes at once: the gateway may have been down for long.
            next_round: Instant::now(),
            due: VecDeque::new(),
        }
    }

    /// How long there is nothing to do.
    pub(super) fn idle_time(&self) -> Duration {
        if self.due.is_empty() {
            self.next_round.saturating_duration_since(Instant::now())
        } else {
            Duration::ZERO
        }
    }

    /// Notes that a topic has grown. Size is checked here rather than by the clock: a fast publisher writes
    /// more between two rounds than a small disk holds.
    pub(super) fn grown(&mut self, topic: Arc<TopicLog>, extent: &Extent) {
        if held(extent) > self.bytes && !self.due.iter().any(|due| Arc::ptr_eq(due, &topic)) {
            self.due.push_back(topic);
        }
    }

    /// Deletes one piece of one topic. An error means that the store could not be written.
    pub(super) fn step(&mut self, shared: &Shared) -> Result<(), DriverError> {
        if self.next_round <= Instant::now() {
            self.next_round = Instant::now() + self.interval;
            self.due = shared.all_topics().into();
        }
        let Some(topic) = self.due.pop_front() else {
            return Ok(());
        };
        let oldest_ms = now_ms().saturating_sub(i64::try_from(self.age.as_millis()).unwrap_or(i64::MAX));
        let extent = *topic.extent.borrow();
        let is_surplus = |chunk: &ChunkKey| {
            // Never the newest chunk: what was just acknowledged must not vanish because it is large.
            let too_much = chunk.end() < extent.end
                && extent.bytes_at_end.saturating_sub(chunk.bytes_before) > self.bytes;
            too_much || chunk.appended_ms <= oldest_ms
        };
        if shared.with_store(|store| delete_piece(store, &topic, is_surplus))? == PIECE {
            self.due.push_back(topic);
        }
        Ok(())
    }

    /// Deletes one piece of what lies before this offset, and returns how many chunks that were. An error
    /// means that the store could not be written.
    pub(super) fn trim(shared: &Shared, topic: &TopicLog, before: u64) -> Result<usize, DriverError> {
        shared.with_store(|store| delete_piece(store, topic, |chunk| chunk.end() <= before))
    }
}

/// Deletes the oldest chunks up to the first that is no surplus, one piece of them at the most, and returns how
/// many were deleted.
fn delete_piece(
    store: &Store,
    topic: &TopicLog,
    is_surplus: impl Fn(&ChunkKey) -> bool,
) -> Result<usize, DriverError> {
    let before = topic.extent.borrow().start;
    let surplus = match surplus(store, topic, before, is_surplus) {
        Ok(surplus) => surplus,
        Err(error) => {
            tracing::error!(topic = %topic.name, "The oldest messages of a topic cannot be deleted. {error}");
            return Ok(0);
        }
    };
    let Some(last) = surplus.last() else {
        return Ok(0);
    };
    // Told before it is done: a reader that misses a message then knows why.
    let (start, bytes_at_start) = (last.end(), last.bytes_at_end());
    topic.extent.send_modify(|extent| (extent.start, extent.bytes_at_start) = (start, bytes_at_start));
    let mut changes = store.changes();
    store.cut(&mut changes, &topic.name, start, &surplus)?;
    store.write(changes)?;
    tracing::debug!(topic = %topic.name, messages = start - before, "The oldest messages of a topic are deleted.");
    Ok(surplus.len())
}

fn surplus(
    store: &Store,
    topic: &TopicLog,
    start: u64,
    is_surplus: impl Fn(&ChunkKey) -> bool,
) -> Result<Vec<ChunkKey>, DriverError> {
    let mut surplus = Vec::new();
    for chunk in store.chunks(&topic.name, start)?.take(PIECE) {
        let chunk = chunk?;
        if !is_surplus(&chunk) {
            break;
        }
        surplus.push(chunk);
    }
    Ok(surplus)
}

fn held(extent: &Extent) -> u64 {
    extent.bytes_at_end - extent.bytes_at_start
}
