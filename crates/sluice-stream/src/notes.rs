//! Notes: small durable facts that outlive a connection and a restart, each under a name, for a while or for good:
//! which publishes were done already, how the retries of a subscription stand.
//!
//! Here are the interface and an implementation in memory for tests; what survives a restart is in the store.
//! How far a reader has come is no note, see [`Positions`](crate::Positions).

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use futures_util::{FutureExt, future::BoxFuture};

/// The longest name of a note, in bytes.
pub const MAX_NOTE_NAME_BYTES: usize = 1024;

/// The longest text of a note, in bytes.
pub const MAX_NOTE_BYTES: usize = 64 << 10;

/// The most notes whose names begin with the same [group](note_group). Beyond it, the one that was written longest
/// ago goes first.
pub const MAX_NOTES_OF_A_GROUP: usize = 100_000;

/// Why a note was not written or read.
#[derive(Debug, Clone, thiserror::Error)]
pub enum NotesError {
    /// A name or a text that is too long.
    #[error(
        "A note has a name of at most {MAX_NOTE_NAME_BYTES} bytes and at most {MAX_NOTE_BYTES} bytes of text."
    )]
    TooLarge,
    /// More notes wait to be written than may; this one was not taken.
    #[error("{0} notes wait to be written already; is the disk slow?")]
    Overloaded(usize),
    /// The store failed; the text says how.
    #[error("{0}")]
    Store(String),
    /// The store is closed.
    #[error("The store of notes is closed.")]
    Closed,
}

/// Where notes are kept. All of it may be called from many tasks at once.
pub trait Notes: Send + Sync + 'static {
    /// The text of a note; `None` where there is none, or its time is over.
    fn read<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Option<String>, NotesError>>;

    /// Writes a note in place of the one with the same name; resolves once it is durable. It is kept for
    /// `lifetime`, or until it is forgotten.
    fn write<'a>(
        &'a self,
        name: &'a str,
        text: String,
        lifetime: Option<Duration>,
    ) -> BoxFuture<'a, Result<(), NotesError>>;

    /// Writes a note for good within a moment, at the latest on [`flush`](Self::flush); with `None` it is
    /// forgotten. Only the last text given for a name is written. What cannot be written is tried again. An
    /// error means that it was not taken.
    fn write_soon(&self, name: &str, text: Option<String>) -> Result<(), NotesError>;

    /// Forgets every note whose name begins so, durably.
    fn forget_prefix<'a>(&'a self, prefix: &'a str) -> BoxFuture<'a, Result<(), NotesError>>;

    /// Resolves when everything given to [`write_soon`](Self::write_soon) before is durable; to be called before
    /// the process ends.
    fn flush(&self) -> BoxFuture<'_, Result<(), NotesError>>;
}

/// The group of a note: its name up to the second colon, as `idempotency:{api}:`; the whole name where it has
/// fewer.
pub fn note_group(name: &str) -> &str {
    let mut colons = name.match_indices(':').map(|(at, _)| at + 1);
    colons.nth(1).map_or(name, |end| &name[..end])
}

/// Whether this can be written and read back, for implementations.
pub fn check_note(name: &str, text: Option<&str>) -> Result<(), NotesError> {
    if name.len() > MAX_NOTE_NAME_BYTES || text.is_some_and(|text| text.len() > MAX_NOTE_BYTES) {
        return Err(NotesError::TooLarge);
    }
    Ok(())
}

/// Notes in memory, gone with it: for tests.
#[derive(Debug, Default)]
pub struct MemoryNotes(Mutex<HashMap<String, (String, Option<SystemTime>)>>);

impl MemoryNotes {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, (String, Option<SystemTime>)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Notes for MemoryNotes {
    fn read<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Option<String>, NotesError>> {
        async move {
            let now = SystemTime::now();
            let notes = self.lock();
            let live = notes.get(name).filter(|(_, end)| end.is_none_or(|end| end > now));
            Ok(live.map(|(text, _)| text.clone()))
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
            let end = lifetime.map(|lifetime| SystemTime::now() + lifetime);
            self.lock().insert(name.to_owned(), (text, end));
            Ok(())
        }
        .boxed()
    }

    fn write_soon(&self, name: &str, text: Option<String>) -> Result<(), NotesError> {
        check_note(name, text.as_deref())?;
        match text {
            Some(text) => drop(self.lock().insert(name.to_owned(), (text, None))),
            None => drop(self.lock().remove(name)),
        }
        Ok(())
    }

    fn forget_prefix<'a>(&'a self, prefix: &'a str) -> BoxFuture<'a, Result<(), NotesError>> {
        async move {
            self.lock().retain(|name, _| !name.starts_with(prefix));
            Ok(())
        }
        .boxed()
    }

    fn flush(&self) -> BoxFuture<'_, Result<(), NotesError>> {
        async { Ok(()) }.boxed()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

    use super::*;

    #[test]
    fn a_group_ends_with_the_second_colon() {
        assert_eq!(note_group("idempotency:api:k:k"), "idempotency:api:");
        assert_eq!(note_group("retry:s"), "retry:s");
    }

    #[tokio::test]
    async fn a_note_is_there_until_its_time_is_over() {
        let notes = MemoryNotes::default();
        notes.write("a", "1".to_owned(), Some(Duration::from_hours(1))).await.unwrap();
        notes.write("b", "2".to_owned(), Some(Duration::ZERO)).await.unwrap();
        assert_eq!(notes.read("a").await.unwrap().as_deref(), Some("1"));
        assert_eq!(notes.read("b").await.unwrap(), None);
        assert!(notes.write("a", "x".repeat(MAX_NOTE_BYTES + 1), None).await.is_err());
    }
}
