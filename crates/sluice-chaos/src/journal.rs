//! What the suite tells while it runs: a line for each thing that it does, and the faults of the gateway that are
//! neither a loss nor disorder, as an end that nobody asked for.

use std::{
    path::Path,
    sync::{Mutex, PoisonError},
};

use jiff::Timestamp;

use crate::record::Record;

/// Faults that are kept; a gateway that does nothing right would make more.
const MAX_FAULTS: usize = 50;

/// Lines on standard error and in a file.
#[derive(Debug)]
pub(crate) struct Journal {
    record: Record,
    faults: Mutex<Vec<String>>,
}

impl Journal {
    pub(crate) fn new(path: &Path) -> Result<Self, String> {
        Ok(Self { record: Record::create(path)?, faults: Mutex::default() })
    }

    /// Tells what is being done.
    pub(crate) fn say(&self, text: &str) {
        eprintln!("{:.3} {text}", Timestamp::now());
        self.record.line(text);
    }

    /// Tells of something that must not be. The suite fails in the end.
    pub(crate) fn fault(&self, text: &str) {
        let mut faults = self.faults.lock().unwrap_or_else(PoisonError::into_inner);
        if faults.len() < MAX_FAULTS && !faults.iter().any(|known| known == text) {
            faults.push(text.to_owned());
            drop(faults);
            self.say(&format!("FAULT: {text}"));
        }
    }

    /// All that was told of.
    pub(crate) fn faults(&self) -> Vec<String> {
        self.faults.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
