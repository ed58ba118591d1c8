//! Catching up: reading what lies before the ring through a reader of the client's own.
//!
//! It reads behind what the client was given, up to where the ring holds the rest or to the end of the topics,
//! whichever comes first. Readers are bounded in number; see [`turns`](crate::turns).

use std::{pin::Pin, sync::Arc, time::Duration};

use sluice_broker::{Bounds, ConsumeSpec, DriverError, ErrorKind, StartAt, StopAt};
use sluice_message::{Message, Position};
use tokio::time::{Sleep, sleep};
use tokio_util::task::AbortOnDropHandle;
use tracing::debug;

use crate::{
    Step,
    cursor::BATCH,
    handed_out::HandedOut,
    hub::{BACKOFF, Mark, Membership, names},
    in_ring::InRing,
    lost::move_to_what_is_left,
    turns::Turn,
};

/// A client on its way to the ring.
pub(crate) struct CatchUp {
    handed_out: HandedOut,
    work: Work,
    backoff: Duration,
}

/// What a client that catches up is waiting for. Kept between calls, so that a call that is dropped, as each
/// heartbeat drops one, does not begin anything anew. What needs a turn goes on by itself: it must not keep the turn
/// from others while its client, which is slow, does not ask for more.
enum Work {
    /// Its turn, and then the reader to be opened. Gives the position too, with all partitions named.
    Opening(Task<(Turn, Mark, Position)>),
    /// The reader to hand out messages. The mark was made before the reader fixed its end, so that every
    /// message is before that end, or behind the mark in the ring, or both.
    Reading(Turn, Mark),
    /// The broker to say what it still has.
    Locating(Task<Bounds>),
    /// The time until the next try.
    Pausing(Pin<Box<Sleep>>),
}

/// Ends with its client.
struct Task<T>(AbortOnDropHandle<Result<T, DriverError>>);

impl<T: Send + 'static> Task<T> {
    fn begin(work: impl Future<Output = Result<T, DriverError>> + Send + 'static) -> Self {
        Self(AbortOnDropHandle::new(tokio::spawn(work)))
    }

    async fn done(&mut self) -> Result<T, DriverError> {
        let done = (&mut self.0).await;
        done.unwrap_or_else(|_| Err(DriverError::new(ErrorKind::Closed, "The gateway is closing.")))
    }
}

impl CatchUp {
    /// Begins behind this position, on behalf of a client that will go on in this ring.
    pub(crate) fn new(ring: &InRing, handed_out: HandedOut) -> Self {
        ring.stand_at(&handed_out.position);
        Self { work: opening(&ring.member, &handed_out.position), handed_out, backoff: BACKOFF.0 }
    }

    /// How far the client has come.
    pub(crate) const fn position(&self) -> &Position {
        &self.handed_out.position
    }

    /// The next batch, or how many messages the broker has dropped; `None` when the rest stands in the ring, at
    /// the place where `ring` stands now.
    pub(crate) async fn next(
        &mut self,
        ring: &mut InRing,
        batch: &mut Vec<Message>,
    ) -> Result<Option<Step>, DriverError> {
        loop {
            let position = &mut self.handed_out.position;
            let failed = match &mut self.work {
                Work::Opening(opening) => match opening.done().await {
                    Ok((turn, mark, begun)) => {
                        *position = begun;
                        self.work = Work::Reading(turn, mark);
                        continue;
                    }
                    Err(error) => error,
                },
                Work::Reading(..) if ring.enter(position) => return Ok(None),
                Work::Reading(turn, mark) => match turn.fetch(batch, BATCH).await {
                    Some(Ok(())) if !batch.is_empty() => {
                        self.backoff = BACKOFF.0;
                        self.handed_out.add(batch);
                        ring.stand_at(&self.handed_out.position);
                        return Ok(Some(Step::Messages));
                    }
                    Some(Ok(())) => {
                        // Offsets before the mark that were not handed out hold no message.
                        position.merge(&mark.head);
                        if ring.enter_at(mark, position) {
                            return Ok(None);
                        }
                        self.work = opening(&ring.member, position);
                        continue;
                    }
                    Some(Err(error)) => error,
                    None => {
                        self.work = opening(&ring.member, position);
                        continue;
                    }
                },
                Work::Locating(locating) => match locating.done().await {
                    Ok(bounds) => {
                        let missing = move_to_what_is_left(position, &bounds);
                        ring.stand_at(position);
                        self.pause();
                        if missing > 0 {
                            return Ok(Some(Step::Lost(missing)));
                        }
                        continue;
                    }
                    Err(error) => error,
                },
                Work::Pausing(pause) => {
                    pause.await;
                    if ring.enter(position) {
                        return Ok(None);
                    }
                    self.work = opening(&ring.member, position);
                    continue;
                }
            };
            self.recover(&ring.member, failed)?;
        }
    }

    /// What to wait for after an error; the error itself where waiting does not help.
    fn recover(&mut self, member: &Membership, error: DriverError) -> Result<(), DriverError> {
        self.pause();
        let (hub, side) = (Arc::clone(&member.hub), member.side);
        if error.kind == ErrorKind::PositionLost {
            self.work = Work::Locating(Task::begin(async move {
                let _turn = hub.turns.wait(side).await?;
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

fn opening(member: &Membership, position: &Position) -> Work {
    let (hub, side, mut position) = (Arc::clone(&member.hub), member.side, position.clone());
    Work::Opening(Task::begin(async move {
        let permit = hub.turns.wait(side).await?;
        let mark = hub.mark();
        if !mark.head.nexts().all(|(topic, partition, _)| position.next(topic, partition).is_some()) {
            // A partition that is not named is read from its first message. It is named before that: what the
            // broker drops from now on is a gap then, also for a client that comes again.
            for ((topic, partition), kept) in &hub.driver.bounds(&hub.topics).await? {
                if position.next(topic, *partition).is_none() {
                    position.set_next(topic, *partition, kept.start);
                }
            }
        }
        let start = StartAt::After(position.clone());
        let spec = ConsumeSpec { topics: hub.topics.clone(), start, stop: StopAt::End };
        let consumer = hub.driver.consume(spec).await?;
        Ok((hub.turns.give(permit, consumer), mark, position))
    }))
}
