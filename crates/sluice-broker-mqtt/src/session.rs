//! The connection of one reader, and the task that owns it: it connects, subscribes, numbers what comes and queues it,
//! and does all of that again when the connection is lost.

use std::{
    collections::VecDeque,
    pin::{Pin, pin},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, SystemTime},
};

use sluice_broker::{DriverError, ErrorKind};
use sluice_message::Message;
use tokio::{
    sync::{Notify, mpsc, oneshot},
    time::{Instant, Sleep, sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::{
    backoff::Backoff,
    error::Failure,
    filters::{Filters, identifier},
    flaps::Losses,
    members::{Member, Subscribed},
    message::Arrived,
    protocol::{Ack, Client, Event, Granted, Link, Subscription},
    publisher::GOODBYE,
    settings::Consuming,
};

/// A message as it waits for its reader, or the acknowledgement of one that no reader is to see.
#[derive(Debug)]
pub(crate) struct Queued {
    pub(crate) message: Option<Message>,
    pub(crate) bytes: usize,
    pub(crate) receipt: Receipt,
}

/// What it takes to acknowledge a message.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Receipt {
    /// The filter it was handed out for; `None` for one that no reader saw.
    pub(crate) filter: Option<usize>,
    pub(crate) number: u64,
    /// `None` for QoS 0.
    ack: Option<Ack>,
    connection: u32,
}

/// What the task and its reader both know.
#[derive(Debug)]
pub(crate) struct Shared {
    client: Client,
    /// Which connection this is. An acknowledgement names a message by a number that means another one on the next
    /// connection, so it is given only under this lock and only to the connection that it is for.
    connection: Mutex<u32>,
    /// Bytes that wait for the reader.
    held: AtomicUsize,
    most_held: usize,
    room: Notify,
}

impl Shared {
    pub(crate) fn new(client: Client, most_held: usize) -> Self {
        let (connection, held) = (Mutex::new(0), AtomicUsize::new(0));
        Self { client, connection, held, most_held, room: Notify::new() }
    }

    /// Acknowledges these, in this order. Those of an earlier connection come again by themselves.
    pub(crate) fn acknowledge(&self, receipts: impl IntoIterator<Item = Receipt>) {
        let current = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        for receipt in receipts {
            if let Some(ack) = receipt.ack.filter(|_| receipt.connection == *current) {
                self.client.acknowledge(ack);
            }
        }
    }

    /// So many bytes were taken out of the queue.
    pub(crate) fn taken(&self, bytes: usize) {
        self.held.fetch_sub(bytes, Ordering::SeqCst);
        self.room.notify_one();
    }

    fn is_full(&self) -> bool {
        self.held.load(Ordering::SeqCst) >= self.most_held
    }
}

/// Where a reader begins to number: behind whatever readers before it have come to, so that a position of one of them
/// commits nothing of this one. Microseconds pass faster than messages.
fn first_number() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or_default()
}

/// A reader's connection.
pub(crate) struct Connection {
    pub(crate) address: String,
    pub(crate) link: Link,
    pub(crate) shared: Arc<Shared>,
    pub(crate) filters: Filters,
    pub(crate) consuming: Consuming,
    /// The name of the shared subscription, if it is one.
    pub(crate) share: Option<String>,
    /// For a durable reader.
    pub(crate) member: Option<Arc<Member>>,
    pub(crate) messages: mpsc::Sender<Queued>,
    pub(crate) errors: mpsc::Sender<DriverError>,
    pub(crate) answer_timeout: Duration,
    pub(crate) losses: Losses,
}

/// Where the task stands.
struct Progress {
    /// Who waits for the first subscription; `None` once there was one.
    opening: Option<oneshot::Sender<Result<(), DriverError>>>,
    /// What is still to be subscribed to on this connection, and by when.
    subscribing: Option<(VecDeque<Subscription>, Pin<Box<Sleep>>)>,
    connection: u32,
    number: u64,
    /// Whether the session was never subscribed to anything else.
    only: bool,
    /// Whether deliveries say which subscription they are for.
    identified: bool,
    backoff: Backoff,
    strangers: u64,
}

