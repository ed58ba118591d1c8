//! A reader: what it was handed by the broker, what it has handed on, and what of that is acknowledged.
//!
//! It numbers its messages, and goes on numbering when its connection was lost and made again. The broker keeps what is
//! not acknowledged, and hands it out again on the new connection. It stops when as much as the prefetch is on its way.

use std::{collections::VecDeque, sync::Arc};

use futures_util::{FutureExt, StreamExt, future::BoxFuture};
use lapin::{message::Delivery, options::BasicAckOptions, types::DeliveryTag};
use sluice_broker::{BatchLimit, Consumer, DriverError, ErrorKind};
use sluice_message::{Message, Offset, Partition, Place, Position};
use tokio::{
    sync::watch,
    time::{Instant, sleep_until, timeout},
};
use tracing::warn;

use crate::{
    connect::{Live, short},
    error::{closed, failed},
    link::{Link, State, Waits},
    pattern, record,
    session::{Plan, Session, Source},
};

/// RabbitMQ's brokers have no partitions.
const PARTITION: Partition = Partition(0);

/// A message that the broker has handed out and that is not acknowledged.
struct Unsettled {
    /// Which of the wanted keys it came by; `None` for one that is no longer wanted.
    key: Option<usize>,
    number: u64,
    tag: DeliveryTag,
}

/// See the module.
pub(crate) struct Reader {
    plan: Plan,
    link: Arc<Link>,
    /// How many readers of this driver are about to give back what they hold.
    leaving: watch::Sender<usize>,
    state: watch::Receiver<State>,
    session: Option<Session>,
    /// Why the session is of no use any more, once what came before has been handed out.
    trouble: Option<DriverError>,
    /// When a session may be opened again, and how long to wait after the next failure.
    again: (Instant, Waits),
    next: u64,
    unsettled: VecDeque<Unsettled>,
    /// Of a reader without a group: the last that was handed on, and how many are to be acknowledged with it.
    handed_on: (DeliveryTag, usize),
    /// Did not fit into the last batch.
    ahead: Option<Message>,
    warned: bool,
}

impl Reader {
    /// A reader whose queue is there and bound.
    pub(crate) async fn open(
        plan: Plan,
        link: Arc<Link>,
        leaving: watch::Sender<usize>,
    ) -> Result<Self, DriverError> {
        let live = link.live().await?;
        // A reader that was dropped a moment ago may hold the queue that this one wants.
        let mut others = leaving.subscribe();
        if timeout(plan.time, others.wait_for(|leaving| *leaving == 0)).await.is_err() {
            warn!(address = plan.address, "A reader has not given back its messages in time.");
        }
        let session = plan.open(live).await?;
        let state = link.watch();
        Ok(Self {
            plan,
            link,
            leaving,
            state,
            session: Some(session),
            trouble: None,
            again: (Instant::now(), Waits::default()),
            next: 0,
            unsettled: VecDeque::new(),
            handed_on: (0, 0),
            ahead: None,
            warned: false,
        })
    }

    async fn read(&mut self, batch: &mut Vec<Message>, limit: BatchLimit) -> Result<(), DriverError> {
        if let Some(trouble) = self.trouble.take() {
            self.lose();
            return Err(trouble);
        }
        if self.session.is_none() {
            self.open_again().await?;
        }
        self.release();
        let mut room = Room { messages: limit.messages, bytes: limit.bytes, is_empty: true };
        if let Some(ahead) = self.ahead.take() {
            self.hand_on(ahead, batch, &mut room);
        }
        while room.messages > 0 && self.ahead.is_none() {
            let Some(session) = &mut self.session else { break };
            let delivered = if room.is_empty {
                session.consumer.next().await
            } else {
                let Some(delivered) = session.consumer.next().now_or_never() else { break };
                delivered
            };
            match delivered {
                Some(Ok(delivery)) => {
                    if let Some(message) = self.take(delivery) {
                        self.hand_on(message, batch, &mut room);
                    }
                }
                ended => {
                    let trouble = self.why(ended.and_then(Result::err));
                    if room.is_empty {
                        self.lose();
                        return Err(trouble);
                    }
                    self.trouble = Some(trouble);
                    break;
                }
            }
        }
        Ok(())
    }

