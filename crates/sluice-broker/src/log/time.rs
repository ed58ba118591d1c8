//! Which messages of a topic the log took at a time or later.
//!
//! The keys of chunks tell when they were written, and all messages of one at the same time. They are looked
//! through from the oldest, because a clock that was set back leaves times in no order; no message is read.

use std::sync::Arc;

use sluice_message::{Offset, Partition, Position, Topic};

use super::{Shared, TopicLog, blocking};
use crate::DriverError;

/// Chunks that are looked at in one piece: as long as that, the store cannot be opened anew.
const PIECE: usize = 10_000;

/// The position before the first message of each topic that the log took at this time or later, or at the end
/// of the topic. Topics that do not exist begin at their offset 0.
pub(super) async fn position_at(
    shared: &Arc<Shared>,
    topics: &[Topic],
    timestamp_ms: i64,
) -> Result<Position, DriverError> {
    shared.check_open()?;
    let mut position = Position::new();
    for name in topics {
        let next = match shared.known_topic(name) {
            Some(topic) => first_at(shared, topic, timestamp_ms).await?,
            None => 0,
        };
        position.set_next(name, Partition(0), Offset(next));
    }
    Ok(position)
}

async fn first_at(shared: &Arc<Shared>, topic: Arc<TopicLog>, timestamp_ms: i64) -> Result<u64, DriverError> {
    let extent = *topic.extent.borrow();
    let mut next = extent.start;
    while next < extent.end {
        let (shared, topic) = (shared.clone(), topic.clone());
        let piece = blocking(move || {
            shared.with_store(|store| {
                let mut end = None;
                for chunk in store.chunks(&topic.name, next)?.take(PIECE) {
                    let chunk = chunk?;
                    if chunk.appended_ms >= timestamp_ms {
                        return Ok(Piece::Found(chunk.first));
                    }
                    end = Some(chunk.end());
                }
                Ok(end.map_or(Piece::Nothing, Piece::Earlier))
            })
        });
        match piece.await? {
            Piece::Found(first) => return Ok(first),
            Piece::Earlier(end) => next = end,
            // Retention has deleted the rest.
            Piece::Nothing => break,
        }
    }
    Ok(next)
}

/// What was found among some chunks.
enum Piece {
    /// A chunk of this time or later, with this first offset.
    Found(u64),
    /// Chunks before that time, up to this offset.
    Earlier(u64),
    Nothing,
}