impl Connection {
    /// Runs until told to stop, or until the reader is gone; ends also where the first connection cannot be made.
    /// `opening` is told when the first subscription holds, or when there is no more room for what comes before it.
    pub(crate) async fn run(
        mut self,
        stop: CancellationToken,
        opening: oneshot::Sender<Result<(), DriverError>>,
    ) {
        let mut progress = Progress {
            opening: Some(opening),
            subscribing: None,
            connection: 0,
            number: first_number(),
            only: false,
            identified: false,
            backoff: Backoff::default(),
            strangers: 0,
        };
        let mut stopped = pin!(stop.cancelled());
        loop {
            let overdue = async {
                match &mut progress.subscribing {
                    Some((_, deadline)) => deadline.as_mut().await,
                    None => std::future::pending().await,
                }
            };
            // In this order: what comes costs no look at the others.
            let event = tokio::select! {
                biased;
                event = self.link.poll() => event,
                () = &mut stopped => break,
                () = overdue => Err(Failure::silent("a subscription")),
            };
            let step = match event {
                Ok(event) => self.take(event, &mut progress).await,
                Err(failure) => Err(failure),
            };
            match step {
                Ok(true) => {}
                Ok(false) => break,
                Err(failure) => {
                    let Some(wait) = self.failed(&failure, &mut progress) else { return };
                    tokio::select! {
                        () = sleep(wait) => {}
                        () = &mut stopped => return,
                    }
                }
            }
        }
        if progress.strangers > 0 {
            let count = progress.strangers;
            info!(
                address = self.address,
                count, "Messages for subscriptions of earlier settings were left out."
            );
        }
        self.leave().await;
    }

    /// Deals with one event; false once nobody reads any more.
    async fn take(&mut self, event: Event, progress: &mut Progress) -> Result<bool, Failure> {
        match event {
            Event::Arrived(arrived) => return Ok(self.queue(arrived, progress).await),
            Event::Connected(granted) => {
                self.losses.made();
                self.subscribe(granted, progress)?;
            }
            Event::Subscribed(refusals) => self.subscribed(&refusals, progress)?,
            Event::Unsubscribed | Event::Nothing => {}
        }
        Ok(true)
    }

    fn subscribe(&mut self, granted: Granted, progress: &mut Progress) -> Result<(), Failure> {
        let unable = |what: &str| Err(Failure::new(ErrorKind::Refused, format!("offers no {what}")));
        let wild = |filter: &str| filter.contains(['+', '#']);
        if !granted.shares && self.share.is_some() {
            return unable("shared subscriptions");
        }
        if !granted.wildcards && self.filters.all().iter().any(|filter| wild(filter.as_str())) {
            return unable("subscriptions with wildcards");
        }
        let named: Vec<String> =
            self.filters.all().iter().map(|filter| self.named(filter.as_str())).collect();
        let known = self.member.as_ref().filter(|_| granted.resumed).and_then(|member| member.subscribed());
        let numbered = self.filters.overlapping() && granted.identifiers;
        // A session of other settings may still hold messages that say nothing of these subscriptions.
        progress.only =
            !granted.resumed || known.as_ref().is_some_and(|known| known.only && known.filters == named);
        progress.identified = numbered && progress.only;
        let mut waiting = VecDeque::new();
        if known.is_none_or(|known| known.filters != named) {
            let subscription = |filters: Vec<String>, identifier| Subscription {
                filters,
                qos: self.consuming.qos,
                retained: self.consuming.retained,
                identifier,
            };
            if numbered {
                // A number is that of all filters of one packet.
                let each = self.filters.all().iter().zip(named);
                waiting.extend(
                    each.map(|(filter, named)| subscription(vec![named], Some(identifier(filter.as_str())))),
                );
            } else {
                waiting.push_back(subscription(named, None));
            }
        }
        progress.subscribing = Some((waiting, Box::pin(sleep(self.answer_timeout))));
        self.subscribe_next(progress);
        Ok(())
    }

    /// The filter as it is subscribed to.
    fn named(&self, filter: &str) -> String {
        match &self.share {
            Some(share) => format!("$share/{share}/{filter}"),
            None => filter.to_owned(),
        }
    }

    fn subscribed(&mut self, refusals: &[Option<String>], progress: &mut Progress) -> Result<(), Failure> {
        let Some((waiting, _)) = &mut progress.subscribing else { return Ok(()) };
        if let Some(answered) = waiting.pop_front() {
            let refused =
                answered.filters.iter().zip(refusals).find_map(|(filter, why)| Some((filter, why.as_ref()?)));
            if let Some((filter, why)) = refused {
                let text = format!("refused the subscription to '{filter}': {why}");
                return Err(Failure::new(ErrorKind::Refused, text));
            }
        }
        self.subscribe_next(progress);
        Ok(())
    }

