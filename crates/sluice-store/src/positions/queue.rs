//! What waits to be written: for each reader the last that was given.

use std::{collections::HashMap, sync::Arc};

use sluice_message::Position;
use sluice_stream::PositionsError;
use tokio::{sync::oneshot, time::Instant};

use super::MAX_WAITING;

/// Waits for the outcome of a write.
pub(super) type Caller = oneshot::Sender<Result<(), PositionsError>>;

#[derive(Default)]
pub(super) struct Queue {
    waiting: Batch,
    /// Who waits until all of that is written.
    callers: Vec<Caller>,
    /// Since when something waits.
    since: Option<Instant>,
    /// What the writer has in hand.
    writing: Arc<Batch>,
    pub(super) is_closing: bool,
}

/// The changes of one transaction.
#[derive(Debug, Default)]
pub(super) struct Batch {
    /// What is forgotten before anything is written: every reader whose name begins so.
    pub(super) prefixes: Vec<String>,
    pub(super) readers: HashMap<String, Change>,
}

#[derive(Debug, Clone)]
pub(super) struct Change {
    /// `None` to forget the reader.
    pub(super) position: Option<Position>,
    /// Whether to try again after a failure, because nobody waits who could be told.
    is_retried: bool,
}

/// What the writer is to do.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Due {
    Now,
    /// When something has waited for long enough; it waits since then.
    Later(Instant),
    /// When there is something.
    Sometime,
    Never,
}

impl Queue {
    /// Takes a position, or its absence, in place of what waits for this reader.
    pub(super) fn set(
        &mut self,
        reader: &str,
        position: Option<Position>,
        is_retried: bool,
    ) -> Result<(), PositionsError> {
        let change = Change { position, is_retried };
        let count = self.waiting.readers.len();
        if let Some(waiting) = self.waiting.readers.get_mut(reader) {
            *waiting = change;
        } else if count < MAX_WAITING {
            self.waiting.readers.insert(reader.to_owned(), change);
            self.since.get_or_insert_with(Instant::now);
        } else {
            return Err(PositionsError::Overloaded(count));
        }
        Ok(())
    }

    pub(super) fn forget_prefix(&mut self, prefix: &str) {
        self.waiting.readers.retain(|reader, _| !reader.starts_with(prefix));
        self.waiting.prefixes.push(prefix.to_owned());
    }

    pub(super) fn add_caller(&mut self, caller: Caller) {
        self.callers.push(caller);
    }

    /// Whether everything given is on the disk.
    pub(super) fn is_clean(&self) -> bool {
        self.waiting.is_empty() && self.writing.is_empty()
    }

    /// What a reader's position will be once everything is written; `None` where only the database knows,
    /// `Some(None)` where it is forgotten.
    pub(super) fn known(&self, reader: &str) -> Option<Option<Position>> {
        self.waiting.known(reader).or_else(|| self.writing.known(reader))
    }

    pub(super) fn due(&self) -> Due {
        match self.since {
            _ if !self.callers.is_empty() => Due::Now,
            Some(_) if self.is_closing => Due::Now,
            Some(since) => Due::Later(since),
            None if self.is_closing => Due::Never,
            None => Due::Sometime,
        }
    }

    /// Takes into hand what waits, with who waits for it.
    pub(super) fn take(&mut self) -> (Arc<Batch>, Vec<Caller>) {
        self.writing = Arc::new(std::mem::take(&mut self.waiting));
        self.since = None;
        (Arc::clone(&self.writing), std::mem::take(&mut self.callers))
    }

    /// Nothing is in hand any more. After a failure, what nobody waits for waits again, unless something
    /// newer was given meanwhile.
    pub(super) fn settle(&mut self, has_failed: bool) {
        let written = std::mem::take(&mut self.writing);
        if !has_failed {
            return;
        }
        for (reader, change) in written.readers.iter().filter(|(_, change)| change.is_retried) {
            if self.waiting.known(reader).is_none() {
                self.waiting.readers.insert(reader.clone(), change.clone());
                self.since.get_or_insert_with(Instant::now);
            }
        }
    }
}

impl Batch {
    pub(super) fn is_empty(&self) -> bool {
        self.prefixes.is_empty() && self.readers.is_empty()
    }

    fn known(&self, reader: &str) -> Option<Option<Position>> {
        if let Some(change) = self.readers.get(reader) {
            return Some(change.position.clone());
        }
        self.prefixes.iter().any(|prefix| reader.starts_with(prefix)).then_some(None)
    }
}
