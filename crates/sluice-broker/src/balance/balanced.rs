//! Publishing to a group: one of its brokers takes the message.
//!
//! Where one does not take it, the next is asked, each at most once. A broker that did not answer in time may have
//! taken the message all the same: then it is there twice, as it would be if its publisher had tried again.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::future::BoxFuture;
use sluice_api::Balancing;
use sluice_message::{Message, Position, Topic};
use tokio::time::Instant;
use tracing::{info, warn};

use super::{Member, Merged, choice::Choice, places};
use crate::{Bounds, BrokerDriver, Capabilities, ConsumeSpec, Consumer, DriverError, ErrorKind, Receipt};

/// The brokers of a group, as one event API publishes to them. Everything but publishing is done by the group's
/// [`Merged`].
pub struct Balanced {
    /// Of the API, for logs.
    api: String,
    balancing: Balancing,
    members: Vec<Member>,
    choice: Mutex<Choice>,
    merged: Arc<Merged>,
}

impl Balanced {
    /// A group of an API of this id. `merged` reads the same brokers in the same order.
    pub fn new(api: &str, balancing: Balancing, members: Vec<Member>, merged: Arc<Merged>) -> Self {
        let weights: Vec<u32> = members.iter().map(|member| member.weight).collect();
        let secondary = members.iter().map(|member| member.secondary).collect();
        let choice = Mutex::new(Choice::new(balancing, &weights, secondary));
        Self { api: api.to_owned(), balancing, members, choice, merged }
    }

    /// What the group is read by.
    pub const fn reading(&self) -> &Arc<Merged> {
        &self.merged
    }

    /// Whether the other one does the same with the same brokers, so that it can go on in place of this one.
    pub fn is_like(&self, other: &Self) -> bool {
        let alike = |(one, other): (&Member, &Member)| {
            one.name == other.name
                && one.weight == other.weight
                && one.secondary == other.secondary
                && Arc::ptr_eq(&one.driver, &other.driver)
        };
        self.balancing == other.balancing
            && Arc::ptr_eq(&self.merged, &other.merged)
            && self.members.len() == other.members.len()
            && self.members.iter().zip(&other.members).all(alike)
    }

    fn choice(&self) -> MutexGuard<'_, Choice> {
        self.choice.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn deal(&self, topic: &Topic, message: Message) -> Result<Receipt, DriverError> {
        let (mut tried, mut failed) = (Vec::new(), None);
        loop {
            let Some(chosen) = self.choice().next(topic, &tried, Instant::now()) else { break };
            // Once for a message, however often it changes hands.
            for member in chosen.passed_over.iter().filter(|_| tried.is_empty()) {
                self.members[*member].metrics.passed_over.inc();
            }
            let ordinal = chosen.member;
            match self.members[ordinal].driver.publish(topic, message.clone()).await {
                Ok(receipt) => {
                    self.took(topic, ordinal);
                    return Ok(Receipt { place: receipt.place.map(|place| places::outer(ordinal, place)) });
                }
                Err(error) => {
                    self.members[ordinal].metrics.failed.inc();
                    if !others_may_take(error.kind) {
                        return Err(error);
                    }
                    self.did_not_take(topic, ordinal, &error);
                    tried.push(ordinal);
                    failed.get_or_insert(error);
                }
            }
        }
        Err(failed.unwrap_or_else(|| DriverError::new(ErrorKind::Configuration, "The group has no broker.")))
    }

    fn took(&self, topic: &Topic, ordinal: usize) {
        let member = &self.members[ordinal];
        member.metrics.published.inc();
        if self.choice().succeeded(topic, ordinal) {
            info!(api = self.api, broker = %member.name, %topic, "A broker of a group takes messages again.");
        }
    }

    fn did_not_take(&self, topic: &Topic, ordinal: usize, error: &DriverError) {
        if self.choice().failed(topic, ordinal, error.kind, Instant::now()) {
            warn!(
                api = self.api, broker = %self.members[ordinal].name, %topic, %error,
                "A broker of a group does not take messages; others of the group are given them."
            );
        }
    }
}

/// Whether it is worth while to give another broker what one has not taken.
const fn others_may_take(kind: ErrorKind) -> bool {
    !matches!(
        kind,
        ErrorKind::TooLarge
            | ErrorKind::Invalid
            | ErrorKind::Rejected
            | ErrorKind::PositionLost
            | ErrorKind::Unsupported
    )
}

impl BrokerDriver for Balanced {
    fn capabilities(&self) -> Capabilities {
        self.merged.capabilities()
    }

    fn identity(&self) -> BoxFuture<'_, Result<String, DriverError>> {
        self.merged.identity()
    }

    fn publish<'a>(
        &'a self,
        topic: &'a Topic,
        message: Message,
    ) -> BoxFuture<'a, Result<Receipt, DriverError>> {
        Box::pin(self.deal(topic, message))
    }

    fn consume(&self, spec: ConsumeSpec) -> BoxFuture<'_, Result<Box<dyn Consumer>, DriverError>> {
        self.merged.consume(spec)
    }

    fn check<'a>(&'a self, topics: &'a [Topic]) -> BoxFuture<'a, Result<(), DriverError>> {
        self.merged.check(topics)
    }

    fn covers(&self, wanted: &Topic, topic: &Topic) -> bool {
        self.merged.covers(wanted, topic)
    }

    fn bounds<'a>(&'a self, topics: &'a [Topic]) -> BoxFuture<'a, Result<Bounds, DriverError>> {
        self.merged.bounds(topics)
    }

    fn ends<'a>(&'a self, topics: &'a [Topic]) -> BoxFuture<'a, Result<Position, DriverError>> {
        self.merged.ends(topics)
    }

    fn position_at<'a>(
        &'a self,
        topics: &'a [Topic],
        timestamp_ms: i64,
    ) -> BoxFuture<'a, Result<Position, DriverError>> {
        self.merged.position_at(topics, timestamp_ms)
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        self.merged.close()
    }
}
