//! What the suite tells while it runs: a line for each thing that it does, and the faults of the gateway that are
//! neither a loss nor disorder, as an end that nobody asked for.

use std::{
    fs::File,
    io::Write,
    path::Path,
    sync::{Mutex, PoisonError},
};

use jiff::Timestamp;

/// Faults that are kept; a gateway that does nothing right would make more.
const MAX_FAULTS: usize = 50;

/// Lines on standard error and in a file.
#[derive(Debug)]
pub(crate) struct Journal {
    file: Mutex<File>,
    faults: Mutex<Vec<String>>,
}

impl Journal {
    pub(crate) fn new(path: &Path) -> Result<Self, String> {
        let file = File::create(path).map_err(|error| format!("{}: {error}.", path.display()))?;
        Ok(Self { file: Mutex::new(file), faults: Mutex::default() })
    }

    /// Tells what is being done.
    pub(crate) fn say(&self, text: &str) {
        eprintln!("{:.3} {text}", Timestamp::now());
        self.note(text);
    }

    /// Writes down what only matters to those who look for something.
    pub(crate) fn note(&self, text: &str) {
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        // It is for people, who have seen the most of it.
        let _written = writeln!(file, "{:.3} {text}", Timestamp::now());
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
