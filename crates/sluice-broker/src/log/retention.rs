//! What the log no longer keeps: the oldest messages of a topic that are too old or too many.
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
const PIECE: usize = 1_000;

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
        let deleted = shared.with_store(|store| self.delete_piece(store, &topic))?;
        if deleted == PIECE {
            self.due.push_back(topic);
        }
        Ok(())
    }

    /// Returns how many chunks were deleted.
    fn delete_piece(&self, store: &Store, topic: &TopicLog) -> Result<usize, DriverError> {
        let extent = *topic.extent.borrow();
        let surplus = match self.surplus(store, topic, &extent) {
            Ok(surplus) => surplus,
            Err(error) => {
                tracing::error!(topic = %topic.name, "Retention cannot read a topic and skips it. {error}");
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
        let messages = start - extent.start;
        tracing::debug!(topic = %topic.name, messages, "Retention deleted the oldest messages of a topic.");
        Ok(surplus.len())
    }

    /// The oldest chunks that are not to be kept, one piece of them at the most.
    fn surplus(
        &self,
        store: &Store,
        topic: &TopicLog,
        extent: &Extent,
    ) -> Result<Vec<ChunkKey>, DriverError> {
        let oldest_ms = now_ms().saturating_sub(i64::try_from(self.age.as_millis()).unwrap_or(i64::MAX));
        // Never the newest chunk: what was just acknowledged must not vanish because it is large.
        let too_much = |chunk: &ChunkKey| {
            chunk.end() < extent.end && extent.bytes_at_end.saturating_sub(chunk.bytes_before) > self.bytes
        };
        let mut surplus = Vec::new();
        for chunk in store.chunks(&topic.name, extent.start)?.take(PIECE) {
            let chunk = chunk?;
            if !too_much(&chunk) && chunk.appended_ms > oldest_ms {
                break;
            }
            surplus.push(chunk);
        }
        Ok(surplus)
    }
}

fn held(extent: &Extent) -> u64 {
    extent.bytes_at_end - extent.bytes_at_start
}
