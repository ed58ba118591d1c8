//! Reading: a connection with a link for each topic, and credit as back-pressure.
//!
//! The reader numbers what it hands out, rising for as long as it lives. What a group's reader hands out stays
//! unacknowledged until it is committed, and counts against the credit: a reader that is not committed to gets no
//! more. Without a group a message is acknowledged with the call after the one that handed it out.

use std::{
    collections::VecDeque,
    future::poll_fn,
    mem,
    pin::pin,
    sync::Arc,
    task::{Context, Poll},
    time::Instant,
};

use fe2o3_amqp::{
    Delivery, Receiver,
    link::{RecvError, delivery::DeliveryInfo},
    types::{
        definitions::{AmqpError, Error as Condition},
        messaging::Body,
        primitives::Value,
    },
};
use futures_util::future::BoxFuture;
use sluice_broker::{BatchLimit, Consumer, DriverError, ErrorKind};
use sluice_message::{Message, Offset, Partition, Place, Position, Topic};
use tokio::{
    sync::{OwnedRwLockReadGuard, RwLock},
    time::sleep_until,
};
use tracing::warn;

use crate::{
    address::Attachment,
    broker::{Broker, Pause},
    connection::{Connection, abandon},
    credit::Credit,
    error::Cause,
    message,
};

const PARTITION: Partition = Partition(0);

type Received = Result<Delivery<Body<Value>>, RecvError>;

/// What a reader reads, and how it comes back to it.
pub(crate) struct Plan {
    pub(crate) broker: Arc<Broker>,
    pub(crate) container: String,
    pub(crate) topics: Vec<(Topic, Attachment)>,
    pub(crate) is_group: bool,
    /// Held for reading by whoever still takes leave of the broker.
    pub(crate) farewells: Arc<RwLock<()>>,
}

/// A reader of one or more topics.
pub(crate) struct Reader {
    plan: Arc<Plan>,
    live: Option<Live>,
    /// A connection in the making, kept over calls of `fetch` that are given up.
    opening: Option<BoxFuture<'static, Result<Live, DriverError>>>,
    pause: Pause,
    /// The number of the next message of each topic.
    next: Vec<u64>,
    /// A message that did not fit into the batch before.
    ahead: Option<Message>,
    /// What the link ended with while messages were in hand, which go first.
    failed: Option<Cause>,
    /// Messages that could not be decoded so far.
    undecodable: u64,
}

/// A connection with the links of all topics.
struct Live {
    connection: Option<Connection>,
    links: Vec<Link>,
    /// The link to look at first, so that each has its turn.
    turn: usize,
    plan: Arc<Plan>,
}

/// One topic.
struct Link {
    receiver: Receiver,
    credit: Credit,
    /// What was received and not acknowledged, oldest first.
    held: VecDeque<Held>,
}

struct Held {
    offset: Offset,
    delivery: DeliveryInfo,
    size: usize,
}

impl Reader {
    /// Connects and attaches to every topic.
    pub(crate) async fn open(plan: Plan) -> Result<Self, DriverError> {
        let plan = Arc::new(plan);
        let live = Live::open(plan.clone()).await?;
        let next = vec![0; plan.topics.len()];
        Ok(Self {
            plan,
            live: Some(live),
            opening: None,
            pause: Pause::default(),
            next,
            ahead: None,
            failed: None,
            undecodable: 0,
        })
    }

    /// The connection, made anew where it was lost. Each failed try is an error; the pause after it is waited out by
    /// the call that comes next.
    async fn live(&mut self) -> Result<&mut Live, DriverError> {
        if self.live.is_none() {
            if let Some(until) = self.pause.until().filter(|until| *until > Instant::now()) {
                sleep_until(until.into()).await;
            }
            let opening = self.opening.get_or_insert_with(|| Box::pin(Live::open(self.plan.clone())));
            let opened = opening.await;
            self.opening = None;
            match opened {
                Ok(live) => {
                    self.pause = Pause::default();
                    self.live = Some(live);
                }
                Err(error) => {
                    self.pause.lengthen(&self.plan.broker.options);
                    return Err(error);
                }
            }
        }
        self.live.as_mut().ok_or_else(crate::error::closed)
    }