    /// Why there are no more deliveries.
    fn why(&self, error: Option<lapin::Error>) -> DriverError {
        let address = &self.plan.address;
        let doing = "Reading";
        match error {
            _ if self.link.is_closed() => closed(),
            Some(error) => failed(doing, address, &error),
            None if self.session.as_ref().is_some_and(|session| session.live.works()) => {
                let text = format!("The queue that was read at RabbitMQ {address} was deleted.");
                DriverError::new(ErrorKind::NoTopic, text)
            }
            None => {
                let text = format!("Reading failed at RabbitMQ {address}: the connection was lost.");
                DriverError::new(ErrorKind::Unreachable, text)
            }
        }
    }

    /// Numbers a delivery. `None` for one that nobody wants any more.
    fn take(&mut self, delivery: Delivery) -> Option<Message> {
        let (tag, number) = (delivery.delivery_tag, self.next);
        self.next += 1;
        let key = self.key_of(&delivery);
        let is_grouped = !matches!(self.plan.source, Source::Own);
        match key {
            Some(key) => {
                if is_grouped {
                    self.unsettled.push_back(Unsettled { key: Some(key), number, tag });
                } else {
                    self.handed_on = (tag, self.handed_on.1);
                }
                let topic = self.plan.keys.get(key)?.clone();
                let place = Place { topic, partition: PARTITION, offset: Offset(number) };
                Some(record::message(delivery, place))
            }
            None => {
                if !self.warned {
                    self.warned = true;
                    warn!(
                        routing_key = delivery.routing_key.as_str(),
                        address = self.plan.address,
                        "A durable queue holds messages with routing keys that are no longer read; they are left out."
                    );
                }
                self.unsettled.push_back(Unsettled { key: None, number, tag });
                self.settle(|_| false);
                None
            }
        }
    }

    /// Which of the wanted keys a message came by. `None` for one that a durable queue got by a key that was wanted
    /// once: what is bound stays bound.
    fn key_of(&self, delivery: &Delivery) -> Option<usize> {
        let kind = self.plan.settings.exchange.as_ref().map_or("topic", |exchange| &*exchange.kind);
        let routing_key = delivery.routing_key.as_str();
        let mut keys = self.plan.keys.iter();
        let (key, tells_apart) = match kind {
            "topic" => (keys.position(|key| pattern::matches(key.as_str(), routing_key)), true),
            "direct" => (keys.position(|key| key.as_str() == routing_key), true),
            // Here a binding key says little or nothing about which messages come.
            _ => (keys.position(|key| key.as_str() == routing_key), false),
        };
        let may_be_old = tells_apart && matches!(self.plan.source, Source::Group { .. });
        if may_be_old && !record::came_by_copy(delivery) { key } else { Some(key.unwrap_or_default()) }
    }

    fn hand_on(&mut self, message: Message, batch: &mut Vec<Message>, room: &mut Room) {
        let size = message.size();
        if size > room.bytes && !room.is_empty {
            self.ahead = Some(message);
            return;
        }
        *room = Room {
            messages: room.messages.saturating_sub(1),
            bytes: room.bytes.saturating_sub(size),
            is_empty: false,
        };
        batch.push(message);
        self.handed_on.1 += 1;
    }

    /// Acknowledges what a reader without a group has handed on, a good part of the prefetch at a time.
    fn release(&mut self) {
        let enough = usize::from(self.plan.settings.prefetch).div_ceil(4);
        let (tag, count) = self.handed_on;
        if matches!(self.plan.source, Source::Own) && count >= enough {
            self.handed_on.1 = 0;
            self.acknowledge(tag);
        }
    }

