//! The chaos suite: it runs the real gateway in front of real brokers, breaks everything around it in an order
//! drawn from a seed, and shows that nothing acknowledged is lost or out of order.
//!
//! It is a tool of the project, no part of the product: it knows the gateway's program and its HTTP interfaces, and
//! none of its crates. `cargo xtask chaos` brings it what it needs; its short form is a test of the crate `sluice`.
//!
//! ```text
//! publishers ──┐             ┌─ embedded log                    ┌─ subscribers
//! sse          ├─ proxy ── gateway ───────────────── proxy ─────┘
//! websocket    │             └─ Kafka
//! http-get    ─┘
//! ```
//!
//! Every process is the suite's own and goes with it. What publishers were told and consumers have seen is compared
//! in `ledger.rs`; what can be broken stands in `fault.rs`, how in `injection.rs`.

mod apis;
mod clock;
mod consumer;
mod fault;
mod gateway;
mod injection;
mod journal;
mod kafka;
mod ledger;
mod management;
mod observer;
mod options;
mod process;
mod proxy;
mod publisher;
mod random;
mod record;
mod report;
mod setup;
mod subscriber;
mod suite;

pub use fault::Fault;
pub use options::{Brokers, Options};
pub use report::Report;

/// Runs the suite. Has to be awaited on a thread that stays until the end: the processes go with it.
///
/// # Errors
/// Where the suite itself could not go on, as when Kafka does not start. What the gateway does wrong stands in the
/// report.
pub async fn run(options: Options) -> Result<Report, String> {
    suite::run(options).await
}
