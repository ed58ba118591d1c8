//! What survives a restart: event APIs with their plans, and applications.
//!
//! [`Store`] keeps whole records and hands them back as they were; what they mean, and who may change them
//! when, is judged elsewhere. No message passes through here. Today it is SQLite in the data directory; its
//! interface speaks of records only, so that another database can stand behind it.

mod error;
mod record;
mod sqlite;
mod vault;

pub use error::StoreError;
pub use record::{ApiRecord, ApplicationId, ApplicationRecord, Catalogue, PlanRecord, Timestamp};
pub use sqlite::Store;
