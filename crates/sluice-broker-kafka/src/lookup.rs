//! Questions about topics: which partitions they have, and which offsets those hold; and which cluster it is.
//!
//! librdkafka answers these by blocking. They go through one client for the whole driver, on threads for
//! blocking work, a few at a time, so that a broker that hangs cannot take all of those threads.

use std::{
    collections::BTreeMap,
    fmt::Display,
    sync::Arc,
    time::{Duration, Instant},
};

use rdkafka::{
    ClientConfig, Offset as KafkaOffset, TopicPartitionList,
    config::FromClientConfigAndContext,
    consumer::{BaseConsumer, Consumer as _},
    error::KafkaError,
};
use sluice_broker::{Bounds, DriverError, ErrorKind};
use sluice_message::{Offset, Partition, Position, Topic};
use tokio::{
    sync::{OnceCell, Semaphore},
    task::spawn_blocking,
    time::timeout,
};

use crate::{
    cluster::{Cluster, Listener},
    detached::Detached,
    error::closed,
    patterns::{Patterns, Wanted},
    record::partition_of,
};

/// Questions under way at a time.
const CONCURRENT: usize = 4;
/// Reports of librdkafka (log lines, errors) taken down after each question.
const REPORTS: usize = 64;
/// How much earlier than told librdkafka may give up.
const ROUNDING: Duration = Duration::from_millis(10);

/// Partitions by topic and number.
pub(crate) type Partitions = Vec<(Topic, Partition)>;
/// An offset for each partition.
pub(crate) type Offsets = BTreeMap<(Topic, Partition), Offset>;

/// The place in a partition that is asked for.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Edge {
    /// The first message there is.
    First,
    /// The first message of this time or a later one, in milliseconds since 1970-01-01 UTC.
    Time(i64),
    /// Behind the last message there is.
    End,
}

/// The client that asks.
pub(crate) struct Lookup {
    client: Arc<Detached<BaseConsumer<Listener>>>,
    cluster: Arc<Cluster>,
    permits: Arc<Semaphore>,
    timeout: Duration,
    patterns: Patterns,
    /// Topics that patterns may match.
    pattern_topics: usize,
    /// Once it is known. One asks, however many want it.
    cluster_id: OnceCell<String>,
}

impl Lookup {
    pub(crate) fn open(
        settings: &ClientConfig,
        cluster: Arc<Cluster>,
        timeout: Duration,
        pattern_topics: usize,
    ) -> Result<Self, KafkaError> {
        let client = BaseConsumer::from_config_and_context(settings, Listener::new(&cluster))?;
        let client = Arc::new(Detached::new(client, cluster.ends.clone()));
        let (permits, cluster_id) = (Arc::new(Semaphore::new(CONCURRENT)), OnceCell::new());
        let patterns = Patterns::default();
        Ok(Self { client, cluster, permits, timeout, patterns, pattern_topics, cluster_id })
    }

    /// The patterns of topics to read.
    pub(crate) const fn patterns(&self) -> &Patterns {
        &self.patterns
    }

    /// The id of the cluster. However many ask, none waits longer than for one answer.
    pub(crate) async fn cluster_id(&self) -> Result<String, DriverError> {
        const DOING: &str = "Asking which cluster it is";
        let asking = || self.ask(DOING, Question::cluster_id);
        let asked = timeout(self.timeout, self.cluster_id.get_or_try_init(asking)).await;
        asked.map_err(|_| self.cluster.timed_out(DOING))?.cloned()
    }

    /// All partitions of these topics, and of those that match a pattern now.
    pub(crate) async fn partitions(&self, topics: &[Topic]) -> Result<Partitions, DriverError> {
        let (wanted, most) = (self.patterns.wanted(topics)?, self.pattern_topics);
        self.ask("Asking for partitions", move |question| {
            let mut partitions = Vec::new();
            for topic in &wanted.named {
                question.partitions(topic, &mut partitions)?;
            }
            if wanted.has_patterns() {
                question.matching(&wanted, most, &mut partitions)?;
            }
            Ok(partitions)
        })
        .await
    }

