//! The gateway over real connections: receivers on the embedded log, and what goes wrong.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test may stop at the first thing that is not as it says"
)]

mod client;
mod client_brokers;
mod dynamic_settings;
mod endpoints;
mod http_get;
mod idempotency;
mod journal;
mod receivers;
mod spool;
mod sse;
mod support;
mod websocket;
