//! The embedded log with faults on demand.

use std::{
    collections::{BTreeMap, VecDeque},
    ops::Range,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use futures_util::future::BoxFuture;
use sluice_broker::{
    BatchLimit, Bounds, BrokerDriver, Capabilities, ConsumeSpec, Consumer, DriverError, ErrorKind, Log,
    Receipt, StartAt, StopAt,
};
use sluice_message::{Message, Offset, Partition, Position, Topic};

/// A fault that happens once.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Fault {
    /// The next opening of a reader fails.
    Consume(ErrorKind),
    /// The next fetch fails, once it would have handed out something; what it read stays unread.
    Fetch(ErrorKind),
}

pub(crate) struct Flaky {
    log: Log,
    faults: Arc<Mutex<VecDeque<Fault>>>,
    /// What the broker says to have dropped: everything before these offsets.
    dropped: Arc<Mutex<BTreeMap<Topic, Offset>>>,
    /// Readers hand out nothing of this offset and the next ones up to the other.
    hole: Mutex<Range<u64>>,
    /// Readers that end by themselves, as those of single clients do.
    readers: Arc<Readers>,
}

#[derive(Default)]
pub(crate) struct Readers {
    pub(crate) opened: AtomicU64,
    now: AtomicU64,
    pub(crate) most: AtomicU64,
}

impl Readers {
    fn open(self: &Arc<Self>) -> Open {
        self.opened.fetch_add(1, Ordering::SeqCst);
        self.most.fetch_max(self.now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        Open(Arc::clone(self))
    }
}

struct Open(Arc<Readers>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.now.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Flaky {
    pub(crate) fn new(log: Log) -> Self {
        Self {
            log,
            faults: Arc::default(),
            dropped: Arc::default(),
            hole: Mutex::new(0..0),
            readers: Arc::default(),
        }
    }

    /// Makes these offsets hold no message, as those of transaction marks do.
    pub(crate) fn make_hole(&self, offsets: Range<u64>) {
        *self.hole.lock().unwrap() = offsets;
    }

    pub(crate) fn readers(&self) -> &Readers {
        &self.readers
    }

    /// Drops everything of a topic before this offset, as retention does: readers there are told that it is
    /// lost. Never moves back.
    pub(crate) fn drop_before(&self, topic: &Topic, offset: u64) {
        let mut dropped = self.dropped.lock().unwrap();
        let before = dropped.entry(topic.clone()).or_default();
        *before = (*before).max(Offset(offset));
    }

    fn dropped_before(&self, topic: &Topic) -> Offset {
        self.dropped.lock().unwrap().get(topic).copied().unwrap_or_default()
    }

    pub(crate) fn break_next(&self, fault: Fault) {
        self.faults.lock().unwrap().push_back(fault);
    }
}

fn take(faults: &Mutex<VecDeque<Fault>>, wanted: impl Fn(Fault) -> Option<ErrorKind>) -> Option<DriverError> {
    let mut faults = faults.lock().unwrap();
    let kind = faults.front().copied().and_then(wanted)?;
    faults.pop_front();
    Some(DriverError::new(kind, "Broken on purpose."))
}

fn lost() -> DriverError {
    DriverError::new(ErrorKind::PositionLost, "Dropped on purpose.")
}

impl BrokerDriver for Flaky {
    fn capabilities(&self) -> Capabilities {
        self.log.capabilities()
    }

    fn identity(&self) -> BoxFuture<'_, Result<String, DriverError>> {
        self.log.identity()
    }

    fn publish<'a>(
        &'a self,
        topic: &'a Topic,
        message: Message,
    ) -> BoxFuture<'a, Result<Receipt, DriverError>> {
        self.log.publish(topic, message)
    }

    fn consume(&self, spec: ConsumeSpec) -> BoxFuture<'_, Result<Box<dyn Consumer>, DriverError>> {
        Box::pin(async move {
            let broken = take(&self.faults, |fault| match fault {
                Fault::Consume(kind) => Some(kind),
                Fault::Fetch(_) => None,
            });
            if let Some(error) = broken {
                return Err(error);
            }
            if let StartAt::After(position) = &spec.start
                && spec.topics.iter().any(|topic| {
                    position.next(topic, Partition(0)).is_some_and(|next| next < self.dropped_before(topic))
                })
            {
                return Err(lost());
            }
            let counted = (spec.stop == StopAt::End).then(|| self.readers.open());
            let inner = self.log.consume(spec).await?;
            let (faults, hole) = (Arc::clone(&self.faults), self.hole.lock().unwrap().clone());
            let dropped = Arc::clone(&self.dropped);
            Ok(
                Box::new(FlakyConsumer {
                    inner,
                    faults,
                    dropped,
                    hole,
                    unread: Vec::new(),
                    _counted: counted,
                }) as Box<dyn Consumer>,
            )
        })
    }

    fn bounds<'a>(&'a self, topics: &'a [Topic]) -> BoxFuture<'a, Result<Bounds, DriverError>> {
        Box::pin(async move {
            let mut bounds = self.log.bounds(topics).await?;
            for ((topic, _), kept) in &mut bounds {
                kept.start = kept.start.max(self.dropped_before(topic));
            }
            Ok(bounds)
        })
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        self.log.close()
    }
}

struct FlakyConsumer {
    inner: Box<dyn Consumer>,
    faults: Arc<Mutex<VecDeque<Fault>>>,
    dropped: Arc<Mutex<BTreeMap<Topic, Offset>>>,
    hole: Range<u64>,
    /// What was read when a fetch failed.
    unread: Vec<Message>,
    _counted: Option<Open>,
}

impl Consumer for FlakyConsumer {
    fn fetch<'a>(
        &'a mut self,
        batch: &'a mut Vec<Message>,
        limit: BatchLimit,
    ) -> BoxFuture<'a, Result<(), DriverError>> {
        Box::pin(async move {
            let before = batch.len();
            batch.append(&mut self.unread);
            while batch.len() == before {
                self.inner.fetch(batch, limit).await?;
                let has_ended = batch.len() == before;
                batch.retain(|message| !self.hole.contains(&message.place().unwrap().offset.0));
                if has_ended {
                    break;
                }
            }
            let is_dropped = batch[before..].iter().any(|message| {
                let (place, dropped) = (message.place().unwrap(), self.dropped.lock().unwrap());
                dropped.get(&place.topic).is_some_and(|before| place.offset < *before)
            });
            let broken = take(&self.faults, |fault| match fault {
                Fault::Fetch(kind) => Some(kind),
                Fault::Consume(_) => None,
            });
            match broken.or_else(|| is_dropped.then(lost)) {
                Some(error) => {
                    self.unread = batch.split_off(before);
                    Err(error)
                }
                None => Ok(()),
            }
        })
    }

    fn commit<'a>(&'a mut self, position: &'a Position) -> BoxFuture<'a, Result<(), DriverError>> {
        self.inner.commit(position)
    }
}
