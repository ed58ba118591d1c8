//! A broker in memory that keeps nothing but what its groups have not acknowledged, as one of MQTT does.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use futures_util::{FutureExt, future::BoxFuture};
use sluice_broker::{
    BatchLimit, Bounds, BrokerDriver, Capabilities, ConsumeSpec, Consumer, DriverError, ErrorKind, Receipt,
    StartAt,
};
use sluice_message::{Message, Offset, Partition, Place, Position, Topic};
use tokio::sync::watch;

/// Messages that a reader is handed before it acknowledges any.
pub(super) const CREDIT: usize = 100;
/// The largest payload that the broker takes.
pub(super) const LARGEST: usize = 1 << 20;

/// The broker, whatever connections there are.
#[derive(Default)]
pub(super) struct Broker {
    state: Mutex<State>,
    changed: watch::Sender<u64>,
    pub(super) is_away: AtomicBool,
    /// Times that a group was read by two at once.
    pub(super) doubled: AtomicUsize,
    /// Readers of groups that were opened so far.
    pub(super) opened: AtomicUsize,
}

#[derive(Default)]
struct State {
    groups: BTreeMap<Arc<str>, Group>,
}

struct Group {
    wanted: Topic,
    /// Published and not acknowledged, in order.
    kept: VecDeque<Message>,
    /// How many of them the present reader was handed.
    handed: usize,
    has_reader: bool,
}

impl Broker {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    fn notify(&self) {
        self.changed.send_modify(|changes| *changes += 1);
    }

    /// A connection to it.
    pub(super) fn connect(self: &Arc<Self>) -> Arc<dyn BrokerDriver> {
        Arc::new(Connection(Arc::clone(self)))
    }

    pub(super) fn set_away(&self, is_away: bool) {
        self.is_away.store(is_away, Ordering::SeqCst);
        self.notify();
    }

    fn check(&self) -> Result<(), DriverError> {
        if self.is_away.load(Ordering::SeqCst) {
            return Err(DriverError::new(ErrorKind::Unreachable, "No answer from 10.1.2.3:1883."));
        }
        Ok(())
    }

    /// Messages that are kept for groups.
    pub(super) fn kept(&self) -> usize {
        self.state().groups.values().map(|group| group.kept.len()).sum()
    }

    /// Groups that are being read.
    pub(super) fn read_now(&self) -> usize {
        self.state().groups.values().filter(|group| group.has_reader).count()
    }

    /// The names of the groups.
    pub(super) fn groups(&self) -> Vec<Arc<str>> {
        self.state().groups.keys().cloned().collect()
    }

    /// Waits until something is so.
    pub(super) async fn until(&self, is_so: impl Fn(&Self) -> bool) {
        let mut changed = self.changed.subscribe();
        while !is_so(self) {
            changed.changed().await.unwrap();
        }
    }

    /// Takes a message, without waiting for its readers.
    pub(super) fn put(&self, topic: &str, message: &Message) {
        let message = message.to_builder().metadata("topic", topic.to_owned()).build();
        for group in self.state().groups.values_mut().filter(|group| covers(group.wanted.as_str(), topic)) {
            group.kept.push_back(message.clone());
        }
        self.notify();
    }
}

/// `#` at the end stands for anything.
fn covers(wanted: &str, topic: &str) -> bool {
    wanted.strip_suffix('#').map_or(wanted == topic, |start| topic.starts_with(start))
}

struct Connection(Arc<Broker>);

impl BrokerDriver for Connection {
    fn capabilities(&self) -> Capabilities {
        Capabilities { replay: false, sharing: false, ..Capabilities::ALL }
    }

