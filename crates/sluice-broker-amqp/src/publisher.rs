//! Publishing: one connection, one link for each address, many messages under way on each.
//!
//! A message is sent unsettled and its publisher waits for the broker's answer. The connection is made when it is
//! needed and made again when it was lost. Addresses that the broker refuses stay away from it: see `grants`.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use fe2o3_amqp::{Sender, link::delivery::Sendable, types::messaging::Outcome};
use sluice_broker::{DriverError, ErrorKind, Receipt};
use sluice_message::{Message, Topic};
use tokio::{
    sync::{Mutex as AsyncMutex, Semaphore},
    time::{sleep_until, timeout},
};

use crate::{
    address::Address,
    broker::{Broker, Pause, unique},
    connection::Connection,
    error::{Cause, closed, rejection},
    grants::Grants,
    message,
};

/// Publishes for one driver.
pub(crate) struct Publisher {
    broker: Arc<Broker>,
    room_for_messages: Semaphore,
    room_for_kib: Semaphore,
    is_closed: AtomicBool,
    grants: Grants,
    slot: AsyncMutex<Slot>,
}

/// The connection there is, or when to try for one.
#[derive(Default)]
struct Slot {
    live: Option<Arc<Live>>,
    pause: Pause,
    failed: Option<DriverError>,
}

/// A connection with its links.
struct Live {
    connection: AsyncMutex<Connection>,
    links: Mutex<Links>,
}

#[derive(Default)]
struct Links {
    by_topic: HashMap<Topic, (Arc<Link>, u64)>,
    uses: u64,
}

/// A sender takes one message at a time and is free again as soon as it is on its way, so that a lock keeps the order
/// of publishers without keeping them from each other's round trips.
type Link = AsyncMutex<Sender>;

impl Publisher {
    pub(crate) fn new(broker: Arc<Broker>) -> Self {
        let options = &broker.options;
        Self {
            room_for_messages: Semaphore::new(options.queue_messages as usize),
            room_for_kib: Semaphore::new(options.queue_kib as usize),
            is_closed: AtomicBool::new(false),
            grants: Grants::new(broker.clone()),
            slot: AsyncMutex::default(),
            broker,
        }
    }

    /// Resolves once the broker has accepted the message.
    pub(crate) async fn publish(&self, topic: &Topic, message: Message) -> Result<Receipt, DriverError> {
        let options = &self.broker.options;
        let kib = u32::try_from(message.size().div_ceil(1024)).unwrap_or(u32::MAX);
        if kib > options.queue_kib {
            let text = format!(
                "The message has {} bytes; at most {} are held for the broker at a time.",
                message.size(),
                u64::from(options.queue_kib) * 1024
            );
            return Err(DriverError::new(ErrorKind::TooLarge, text));
        }
        let room = (self.room_for_messages.try_acquire(), self.room_for_kib.try_acquire_many(kib));
        let (Ok(_message), Ok(_kib)) = room else {
            let text = "More messages than may wait for the broker's answer are under way.";
            return Err(DriverError::new(ErrorKind::Overloaded, text));
        };
        // Looked at with the room in hand: closing waits for all of it.
        if self.is_closed.load(Ordering::SeqCst) {
            return Err(closed());
        }
        let doing = || format!("Publishing to '{topic}'");
        match timeout(options.publish_timeout, self.send(topic, &message)).await {
            Ok(sent) => sent.map(|()| Receipt { place: None }),
            Err(_) => Err(self.broker.timed_out(doing(), options.publish_timeout)),
        }
    }

    /// Waits for what is under way, then closes. Later calls of `publish` fail.
    pub(crate) async fn close(&self) {
        self.is_closed.store(true, Ordering::SeqCst);
        // An error would say that the semaphore is closed, which it never is.
        let _all = self.room_for_messages.acquire_many(self.broker.options.queue_messages).await;
        if let Some(live) = self.slot.lock().await.live.take() {
            live.links.lock().unwrap_or_else(PoisonError::into_inner).by_topic.clear();
            live.connection.lock().await.close().await;
        }
    }

    async fn send(&self, topic: &Topic, message: &Message) -> Result<(), DriverError> {
        let doing = || format!("Publishing to '{topic}'");
        let mut is_second = false;
        loop {
            let live = self.live().await?;
            let link = self.link(&live, topic).await?;
            let encoded = Sendable::builder().message(message::encode(topic, message)).build();
            let sent = link.lock().await.send_batchable(encoded).await;
            let error = match sent {
                Ok(answer) => match answer.await {
                    Ok(outcome) => {
                        return judge(&outcome).map_err(|cause| self.broker.error(doing(), &cause));
                    }
                    Err(error) => {
                        self.forget(&live, topic, &link).await;
                        return Err(self.broker.error(doing(), &Cause::from(&error)));
                    }
                },
                Err(error) => error,
            };
            let cause = Cause::from(&error);
            if cause.kind == ErrorKind::TooLarge {
                return Err(self.broker.error(doing(), &cause));
            }
            // The link was gone before the message was on it; a new one may take it.
            self.forget(&live, topic, &link).await;
            if is_second {
                return Err(self.broker.error(doing(), &cause));
            }
            is_second = true;
        }
    }

