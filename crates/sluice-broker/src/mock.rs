//! The mock broker: made-up messages for each reader anew, to try out an event API without any broker.
//!
//! A message is its configured content, a space and its number; the number is its id and its offset too.
//! What is published is logged and forgotten. A reader counts from 0 wherever it starts, unless it starts
//! after a position; all messages count as being there from the beginning, so that a reader which stops at
//! the end stops behind the last of `messageCount`.

use std::{ops::Range, pin::Pin, sync::Arc, time::Duration};

use futures_util::{FutureExt, future::BoxFuture};
use sluice_api::MockConfig;
use sluice_message::{Headers, Message, Offset, Partition, Place, Position, Topic};
use tokio::{
    sync::watch,
    time::{Sleep, sleep},
};

use crate::{
    BatchLimit, Bounds, BrokerDriver, Capabilities, ConsumeSpec, Consumer, DriverError, ErrorKind,
    HeaderSupport, Receipt, StartAt,
};

/// The mock broker. Clones are the same broker.
#[derive(Debug, Clone)]
pub struct Mock {
    config: Arc<MockConfig>,
    closed: Arc<watch::Sender<bool>>,
}

impl Mock {
    /// A mock broker with these settings.
    pub fn new(config: MockConfig) -> Self {
        Self { config: Arc::new(config), closed: Arc::new(watch::Sender::new(false)) }
    }

    fn check_open(&self) -> Result<(), DriverError> {
        if *self.closed.borrow() { Err(closed()) } else { Ok(()) }
    }

    /// The number behind the last message.
    fn end(&self) -> u64 {
        self.config.message_count.unwrap_or(u64::MAX)
    }

    fn reader(&self, spec: ConsumeSpec) -> Result<Reader, DriverError> {
        self.check_open()?;
        // The settings of a mock name no topic; whoever asks gives it a name.
        let topic = spec.topics.into_iter().next().ok_or_else(|| {
            DriverError::new(ErrorKind::Configuration, "A reader needs a topic, of any name.")
        })?;
        let next = match spec.start {
            StartAt::Earliest | StartAt::Latest => 0,
            StartAt::After(position) => position.next(&topic, Partition(0)).map_or(0, |next| next.0),
            StartAt::Group { .. } => return Err(unsupported()),
        };
        if next > self.end() {
            let text = format!("The mock makes {} messages, the position lies behind them.", self.end());
            return Err(DriverError::new(ErrorKind::PositionLost, text));
        }
        let headers =
            self.config.headers.iter().map(|header| (&*header.name, header.value.clone())).collect();
        let interval = Duration::from_millis(self.config.message_interval);
        let closed = self.closed.subscribe();
        Ok(Reader { mock: self.clone(), topic, headers, next, interval, pause: None, closed })
    }
}

impl BrokerDriver for Mock {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            shared_reading: false,
            replay: true,
            groups: false,
            sharing: false,
            keys: false,
            headers: HeaderSupport::None,
            tombstones: false,
        }
    }

    /// All mocks are one broker: what stands at a number depends on no other.
    fn identity(&self) -> BoxFuture<'_, Result<String, DriverError>> {
        async { Ok("mock".to_owned()) }.boxed()
    }

    fn publish<'a>(
        &'a self,
        topic: &'a Topic,
        message: Message,
    ) -> BoxFuture<'a, Result<Receipt, DriverError>> {
        async move {
            self.check_open()?;
            tracing::debug!(%topic, size = message.size(), "The mock broker took a message and forgot it.");
            Ok(Receipt { place: None })
        }
        .boxed()
    }

    fn consume(&self, spec: ConsumeSpec) -> BoxFuture<'_, Result<Box<dyn Consumer>, DriverError>> {
        async move { self.reader(spec).map(|reader| Box::new(reader) as Box<dyn Consumer>) }.boxed()
    }

    fn bounds<'a>(&'a self, topics: &'a [Topic]) -> BoxFuture<'a, Result<Bounds, DriverError>> {
        async move {
            self.check_open()?;
            let range = Range { start: Offset(0), end: Offset(self.end()) };
            Ok(topics.iter().map(|topic| ((topic.clone(), Partition(0)), range.clone())).collect())
        }
        .boxed()
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        async move {
            self.closed.send_replace(true);
        }
        .boxed()
    }
}

/// One reader with its own count.
struct Reader {
    mock: Mock,
    topic: Topic,
    headers: Headers,
    next: u64,
    interval: Duration,
    /// The wait before the next message, kept over dropped calls so that it ends when it would have.
    pause: Option<Pin<Box<Sleep>>>,
    closed: watch::Receiver<bool>,
}

impl Reader {
    async fn next_batch(&mut self, batch: &mut Vec<Message>, limit: BatchLimit) -> Result<(), DriverError> {
        let end = self.mock.end();
        if self.next >= end {
            return Ok(());
        }
        if self.interval.is_zero() {
            self.mock.check_open()?;
        } else {
            let pause = self.pause.get_or_insert_with(|| Box::pin(sleep(self.interval)));
            tokio::select! {
                biased;
                _ = self.closed.wait_for(|closed| *closed) => return Err(closed()),
                () = pause => self.pause = None,
            }
        }
        let (mut count, mut bytes) = (0, 0);
        loop {
            let message = self.message();
            bytes += message.size();
            if count > 0 && bytes > limit.bytes {
                return Ok(());
            }
            batch.push(message);
            (self.next, count) = (self.next + 1, count + 1);
            if !self.interval.is_zero() || count >= limit.messages || self.next >= end {
                return Ok(());
            }
        }
    }

    fn message(&self) -> Message {
        let config = &self.mock.config;
        let (topic, offset) = (self.topic.clone(), Offset(self.next));
        let message = Message::builder()
            .payload(format!("{} {}", config.message_content, self.next))
            .headers(self.headers.clone())
            .id(self.next.to_string())
            .place(Place { topic, partition: Partition(0), offset });
        let metadata = config.metadata.iter();
        metadata
            .fold(message, |message, entry| message.metadata(entry.name.clone(), entry.value.clone()))
            .build()
    }
}

impl Consumer for Reader {
    fn fetch<'a>(
        &'a mut self,
        batch: &'a mut Vec<Message>,
        limit: BatchLimit,
    ) -> BoxFuture<'a, Result<(), DriverError>> {
        self.next_batch(batch, limit).boxed()
    }

    fn commit<'a>(&'a mut self, _: &'a Position) -> BoxFuture<'a, Result<(), DriverError>> {
        async { Err(unsupported()) }.boxed()
    }
}

fn closed() -> DriverError {
    DriverError::new(ErrorKind::Closed, "The mock broker is closed.")
}

fn unsupported() -> DriverError {
    DriverError::new(ErrorKind::Unsupported, "The mock broker knows no groups.")
}
