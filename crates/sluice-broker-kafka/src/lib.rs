//! The Kafka driver: [`Kafka`] implements [`BrokerDriver`](sluice_broker::BrokerDriver) on librdkafka.
//!
//! One driver is one set of connections to one cluster, shared by every event API with the same connection
//! settings ([`BrokerConfig::connection`](sluice_api::BrokerConfig::connection)). It holds idempotent producers for all requests (one, and a second
//! where many messages are under way), one client that asks about topics, and hands out readers. A reader at a position is no member of a group and commits nothing
//! (librdkafka asks where the coordinator of a group named `sluice-reader` is all the same); a reader of a
//! group is a member of it and commits when told to. Nothing here knows event APIs, HTTP or policies.
//!
//! ```no_run
//! use sluice_broker::BrokerDriver;
//! use sluice_broker_kafka::{Kafka, KafkaOptions};
//! use sluice_message::{Message, Topic};
//!
//! # async fn example(config: sluice_api::KafkaConfig) -> Result<(), sluice_broker::DriverError> {
//! let kafka = Kafka::open(&config, KafkaOptions::default())?;
//! let receipt = kafka.publish(&Topic::from("orders"), Message::builder().payload("one").build()).await?;
//! println!("acknowledged at {:?}", receipt.place);
//! # Ok(())
//! # }
//! ```

mod cluster;
mod detached;
mod driver;
mod error;
mod group;
mod lookup;
mod making;
mod options;
mod outbox;
mod patterns;
mod producer;
mod reader;
mod record;
mod settings;
mod stretch;
mod throttle;
mod token_endpoint;
mod tokens;

pub use driver::Kafka;
pub use options::KafkaOptions;