    async fn fetch_some(&mut self, batch: &mut Vec<Message>, limit: BatchLimit) -> Result<(), DriverError> {
        if let Some(cause) = self.failed.take() {
            return Err(self.lost(&cause));
        }
        let is_group = self.plan.is_group;
        let prepared = self.live().await?.prepare(is_group).await;
        if let Err(cause) = prepared {
            return Err(self.lost(&cause));
        }
        // From here on nothing is waited for once a message is in hand, so that a dropped call loses none.
        let mut room = Room { limit, messages: 0, bytes: 0 };
        if let Some(message) = self.ahead.take() {
            room.take(&message);
            batch.push(message);
        }
        while room.is_left() {
            let Some(live) = &mut self.live else { break };
            let received = if room.messages == 0 {
                poll_fn(|context| live.poll(context)).await
            } else {
                match poll_fn(|context| Poll::Ready(live.poll(context))).await {
                    Poll::Ready(received) => received,
                    Poll::Pending => break,
                }
            };
            let (at, received) = received;
            let message = match received {
                Ok(delivery) => self.number(at, delivery),
                Err(RecvError::MessageDecode(error)) => {
                    self.reject(at, error.info).await;
                    continue;
                }
                Err(error) if room.messages > 0 => {
                    self.failed = Some(Cause::from(&error));
                    break;
                }
                Err(error) => return Err(self.lost(&Cause::from(&error))),
            };
            if room.has_no_place_for(&message) {
                self.ahead = Some(message);
                break;
            }
            room.take(&message);
            batch.push(message);
        }
        Ok(())
    }

    /// Gives the message its place, and notes that it is to be acknowledged.
    fn number(&mut self, at: usize, delivery: Delivery<Body<Value>>) -> Message {
        let (info, body) = delivery.into_parts();
        let offset = Offset(self.next[at]);
        self.next[at] += 1;
        let topic = self.plan.topics[at].0.clone();
        let message = message::decode(body).place(Place { topic, partition: PARTITION, offset }).build();
        if let Some(live) = &mut self.live {
            let link = &mut live.links[at];
            link.credit.note(message.size());
            link.held.push_back(Held { offset, delivery: info, size: message.size() });
        }
        message
    }

    /// Tells the broker that nobody will ever read this, so that it does not come again and again.
    async fn reject(&mut self, at: usize, delivery: DeliveryInfo) {
        self.undecodable += 1;
        let topic = &self.plan.topics[at].0;
        if self.undecodable.is_power_of_two() {
            warn!(broker = %self.plan.broker, %topic, so_far = self.undecodable,
                "Messages that are no AMQP 1.0 were rejected.");
        }
        let Some(live) = &self.live else { return };
        let text = "This message cannot be decoded.".to_owned();
        let condition = Condition::new(AmqpError::DecodeError, Some(text), None);
        // Where this fails the connection has ended, which the next call finds out.
        let _ = live.links[at].receiver.reject(delivery, condition).await;
    }

    /// Gives up the connection.
    fn lost(&mut self, cause: &Cause) -> DriverError {
        self.live = None;
        self.failed = None;
        self.pause.lengthen(&self.plan.broker.options);
        let topics: Vec<&str> = self.plan.topics.iter().map(|(topic, _)| topic.as_str()).collect();
        let error = self.plan.broker.error(format!("Reading '{}'", topics.join("', '")), cause);
        if cause.disconnected {
            self.plan.broker.missed(&error);
        }
        // Whatever ended it, the reader comes back.
        let kind = if error.retryable() { error.kind } else { ErrorKind::Other };
        DriverError { kind, ..error }
    }
}

impl Consumer for Reader {
    fn fetch<'a>(
        &'a mut self,
        batch: &'a mut Vec<Message>,
        limit: BatchLimit,
    ) -> BoxFuture<'a, Result<(), DriverError>> {
        Box::pin(self.fetch_some(batch, limit))
    }

    fn commit<'a>(&'a mut self, position: &'a Position) -> BoxFuture<'a, Result<(), DriverError>> {
        Box::pin(async move {
            if !self.plan.is_group {
                let text = "Only a reader of a group commits.";
                return Err(DriverError::new(ErrorKind::Unsupported, text));
            }
            let Some(live) = &mut self.live else { return Ok(()) };
            for (link, (topic, _)) in live.links.iter_mut().zip(&self.plan.topics) {
                let Some(next) = position.next(topic, PARTITION) else { continue };
                // What was received and not handed out is nobody's to commit.
                let ahead = self.ahead.as_ref().and_then(Message::place);
                let next = match ahead.filter(|place| place.topic == *topic) {
                    Some(place) => next.min(place.offset),
                    None => next,
                };
                if let Err(cause) = link.accept_before(next).await {
                    return Err(self.lost(&cause));
                }
            }
            Ok(())
        })
    }
}

