//! Bringing messages again, because somebody asks for it: from a position, from a time, or the dead letters.
//!
//! Here it is judged what is asked for and found where that is; the [worker](crate::worker) goes there.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use sluice_api::{Qos, SubscriptionId};
use sluice_broker::{DriverError, ErrorKind};
use sluice_message::{Position, Topic};
use sluice_stream::Begin;
use tokio::sync::oneshot;
use tracing::info;

use crate::{Deliveries, Route, moving::Leg};

/// From where messages are brought again. It only ever goes back: what was not delivered yet is never passed over,
/// so a partition that has come less far than what is asked for stays where it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Replay {
    /// What follows this position. A partition that it does not name stays where it is.
    After(Position),
    /// What was published from this moment on, in milliseconds since 1970.
    Since(i64),
    /// The subscription's dead letters that were not brought again before, as they were before they failed. One
    /// that fails again is put there again.
    DeadLetters,
}

impl fmt::Display for Replay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::After(position) => write!(f, "after {position}"),
            Self::Since(timestamp_ms) => write!(f, "since {timestamp_ms} ms"),
            Self::DeadLetters => f.write_str("dead letters"),
        }
    }
}

/// Why messages are not brought again.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ReplayError {
    /// The subscription is paused, has failed or is not there, or its API is not deployed.
    #[error(
        "The subscription is not served at the moment. Start its API where that is stopped; resume the subscription where it is paused, start it again where it has failed."
    )]
    NotServed,
    /// There is no place to go back to.
    #[error("{0}")]
    Unsupported(&'static str),
    /// The position is one of a topic that the API does not have, or beyond the end.
    #[error("{0}")]
    UnknownPosition(String),
    /// The API has no endpoint for dead letters.
    #[error("The API keeps no dead letters; name an endpoint for them in its webhook entrypoint.")]
    NoDeadLetters,
    /// The broker does not say what it has.
    #[error("{0}")]
    Broker(DriverError),
}

impl ReplayError {
    /// The stable code of docs/errors.md.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::NotServed => "replay.not-served",
            Self::Unsupported(_) => "replay.unsupported",
            Self::UnknownPosition(_) => "replay.position.unknown",
            Self::NoDeadLetters => "replay.no-dead-letters",
            Self::Broker(error) => error.code(),
        }
    }
}

impl From<DriverError> for ReplayError {
    fn from(error: DriverError) -> Self {
        match error.kind {
            ErrorKind::Unsupported => Self::Unsupported("The broker of the API cannot be read from a time."),
            _ => Self::Broker(error),
        }
    }
}

/// What a worker is asked for. Where the last clone is dropped before it is done, whoever asked is told.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) going: Going,
    done: Arc<Mutex<Option<oneshot::Sender<()>>>>,
}

impl Asked {
    /// What is asked for, and where it is told that it is done.
    pub(crate) fn new(going: Going) -> (Self, oneshot::Receiver<()>) {
        let (sender, done) = oneshot::channel();
        (Self { going, done: Arc::new(Mutex::new(Some(sender))) }, done)
    }

    /// Whether it is still to be done.
    pub(crate) fn waits(&self) -> bool {
        self.done().is_some()
    }

    /// It is done.
    pub(crate) fn tell(&self) {
        if let Some(done) = self.done().take() {
            // Whoever asked may be gone.
            let _gone = done.send(());
        }
    }

