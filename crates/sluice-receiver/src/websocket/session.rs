//! The life of a connection after its handshake.
//!
//! One thing at a time is done with each direction: while a message of the client is with the broker nothing
//! more is read of it, so that messages keep their order and a client that sends too fast is held up by TCP;
//! while frames are on their way to it no further message is fetched. The two directions do not wait for each
//! other.

use std::{future, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use sluice_api::{FrameFormat, WebsocketConfig};
use sluice_broker::DriverError;
use sluice_message::Message;
use sluice_policy::{Caller, Chain, Outcome};
use sluice_stream::{Cursor, Step};
use sluice_websocket::{CloseCode, Decoder, Deflate, Event, Kind, Limits, encode};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::OwnedSemaphorePermit,
    time::{Instant, sleep_until, timeout},
};
use tracing::{debug, warn};

use crate::{
    Binding, Refusal,
    open_stream::OpenStream,
    publishing::{self, Attempt, Failure},
    websocket::{
        end::End,
        frame,
        wire::{Turn, Wire},
    },
};

/// Frames on their way to a client at which nothing more is read of it: a client that asks faster than it
/// takes the answers has to wait.
const MAX_QUEUED: usize = 128;

/// How long a client may take to receive what is on its way and to answer a close.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// What a client is told whose message has begun and does not come to its end.
const UNFINISHED: &str = "The message did not arrive in time. Send faster, or in smaller messages.";

/// A connection that has agreed on WebSocket.
pub struct Session {
    open: OpenStream,
    format: FrameFormat,
    deflate: Option<Deflate>,
    decoder: Decoder,
    publisher: Option<Arc<Publisher>>,
    deliverer: Option<Deliverer>,
    caller: Arc<Caller>,
    /// The message of the client that is on its way to the broker.
    publishing: Option<BoxFuture<'static, Result<(), Failure>>>,
    /// Bytes of the gateway's bound on request bodies that the client's message takes.
    reserved: Option<OwnedSemaphorePermit>,
    /// When the message that takes them must be here as a whole.
    due: Instant,
    pulse: Pulse,
}

/// The way in: what a message needs to be published.
pub(super) struct Publisher {
    pub(super) binding: Arc<Binding>,
    pub(super) chain: Chain,
    pub(super) caller: Arc<Caller>,
}

/// The way out: where messages come from.
pub(super) struct Deliverer {
    cursor: Cursor,
    chain: Chain,
    /// Messages that were fetched and not sent yet, the next one at the end.
    batch: Vec<Message>,
    /// A message that a policy wants to be sent later, and nothing before it.
    delayed: Option<(Instant, Message)>,
}

/// When the client was heard last, and what follows from it.
struct Pulse {
    interval: Duration,
    patience: Duration,
    heard: Instant,
    asked: Instant,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").finish_non_exhaustive()
    }
}

impl Session {
    pub(super) fn new(
        open: OpenStream,
        settings: &WebsocketConfig,
        caller: Arc<Caller>,
        deflate: Option<Deflate>,
        publisher: Option<Publisher>,
        deliverer: Option<Deliverer>,
    ) -> Self {
        let limits = Limits {
            frame: settings.max_frame_bytes.unwrap_or(usize::MAX),
            message: open.binding.max_body_bytes,
        };
        Self {
            format: settings.frames,
            deflate,
            decoder: Decoder::new(limits, deflate.is_some()),
            publisher: publisher.map(Arc::new),
            deliverer,
            caller,
            publishing: None,
            reserved: None,
            due: Instant::now(),
            pulse: Pulse::new(settings),
            open,
        }
    }

    /// Serves the client until one side ends it, then closes as the protocol wants it. What is left to do with
    /// the connection is to shut it down. `received` is what came behind the request.
    pub async fn run<S: AsyncRead + AsyncWrite + Unpin>(
        mut self: Box<Self>,
        stream: &mut S,
        received: Bytes,
    ) {
        let mut wire = Wire::new(stream, received);
        let end = self.serve(&mut wire).await;
        debug!(api = %self.open.binding.api, client = self.open.client, ?end, "A WebSocket ends.");
        // A client that does not take its close is left without.
        let _closed = timeout(CLOSE_TIMEOUT, self.close(&mut wire, &end)).await;
    }

