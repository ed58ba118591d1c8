//! The producers of a driver, and which of them takes a message.
//!
//! There are two ways to publish, and librdkafka is told once for each producer which one is wanted. A message that is
//! sent at once is acknowledged soon, which is what a publisher needs that sends one at a time. A message that waits for
//! others makes large batches, which cost little. So messages go by a producer that waits for nothing until many are
//! under way, then by another that does wait, which is opened when it is first needed, until few are under way again.
//! Messages that are under way together may therefore change places. Who cares for the order of its messages waits
//! for each to be acknowledged, as all publishers of the gateway do.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use rdkafka::{
    ClientConfig,
    error::{KafkaError, RDKafkaErrorCode},
};
use sluice_broker::ErrorKind;
use sluice_message::{Message, Topic};
use tokio::sync::oneshot;
use tracing::warn;

use crate::{
    cluster::{Cluster, Listener},
    error::kind_of,
    producer::{Delivery, Producer, is_remembered_as_missing},
};

/// Messages under way that are many. With fewer, waiting costs more than larger batches save. With more, a producer that
/// does not wait costs most: librdkafka lets one batch of an idempotent producer be on its way to a partition, and while
/// messages that have waited long enough stand behind it its thread asks without a pause whether they may go.
const MANY: usize = 256;
/// Messages under way that are few again after they were many; so far below that a load about the bound does not
/// change producers all the time.
const FEW: usize = MANY / 8;
/// How long a producer that failed for good is kept before another is opened in its place.
const PAUSE: Duration = Duration::from_secs(1);
/// How long many messages go by the producer for a few after the other one could not be opened, until that is tried again.
const NEXT_TRY: Duration = Duration::from_secs(30);

/// What handing over a message came to.
pub(crate) type Sent = Result<oneshot::Receiver<Delivery>, KafkaError>;

/// What all producers of a driver have under way together.
#[derive(Debug, Default)]
struct Load {
    messages: AtomicUsize,
    bytes: AtomicUsize,
}

/// One message under way.
#[derive(Debug)]
pub(crate) struct UnderWay {
    load: Arc<Load>,
    bytes: usize,
    /// Those that were under way before it.
    others: (usize, usize),
}

