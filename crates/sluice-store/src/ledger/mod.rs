//! The ledger: positions and notes on SQLite, which are written all the time while the gateway runs.
//!
//! One task writes. It takes everything that waits into one transaction, so that a thousand readers which
//! store before each delivery, and a thousand posts that are noted, share their syncs to the disk. What waits
//! or is being written is looked at first when something is read; another task reads what is not there, for
//! everyone who asks at the same time. Which rows the entries become is said in `positions.rs` and `notes.rs`.

mod queue;
mod reading;
mod rows;
#[cfg(test)]
mod testing;
mod writer;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sqlx::SqliteConnection;
use tokio::{
    sync::{Notify, oneshot},
    time::{Instant, sleep_until},
};

use crate::{Store, StoredNotes, StoredPositions};
use queue::{Due, Queue};
use reading::Reads;
use writer::Writer;

pub(crate) use {
    queue::{Batch, Changes},
    reading::Row,
    rows::in_statements,
    writer::Surplus,
};
#[cfg(test)]
pub(crate) use {
    queue::{MAX_WAITING, MAX_WAITING_BYTES},
    writer::SWEEP_EVERY,
};

/// What can be kept in the ledger.
pub(crate) trait Entry: Clone + Send + Sync + 'static {
    /// Takes names as a JSON array and gives the [`Row`]s with these names as another.
    const READ: &'static str;

    fn changes(batch: &Batch) -> &Changes<Self>;

    fn changes_mut(batch: &mut Batch) -> &mut Changes<Self>;

    /// About what it takes in memory.
    fn bytes(&self) -> usize;

    /// What was stored; an error is a sentence.
    fn from_row(row: Row) -> Result<Self, String>;
}

/// Why something was not written or read.
#[derive(Debug, Clone)]
pub(crate) enum LedgerError {
    /// So many wait already.
    Overloaded(usize),
    /// The database failed; the text says how.
    Store(String),
    Closed,
}

/// The one that writes and reads. When it is dropped, what waits is written still.
pub(crate) struct Ledger {
    shared: Arc<Shared>,
    reads: Reads,
}

struct Shared {
    connection: Arc<tokio::sync::Mutex<SqliteConnection>>,
    queue: Mutex<Queue>,
    /// Wakes the writer.
    wake: Notify,
}

impl Store {
    /// The positions and the notes in this database, to be asked for once and within the runtime that will
    /// write them. When both are dropped, what waits is written still; `flush` says when it is.
    pub fn positions_and_notes(&self) -> (StoredPositions, StoredNotes) {
        let ledger = Arc::new(Ledger::start(&self.connection));
        (StoredPositions::new(Arc::clone(&ledger)), StoredNotes::new(ledger))
    }
}

impl Drop for Ledger {
    fn drop(&mut self) {
        self.shared.lock().is_closing = true;
        self.shared.wake.notify_one();
    }
}

impl Ledger {
    fn start(connection: &Arc<tokio::sync::Mutex<SqliteConnection>>) -> Self {
        let (connection, reads) = (Arc::clone(connection), Reads::start(Arc::clone(connection)));
        let shared = Arc::new(Shared { connection, queue: Mutex::default(), wake: Notify::new() });
        tokio::spawn(Writer::new(Arc::clone(&shared)).run());
        Self { shared, reads }
    }

    /// What stands under a name.
    pub(crate) async fn read<T: Entry>(&self, name: &str) -> Result<Option<T>, LedgerError> {
        if let Some(known) = self.shared.lock().known(name) {
            return Ok(known);
        }
        let row = self.reads.read(T::READ, name).await?;
        row.map(T::from_row).transpose().map_err(|reason| {
            LedgerError::Store(format!("What is stored under {name:?} cannot be read: {reason}"))
        })
    }

    /// Writes an entry, or forgets it; resolves when that is durable.
    pub(crate) async fn write<T: Entry>(&self, name: &str, entry: Option<T>) -> Result<(), LedgerError> {
        self.written(|queue| queue.set(name, entry, false)).await
    }

    /// Writes an entry, or forgets it, within a moment.
    pub(crate) fn write_soon<T: Entry>(&self, name: &str, entry: Option<T>) -> Result<(), LedgerError> {
        let mut queue = self.shared.lock();
        let is_idle = queue.due() == Due::Sometime;
        queue.set(name, entry, true)?;
        if is_idle {
            self.shared.wake.notify_one();
        }
        Ok(())
    }

    /// Forgets every entry of a kind whose name begins so; resolves when that is durable.
    pub(crate) async fn forget_prefix<T: Entry>(&self, prefix: &str) -> Result<(), LedgerError> {
        let forget = |queue: &mut Queue| {
            queue.forget_prefix::<T>(prefix);
            Ok(())
        };
        self.written(forget).await
    }

    /// Resolves when everything given before is durable.
    pub(crate) async fn flush(&self) -> Result<(), LedgerError> {
        let is_clean = self.shared.lock().is_clean();
        if is_clean { Ok(()) } else { self.written(|_| Ok(())).await }
    }

    /// Adds to what waits, and waits until it is written.
    async fn written(
        &self,
        change: impl FnOnce(&mut Queue) -> Result<(), LedgerError>,
    ) -> Result<(), LedgerError> {
        let written = {
            let mut queue = self.shared.lock();
            change(&mut queue)?;
            let (caller, written) = oneshot::channel();
            queue.add_caller(caller);
            written
        };
        self.shared.wake.notify_one();
        written.await.unwrap_or(Err(LedgerError::Closed))
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until something is to be written, or until that time; what is due then.
    async fn wait(&self, until: Instant) -> Due {
        loop {
            let due = self.lock().due();
            let at = match due {
                Due::Now | Due::Never => return due,
                Due::At(at) => at.min(until),
                Due::Sometime => until,
            };
            if at <= Instant::now() {
                return due;
            }
            tokio::select! {
                () = self.wake.notified() => {}
                () = sleep_until(at) => {}
            }
        }
    }
}
