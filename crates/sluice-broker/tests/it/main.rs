//! The driver suite against the embedded log, the mock, the journal and the spool, and what only these do.

#![allow(clippy::unwrap_used, reason = "a test may stop at the first thing that is not as it says")]

mod balance;
mod journal;
mod log;
mod log_crash;
mod log_disk;
mod mock;
mod spool;
mod spool_crash;
