//! One client's place in the ring of a hub: mostly a number.
//!
//! Where the client has come to is known in one of three ways, the cheapest that will do; see [`Known`]. A
//! client that came with a position of its own may be ahead of the ring in some partition. Until the ring has
//! come there, what it was given before is left out, and its messages tell its own position.

use std::sync::{Arc, PoisonError, RwLockReadGuard};

use sluice_broker::DriverError;
use sluice_message::{Message, Position};
use tokio::sync::watch;

use crate::{
    Lag, Standing, Step,
    cursor::BATCH,
    handed_out::HandedOut,
    hub::{Mark, Membership, Phase, Progress},
    ring::{Read, Ring},
};

/// A place in the ring of a hub.
pub(crate) struct InRing {
    pub(crate) member: Membership,
    progress: watch::Receiver<Progress>,
    standing: Arc<Standing>,
    lag: Lag,
    /// Whether the client's messages have the text of their position.
    tells: bool,
    /// Whether its position is kept apart for good: a client that may go back to it at any time, of a hub that
    /// need not make a text of each position for it.
    stays_apart: bool,
    /// The number of the message that comes next.
    next: u64,
    /// How many messages that the broker had dropped the client has heard of, or has accounted for itself.
    heard: u64,
    known: Known,
    /// The ring has overtaken it, and it wants no more then.
    is_overrun: bool,
}

/// How it is known where a client has come to.
enum Known {
    /// The ring can say it of a number, while it keeps the messages.
    ByNumber,
    /// The text of the position of the last message, which its hub made for all.
    ByText(Arc<str>),
    /// Kept for this client alone.
    Apart(Box<Apart>),
}

/// A position that is kept for one client alone. In a box, as most clients have none.
struct Apart {
    handed_out: HandedOut,
    /// The number from which on no message was handed out before, and the position is needed no more; `None`
    /// while such messages may still come.
    settled: Option<u64>,
}

impl InRing {
    /// A place that is still to be [entered](Self::enter).
    pub(crate) fn new(
        member: Membership,
        progress: watch::Receiver<Progress>,
        standing: &Arc<Standing>,
        lag: Lag,
        tells: bool,
    ) -> Self {
        Self {
            stays_apart: lag == Lag::CatchUp && !member.tells,
            member,
            progress,
            standing: Arc::clone(standing),
            lag,
            tells,
            next: 0,
            heard: 0,
            known: Known::ByNumber,
            is_overrun: false,
        }
    }

    /// Moves to what the hub reads next.
    pub(crate) fn enter_at_head(&mut self) {
        let ring = lock(&self.member);
        let known = if self.member.tells {
            Known::ByText(ring.head_text())
        } else if self.stays_apart {
            self.apart(ring.head().clone(), None)
        } else {
            Known::ByNumber
        };
        let (next, heard) = (ring.next(), ring.lost());
        drop(ring);
        (self.known, self.heard) = (known, heard);
        self.go_to(next);
    }

    /// Moves to the message of this number, or to what the hub reads next where the ring no longer has it.
    pub(crate) fn enter_at_number(&mut self, number: u64) {
        self.enter_at_head();
        if lock(&self.member).keeps(number) {
            self.go_to(number);
        }
    }

    /// Moves behind the position, which it takes then, if the ring holds everything that follows.
    pub(crate) fn enter(&mut self, position: &mut Position) -> bool {
        let ring = lock(&self.member);
        let Some(number) = ring.number_at(position) else { return false };
        let mut position = std::mem::take(position);
        // It has come as far; this names the partitions that had nothing yet.
        position.merge(ring.base());
        let settled = if self.stays_apart { None } else { settled_at(&ring, &position, self.member.tells) };
        let heard = ring.lost();
        drop(ring);
        self.heard = heard;
        self.known = self.apart(position, settled);
        self.go_to(number);
        true
    }

    /// Moves to this mark, if the ring still has it, and takes the position that the client has come to, which
    /// may lie behind the mark.
    pub(crate) fn enter_at(&mut self, mark: &Mark, position: &mut Position) -> bool {
        if !lock(&self.member).keeps(mark.next) {
            return false;
        }
        self.heard = mark.lost;
        self.known = self.apart(std::mem::take(position), None);
        self.go_to(mark.next);
        true
    }

    /// How far the client has come. Looking it up by number takes a while.
    pub(crate) fn position(&self) -> Position {
        match &self.known {
            Known::ByNumber => lock(&self.member).position_at(self.next),
            // A text of ours reads back, up to the bounds of positions that clients bring too. Beyond them the
            // client begins anew: repeating is allowed where losing is not.
            Known::ByText(text) => Position::decode(text).unwrap_or_default(),
            Known::Apart(apart) => apart.handed_out.position.clone(),
        }
    }

    /// What the client was handed, to catch up behind it.
    pub(crate) fn handed_out(&self) -> HandedOut {
        HandedOut { position: self.position(), tells: self.tells }
    }