    async fn serve<S: AsyncRead + AsyncWrite + Unpin>(&mut self, wire: &mut Wire<'_, S>) -> End {
        let drain = self.open.binding.drain.clone();
        loop {
            if let Some(end) = self.read(wire) {
                return end;
            }
            let (read, idle) = (self.may_read(wire), wire.queued() == 0);
            let (deadline, published) = (self.pulse.deadline(), self.publishing.is_none());
            let (due, unfinished) = (self.due, published && self.reserved.is_some());
            let Self { publishing, deliverer, .. } = &mut *self;
            let end = tokio::select! {
                biased;
                () = drain.cancelled(), if published => Some(End::closed(CloseCode::TRY_LATER, "Try Again Later")),
                result = awaited(publishing), if !published => self.settle(result),
                // Before what is received: signs of life do not make a message come.
                () = sleep_until(due), if unfinished => Some(End::closed(CloseCode::POLICY, UNFINISHED)),
                turn = wire.turn(read) => match turn {
                    Ok(Turn::Ended) | Err(_) => Some(End::Gone),
                    Ok(Turn::Received) => {
                        self.pulse.hear();
                        None
                    }
                    Ok(Turn::Sent) => None,
                },
                step = next(deliverer), if idle => match step {
                    Ok(Step::Messages) => self.send_batch(wire),
                    Ok(Step::Skipped(count)) => {
                        self.tell_skipped(count);
                        None
                    }
                    Ok(Step::Ended) => Some(End::closed(CloseCode::NORMAL, "Bye")),
                    Err(error) => {
                        warn!(
                            api = %self.open.binding.api, client = self.open.client, %error,
                            "A WebSocket ends because its broker cannot be read."
                        );
                        Some(error.into())
                    }
                },
                () = sleep_until(deadline), if published => self.pulse.beat(wire),
            };
            if let Some(end) = end {
                return end;
            }
        }
    }

    /// Whether the client's next word is wanted.
    fn may_read<S>(&self, wire: &Wire<'_, S>) -> bool {
        self.publishing.is_none() && wire.queued() < MAX_QUEUED
    }

    /// Takes what the client has said, as far as it is wanted.
    fn read<S>(&mut self, wire: &mut Wire<'_, S>) -> Option<End> {
        while self.may_read(wire) {
            match self.decoder.next(&mut wire.incoming) {
                Ok(Some(Event::Message { kind, payload })) => {
                    if let Some(end) = self.take(kind, payload) {
                        return Some(end);
                    }
                }
                Ok(Some(Event::Ping(content))) => wire.send(encode::pong(&content)),
                Ok(Some(Event::Pong)) => {}
                Ok(Some(Event::Close(reason))) => return Some(End::Answered(reason.map(|(code, _)| code))),
                Ok(None) => {
                    wire.tidy();
                    return self.reserve(self.decoder.held());
                }
                Err(violation) => return Some(End::Violated(violation)),
            }
        }
        None
    }

    /// Begins to publish a message of the client.
    fn take(&mut self, kind: Kind, payload: Bytes) -> Option<End> {
        let Some(publisher) = &self.publisher else {
            return Some(End::closed(CloseCode::POLICY, "This API takes no messages of its clients."));
        };
        let publisher = Arc::clone(publisher);
        if let Some(end) = self.reserve(payload.len()) {
            return Some(end);
        }
        let mut message = Message::builder().payload(payload);
        if self.format == FrameFormat::Auto {
            message = message.headers(frame::mark(kind));
        }
        let message = message.build();
        self.publishing = Some(Box::pin(async move {
            let Publisher { binding, chain, caller } = &*publisher;
            let attempt = Attempt::new(binding);
            let result = publishing::publish(binding, chain, caller, message).await;
            if matches!(result, Ok(()) | Err(Failure::Dropped { .. })) {
                attempt.succeeded();
            }
            result
        }));
        None
    }

    /// What follows from a publish that is done.
    fn settle(&mut self, result: Result<(), Failure>) -> Option<End> {
        self.publishing = None;
        self.reserved = None;
        // Nothing was read meanwhile, so that silence says nothing.
        self.pulse.hear();
        let failure = result.err()?;
        let end = End::of_publish(&failure)?;
        let binding = &self.open.binding;
        binding.failures.tell(&binding.api, &Refusal::from(failure));
        Some(end)
    }

    /// Takes room for the client's message out of what the gateway may hold of all clients.
    fn reserve(&mut self, bytes: usize) -> Option<End> {
        let held = self.reserved.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        if bytes <= held {
            return None;
        }
        let more = u32::try_from(bytes - held).unwrap_or(u32::MAX);
        match Arc::clone(&self.open.binding.body_bytes).try_acquire_many_owned(more) {
            Ok(more) => {
                match &mut self.reserved {
                    Some(reserved) => reserved.merge(more),
                    None => {
                        self.reserved = Some(more);
                        self.due = Instant::now() + self.open.binding.body_timeout;
                    }
                }
                None
            }
            Err(_) => {
                let text = "The gateway holds as many messages as it may. Try again in a moment.";
                Some(End::closed(CloseCode::TRY_LATER, text))
            }
        }
    }

