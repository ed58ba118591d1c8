//! Being a member of a group: taking a share of the partitions, and committing.
//!
//! librdkafka would start a partition without a commit wherever its end is when it gets round to asking, and
//! what was acknowledged meanwhile would be lost to the group. So a share is placed here: every start is
//! known and, where the group had none, committed before the member counts as started.

use std::{
    collections::BTreeSet,
    error::Error,
    ops::Deref,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use rdkafka::{
    ClientContext, Offset as KafkaOffset, TopicPartitionList,
    client::OAuthToken,
    config::RDKafkaLogLevel,
    consumer::{BaseConsumer, CommitMode, Consumer as _, ConsumerContext, StreamConsumer},
    error::KafkaError,
    types::RDKafkaRespErr,
};
use sluice_broker::DriverError;
use sluice_message::{Offset, Partition, Position, Topic};
use tokio::{sync::Notify, task::spawn_blocking, time::timeout};
use tracing::warn;

use crate::{
    cluster::{Cluster, Listener},
    detached::Detached,
    error::closed,
    lookup::{Edge, Lookup, Offsets, Partitions, list, number_of},
    record::partition_of,
};

/// The client of a reader, shared with the threads that block for it.
pub(crate) type Client = Detached<ReaderClient>;

/// A consumer of librdkafka that can leave its group.
pub(crate) struct ReaderClient(pub(crate) StreamConsumer<ReaderListener>);

impl Deref for ReaderClient {
    type Target = StreamConsumer<ReaderListener>;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl Drop for ReaderClient {
    /// Lets librdkafka leave the group: it waits for every share to be taken or given back.
    fn drop(&mut self) {
        if self.context().share.give_up()
            && let Err(error) = self.unassign()
        {
            warn!(%error, "Partitions of a group could not be given back.");
        }
    }
}

/// What librdkafka reports to a reader: trouble, and for a member its share of the partitions.
pub(crate) struct ReaderListener {
    listener: Listener,
    share: Arc<Share>,
}

/// The partitions of one member. Stays empty for a reader that is none.
#[derive(Default)]
pub(crate) struct Share {
    state: Mutex<ShareState>,
    given: Notify,
}

#[derive(Default)]
struct ShareState {
    /// Given by the group, not yet placed: librdkafka waits for an assignment.
    waiting: Option<Partitions>,
    held: BTreeSet<(Topic, Partition)>,
    is_leaving: bool,
}

impl Share {
    fn state(&self) -> MutexGuard<'_, ShareState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Resolves when the group has given this member a share.
    pub(crate) async fn given(&self) {
        self.given.notified().await;
    }

    pub(crate) fn waiting(&self) -> Option<Partitions> {
        self.state().waiting.clone()
    }

    /// Takes no further share; whether one is still to be given back.
    fn give_up(&self) -> bool {
        let mut state = self.state();
        state.is_leaving = true;
        state.waiting.take().is_some()
    }
}

impl ReaderListener {
    pub(crate) fn new(cluster: &Arc<Cluster>, share: &Arc<Share>) -> Self {
        Self { listener: Listener::new(cluster), share: share.clone() }
    }
}

impl ClientContext for ReaderListener {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        self.listener.log(level, facility, line);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.listener.error(error, reason);
    }

    fn generate_oauth_token(&self, config: Option<&str>) -> Result<OAuthToken, Box<dyn Error>> {
        self.listener.generate_oauth_token(config)
    }
}

impl ConsumerContext for ReaderListener {
    fn rebalance(
        &self,
        consumer: &BaseConsumer<Self>,
        event: RDKafkaRespErr,
        partitions: &mut TopicPartitionList,
    ) {
        let is_given = event == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS;
        let mut state = self.share.state();
        if is_given && !state.is_leaving {
            let elements = partitions.elements();
            let given = elements.iter().map(|one| (one.topic().into(), partition_of(one.partition())));
            state.waiting = Some(given.collect());
            self.share.given.notify_one();
            return;
        }
        state.waiting = None;
        state.held.clear();
        drop(state);
        if let Err(error) = consumer.unassign() {
            warn!(%error, "Partitions of a group could not be given back.");
        }
    }
}

/// A reader's membership in a group.
pub(crate) struct Membership {
    client: Arc<Client>,
    cluster: Arc<Cluster>,
    lookup: Arc<Lookup>,
    share: Arc<Share>,
    group: Arc<str>,
    from_earliest: bool,
    /// What the group reads, where that is what matches a pattern.
    patterns: Option<Vec<Topic>>,
    timeout: Duration,
    /// Where this member started partitions for which the group had no commit.
    started: Offsets,
    /// The last commit of each partition in this share, or where it began: a repeated one costs nothing, and none
    /// goes back.
    committed: Position,
    was_placed: bool,
}

impl Membership {
    pub(crate) fn new(
        client: Arc<Client>,
        cluster: Arc<Cluster>,
        lookup: Arc<Lookup>,
        share: Arc<Share>,
        (group, from_earliest): (Arc<str>, bool),
        patterns: Option<Vec<Topic>>,
        timeout: Duration,
    ) -> Self {
        let (started, committed, was_placed) = (Offsets::new(), Position::new(), false);
        Self {
            client,
            cluster,
            lookup,
            share,
            group,
            from_earliest,
            patterns,
            timeout,
            started,
            committed,
            was_placed,
        }
    }

    /// Whether this member has had its first share, which may be empty.
    pub(crate) const fn was_placed(&self) -> bool {
        self.was_placed
    }

    /// Notes that there is nothing to have a share of yet. What comes is read from its first message on.
    pub(crate) const fn is_placed_nowhere(&mut self) {
        self.was_placed = true;
    }

    /// Starts the partitions that the group gave to this member, if there are any to start. May be repeated
    /// after an error and after being dropped.
    pub(crate) async fn place(&mut self) -> Result<(), DriverError> {
        let Some(given) = self.share.waiting() else { return Ok(()) };
        let mut fresh = Offsets::new();
        let mut starts = Offsets::new();
        if !given.is_empty() {
            let committed = self.commits_of(given.clone()).await?;
            let is_known = self.has_read_others().await?;
            let first = self.lookup.offsets(&given, Edge::First).await?;
            let end = self.lookup.offsets(&given, Edge::End).await?;
            for partition in &given {
                let (Some(first), Some(end)) = (first.get(partition), end.get(partition)) else { continue };
                let start = match committed.get(partition).or_else(|| self.started.get(partition)) {
                    Some(start) => self.still_there(partition, *start, *first, *end),
                    None if is_known || self.starts_at_first(&partition.0, &committed) => *first,
                    None => *end,
                };
                if !committed.contains_key(partition) {
                    fresh.insert(partition.clone(), start);
                }
                starts.insert(partition.clone(), start);
            }
        }
        self.assign(&starts).await?;
        self.share.hold(&given);
        self.was_placed = true;
        // Others may have committed meanwhile, which no position of before may undo, and a topic made anew counts
        // from 0 again.
        self.committed = Position::new();
        starts.iter().for_each(|((topic, partition), start)| {
            self.committed.set_next(topic, *partition, *start);
        });
        self.started.extend(fresh.clone());
        if let Err(error) = self.commit_offsets(&fresh).await {
            warn!(group = %self.group, %error, "The start of a group could not be committed; its first commit will do that.");
        }
        Ok(())
    }

    /// Commits what this position says about partitions that this member holds. What went to another member
    /// meanwhile is delivered there again.
    pub(crate) async fn commit(&mut self, position: &Position) -> Result<(), DriverError> {
        let mut offsets = Offsets::new();
        let mut committed = self.committed.clone();
        for (topic, partition, last) in position.iter() {
            let is_new = self.committed.last(topic, partition).is_none_or(|earlier| earlier < last);
            if is_new && self.share.holds(topic, partition) {
                offsets.insert((topic.clone(), partition), last.next());
                committed.advance(&sluice_message::Place { topic: topic.clone(), partition, offset: last });
            }
        }
        self.commit_offsets(&offsets).await?;
        self.committed = committed;
        Ok(())
    }

    /// A partition without a commit is new to a group that has commits for others, or that this member has
    /// been reading for: nobody of the group can have seen anything of it.
    fn starts_at_first(&self, topic: &Topic, committed: &Offsets) -> bool {
        self.from_earliest || self.was_placed || committed.keys().any(|(name, _)| name == topic)
    }

    /// Whether the group has commits of any topic that matches its patterns: then one without has been made since, and
    /// nobody of the group can have seen anything of it.
    async fn has_read_others(&self) -> Result<bool, DriverError> {
        let Some(patterns) = &self.patterns else { return Ok(false) };
        let partitions = self.lookup.partitions(patterns).await?;
        Ok(!partitions.is_empty() && !self.commits_of(partitions).await?.is_empty())
    }

    /// The start, or the first message where retention or a new topic of the same name overtook the group.
    fn still_there(
        &self,
        (topic, partition): &(Topic, Partition),
        start: Offset,
        first: Offset,
        end: Offset,
    ) -> Offset {
        if (first..=end).contains(&start) {
            return start;
        }
        warn!(
            group = %self.group, %topic, partition = partition.0, committed = start.0, first = first.0, end = end.0,
            "Messages behind the commit of a group are no longer kept; it goes on with the first there is."
        );
        first
    }

    async fn commits_of(&self, partitions: Partitions) -> Result<Offsets, DriverError> {
        let (client, time) = (self.client.clone(), self.timeout);
        let answer = self.blocking("Asking for the commits", move || {
            let asked =
                list(partitions.iter().map(|(topic, number)| (topic, *number, KafkaOffset::Invalid)))?;
            let found = client.committed_offsets(asked, time)?;
            let mut offsets = Offsets::new();
            for one in found.elements() {
                one.error()?;
                if let KafkaOffset::Offset(offset) = one.offset() {
                    let offset = Offset(u64::try_from(offset).unwrap_or_default());
                    offsets.insert((one.topic().into(), partition_of(one.partition())), offset);
                }
            }
            Ok(offsets)
        });
        answer.await
    }

    async fn assign(&self, starts: &Offsets) -> Result<(), DriverError> {
        let (client, starts) = (self.client.clone(), starts.clone());
        self.blocking("Taking partitions", move || client.assign(&list_of(&starts)?)).await
    }

    async fn commit_offsets(&self, offsets: &Offsets) -> Result<(), DriverError> {
        if offsets.is_empty() {
            return Ok(());
        }
        let (client, offsets) = (self.client.clone(), offsets.clone());
        self.blocking("Committing", move || client.commit(&list_of(&offsets)?, CommitMode::Sync)).await
    }

    async fn blocking<T: Send + 'static>(
        &self,
        doing: &str,
        work: impl FnOnce() -> Result<T, KafkaError> + Send + 'static,
    ) -> Result<T, DriverError> {
        let doing = format!("{doing} for the group '{}'", self.group);
        match timeout(self.timeout, spawn_blocking(work)).await {
            Ok(Ok(Ok(value))) => Ok(value),
            Ok(Ok(Err(error))) => Err(self.cluster.error(doing, &error)),
            Ok(Err(_)) => Err(closed()),
            Err(_) => Err(self.cluster.timed_out(doing)),
        }
    }
}

impl Share {
    /// Notes that these are placed, unless the group has taken them back meanwhile.
    fn hold(&self, placed: &Partitions) {
        let mut state = self.state();
        if state.waiting.as_ref() == Some(placed) {
            state.waiting = None;
            state.held = placed.iter().cloned().collect();
        }
    }

    fn holds(&self, topic: &Topic, partition: Partition) -> bool {
        self.state().held.contains(&(topic.clone(), partition))
    }
}

fn list_of(offsets: &Offsets) -> Result<TopicPartitionList, KafkaError> {
    let mut list = TopicPartitionList::new();
    for ((topic, partition), offset) in offsets {
        // Every offset came from Kafka, which counts up to the same number.
        let offset = KafkaOffset::Offset(i64::try_from(offset.0).unwrap_or(i64::MAX));
        list.add_partition_offset(topic.as_str(), number_of(*partition), offset)?;
    }
    Ok(list)
}