    /// The offsets at one edge of these partitions; none for a partition without a message of that time.
    pub(crate) async fn offsets(&self, partitions: &Partitions, edge: Edge) -> Result<Offsets, DriverError> {
        if partitions.is_empty() {
            return Ok(Offsets::new());
        }
        let partitions = partitions.clone();
        self.ask("Asking for offsets", move |question| question.offsets(&partitions, edge)).await
    }

    /// The offsets that each of these partitions holds.
    pub(crate) async fn bounds(&self, partitions: &Partitions) -> Result<Bounds, DriverError> {
        let first = self.offsets(partitions, Edge::First).await?;
        let mut end = self.offsets(partitions, Edge::End).await?;
        let bounds = first.into_iter().filter_map(|(partition, first)| {
            let end = end.remove(&partition)?;
            Some((partition, first..end))
        });
        Ok(bounds.collect())
    }

    /// Where a reader starts for every message of this time or a later one.
    pub(crate) async fn position_at(
        &self,
        partitions: &Partitions,
        timestamp_ms: i64,
    ) -> Result<Position, DriverError> {
        // Asked before the times, so that what comes in between lies behind the end.
        let mut starts = self.offsets(partitions, Edge::End).await?;
        starts.extend(self.offsets(partitions, Edge::Time(timestamp_ms)).await?);
        let mut position = Position::new();
        for ((topic, partition), next) in starts {
            position.set_next(&topic, partition, next);
        }
        Ok(position)
    }

    async fn ask<T: Send + 'static>(
        &self,
        doing: &'static str,
        question: impl FnOnce(&Question) -> Result<T, DriverError> + Send + 'static,
    ) -> Result<T, DriverError> {
        self.cluster.ready(self.timeout).await?;
        let asked = self.cluster.unless_refused(doing, self.ask_now(doing, question)).await;
        let answer = asked.flatten();
        if answer.is_ok() {
            self.cluster.answered();
        }
        answer
    }

    async fn ask_now<T: Send + 'static>(
        &self,
        doing: &'static str,
        question: impl FnOnce(&Question) -> Result<T, DriverError> + Send + 'static,
    ) -> Result<T, DriverError> {
        let deadline = Instant::now() + self.timeout;
        let permit = timeout(self.timeout, self.permits.clone().acquire_owned()).await;
        let Ok(permit) = permit.map_err(|_| self.cluster.timed_out(doing))? else { return Err(closed()) };
        let asking = Question { client: self.client.clone(), cluster: self.cluster.clone(), doing, deadline };
        let answer = spawn_blocking(move || {
            if asking.cluster.uses_tokens() {
                // The token is handed over to a client that polls, and to no other.
                asking.take_reports();
            }
            let answer = question(&asking);
            drop(permit);
            answer
        });
        answer.await.map_err(|_| closed())?
    }
}

/// One question, on a thread that may block.
struct Question {
    client: Arc<Detached<BaseConsumer<Listener>>>,
    cluster: Arc<Cluster>,
    doing: &'static str,
    deadline: Instant,
}

impl Question {
    fn cluster_id(&self) -> Result<String, DriverError> {
        let known = self.client.client().fetch_cluster_id(self.remaining());
        known.ok_or_else(|| {
            self.take_reports();
            if self.remaining() <= ROUNDING {
                self.cluster.timed_out(self.doing)
            } else {
                self.cluster.nameless()
            }
        })
    }

    fn partitions(&self, topic: &Topic, partitions: &mut Partitions) -> Result<(), DriverError> {
        let answer = self.client.fetch_metadata(Some(topic.as_str()), self.remaining());
        let answer = answer.map_err(|error| self.failed(topic, &error))?;
        for found in answer.topics() {
            // Looked at first: a topic with an error has no list of partitions.
            if let Some(error) = found.error() {
                return Err(self.failed(topic, &KafkaError::MetadataFetch(error.into())));
            }
            let numbers = found.partitions().iter().map(|partition| partition_of(partition.id()));
            partitions.extend(numbers.map(|partition| (topic.clone(), partition)));
        }
        Ok(())
    }

