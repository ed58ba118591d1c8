//! The driver against a real ActiveMQ Artemis and RabbitMQ, and against a peer in this process that keeps Solace's
//! documented rules, of which no broker is to be had.
//!
//! `cargo xtask test` starts the brokers and sets the variables that [`support`] asks for.

#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "these are tests: they stop at the first thing that is not as it says"
)]

mod artemis;
mod outages;
mod outcomes;
mod peer;
mod provisioning;
mod rabbitmq;
mod security;
mod solace;
mod support;
