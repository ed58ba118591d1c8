//! The driver itself: what it can do, and who of its connections does it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures_util::future::BoxFuture;
use sluice_api::{MqttConfig, MqttVersion};
use sluice_broker::{
    Bounds, BrokerDriver, Capabilities, ConsumeSpec, Consumer, DriverError, ErrorKind, HeaderSupport,
    Receipt, StartAt, StopAt,
};
use sluice_message::{Message, Topic};
use tokio::{
    sync::{mpsc, oneshot},
    time::timeout,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::debug;
use uuid::Uuid;

use crate::{
    MqttOptions,
    error::{Failure, closed},
    filters::{Filters, is_filter, is_name},
    flaps::{Flaps, Losses},
    members::Members,
    protocol::{self, Event, Session},
    publisher::{GOODBYE, Publisher},
    reader::{Durable, Reader},
    session::{Connection, Shared},
    settings::{Consuming, Producing, Target},
};

/// What the ids of clients begin with where nothing is set.
const CLIENT_ID: &str = "sluice";
/// How long connections that end may take beyond their goodbye.
const SLACK: Duration = Duration::from_secs(2);

/// A connection to one MQTT broker.
pub struct Mqtt {
    address: String,
    target: Target,
    consuming: Consuming,
    options: MqttOptions,
    client_id: String,
    publisher: Publisher,
    flaps: Arc<Flaps>,
    members: Arc<Members>,
    tasks: TaskTracker,
    closed: AtomicBool,
}

impl Mqtt {
    /// Opens a connection. Does not wait for the broker, which may be away; reads certificates from disk.
    ///
    /// # Errors
    ///
    /// Of kind [`ErrorKind::Configuration`], where the settings cannot work with any broker.
    pub fn open(config: &MqttConfig, options: MqttOptions) -> Result<Self, DriverError> {
        let target = Target::new(config, &options)?;
        let client_id = config.client_id.clone().unwrap_or_else(|| CLIENT_ID.to_owned());
        let has_properties = config.version == MqttVersion::V5;
        let (producing, flaps) = (Producing::new(config), Arc::<Flaps>::default());
        let id = transient(&client_id);
        let publisher = Publisher::new(&target, id, producing, &options, has_properties, Arc::clone(&flaps))?;
        Ok(Self {
            address: target.address(),
            target,
            consuming: Consuming::new(config),
            options,
            client_id,
            publisher,
            flaps,
            members: Arc::default(),
            tasks: TaskTracker::new(),
            closed: AtomicBool::new(false),
        })
    }

    fn check_open(&self) -> Result<(), DriverError> {
        if self.closed.load(Ordering::SeqCst) { Err(closed()) } else { Ok(()) }
    }

    fn unsupported<T>(&self, text: &str) -> Result<T, DriverError> {
        self.check_open()?;
        Err(DriverError::new(ErrorKind::Unsupported, text))
    }

    async fn open_reader(&self, spec: ConsumeSpec) -> Result<Reader, DriverError> {
        self.check_open()?;
        spec.topics.iter().try_for_each(|topic| check(topic, is_filter))?;
        if spec.stop == StopAt::End {
            return self.unsupported("MQTT does not say where a topic ends, so no reader stops there.");
        }
        let filters = Filters::new(&spec.topics);
        match spec.start {
            StartAt::Latest => {
                self.connect(transient(&self.client_id), None, filters, self.consuming.share.clone(), None)
                    .await
            }
            StartAt::Group { name, sole, .. } => self.open_durable(&name, sole, filters).await,
            StartAt::Earliest | StartAt::After(_) => {
                self.unsupported("MQTT keeps no messages for later, so a reader starts with what comes.")
            }
        }
    }

    async fn open_durable(
        &self,
        group: &Arc<str>,
        sole: bool,
        filters: Filters,
    ) -> Result<Reader, DriverError> {
        if self.consuming.qos == 0 {
            return self.unsupported(
                "A durable reader needs consumer.qos 1 or 2: at 0 the broker keeps nothing for it.",
            );
        }
        if !sole && self.target.version == MqttVersion::V311 {
            return self.unsupported(
                "Readers share the work by shared subscriptions, which MQTT 3.1.1 does not have.",
            );
        }
        // Their clients have other ids, so that they may be there beside each other.
        let seats = if sole { Arc::clone(group) } else { Arc::from(format!("$share/{group}")) };
        let Some(member) = self.members.join(&seats, sole) else {
            let text = format!("The group '{group}' is to have one reader and has one already.");
            return Err(DriverError::new(ErrorKind::Other, text));
        };
        let bound = GOODBYE + SLACK;
        // Beyond that the broker takes the session from the one before, as it does where another process has it.
        let _ = timeout(bound, member.alone()).await;
        let share = self.consuming.share.clone();
        let (id, share) = match sole {
            true => (format!("{}-{group}", self.client_id), share),
            false => {
                let id = format!("{}-{group}-{}", self.client_id, member.number);
                (id, Some(share.unwrap_or_else(|| share_name(group))))
            }
        };
        let durable = Durable::new(Arc::new(member), filters.clone());
        self.connect(id, Some(self.consuming.session_expiry), filters, share, Some(durable)).await
    }

    async fn connect(
        &self,
        client_id: String,
        kept: Option<u32>,
        filters: Filters,
        share: Option<String>,
        durable: Option<Durable>,
    ) -> Result<Reader, DriverError> {
        let receive_maximum = self.consuming.receive_maximum;
        let session = Session { client_id, kept, receive_maximum };
        let (client, link) = protocol::open(&self.target, &session)?;
        let shared = Arc::new(Shared::new(client, self.options.read_ahead_kib * 1024));
        let (sender, messages) = mpsc::channel(usize::from(receive_maximum));
        let (failures, errors) = mpsc::channel(1);
        let connection = Connection {
            address: self.address.clone(),
            link,
            shared: Arc::clone(&shared),
            filters,
            consuming: self.consuming.clone(),
            share,
            member: durable.as_ref().map(Durable::member),
            messages: sender,
            errors: failures,
            answer_timeout: self.options.answer_timeout,
            losses: Losses::new(self.address.clone(), Arc::clone(&self.flaps)),
        };
        let stop = CancellationToken::new();
        let (opening, opened) = oneshot::channel();
        self.tasks.spawn(connection.run(stop.clone(), opening));
        let reader = Reader { shared, messages, errors, ahead: None, durable, _stop: stop.drop_guard() };
        opened.await.map_err(|_| closed())??;
        Ok(reader)
    }

    async fn check_broker(&self) -> Result<(), DriverError> {
        self.check_open()?;
        let session = Session { client_id: transient(&self.client_id), kept: None, receive_maximum: 1 };
        let (client, mut link) = protocol::open(&self.target, &session)?;
        loop {
            match link.poll().await {
                Ok(Event::Connected(_)) => break,
                Ok(_) => {}
                Err(failure) => return Err(failure.at(&self.address)),
            }
        }
        client.disconnect();
        let _ = timeout(GOODBYE, async { while link.poll().await.is_ok() {} }).await;
        self.flaps.check()
    }
}

impl BrokerDriver for Mqtt {
    fn capabilities(&self) -> Capabilities {
        let is_v5 = self.target.version == MqttVersion::V5;
        let groups = self.consuming.qos > 0;
        Capabilities {
            shared_reading: true,
            replay: false,
            groups,
            // Under a share of the settings all groups would be one.
            sharing: groups && is_v5 && self.consuming.share.is_none(),
            keys: false,
            headers: if is_v5 { HeaderSupport::Repeated } else { HeaderSupport::None },
            tombstones: false,
        }
    }

    /// The address; MQTT has no other name for a broker.
    fn identity(&self) -> BoxFuture<'_, Result<String, DriverError>> {
        Box::pin(async { Ok(format!("mqtt {}", self.address)) })
    }

    fn publish<'a>(
        &'a self,
        topic: &'a Topic,
        message: Message,
    ) -> BoxFuture<'a, Result<Receipt, DriverError>> {
        Box::pin(async move {
            check(topic, is_name)?;
            self.publisher.publish(topic, message, &self.tasks, &self.closed).await?;
            Ok(Receipt { place: None })
        })
    }

    fn consume(&self, spec: ConsumeSpec) -> BoxFuture<'_, Result<Box<dyn Consumer>, DriverError>> {
        Box::pin(async {
            let reader = self.open_reader(spec).await?;
            Ok(Box::new(reader) as Box<dyn Consumer>)
        })
    }

    /// Connects and leaves again, and tells of connections that do not last. MQTT has no way to ask about a topic but to
    /// use it.
    fn check<'a>(&'a self, _: &'a [Topic]) -> BoxFuture<'a, Result<(), DriverError>> {
        Box::pin(async {
            // The link bounds each of its steps; this is for a broker that answers, but never to the point.
            let answered = timeout(self.options.answer_timeout + SLACK, self.check_broker()).await;
            answered.unwrap_or_else(|_| Err(Failure::mute().at(&self.address)))
        })
    }

    fn bounds<'a>(&'a self, _: &'a [Topic]) -> BoxFuture<'a, Result<Bounds, DriverError>> {
        Box::pin(async { self.unsupported("MQTT does not say what a topic holds.") })
    }

    /// Takes no longer than the publish timeout and some seconds more. Waits for the ends of readers that were
    /// dropped before, too.
    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {
            self.closed.store(true, Ordering::SeqCst);
            self.publisher.close().await;
            self.tasks.close();
            if timeout(GOODBYE + SLACK, self.tasks.wait()).await.is_err() {
                debug!("Connections to MQTT still end after the driver was closed.");
            }
        })
    }
}

/// The id of a client whose session nobody comes back to.
fn transient(client_id: &str) -> String {
    format!("{client_id}-{}", Uuid::new_v4().simple())
}

/// A group's name as that of a shared subscription, which must not hold what separates levels and what is a wildcard.
fn share_name(group: &str) -> String {
    group.replace('%', "%25").replace('/', "%2F").replace('+', "%2B").replace('#', "%23")
}

fn check(topic: &Topic, rule: fn(&str) -> bool) -> Result<(), DriverError> {
    if rule(topic.as_str()) {
        return Ok(());
    }
    let text =
        format!("There is no topic '{}': MQTT allows no such name here.", topic.as_str().escape_debug());
    Err(DriverError::new(ErrorKind::NoTopic, text))
}
