//! Turns at the broker: how many single clients read older messages at the same time.
//!
//! A client that wants to read waits for its turn and holds nothing meanwhile. A turn lasts for as long as
//! it is used. One that its holder has left unused for a moment, because its web client is slow or dead, is
//! taken from it by one who waits; the holder finds that out when it comes back, and waits again.

use std::{
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};

use sluice_broker::{BatchLimit, Consumer, DriverError, ErrorKind};
use sluice_message::Message;
use tokio::{
    pin,
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, sleep},
};

use crate::metrics::{Held, StreamMetrics};

/// How long a turn may be left unused while others wait.
const UNUSED: Duration = Duration::from_secs(1);

/// All turns of a gateway.
#[derive(Debug)]
pub(crate) struct Turns {
    free: Arc<Semaphore>,
    /// Those given. Dead ones are swept out when the next is given, so there are never more than twice as
    /// many as there are turns.
    given: Mutex<Vec<Weak<Slot>>>,
    metrics: Arc<StreamMetrics>,
}

/// A reader of one client alone, in its turn.
#[derive(Debug)]
pub(crate) struct Turn(Arc<Slot>);

type Slot = tokio::sync::Mutex<Use>;

struct Use {
    /// `None` once the turn was taken away.
    reader: Option<Reader>,
    since: Instant,
}

struct Reader {
    consumer: Box<dyn Consumer>,
    _permit: OwnedSemaphorePermit,
    _counted: Held,
}

impl std::fmt::Debug for Use {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Use").field("since", &self.since).finish_non_exhaustive()
    }
}

impl Turns {
    /// So many turns, at least one.
    pub(crate) fn new(count: usize, metrics: &Arc<StreamMetrics>) -> Arc<Self> {
        let free = Arc::new(Semaphore::new(count.clamp(1, Semaphore::MAX_PERMITS)));
        Arc::new(Self { free, given: Mutex::default(), metrics: Arc::clone(metrics) })
    }

    /// Waits for a turn, first come, first served.
    pub(crate) async fn wait(&self) -> Result<OwnedSemaphorePermit, DriverError> {
        let permit = Arc::clone(&self.free).acquire_owned();
        pin!(permit);
        let mut patience = Duration::ZERO;
        loop {
            tokio::select! {
                biased;
                permit = &mut permit => {
                    return permit.map_err(|_| DriverError::new(ErrorKind::Closed, "The gateway is closing."));
                }
                () = sleep(patience) => {
                    self.take_unused();
                    patience = UNUSED;
                }
            }
        }
    }

    /// Begins to use a turn with this reader.
    pub(crate) fn give(&self, permit: OwnedSemaphorePermit, consumer: Box<dyn Consumer>) -> Turn {
        let counted = Held::new(&self.metrics.client_readers);
        let reader = Some(Reader { consumer, _permit: permit, _counted: counted });
        let slot = Arc::new(Slot::new(Use { reader, since: Instant::now() }));
        let mut given = self.given.lock().unwrap_or_else(PoisonError::into_inner);
        given.retain(|slot| slot.strong_count() > 0);
        given.push(Arc::downgrade(&slot));
        Turn(slot)
    }

    /// Takes away the turn that has been unused for longest, if one has been for too long.
    fn take_unused(&self) {
        let given = self.given.lock().unwrap_or_else(PoisonError::into_inner);
        let slots: Vec<Arc<Slot>> = given.iter().filter_map(Weak::upgrade).collect();
        drop(given);
        let unused = slots.iter().filter_map(|slot| {
            // A slot that is locked is in use.
            let slot = slot.try_lock().ok()?;
            (slot.reader.is_some() && slot.since.elapsed() >= UNUSED).then_some(slot)
        });
        if let Some(mut longest) = unused.min_by_key(|slot| slot.since) {
            longest.reader = None;
        }
    }
}

impl Turn {
    /// Fetches as [`Consumer::fetch`] does; `None` when the turn was taken away.
    pub(crate) async fn fetch(
        &self,
        batch: &mut Vec<Message>,
        limit: BatchLimit,
    ) -> Option<Result<(), DriverError>> {
        let mut using = Using(self.0.lock().await);
        let reader = using.0.reader.as_mut()?;
        Some(reader.consumer.fetch(batch, limit).await)
    }
}

/// A turn in use. However the use ends, also when its call is dropped, it counts as unused from then on only.
struct Using<'a>(tokio::sync::MutexGuard<'a, Use>);

impl Drop for Using<'_> {
    fn drop(&mut self) {
        self.0.since = Instant::now();
    }
}
