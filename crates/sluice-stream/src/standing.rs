//! How far a client is behind, for whoever watches it from outside.

use std::sync::{
    Arc, Weak,
    atomic::{AtomicU64, Ordering},
};

use crate::hub::Hub;

/// Where one client stands, seen from outside. Cheap to read at any time; keeps nothing alive.
#[derive(Debug)]
pub struct Standing {
    hub: Weak<Hub>,
    /// The number in the ring that `distance` is counted to: of the message that comes next, where the client
    /// is in the ring.
    number: AtomicU64,
    /// Messages between the client and that number, by their offsets, while it catches up; else 0.
    distance: AtomicU64,
}

impl Standing {
    pub(crate) fn new(hub: Weak<Hub>) -> Arc<Self> {
        Arc::new(Self { hub, number: AtomicU64::new(0), distance: AtomicU64::new(0) })
    }

    /// The client is so many messages before the one of this number in the ring. The two may be seen apart;
    /// whoever looks wants to know about how far it is.
    pub(crate) fn set(&self, distance: u64, number: u64) {
        self.distance.store(distance, Ordering::Relaxed);
        self.number.store(number, Ordering::Relaxed);
    }

    /// Messages that the hub has read and the client was not handed yet, about: while it reads older messages
    /// they are counted by their offsets, some of which may hold none.
    pub fn behind(&self) -> u64 {
        let Some(hub) = self.hub.upgrade() else { return 0 };
        // Not the ring's own number: its lock is for those who read and write messages.
        let newest = hub.progress.borrow().next;
        let in_ring = newest.saturating_sub(self.number.load(Ordering::Relaxed));
        in_ring.saturating_add(self.distance.load(Ordering::Relaxed))
    }
}