    /// Takes what is settled from the front of what is not; the tag of the last of them. What nobody wants is settled.
    fn settled(&mut self, is_settled: impl Fn(&Unsettled) -> bool) -> Option<DeliveryTag> {
        let mut last = None;
        while let Some(first) =
            self.unsettled.front().filter(|first| first.key.is_none() || is_settled(first))
        {
            last = Some(first.tag);
            self.unsettled.pop_front();
        }
        last
    }

    fn settle(&mut self, is_settled: impl Fn(&Unsettled) -> bool) {
        if let Some(tag) = self.settled(is_settled) {
            self.acknowledge(tag);
        }
    }

    /// Acknowledges all up to this tag without waiting for it to be sent: a failure shows in the deliveries.
    fn acknowledge(&self, tag: DeliveryTag) {
        if let Some(session) = &self.session {
            let _ = session.channel.basic_ack(tag, BasicAckOptions { multiple: true }).now_or_never();
        }
    }

    async fn settle_all(&mut self, position: &Position) -> Result<(), DriverError> {
        if matches!(self.plan.source, Source::Own) {
            let text = "A reader without a group has nothing to commit.";
            return Err(DriverError::new(ErrorKind::Unsupported, text));
        }
        let nexts: Vec<_> =
            self.plan.keys.iter().map(|key| position.next(key, PARTITION).map_or(0, |next| next.0)).collect();
        let covered = |one: &Unsettled| one.key.is_some_and(|key| nexts[key] > one.number);
        let Some(tag) = self.settled(covered) else { return Ok(()) };
        let Some(session) = &self.session else { return Ok(()) };
        let acknowledged = session.channel.basic_ack(tag, BasicAckOptions { multiple: true }).await;
        acknowledged.map_err(|error| failed("Committing", &self.plan.address, &error))
    }

    async fn open_again(&mut self) -> Result<(), DriverError> {
        let live = self.live().await?;
        sleep_until(self.again.0).await;
        match self.plan.open(live).await {
            Ok(session) => {
                self.again = (Instant::now(), Waits::default());
                self.session = Some(session);
                Ok(())
            }
            Err(error) => {
                self.again.0 = Instant::now() + self.again.1.next();
                Err(error)
            }
        }
    }

    /// A connection that works, or why the next try failed.
    async fn live(&mut self) -> Result<Arc<Live>, DriverError> {
        let mut is_news = self.state.has_changed().map_err(|_| closed())?;
        loop {
            match self.state.borrow_and_update().clone() {
                State::Live(live) if live.works() => return Ok(live),
                State::Away(outage) if is_news => return Err(outage.error().clone()),
                State::Closed => return Err(closed()),
                State::Starting | State::Live(_) | State::Away(_) => {}
            }
            self.state.changed().await.map_err(|_| closed())?;
            is_news = true;
        }
    }

    /// Forgets a session. What it held comes again.
    fn lose(&mut self) {
        self.unsettled.clear();
        (self.ahead, self.handed_on, self.trouble) = (None, (0, 0), None);
        let Some(session) = self.session.take() else { return };
        let (leaving, time) = (self.leaving.clone(), self.plan.time);
        leaving.send_modify(|leaving| *leaving += 1);
        self.link.spawn(async move {
            if session.live.works() {
                // A channel that the broker does not answer for goes with the connection.
                let _ = timeout(time, session.channel.close(200, short("OK"))).await;
            }
            leaving.send_modify(|leaving| *leaving -= 1);
        });
    }
}

/// What a batch may still take.
struct Room {
    messages: usize,
    bytes: usize,
    is_empty: bool,
}

impl Consumer for Reader {
    fn fetch<'a>(
        &'a mut self,
        batch: &'a mut Vec<Message>,
        limit: BatchLimit,
    ) -> BoxFuture<'a, Result<(), DriverError>> {
        Box::pin(self.read(batch, limit))
    }

    fn commit<'a>(&'a mut self, position: &'a Position) -> BoxFuture<'a, Result<(), DriverError>> {
        Box::pin(self.settle_all(position))
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.lose();
    }
}