impl Live {
    async fn open(plan: Arc<Plan>) -> Result<Self, DriverError> {
        let broker = &plan.broker;
        if let Some(semp) = &broker.settings.semp {
            for queue in plan.topics.iter().filter_map(|(_, attachment)| attachment.queue.as_ref()) {
                semp.provide(queue).await?;
            }
        }
        let connection = Connection::open(broker, &plan.container).await?;
        let mut live = Self { connection: Some(connection), links: Vec::new(), turn: 0, plan: plan.clone() };
        let time = broker.options.answer_timeout;
        for (topic, attachment) in &plan.topics {
            let doing = || format!("Opening '{topic}' for reading");
            let receiver = tokio::time::timeout(time, live.attach(attachment)).await;
            let receiver = receiver.map_err(|_| broker.timed_out(doing(), time))?;
            let receiver = receiver.map_err(|cause| broker.error(doing(), &cause))?;
            let settings = &broker.settings;
            let waits = settings.flavour.miscounts_credit();
            let credit = Credit::new(settings.limits.credit, broker.options.read_ahead_kib, waits);
            let link = Link { receiver, credit, held: VecDeque::new() };
            live.links.push(link);
        }
        // The place is fixed with the attaching; credit makes the broker send.
        live.prepare(plan.is_group).await.map_err(|cause| broker.error("Reading", &cause))?;
        Ok(live)
    }

    async fn attach(&mut self, attachment: &Attachment) -> Result<Receiver, Cause> {
        let Some(connection) = &mut self.connection else {
            return Err(Cause::lost("the connection was lost"));
        };
        connection.attach_receiver(attachment.link.clone(), attachment.source.clone()).await
    }

    /// Acknowledges what was handed out, without a group, and asks for more where there is room.
    async fn prepare(&mut self, is_group: bool) -> Result<(), Cause> {
        for link in &mut self.links {
            if !is_group && let Some(last) = link.held.back() {
                let next = last.offset.next();
                link.accept_before(next).await?;
            }
            link.ask().await?;
        }
        Ok(())
    }

    /// The next delivery of any link.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<(usize, Received)> {
        let count = self.links.len();
        for step in 0..count {
            let at = (self.turn + step) % count;
            let polled = pin!(self.links[at].receiver.recv()).poll(context);
            if let Poll::Ready(received) = polled {
                self.turn = (at + 1) % count;
                return Poll::Ready((at, received));
            }
        }
        Poll::Pending
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        let receivers = mem::take(&mut self.links).into_iter().map(|link| link.receiver).collect();
        let Some(mut connection) = self.connection.take() else { return abandon(receivers) };
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            drop(connection);
            return abandon(receivers);
        };
        let farewell: Option<OwnedRwLockReadGuard<()>> = self.plan.farewells.clone().try_read_owned().ok();
        runtime.spawn(async move {
            connection.close_after(receivers).await;
            drop(farewell);
        });
    }
}

impl Link {
    /// Acknowledges everything before this number.
    async fn accept_before(&mut self, next: Offset) -> Result<(), Cause> {
        let count = self.held.partition_point(|held| held.offset < next);
        if count == 0 {
            return Ok(());
        }
        let deliveries: Vec<DeliveryInfo> =
            self.held.range(..count).map(|held| held.delivery.clone()).collect();
        let accepted = self.receiver.accept_all(deliveries).await;
        accepted.map_err(|_| Cause::lost("the connection was lost"))?;
        self.held.drain(..count);
        Ok(())
    }

    /// Gives the broker leave to send more, where less than half of what may come is under way.
    async fn ask(&mut self) -> Result<(), Cause> {
        let held_bytes = self.held.iter().map(|held| held.size).sum();
        let wanted = self.credit.to_ask_for(self.held.len(), held_bytes, self.receiver.credit());
        let Some(wanted) = wanted else { return Ok(()) };
        let asked = self.receiver.set_credit(wanted).await;
        asked.map_err(|_| Cause::lost("the connection was lost"))
    }
}

/// What of a batch is taken.
struct Room {
    limit: BatchLimit,
    messages: usize,
    bytes: usize,
}

impl Room {
    const fn is_left(&self) -> bool {
        self.messages < self.limit.messages && self.bytes < self.limit.bytes
    }

    /// A message larger than the limit comes alone.
    fn has_no_place_for(&self, message: &Message) -> bool {
        self.messages > 0 && self.bytes + message.size() > self.limit.bytes
    }

    fn take(&mut self, message: &Message) {
        self.messages += 1;
        self.bytes += message.size();
    }
}
