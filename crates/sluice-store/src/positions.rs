//! Stored positions on SQLite, through the one connection of the [`Store`].
//!
//! One task writes. It takes everything that waits into one transaction, so that a thousand readers which
//! store before each delivery share their syncs to the disk. What waits or is being written is looked at
//! first when a position is loaded.

mod queue;
mod sql;
#[cfg(test)]
mod tests;

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures_util::{FutureExt, future::BoxFuture};
use sluice_message::Position;
use sluice_stream::{Positions, PositionsError, check_storable};
use sqlx::SqliteConnection;
use tokio::{
    sync::{Notify, oneshot},
    time::{sleep, sleep_until},
};
use tracing::{error, warn};

use crate::Store;
use queue::{Due, Queue};

/// How long what may wait waits at the most.
const DELAY: Duration = Duration::from_millis(200);

/// The wait after a write that failed.
const RETRY: Duration = Duration::from_secs(1);

/// The most readers whose positions may wait to be written.
const MAX_WAITING: usize = 100_000;

/// Positions in the database of a [`Store`].
pub struct StoredPositions(Arc<Shared>);

struct Shared {
    connection: Arc<tokio::sync::Mutex<SqliteConnection>>,
    queue: Mutex<Queue>,
    /// Wakes the writer.
    wake: Notify,
}

impl std::fmt::Debug for StoredPositions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StoredPositions").finish_non_exhaustive()
    }
}

impl Store {
    /// The positions in this database, to be asked for once and within the runtime that will write them.
    /// When they are dropped, what waits is written still; [`Positions::flush`] says when it is.
    pub fn positions(&self) -> StoredPositions {
        let (connection, queue) = (Arc::clone(&self.connection), Mutex::default());
        let shared = Arc::new(Shared { connection, queue, wake: Notify::new() });
        tokio::spawn(write_all(Arc::clone(&shared)));
        StoredPositions(shared)
    }
}

impl Drop for StoredPositions {
    fn drop(&mut self) {
        self.0.lock().is_closing = true;
        self.0.wake.notify_one();
    }
}

impl StoredPositions {
    /// Adds to what waits, and waits until it is written.
    async fn write(
        &self,
        change: impl FnOnce(&mut Queue) -> Result<(), PositionsError>,
    ) -> Result<(), PositionsError> {
        let written = {
            let mut queue = self.0.lock();
            change(&mut queue)?;
            let (caller, written) = oneshot::channel();
            queue.add_caller(caller);
            written
        };
        self.0.wake.notify_one();
        written.await.unwrap_or(Err(PositionsError::Closed))
    }
}

impl Positions for StoredPositions {
    fn load<'a>(&'a self, reader: &'a str) -> BoxFuture<'a, Result<Option<Position>, PositionsError>> {
        async move {
            if let Some(known) = self.0.lock().known(reader) {
                return Ok(known);
            }
            let mut connection = self.0.connection.lock().await;
            let text = sql::load(&mut connection, reader).await;
            let text = text.map_err(|error| failed("read a position", &error))?;
            text.map(|text| text.parse()).transpose().map_err(|error| {
                PositionsError::Store(format!("The stored position of {reader} cannot be read. {error}"))
            })
        }
        .boxed()
    }

    fn save<'a>(&'a self, reader: &'a str, position: Position) -> BoxFuture<'a, Result<(), PositionsError>> {
        async move {
            check_storable(reader, &position)?;
            self.write(|queue| queue.set(reader, Some(position), false)).await
        }
        .boxed()
    }

    fn save_soon(&self, reader: &str, position: Position) -> Result<(), PositionsError> {
        check_storable(reader, &position)?;
        let mut queue = self.0.lock();
        let is_idle = queue.due() == Due::Sometime;
        queue.set(reader, Some(position), true)?;
        if is_idle {
            self.0.wake.notify_one();
        }
        Ok(())
    }

    fn forget<'a>(&'a self, reader: &'a str) -> BoxFuture<'a, Result<(), PositionsError>> {
        self.write(|queue| queue.set(reader, None, false)).boxed()
    }

    fn forget_prefix<'a>(&'a self, prefix: &'a str) -> BoxFuture<'a, Result<(), PositionsError>> {
        let change = |queue: &mut Queue| {
            queue.forget_prefix(prefix);
            Ok(())
        };
        self.write(change).boxed()
    }

    fn flush(&self) -> BoxFuture<'_, Result<(), PositionsError>> {
        async move {
            let is_clean = self.0.lock().is_clean();
            if is_clean { Ok(()) } else { self.write(|_| Ok(())).await }
        }
        .boxed()
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until something is to be written; `false` when nothing will be, ever.
    async fn is_due(&self) -> bool {
        loop {
            let due = self.lock().due();
            match due {
                Due::Now => return true,
                Due::Never => return false,
                Due::Sometime => self.wake.notified().await,
                Due::Later(since) => tokio::select! {
                    () = self.wake.notified() => {}
                    () = sleep_until(since + DELAY) => return true,
                },
            }
        }
    }
}

/// The life of the writer.
async fn write_all(shared: Arc<Shared>) {
    while shared.is_due().await {
        let (batch, callers) = shared.lock().take();
        let written = {
            let mut connection = shared.connection.lock().await;
            sql::write(&mut connection, &batch).await
        };
        let outcome = written.map_err(|error| failed("keep positions", &error));
        let is_closing = {
            let mut queue = shared.lock();
            // At the end there is one try: a disk that fails must not keep the process from ending.
            let is_closing = queue.is_closing;
            queue.settle(outcome.is_err() && !is_closing);
            is_closing
        };
        let readers = batch.readers.len();
        match &outcome {
            Ok(()) => {}
            Err(error) if is_closing => {
                error!(%error, readers, "Positions are lost: they could not be written at the end.");
            }
            Err(error) => {
                warn!(%error, readers, "Positions could not be written; what nobody waits for is tried again.");
            }
        }
        let has_failed = outcome.is_err();
        for caller in callers {
            // One that no longer waits wants no answer.
            let _ = caller.send(outcome.clone());
        }
        if has_failed {
            sleep(RETRY).await;
        }
    }
}

fn failed(doing: &'static str, error: &sqlx::Error) -> PositionsError {
    PositionsError::Store(format!("The database could not {doing}: {error}."))
}
