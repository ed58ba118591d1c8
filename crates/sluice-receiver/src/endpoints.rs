//! The brokers of an API that policies can choose: for a client, or for one message.
//!
//! A policy chooses by an attribute, as that of the contract: the name of a broker, or of a group of brokers. What it
//! chooses may come from a client; of an API only brokers can be chosen that its definition names, and topics there
//! as at any other.

use std::{fmt, sync::Arc};

use http::StatusCode;
use sluice_broker::BrokerDriver;
use sluice_message::{Attributes, Topic};
use sluice_policy::{ChosenBy, chosen_endpoint};
use sluice_stream::Begin;

use crate::{Binding, Refusal};

/// A broker, or a group of brokers, as receivers use it.
pub struct Endpoint {
    /// By which it is chosen.
    pub name: Arc<str>,
    /// What messages are read by.
    pub driver: Arc<dyn BrokerDriver>,
    /// What messages are published by.
    pub publisher: Arc<dyn BrokerDriver>,
    /// The topics that each published message goes to; `None` where publishing is switched off.
    pub publish_topics: Option<Vec<Topic>>,
    /// The topics that messages are delivered from; `None` where reading is switched off.
    pub deliver_topics: Option<Vec<Topic>>,
    /// What chooses topics and keys there.
    pub chosen_by: ChosenBy,
    /// Where a client that brings no position begins.
    pub begin: Begin,
}

/// All that policies of an API can choose.
#[derive(Default)]
pub struct Endpoints {
    serving: Vec<Arc<str>>,
    others: Vec<Endpoint>,
}

/// A policy has chosen a broker that is of no use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoEndpoint {
    /// There is no such broker, and no such group.
    Unknown,
    /// It is not set up for this direction.
    Closed,
    /// It keeps no messages that a client could come back for.
    Fleeting,
}

impl fmt::Display for NoEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unknown => {
                "A policy of this API chose an endpoint that this API does not have. Its publisher has to act."
            }
            Self::Closed => {
                "A policy of this API chose an endpoint that is not set up for this: its producer or its consumer is \
                 switched off, or has no topics. Its publisher has to act."
            }
            Self::Fleeting => {
                "A policy of this API chose an endpoint that cannot keep the promise of this receiver: its kind of \
                 broker keeps no messages. Its publisher has to act."
            }
        })
    }
}

/// How a message is published.
#[derive(Clone, Copy)]
pub(crate) struct Way<'a> {
    pub(crate) publisher: &'a dyn BrokerDriver,
    /// The topics that are the same for all messages.
    pub(crate) topics: &'a [Topic],
    /// What chooses others.
    pub(crate) chosen_by: &'a ChosenBy,
}

impl<'a> Way<'a> {
    /// The one that was chosen, in the first of these places where one was, or that of the binding. A channel has
    /// topics of its own, at every broker.
    pub(crate) fn of(binding: &'a Binding, places: &[&Attributes]) -> Result<Self, NoEndpoint> {
        let Some(endpoint) = binding.endpoints.chosen(places)? else {
            let (topics, chosen_by) = (&binding.publish_topics, &binding.chosen_by);
            return Ok(Self { publisher: &*binding.publisher, topics, chosen_by });
        };
        let own = endpoint.publish_topics.as_ref().ok_or(NoEndpoint::Closed)?;
        let topics = if binding.channel.is_some() { &binding.publish_topics } else { own };
        if topics.is_empty() && !endpoint.chosen_by.differs() {
            return Err(NoEndpoint::Closed);
        }
        Ok(Self { publisher: &*endpoint.publisher, topics, chosen_by: &endpoint.chosen_by })
    }
}

impl Endpoints {
    /// Those with the names of `serving` are what serves without a choice, `others` is what else there is. Of two of
    /// one name the first counts.
    pub const fn new(serving: Vec<Arc<str>>, others: Vec<Endpoint>) -> Self {
        Self { serving, others }
    }

    /// All but what serves without a choice.
    pub fn others(&self) -> &[Endpoint] {
        &self.others
    }

    /// The one that was chosen, in the first of these places where one was; `None` where none was, or what serves
    /// without.
    ///
    /// # Errors
    /// There is no such one.
    pub fn chosen(&self, places: &[&Attributes]) -> Result<Option<&Endpoint>, NoEndpoint> {
        let Some(name) = chosen_endpoint(places) else { return Ok(None) };
        if self.serving.iter().any(|serving| **serving == *name) {
            return Ok(None);
        }
        let chosen = self.others.iter().find(|endpoint| *endpoint.name == *name);
        chosen.map(Some).ok_or(NoEndpoint::Unknown)
    }
}

impl From<NoEndpoint> for Refusal {
    fn from(error: NoEndpoint) -> Self {
        match error {
            NoEndpoint::Unknown => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "endpoint.unknown", error.to_string())
                    .with_key("NO_ENDPOINT_FOUND")
            }
            NoEndpoint::Closed => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "endpoint.closed", error.to_string())
            }
            NoEndpoint::Fleeting => Self::new(StatusCode::BAD_REQUEST, "qos.incompatible", error.to_string())
                .with_key("INCOMPATIBLE_QOS"),
        }
    }
}
