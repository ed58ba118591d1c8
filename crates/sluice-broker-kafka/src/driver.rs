//! The driver itself: what it can do, and who of its clients does it.

use std::{
    ops::Range,
    sync::{Arc, Mutex, PoisonError, RwLock},
    time::{Duration, Instant},
};

use futures_util::future::BoxFuture;
use rdkafka::{
    ClientConfig, Offset as KafkaOffset,
    error::{KafkaError, RDKafkaErrorCode},
};
use sluice_api::KafkaConfig;
use sluice_broker::{
    Bounds, BrokerDriver, Capabilities, ConsumeSpec, Consumer, DriverError, ErrorKind, Receipt, StartAt,
    StopAt,
};
use sluice_message::{Message, Offset, Place, Position, Topic};
use tokio::{
    sync::oneshot::{self, error::RecvError},
    task::spawn_blocking,
    time::timeout,
};
use tracing::{debug, warn};

use crate::{
    KafkaOptions,
    cluster::{Cluster, GRACE},
    error::closed,
    lookup::{Lookup, Partitions},
    making::Making,
    outbox::{Outbox, Sent},
    patterns::is_pattern,
    producer::{Delivery, is_remembered_as_missing},
    reader::{Reader, Starts},
    settings::{self, LARGEST_BATCH},
    stretch::Stretch,
    tokens::Tokens,
};

/// How often a record is sent that Kafka calls invalid. It says so of every record of a batch in which one is, also
/// of those of other publishers.
const INVALID_TRIES: u32 = 3;
/// How long after a refused time other records count as refused for it, too.
const CLOCK_SUSPECTED: Duration = Duration::from_secs(10);

/// The group that readers at a position name and do not join.
const READER_GROUP: &str = "sluice-reader";
/// How long a topic stays missing before the broker is asked again.
const PAUSE: Duration = Duration::from_secs(1);
/// What librdkafka may take beyond its own timeouts, since it looks at them once a second.
const SLACK: Duration = Duration::from_secs(2);
/// How often a message under way looks whether anything can come of it.
const LOOK: Duration = Duration::from_millis(250);

/// A connection to one Kafka cluster.
pub struct Kafka {
    cluster: Arc<Cluster>,
    config: KafkaConfig,
    options: KafkaOptions,
    base: ClientConfig,
    /// `None` once closed.
    clients: RwLock<Option<Clients>>,
    /// Makes topics that are missing, where that is asked for.
    making: Option<Making>,
    /// When the broker was last asked about a topic that librdkafka takes for missing.
    asked_again: Mutex<Option<Instant>>,
    /// When Kafka last refused the time of a message, which is the gateway's.
    clock_refused: Mutex<Option<Instant>>,
}

#[derive(Clone)]
struct Clients {
    outbox: Arc<Outbox>,
    lookup: Arc<Lookup>,
}

impl Kafka {
    /// Opens a connection. Does not wait for the cluster, which may be away; reads certificates from disk.
    ///
    /// # Errors
    ///
    /// Of kind [`ErrorKind::Configuration`], where the settings cannot work with any cluster.
    pub fn open(config: &KafkaConfig, options: KafkaOptions) -> Result<Self, DriverError> {
        let base = settings::client(config, &options)?;
        let tokens = settings::client_credentials(config)?.map(Tokens::begin).transpose()?;
        let cluster = Cluster::new(&settings::servers(config), tokens);
        let producers = settings::producers(&base, config, &options);
        let failed = |error: KafkaError| {
            cluster.end();
            cluster.error("Opening the connection", &error)
        };
        let room = (options.queue_messages as usize, options.queue_kib as usize * 1024);
        let outbox = Outbox::open(&cluster, producers, room).map_err(failed)?;
        let lookup_settings = settings::lookup(&base, config);
        let (time, most) = (options.answer_timeout, options.pattern_topics);
        let lookup = Lookup::open(&lookup_settings, cluster.clone(), time, most).map_err(failed)?;
        let making = config.auto_create.clone();
        let making = making.map(|how| Making::new(&base, how, cluster.clone(), time));
        let clients = Clients { outbox: Arc::new(outbox), lookup: Arc::new(lookup) };
        Ok(Self {
            cluster,
            config: config.clone(),
            options,
            base,
            clients: RwLock::new(Some(clients)),
            making,
            asked_again: Mutex::default(),
            clock_refused: Mutex::default(),
        })
    }

    fn clients(&self) -> Result<Clients, DriverError> {
        self.clients.read().unwrap_or_else(PoisonError::into_inner).clone().ok_or_else(closed)
    }

