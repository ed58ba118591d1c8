//! The embedded log with faults on demand.

use std::{
    collections::VecDeque,
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
    /// What the broker says to have dropped: everything before this offset.
    dropped_before: AtomicU64,
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
            dropped_before: AtomicU64::new(0),
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

    /// Drops everything before this offset, as retention does: readers there are told that it is lost.
    pub(crate) fn drop_before(&self, offset: u64) {
        self.dropped_before.store(offset, Ordering::SeqCst);
        self.break_next(Fault::Fetch(ErrorKind::PositionLost));
    }

    fn dropped_before(&self) -> Offset {
        Offset(self.dropped_before.load(Ordering::SeqCst))
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

impl BrokerDriver for Flaky {
    fn capabilities(&self) -> Capabilities {
        self.log.capabilities()
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
            let dropped = self.dropped_before();
            if let StartAt::After(position) = &spec.start
                && spec
                    .topics
                    .iter()
                    .any(|topic| position.next(topic, Partition(0)).unwrap_or_default() < dropped)
            {
                return Err(DriverError::new(ErrorKind::PositionLost, "Dropped on purpose."));
            }
            let counted = (spec.stop == StopAt::End).then(|| self.readers.open());
            let inner = self.log.consume(spec).await?;
            let (faults, hole) = (Arc::clone(&self.faults), self.hole.lock().unwrap().clone());
            Ok(Box::new(FlakyConsumer { inner, faults, hole, _counted: counted }) as Box<dyn Consumer>)
        })
    }

    fn bounds<'a>(&'a self, topics: &'a [Topic]) -> BoxFuture<'a, Result<Bounds, DriverError>> {
        Box::pin(async move {
            let mut bounds = self.log.bounds(topics).await?;
            for kept in bounds.values_mut() {
                kept.start = kept.start.max(self.dropped_before());
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
    hole: Range<u64>,
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
            loop {
                self.inner.fetch(batch, limit).await?;
                let has_ended = batch.len() == before;
                batch.retain(|message| !self.hole.contains(&message.place().unwrap().offset.0));
                if has_ended || batch.len() > before {
                    break;
                }
            }
            let broken = take(&self.faults, |fault| match fault {
                Fault::Fetch(kind) => Some(kind),
                Fault::Consume(_) => None,
            });
            match broken {
                Some(error) => {
                    batch.truncate(before);
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
