//! A reader's channel: the queue it reads, how that is bound, and the consumer on it.
//!
//! Three kinds of queues: one without a name of its own that goes with its reader, the durable one of a group, and one
//! that is there already and is none of the gateway's business.

use std::{sync::Arc, time::Duration};

use lapin::{
    Channel, Consumer, ExchangeKind,
    options::{
        BasicConsumeOptions, BasicQosOptions, ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions,
    },
    types::{AMQPValue, FieldTable, ShortString},
};
use sluice_api::{RabbitmqConsumer, RabbitmqExchange, RabbitmqQueue, RabbitmqQueueType};
use sluice_broker::{DriverError, ErrorKind};
use sluice_message::Topic;
use tokio::time::timeout;

use crate::{
    connect::{Live, short},
    error::failed,
};

/// What is bound to where no exchange is named.
pub(crate) const DEFAULT_EXCHANGE: &str = "amq.topic";
/// How long the queue of a reader is kept that went away before it had begun, in milliseconds.
const ABANDONED_MS: i64 = 60_000;

/// Which queue is read.
#[derive(Debug, Clone)]
pub(crate) enum Source {
    /// One of the reader's own, which goes with it.
    Own,
    /// The durable one of a group, by one reader or by several.
    Group { name: Arc<str>, sole: bool },
    /// One that is there already.
    Existing(Arc<str>),
}

/// All that it takes to open a session again after its connection was lost.
pub(crate) struct Plan {
    pub(crate) source: Source,
    pub(crate) keys: Vec<Topic>,
    pub(crate) settings: RabbitmqConsumer,
    pub(crate) address: String,
    pub(crate) time: Duration,
}

/// A consumer on a channel. Dropping both gives back to the queue what is not acknowledged.
pub(crate) struct Session {
    pub(crate) channel: Channel,
    pub(crate) consumer: Consumer,
    /// Keeps the connection for as long as it is read from.
    pub(crate) live: Arc<Live>,
}

impl Plan {
    /// Opens a session, within the answer timeout.
    pub(crate) async fn open(&self, live: Arc<Live>) -> Result<Session, DriverError> {
        match timeout(self.time, self.try_open(live)).await {
            Ok(opened) => opened,
            Err(_) => {
                let text = format!("RabbitMQ {} did not answer a reader in time.", self.address);
                Err(DriverError::new(ErrorKind::Unreachable, text))
            }
        }
    }

    async fn try_open(&self, live: Arc<Live>) -> Result<Session, DriverError> {
        let at = |doing: String| move |error: lapin::Error| failed(doing, &self.address, &error);
        let channel =
            live.connection.create_channel().await.map_err(at("Opening a channel to read".to_owned()))?;
        let queue = self.queue(&channel).await?;
        let settings = &self.settings;
        channel
            .basic_qos(settings.prefetch, BasicQosOptions::default())
            .await
            .map_err(at(format!("Reading the queue '{queue}'")))?;
        let exclusive = !matches!(self.source, Source::Group { sole: false, .. });
        let options = BasicConsumeOptions { exclusive, ..BasicConsumeOptions::default() };
        let consumer = channel
            .basic_consume(queue.clone(), ShortString::default(), options, FieldTable::default())
            .await
            .map_err(at(format!("Reading the queue '{queue}'")))?;
        Ok(Session { channel, consumer, live })
    }

    /// The name of the queue, which is there and bound.
    async fn queue(&self, channel: &Channel) -> Result<ShortString, DriverError> {
        let at = |doing: String| move |error: lapin::Error| failed(doing, &self.address, &error);
        let (name, options, arguments) = match &self.source {
            Source::Existing(name) => {
                let name = short(name);
                let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
                let found = channel.queue_declare(name.clone(), passive, FieldTable::default()).await;
                found.map_err(at(format!("Looking for the queue '{name}'")))?;
                return Ok(name);
            }
            Source::Own => {
                let mut arguments = FieldTable::default();
                arguments.insert(short("x-expires"), AMQPValue::LongLongInt(ABANDONED_MS));
                let options =
                    QueueDeclareOptions { exclusive: true, auto_delete: true, ..Default::default() };
                (ShortString::default(), options, arguments)
            }
            Source::Group { name, .. } => {
                let name = queue_name(name)?;
                let options = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
                (name, options, arguments(&self.settings.durable_queue))
            }
        };
        let exchange = self.settings.exchange.as_ref();
        declare(channel, exchange, &self.address).await?;
        let doing = if name.as_str().is_empty() {
            "Making a queue".to_owned()
        } else {
            format!("Making the queue '{name}'")
        };
        let made = channel.queue_declare(name, options, arguments).await.map_err(at(doing))?;
        let exchange = short(name_of(exchange));
        for key in &self.keys {
            channel
                .queue_bind(
                    made.name().clone(),
                    exchange.clone(),
                    short(key.as_str()),
                    QueueBindOptions::default(),
                    FieldTable::default(),
                )
                .await
                .map_err(at(format!("Binding a queue to '{exchange}' by '{key}'")))?;
        }
        Ok(made.name().clone())
    }
}

/// The exchange's name.
pub(crate) fn name_of(exchange: Option<&RabbitmqExchange>) -> &str {
    exchange.map_or(DEFAULT_EXCHANGE, |exchange| &exchange.name)
}

/// Declares an exchange as it is set, or only looks for it. The broker's own are there.
pub(crate) async fn declare(
    channel: &Channel,
    exchange: Option<&RabbitmqExchange>,
    address: &str,
) -> Result<(), DriverError> {
    let Some(exchange) = exchange.filter(|exchange| !exchange.name.is_empty()) else { return Ok(()) };
    let options = ExchangeDeclareOptions {
        passive: !exchange.declare,
        durable: exchange.durable,
        auto_delete: exchange.auto_delete,
        ..ExchangeDeclareOptions::default()
    };
    let kind = ExchangeKind::Custom(exchange.kind.clone());
    let declared =
        channel.exchange_declare(short(&exchange.name), kind, options, FieldTable::default()).await;
    declared
        .map_err(|error| failed(format_args!("Declaring the exchange '{}'", exchange.name), address, &error))
}

fn queue_name(group: &str) -> Result<ShortString, DriverError> {
    ShortString::try_new(format!("sluice/{group}")).map_err(|_| {
        let text = format!("The name of the group '{group}' is too long for the name of a queue.");
        DriverError::new(ErrorKind::Configuration, text)
    })
}

fn arguments(queue: &RabbitmqQueue) -> FieldTable {
    let mut arguments = FieldTable::default();
    let kind = match queue.kind {
        RabbitmqQueueType::Classic => "classic",
        RabbitmqQueueType::Quorum => "quorum",
    };
    arguments.insert(short("x-queue-type"), AMQPValue::LongString(kind.into()));
    if queue.expires_seconds > 0 {
        let milliseconds = i64::from(queue.expires_seconds) * 1000;
        arguments.insert(short("x-expires"), AMQPValue::LongLongInt(milliseconds));
    }
    if let Some(most) = queue.max_length {
        arguments.insert(short("x-max-length"), AMQPValue::LongLongInt(most.into()));
    }
    arguments
}
