//! The life of a connection after its handshake.
//!
//! One thing at a time is done with each direction: while a message of the client is with the broker nothing
//! more is read of it, so that messages keep their order and a client that sends too fast is held up by TCP;
//! while frames are on their way to it no further message is fetched. The two directions do not wait for each
//! other.

use std::{future, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::{FutureExt, future::BoxFuture};
use sluice_api::{FrameFormat, WebsocketConfig};
use sluice_websocket::{CloseCode, Decoder, Event, Kind, Limits, encode};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::OwnedSemaphorePermit,
    time::{Instant, sleep_until, timeout},
};
use tracing::debug;

use crate::{
    Refusal,
    open_stream::OpenStream,
    publishing::Failure,
    resume::{self, reconnect_delay_ms},
    websocket::{
        control,
        deliverer::{Deliverer, Frames},
        end::End,
        envelope::{self, Sent},
        first_frame::{self, FirstFrame},
        frame,
        out::{News, Out},
        publisher::Publisher,
        pulse::Pulse,
        receipts::Receipts,
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
    frames: Frames,
    decoder: Decoder,
    /// The bounds of the client's messages.
    limits: Limits,
    publisher: Option<Arc<Publisher>>,
    /// Whether the client's messages come in documents.
    envelope: bool,
    /// What the client is told of its messages, if it is.
    receipts: Option<Receipts>,
    out: Out,
    /// The message of the client that is on its way to the broker.
    publishing: Option<BoxFuture<'static, Result<(), Failure>>>,
    /// Bytes of the gateway's bound on request bodies that the client's message takes.
    reserved: Option<OwnedSemaphorePermit>,
    /// When the message that takes them must be here as a whole.
    due: Instant,
    pulse: Pulse,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").finish_non_exhaustive()
    }
}

