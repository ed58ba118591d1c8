//! Deliveries from the embedded log to real HTTP servers in this process.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test stops at the first surprise"
)]

mod auth;
mod bench;
mod circuit;
mod guard;
mod letters;
mod moving;
mod order;
mod outage;
mod outcomes;
mod proxy;
mod receiver;
mod remembering;
mod replaying;
mod resuming;
mod sharing;
mod signing;
mod tls;
mod topics;
