//! The AMQP 1.0 driver: [`Amqp`] implements [`BrokerDriver`](sluice_broker::BrokerDriver) for Solace event brokers,
//! ActiveMQ Artemis, RabbitMQ's plugin and others.
//!
//! One driver publishes by one connection, with a link for each address; each reader has a connection of its own, with
//! a link for each topic. Brokers differ in how they write addresses and in what they keep for a group: all of that
//! stands in one file, `address`. There is no log behind such a broker: a reader starts with what comes from now on, or
//! goes on with what the broker keeps for its group. Nothing here knows event APIs, HTTP or policies.
//!
//! ```no_run
//! use sluice_broker::BrokerDriver;
//! use sluice_broker_amqp::{Amqp, AmqpOptions};
//! use sluice_message::{Message, Topic};
//!
//! # async fn example(config: sluice_api::AmqpConfig) -> Result<(), sluice_broker::DriverError> {
//! let amqp = Amqp::open(&config, AmqpOptions::default())?;
//! amqp.publish(&Topic::from("topic://orders"), Message::builder().payload("one").build()).await?;
//! # Ok(())
//! # }
//! ```

mod address;
mod apart;
mod broker;
mod connection;
mod credit;
mod driver;
mod error;
mod grants;
mod guard;
mod json;
mod keeper;
mod message;
mod options;
mod outlet;
mod publisher;
mod reader;
mod sasl;
mod semp;
mod settings;
mod stranger;
mod values;

pub use driver::Amqp;
pub use options::AmqpOptions;