    /// The partitions of topics that match a pattern. One that cannot be read now is left out, as one that is not there.
    fn matching(&self, wanted: &Wanted, most: usize, partitions: &mut Partitions) -> Result<(), DriverError> {
        let answer = self.client.fetch_metadata(None, self.remaining());
        let answer = answer.map_err(|error| self.failed("(all)", &error))?;
        let found =
            answer.topics().iter().filter(|found| found.error().is_none() && wanted.matches(found.name()));
        for (count, found) in (1..).zip(found) {
            if count > most {
                let text = format!("More than {most} topics match the patterns of a reader; narrow them.");
                return Err(DriverError::new(ErrorKind::NoTopic, text));
            }
            let topic = Topic::from(found.name());
            let numbers = found.partitions().iter().map(|partition| partition_of(partition.id()));
            partitions.extend(numbers.map(|partition| (topic.clone(), partition)));
        }
        Ok(())
    }

    fn offsets(&self, partitions: &Partitions, edge: Edge) -> Result<Offsets, DriverError> {
        // librdkafka hands the two ends on as the times that the protocol sets aside for them, and asks each
        // broker once for all its partitions.
        let edge = match edge {
            Edge::First => KafkaOffset::Beginning,
            // Times before 1970 stand for other things in the protocol.
            Edge::Time(timestamp_ms) => KafkaOffset::Offset(timestamp_ms.max(0)),
            Edge::End => KafkaOffset::End,
        };
        let list = list(partitions.iter().map(|(topic, partition)| (topic, *partition, edge)));
        let list = list.map_err(|error| self.failed(names(partitions), &error))?;
        let answer = self.client.offsets_for_times(list, self.remaining());
        let answer = answer.map_err(|error| self.failed(names(partitions), &error))?;
        let mut offsets = Offsets::new();
        for (topic, partition) in partitions {
            let found = answer.find_partition(topic.as_str(), number_of(*partition));
            let Some(found) = found else { continue };
            found.error().map_err(|error| self.failed(topic, &error))?;
            if let KafkaOffset::Offset(offset) = found.offset() {
                let offset = Offset(u64::try_from(offset).unwrap_or_default());
                offsets.insert((topic.clone(), *partition), offset);
            }
        }
        Ok(offsets)
    }

    /// librdkafka keeps what it reports until somebody polls; each poll takes one at most.
    fn take_reports(&self) {
        for _ in 0..REPORTS {
            self.client.poll(Duration::ZERO);
        }
    }

    fn remaining(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    fn failed(&self, topic: impl Display, error: &KafkaError) -> DriverError {
        // Why a connection failed is among them.
        self.take_reports();
        self.cluster.error(format_args!("{} of the topic '{topic}'", self.doing), error)
    }
}

impl Drop for Question {
    fn drop(&mut self) {
        self.take_reports();
    }
}

/// A list of partitions with an offset each, as librdkafka takes it.
pub(crate) fn list<'a>(
    partitions: impl Iterator<Item = (&'a Topic, Partition, KafkaOffset)>,
) -> Result<TopicPartitionList, KafkaError> {
    let mut list = TopicPartitionList::new();
    for (topic, partition, offset) in partitions {
        list.add_partition_offset(topic.as_str(), number_of(partition), offset)?;
    }
    Ok(list)
}

/// Out of range only for a position that somebody made up; such a partition is not found then.
pub(crate) fn number_of(partition: Partition) -> i32 {
    i32::try_from(partition.0).unwrap_or(i32::MAX)
}

fn names(partitions: &Partitions) -> String {
    let mut names: Vec<&str> = partitions.iter().map(|(topic, _)| topic.as_str()).collect();
    names.dedup();
    names.join("', '")
}