impl UnderWay {
    fn new(load: &Arc<Load>, bytes: usize) -> Self {
        let others =
            (load.messages.fetch_add(1, Ordering::Relaxed), load.bytes.fetch_add(bytes, Ordering::Relaxed));
        Self { load: load.clone(), bytes, others }
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.load.messages.fetch_sub(1, Ordering::Relaxed);
        self.load.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// The producers of a driver.
pub(crate) struct Outbox {
    cluster: Arc<Cluster>,
    load: Arc<Load>,
    /// Messages and bytes that may be under way.
    room: (usize, usize),
    prompt: Lane,
    bulk: OnceLock<Lane>,
    bulk_settings: ClientConfig,
    /// From when on the second may be opened; `None` while it is being opened, and when it is there.
    next_try: Mutex<Option<Instant>>,
    /// Why the last producer failed that failed for good.
    last_fatal: Mutex<Option<KafkaError>>,
    /// Whether many messages have been under way since there were few.
    are_many: AtomicBool,
}

/// One way to publish.
struct Lane {
    settings: ClientConfig,
    producer: RwLock<Arc<Producer>>,
}

impl Outbox {
    /// Opens the producer for a few messages; the other one has the second settings.
    pub(crate) fn open(
        cluster: &Arc<Cluster>,
        (prompt, bulk_settings): (ClientConfig, ClientConfig),
        room: (usize, usize),
    ) -> Result<Self, KafkaError> {
        Ok(Self {
            cluster: cluster.clone(),
            load: Arc::default(),
            room,
            prompt: Lane::open(prompt, cluster)?,
            bulk: OnceLock::new(),
            bulk_settings,
            next_try: Mutex::new(Some(Instant::now())),
            last_fatal: Mutex::default(),
            are_many: AtomicBool::new(false),
        })
    }

    /// Hands over a message. Never waits: what there is no room for is an error.
    pub(crate) fn send(self: &Arc<Self>, topic: &Topic, message: &Message) -> Sent {
        let under_way = self.admit(message)?;
        if !self.is_one_of_many(&under_way) {
            return self.prompt.send(topic, message, under_way);
        }
        let Some(bulk) = self.bulk.get() else {
            self.want_bulk();
            return self.prompt.send(topic, message, under_way);
        };
        match bulk.send(topic, message, under_way) {
            // Each client remembers for itself.
            Err(error) if is_remembered_as_missing(&error) => self.send_promptly(topic, message),
            sent => sent,
        }
    }

    /// Hands over a message with few others in its batch, and by the producer that
    /// [`topic_is_there_now`](Self::topic_is_there_now) asks by.
    pub(crate) fn send_promptly(&self, topic: &Topic, message: &Message) -> Sent {
        self.prompt.send(topic, message, self.admit(message)?)
    }

    fn admit(&self, message: &Message) -> Result<UnderWay, KafkaError> {
        let under_way = UnderWay::new(&self.load, message.size());
        let (messages, bytes) = under_way.others;
        if messages >= self.room.0 || bytes + under_way.bytes > self.room.1 {
            return Err(KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull));
        }
        Ok(under_way)
    }

    fn is_one_of_many(&self, under_way: &UnderWay) -> bool {
        let were_many = self.are_many.load(Ordering::Relaxed);
        let are_many = under_way.others.0 >= MANY || (were_many && under_way.others.0 >= FEW);
        if are_many != were_many {
            self.are_many.store(are_many, Ordering::Relaxed);
        }
        are_many
    }

    fn next_try(&self) -> MutexGuard<'_, Option<Instant>> {
        self.next_try.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens the producer for many messages, one at a time, and beside those that are handed over meanwhile: it reads
    /// certificates.
    fn want_bulk(self: &Arc<Self>) {
        if self.next_try().take_if(|at| *at <= Instant::now()).is_none() {
            return;
        }
        let outbox = self.clone();
        self.cluster.ends.spawn_blocking(move || {
            match Lane::open(outbox.bulk_settings.clone(), &outbox.cluster) {
                Ok(lane) => drop(outbox.bulk.set(lane)),
                Err(error) => {
                    *outbox.next_try() = Some(Instant::now() + NEXT_TRY);
                    warn!(%error, "No producer for many messages could be opened; they go by the one for a few until that \
                        is tried again.");
                }
            }
        });
    }

    fn lanes(&self) -> impl Iterator<Item = &Lane> {
        std::iter::once(&self.prompt).chain(self.bulk.get())
    }

    /// Why a producer can never publish again, where this error of a message comes of that. Another takes its place,
    /// after a while, and what the failed one still had is given up with it.
    pub(crate) fn fatal_error(&self, error: &KafkaError) -> Option<KafkaError> {
        let fatal = self.lanes().find_map(|lane| {
            let producer = lane.producer();
            let error = producer.fatal_error()?;
            *self.last_fatal.lock().unwrap_or_else(PoisonError::into_inner) = Some(error.clone());
            if producer.age() > PAUSE {
                lane.replace(&producer, &self.cluster);
            }
            Some(error)
        });
        let was_given_up = kind_of(error) == ErrorKind::Closed;
        fatal.or_else(|| {
            let last = self.last_fatal.lock().unwrap_or_else(PoisonError::into_inner);
            last.clone().filter(|_| was_given_up)
        })
    }

    /// Asks the broker about a topic that librdkafka takes for missing. Blocks.
    pub(crate) fn topic_is_there_now(&self, topic: &Topic, timeout: Duration) -> bool {
        self.prompt.producer().topic_is_there_now(topic, timeout)
    }

    /// Those that may have something under way.
    pub(crate) fn producers(&self) -> Vec<Arc<Producer>> {
        self.lanes().map(Lane::producer).collect()
    }
}

impl Lane {
    fn open(settings: ClientConfig, cluster: &Arc<Cluster>) -> Result<Self, KafkaError> {
        let producer = Producer::open(&settings, Listener::patient(cluster))?;
        Ok(Self { settings, producer: RwLock::new(Arc::new(producer)) })
    }

