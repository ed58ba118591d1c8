//! Catching up: reading what lies before the ring through a reader of the client's own.
//!
//! It reads behind what the client was given, up to where the ring holds the rest or to the end of the topics,
//! whichever comes first. Readers are bounded in number; see [`turns`](crate::turns).

use std::{pin::Pin, sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use sluice_broker::{Bounds, ConsumeSpec, DriverError, ErrorKind, StartAt, StopAt};
use sluice_message::Message;
use tokio::time::{Sleep, sleep};
use tracing::debug;

use crate::{
    Step,
    cursor::{BATCH, InRing},
    hub::{BACKOFF, Mark, names},
    lost::move_to_what_is_left,
    turns::Turn,
};

/// A client on its way to the ring.
pub(crate) struct CatchUp {
    work: Work,
    backoff: Duration,
}

/// What a client that catches up is waiting for. Kept between calls, so that a call that is dropped, as each
/// heartbeat drops one, does not begin anything anew.
enum Work {
    /// Its turn, and then the reader to be opened.
    Opening(BoxFuture<'static, Result<(Turn, Mark), DriverError>>),
    /// The reader to hand out messages. The mark was made before the reader fixed its end, so that every
    /// message is before that end, or behind the mark in the ring, or both.
    Reading(Turn, Mark),
    /// The broker to say what it still has.
    Locating(BoxFuture<'static, Result<Bounds, DriverError>>),
    /// The time until the next try.
    Pausing(Pin<Box<Sleep>>),
}

impl CatchUp {
    /// Begins behind what the client was given.
    pub(crate) fn new(ring: &InRing) -> Self {
        Self { work: opening(ring), backoff: BACKOFF.0 }
    }

    /// The next batch, or how many messages the broker has lost meanwhile; `None` when the rest stands in
    /// the ring, at the place where `ring` stands now.
    pub(crate) async fn next(
        &mut self,
        ring: &mut InRing,
        batch: &mut Vec<Message>,
    ) -> Result<Option<Step>, DriverError> {
        loop {
            let failed = match &mut self.work {
                Work::Opening(opening) => match opening.await {
                    Ok((turn, mark)) => {
                        self.work = Work::Reading(turn, mark);
                        continue;
                    }
                    Err(error) => error,
                },
                Work::Reading(..) if ring.enter() => return Ok(None),
                Work::Reading(turn, mark) => match turn.fetch(batch, BATCH).await {
                    Some(Ok(())) if !batch.is_empty() => {
                        self.backoff = BACKOFF.0;
                        ring.position.extend(batch.iter().filter_map(Message::place));
                        return Ok(Some(Step::Messages));
                    }
                    Some(Ok(())) => {
                        // Offsets before the mark that were not handed out hold no message.
                        ring.position.merge(&mark.head);
                        if ring.enter_at(mark.next) {
                            return Ok(None);
                        }
                        self.work = opening(ring);
                        continue;
                    }
                    Some(Err(error)) => error,
                    None => {
                        self.work = opening(ring);
                        continue;
                    }
                },
                Work::Locating(locating) => match locating.await {
                    Ok(bounds) => {
                        let missing = move_to_what_is_left(&mut ring.position, &bounds);
                        self.pause();
                        if missing > 0 {
                            return Ok(Some(Step::Skipped(missing)));
                        }
                        continue;
                    }
                    Err(error) => error,
                },
                Work::Pausing(pause) => {
                    pause.await;
                    if ring.enter() {
                        return Ok(None);
                    }
                    self.work = opening(ring);
                    continue;
                }
            };
            self.recover(ring, failed)?;
        }
    }

    /// What to wait for after an error; the error itself where waiting does not help.
    fn recover(&mut self, ring: &InRing, error: DriverError) -> Result<(), DriverError> {
        self.pause();
        let hub = Arc::clone(&ring.member.0);
        if error.kind == ErrorKind::PositionLost {
            self.work = Work::Locating(Box::pin(async move {
                let _turn = hub.turns.wait().await?;
                hub.driver.bounds(&hub.topics).await
            }));
        } else if error.retryable() {
            debug!(topics = %names(&hub.topics), %error, "Reading older messages failed; trying again.");
        } else {
            return Err(error);
        }
        Ok(())
    }

    fn pause(&mut self) {
        self.work = Work::Pausing(Box::pin(sleep(self.backoff)));
        self.backoff = (self.backoff * 2).min(BACKOFF.1);
    }
}

fn opening(ring: &InRing) -> Work {
    let (hub, position) = (Arc::clone(&ring.member.0), ring.position.clone());
    Work::Opening(Box::pin(async move {
        let permit = hub.turns.wait().await?;
        let mark = hub.mark();
        let start = if position.is_empty() { StartAt::Earliest } else { StartAt::After(position) };
        let spec = ConsumeSpec { topics: hub.topics.clone(), start, stop: StopAt::End };
        let consumer = hub.driver.consume(spec).await?;
        Ok((hub.turns.give(permit, consumer), mark))
    }))
}
