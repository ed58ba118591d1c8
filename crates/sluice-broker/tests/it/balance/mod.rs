//! Several brokers used as one: what a driver of two embedded logs does, one of which can be taken away.

mod publishing;
mod reading;
mod suite;

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use futures_util::{FutureExt, future::BoxFuture};
use sluice_api::Balancing;
use sluice_broker::{
    BatchLimit, Bounds, BrokerDriver, Capabilities, ConsumeSpec, Consumer, DriverError, ErrorKind, Log,
    LogOptions, Receipt, StartAt, StopAt,
    balance::{Balanced, Member, MemberMetrics, Merged},
};
use sluice_message::{Message, Position, Topic};
use tempfile::TempDir;
use tokio::sync::watch;

/// A log that can be taken away, and says how often it was published to.
struct Fickle {
    log: Log,
    /// What it fails with, while it does.
    fault: watch::Sender<Option<ErrorKind>>,
    asked: AtomicUsize,
}

impl Fickle {
    fn open(directory: &TempDir) -> Arc<Self> {
        let log = Log::open(directory, LogOptions::default()).unwrap();
        Arc::new(Self { log, fault: watch::Sender::new(None), asked: AtomicUsize::new(0) })
    }

    fn goes_away(&self) {
        self.fails_with(ErrorKind::Unreachable);
    }

    fn fails_with(&self, kind: ErrorKind) {
        self.fault.send_replace(Some(kind));
    }

    fn is_back(&self) {
        self.fault.send_replace(None);
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    fn there(&self) -> Result<(), DriverError> {
        match *self.fault.borrow() {
            Some(kind) => Err(DriverError::new(kind, "It is away.")),
            None => Ok(()),
        }
    }
}

impl BrokerDriver for Fickle {
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
        self.asked.fetch_add(1, Ordering::SeqCst);
        async move {
            self.there()?;
            self.log.publish(topic, message).await
        }
        .boxed()
    }

    fn consume(&self, spec: ConsumeSpec) -> BoxFuture<'_, Result<Box<dyn Consumer>, DriverError>> {
        async move {
            self.there()?;
            let consumer = self.log.consume(spec).await?;
            Ok(Box::new(FickleConsumer { consumer, fault: self.fault.subscribe() }) as Box<dyn Consumer>)
        }
        .boxed()
    }

    fn bounds<'a>(&'a self, topics: &'a [Topic]) -> BoxFuture<'a, Result<Bounds, DriverError>> {
        async move {
            self.there()?;
            self.log.bounds(topics).await
        }
        .boxed()
    }

    fn position_at<'a>(
        &'a self,
        topics: &'a [Topic],
        timestamp_ms: i64,
    ) -> BoxFuture<'a, Result<Position, DriverError>> {
        async move {
            self.there()?;
            self.log.position_at(topics, timestamp_ms).await
        }
        .boxed()
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        self.log.close()
    }
}

struct FickleConsumer {
    consumer: Box<dyn Consumer>,
    fault: watch::Receiver<Option<ErrorKind>>,
}

impl Consumer for FickleConsumer {
    fn fetch<'a>(
        &'a mut self,
        batch: &'a mut Vec<Message>,
        limit: BatchLimit,
    ) -> BoxFuture<'a, Result<(), DriverError>> {
        async move {
            let mut fault = self.fault.clone();
            tokio::select! {
                biased;
                _ = fault.wait_for(Option::is_some) => Err(DriverError::new(ErrorKind::Unreachable, "It went away.")),
                fetched = self.consumer.fetch(batch, limit) => fetched,
            }
        }
        .boxed()
    }

    fn commit<'a>(&'a mut self, position: &'a Position) -> BoxFuture<'a, Result<(), DriverError>> {
        self.consumer.commit(position)
    }
}

/// Two logs, and the group that they are.
struct Pair {
    logs: [Arc<Fickle>; 2],
    metrics: [MemberMetrics; 2],
    group: Balanced,
    merged: Arc<Merged>,
}

impl Pair {
    fn open(directories: &[TempDir; 2], balancing: Balancing, secondary: bool) -> Self {
        let logs = [Fickle::open(&directories[0]), Fickle::open(&directories[1])];
        let metrics = [MemberMetrics::default(), MemberMetrics::default()];
        let drivers = logs.clone().map(|log| log as Arc<dyn BrokerDriver>);
        let merged = Arc::new(Merged::new(drivers.clone()));
        let member = |at: usize| Member {
            name: format!("log-{at}").into(),
            weight: [3, 1][at],
            secondary: secondary && at == 1,
            driver: Arc::clone(&drivers[at]),
            metrics: metrics[at].clone(),
        };
        let group = Balanced::new("api", balancing, vec![member(0), member(1)], Arc::clone(&merged));
        Self { logs, metrics, group, merged }
    }

    async fn publish(&self, payload: &str) -> Result<Receipt, DriverError> {
        self.group.publish(&topic(), message(payload)).await
    }

    /// Puts a message into one of the logs, as another publisher does.
    async fn put(&self, at: usize, payload: &str) {
        self.logs[at].log.publish(&topic(), message(payload)).await.unwrap();
    }

    async fn reader(&self, start: StartAt, stop: StopAt) -> Result<Box<dyn Consumer>, DriverError> {
        self.merged.consume(ConsumeSpec { topics: vec![topic()], start, stop }).await
    }

    async fn close(self) {
        self.merged.close().await;
    }
}

fn directories() -> [TempDir; 2] {
    [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()]
}

fn topic() -> Topic {
    Topic::from("t")
}

fn message(payload: &str) -> Message {
    Message::builder().payload(payload.to_owned()).build()
}

const LIMIT: BatchLimit = BatchLimit { messages: 100, bytes: 1 << 20 };

/// Reads so many messages, of whatever broker. Those that fail for a while are waited for.
async fn read(reader: &mut dyn Consumer, count: usize) -> Vec<Message> {
    let mut messages = Vec::new();
    while messages.len() < count {
        match reader.fetch(&mut messages, LIMIT).await {
            Ok(()) => {}
            Err(error) => assert!(error.retryable(), "{error}"),
        }
    }
    assert_eq!(messages.len(), count, "{messages:?}");
    messages
}

fn payloads(messages: &[Message]) -> Vec<String> {
    let mut payloads: Vec<_> =
        messages.iter().map(|message| String::from_utf8_lossy(message.payload()).into_owned()).collect();
    payloads.sort();
    payloads
}
