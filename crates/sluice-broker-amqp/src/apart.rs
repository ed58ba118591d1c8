//! Messages that were under way when a connection broke, sent again apart from all others.
//!
//! Some brokers end a connection over one message and do not say which. So each is sent again on a connection that no
//! other message is on: whichever breaks that one too is known, harms no other, and is not sent for ever.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use sluice_broker::{DriverError, ErrorKind};
use sluice_message::{Message, Topic};
use tokio::sync::Mutex as AsyncMutex;

use crate::{
    broker::Broker,
    error::Cause,
    grants::Grants,
    keeper::Keeper,
    outlet::{Outlet, Refusal},
};

/// How many connections may break under one message; it was alone on all of them but the first.
const BREAKS: u32 = 3;

/// The way for one message at a time.
pub(crate) struct Apart {
    broker: Arc<Broker>,
    /// Locked by the message whose turn it is. Holds the connection from one to the next, as long as there is a next.
    outlet: AsyncMutex<Option<Outlet>>,
    waiting: AtomicUsize,
}

/// One more message that waits or has its turn, for as long as this lives. With the last one goes what is kept for the
/// next, however that one ended.
struct Waiting<'a, T> {
    count: &'a AtomicUsize,
    kept: &'a AsyncMutex<Option<T>>,
}

impl<'a, T> Waiting<'a, T> {
    fn enter(count: &'a AtomicUsize, kept: &'a AsyncMutex<Option<T>>) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self { count, kept }
    }
}

impl<T> Drop for Waiting<'_, T> {
    fn drop(&mut self) {
        // Where somebody has the lock it is one who came since, and whose end comes here too.
        if self.count.fetch_sub(1, Ordering::AcqRel) == 1
            && let Ok(mut kept) = self.kept.try_lock()
        {
            *kept = None;
        }
    }
}

impl Apart {
    pub(crate) fn new(broker: Arc<Broker>) -> Self {
        Self { broker, outlet: AsyncMutex::default(), waiting: AtomicUsize::new(0) }
    }

    /// Sends a message again that was under way when a connection broke for this cause.
    ///
    /// # Errors
    /// `Rejected` where every connection breaks under it while the broker is there for others.
    pub(crate) async fn send(
        &self,
        (keeper, grants): (&Keeper, &Grants),
        topic: &Topic,
        message: &Message,
        mut cause: Cause,
    ) -> Result<(), DriverError> {
        let _waiting = Waiting::enter(&self.waiting, &self.outlet);
        let mut turn = self.outlet.lock().await;
        for _ in 1..BREAKS {
            // Not before the broker is there again.
            keeper.outlet().await?;
            // Taken out meanwhile: who gives up in the middle leaves no connection with a message on it.
            let kept = turn.take().filter(|outlet| !outlet.ended().is_cancelled());
            let outlet = match kept {
                Some(outlet) => outlet,
                None => Outlet::open(&self.broker).await?,
            };
            let settled = match outlet.send(grants, topic, message).await {
                Ok(()) => Ok(()),
                Err(Refusal::Final(error)) => Err(error),
                Err(Refusal::Unsent(cause)) => return Err(outlet.error(topic, &cause)),
                Err(Refusal::Broken(broken))
                    if broken.is_of_address() || broken.kind == ErrorKind::TooLarge =>
                {
                    return Err(outlet.error(topic, &broken));
                }
                Err(Refusal::Broken(broken)) => {
                    cause = broken;
                    continue;
                }
            };
            // For the next one; the last one closes it.
            *turn = Some(outlet);
            return settled;
        }
        // A broker that is away breaks connections under any message.
        keeper.outlet().await?;
        Err(self.rejected(topic, message, &cause))
    }

    fn rejected(&self, topic: &Topic, message: &Message, cause: &Cause) -> DriverError {
        let text = format!(
            "The connection to {} broke each of {BREAKS} times that this message of {} bytes to '{topic}' was sent, at \
             last with no other on it: the broker does not take it, and ends the connection instead of saying so ({}). \
             It may be too large: maximumMessageSize refuses such messages beforehand.",
            self.broker,
            message.payload().len(),
            cause.text
        );
        DriverError::new(ErrorKind::Rejected, text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_for_the_next_goes_with_the_last_who_waits() {
        let (count, kept) = (AtomicUsize::new(0), AsyncMutex::new(Some("a connection")));
        let (one, other) = (Waiting::enter(&count, &kept), Waiting::enter(&count, &kept));
        drop(one);
        assert!(kept.try_lock().is_ok_and(|kept| kept.is_some()));
        drop(other);
        assert!(kept.try_lock().is_ok_and(|kept| kept.is_none()));
    }
}
