//! The MQTT driver: [`Mqtt`] implements [`BrokerDriver`](sluice_broker::BrokerDriver) on rumqttc, for MQTT 5 and
//! 3.1.1.
//!
//! One driver is one set of connections to one broker, shared by every event API with the same connection settings
//! ([`BrokerConfig::connection`](sluice_api::BrokerConfig::connection)): one for all that is published, opened when
//! it is first needed, and one for each reader. The two versions of the protocol are two libraries; `v5` and `v4`
//! bring them behind the few words of `protocol`, and nothing else here knows which of them is spoken. Nothing here
//! knows event APIs, HTTP or policies.
//!
//! ```no_run
//! use sluice_broker::BrokerDriver;
//! use sluice_broker_mqtt::{Mqtt, MqttOptions};
//! use sluice_message::{Message, Topic};
//!
//! # async fn example(config: sluice_api::MqttConfig) -> Result<(), sluice_broker::DriverError> {
//! let mqtt = Mqtt::open(&config, MqttOptions::default())?;
//! mqtt.publish(&Topic::from("sensors/7/temp"), Message::builder().payload("21.5").build()).await?;
//! # Ok(())
//! # }
//! ```

mod backoff;
mod driver;
mod error;
mod filters;
mod flaps;
mod in_flight;
mod members;
mod message;
mod options;
mod protocol;
mod publisher;
mod reader;
mod session;
mod settings;
mod suspects;
mod v4;
mod v5;

pub use driver::Mqtt;
pub use options::MqttOptions;
