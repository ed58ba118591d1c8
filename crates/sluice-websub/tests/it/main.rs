//! A hub with a desk in memory, the embedded log behind its API, and real HTTP servers as callbacks.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test stops at the first surprise"
)]

mod asking;
mod bench;
mod callback;
mod denying;
mod desk;
mod publishing;
mod restarting;
mod subscribing;
mod verifying;
