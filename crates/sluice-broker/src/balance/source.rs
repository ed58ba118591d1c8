//! One broker of a group, as it is read: asked, and remembered while it is away.

use std::{sync::Arc, time::Duration};

use sluice_message::{Position, Topic};
use tokio::time::timeout;

use super::{known::Known, places};
use crate::{Bounds, BrokerDriver, ConsumeSpec, Consumer, DriverError, ErrorKind, StartAt, StopAt};

/// How long a broker is waited for where others of its group can be gone on with.
const PATIENCE: Duration = Duration::from_secs(2);

/// One broker of a group.
pub(super) struct Source {
    pub(super) driver: Arc<dyn BrokerDriver>,
    pub(super) ordinal: usize,
    pub(super) known: Known,
}

/// What a broker says that may be away.
pub(super) enum Answer<T> {
    /// This.
    Said(T),
    /// Nothing, for this reason; it may say more later.
    Away(DriverError),
}

impl Source {
    pub(super) fn new(ordinal: usize, driver: Arc<dyn BrokerDriver>) -> Self {
        Self { driver, ordinal, known: Known::default() }
    }

    /// The bounds of these topics; of a broker that is away what it told last.
    ///
    /// # Errors
    /// It is away and never told.
    pub(super) async fn bounds(&self, topics: &[Topic]) -> Result<Bounds, DriverError> {
        let asking = async {
            let bounds = self.driver.bounds(topics).await?;
            Ok::<_, DriverError>(self.known.told(&*self.driver, topics, bounds).await)
        };
        let Some(recalled) = self.known.recalled(&*self.driver, topics) else { return asking.await };
        match patiently(asking).await {
            Ok(bounds) => Ok(bounds),
            Err(error) if error.retryable() => Ok(recalled),
            Err(error) => Err(error),
        }
    }

    /// The position of a reader that begins now.
    pub(super) async fn ends(&self, topics: &[Topic]) -> Result<Answer<Position>, DriverError> {
        match patiently(self.bounds(topics)).await {
            Ok(bounds) => {
                let mut position = Position::new();
                for ((topic, partition), held) in &bounds {
                    position.set_next(topic, *partition, held.end);
                }
                Ok(Answer::Said(position))
            }
            Err(error) if error.retryable() => Ok(Answer::Away(error)),
            Err(error) => Err(error),
        }
    }

    /// Opens a reader; `spec` is in the terms of the group.
    pub(super) async fn open(&self, spec: &ConsumeSpec) -> Result<Box<dyn Consumer>, DriverError> {
        let start = match &spec.start {
            StartAt::After(all) => StartAt::After(self.inner(&spec.topics, all).await?),
            start => start.clone(),
        };
        self.driver.consume(ConsumeSpec { start, ..spec.clone() }).await
    }

    /// Opens a reader where others can be gone on with, if this one is away.
    pub(super) async fn try_open(
        &self,
        spec: &ConsumeSpec,
    ) -> Result<Answer<Option<Box<dyn Consumer>>>, DriverError> {
        let opened = match spec.stop {
            StopAt::Never => patiently(self.open(spec)).await,
            StopAt::End => self.open(spec).await,
        };
        match opened {
            Ok(consumer) => Ok(Answer::Said(Some(consumer))),
            Err(error) if is_of_the_reader(error.kind) => Err(error),
            // A reader that ends must not leave out what it was to read. Mostly that is nothing.
            Err(error) if spec.stop == StopAt::End => match &spec.start {
                StartAt::After(all)
                    if self.known.is_reached(
                        &*self.driver,
                        &spec.topics,
                        &places::inner(self.ordinal, all),
                    ) =>
                {
                    Ok(Answer::Said(None))
                }
                _ => Err(error),
            },
            Err(error) => Ok(Answer::Away(error)),
        }
    }

    /// What a position says of this broker, with partitions that it does not name where they begin.
    async fn inner(&self, topics: &[Topic], all: &Position) -> Result<Position, DriverError> {
        let mut inner = places::inner(self.ordinal, all);
        if self.known.has_floors(&*self.driver, topics) {
            for ((topic, partition), held) in &self.bounds(topics).await? {
                if inner.next(topic, *partition).is_none() {
                    inner.set_next(topic, *partition, held.start);
                }
            }
        }
        Ok(inner)
    }
}

/// Whether an error is about what was asked, rather than about the broker that was.
pub(super) const fn is_of_the_reader(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::PositionLost | ErrorKind::Unsupported)
}

async fn patiently<T>(asking: impl Future<Output = Result<T, DriverError>>) -> Result<T, DriverError> {
    timeout(PATIENCE, asking).await.unwrap_or_else(|_| {
        let text = format!("No answer from a broker of the group within {} s.", PATIENCE.as_secs());
        Err(DriverError::new(ErrorKind::Unreachable, text))
    })
}
