//! Several brokers used as one: a group of an event API's endpoints.
//!
//! [`Balanced`] stands between a receiver and the drivers of the group when a message is published, and chooses one
//! of them. [`Merged`] stands between the drivers and a hub when messages are read, and reads all of them, wherever a
//! message was put. Neither knows brokers: that is the drivers' business; nor are messages copied from one broker to
//! another. A group of one needs none of this.
//!
//! Where things stand: `wheel` deals out turns, `choice` knows who can be used, `balanced` publishes; `places` keeps
//! the places of several brokers apart, `known` remembers what a broker held that is away, `source` is one broker as it
//! is read, `pump` reads it on, `reader` brings what all of them read together, `merged` ties these to the trait.

mod balanced;
mod choice;
mod known;
mod merged;
mod places;
mod pump;
mod reader;
mod source;
mod wheel;

use std::sync::Arc;

use prometheus_client::metrics::counter::Counter;

use crate::BrokerDriver;

pub use self::{balanced::Balanced, merged::Merged};

/// One broker of a group, as it is published to.
#[derive(Clone)]
pub struct Member {
    /// Its name in the API, for logs.
    pub name: Arc<str>,
    /// Its share of the work where that is dealt out by weight.
    pub weight: u32,
    /// Whether it is used only while no other one can be.
    pub secondary: bool,
    /// Its driver.
    pub driver: Arc<dyn BrokerDriver>,
    /// What is counted of it.
    pub metrics: MemberMetrics,
}

/// What is counted of one broker of a group. Handles are shared: a clone counts into the same numbers.
#[derive(Debug, Clone, Default)]
pub struct MemberMetrics {
    /// Messages that it has acknowledged.
    pub published: Counter,
    /// Messages that it was given and has not acknowledged.
    pub failed: Counter,
    /// Messages that went to another one while this one was left alone.
    pub passed_over: Counter,
}
