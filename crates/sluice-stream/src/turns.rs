//! Turns at the broker: how many single clients read older messages at the same time.
//!
//! A client that wants to read waits for its turn and holds nothing meanwhile. While others wait a turn lasts
//! some seconds, and ends earlier when its holder leaves it unused for a moment, because its web client is slow
//! or dead. The holder finds that out when it comes back; it waits again behind the others and goes on where it
//! was. Some turns are reserved for web clients and some for subscriptions, so that neither starve the other.

#[cfg(test)]
mod tests;

use std::{
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicUsize, Ordering},
    },
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

/// How long a turn may be kept while others wait, however busily it is used.
const LONGEST: Duration = Duration::from_secs(5);

/// For whom a client of a hub reads. A quarter of the turns is reserved for each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// A web client, as fast as that takes what it is sent.
    Client,
    /// A webhook subscription.
    Subscription,
}

/// All turns of a gateway.
#[derive(Debug)]
pub(crate) struct Turns {
    /// Those for both sides.
    shared: Arc<Pool>,
    /// Those for one side, by [`Side`].
    reserved: [Arc<Pool>; 2],
    /// Those given. Dead ones are swept out when the next is given, so there are never more than twice as
    /// many as there are turns.
    given: Mutex<Vec<Weak<Slot>>>,
    metrics: Arc<StreamMetrics>,
}

/// Turns that stand open to the same clients.
#[derive(Debug)]
struct Pool {
    free: Arc<Semaphore>,
    /// How many wait for one of these turns, or of others that would do.
    waiting: AtomicUsize,
}

/// A turn that nobody has begun to use.
#[derive(Debug)]
pub(crate) struct Permit {
    pool: Arc<Pool>,
    _permit: OwnedSemaphorePermit,
}

/// A reader of one client alone, in its turn.
#[derive(Debug)]
pub(crate) struct Turn(Arc<Slot>);

type Slot = tokio::sync::Mutex<Use>;

struct Use {
    /// `None` once the turn was taken away.
    reader: Option<Reader>,
    begun: Instant,
    /// When it was last used.
    since: Instant,
}

struct Reader {
    consumer: Box<dyn Consumer>,
    permit: Permit,
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
        let count = count.clamp(1, Semaphore::MAX_PERMITS);
        let quarter = count / 4;
        let reserved = [Pool::new(quarter), Pool::new(quarter)];
        let shared = Pool::new(count - 2 * quarter);
        Arc::new(Self { shared, reserved, given: Mutex::default(), metrics: Arc::clone(metrics) })
    }

    /// Waits for a turn, first come, first served. It is to be waited for without a pause: a turn may fall to
    /// one who does not look.
    pub(crate) async fn wait(&self, side: Side) -> Result<Permit, DriverError> {
        let pools = [&self.reserved[side as usize], &self.shared];
        let _waiting = pools.map(Waiting::new);
        let [reserved, shared] = pools.map(Pool::acquire);
        pin!(reserved, shared);
        let mut patience = Duration::ZERO;
        loop {
            tokio::select! {
                biased;
                permit = &mut reserved => return permit,
                permit = &mut shared => return permit,
                () = sleep(patience) => {
                    self.take_unused(pools);
                    patience = UNUSED;
                }
            }
        }
    }

    /// Begins to use a turn with this reader.
    pub(crate) fn give(&self, permit: Permit, consumer: Box<dyn Consumer>) -> Turn {
        let counted = Held::new(&self.metrics.client_readers);
        let (reader, now) = (Some(Reader { consumer, permit, _counted: counted }), Instant::now());
        let slot = Arc::new(Slot::new(Use { reader, begun: now, since: now }));
        let mut given = self.given.lock().unwrap_or_else(PoisonError::into_inner);
        given.retain(|slot| slot.strong_count() > 0);
        given.push(Arc::downgrade(&slot));
        Turn(slot)
    }

    /// Takes away the turn of these pools that has been unused for longest, if one has been for too long.
    fn take_unused(&self, pools: [&Arc<Pool>; 2]) {
        let given = self.given.lock().unwrap_or_else(PoisonError::into_inner);
        let slots: Vec<Arc<Slot>> = given.iter().filter_map(Weak::upgrade).collect();
        drop(given);
        let unused = slots.iter().filter_map(|slot| {
            // A slot that is locked is in use.
            let slot = slot.try_lock().ok()?;
            let pool = &slot.reader.as_ref()?.permit.pool;
            let is_wanted = pools.iter().any(|wanted| Arc::ptr_eq(wanted, pool));
            (is_wanted && slot.since.elapsed() >= UNUSED).then_some(slot)
        });
        if let Some(mut longest) = unused.min_by_key(|slot| slot.since) {
            longest.reader = None;
        }
    }
}

impl Pool {
    fn new(count: usize) -> Arc<Self> {
        Arc::new(Self { free: Arc::new(Semaphore::new(count)), waiting: AtomicUsize::new(0) })
    }

    async fn acquire(self: &Arc<Self>) -> Result<Permit, DriverError> {
        match Arc::clone(&self.free).acquire_owned().await {
            Ok(permit) => Ok(Permit { pool: Arc::clone(self), _permit: permit }),
            Err(_) => Err(DriverError::new(ErrorKind::Closed, "The gateway is closing.")),
        }
    }
}

/// One who waits for a turn of a pool, counted.
struct Waiting<'a>(&'a Pool);

impl<'a> Waiting<'a> {
    fn new(pool: &'a Arc<Pool>) -> Self {
        pool.waiting.fetch_add(1, Ordering::Relaxed);
        Self(pool)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Use {
    /// The reader, unless its turn was taken away, or has been long and others wait.
    fn reader(&mut self) -> Option<&mut Reader> {
        let is_long = self.begun.elapsed() >= LONGEST;
        self.reader.take_if(|reader| is_long && reader.permit.pool.waiting.load(Ordering::Relaxed) > 0);
        self.reader.as_mut()
    }
}

impl Turn {
    /// Fetches as [`Consumer::fetch`] does; `None` when the turn is over.
    pub(crate) async fn fetch(
        &self,
        batch: &mut Vec<Message>,
        limit: BatchLimit,
    ) -> Option<Result<(), DriverError>> {
        let mut using = Using(self.0.lock().await);
        let reader = using.0.reader()?;
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
