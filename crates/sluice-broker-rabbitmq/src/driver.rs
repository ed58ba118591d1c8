//! The driver itself: what it can do, and which of its halves does it.

use std::{
    hash::{BuildHasher, RandomState},
    sync::Arc,
};

use futures_util::future::{BoxFuture, join};
use lapin::{options::QueueDeclareOptions, types::FieldTable};
use sluice_api::{RabbitmqConfig, RabbitmqExchange};
use sluice_broker::{
    Bounds, BrokerDriver, Capabilities, ConsumeSpec, Consumer, DriverError, ErrorKind, HeaderSupport,
    Receipt, StartAt, StopAt,
};
use sluice_message::{Message, Topic};
use tokio::{sync::watch, time::timeout};

use crate::{
    RabbitmqOptions,
    connect::{Live, Role, Target, short},
    error::{closed, failed},
    link::Link,
    producer::Producer,
    reader::Reader,
    session::{Plan, Source, declare},
};

/// Two connections to one virtual host of RabbitMQ.
pub struct Rabbitmq {
    config: RabbitmqConfig,
    options: RabbitmqOptions,
    identity: String,
    producer: Producer,
    reading: Arc<Link>,
    /// How many readers are about to give back what they hold.
    leaving: watch::Sender<usize>,
}

impl Rabbitmq {
    /// Opens a driver. Does not wait for the broker, which may be away; reads certificates from disk.
    ///
    /// # Errors
    ///
    /// Of kind [`ErrorKind::Configuration`], where the settings cannot work with any broker.
    pub fn open(config: &RabbitmqConfig, options: RabbitmqOptions) -> Result<Self, DriverError> {
        let mark = format!("{:016x}", RandomState::new().hash_one(()));
        let target = Arc::new(Target::new(config, &options, mark)?);
        let publishing = Link::new(target.clone(), Role::Producer);
        Ok(Self {
            identity: format!("rabbitmq {}", target.address),
            producer: Producer::new(publishing, config.producer.clone(), options),
            reading: Arc::new(Link::new(target, Role::Consumer)),
            leaving: watch::Sender::new(0),
            config: config.clone(),
            options,
        })
    }

    fn plan(&self, ConsumeSpec { topics, start, stop }: ConsumeSpec) -> Result<Plan, DriverError> {
        if self.reading.is_closed() {
            return Err(closed());
        }
        let unsupported = |text: &str| Err(DriverError::new(ErrorKind::Unsupported, text));
        if stop == StopAt::End {
            return unsupported("RabbitMQ does not say where its queues end.");
        }
        if let Some(topic) = topics.iter().find(|topic| topic.as_str().len() > 255) {
            let text = format!("'{topic}' is no binding key: it has more than 255 bytes.");
            return Err(DriverError::new(ErrorKind::NoTopic, text));
        }
        let existing = self.config.consumer.queue.as_deref().map(Arc::from).map(Source::Existing);
        let source = match start {
            StartAt::Group { sole: false, .. } if existing.is_some() => {
                return unsupported("A queue that is there already has one reader at a time.");
            }
            StartAt::Latest => existing.unwrap_or(Source::Own),
            StartAt::Group { name, sole, .. } => existing.unwrap_or(Source::Group { name, sole }),
            StartAt::Earliest | StartAt::After(_) => {
                return unsupported(
                    "RabbitMQ keeps no messages to go back to: it is read from now on, or by a group.",
                );
            }
        };
        Ok(Plan {
            source,
            keys: topics,
            settings: self.config.consumer.clone(),
            address: self.reading.address().to_owned(),
            time: self.options.answer_timeout,
        })
    }