    /// Hands a message over while the driver is open. Closing waits for what was handed over before.
    fn send(&self, topic: &Topic, message: &Message, how: How) -> Result<Sent, DriverError> {
        let clients = self.clients.read().unwrap_or_else(PoisonError::into_inner);
        let outbox = &clients.as_ref().ok_or_else(closed)?.outbox;
        Ok(match how {
            How::WithOthers => outbox.send(topic, message),
            How::Promptly => outbox.send_promptly(topic, message),
        })
    }

    async fn publish_checked(
        &self,
        topic: &Topic,
        message: &Message,
        how: How,
    ) -> Result<Receipt, DriverError> {
        check_name(topic)?;
        let room = self.options.queue_kib as usize * 1024;
        if message.size() > room {
            let size = message.size();
            let message =
                format!("The message has {size} bytes; at most {room} are held for Kafka at a time.");
            return Err(DriverError::new(ErrorKind::TooLarge, message));
        }
        self.cluster.ready(self.options.publish_timeout).await?;
        let mut sent = self.send(topic, message, how)?;
        if sent.as_ref().is_err_and(is_remembered_as_missing) && Box::pin(self.is_there_now(topic)).await? {
            sent = self.send(topic, message, How::Promptly)?;
        }
        let doing = || format!("Publishing to the topic '{topic}'");
        let waiting = sent.map_err(|error| self.failed(doing(), &error))?;
        match self.settled(waiting).await {
            Some(Ok(Ok((partition, offset)))) => {
                Ok(Receipt { place: Some(Place { topic: topic.clone(), partition, offset }) })
            }
            Some(Ok(Err(error))) => Err(self.failed(doing(), &error)),
            Some(Err(_)) => Err(closed()),
            None => Err(self.cluster.timed_out(doing())),
        }
    }

    /// What librdkafka makes of a message; `None` where nothing can come of it, as Kafka refuses every login, or
    /// where librdkafka does not keep to its own timeout. Both are looked at once in a while, so that a message costs
    /// one timer and no place in a list of those to wake.
    async fn settled(&self, mut waiting: oneshot::Receiver<Delivery>) -> Option<Result<Delivery, RecvError>> {
        let mut waited = Duration::ZERO;
        loop {
            if let Ok(settled) = timeout(LOOK, &mut waiting).await {
                return Some(settled);
            }
            waited += LOOK;
            let is_overdue = waited >= self.options.publish_timeout + SLACK;
            if is_overdue || (waited >= GRACE && self.cluster.is_refused()) {
                return None;
            }
        }
    }

    /// Whether Kafka lately refused the time of a message. Then it calls the other records of the same batches
    /// invalid, and nothing is wrong with them.
    fn is_clock_refused(&self) -> bool {
        let refused = self.clock_refused.lock().unwrap_or_else(PoisonError::into_inner);
        refused.is_some_and(|refused| refused.elapsed() < CLOCK_SUSPECTED)
    }

    /// The error of a publish. Where it is the end of this producer, another takes its place.
    fn failed(&self, doing: String, error: &KafkaError) -> DriverError {
        if error.rdkafka_error_code() == Some(RDKafkaErrorCode::InvalidTimestamp) {
            *self.clock_refused.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        }
        let Ok(clients) = self.clients() else { return self.cluster.error(doing, error) };
        self.cluster.error(doing, clients.outbox.fatal_error(error).as_ref().unwrap_or(error))
    }

    /// Asks the broker again about a topic that librdkafka takes for missing, at most once in a while.
    async fn is_there_now(&self, topic: &Topic) -> Result<bool, DriverError> {
        {
            let mut asked = self.asked_again.lock().unwrap_or_else(PoisonError::into_inner);
            if asked.is_some_and(|asked| asked.elapsed() < PAUSE) {
                return Ok(false);
            }
            *asked = Some(Instant::now());
        }
        self.is_there(topic).await
    }

    /// Whether the producer finds a topic at the broker.
    async fn is_there(&self, topic: &Topic) -> Result<bool, DriverError> {
        let (clients, topic, time) = (self.clients()?, topic.clone(), self.options.answer_timeout);
        let asked = spawn_blocking(move || clients.outbox.topic_is_there_now(&topic, time));
        asked.await.map_err(|_| closed())
    }

    /// The partitions of these topics, after those that are missing were made where that is asked for.
    async fn partitions(&self, topics: &[Topic]) -> Result<Partitions, DriverError> {
        topics.iter().try_for_each(check_wanted)?;
        let lookup = self.clients()?.lookup;
        let found = lookup.partitions(topics).await;
        let (Err(ErrorKind::NoTopic), Some(making)) =
            (found.as_ref().map_err(|error| error.kind), &self.making)
        else {
            return found;
        };
        for topic in topics.iter().filter(|topic| !is_pattern(topic)) {
            let one = std::slice::from_ref(topic);
            if lookup.partitions(one).await.is_err_and(|error| error.kind == ErrorKind::NoTopic) {
                making.make(topic, async || lookup.partitions(one).await.is_ok()).await?;
            }
        }
        lookup.partitions(topics).await
    }

