//! Runs event APIs: finds the API of a request, admits it, hands it to a receiver; deploys and drains.
//!
//! [`Gateway`] is the handle that the management side deploys through. [`listen`] accepts connections, for
//! the gateway's ports and for any other HTTP service of the process. What is deployed is decided elsewhere.

mod broker_watch;
mod client_brokers;
mod cors;
mod deployment;
mod drivers;
mod endpoint_metrics;
mod endpoints;
mod exchange;
mod gateway;
mod hub;
mod key_rings;
mod listen;
mod metrics;
mod moment;
mod public_url;
mod readiness;
mod routes;
#[cfg(test)]
mod scripted;
mod service;
mod subscriptions;
mod target;
mod write_timeout;

pub use broker_watch::{BrokerState, BrokerStatus};
pub use drivers::DriverFactory;
pub use gateway::{Gateway, GatewayOptions};
pub use listen::{ListenOptions, Listeners};
pub use public_url::PublicUrl;
pub use readiness::Unreachable;
pub use service::Ends;