    /// The connection there is, or one that is made now. Waits out the pause after a failure to reach the broker;
    /// a refusal is told again without asking again.
    async fn live(&self) -> Result<Arc<Live>, DriverError> {
        let mut slot = self.slot.lock().await;
        if let Some(live) = &slot.live {
            let is_closed = live.connection.try_lock().is_ok_and(|connection| connection.is_closed());
            if !is_closed {
                return Ok(live.clone());
            }
            slot.live = None;
        }
        loop {
            if let Some(until) = slot.pause.until().filter(|until| *until > Instant::now()) {
                match &slot.failed {
                    Some(error) if error.kind != ErrorKind::Unreachable => return Err(error.clone()),
                    _ => sleep_until(until.into()).await,
                }
            }
            match Connection::open(&self.broker, &format!("sluice-{}", unique())).await {
                Ok(connection) => {
                    let live =
                        Arc::new(Live { connection: AsyncMutex::new(connection), links: Mutex::default() });
                    *slot = Slot { live: Some(live.clone()), ..Slot::default() };
                    return Ok(live);
                }
                Err(error) => {
                    slot.pause.lengthen(&self.broker.options);
                    slot.failed = Some(error);
                }
            }
        }
    }

    /// The link for a topic, attached where there is none and the broker grants it.
    async fn link(&self, live: &Live, topic: &Topic) -> Result<Arc<Link>, DriverError> {
        if let Some(link) = live.known(topic) {
            return Ok(link);
        }
        self.grants.granted(topic).await?;
        let mut connection = live.connection.lock().await;
        // Somebody else may have attached it meanwhile.
        if let Some(link) = live.known(topic) {
            return Ok(link);
        }
        let address = Address::parse(topic.as_str());
        let attached = connection.attach_sender(self.broker.settings.flavour, address).await;
        let link = match attached {
            Ok(sender) => Arc::new(AsyncMutex::new(sender)),
            Err(cause) => {
                drop(connection);
                if cause.kind != ErrorKind::Unreachable {
                    self.grants.withdraw(topic);
                }
                if cause.disconnected {
                    self.disconnect(live).await;
                }
                return Err(self.broker.error(format!("Opening '{topic}' for publishing"), &cause));
            }
        };
        live.keep(topic, &link, self.broker.options.links);
        Ok(link)
    }

    /// Gives up a link that has failed, and the connection where that has ended.
    async fn forget(&self, live: &Arc<Live>, topic: &Topic, link: &Arc<Link>) {
        {
            let mut links = live.links.lock().unwrap_or_else(PoisonError::into_inner);
            if links.by_topic.get(topic).is_some_and(|(known, _)| Arc::ptr_eq(known, link)) {
                links.by_topic.remove(topic);
            }
        }
        if live.connection.lock().await.is_closed() {
            self.disconnect(live).await;
        } else {
            self.grants.withdraw(topic);
        }
    }

    async fn disconnect(&self, live: &Live) {
        let mut slot = self.slot.lock().await;
        slot.live.take_if(|current| std::ptr::eq(&raw const **current, live));
    }
}

fn judge(outcome: &Outcome) -> Result<(), Cause> {
    match outcome {
        Outcome::Accepted(_) => Ok(()),
        Outcome::Rejected(rejected) => Err(rejection(rejected.error.as_ref())),
        Outcome::Released(_) | Outcome::Modified(_) => {
            Err(Cause::new(ErrorKind::Other, "the broker gave the message back without taking it"))
        }
    }
}

impl Live {
    fn known(&self, topic: &Topic) -> Option<Arc<Link>> {
        let mut links = self.links.lock().unwrap_or_else(PoisonError::into_inner);
        links.uses += 1;
        let now = links.uses;
        let (link, used) = links.by_topic.get_mut(topic)?;
        *used = now;
        Some(link.clone())
    }

    /// Keeps a link, in place of the one used the longest ago where there are enough. A link that is dropped closes
    /// once nobody sends on it; answers to what it has sent still come.
    fn keep(&self, topic: &Topic, link: &Arc<Link>, most: usize) {
        let mut links = self.links.lock().unwrap_or_else(PoisonError::into_inner);
        if links.by_topic.len() >= most.max(1) {
            let oldest = links.by_topic.iter().min_by_key(|(_, (_, used))| *used);
            if let Some(oldest) = oldest.map(|(topic, _)| topic.clone()) {
                links.by_topic.remove(&oldest);
            }
        }
        let now = links.uses;
        links.by_topic.insert(topic.clone(), (link.clone(), now));
    }
}
