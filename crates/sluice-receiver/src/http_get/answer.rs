//! One answer while it is being written: it ends when it is full, when its time is over, or when there is no
//! more to come.

use std::borrow::Cow;

use bytes::Bytes;
use sluice_broker::{DriverError, ErrorKind};
use sluice_message::{Message, Place, Position};
use sluice_policy::{Chain, Outcome};
use sluice_stream::{Cursor, Step};
use tokio::time::{Instant, sleep_until};
use tracing::warn;

use super::envelope::{End, Envelope, Fault, Gap, Item};
use crate::{Refusal, open_stream::OpenStream, resume};

/// A piece of the answer is sent once it is so large, in bytes. What a client that does not read makes the
/// gateway hold is about that, beside one batch of messages.
const PIECE: usize = 64 << 10;

/// An answer under way.
pub(super) struct Answer {
    pub(super) open: OpenStream,
    pub(super) chain: Chain,
    pub(super) envelope: Envelope,
    pub(super) cursor: Cursor,
    /// Messages that were fetched and not written yet, the next one at the end.
    pub(super) batch: Vec<Message>,
    /// The message that is being written.
    pub(super) item: Option<Item>,
    /// Behind the last message that was written, or that a policy kept back or refused.
    pub(super) position: Position,
    /// Whether the client is told positions.
    pub(super) has_cursor: bool,
    /// The messages that the client has missed, before these or among them.
    pub(super) gap: Option<Gap>,
    /// The name under which the position is stored when the client has the answer.
    pub(super) reader: Option<String>,
    /// How many messages the answer may hold.
    pub(super) limit: u32,
    /// How many it holds.
    pub(super) taken: u32,
    pub(super) deadline: Instant,
    pub(super) stage: Stage,
}

/// How far an answer has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    Begin,
    Items,
    /// Everything was written.
    Ended,
}

/// Whether more is to come, and if not, whether that is somebody's fault.
enum Next {
    Items,
    End(Option<Fault>),
}

impl Answer {
    /// The next piece, and the answer to go on with; `None` at the end.
    pub(super) async fn next(mut self) -> Option<(Bytes, Self)> {
        let mut out = String::new();
        match self.stage {
            Stage::Begin => {
                out.push_str(self.envelope.begin());
                self.stage = Stage::Items;
            }
            Stage::Items => {
                while out.is_empty() && self.stage == Stage::Items {
                    if let Next::End(fault) = self.collect(&mut out).await {
                        self.end(&mut out, fault.as_ref());
                        self.stage = Stage::Ended;
                    }
                }
            }
            Stage::Ended => {
                // Only now has the client been sent everything.
                self.store();
                return None;
            }
        }
        Some((out.into(), self))
    }

    /// Goes on with what was fetched, else waits for messages, and writes them.
    async fn collect(&mut self, out: &mut String) -> Next {
        if self.item.is_some() {
            return self.write_batch(out).await;
        }
        if self.taken >= self.limit {
            return Next::End(None);
        }
        if !self.batch.is_empty() {
            return self.write_batch(out).await;
        }
        let drain = self.open.binding.drain.clone();
        let step = tokio::select! {
            biased;
            () = drain.cancelled() => return Next::End(None),
            () = sleep_until(self.deadline) => return Next::End(None),
            step = self.cursor.next(&mut self.batch) => step,
        };
        match step {
            Ok(Step::Messages) => {
                self.batch.reverse();
                self.write_batch(out).await
            }
            Ok(Step::Lost(count)) => {
                self.open.lost(count);
                self.miss(count)
            }
            Ok(Step::Skipped(count)) => {
                self.open.skipped(count);
                self.miss(count)
            }
            Ok(Step::Ended | Step::Overrun(_)) => Next::End(None),
            Err(error) => {
                warn!(
                    api = %self.open.binding.api, client = %self.open.client, %error,
                    "An answer ends because its broker cannot be read."
                );
                Next::End(Some(error.into()))
            }
        }
    }

