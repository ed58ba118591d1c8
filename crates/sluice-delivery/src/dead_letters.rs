//! Reads the dead letters of one subscription again, up to where they ended when that was asked for. All its topics
//! have the same ones, so only the first is read.

use sluice_api::{Subscription, SubscriptionId};
use sluice_broker::{BatchLimit, ConsumeSpec, Consumer, DriverError, StartAt, StopAt};
use sluice_message::{Message, Position};
use tokio::{
    sync::{Semaphore, mpsc},
    time::sleep,
};
use tracing::warn;

use crate::{backoff::Backoff, letter, route::DeadLetters};

/// How much is read at once. Between two reads no reader is held at the broker, so that a subscriber that takes
/// nothing keeps none of the readers that others wait for.
const BATCH: BatchLimit = BatchLimit { messages: 256, bytes: 1 << 20 };

/// The name of a reader of dead letters, under which it is stored how far they were brought again.
pub(crate) fn reader(id: &SubscriptionId) -> String {
    format!("dead-letters:{id}")
}

/// The name under which it is stored how far they are to be brought again.
pub(crate) fn goal(id: &SubscriptionId) -> String {
    format!("dead-letters-until:{id}")
}

/// The dead letters of one subscription.
pub(crate) struct Reading<'r> {
    pub(crate) letters: &'r DeadLetters,
    pub(crate) subscription: &'r Subscription,
    /// A permit for each reader of dead letters.
    pub(crate) readers: &'r Semaphore,
    /// Behind what was read.
    pub(crate) read: Position,
    /// Where it ends.
    pub(crate) until: Position,
}

impl Reading<'_> {
    /// Hands the letters over, in order, however long it takes. The channel closes behind the last one.
    pub(crate) async fn feed(mut self, sender: mpsc::Sender<Message>) {
        let mut backoff = Backoff::new();
        loop {
            match self.batch().await {
                Ok(batch) if batch.is_empty() => return,
                Ok(batch) => {
                    backoff = Backoff::new();
                    for letter in batch {
                        if sender.send(letter).await.is_err() {
                            return;
                        }
                    }
                }
                Err(error) => {
                    warn!(subscription = %self.subscription.id, %error, "Dead letters cannot be read; trying again.");
                    sleep(backoff.next()).await;
                }
            }
        }
    }

    /// The next letters of the subscription; none at the end.
    async fn batch(&mut self) -> Result<Vec<Message>, DriverError> {
        // An error: the semaphore is closed, which it never is.
        let _turn = self.readers.acquire().await;
        if self.read.reaches(&self.until) {
            return Ok(Vec::new());
        }
        let mut consumer = self.open().await?;
        let mut batch = Vec::new();
        loop {
            consumer.fetch(&mut batch, BATCH).await?;
            if batch.is_empty() {
                // Nothing but holes is left.
                self.read.merge(&self.until);
                return Ok(batch);
            }
            self.read.extend(batch.iter().filter_map(Message::place));
            let until = &self.until;
            batch.retain(|message| {
                message.place().is_some_and(|place| until.covers(place))
                    && letter::is_of(message, self.subscription)
            });
            if !batch.is_empty() || self.read.reaches(&self.until) {
                return Ok(batch);
            }
        }
    }

    /// A reader behind what was read, as far as the broker still has it.
    async fn open(&mut self) -> Result<Box<dyn Consumer>, DriverError> {
        let (driver, topics) = (&self.letters.driver, self.letters.read());
        for ((topic, partition), kept) in driver.bounds(topics).await? {
            let next = self.read.next(&topic, partition).unwrap_or(kept.start);
            if next < kept.start || next > kept.end || self.read.next(&topic, partition).is_none() {
                self.read.set_next(&topic, partition, kept.start);
            }
        }
        let start = StartAt::After(self.read.clone());
        driver.consume(ConsumeSpec { topics: topics.to_vec(), start, stop: StopAt::End }).await
    }
}