    fn producer(&self) -> Arc<Producer> {
        self.producer.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn replace(&self, failed: &Arc<Producer>, cluster: &Arc<Cluster>) {
        let mut producer = self.producer.write().unwrap_or_else(PoisonError::into_inner);
        if !Arc::ptr_eq(&producer, failed) {
            return;
        }
        match Producer::open(&self.settings, Listener::patient(cluster)) {
            Ok(new) => *producer = Arc::new(new),
            Err(error) => {
                warn!(%error, "A new producer for Kafka could not be opened; that is tried again.");
            }
        }
    }

    fn send(&self, topic: &Topic, message: &Message, under_way: UnderWay) -> Sent {
        self.producer.read().unwrap_or_else(PoisonError::into_inner).send(topic, message, under_way)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An outbox of a cluster that never answers, so that everything stays under way.
    fn outbox(room: (usize, usize)) -> Arc<Outbox> {
        let mut settings = ClientConfig::new();
        settings.set("bootstrap.servers", "127.0.0.1:1");
        let cluster = Cluster::new("127.0.0.1:1", None);
        let outbox = Outbox::open(&cluster, (settings.clone(), settings), room);
        Arc::new(outbox.expect("opening needs no broker"))
    }

    fn message(bytes: usize) -> Message {
        Message::builder().payload(vec![0; bytes]).build()
    }

    fn is_full(sent: &Sent) -> bool {
        sent.as_ref().is_err_and(|error| error.rdkafka_error_code() == Some(RDKafkaErrorCode::QueueFull))
    }

    #[tokio::test]
    async fn a_second_producer_is_opened_for_many_messages_and_not_for_fewer() {
        let (outbox, topic) = (outbox((1000, usize::MAX)), Topic::from("orders"));
        for _ in 0..MANY {
            outbox.send(&topic, &message(1)).expect("there is room");
        }
        assert!(outbox.cluster.ends.is_empty(), "none is being opened");
        outbox.send(&topic, &message(1)).expect("there is room");
        outbox.cluster.ends.close();
        outbox.cluster.ends.wait().await;
        assert_eq!(outbox.producers().len(), 2);
    }

    #[tokio::test]
    async fn a_second_producer_that_could_not_be_opened_is_tried_again_after_a_while() {
        let mut outbox = outbox((1000, usize::MAX));
        let sound = outbox.bulk_settings.clone();
        let settings = |outbox: &mut Arc<Outbox>, settings| {
            Arc::get_mut(outbox).expect("nobody opens a producer now").bulk_settings = settings;
        };
        let opened = async |outbox: &Arc<Outbox>| {
            outbox.want_bulk();
            outbox.cluster.ends.close();
            outbox.cluster.ends.wait().await;
            outbox.producers().len() == 2
        };
        let mut unsound = sound.clone();
        unsound.set("linger.ms", "soon");
        settings(&mut outbox, unsound);
        assert!(!opened(&outbox).await);
        settings(&mut outbox, sound);
        assert!(!opened(&outbox).await, "it is too early");
        *outbox.next_try() = Some(Instant::now());
        assert!(opened(&outbox).await);
    }

    #[tokio::test]
    async fn messages_are_many_until_few_are_under_way() {
        let outbox = outbox((1000, usize::MAX));
        let admit = || outbox.admit(&message(1)).expect("there is room");
        let mut under_way: Vec<_> = (0..MANY).map(|_| admit()).collect();
        assert!(under_way.iter().all(|one| !outbox.is_one_of_many(one)));
        under_way.push(admit());
        assert!(outbox.is_one_of_many(&under_way[MANY]));
        under_way.truncate(FEW);
        assert!(outbox.is_one_of_many(&admit()), "some are left of those");
        under_way.truncate(FEW - 1);
        assert!(!outbox.is_one_of_many(&admit()), "two who publish all the time leave it, too");
        under_way.extend((0..MANY / 2).map(|_| admit()));
        assert!(!outbox.is_one_of_many(&admit()), "those are not many yet");
    }

    #[tokio::test]
    async fn what_all_producers_have_under_way_together_is_bounded_in_number_and_size() {
        let topic = Topic::from("orders");
        let small = outbox((3, usize::MAX));
        for _ in 0..3 {
            small.send(&topic, &message(1)).expect("there is room");
        }
        assert!(is_full(&small.send(&topic, &message(1))));
        assert_eq!(small.load.messages.load(Ordering::Relaxed), 3, "what was refused does not count");

        let narrow = outbox((1000, message(100).size() + message(1).size()));
        narrow.send(&topic, &message(100)).expect("there is room");
        assert!(is_full(&narrow.send(&topic, &message(2))));
        narrow.send(&topic, &message(1)).expect("there is just enough");
    }
}
