//! How much is under way to the broker, in messages and in bytes: the bound that makes a publisher fail as
//! overloaded rather than the gateway run out of memory.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use bytes::Bytes;
use sluice_broker::{DriverError, ErrorKind};
use tokio::sync::Notify;

/// The count, shared by all publishers of a driver.
#[derive(Debug)]
pub(crate) struct InFlight {
    messages: AtomicUsize,
    bytes: AtomicUsize,
    most_messages: usize,
    most_bytes: usize,
    settled: Notify,
}

/// One message's share; given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Share {
    of: Arc<InFlight>,
    bytes: usize,
}

/// A payload that keeps its share for as long as the library has it, which may be longer than its publisher waits.
struct Shared {
    payload: Bytes,
    _share: Share,
}

impl AsRef<[u8]> for Shared {
    fn as_ref(&self) -> &[u8] {
        &self.payload
    }
}

impl Share {
    /// The same bytes, under way until the last handle to them is gone.
    pub(crate) fn hold(self, payload: Bytes) -> Bytes {
        Bytes::from_owner(Shared { payload, _share: self })
    }
}

impl InFlight {
    pub(crate) fn new(most_messages: usize, most_bytes: usize) -> Arc<Self> {
        let (messages, bytes) = (AtomicUsize::new(0), AtomicUsize::new(0));
        Arc::new(Self { messages, bytes, most_messages, most_bytes, settled: Notify::new() })
    }

    /// Room for a message of so many bytes.
    ///
    /// # Errors
    /// `TooLarge` where it would not fit into an empty queue, `Overloaded` where too much is under way.
    pub(crate) fn enter(self: &Arc<Self>, bytes: usize) -> Result<Share, DriverError> {
        if bytes > self.most_bytes {
            let most = self.most_bytes;
            let text = format!("The message has {bytes} bytes; at most {most} are held for MQTT at a time.");
            return Err(DriverError::new(ErrorKind::TooLarge, text));
        }
        let messages = self.messages.fetch_add(1, Ordering::SeqCst);
        let held = self.bytes.fetch_add(bytes, Ordering::SeqCst);
        let share = Share { of: Arc::clone(self), bytes };
        if messages < self.most_messages && held + bytes <= self.most_bytes {
            return Ok(share);
        }
        let text = format!(
            "{messages} messages with {held} bytes are on their way to MQTT already; that is the most."
        );
        Err(DriverError::new(ErrorKind::Overloaded, text))
    }

    /// Waits until nothing is under way.
    pub(crate) async fn settled(&self) {
        loop {
            let settled = self.settled.notified();
            if self.messages.load(Ordering::SeqCst) == 0 {
                return;
            }
            settled.await;
        }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.of.bytes.fetch_sub(self.bytes, Ordering::SeqCst);
        if self.of.messages.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.of.settled.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bounds_hold_at_their_edges_and_what_is_settled_makes_room() {
        let in_flight = InFlight::new(2, 10);
        let kind = |entered: Result<Share, DriverError>| entered.map_err(|error| error.kind).err();
        assert_eq!(kind(in_flight.enter(11)), Some(ErrorKind::TooLarge));
        let one = in_flight.enter(5).expect("there is room");
        assert_eq!(kind(in_flight.enter(6)), Some(ErrorKind::Overloaded));
        let two = in_flight.enter(5).expect("there is room");
        assert_eq!(kind(in_flight.enter(0)), Some(ErrorKind::Overloaded));
        drop((one, two));
        assert!(in_flight.enter(10).is_ok());
    }
}