    fn done(&self) -> MutexGuard<'_, Option<oneshot::Sender<()>>> {
        self.done.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where a worker is to go.
#[derive(Debug, Clone)]
pub(crate) enum Going {
    /// There, in the partitions that are named.
    To(Position),
    /// Through the dead letters, up to there.
    Letters(Position),
}

impl Deliveries {
    /// Brings messages to a subscription again, after the calls that are under way. Resolves once it is durable
    /// from where; the messages follow.
    ///
    /// # Errors
    /// It is not served, or there is nothing to go back to.
    pub async fn replay(&self, id: &SubscriptionId, replay: Replay) -> Result<(), ReplayError> {
        let Leg { route, topics, .. } = self.0.leg_of(id).ok_or(ReplayError::NotServed)?;
        let (api, asked) = (&route.api, replay.to_string());
        let going = match replay {
            Replay::After(position) => {
                check(&route, &topics, &position).await?;
                Going::To(position)
            }
            Replay::Since(timestamp_ms) => {
                keeps_positions(&route)?;
                Going::To(route.driver.position_at(&topics, timestamp_ms).await?)
            }
            Replay::DeadLetters => Going::Letters(end_of_letters(&route).await?),
        };
        if !self.0.replay(id, going).await {
            return Err(ReplayError::NotServed);
        }
        info!(%api, subscription = %id, replay = asked, "Messages of a subscription are brought again.");
        Ok(())
    }
}

/// Where a subscription that stands there is sent: to what is asked for, and in no partition forward. A topic that
/// it has not read yet is read from its end where new subscriptions begin with what is new, else from its first
/// message, and so is a partition that is not named.
pub(crate) fn back(standing: &Position, asked: &Position, begin: &Begin) -> Position {
    let mut position = standing.clone();
    for (topic, partition, next) in asked.nexts() {
        let is_new = !standing.is_empty() && !standing.nexts().any(|(named, ..)| named == topic);
        let most = match standing.next(topic, partition) {
            Some(most) => most,
            None if is_new && *begin == Begin::Latest => next,
            None => continue,
        };
        position.set_next(topic, partition, next.min(most));
    }
    position
}

fn keeps_positions(route: &Route) -> Result<(), ReplayError> {
    if route.qos == Qos::None {
        return Err(ReplayError::Unsupported("With qos none a subscription has no position to go back to."));
    }
    if !route.driver.capabilities().replay {
        return Err(ReplayError::Unsupported("The broker of the API keeps no messages to go back to."));
    }
    Ok(())
}

/// Refuses a position that is none of the subscription's topics, or lies beyond what they hold. Where messages behind it
/// are gone already the subscription goes on with the first that is left, and the gap is counted.
async fn check(route: &Route, topics: &[Topic], position: &Position) -> Result<(), ReplayError> {
    keeps_positions(route)?;
    let unknown = |text: String| Err(ReplayError::UnknownPosition(text));
    if position.is_empty() {
        return unknown("The position names no partition.".to_owned());
    }
    let other = position.nexts().find(|(topic, ..)| !route.driver.covers_any(topics, topic));
    if let Some((topic, ..)) = other {
        let known = topics.iter().map(Topic::as_str).collect::<Vec<_>>().join(", ");
        return unknown(format!("The position is one of the topic {topic}; the subscription has {known}."));
    }
    let bounds = route.driver.bounds(topics).await?;
    for (topic, partition, next) in position.nexts() {
        let Some(kept) = bounds.get(&(topic.clone(), partition)) else {
            return unknown(format!("The topic {topic} has no partition {}.", partition.0));
        };
        if next > kept.end {
            return unknown(format!(
                "The position goes on with offset {} of partition {} of the topic {topic}, which ends before {}.",
                next.0, partition.0, kept.end.0
            ));
        }
    }
    Ok(())
}

async fn end_of_letters(route: &Route) -> Result<Position, ReplayError> {
    let letters = route.dead_letters.as_ref().ok_or(ReplayError::NoDeadLetters)?;
    let capabilities = letters.driver.capabilities();
    // Where each reader gets messages of its own, none of them is a letter.
    if !capabilities.replay || !capabilities.shared_reading {
        return Err(ReplayError::Unsupported("The broker of the dead letters does not keep them."));
    }
    let mut position = Position::new();
    for ((topic, partition), kept) in letters.driver.bounds(letters.read()).await? {
        position.set_next(&topic, partition, kept.end);
    }
    Ok(position)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Position {
        text.parse().unwrap()
    }

    #[test]
    fn in_no_partition_it_goes_forward() {
        let standing = at("a@0#4,1#4;b@0#4");
        for begin in [Begin::Latest, Begin::Earliest] {
            assert_eq!(back(&standing, &at("a@0#2,1#7"), &begin), at("a@0#2,1#4;b@0#4"));
            // It is read from its first message.
            assert_eq!(back(&standing, &at("a@2#3"), &begin), standing);
            assert_eq!(back(&Position::new(), &at("a@0#3"), &begin), Position::new());
        }
        assert_eq!(back(&standing, &at("c@0#3"), &Begin::Latest), at("a@0#4,1#4;b@0#4;c@0#3"));
        assert_eq!(back(&standing, &at("c@0#3"), &Begin::Earliest), standing);
    }
}
