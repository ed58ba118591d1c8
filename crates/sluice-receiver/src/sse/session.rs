//! One client's stream while it lasts.
//!
//! A message is rendered when the client's connection has room for it. So a client that reads nothing keeps one
//! batch of messages, which the ring may have let go of, and nothing that was made for it.

use std::time::Duration;

use bytes::Bytes;
use sluice_api::SseConfig;
use sluice_broker::DriverError;
use sluice_message::{Message, Place};
use sluice_policy::{Chain, Hook, Outcome};
use sluice_stream::{Cursor, Step};
use tokio::time::{Instant, sleep_until};
use tracing::warn;

use super::frame;
use crate::{
    Refusal,
    open_stream::OpenStream,
    resume::{Placed, Progress, reconnect_delay_ms},
};

/// One client's stream.
pub(super) struct Session {
    cursor: Cursor,
    chain: Chain,
    settings: SseConfig,
    /// Whether the ids of events are positions.
    tells_positions: bool,
    /// How far the client has come, if that counts for anybody.
    progress: Option<Progress>,
    /// Where the message stands that was handed out last, until more is asked for.
    handed: Option<Place>,
    /// Messages that were fetched and not rendered yet, the next one at the end.
    batch: Vec<Message>,
    /// A message that a policy wants to be sent later, and nothing before it.
    delayed: Option<(Instant, Message)>,
    /// What is to be sent before anything else.
    ready: Option<Bytes>,
    last_sent: Instant,
    ended: bool,
    open: OpenStream,
}

impl Session {
    pub(super) fn new(
        open: OpenStream,
        mut placed: Placed,
        settings: SseConfig,
        tells_positions: bool,
    ) -> Self {
        let progress = placed.progress(&open.binding);
        let Placed { cursor, has_gap, .. } = placed;
        let mut session = Self {
            chain: open.binding.chains.select(Hook::Deliver, &open.caller),
            cursor,
            settings,
            tells_positions,
            progress,
            handed: None,
            batch: Vec::new(),
            delayed: None,
            ready: None,
            last_sent: Instant::now(),
            ended: false,
            open,
        };
        let position = session.position();
        let begin = frame::begin(reconnect_delay_ms(), position.as_deref());
        let gap = has_gap.then(|| frame::gap(None, position.as_deref()));
        session.ready = Some(gap.map_or_else(|| begin.clone(), |gap| [&*begin, &*gap].concat().into()));
        session
    }

    /// The next frame, and the session to go on with; `None` at the end. In a box, since it is moved for each frame,
    /// and an idle stream would hold it twice.
    pub(super) async fn next(mut self: Box<Self>) -> Option<(Bytes, Box<Self>)> {
        // More is asked for, so what was handed out before is on its way.
        if let Some(place) = self.handed.take() {
            self.pass(&place);
        }
        loop {
            if let Some(frame) = self.ready.take() {
                self.last_sent = Instant::now();
                return Some((frame, self));
            }
            if self.ended {
                return None;
            }
            match self.batch.pop_if(|_| self.delayed.is_none()) {
                Some(message) => self.judge(message),
                None => self.wait().await,
            }
        }
    }

    /// Waits for messages, for the time of one that is delayed, for the heartbeat to be due, or for what becomes
    /// of the API.
    async fn wait(&mut self) {
        if let Some(progress) = self.progress.as_mut().filter(|_| self.batch.is_empty()) {
            progress.store();
        }
        let heartbeat = self.last_sent + Duration::from_millis(self.settings.heartbeat_interval_in_ms);
        let Self { cursor, batch, delayed, open, .. } = &mut *self;
        let messages = async {
            match delayed {
                Some((until, _)) => {
                    sleep_until(*until).await;
                    None
                }
                None => Some(cursor.next(batch).await),
            }
        };
        let step = tokio::select! {
            biased;
            () = open.is_over() => return self.move_on(),
            step = messages => step,
            () = sleep_until(heartbeat) => {
                self.ready = Some(Bytes::from_static(frame::HEARTBEAT));
                return;
            }
        };
        match step {
            Some(step) => self.follow(step),
            None => {
                if let Some((_, message)) = self.delayed.take() {
                    self.send(&message);
                }
            }
        }
    }

    /// Does what came of waiting for messages.
    fn follow(&mut self, step: Result<Step, DriverError>) {
        match step {
            Ok(Step::Messages) => self.batch.reverse(),
            Ok(Step::Skipped(count)) => {
                self.open.skipped(count);
                self.jump();
                self.ready = Some(frame::skipped(count));
            }
            Ok(Step::Lost(count)) => {
                self.open.lost(count);
                self.jump();
                self.ready = Some(frame::gap(Some(count), self.position().as_deref()));
            }
            Ok(Step::Overrun(behind)) => {
                self.open.overrun(behind);
                self.end(frame::disconnected(behind, self.position().as_deref()));
            }
            Ok(Step::Ended) => self.ended = true,
            Err(error) => {
                warn!(
                    api = %self.open.binding.api, client = %self.open.client, %error,
                    "A stream ends because its broker cannot be read."
                );
                // Not the broker's own words, which name addresses.
                self.end(frame::error(&Refusal::from(error).message));
            }
        }
    }

    /// Runs the policies on a message and sends what they leave of it.
    fn judge(&mut self, message: Message) {
        let place = message.place().filter(|_| self.progress.is_some()).cloned();
        let outcome = match self.chain.is_empty() {
            true => Outcome::Pass(message),
            false => self.chain.run(&self.open.caller.context(), message),
        };
        match outcome {
            Outcome::Pass(message) => self.send(&message),
            Outcome::Delayed(message, delay) => self.delayed = Some((Instant::now() + delay, message)),
            Outcome::Dropped { .. } => {
                self.open.binding.metrics.dropped_by_policy.inc();
                if let Some(place) = place {
                    self.pass(&place);
                }
            }
            Outcome::Rejected(rejection) => {
                if let (Some(progress), Some(place)) = (&self.progress, place) {
                    progress.fail(&place);
                }
                self.end(frame::error(&rejection.message));
            }
        }
    }

    fn send(&mut self, message: &Message) {
        self.handed = message.place().filter(|_| self.progress.is_some()).cloned();
        self.ready = Some(frame::message(message, &self.settings, self.tells_positions).clone());
        self.open.binding.metrics.delivered.inc();
    }

    /// Goes on under the deployment that came in place of its own, if it can.
    fn move_on(&mut self) {
        if self.open.move_on() {
            self.chain = self.open.binding.chains.select(Hook::Deliver, &self.open.caller);
        } else {
            self.say_goodbye();
        }
    }

    fn say_goodbye(&mut self) {
        self.end(frame::goodbye(reconnect_delay_ms()));
    }

    /// Ends the stream with this frame. What was fetched is not sent any more; the client is not behind it.
    fn end(&mut self, frame: Bytes) {
        self.ready = Some(frame);
        self.ended = true;
    }

    /// The client does not get the message at this place again.
    fn pass(&mut self, place: &Place) {
        if let Some(progress) = &mut self.progress {
            progress.pass(place);
        }
    }

    /// The client goes on where the cursor stands; there is nothing to be had before.
    fn jump(&mut self) {
        if let Some(progress) = &mut self.progress {
            progress.jump(&self.cursor.position());
        }
    }

    /// Where the client can resume, as text, where it is told positions and its cursor has one.
    fn position(&self) -> Option<String> {
        let position = self.tells_positions.then(|| self.cursor.position());
        position.filter(|position| !position.is_empty()).map(|position| position.encode())
    }
}