    async fn bounds_of(&self, topics: &[Topic]) -> Result<Bounds, DriverError> {
        let partitions = self.partitions(topics).await?;
        self.clients()?.lookup.bounds(&partitions).await
    }

    async fn open_reader(
        &self,
        ConsumeSpec { topics, start, stop }: ConsumeSpec,
    ) -> Result<Reader, DriverError> {
        let lookup = self.clients()?.lookup;
        let (cluster, options) = (self.cluster.clone(), &self.options);
        if let StartAt::Group { name, from_earliest, .. } = start {
            if stop == StopAt::End {
                let message = "A reader of a group has no end: others may read what is left of its topics.";
                return Err(DriverError::new(ErrorKind::Unsupported, message));
            }
            // A group would wait for a missing topic without a word.
            self.partitions(&topics).await?;
            let settings = settings::reader(&self.base, &self.config, &name, options);
            let name = settings::group_name(&self.config, &name).into();
            return Reader::member(settings, cluster, lookup, topics, (name, from_earliest), *options).await;
        }
        let bounds = self.bounds_of(&topics).await?;
        let starts = match &start {
            StartAt::Latest => starts_at(&bounds, |held| kafka_offset(held.end)),
            StartAt::After(position) => behind(position, &bounds, &topics)?,
            StartAt::Earliest | StartAt::Group { .. } => starts_at(&bounds, |_| KafkaOffset::Beginning),
        };
        let settings = settings::reader(&self.base, &self.config, READER_GROUP, options);
        match stop {
            StopAt::Never => {
                Reader::at_position(settings, cluster, lookup, topics, starts, options.topic_refresh).await
            }
            StopAt::End => {
                let stretch = Stretch::new(&starts, &bounds);
                Reader::up_to_end(settings, cluster, topics, stretch).await
            }
        }
    }

    /// Publishes, and once more after the topic was made, where it is missing and that is asked for. What seldom comes
    /// about is in boxes of its own, here and below: there is one of these futures for each message under way.
    async fn publish_or_make(
        &self,
        topic: &Topic,
        message: &Message,
        how: How,
    ) -> Result<Receipt, DriverError> {
        let published = self.publish_checked(topic, message, how).await;
        let Some(making) = &self.making else { return published };
        if published.as_ref().err().is_none_or(|error| error.kind != ErrorKind::NoTopic)
            || check_name(topic).is_err()
        {
            return published;
        }
        Box::pin(making.make(topic, async || self.is_there(topic).await.unwrap_or(false))).await?;
        self.publish_checked(topic, message, How::Promptly).await
    }
}

/// How a message is handed over.
#[derive(Debug, Clone, Copy)]
enum How {
    /// In a batch, where there are many.
    WithOthers,
    /// At once, so that it shares the fate of few others.
    Promptly,
}

impl BrokerDriver for Kafka {
    fn capabilities(&self) -> Capabilities {
        Capabilities::ALL
    }

