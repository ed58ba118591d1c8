//! Why something could not be kept or handed back.

use std::{io, path::PathBuf};

/// A failed call to the store.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A file or directory could not be read, written or made.
    #[error("Could not {doing} {}: {source}.", .path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What was tried.
        doing: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// The database refused; nothing was changed.
    #[error("The database {}: could not {doing}: {source}.", .path.display())]
    Database {
        /// The database file.
        path: PathBuf,
        /// What was tried.
        doing: &'static str,
        /// What the database said.
        source: sqlx::Error,
    },
    /// The database is open in another process.
    #[error(
        "The database {} is in use by another process; stop it, or choose another data directory.",
        .path.display()
    )]
    InUse {
        /// The database file.
        path: PathBuf,
    },
    /// The database was written by a newer version of this program.
    #[error(
        "The database {} was written by a newer version (its format is {found}, this version reads up to \
         {known}); run that version or a later one, or restore an older backup.",
        .path.display()
    )]
    Newer {
        /// The database file.
        path: PathBuf,
        /// The format that was found.
        found: i64,
        /// The newest format that can be read.
        known: i64,
    },
    /// The key that secrets are encrypted with cannot be used.
    #[error("The secret key {} {reason}", .path.display())]
    Key {
        /// The key file.
        path: PathBuf,
        /// What is wrong and what to do, to follow the file's name.
        reason: String,
    },
    /// One record cannot be read or written; the others are not concerned.
    #[error("The record {id}: {reason}")]
    Record {
        /// The record's id.
        id: String,
        /// What is wrong with it.
        reason: String,
    },
}