    fn identity(&self) -> BoxFuture<'_, Result<String, DriverError>> {
        async { Ok("broker in memory".to_owned()) }.boxed()
    }

    /// Answers once every group that is being read has acknowledged it, so that tests know where it is then.
    fn publish<'a>(
        &'a self,
        topic: &'a Topic,
        message: Message,
    ) -> BoxFuture<'a, Result<Receipt, DriverError>> {
        async move {
            self.0.check()?;
            if message.payload().len() > LARGEST {
                return Err(DriverError::new(ErrorKind::TooLarge, "The broker takes no such message."));
            }
            self.0.put(topic.as_str(), &message);
            let is_settled = |broker: &Broker| {
                broker.state().groups.values().all(|group| !group.has_reader || group.kept.is_empty())
            };
            self.0.until(is_settled).await;
            Ok(Receipt { place: None })
        }
        .boxed()
    }

    fn consume(&self, spec: ConsumeSpec) -> BoxFuture<'_, Result<Box<dyn Consumer>, DriverError>> {
        async move {
            self.0.check()?;
            let StartAt::Group { name, sole: true, .. } = spec.start else {
                return Err(DriverError::new(ErrorKind::Unsupported, "A journal reads as a group of one."));
            };
            let [wanted] = &spec.topics[..] else {
                return Err(DriverError::new(ErrorKind::Unsupported, "One topic for each group."));
            };
            let mut state = self.0.state();
            let group = state.groups.entry(name.clone()).or_insert_with(|| Group {
                wanted: wanted.clone(),
                kept: VecDeque::new(),
                handed: 0,
                has_reader: false,
            });
            if std::mem::replace(&mut group.has_reader, true) {
                self.0.doubled.fetch_add(1, Ordering::SeqCst);
            }
            self.0.opened.fetch_add(1, Ordering::SeqCst);
            drop(state);
            self.0.notify();
            let reader =
                GroupReader { broker: Arc::clone(&self.0), name, wanted: wanted.clone(), acknowledged: 0 };
            Ok(Box::new(reader) as Box<dyn Consumer>)
        }
        .boxed()
    }

    fn check<'a>(&'a self, _: &'a [Topic]) -> BoxFuture<'a, Result<(), DriverError>> {
        async { self.0.check() }.boxed()
    }

    fn bounds<'a>(&'a self, _: &'a [Topic]) -> BoxFuture<'a, Result<Bounds, DriverError>> {
        async { Err(DriverError::new(ErrorKind::Unsupported, "There are no offsets.")) }.boxed()
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        async {}.boxed()
    }
}

struct GroupReader {
    broker: Arc<Broker>,
    name: Arc<str>,
    wanted: Topic,
    /// How many messages this reader has acknowledged.
    acknowledged: u64,
}

impl Consumer for GroupReader {
    fn fetch<'a>(
        &'a mut self,
        batch: &'a mut Vec<Message>,
        limit: BatchLimit,
    ) -> BoxFuture<'a, Result<(), DriverError>> {
        async move {
            let is_due = |broker: &Broker| {
                let state = broker.state();
                let group = &state.groups[&self.name];
                broker.check().is_err() || group.handed < group.kept.len().min(CREDIT)
            };
            self.broker.until(is_due).await;
            self.broker.check()?;
            let mut state = self.broker.state();
            let group = state.groups.get_mut(&self.name).unwrap();
            let mut bytes = 0;
            for message in group.kept.iter().take(CREDIT).skip(group.handed) {
                bytes += message.size();
                if !batch.is_empty() && (batch.len() == limit.messages || bytes > limit.bytes) {
                    break;
                }
                let offset = Offset(self.acknowledged + group.handed as u64);
                let place = Place { topic: self.wanted.clone(), partition: Partition(0), offset };
                batch.push(message.to_builder().place(place).build());
                group.handed += 1;
            }
            Ok(())
        }
        .boxed()
    }

    fn commit<'a>(&'a mut self, position: &'a Position) -> BoxFuture<'a, Result<(), DriverError>> {
        async move {
            self.broker.check()?;
            let next = position.next(&self.wanted, Partition(0)).unwrap().0;
            let mut state = self.broker.state();
            let group = state.groups.get_mut(&self.name).unwrap();
            let count = usize::try_from(next - self.acknowledged).unwrap();
            group.kept.drain(..count);
            group.handed -= count;
            self.acknowledged = next;
            drop(state);
            self.broker.notify();
            Ok(())
        }
        .boxed()
    }
}

impl Drop for GroupReader {
    fn drop(&mut self) {
        if let Some(group) = self.broker.state().groups.get_mut(&self.name) {
            (group.handed, group.has_reader) = (0, false);
        }
        self.broker.notify();
    }
}
