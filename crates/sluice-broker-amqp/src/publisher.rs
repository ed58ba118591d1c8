//! Publishing: one connection, one link for each address, many messages under way on each.
//!
//! A message is sent unsettled and its publisher waits for the broker's answer. The connection is kept by `keeper`;
//! what was under way when it broke goes by `apart`. Addresses that the broker refuses stay away from the connection:
//! see `grants`.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use sluice_broker::{DriverError, ErrorKind, Receipt};
use sluice_message::{Message, Topic};
use tokio::{sync::Semaphore, time::timeout};

use crate::{apart::Apart, broker::Broker, error::closed, grants::Grants, keeper::Keeper, outlet::Refusal};

/// Publishes for one driver.
pub(crate) struct Publisher {
    broker: Arc<Broker>,
    room_for_messages: Semaphore,
    room_for_kib: Semaphore,
    is_closed: AtomicBool,
    grants: Grants,
    keeper: Keeper,
    apart: Apart,
}

impl Publisher {
    pub(crate) fn new(broker: Arc<Broker>) -> Self {
        let options = &broker.options;
        Self {
            room_for_messages: Semaphore::new(options.queue_messages as usize),
            room_for_kib: Semaphore::new(options.queue_kib as usize),
            is_closed: AtomicBool::new(false),
            grants: Grants::new(broker.clone()),
            keeper: Keeper::new(broker.clone()),
            apart: Apart::new(broker.clone()),
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
        match timeout(options.publish_timeout, self.send(topic, &message)).await {
            Ok(sent) => sent.map(|()| Receipt { place: None }),
            Err(_) => {
                let doing = format!("Publishing to '{topic}'");
                Err(self.broker.timed_out(doing, options.publish_timeout))
            }
        }
    }

    /// Waits for what is under way, then closes. Later calls of `publish` fail.
    pub(crate) async fn close(&self) {
        self.is_closed.store(true, Ordering::SeqCst);
        // An error would say that the semaphore is closed, which it never is.
        let _all = self.room_for_messages.acquire_many(self.broker.options.queue_messages).await;
        self.keeper.close().await;
    }

    async fn send(&self, topic: &Topic, message: &Message) -> Result<(), DriverError> {
        let mut is_second = false;
        loop {
            let outlet = self.keeper.outlet().await?;
            let (cause, is_broken) = match outlet.send(&self.grants, topic, message).await {
                Ok(()) => return Ok(()),
                Err(Refusal::Final(error)) => return Err(error),
                Err(Refusal::Broken(cause)) => (cause, true),
                Err(Refusal::Unsent(cause)) => (cause, false),
            };
            if cause.disconnected {
                self.keeper.lost(&outlet, outlet.error(topic, &cause));
            }
            if is_broken && (cause.disconnected || !cause.is_of_address()) {
                let ways = (&self.keeper, &self.grants);
                // What seldom happens takes no room in each publish.
                return Box::pin(self.apart.send(ways, topic, message, cause)).await;
            }
            // A link that was gone before the message was on it: a new one may take it.
            if is_broken || is_second {
                return Err(outlet.error(topic, &cause));
            }
            is_second = true;
        }
    }
}