    async fn look(&self) -> Result<(), DriverError> {
        let link = if self.config.consumer.enabled { &*self.reading } else { self.producer.link() };
        let live = link.live().await?;
        let address = link.address();
        let looking = async {
            // Asks even where there is nothing to look for: nobody may have noticed yet that the broker has gone.
            let channel = channel(&live, address).await?;
            let (consumer, producer) = (&self.config.consumer, &self.config.producer);
            for exchange in [consumer.exchange.as_ref(), producer.exchange.as_ref()].into_iter().flatten() {
                look_for(&live, exchange, address).await?;
            }
            let Some(queue) = &consumer.queue else { return Ok(()) };
            let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
            let found = channel.queue_declare(short(queue), passive, FieldTable::default()).await;
            let doing = format_args!("Looking for the queue '{queue}'");
            found.map(drop).map_err(|error| failed(doing, address, &error))
        };
        match timeout(self.options.answer_timeout, looking).await {
            Ok(looked) => looked,
            Err(_) => {
                let text = format!("RabbitMQ {address} did not answer in time.");
                Err(DriverError::new(ErrorKind::Unreachable, text))
            }
        }
    }
}

async fn channel(live: &Live, address: &str) -> Result<lapin::Channel, DriverError> {
    live.connection.create_channel().await.map_err(|error| failed("Opening a channel", address, &error))
}

/// Looks for an exchange without making it. One that is declared on first use may be missing until then; one that is
/// there is declared as it will be then, which tells whether it is of another kind.
async fn look_for(live: &Live, exchange: &RabbitmqExchange, address: &str) -> Result<(), DriverError> {
    // RabbitMQ answers a miss by closing the channel.
    let channel = channel(live, address).await?;
    let passive = RabbitmqExchange { declare: false, ..exchange.clone() };
    match declare(&channel, Some(&passive), address).await {
        Err(error) if error.kind == ErrorKind::NoTopic && exchange.declare => Ok(()),
        Ok(()) if exchange.declare => declare(&channel, Some(exchange), address).await,
        looked => looked,
    }
}

impl BrokerDriver for Rabbitmq {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            shared_reading: true,
            replay: false,
            groups: true,
            // A queue that is there already has one reader, so that no two take messages from each other.
            sharing: self.config.consumer.queue.is_none(),
            keys: false,
            headers: HeaderSupport::Joined,
            tombstones: false,
        }
    }

    /// Host, port and virtual host: positions mean nothing at this broker, whichever way leads to it.
    fn identity(&self) -> BoxFuture<'_, Result<String, DriverError>> {
        Box::pin(async { Ok(self.identity.clone()) })
    }

    fn publish<'a>(
        &'a self,
        topic: &'a Topic,
        message: Message,
    ) -> BoxFuture<'a, Result<Receipt, DriverError>> {
        Box::pin(async move {
            self.producer.publish(topic, message).await?;
            Ok(Receipt { place: None })
        })
    }

    fn consume(&self, spec: ConsumeSpec) -> BoxFuture<'_, Result<Box<dyn Consumer>, DriverError>> {
        Box::pin(async {
            let reader = Reader::open(self.plan(spec)?, self.reading.clone(), self.leaving.clone()).await?;
            Ok(Box::new(reader) as Box<dyn Consumer>)
        })
    }

    /// Whether the broker takes the credentials and the virtual host, and has the exchanges and the queue that are to
    /// be there. What the user may do with them shows when it is done.
    fn check<'a>(&'a self, _topics: &'a [Topic]) -> BoxFuture<'a, Result<(), DriverError>> {
        Box::pin(self.look())
    }

    fn bounds<'a>(&'a self, _topics: &'a [Topic]) -> BoxFuture<'a, Result<Bounds, DriverError>> {
        let error = if self.reading.is_closed() {
            closed()
        } else {
            DriverError::new(ErrorKind::Unsupported, "RabbitMQ keeps no messages to go back to.")
        };
        Box::pin(async { Err(error) })
    }

    /// Takes no longer than the publish timeout and a few seconds more.
    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {
            join(self.producer.close(), self.reading.close()).await;
        })
    }
}
