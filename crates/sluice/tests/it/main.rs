//! The real binary from outside: started as a process, spoken to over its ports, stopped by signals.
//!
//! Tests that need Apache Kafka find it by SLUICE_TEST_KAFKA, which `cargo xtask test` sets; without it they
//! fail and say so.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test stops at the first surprise"
)]

mod harness;

mod api_files;
mod autobahn;
mod bad_input;
mod browser;
mod chaos;
mod client_connections;
mod command_line;
mod deploying;
mod dev;
mod durability;
mod every_broker;
mod groups;
mod guarantees;
mod hub_durability;
mod hub_inputs;
mod hub_operations;
mod hub_policies;
mod kafka;
mod listeners;
mod management;
mod postman;
mod resuming;
mod spool;
mod sse;
mod web_broker;
mod webhook_listener;
mod webhook_receiver;
mod webhooks;
mod websub;
