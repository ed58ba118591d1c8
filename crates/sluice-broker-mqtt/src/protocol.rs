//! What the driver asks of MQTT, whichever version is spoken.
//!
//! A connection is a pair: the [`Client`] takes what is to be sent, from anywhere; the [`Link`] is polled by the one
//! task that owns the connection, and says what comes. A link that failed connects again when it is polled again;
//! what it had not delivered is forgotten by [`Link::reset`], so that whoever sent it decides what becomes of it.

use sluice_api::{MqttRetained, MqttVersion};
use sluice_broker::DriverError;

use crate::{
    error::Failure,
    message::{Arrived, Outgoing},
    settings::Target,
    v4, v5,
};

/// What a connection is for.
#[derive(Debug, Clone)]
pub(crate) struct Session {
    pub(crate) client_id: String,
    /// How many seconds the broker keeps the session; `None` for one that ends with the connection.
    pub(crate) kept: Option<u32>,
    /// How many messages the broker may send without an acknowledgement.
    pub(crate) receive_maximum: u16,
}

/// What a broker grants with its CONNACK.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Granted {
    /// Whether it still had the session.
    pub(crate) resumed: bool,
    /// The largest packet it takes, in bytes.
    pub(crate) maximum_packet: Option<u32>,
    pub(crate) maximum_qos: u8,
    pub(crate) retains: bool,
    pub(crate) wildcards: bool,
    pub(crate) shares: bool,
    pub(crate) identifiers: bool,
}

impl Granted {
    /// Everything, as of a broker that says nothing to the contrary.
    pub(crate) const fn all(resumed: bool) -> Self {
        Self {
            resumed,
            maximum_packet: None,
            maximum_qos: 2,
            retains: true,
            wildcards: true,
            shares: true,
            identifiers: true,
        }
    }
}

/// What a link tells.
#[derive(Debug)]
pub(crate) enum Event {
    /// The connection is there.
    Connected(Granted),
    /// The broker's answer to a subscription: for each filter, why it was refused.
    Subscribed(Vec<Option<String>>),
    /// The broker's answer to the end of one.
    Unsubscribed,
    /// A message.
    Arrived(Arrived),
    /// Something that concerns only the protocol.
    Nothing,
}

/// The acknowledgement that a message waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ack {
    pub(crate) packet: u16,
    pub(crate) exactly_once: bool,
}

/// What is subscribed to in one packet.
#[derive(Debug, Clone)]
pub(crate) struct Subscription {
    pub(crate) filters: Vec<String>,
    pub(crate) qos: u8,
    pub(crate) retained: MqttRetained,
    pub(crate) identifier: Option<u32>,
}

/// Why a message that was handed over is not at the broker.
#[derive(Debug)]
pub(crate) enum Unsettled {
    /// The connection was lost before the broker acknowledged it; it may have it.
    Lost,
    /// The broker, or the library on its behalf, said no.
    Refused(DriverError),
}

/// Sends. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) enum Client {
    V5(v5::Client),
    V4(v4::Client),
}

/// Receives, and drives the connection.
pub(crate) enum Link {
    V5(Box<v5::Link>),
    V4(Box<v4::Link>),
}

/// A connection that is made when its link is polled.
///
/// # Errors
/// `Configuration`, where the address cannot be one.
pub(crate) fn open(target: &Target, session: &Session) -> Result<(Client, Link), DriverError> {
    Ok(match target.version {
        MqttVersion::V5 => {
            let (client, link) = v5::open(target, session)?;
            (Client::V5(client), Link::V5(Box::new(link)))
        }
        MqttVersion::V311 => {
            let (client, link) = v4::open(target, session)?;
            (Client::V4(client), Link::V4(Box::new(link)))
        }
    })
}

impl Client {
    /// Hands a message over and waits until the broker has acknowledged it.
    pub(crate) async fn publish(&self, message: Outgoing) -> Result<(), Unsettled> {
        match self {
            Self::V5(client) => client.publish(message).await,
            Self::V4(client) => client.publish(message).await,
        }
    }

    pub(crate) fn subscribe(&self, subscription: Subscription) {
        match self {
            Self::V5(client) => client.subscribe(subscription),
            Self::V4(client) => client.subscribe(subscription),
        }
    }

    pub(crate) fn unsubscribe(&self, filters: Vec<String>) {
        match self {
            Self::V5(client) => client.unsubscribe(filters),
            Self::V4(client) => client.unsubscribe(filters),
        }
    }

    pub(crate) fn acknowledge(&self, ack: Ack) {
        match self {
            Self::V5(client) => client.acknowledge(ack),
            Self::V4(client) => client.acknowledge(ack),
        }
    }

    pub(crate) fn disconnect(&self) {
        match self {
            Self::V5(client) => client.disconnect(),
            Self::V4(client) => client.disconnect(),
        }
    }
}

impl Link {
    /// Connects if need be, and waits for what comes next. Ends within two keep-alives and some seconds, or the
    /// connection counts as lost.
    pub(crate) async fn poll(&mut self) -> Result<Event, Failure> {
        match self {
            Self::V5(link) => link.poll().await,
            Self::V4(link) => link.poll().await,
        }
    }

    /// Forgets whatever was handed over for the connection that was lost.
    pub(crate) fn reset(&mut self) {
        match self {
            Self::V5(link) => link.reset(),
            Self::V4(link) => link.reset(),
        }
    }
}
