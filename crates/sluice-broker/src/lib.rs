//! What the gateway asks of a message broker, and the two brokers that need no server.
//!
//! [`BrokerDriver`] is the whole of what receivers know about brokers. A driver for another protocol is
//! another crate that implements it and passes `conformance`. Here stand the trait, its errors, that
//! suite, the embedded log, the mock, and the spool that takes messages for a broker which is away; nothing
//! here knows HTTP or policies.

#[cfg(feature = "conformance")]
pub mod conformance;
mod driver;
mod error;
mod log;
mod mock;
mod spool;

pub use driver::{
    BatchLimit, Bounds, BrokerDriver, Capabilities, ConsumeSpec, Consumer, Receipt, StartAt, StopAt,
};
pub use error::{DriverError, ErrorKind, Fault};
pub use log::{Log, LogOptions};
pub use mock::Mock;
pub use spool::{Spool, SpoolMetrics, SpoolStatus, Spools};
