//! The one that writes the ledger: everything that waits in one transaction, and between two of them a piece of
//! what has expired is deleted.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use sqlx::{Connection, SqliteConnection};
use tokio::time::{Instant, sleep};
use tracing::{error, info, warn};

use super::{Batch, LedgerError, Shared, queue::Due};
use crate::{Timestamp, notes, positions};

/// The wait after a write that failed.
const RETRY: Duration = Duration::from_secs(1);

/// How often what has expired is looked for, and what was forgotten because of bounds is told.
pub(crate) const SWEEP_EVERY: Duration = Duration::from_mins(1);

/// The writer, with what it knows from one write to the next.
pub(super) struct Writer {
    shared: Arc<Shared>,
    sweep_at: Instant,
    /// What was forgotten because of bounds since that was last told.
    surplus: Surplus,
}

/// By group, the entries that were more than are kept of it.
pub(crate) type Surplus = BTreeMap<String, u64>;

impl Writer {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, sweep_at: Instant::now() + SWEEP_EVERY, surplus: Surplus::new() }
    }

    /// Its life: until what waits at the end is written.
    pub(super) async fn run(mut self) {
        loop {
            match self.shared.wait(self.sweep_at).await {
                Due::Now => self.write().await,
                Due::Never => break,
                Due::At(_) | Due::Sometime => {}
            }
            // A piece between two writes, so that neither keeps the other waiting.
            if self.sweep_at <= Instant::now() {
                self.sweep().await;
            }
        }
        self.tell_surplus();
    }

    /// Writes everything that waits and tells who waits for it.
    async fn write(&mut self) {
        let (batch, callers) = self.shared.lock().take();
        let written = {
            let mut connection = self.shared.connection.lock().await;
            write(&mut connection, &batch).await
        };
        let outcome = match written {
            Ok(surplus) => {
                for (group, count) in surplus {
                    *self.surplus.entry(group).or_default() += count;
                }
                Ok(())
            }
            Err(error) => Err(format!("The database could not keep what is to be stored: {error}.")),
        };
        let is_closing = {
            let mut queue = self.shared.lock();
            // At the end there is one try: a disk that fails must not keep the process from ending.
            let is_closing = queue.is_closing;
            queue.settle(outcome.is_err() && !is_closing);
            is_closing
        };
        let (positions, notes) = (batch.positions.by_name.len(), batch.notes.by_name.len());
        match &outcome {
            Ok(()) => {}
            Err(error) if is_closing => {
                error!(%error, positions, notes, "Entries are lost: they could not be written at the end.");
            }
            Err(error) => {
                let what = "Entries could not be written; those that nobody waits for are tried again.";
                warn!(%error, positions, notes, "{what}");
            }
        }
        for caller in callers {
            // One that no longer waits wants no answer.
            let _ = caller.send(outcome.clone().map_err(LedgerError::Store));
        }
        if outcome.is_err() {
            sleep(RETRY).await;
        }
    }

    /// Deletes some of what has expired, and goes on at once where there may be more.
    async fn sweep(&mut self) {
        let swept = {
            let mut connection = self.shared.connection.lock().await;
            notes::sweep(&mut connection, Timestamp::now()).await
        };
        let is_done = match swept {
            Ok(is_done) => is_done,
            Err(error) => {
                warn!(%error, "Expired notes could not be deleted; that is tried again.");
                true
            }
        };
        if is_done {
            self.sweep_at = Instant::now() + SWEEP_EVERY;
            self.tell_surplus();
        }
    }

    /// Now and then, since a full group forgets with each write.
    fn tell_surplus(&mut self) {
        for (group, count) in std::mem::take(&mut self.surplus) {
            info!(
                group,
                count, "Entries were forgotten before their time: their group has more than are kept."
            );
        }
    }
}

/// Writes all of it or nothing.
async fn write(connection: &mut SqliteConnection, batch: &Batch) -> Result<Surplus, sqlx::Error> {
    let mut surplus = Surplus::new();
    if batch.is_empty() {
        return Ok(surplus);
    }
    let mut change = connection.begin().await?;
    positions::write(&mut change, &batch.positions, &mut surplus).await?;
    notes::write(&mut change, &batch.notes, &mut surplus).await?;
    change.commit().await?;
    Ok(surplus)
}