    /// The id that Kafka gives to a cluster when it is made.
    fn identity(&self) -> BoxFuture<'_, Result<String, DriverError>> {
        Box::pin(async { Ok(format!("kafka {}", self.clients()?.lookup.cluster_id().await?)) })
    }

    fn publish<'a>(
        &'a self,
        topic: &'a Topic,
        message: Message,
    ) -> BoxFuture<'a, Result<Receipt, DriverError>> {
        Box::pin(async move {
            let (mut tries, mut how) = (1, How::WithOthers);
            loop {
                let published = self.publish_or_make(topic, &message, how).await;
                let is_shared_fate = match published.as_ref().map_err(|error| error.kind) {
                    Err(ErrorKind::Invalid) => tries < INVALID_TRIES,
                    // The batch may have been, in which all others were refused as well.
                    Err(ErrorKind::TooLarge) => tries == 1 && message.size() < LARGEST_BATCH,
                    _ => false,
                };
                if !is_shared_fate {
                    return published.map_err(|error| match error.kind {
                        ErrorKind::Invalid if self.is_clock_refused() => {
                            DriverError { kind: ErrorKind::Other, ..error }
                        }
                        _ => error,
                    });
                }
                (tries, how) = (tries + 1, How::Promptly);
            }
        })
    }

    fn consume(&self, spec: ConsumeSpec) -> BoxFuture<'_, Result<Box<dyn Consumer>, DriverError>> {
        Box::pin(async {
            let reader = self.open_reader(spec).await?;
            Ok(Box::new(reader) as Box<dyn Consumer>)
        })
    }

    fn bounds<'a>(&'a self, topics: &'a [Topic]) -> BoxFuture<'a, Result<Bounds, DriverError>> {
        Box::pin(self.bounds_of(topics))
    }

    /// Where missing topics are made, one that is missing is as good as any other.
    fn check<'a>(&'a self, topics: &'a [Topic]) -> BoxFuture<'a, Result<(), DriverError>> {
        Box::pin(async move {
            topics.iter().try_for_each(check_wanted)?;
            match self.clients()?.lookup.partitions(topics).await {
                Err(missing) if missing.kind == ErrorKind::NoTopic && self.making.is_some() => Ok(()),
                found => found.map(drop),
            }
        })
    }

    /// Patterns cover the topics whose names they match.
    fn covers(&self, wanted: &Topic, topic: &Topic) -> bool {
        wanted == topic || self.clients().is_ok_and(|clients| clients.lookup.patterns().covers(wanted, topic))
    }

    fn position_at<'a>(
        &'a self,
        topics: &'a [Topic],
        timestamp_ms: i64,
    ) -> BoxFuture<'a, Result<Position, DriverError>> {
        Box::pin(async move {
            let partitions = self.partitions(topics).await?;
            self.clients()?.lookup.position_at(&partitions, timestamp_ms).await
        })
    }

    /// Takes no longer than the publish timeout and four seconds more. Waits for the ends of readers that were
    /// dropped before, too, so that a gateway which stops then has left its groups. Whoever closes while
    /// another does waits as well.
    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {
            let time = self.options.publish_timeout + SLACK;
            let ends = &self.cluster.ends;
            self.cluster.end();
            {
                let mut clients = self.clients.write().unwrap_or_else(PoisonError::into_inner);
                if let Some(Clients { outbox, lookup }) = clients.take() {
                    drop(lookup);
                    // Counted before anybody can find the driver closed.
                    for producer in outbox.producers() {
                        ends.spawn_blocking(move || {
                            if let Err(error) = producer.flush(time) {
                                warn!(%error, "Messages on their way to Kafka were not settled in time and count as failed.");
                            }
                        });
                    }
                }
            }
            ends.close();
            if timeout(time + SLACK, ends.wait()).await.is_err() {
                debug!("Clients of Kafka still end after the driver was closed.");
            }
        })
    }
}

/// Kafka's own rule for names. librdkafka would take some others for the name of nothing, or panic.
fn check_name(topic: &Topic) -> Result<(), DriverError> {
    let name = topic.as_str();
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    if (1..=249).contains(&name.len()) && name.bytes().all(allowed) && !matches!(name, "." | "..") {
        return Ok(());
    }
    let message = format!("There is no topic '{}': Kafka allows no such name.", name.escape_debug());
    Err(DriverError::new(ErrorKind::NoTopic, message))
}

/// For reading, a topic may be a pattern.
fn check_wanted(topic: &Topic) -> Result<(), DriverError> {
    if is_pattern(topic) { Ok(()) } else { check_name(topic) }
}

fn starts_at(bounds: &Bounds, start: impl Fn(&Range<Offset>) -> KafkaOffset) -> Starts {
    bounds.iter().map(|((topic, partition), held)| (topic.clone(), *partition, start(held))).collect()
}

/// The starts behind a position, if everything behind it is still there.
fn behind(position: &Position, bounds: &Bounds, topics: &[Topic]) -> Result<Starts, DriverError> {
    let lost = |topic: &Topic, detail: String| {
        DriverError::new(
            ErrorKind::PositionLost,
            format!("The position in the topic '{topic}' is lost: {detail}"),
        )
    };
    for (topic, partition, _) in position.nexts().filter(|(topic, ..)| topics.contains(topic)) {
        if !bounds.contains_key(&(topic.clone(), partition)) {
            return Err(lost(topic, format!("it has no partition {}.", partition.0)));
        }
    }
    let mut starts = Starts::new();
    for ((topic, partition), held) in bounds {
        let start = match position.next(topic, *partition) {
            None => KafkaOffset::Beginning,
            Some(next) if next > held.end && !topics.contains(topic) => {
                warn!(%topic, partition = partition.0, "A topic that matches a pattern was made anew; it is read from its first message on.");
                KafkaOffset::Beginning
            }
            Some(next) if next > held.end => {
                let (number, end) = (partition.0, held.end.0);
                return Err(lost(
                    topic,
                    format!("partition {number} ends at offset {end}, before {}.", next.0),
                ));
            }
            Some(next) if next < held.start => {
                let (number, first) = (partition.0, held.start.0);
                return Err(lost(
                    topic,
                    format!("partition {number} is kept from offset {first} only, not from {}.", next.0),
                ));
            }
            Some(next) => kafka_offset(next),
        };
        starts.push((topic.clone(), *partition, start));
    }
    Ok(starts)
}

fn kafka_offset(offset: Offset) -> KafkaOffset {
    // Within the bounds of a partition, which Kafka counts with the same number.
    KafkaOffset::Offset(i64::try_from(offset.0).unwrap_or(i64::MAX))
}
