//! The driver suite against the embedded log and the mock, and what only these two do.

#![allow(clippy::unwrap_used, reason = "a test may stop at the first thing that is not as it says")]

mod log;
mod log_crash;
mod log_disk;
mod mock;
