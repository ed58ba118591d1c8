//! Stored notes: small facts under names, for a while or for good, as entries of the ledger.

#[cfg(test)]
mod tests;

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use futures_util::{FutureExt, future::BoxFuture};
use serde_json::json;
use sluice_stream::{MAX_NOTES_OF_A_GROUP, Notes, NotesError, check_note, note_group};
use sqlx::SqliteConnection;

use crate::{
    Timestamp,
    ledger::{Batch, Changes, Entry, Ledger, LedgerError, Row, Surplus, in_statements},
};

/// The most notes that one sweep deletes; whoever writes waits no longer than for that.
const SWEPT: u64 = 1000;

/// Notes in the database of a [`Store`](crate::Store).
pub struct StoredNotes(Arc<Ledger>);

/// A note on its way to the disk or back.
#[derive(Debug, Clone)]
pub(crate) struct Note {
    text: String,
    expires_at: Option<Timestamp>,
}

impl std::fmt::Debug for StoredNotes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StoredNotes").finish_non_exhaustive()
    }
}

impl StoredNotes {
    pub(crate) const fn new(ledger: Arc<Ledger>) -> Self {
        Self(ledger)
    }
}

impl Notes for StoredNotes {
    fn read<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Option<String>, NotesError>> {
        async move {
            let note: Option<Note> = self.0.read(name).await?;
            let now = Timestamp::now();
            let live = note.filter(|note| note.expires_at.is_none_or(|end| end > now));
            Ok(live.map(|note| note.text))
        }
        .boxed()
    }

    fn write<'a>(
        &'a self,
        name: &'a str,
        text: String,
        lifetime: Option<Duration>,
    ) -> BoxFuture<'a, Result<(), NotesError>> {
        async move {
            check_note(name, Some(&text))?;
            let expires_at = lifetime.map(|lifetime| Timestamp::now().after(lifetime));
            Ok(self.0.write(name, Some(Note { text, expires_at })).await?)
        }
        .boxed()
    }

    fn write_soon(&self, name: &str, text: Option<String>) -> Result<(), NotesError> {
        check_note(name, text.as_deref())?;
        Ok(self.0.write_soon(name, text.map(|text| Note { text, expires_at: None }))?)
    }

    fn forget_prefix<'a>(&'a self, prefix: &'a str) -> BoxFuture<'a, Result<(), NotesError>> {
        async move { Ok(self.0.forget_prefix::<Note>(prefix).await?) }.boxed()
    }

    fn flush(&self) -> BoxFuture<'_, Result<(), NotesError>> {
        async move { Ok(self.0.flush().await?) }.boxed()
    }
}

impl Entry for Note {
    const READ: &'static str = "SELECT json_group_array(json_array(name, text, expires_at)) FROM notes
         WHERE name IN (SELECT value FROM json_each(?))";

    fn changes(batch: &Batch) -> &Changes<Self> {
        &batch.notes
    }

    fn changes_mut(batch: &mut Batch) -> &mut Changes<Self> {
        &mut batch.notes
    }

    fn bytes(&self) -> usize {
        self.text.len()
    }

    fn from_row(row: Row) -> Result<Self, String> {
        Ok(Self { text: row.text, expires_at: row.expires_at.map(Timestamp) })
    }
}

impl From<LedgerError> for NotesError {
    fn from(error: LedgerError) -> Self {
        match error {
            LedgerError::Overloaded(count) => Self::Overloaded(count),
            LedgerError::Store(reason) => Self::Store(reason),
            LedgerError::Closed => Self::Closed,
        }
    }
}

/// The group of a note that is one of many; `None` for a name that is a group by itself, which needs no bound.
fn bounded_group(name: &str) -> Option<&str> {
    name.match_indices(':').nth(1).map(|_| note_group(name))
}

/// Writes the changes within a transaction.
pub(crate) async fn write(
    connection: &mut SqliteConnection,
    changes: &Changes<Note>,
    surplus: &mut Surplus,
) -> Result<(), sqlx::Error> {
    for prefix in &changes.prefixes {
        let query = sqlx::query("DELETE FROM notes WHERE name >= ?1 AND name < ?1 || CAST(x'ff' AS TEXT)");
        query.bind(prefix).execute(&mut *connection).await?;
    }
    let (mut kept, mut forgotten, mut groups) = (Vec::new(), Vec::new(), BTreeSet::new());
    for (name, change) in &changes.by_name {
        // Also what is written anew, so that it becomes the one that was written last.
        forgotten.push(json!(name));
        let Some(note) = &change.entry else { continue };
        kept.push(json!([name, bounded_group(name), note.text, note.expires_at]));
        groups.extend(bounded_group(name));
    }
    for rows in in_statements(forgotten) {
        let query = sqlx::query("DELETE FROM notes WHERE name IN (SELECT value FROM json_each(?))");
        query.bind(rows).execute(&mut *connection).await?;
    }
    for rows in in_statements(kept) {
        let query = sqlx::query(
            "INSERT INTO notes (name, note_group, text, expires_at)
             SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3 FROM json_each(?)",
        );
        query.bind(rows).execute(&mut *connection).await?;
    }
    for groups in in_statements(groups.into_iter().map(|group| json!(group)).collect()) {
        surplus.extend(forget_surplus(connection, &groups).await?);
    }
    Ok(())
}

/// Keeps the bound of these groups, a JSON array; how many notes had to go from which.
async fn forget_surplus(
    connection: &mut SqliteConnection,
    groups: &str,
) -> Result<Vec<(String, u64)>, sqlx::Error> {
    let most = i64::try_from(MAX_NOTES_OF_A_GROUP).unwrap_or(i64::MAX);
    let query = sqlx::query_as::<_, (String, i64)>(
        "SELECT note_group, notes - ?1 FROM note_groups
         WHERE note_group IN (SELECT value FROM json_each(?2)) AND notes > ?1",
    );
    let full = query.bind(most).bind(groups).fetch_all(&mut *connection).await?;
    let mut forgotten = Vec::new();
    for (group, surplus) in full {
        let query = sqlx::query(
            "DELETE FROM notes WHERE written IN (
                 SELECT written FROM notes WHERE note_group = ? ORDER BY written LIMIT ?)",
        );
        let gone = query.bind(&group).bind(surplus).execute(&mut *connection).await?;
        forgotten.push((group, gone.rows_affected()));
    }
    Ok(forgotten)
}

/// Deletes some of what has expired; whether that was the last of it.
pub(crate) async fn sweep(connection: &mut SqliteConnection, now: Timestamp) -> Result<bool, sqlx::Error> {
    let query = sqlx::query(
        "DELETE FROM notes WHERE written IN (
             SELECT written FROM notes WHERE expires_at <= ? ORDER BY expires_at LIMIT ?)",
    );
    let most = i64::try_from(SWEPT).unwrap_or(i64::MAX);
    let swept = query.bind(now.0).bind(most).execute(connection).await?.rows_affected();
    Ok(swept < SWEPT)
}
