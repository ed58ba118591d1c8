//! What to refuse of the positions that clients bring.

use sluice_broker::{BrokerDriver, DriverError, ErrorKind};
use sluice_message::{Offset, Partition, Position, Topic};

use crate::hub::{Hub, names};

/// Refuses a position that was not made from these topics.
pub(crate) fn check_topics(
    driver: &dyn BrokerDriver,
    position: &Position,
    topics: &[Topic],
) -> Result<(), DriverError> {
    match position.nexts().find(|(topic, ..)| !driver.covers_any(topics, topic)) {
        None => Ok(()),
        Some((topic, ..)) => Err(DriverError::new(
            ErrorKind::PositionLost,
            format!("The position is one of the topic {topic}, which is not among {}.", names(topics)),
        )),
    }
}

/// Refuses a position that lies beyond what the broker has. The broker is only asked where the hub has not
/// come as far, which is rare: then either the hub is about to, or the topic is not the one it was. Of topics that
/// are read for a pattern that is no reason to refuse: they come and go, and the driver knows where to go on.
pub(crate) async fn check_end(hub: &Hub, position: &Position) -> Result<(), DriverError> {
    if hub.mark().head.reaches(position) {
        return Ok(());
    }
    let bounds = hub.driver.bounds(&hub.topics).await?;
    let is_beyond = |(topic, partition, next): &(&Topic, Partition, Offset)| {
        let is_named = hub.topics.contains(*topic);
        is_named && bounds.get(&((*topic).clone(), *partition)).is_none_or(|kept| *next > kept.end)
    };
    match position.nexts().find(is_beyond) {
        None => Ok(()),
        Some((topic, partition, next)) => Err(DriverError::new(
            ErrorKind::PositionLost,
            format!(
                "The position goes on with offset {} of partition {} of the topic {topic}, which has not come as \
                 far; the topic was made anew, or the position is one of another.",
                next.0, partition.0
            ),
        )),
    }
}