    /// Sends what was fetched, up to a message that a policy holds up.
    fn send_batch<S>(&mut self, wire: &mut Wire<'_, S>) -> Option<End> {
        let Deliverer { chain, batch, delayed, .. } = self.deliverer.as_mut()?;
        let metrics = &self.open.binding.metrics;
        let mut send = |message: &Message| {
            wire.send(frame::message(message, self.format, self.deflate).clone());
            metrics.delivered.inc();
        };
        if let Some((_, message)) = delayed.take() {
            send(&message);
        }
        while let Some(message) = batch.pop() {
            let outcome = match chain.is_empty() {
                true => Outcome::Pass(message),
                false => chain.run(&self.caller.context(), message),
            };
            match outcome {
                Outcome::Pass(message) => send(&message),
                Outcome::Delayed(message, delay) => {
                    *delayed = Some((Instant::now() + delay, message));
                    return None;
                }
                Outcome::Dropped { .. } => drop(metrics.dropped_by_policy.inc()),
                Outcome::Rejected(rejection) => {
                    return Some(End::closed(CloseCode::POLICY, &*rejection.message));
                }
            }
        }
        None
    }

    fn tell_skipped(&self, count: u64) {
        self.open.binding.metrics.skipped.inc_by(count);
        warn!(
            api = %self.open.binding.api, client = self.open.client, messages = count,
            "A client was too slow; messages were skipped for it."
        );
    }

    /// Writes what is on its way and the last frame. Where this side closes, waits for the client's answer.
    async fn close<S: AsyncRead + AsyncWrite + Unpin>(&mut self, wire: &mut Wire<'_, S>, end: &End) {
        let Some(last) = end.frame() else { return };
        wire.send(last);
        while wire.queued() > 0 {
            if wire.turn(false).await.is_err() {
                return;
            }
        }
        if !matches!(end, End::Closed(..)) {
            return;
        }
        loop {
            match self.decoder.next(&mut wire.incoming) {
                Ok(Some(Event::Close(_))) | Err(_) => return,
                // Too late: the client is told already that its messages are no longer taken.
                Ok(Some(_)) => continue,
                Ok(None) => {}
            }
            if matches!(wire.turn(true).await, Ok(Turn::Ended) | Err(_)) {
                return;
            }
        }
    }
}

/// What came of a publish; never, where none is under way.
async fn awaited(publishing: &mut Option<BoxFuture<'static, Result<(), Failure>>>) -> Result<(), Failure> {
    match publishing {
        Some(publishing) => publishing.await,
        None => future::pending().await,
    }
}

/// The next step of the way out; never, where there is none.
async fn next(deliverer: &mut Option<Deliverer>) -> Result<Step, DriverError> {
    match deliverer {
        Some(deliverer) => deliverer.next().await,
        None => future::pending().await,
    }
}

impl Deliverer {
    pub(super) const fn new(cursor: Cursor, chain: Chain) -> Self {
        Self { cursor, chain, batch: Vec::new(), delayed: None }
    }

    /// Waits until there is something to send. Cancel-safe.
    async fn next(&mut self) -> Result<Step, DriverError> {
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
}

impl Pulse {
    fn new(settings: &WebsocketConfig) -> Self {
        let now = Instant::now();
        Self {
            interval: Duration::from_millis(settings.ping_interval_ms),
            patience: Duration::from_millis(settings.idle_timeout_ms),
            heard: now,
            asked: now,
        }
    }

    fn hear(&mut self) {
        self.heard = Instant::now();
    }

    fn deadline(&self) -> Instant {
        (self.heard + self.patience).min(self.heard.max(self.asked) + self.interval)
    }

    /// Asks a silent client whether it is there, or gives it up.
    fn beat<S>(&mut self, wire: &mut Wire<'_, S>) -> Option<End> {
        self.asked = Instant::now();
        if self.asked >= self.heard + self.patience {
            return Some(End::closed(CloseCode::GOING_AWAY, "No sign of life"));
        }
        // A client that does not even take what it was sent needs no further question.
        if wire.queued() == 0 {
            wire.send(encode::ping());
        }
        None
    }
}
