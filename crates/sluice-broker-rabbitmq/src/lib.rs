//! The RabbitMQ driver: [`Rabbitmq`] implements [`BrokerDriver`](sluice_broker::BrokerDriver) by AMQP 0-9-1, on lapin.
//!
//! One driver is two connections to one virtual host, shared by every event API with the same connection settings
//! ([`BrokerConfig::connection`](sluice_api::BrokerConfig::connection)): one publishes, one reads, so that a broker
//! which stops publishers (low on memory, say) does not stop readers. A topic of the gateway is a routing key: to
//! publish with, or to bind a queue by. RabbitMQ keeps no log: a reader gets what comes from now on, by a queue of its
//! own that goes with it, or by the durable queue of its group. Nothing here knows event APIs, HTTP or policies.
//!
//! ```no_run
//! use sluice_broker::BrokerDriver;
//! use sluice_broker_rabbitmq::{Rabbitmq, RabbitmqOptions};
//! use sluice_message::{Message, Topic};
//!
//! # async fn example(config: sluice_api::RabbitmqConfig) -> Result<(), sluice_broker::DriverError> {
//! let rabbitmq = Rabbitmq::open(&config, RabbitmqOptions::default())?;
//! rabbitmq.publish(&Topic::from("orders.new"), Message::builder().payload("one").build()).await?;
//! # Ok(())
//! # }
//! ```

mod connect;
mod driver;
mod error;
mod guard;
mod link;
mod options;
mod pattern;
mod producer;
mod reader;
mod record;
mod session;
mod stranger;

pub use driver::Rabbitmq;
pub use options::RabbitmqOptions;
