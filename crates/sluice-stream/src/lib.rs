//! Fan-out: one broker consumer, many clients.
//!
//! For each broker and topic set that anybody listens to there is one [`hub`](Hubs), which owns the only
//! broker consumer and writes what it reads into a bounded [ring](ring::Ring). A client is a [`Cursor`]: a
//! number, not a consumer. A client that is too slow finds its place overwritten and is told how much it
//! missed; it never slows the hub or another client, and never makes it keep more.
//!
//! Nothing here knows HTTP, policies or any particular broker.

mod cursor;
mod hub;
mod lost;
mod metrics;
mod ring;

pub use cursor::{Begin, Cursor, Step};
pub use hub::{HubOptions, Hubs};
pub use metrics::StreamMetrics;
