//! A file of lines with the time before each, for whoever looks into what a run has found.

use std::{
    fs::File,
    io::{LineWriter, Write},
    path::Path,
    sync::{Mutex, PoisonError},
};

use jiff::Timestamp;

/// A file of lines.
#[derive(Debug)]
pub(crate) struct Record(Mutex<LineWriter<File>>);

impl Record {
    /// Makes the file, or empties it.
    pub(crate) fn create(path: &Path) -> Result<Self, String> {
        let file = File::create(path).map_err(|error| format!("{}: {error}.", path.display()))?;
        Ok(Self(Mutex::new(LineWriter::new(file))))
    }

    /// Adds a line. Where that fails the judgement of the run stands all the same.
    pub(crate) fn line(&self, text: &str) {
        let mut file = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let _written = writeln!(file, "{:.6} {text}", Timestamp::now());
    }
}
