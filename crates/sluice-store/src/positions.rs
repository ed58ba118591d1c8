//! Stored positions: how far the readers have come, as entries of the ledger.

#[cfg(test)]
mod tests;

use std::{collections::BTreeSet, sync::Arc};

use futures_util::{FutureExt, future::BoxFuture};
use serde_json::json;
use sluice_message::{Position, PositionError};
use sluice_stream::{MAX_CLIENTS, Positions, PositionsError, check_storable, clients_of};
use sqlx::SqliteConnection;

use crate::ledger::{Batch, Changes, Entry, Ledger, LedgerError, Row, Surplus, in_statements};

/// About what a partition takes in memory; the names of topics are shared.
const PARTITION_BYTES: usize = 48;

/// Positions in the database of a [`Store`](crate::Store).
pub struct StoredPositions(Arc<Ledger>);

impl std::fmt::Debug for StoredPositions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StoredPositions").finish_non_exhaustive()
    }
}

impl StoredPositions {
    pub(crate) const fn new(ledger: Arc<Ledger>) -> Self {
        Self(ledger)
    }
}

impl Positions for StoredPositions {
    fn load<'a>(&'a self, reader: &'a str) -> BoxFuture<'a, Result<Option<Position>, PositionsError>> {
        async move { Ok(self.0.read(reader).await?) }.boxed()
    }

    fn save<'a>(&'a self, reader: &'a str, position: Position) -> BoxFuture<'a, Result<(), PositionsError>> {
        async move {
            check_storable(reader, &position)?;
            Ok(self.0.write(reader, Some(position)).await?)
        }
        .boxed()
    }

    fn save_soon(&self, reader: &str, position: Position) -> Result<(), PositionsError> {
        check_storable(reader, &position)?;
        Ok(self.0.write_soon(reader, Some(position))?)
    }

    fn forget<'a>(&'a self, reader: &'a str) -> BoxFuture<'a, Result<(), PositionsError>> {
        async move { Ok(self.0.write::<Position>(reader, None).await?) }.boxed()
    }

    fn forget_prefix<'a>(&'a self, prefix: &'a str) -> BoxFuture<'a, Result<(), PositionsError>> {
        async move { Ok(self.0.forget_prefix::<Position>(prefix).await?) }.boxed()
    }

    fn flush(&self) -> BoxFuture<'_, Result<(), PositionsError>> {
        async move { Ok(self.0.flush().await?) }.boxed()
    }
}

impl Entry for Position {
    const READ: &'static str = "SELECT json_group_array(json_array(reader, position, NULL)) FROM positions
         WHERE reader IN (SELECT value FROM json_each(?))";

    fn changes(batch: &Batch) -> &Changes<Self> {
        &batch.positions
    }

    fn changes_mut(batch: &mut Batch) -> &mut Changes<Self> {
        &mut batch.positions
    }

    fn bytes(&self) -> usize {
        self.len() * PARTITION_BYTES
    }

    fn from_row(row: Row) -> Result<Self, String> {
        row.text.parse().map_err(|error: PositionError| error.to_string())
    }
}

impl From<LedgerError> for PositionsError {
    fn from(error: LedgerError) -> Self {
        match error {
            LedgerError::Overloaded(count) => Self::Overloaded(count),
            LedgerError::Store(reason) => Self::Store(reason),
            LedgerError::Closed => Self::Closed,
        }
    }
}

/// Writes the changes within a transaction.
pub(crate) async fn write(
    connection: &mut SqliteConnection,
    changes: &Changes<Position>,
    surplus: &mut Surplus,
) -> Result<(), sqlx::Error> {
    for prefix in &changes.prefixes {
        let query =
            sqlx::query("DELETE FROM positions WHERE reader >= ?1 AND reader < ?1 || CAST(x'ff' AS TEXT)");
        query.bind(prefix).execute(&mut *connection).await?;
    }
    let (mut kept, mut forgotten, mut clients) = (Vec::new(), Vec::new(), BTreeSet::new());
    for (reader, change) in &changes.by_name {
        let Some(position) = &change.entry else {
            forgotten.push(json!(reader));
            continue;
        };
        kept.push(json!([reader, clients_of(reader), position.to_string()]));
        clients.extend(clients_of(reader));
    }
    for rows in in_statements(forgotten) {
        let query = sqlx::query("DELETE FROM positions WHERE reader IN (SELECT value FROM json_each(?))");
        query.bind(rows).execute(&mut *connection).await?;
    }
    for rows in in_statements(kept) {
        // Replacing gives the row the next number, which is the order of writing.
        let query = sqlx::query(
            "INSERT OR REPLACE INTO positions (reader, clients, position)
             SELECT value ->> 0, value ->> 1, value ->> 2 FROM json_each(?)",
        );
        query.bind(rows).execute(&mut *connection).await?;
    }
    for clients in clients {
        let query = sqlx::query(
            "DELETE FROM positions WHERE written IN (
                 SELECT written FROM positions WHERE clients = ? ORDER BY written DESC LIMIT -1 OFFSET ?)",
        );
        let most = i64::try_from(MAX_CLIENTS).unwrap_or(i64::MAX);
        let gone = query.bind(clients).bind(most).execute(&mut *connection).await?.rows_affected();
        if gone > 0 {
            surplus.insert(clients.to_owned(), gone);
        }
    }
    Ok(())
}
