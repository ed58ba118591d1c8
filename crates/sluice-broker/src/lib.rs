//! What the gateway asks of a message broker, and the two brokers that need no server.
//!
//! [`BrokerDriver`] is the whole of what receivers know about brokers. A driver for another protocol is
//! another crate that implements it and passes `conformance`. Here stand the trait, its errors, that
//! suite, the embedded log, the mock, several brokers used as one (`balance`), the spool that takes messages for a broker which is away, the journal that keeps
//! messages of a broker which does not, and what drivers have in common about TLS; nothing here knows HTTP or
//! policies.

pub mod balance;
#[cfg(feature = "conformance")]
pub mod conformance;
mod driver;
mod error;
mod journal;
mod log;
mod mock;
mod outage;
#[cfg(feature = "conformance")]
pub mod speed;
mod spool;
pub mod tls;

pub use driver::{
    BatchLimit, Bounds, BrokerDriver, Capabilities, ConsumeSpec, Consumer, HeaderSupport, Receipt, StartAt,
    StopAt,
};
pub use error::{DriverError, ErrorKind, Fault};
pub use journal::{Journal, JournalMetrics, Journals};
pub use log::{Log, LogOptions};
pub use mock::Mock;
pub use outage::{Outage, has_left};
pub use spool::{Spool, SpoolMetrics, SpoolStatus, Spools};
