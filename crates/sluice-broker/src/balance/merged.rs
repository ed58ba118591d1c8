//! Reading a group: all of its brokers, side by side.
//!
//! One that is away stops nobody. What it holds comes when it is back, from where it was left; a reader that began
//! while it was away gets what was made since. Only who must read it to the end waits for it: a reader that ends, and
//! whoever asks for the bounds of a broker that has not told them since the gateway started.

use std::sync::Arc;

use futures_util::future::{BoxFuture, join_all, select_ok};
use sluice_message::{Message, Position, Topic};

use super::{
    places,
    reader::Reader,
    source::{Answer, Source},
};
use crate::{
    Bounds, BrokerDriver, Capabilities, ConsumeSpec, Consumer, DriverError, ErrorKind, HeaderSupport,
    Receipt, StartAt,
};

/// The brokers of a group, read as one. They may be shared by several groups and event APIs.
pub struct Merged(Vec<Arc<Source>>);

impl Merged {
    /// Of these, at least one. Their order is part of what positions mean.
    pub fn new(drivers: impl IntoIterator<Item = Arc<dyn BrokerDriver>>) -> Self {
        let sources = drivers.into_iter().enumerate();
        Self(sources.map(|(ordinal, driver)| Arc::new(Source::new(ordinal, driver))).collect())
    }

    /// Whether it reads exactly these, in this order.
    pub fn is_of(&self, drivers: &[Arc<dyn BrokerDriver>]) -> bool {
        self.0.len() == drivers.len()
            && self.0.iter().zip(drivers).all(|(source, driver)| Arc::ptr_eq(&source.driver, driver))
    }

    async fn open(&self, spec: ConsumeSpec) -> Result<Box<dyn Consumer>, DriverError> {
        let answers = join_all(self.0.iter().map(|source| source.try_open(&spec))).await;
        let (mut opened, mut ended, mut away) = (Vec::new(), Vec::new(), Vec::new());
        for answer in answers {
            let (consumer, has_ended) = match answer? {
                Answer::Said(consumer) => {
                    let has_ended = consumer.is_none();
                    (consumer, has_ended)
                }
                Answer::Away(error) => {
                    away.push(error);
                    (None, false)
                }
            };
            opened.push(consumer);
            ended.push(has_ended);
        }
        if away.len() == self.0.len() {
            return Err(first(away));
        }
        Ok(Box::new(Reader::begin(&self.0, opened, &ended, &self.placed(spec).await)))
    }

    /// Fixes where a reader begins that is to begin at the end, for brokers that are opened later.
    async fn placed(&self, spec: ConsumeSpec) -> ConsumeSpec {
        match spec.start {
            StartAt::Latest if self.capabilities().replay => {
                let start = self.end_of(&spec.topics).await.map_or(StartAt::Latest, StartAt::After);
                ConsumeSpec { start, ..spec }
            }
            _ => spec,
        }
    }

    async fn end_of(&self, topics: &[Topic]) -> Result<Position, DriverError> {
        let answers = join_all(self.0.iter().map(|source| source.ends(topics))).await;
        let (mut all, mut away) = (Position::new(), Vec::new());
        for (source, answer) in self.0.iter().zip(answers) {
            match answer? {
                Answer::Said(inner) => places::add(source.ordinal, &inner, &mut all),
                Answer::Away(error) => away.push((source, error)),
            }
        }
        if away.len() == self.0.len() {
            return Err(first(away.into_iter().map(|(_, error)| error)));
        }
        for (source, error) in away {
            if !source.known.miss(topics) {
                return Err(error);
            }
        }
        Ok(all)
    }
}

/// Why none of them can be used: for what the first says.
fn first(errors: impl IntoIterator<Item = DriverError>) -> DriverError {
    let none = || DriverError::new(ErrorKind::Configuration, "The group has no broker.");
    errors.into_iter().next().unwrap_or_else(none)
}

impl BrokerDriver for Merged {
    fn capabilities(&self) -> Capabilities {
        self.0.iter().fold(Capabilities::ALL, |all, source| {
            let own = source.driver.capabilities();
            Capabilities {
                shared_reading: all.shared_reading && own.shared_reading,
                replay: all.replay && own.replay,
                groups: all.groups && own.groups,
                sharing: all.sharing && own.sharing,
                keys: all.keys && own.keys,
                headers: match (all.headers, own.headers) {
                    (HeaderSupport::None, _) | (_, HeaderSupport::None) => HeaderSupport::None,
                    (HeaderSupport::Joined, _) | (_, HeaderSupport::Joined) => HeaderSupport::Joined,
                    (HeaderSupport::Repeated, HeaderSupport::Repeated) => HeaderSupport::Repeated,
                },
                tombstones: all.tombstones && own.tombstones,
            }
        })
    }

    /// All of theirs: a group of other brokers, or in another order, is another one.
    fn identity(&self) -> BoxFuture<'_, Result<String, DriverError>> {
        Box::pin(async move {
            let identities = join_all(self.0.iter().map(|source| source.driver.identity())).await;
            let identities: Vec<String> = identities.into_iter().collect::<Result<_, _>>()?;
            Ok(identities.join("+"))
        })
    }

    /// A group is published to by its [`Balanced`](super::Balanced), which knows whose turn it is.
    fn publish<'a>(&'a self, _: &'a Topic, _: Message) -> BoxFuture<'a, Result<Receipt, DriverError>> {
        let text = "This is the reading side of a group of brokers.";
        Box::pin(async move { Err(DriverError::new(ErrorKind::Unsupported, text)) })
    }

    fn consume(&self, spec: ConsumeSpec) -> BoxFuture<'_, Result<Box<dyn Consumer>, DriverError>> {
        Box::pin(self.open(spec))
    }

    /// Whether any of them can be used.
    fn check<'a>(&'a self, topics: &'a [Topic]) -> BoxFuture<'a, Result<(), DriverError>> {
        Box::pin(async move {
            if self.0.is_empty() {
                return Err(first([]));
            }
            select_ok(self.0.iter().map(|source| source.driver.check(topics))).await.map(|((), _)| ())
        })
    }

    fn covers(&self, wanted: &Topic, topic: &Topic) -> bool {
        self.0.iter().any(|source| source.driver.covers(wanted, topic))
    }

    fn bounds<'a>(&'a self, topics: &'a [Topic]) -> BoxFuture<'a, Result<Bounds, DriverError>> {
        Box::pin(async move {
            let mut all = Bounds::new();
            let answers = join_all(self.0.iter().map(|source| source.bounds(topics))).await;
            for (source, bounds) in self.0.iter().zip(answers) {
                all.extend(places::outer_bounds(source.ordinal, bounds?)?);
            }
            Ok(all)
        })
    }

    fn ends<'a>(&'a self, topics: &'a [Topic]) -> BoxFuture<'a, Result<Position, DriverError>> {
        Box::pin(self.end_of(topics))
    }

    fn position_at<'a>(
        &'a self,
        topics: &'a [Topic],
        timestamp_ms: i64,
    ) -> BoxFuture<'a, Result<Position, DriverError>> {
        Box::pin(async move {
            let mut all = Position::new();
            let asked = self.0.iter().map(|source| source.driver.position_at(topics, timestamp_ms));
            for (source, position) in self.0.iter().zip(join_all(asked).await) {
                places::add(source.ordinal, &position?, &mut all);
            }
            Ok(all)
        })
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move { drop(join_all(self.0.iter().map(|source| source.driver.close())).await) })
    }
}