    /// Asks for what is still to be subscribed to, one packet at a time, or says that all is.
    fn subscribe_next(&mut self, progress: &mut Progress) {
        let Some((waiting, deadline)) = &mut progress.subscribing else { return };
        if let Some(next) = waiting.front() {
            deadline.as_mut().reset(Instant::now() + self.answer_timeout);
            return self.shared.client.subscribe(next.clone());
        }
        progress.subscribing = None;
        progress.backoff.connected();
        if let Some(member) = &self.member {
            let filters = self.filters.all().iter().map(|filter| self.named(filter.as_str())).collect();
            member.remember(Some(Subscribed { filters, only: progress.only }));
        }
        debug!(address = self.address, "A reader has its connection to MQTT.");
        if let Some(opening) = progress.opening.take() {
            // Whoever gave up has dropped the queue, too.
            let _ = opening.send(Ok(()));
        }
    }

    /// Queues a message for the reader; false once there is none.
    async fn queue(&mut self, mut arrived: Arrived, progress: &mut Progress) -> bool {
        progress.number += 1;
        let (number, ack) = (progress.number, arrived.ack.take());
        let filter = self.wanted(&arrived, progress);
        let wanted = filter.and_then(|at| Some((at, self.filters.all().get(at)?)));
        let message = wanted.map(|(_, filter)| arrived.into_message(filter.clone(), number));
        if message.is_none() && ack.is_none() {
            return true;
        }
        let bytes = message.as_ref().map_or(0, Message::size);
        let receipt = Receipt { filter, number, ack, connection: progress.connection };
        if self.shared.is_full() || self.messages.capacity() == 0 {
            // A session that is taken up may hold more than fits before the broker has answered the subscription, and
            // nobody makes room who still waits for that. A refusal is told by the next fetch then.
            if let Some(opening) = progress.opening.take() {
                let _ = opening.send(Ok(()));
            }
        }
        while self.shared.is_full() {
            // Made before the second look, so that no word of room is missed.
            let room = self.shared.room.notified();
            if !self.shared.is_full() {
                break;
            }
            tokio::select! {
                () = room => {}
                () = self.messages.closed() => return false,
            }
        }
        self.shared.held.fetch_add(bytes, Ordering::SeqCst);
        self.messages.send(Queued { message, bytes, receipt }).await.is_ok()
    }

    /// The filter that a delivery is for; `None` where the same message comes for another one as well, or where the
    /// session still has a subscription of earlier settings.
    fn wanted(&self, arrived: &Arrived, progress: &mut Progress) -> Option<usize> {
        let topic = std::str::from_utf8(&arrived.topic).unwrap_or_default();
        let Some(at) = self.filters.of(topic) else {
            progress.strangers += 1;
            if progress.strangers == 1 {
                warn!(
                    address = self.address,
                    topic,
                    "The MQTT session of a reader still has subscriptions of earlier settings; what comes for them alone \
                     is left out."
                );
            }
            return None;
        };
        let told = arrived.properties.as_ref().map(|told| &*told.identifiers).unwrap_or_default();
        if !progress.identified || told.is_empty() {
            return Some(at);
        }
        let own = identifier(self.filters.all().get(at)?.as_str());
        told.iter().any(|told| u32::try_from(*told) == Ok(own)).then_some(at)
    }

    /// What to do about a connection that is lost: how long to wait, or `None` where there never was one.
    fn failed(&mut self, failure: &Failure, progress: &mut Progress) -> Option<Duration> {
        {
            let mut current = self.shared.connection.lock().unwrap_or_else(PoisonError::into_inner);
            *current += 1;
            progress.connection = *current;
            self.link.reset();
        }
        progress.subscribing = None;
        let error = failure.at(&self.address);
        if let Some(opening) = progress.opening.take() {
            let _ = opening.send(Err(error));
            return None;
        }
        self.losses.failed(failure);
        debug!(%error, "A reader has no connection to MQTT; that is tried until it succeeds.");
        // A reader that does not ask is told of the first failure that it has not seen.
        let _ = self.errors.try_send(error);
        Some(progress.backoff.wait())
    }

    /// Ends the connection. A durable reader's session stays, for the next with its number; where others read for the
    /// group, new messages are theirs from now on.
    async fn leave(mut self) {
        let goodbye = async {
            if let Some(member) = self.member.as_ref().filter(|member| member.has_others()) {
                member.remember(None);
                let filters = self.filters.all().iter().map(|filter| self.named(filter.as_str()));
                self.shared.client.unsubscribe(filters.collect());
                while !matches!(self.link.poll().await, Ok(Event::Unsubscribed) | Err(_)) {}
            }
            self.shared.client.disconnect();
            while self.link.poll().await.is_ok() {}
        };
        let _ = timeout(GOODBYE, goodbye).await;
    }
}
