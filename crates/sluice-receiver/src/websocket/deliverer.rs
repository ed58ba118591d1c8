//! The way out: a client's place among the messages, and frames of those that its policies let pass.

use bytes::Bytes;
use sluice_api::FrameFormat;
use sluice_broker::DriverError;
use sluice_message::{Message, Place};
use sluice_policy::{Chain, Hook, Outcome};
use sluice_stream::{Cursor, Step};
use sluice_websocket::{CloseCode, Deflate};
use tokio::time::{Instant, sleep_until};
use tracing::{info, warn};

use super::{control, end::End, frame, wire::Wire};
use crate::{
    open_stream::OpenStream,
    resume::{Placed, Progress},
};

/// How a client wants its frames.
#[derive(Debug, Clone, Copy)]
pub(super) struct Frames {
    pub(super) format: FrameFormat,
    pub(super) deflate: Option<Deflate>,
    /// Whether the client is told positions, to resume by them.
    pub(super) tells_positions: bool,
}

/// A client's way out from its place on.
pub(super) struct Deliverer {
    cursor: Cursor,
    chain: Chain,
    frames: Frames,
    /// Messages that were fetched and not sent yet, the next one at the end.
    batch: Vec<Message>,
    /// A message that a policy wants to be sent later, and nothing before it.
    delayed: Option<(Instant, Message)>,
    /// How far the client has come, if that counts for anybody.
    progress: Option<Progress>,
    /// Places of what was sent, or kept back by a policy, since the wire was idle; for `progress` alone.
    sent: Vec<Place>,
}

impl Deliverer {
    /// Begins at this place. What is missing before it is told, where frames can tell.
    pub(super) fn new<S>(
        mut placed: Placed,
        frames: Frames,
        open: &OpenStream,
        wire: &mut Wire<'_, S>,
    ) -> Self {
        let progress = placed.progress(&open.binding);
        let Placed { cursor, has_gap, .. } = placed;
        open.follow(cursor.standing());
        let chain = open.binding.chains.select(Hook::Deliver, &open.caller);
        let deliverer =
            Self { cursor, chain, frames, batch: Vec::new(), delayed: None, progress, sent: Vec::new() };
        if has_gap {
            info!(api = %open.binding.api, client = %open.client, "A client may have missed messages before its place.");
            deliverer.tell(wire, || control::gap(None, deliverer.position()));
        } else if let Some(position) = deliverer.position() {
            deliverer.tell(wire, || control::begin(&position));
        }
        deliverer
    }

    /// Goes on with the policies of the deployment that the stream belongs to now. What was fetched stays.
    pub(super) fn move_on(&mut self, open: &OpenStream) {
        self.chain = open.binding.chains.select(Hook::Deliver, &open.caller);
    }

    /// Waits until there is something to send. To be called when everything before has left. Cancel-safe.
    pub(super) async fn next(&mut self) -> Result<Step, DriverError> {
        self.settle();
        if let Some((until, _)) = &self.delayed {
            sleep_until(*until).await;
            return Ok(Step::Messages);
        }
        if !self.batch.is_empty() {
            return Ok(Step::Messages);
        }
        let step = self.cursor.next(&mut self.batch).await?;
        self.batch.reverse();
        Ok(step)
    }

    /// Notes how far the client has come, where that counts for anybody. To be called when everything that
    /// was sent has left.
    pub(super) fn settle(&mut self) {
        if let Some(progress) = &mut self.progress {
            self.sent.drain(..).for_each(|place| progress.pass(&place));
            progress.store();
        }
    }

    /// Does what a step asks for.
    pub(super) fn take<S>(
        &mut self,
        step: Result<Step, DriverError>,
        open: &OpenStream,
        wire: &mut Wire<'_, S>,
    ) -> Option<End> {
        match step {
            Ok(Step::Messages) => return self.send_batch(open, wire),
            Ok(Step::Skipped(count)) => {
                open.skipped(count);
                self.jump();
                self.tell(wire, || control::skipped(count));
            }
            Ok(Step::Lost(count)) => {
                open.lost(count);
                self.jump();
                self.tell(wire, || control::gap(Some(count), self.position()));
            }
            Ok(Step::Overrun(count)) => {
                open.overrun(count);
                self.tell(wire, || control::disconnected(count, self.position()));
                let text = format!("Too slow: {count} messages behind.");
                return Some(End::closed(CloseCode::POLICY, text));
            }
            Ok(Step::Ended) => return Some(End::closed(CloseCode::NORMAL, "Bye")),
            Err(error) => {
                warn!(
                    api = %open.binding.api, client = %open.client, %error,
                    "A WebSocket ends because its broker cannot be read."
                );
                return Some(error.into());
            }
        }
        None
    }

    /// Sends what was fetched, up to a message that a policy holds up.
    fn send_batch<S>(&mut self, open: &OpenStream, wire: &mut Wire<'_, S>) -> Option<End> {
        if let Some((_, message)) = self.delayed.take() {
            self.send(&message, open, wire);
            self.pass(message.place().cloned());
        }
        while let Some(message) = self.batch.pop() {
            let place = message.place().filter(|_| self.progress.is_some()).cloned();
            let outcome = match self.chain.is_empty() {
                true => Outcome::Pass(message),
                false => self.chain.run(&open.caller.context(), message),
            };
            let end = match outcome {
                Outcome::Pass(message) => {
                    self.send(&message, open, wire);
                    None
                }
                Outcome::Delayed(message, delay) => {
                    self.delayed = Some((Instant::now() + delay, message));
                    return None;
                }
                Outcome::Dropped { .. } => {
                    open.binding.metrics.dropped_by_policy.inc();
                    None
                }
                Outcome::Rejected(rejection) => Some(End::closed(CloseCode::POLICY, &*rejection.message)),
            };
            self.pass(place);
            if end.is_some() {
                return end;
            }
        }
        None
    }

    fn send<S>(&self, message: &Message, open: &OpenStream, wire: &mut Wire<'_, S>) {
        wire.send(frame::message(message, self.frames.format, self.frames.deflate).clone());
        open.binding.metrics.delivered.inc();
    }

    /// The client does not get the message at this place again, once everything has left.
    fn pass(&mut self, place: Option<Place>) {
        self.sent.extend(place.filter(|_| self.progress.is_some()));
    }

    /// The client goes on where the cursor stands; there is nothing to be had before.
    fn jump(&mut self) {
        if let Some(progress) = &mut self.progress {
            progress.jump(&self.cursor.position());
        }
    }

    /// Where the client can resume, as text, where it is told positions and its cursor has one.
    fn position(&self) -> Option<String> {
        let position = self.frames.tells_positions.then(|| self.cursor.position());
        position.filter(|position| !position.is_empty()).map(|position| position.encode())
    }

    /// Tells something between the messages. Frames of the other formats hold nothing but messages.
    fn tell<S>(&self, wire: &mut Wire<'_, S>, control: impl FnOnce() -> Bytes) {
        if self.frames.format == FrameFormat::Json {
            wire.send(control());
        }
    }
}
