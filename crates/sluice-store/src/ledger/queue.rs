//! What waits to be written: for each name the last that was given.

use std::{collections::HashMap, sync::Arc, time::Duration};

use sluice_message::Position;
use tokio::{sync::oneshot, time::Instant};

use super::{Entry, LedgerError};
use crate::notes::Note;

/// How long what may wait waits at the most.
const DELAY: Duration = Duration::from_millis(200);

/// The most names of one kind that may wait to be written.
pub(crate) const MAX_WAITING: usize = 100_000;

/// The most bytes of one kind that may wait to be written.
pub(crate) const MAX_WAITING_BYTES: usize = 128 << 20;

/// Waits for the outcome of a write.
pub(crate) type Caller = oneshot::Sender<Result<(), LedgerError>>;

#[derive(Default)]
pub(crate) struct Queue {
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
pub(crate) struct Batch {
    pub(crate) positions: Changes<Position>,
    pub(crate) notes: Changes<Note>,
}

/// The changes of one kind.
#[derive(Debug)]
pub(crate) struct Changes<T> {
    /// What is forgotten before anything is written: everything whose name begins so.
    pub(crate) prefixes: Vec<String>,
    pub(crate) by_name: HashMap<String, Change<T>>,
    bytes: usize,
}

#[derive(Debug, Clone)]
pub(crate) struct Change<T> {
    /// `None` to forget it.
    pub(crate) entry: Option<T>,
    /// Whether to try again after a failure, because nobody waits who could be told.
    is_retried: bool,
}

/// What the writer is to do.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Due {
    Now,
    /// When something has waited for long enough.
    At(Instant),
    /// When there is something.
    Sometime,
    Never,
}

impl Queue {
    /// Takes an entry, or its absence, in place of what waits under this name.
    pub(crate) fn set<T: Entry>(
        &mut self,
        name: &str,
        entry: Option<T>,
        is_retried: bool,
    ) -> Result<(), LedgerError> {
        T::changes_mut(&mut self.waiting).set(name, Change { entry, is_retried })?;
        self.since.get_or_insert_with(Instant::now);
        Ok(())
    }

    pub(super) fn forget_prefix<T: Entry>(&mut self, prefix: &str) {
        T::changes_mut(&mut self.waiting).forget_prefix(prefix);
    }

    pub(crate) fn add_caller(&mut self, caller: Caller) {
        self.callers.push(caller);
    }

    /// Whether everything given is on the disk.
    pub(super) fn is_clean(&self) -> bool {
        self.waiting.is_empty() && self.writing.is_empty()
    }

    /// What stands under a name once everything is written; `None` where only the database knows,
    /// `Some(None)` where it is forgotten.
    pub(super) fn known<T: Entry>(&self, name: &str) -> Option<Option<T>> {
        let known = |batch| T::changes(batch).known(name);
        known(&self.waiting).or_else(|| known(&self.writing))
    }

    pub(super) fn due(&self) -> Due {
        let waits_until = self.since.map(|since| since + DELAY);
        match waits_until {
            _ if !self.callers.is_empty() => Due::Now,
            Some(at) if self.is_closing || at <= Instant::now() => Due::Now,
            Some(at) => Due::At(at),
            None if self.is_closing => Due::Never,
            None => Due::Sometime,
        }
    }

    /// Takes into hand what waits, with who waits for it.
    pub(crate) fn take(&mut self) -> (Arc<Batch>, Vec<Caller>) {
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
        let positions = self.waiting.positions.take_back(&written.positions);
        let notes = self.waiting.notes.take_back(&written.notes);
        if positions || notes {
            self.since.get_or_insert_with(Instant::now);
        }
    }
}

impl Batch {
    pub(super) fn is_empty(&self) -> bool {
        self.positions.is_empty() && self.notes.is_empty()
    }
}

impl<T> Default for Changes<T> {
    fn default() -> Self {
        Self { prefixes: Vec::new(), by_name: HashMap::new(), bytes: 0 }
    }
}

impl<T: Entry> Changes<T> {
    pub(crate) fn is_empty(&self) -> bool {
        self.prefixes.is_empty() && self.by_name.is_empty()
    }

    fn set(&mut self, name: &str, change: Change<T>) -> Result<(), LedgerError> {
        let count = self.by_name.len();
        let waiting = self.by_name.get_mut(name);
        let bytes =
            self.bytes - waiting.as_ref().map_or(0, |waiting| waiting.bytes(name)) + change.bytes(name);
        if bytes > MAX_WAITING_BYTES || (waiting.is_none() && count >= MAX_WAITING) {
            return Err(LedgerError::Overloaded(count));
        }
        self.bytes = bytes;
        match waiting {
            Some(waiting) => *waiting = change,
            None => drop(self.by_name.insert(name.to_owned(), change)),
        }
        Ok(())
    }

    fn forget_prefix(&mut self, prefix: &str) {
        self.by_name.retain(|name, _| !name.starts_with(prefix));
        self.bytes = self.by_name.iter().map(|(name, change)| change.bytes(name)).sum();
        self.prefixes.push(prefix.to_owned());
    }

    fn known(&self, name: &str) -> Option<Option<T>> {
        if let Some(change) = self.by_name.get(name) {
            return Some(change.entry.clone());
        }
        self.prefixes.iter().any(|prefix| name.starts_with(prefix)).then_some(None)
    }

    /// Has what was not written wait again, where nothing newer does and nobody was told; whether there is any.
    fn take_back(&mut self, unwritten: &Self) -> bool {
        let is_wanted = |name: &str, change: &Change<T>| change.is_retried && self.known(name).is_none();
        let wanted = unwritten.by_name.iter().filter(|(name, change)| is_wanted(name, change));
        let wanted: Vec<_> = wanted.map(|(name, change)| (name.clone(), change.clone())).collect();
        self.bytes += wanted.iter().map(|(name, change)| change.bytes(name)).sum::<usize>();
        let is_any = !wanted.is_empty();
        self.by_name.extend(wanted);
        is_any
    }
}

impl<T: Entry> Change<T> {
    /// What it takes in memory, with its name.
    fn bytes(&self, name: &str) -> usize {
        name.len() + self.entry.as_ref().map_or(0, T::bytes)
    }
}
