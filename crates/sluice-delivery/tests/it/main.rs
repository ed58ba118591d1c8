//! Deliveries from the embedded log to real HTTP servers in this process.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test stops at the first surprise"
)]

mod auth;
mod beginning;
mod bench;
mod channels;
mod circuit;
mod fetching;
mod guard;
mod hub;
mod letters;
mod live;
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
