//! The driver itself: what it can do, and who of its parts does it.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use futures_util::future::BoxFuture;
use sluice_api::{AmqpConfig, SolaceConfig, SolaceTransport};
use sluice_broker::{
    Bounds, BrokerDriver, Capabilities, ConsumeSpec, Consumer, DriverError, ErrorKind, HeaderSupport,
    Receipt, StartAt, StopAt,
};
use sluice_message::{Message, Topic};
use tokio::{sync::RwLock, time::timeout};

use crate::{
    AmqpOptions,
    address::{Address, Attachment, Reading},
    broker::{Broker, unique},
    connection::Connection,
    error::closed,
    publisher::Publisher,
    reader::{Plan, Reader},
    settings::Settings,
};

/// A connection to one broker that speaks AMQP 1.0.
pub struct Amqp {
    broker: Arc<Broker>,
    publisher: Publisher,
    /// Held for writing for a moment by who opens a reader or closes: what the readers before left is settled then.
    farewells: Arc<RwLock<()>>,
    is_closed: AtomicBool,
}

impl Amqp {
    /// Opens a connection to an `amqp` broker. Does not wait for it, and it may be away; reads certificates from disk.
    ///
    /// # Errors
    ///
    /// Of kind [`ErrorKind::Configuration`], where the settings cannot work with any broker.
    pub fn open(config: &AmqpConfig, options: AmqpOptions) -> Result<Self, DriverError> {
        Ok(Self::new(Settings::of_amqp(config)?, options))
    }

    /// Opens a connection to a `solace` broker by AMQP. Does not wait for it, and it may be away; reads certificates
    /// from disk.
    ///
    /// # Errors
    ///
    /// Of kind [`ErrorKind::Configuration`], where the settings cannot work with any broker, or name MQTT as their
    /// transport, which is another driver's.
    pub fn open_solace(config: &SolaceConfig, options: AmqpOptions) -> Result<Self, DriverError> {
        if config.transport == SolaceTransport::Mqtt {
            let text = "These settings are for MQTT, and this driver speaks AMQP.";
            return Err(DriverError::new(ErrorKind::Configuration, text));
        }
        Ok(Self::new(Settings::of_solace(config)?, options))
    }

    fn new(settings: Settings, options: AmqpOptions) -> Self {
        let broker = Arc::new(Broker::new(settings, options));
        Self {
            publisher: Publisher::new(broker.clone()),
            broker,
            farewells: Arc::default(),
            is_closed: AtomicBool::new(false),
        }
    }

    fn open_or_error(&self) -> Result<(), DriverError> {
        if self.is_closed.load(Ordering::SeqCst) { Err(closed()) } else { Ok(()) }
    }

    async fn open_reader(&self, spec: &ConsumeSpec) -> Result<Reader, DriverError> {
        self.open_or_error()?;
        let refused = |text: &str| Err(DriverError::new(ErrorKind::Unsupported, text));
        if spec.stop == StopAt::End {
            return refused("A broker without a log has no end to stop at.");
        }
        let reading = match &spec.start {
            StartAt::Latest => Reading::Live,
            StartAt::Group { name, sole, .. } => Reading::Group { name, sole: *sole },
            StartAt::Earliest | StartAt::After(_) => {
                return refused("A broker without a log has no messages to go back to.");
            }
        };
        let flavour = self.broker.settings.flavour;
        let unique = unique();
        let attached = spec.topics.iter().enumerate().map(|(at, topic)| {
            let address = Address::parse(topic.as_str());
            let attachment = flavour.attachment(address, reading, &format!("{unique}-{at}"))?;
            Ok((topic.clone(), attachment))
        });
        let plan = Plan {
            broker: self.broker.clone(),
            container: flavour.container(reading, &unique),
            topics: attached.collect::<Result<_, DriverError>>()?,
            is_group: reading.is_group(),
            farewells: self.farewells.clone(),
        };
        drop(self.farewells.write().await);
        Reader::open(plan).await
    }

    /// Whether a link can be attached in either direction: which one an event API wants is not known here.
    async fn check_topic(&self, connection: &mut Connection, topic: &Topic) -> Result<(), DriverError> {
        let flavour = self.broker.settings.flavour;
        let address = Address::parse(topic.as_str());
        let doing = || format!("Opening '{topic}'");
        // Dropping a link closes it.
        let Err(cause) = connection.attach_sender(&self.broker.settings, address).await else {
            return Ok(());
        };
        if cause.kind != ErrorKind::Refused {
            return Err(self.broker.error(doing(), &cause));
        }
        let Attachment { link, source, .. } = flavour.attachment(address, Reading::Live, &unique())?;
        let attached = connection.attach_receiver(link, source).await;
        attached.map(drop).map_err(|_| self.broker.error(doing(), &cause))
    }

    async fn check_all(&self, topics: &[Topic]) -> Result<(), DriverError> {
        self.open_or_error()?;
        let mut connection = Connection::open(&self.broker, &format!("sluice-{}", unique())).await?;
        let time = self.broker.options.answer_timeout;
        let mut checked = Ok(());
        for topic in topics {
            checked = match timeout(time, self.check_topic(&mut connection, topic)).await {
                Ok(checked) => checked,
                Err(_) => Err(self.broker.timed_out(format!("Opening '{topic}'"), time)),
            };
            if checked.is_err() {
                break;
            }
        }
        connection.close().await;
        checked
    }
}

impl BrokerDriver for Amqp {
    fn capabilities(&self) -> Capabilities {
        let flavour = self.broker.settings.flavour;
        Capabilities {
            shared_reading: true,
            replay: false,
            groups: flavour.keeps_topics(),
            sharing: flavour.shares_topics(),
            keys: true,
            headers: HeaderSupport::Joined,
            tombstones: true,
        }
    }

    fn identity(&self) -> BoxFuture<'_, Result<String, DriverError>> {
        Box::pin(async { Ok(self.broker.settings.identity.clone()) })
    }

    fn publish<'a>(
        &'a self,
        topic: &'a Topic,
        message: Message,
    ) -> BoxFuture<'a, Result<Receipt, DriverError>> {
        Box::pin(self.publisher.publish(topic, message))
    }

    fn consume(&self, spec: ConsumeSpec) -> BoxFuture<'_, Result<Box<dyn Consumer>, DriverError>> {
        Box::pin(async move {
            let reader = self.open_reader(&spec).await?;
            Ok(Box::new(reader) as Box<dyn Consumer>)
        })
    }

    fn check<'a>(&'a self, topics: &'a [Topic]) -> BoxFuture<'a, Result<(), DriverError>> {
        Box::pin(self.check_all(topics))
    }

    fn bounds<'a>(&'a self, _topics: &'a [Topic]) -> BoxFuture<'a, Result<Bounds, DriverError>> {
        Box::pin(async {
            self.open_or_error()?;
            let text = "A broker without a log has no first and last message.";
            Err(DriverError::new(ErrorKind::Unsupported, text))
        })
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {
            self.is_closed.store(true, Ordering::SeqCst);
            self.publisher.close().await;
            drop(self.farewells.write().await);
        })
    }
}