    /// So many messages are missing before the next one; the client need not hear of them again.
    fn miss(&mut self, count: u64) -> Next {
        let before = self.gap.map_or(Some(0), |gap| gap.messages);
        self.gap = Some(Gap { messages: before.map(|before| before + count) });
        self.position.merge(&self.cursor.position());
        Next::Items
    }

    /// Writes what was fetched, as far as it goes into one piece.
    async fn write_batch(&mut self, out: &mut String) -> Next {
        while self.write_item(out)
            && self.taken < self.limit
            && let Some(message) = self.batch.pop()
        {
            let place = message.place().cloned();
            let outcome = match self.chain.is_empty() {
                true => Outcome::Pass(message),
                false => self.chain.run(&self.open.caller.context(), message),
            };
            let message = match outcome {
                Outcome::Pass(message) => Some(message),
                Outcome::Delayed(message, delay) => {
                    // What would come too late is left for the next time.
                    if !self.pause_until(Instant::now() + delay).await {
                        return Next::End(None);
                    }
                    Some(message)
                }
                Outcome::Dropped { .. } => {
                    self.open.binding.metrics.dropped_by_policy.inc();
                    None
                }
                Outcome::Rejected(rejection) => {
                    self.pass(place.as_ref());
                    let fault = Fault { text: rejection.message, key: rejection.key, code: rejection.code };
                    return Next::End(Some(fault));
                }
            };
            self.pass(place.as_ref());
            if let Some(message) = message {
                self.begin_item(out, message);
            }
        }
        Next::Items
    }

    /// Moves on: the client does not get this message again.
    fn pass(&mut self, place: Option<&Place>) {
        if let Some(place) = place {
            self.position.advance(place);
        }
    }

    /// Goes on with the message under way; true when there is room for another one.
    fn write_item(&mut self, out: &mut String) -> bool {
        while out.len() < PIECE {
            let Some(item) = &mut self.item else { return true };
            if self.envelope.step(out, item) {
                self.item = None;
            }
        }
        false
    }

    fn begin_item(&mut self, out: &mut String, message: Message) {
        let id = self.has_cursor.then(|| self.position.encode());
        self.item = Some(self.envelope.item(out, message, id.as_deref()));
        self.taken += 1;
        self.open.binding.metrics.delivered.inc();
    }

    /// Waits as a policy wants it; false when the answer ends before.
    async fn pause_until(&mut self, until: Instant) -> bool {
        tokio::select! {
            biased;
            () = self.open.binding.drain.cancelled() => false,
            () = sleep_until(until.min(self.deadline)) => until <= self.deadline,
        }
    }

    fn end(&self, out: &mut String, fault: Option<&Fault>) {
        let cursor = self.has_cursor.then(|| self.position.encode());
        let page = cursor.as_deref().map(|cursor| (cursor, self.limit));
        self.envelope.end(out, &End { gap: self.gap, fault, page });
    }

    fn store(&mut self) {
        let Some(reader) = self.reader.take() else { return };
        resume::remember(&self.open.binding, &reader, self.position.clone());
    }
}

impl From<DriverError> for Fault {
    fn from(error: DriverError) -> Self {
        let key = match error.kind {
            ErrorKind::Unreachable | ErrorKind::Overloaded | ErrorKind::Closed => {
                "FAILURE_ENDPOINT_CONNECTION_CLOSED"
            }
            ErrorKind::Configuration | ErrorKind::NoTopic | ErrorKind::Refused | ErrorKind::Unsupported => {
                "FAILURE_ENDPOINT_CONFIGURATION_INVALID"
            }
            ErrorKind::TooLarge
            | ErrorKind::Invalid
            | ErrorKind::Rejected
            | ErrorKind::PositionLost
            | ErrorKind::Storage
            | ErrorKind::Other => "FAILURE_ENDPOINT_UNKNOWN_ERROR",
        };
        let code = error.code();
        // Not the broker's own words, which name addresses.
        Self { text: Refusal::from(error).message, key: Cow::Borrowed(key), code }
    }
}
