//! A client with a reader of its own for good, for brokers whose messages are made for each reader.

use std::sync::Arc;

use sluice_broker::{BrokerDriver, ConsumeSpec, Consumer, DriverError, StartAt, StopAt};
use sluice_message::{Message, Position, Topic};

use crate::{Begin, Step, StreamMetrics, cursor::BATCH, handed_out::HandedOut, metrics::Held};

/// A reader of one client.
pub(crate) struct Alone {
    consumer: Box<dyn Consumer>,
    handed_out: HandedOut,
    _counted: Held,
}

impl Alone {
    /// Opens it; its messages have the text of their position if it `tells`.
    pub(crate) async fn open(
        driver: &Arc<dyn BrokerDriver>,
        topics: &[Topic],
        begin: Begin,
        tells: bool,
        metrics: &StreamMetrics,
    ) -> Result<Self, DriverError> {
        let (start, position) = match begin {
            Begin::Latest => (StartAt::Latest, Position::new()),
            Begin::Earliest => (StartAt::Earliest, Position::new()),
            Begin::After(position) => (StartAt::After(position.clone()), position),
        };
        let consumer =
            driver.consume(ConsumeSpec { topics: topics.to_vec(), start, stop: StopAt::Never }).await?;
        let counted = Held::new(&metrics.client_readers);
        Ok(Self { consumer, handed_out: HandedOut { position, tells }, _counted: counted })
    }

    /// How far the client has come.
    pub(crate) const fn position(&self) -> &Position {
        &self.handed_out.position
    }

    pub(crate) async fn next(&mut self, batch: &mut Vec<Message>) -> Result<Step, DriverError> {
        self.consumer.fetch(batch, BATCH).await?;
        self.handed_out.add(batch);
        Ok(if batch.is_empty() { Step::Ended } else { Step::Messages })
    }
}