    /// Tells those who look from outside how far a client at this position is behind.
    pub(crate) fn stand_at(&self, position: &Position) {
        let ring = lock(&self.member);
        let missing = ring.head().nexts().map(|(topic, partition, next)| {
            next.0.saturating_sub(position.next(topic, partition).unwrap_or_default().0)
        });
        let (distance, number) = (missing.sum(), ring.next());
        drop(ring);
        self.standing.set(distance, number);
    }

    /// The next batch, or what came in its place; `None` when the client is to catch up behind its position:
    /// the ring no longer has the next message, or has a gap that only the broker can tell the size of.
    pub(crate) async fn next(&mut self, batch: &mut Vec<Message>) -> Result<Option<Step>, DriverError> {
        loop {
            if self.is_overrun {
                return Ok(Some(Step::Ended));
            }
            match self.wait().await {
                None => {}
                Some(Phase::Failed(error)) => return Err(error),
                Some(_) => return Ok(Some(Step::Ended)),
            }
            match self.read(batch) {
                Read::Messages(next) => {
                    self.go_to(next);
                    self.hand_out(batch);
                    // A batch that held nothing new is no step for the client.
                    if !batch.is_empty() {
                        return Ok(Some(Step::Messages));
                    }
                }
                Read::Skipped { missed, next } => return Ok(self.overtaken(missed, next)),
                Read::Lost { .. } if matches!(self.known, Known::Apart(..)) => return Ok(None),
                Read::Lost { missed, lost } => {
                    self.heard = lost;
                    return Ok(Some(Step::Lost(missed)));
                }
            }
        }
    }

    /// Waits until there is something to read, and gives `None`, or until there will be nothing more.
    async fn wait(&mut self) -> Option<Phase> {
        let (next, heard) = (self.next, self.heard);
        let has_news = |progress: &Progress| progress.next > next || progress.lost > heard;
        let progress = self.progress.wait_for(|progress| {
            has_news(progress) || matches!(progress.phase, Phase::Ended | Phase::Failed(_))
        });
        match progress.await {
            Ok(progress) if has_news(&progress) => None,
            Ok(progress) => Some(progress.phase.clone()),
            Err(_) => Some(Phase::Ended),
        }
    }

    fn read(&mut self, batch: &mut Vec<Message>) -> Read {
        let ring = lock(&self.member);
        let mut limit = BATCH;
        if let Known::Apart(apart) = &mut self.known {
            // A gap ahead is still to be found through catching up, with the position that is kept apart.
            if apart.settled.is_none() && !self.stays_apart && ring.lost() == self.heard {
                apart.settled = settled_at(&ring, &apart.handed_out.position, self.member.tells);
            }
            match apart.settled.map(|settled| settled.saturating_sub(self.next)) {
                None => {}
                Some(0) if self.member.tells => {
                    self.known = Known::ByText(apart.handed_out.position.encode().into());
                }
                Some(0) => self.known = Known::ByNumber,
                // What comes then is handed out as it stands in the ring.
                Some(left) => {
                    limit.messages = limit.messages.min(usize::try_from(left).unwrap_or(usize::MAX));
                }
            }
        }
        let read = ring.read(self.next, self.heard, limit, batch);
        if let (Read::Lost { .. }, Known::ByText(text)) = (&read, &mut self.known) {
            // What the client resumes behind is the gap now, or it would hear of it again.
            *text = ring.position_at(self.next).encode().into();
        }
        read
    }

    fn hand_out(&mut self, batch: &mut Vec<Message>) {
        match &mut self.known {
            Known::ByNumber => {}
            Known::ByText(text) => {
                if let Some(last) = batch.last().and_then(Message::position) {
                    text.clone_from(last);
                }
            }
            Known::Apart(apart) => apart.handed_out.take(batch),
        }
    }

    /// The ring no longer has what the client wants next.
    fn overtaken(&mut self, missed: u64, next: u64) -> Option<Step> {
        match self.lag {
            Lag::CatchUp => None,
            Lag::Skip => {
                self.go_to(next);
                Some(Step::Skipped(missed))
            }
            Lag::Stop => {
                self.is_overrun = true;
                Some(Step::Overrun(self.progress.borrow().next - self.next))
            }
        }
    }

    fn go_to(&mut self, next: u64) {
        self.next = next;
        self.standing.set(0, next);
    }

    fn apart(&self, position: Position, settled: Option<u64>) -> Known {
        let handed_out = HandedOut { position, tells: self.tells };
        Known::Apart(Box::new(Apart { handed_out, settled }))
    }
}

/// From which number on a client at this position needs nothing of its own, if that is known yet.
fn settled_at(ring: &Ring, position: &Position, needs_text: bool) -> Option<u64> {
    let settled = ring.settled_at(position)?;
    Some(if needs_text { settled.max(ring.told_from()) } else { settled })
}

fn lock(member: &Membership) -> RwLockReadGuard<'_, Ring> {
    member.hub.ring.read().unwrap_or_else(PoisonError::into_inner)
}