impl Session {
    pub(super) fn new(open: OpenStream, settings: &WebsocketConfig, frames: Frames, out: Out) -> Self {
        let limits = Limits {
            frame: settings.max_frame_bytes.unwrap_or(usize::MAX),
            message: open.binding.max_body_bytes,
        };
        let first = if matches!(out, Out::Awaited(_)) { first_frame::LIMITS } else { limits };
        Self {
            decoder: Decoder::new(first, frames.deflate.is_some()),
            frames,
            limits,
            publisher: settings.publisher.enabled.then(|| Publisher::new(&open)),
            envelope: settings.publisher.envelope,
            receipts: settings.publisher.acknowledge.then(Receipts::default),
            out,
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
        debug!(api = %self.open.binding.api, client = %self.open.client, ?end, "A WebSocket ends.");
        // A client that does not take its close is left without.
        let _closed = timeout(CLOSE_TIMEOUT, self.close(&mut wire, &end)).await;
        if let Out::On(deliverer) = &mut self.out
            && wire.queued() == 0
        {
            deliverer.settle();
        }
    }

    async fn serve<S: AsyncRead + AsyncWrite + Unpin>(&mut self, wire: &mut Wire<'_, S>) -> End {
        loop {
            if let Some(end) = self.read(wire) {
                return end;
            }
            let (read, idle) = (self.may_read(wire), wire.queued() == 0);
            let (deadline, published) = (self.pulse.deadline(), self.publishing.is_none());
            let (due, unfinished) = (self.due, published && self.reserved.is_some());
            let Self { publishing, out, open, .. } = &mut *self;
            let end = tokio::select! {
                biased;
                () = open.is_over(), if published => self.move_on(),
                result = awaited(publishing), if !published => self.settle(result, wire),
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
                news = out.next(idle) => self.deliver(news, wire),
                () = sleep_until(deadline), if published => self.pulse.beat(wire),
            };
            if let Some(end) = end {
                return end;
            }
        }
    }

    /// Goes on under the deployment that came in place of this one, on the same connection and at the same place.
    fn move_on(&mut self) -> Option<End> {
        if !self.open.move_on() {
            return Some(match self.open.is_replaced() {
                true => End::closed(CloseCode::RESTART, "Service Restart"),
                false => End::closed(CloseCode::TRY_LATER, "Try Again Later"),
            });
        }
        self.publisher = self.publisher.as_ref().map(|_| Publisher::new(&self.open));
        if let Out::On(deliverer) = &mut self.out {
            deliverer.move_on(&self.open);
        }
        None
    }

    /// What follows from what came on the way out.
    fn deliver<S>(&mut self, news: News, wire: &mut Wire<'_, S>) -> Option<End> {
        match news {
            News::Overdue => return Some(first_frame::overdue()),
            News::Placed(Err(refusal)) => return Some(refusal.into()),
            News::Placed(Ok(placed)) => {
                self.out = Out::On(Box::new(Deliverer::new(placed, self.frames, &self.open, wire)));
            }
            News::Step(step) => {
                if let Out::On(deliverer) = &mut self.out {
                    return deliverer.take(step, &self.open, wire);
                }
            }
        }
        None
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
                    if let Some(end) = self.take(kind, payload, wire) {
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

    /// Takes a message of the client.
    fn take<S>(&mut self, kind: Kind, payload: Bytes, wire: &mut Wire<'_, S>) -> Option<End> {
        match std::mem::replace(&mut self.out, Out::Off) {
            Out::Awaited(first) => self.place(first, kind, &payload).err(),
            out => {
                self.out = out;
                self.publish(kind, payload, wire)
            }
        }
    }

    /// Begins to look for the place that the client's first frame names.
    fn place(&mut self, first: FirstFrame, kind: Kind, payload: &[u8]) -> Result<(), End> {
        let bookmark = first_frame::read(kind, payload)?;
        self.decoder.limit(self.limits);
        self.reserved = None;
        let binding = Arc::clone(&self.open.binding);
        let placing = async move { resume::place(&binding, &first.topics, bookmark, first.lag, true).await };
        self.out = Out::Placing(placing.boxed());
        Ok(())
    }

    /// Begins to publish a message of the client.
    fn publish<S>(&mut self, kind: Kind, payload: Bytes, wire: &mut Wire<'_, S>) -> Option<End> {
        let Some(publisher) = self.publisher.clone() else {
            return Some(End::closed(CloseCode::POLICY, "This API takes no messages of its clients."));
        };
        if let Some(end) = self.reserve(payload.len()) {
            return Some(end);
        }
        let marked = self.frames.format == FrameFormat::Auto;
        let sent = match self.envelope {
            true => envelope::read(kind, &payload, marked),
            false => Ok(Sent { message: frame::read(kind, payload, marked), id: None }),
        };
        if let Some(receipts) = &mut self.receipts {
            receipts.begin(sent.as_ref().ok().and_then(|sent| sent.id.clone()));
        }
        match sent {
            Ok(sent) => {
                self.publishing = Some(publisher.publish(sent.message).boxed());
                None
            }
            Err(refusal) => {
                self.reserved = None;
                publisher.count_unread();
                self.fail(Some(refusal.clone().into()), &refusal, wire)
            }
        }
    }

    /// What follows from a publish that is done.
    fn settle<S>(&mut self, result: Result<(), Failure>, wire: &mut Wire<'_, S>) -> Option<End> {
        self.publishing = None;
        self.reserved = None;
        // Nothing was read meanwhile, so that silence says nothing.
        self.pulse.hear();
        match result {
            Ok(()) => {
                if let Some(receipts) = &self.receipts {
                    wire.send(receipts.acknowledged());
                }
                None
            }
            Err(failure) => self.fail(End::of_publish(&failure), &failure.into(), wire),
        }
    }

    /// What follows for a client whose message is not published: without receipts, this end.
    fn fail<S>(&self, end: Option<End>, refusal: &Refusal, wire: &mut Wire<'_, S>) -> Option<End> {
        let binding = &self.open.binding;
        if end.is_some() {
            binding.failures.tell(&binding.api, refusal);
        }
        let Some(receipts) = &self.receipts else { return end };
        wire.send(receipts.refused(refusal));
        // A message that the broker may take at another try must not be overtaken by those behind it.
        let is_settled = refusal.is_by_policy() || refusal.status.is_client_error();
        end.filter(|_| !is_settled)
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

    /// Writes what is on its way and the last frame. Where this side closes, waits for the client's answer.
    async fn close<S: AsyncRead + AsyncWrite + Unpin>(&mut self, wire: &mut Wire<'_, S>, end: &End) {
        let Some(last) = end.frame() else { return };
        if self.frames.format == FrameFormat::Json && end.is_to_come_again() {
            wire.send(control::goaway(reconnect_delay_ms()));
        }
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
