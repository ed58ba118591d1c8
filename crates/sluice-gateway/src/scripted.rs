//! A broker for tests that answers as it is told and hands out nothing.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use futures_util::{FutureExt, future::BoxFuture};
use sluice_api::BrokerConfig;
use sluice_broker::{
    BatchLimit, Bounds, BrokerDriver, Capabilities, ConsumeSpec, Consumer, DriverError, ErrorKind, Receipt,
};
use sluice_message::{Message, Offset, Partition, Position, Topic};
use tokio::sync::watch;

use crate::DriverFactory;

#[derive(Default)]
pub(crate) struct Scripted {
    /// What is wrong with the broker the next times that it is asked; after that nothing is.
    pub(crate) faults: Mutex<VecDeque<ErrorKind>>,
    /// How often it was asked how it is doing.
    asked: watch::Sender<usize>,
    /// Where its topics end.
    end: AtomicU64,
}

impl Scripted {
    pub(crate) fn new(faults: impl Into<VecDeque<ErrorKind>>) -> Arc<Self> {
        Arc::new(Self { faults: Mutex::new(faults.into()), ..Self::default() })
    }

    /// Has messages come that readers are not handed.
    pub(crate) fn goes_to(&self, end: u64) {
        self.end.store(end, Ordering::SeqCst);
    }

    /// How often it was asked until now.
    pub(crate) fn asked(&self) -> usize {
        *self.asked.borrow()
    }

    /// Waits until it was asked so often. Who asks on this thread has its answer then.
    pub(crate) async fn is_asked(&self, times: usize) {
        self.asked.subscribe().wait_for(|asked| *asked >= times).await.unwrap();
    }
}

fn unsupported<'a, T: Send + 'a>() -> BoxFuture<'a, Result<T, DriverError>> {
    async { Err(DriverError::new(ErrorKind::Unsupported, "Not here.")) }.boxed()
}

impl BrokerDriver for Scripted {
    fn capabilities(&self) -> Capabilities {
        Capabilities::ALL
    }

    fn identity(&self) -> BoxFuture<'_, Result<String, DriverError>> {
        async { Ok("scripted".to_owned()) }.boxed()
    }

    fn publish<'a>(&'a self, _: &'a Topic, _: Message) -> BoxFuture<'a, Result<Receipt, DriverError>> {
        unsupported()
    }

    fn consume(&self, _: ConsumeSpec) -> BoxFuture<'_, Result<Box<dyn Consumer>, DriverError>> {
        async { Ok(Box::new(Silent) as Box<dyn Consumer>) }.boxed()
    }

    fn check<'a>(&'a self, _: &'a [Topic]) -> BoxFuture<'a, Result<(), DriverError>> {
        async {
            self.asked.send_modify(|asked| *asked += 1);
            let fault = self.faults.lock().unwrap().pop_front();
            fault.map_or(Ok(()), |kind| Err(DriverError::new(kind, "As it was told.")))
        }
        .boxed()
    }

    fn bounds<'a>(&'a self, topics: &'a [Topic]) -> BoxFuture<'a, Result<Bounds, DriverError>> {
        let end = Offset(self.end.load(Ordering::SeqCst));
        let held = topics.iter().map(move |topic| ((topic.clone(), Partition(0)), Offset(0)..end));
        async { Ok(held.collect()) }.boxed()
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        async {}.boxed()
    }
}

struct Silent;

impl Consumer for Silent {
    fn fetch<'a>(
        &'a mut self,
        _: &'a mut Vec<Message>,
        _: BatchLimit,
    ) -> BoxFuture<'a, Result<(), DriverError>> {
        std::future::pending().boxed()
    }

    fn commit<'a>(&'a mut self, _: &'a Position) -> BoxFuture<'a, Result<(), DriverError>> {
        unsupported()
    }
}

/// Opens this one, whatever it is asked for.
pub(crate) struct Only(pub(crate) Arc<Scripted>);

impl DriverFactory for Only {
    fn open(&self, _: &BrokerConfig) -> Result<Arc<dyn BrokerDriver>, DriverError> {
        Ok(Arc::clone(&self.0) as _)
    }
}
