//! Readers: at a position on all partitions of their topics, with or without an end, or as a member of a
//! group.
//!
//! librdkafka fetches ahead into a bounded queue and reconnects by itself; a reader takes from that queue
//! when asked and copies each record once into a message.

use std::{
    collections::BTreeSet,
    sync::{Arc, Weak},
    time::Duration,
};

use futures_util::{FutureExt as _, future::BoxFuture};
use rdkafka::{
    ClientConfig, Offset as KafkaOffset, TopicPartitionList,
    config::FromClientConfigAndContext,
    consumer::{Consumer as _, StreamConsumer},
    error::{KafkaError, RDKafkaErrorCode},
    message::BorrowedMessage,
};
use sluice_broker::{BatchLimit, Consumer, DriverError, ErrorKind};
use sluice_message::{Message, Partition, Position, Topic};
use tokio::{
    task::spawn_blocking,
    time::{sleep, timeout},
};
use tokio_util::task::AbortOnDropHandle;
use tracing::{debug, info, warn};

use crate::{
    KafkaOptions,
    cluster::Cluster,
    error::{closed, is_missing, is_passing, kind_of},
    group::{Client, Membership, ReaderClient, ReaderListener, Share},
    lookup::{Lookup, list},
    patterns::is_pattern,
    record::{self, Names, partition_of},
    stretch::Stretch,
};

/// How long a new reader may ask for the leaders of its partitions before it starts.
const WARM_UP: Duration = Duration::from_secs(2);

/// What a new client may have to say before it says that it needs a token.
const FIRST_EVENTS: usize = 16;

/// Where each partition starts.
pub(crate) type Starts = Vec<(Topic, Partition, KafkaOffset)>;

/// A reader on its way between librdkafka and the gateway.
pub(crate) struct Reader {
    client: Arc<Client>,
    cluster: Arc<Cluster>,
    share: Arc<Share>,
    topics: Vec<Topic>,
    names: Names,
    /// What was taken from librdkafka but did not fit the last batch.
    ahead: Option<Result<Message, DriverError>>,
    kind: Kind,
}

enum Kind {
    /// With the task that looks for new partitions.
    AtPosition {
        _watch: AbortOnDropHandle<()>,
    },
    UpToEnd(Stretch),
    Member {
        membership: Membership,
        /// The task that looks for topics that match a pattern, where there is one.
        _watch: Option<AbortOnDropHandle<()>>,
    },
}

/// What librdkafka handed out, as far as it concerns a reader.
enum Event {
    Message(Message),
    Failed(DriverError),
    /// Everything there is of a partition has been read.
    End(Partition),
    /// librdkafka goes on by itself.
    Passing,
}

impl Reader {
    /// A reader of these partitions, and of those that their topics get later.
    pub(crate) async fn at_position(
        settings: ClientConfig,
        cluster: Arc<Cluster>,
        lookup: Arc<Lookup>,
        topics: Vec<Topic>,
        starts: Starts,
        refresh: Duration,
    ) -> Result<Self, DriverError> {
        let share = Arc::<Share>::default();
        let known = starts.iter().map(|(topic, partition, _)| (topic.clone(), *partition)).collect();
        let client = open(settings, &cluster, &share, move |client| begin(client, &starts)).await?;
        let watch = watch(Arc::downgrade(&client), lookup, topics.clone(), known, refresh);
        let kind = Kind::AtPosition { _watch: AbortOnDropHandle::new(tokio::spawn(watch)) };
        Ok(Self { client, cluster, share, topics, names: Names::default(), ahead: None, kind })
    }

    /// A reader that ends behind what its partitions hold now.
    pub(crate) async fn up_to_end(
        mut settings: ClientConfig,
        cluster: Arc<Cluster>,
        topics: Vec<Topic>,
        stretch: Stretch,
    ) -> Result<Self, DriverError> {
        settings.set("enable.partition.eof", "true");
        let share = Arc::<Share>::default();
        let client = open(settings, &cluster, &share, |_| Ok(())).await?;
        let (names, kind) = (Names::default(), Kind::UpToEnd(stretch));
        Ok(Self { client, cluster, share, topics, names, ahead: None, kind })
    }

    /// A member of a group, once it has its share of the partitions.
    pub(crate) async fn member(
        settings: ClientConfig,
        cluster: Arc<Cluster>,
        lookup: Arc<Lookup>,
        topics: Vec<Topic>,
        (group, from_earliest): (Arc<str>, bool),
        options: KafkaOptions,
    ) -> Result<Self, DriverError> {
        let share = Arc::<Share>::default();
        let names = names_of(&lookup, &topics).await?;
        let subscribed = names.clone();
        let client = open(settings, &cluster, &share, move |client| subscribe(client, &subscribed)).await?;
        let by_pattern = topics.iter().any(is_pattern);
        let watch = by_pattern.then(|| {
            let watch = watch_names(
                Arc::downgrade(&client),
                lookup.clone(),
                topics.clone(),
                names.clone(),
                options.topic_refresh,
            );
            AbortOnDropHandle::new(tokio::spawn(watch))
        });
        let membership = Membership::new(
            client.clone(),
            cluster.clone(),
            lookup,
            share.clone(),
            (group.clone(), from_earliest),
            by_pattern.then(|| topics.clone()),
            options.answer_timeout,
        );
        let kind = Kind::Member { membership, _watch: watch };
        let mut reader = Self { client, cluster, share, topics, names: Names::default(), ahead: None, kind };
        if names.is_empty() {
            // Nothing can be shared out before there is a topic.
            if let Kind::Member { membership, .. } = &mut reader.kind {
                membership.is_placed_nowhere();
            }
            return Ok(reader);
        }
        match timeout(options.join_timeout, reader.join()).await {
            Ok(joined) => joined.map(|()| reader),
            Err(_) => Err(reader.cluster.timed_out(format_args!("Joining the group '{group}'"))),
        }
    }

    async fn join(&mut self) -> Result<(), DriverError> {
        loop {
            if let Kind::Member { membership, .. } = &mut self.kind {
                membership.place().await?;
                if membership.was_placed() {
                    return Ok(());
                }
            }
            tokio::select! {
                () = self.share.given() => {}
                received = self.client.recv() => {
                    if let Event::Failed(error) = self.judge(received) {
                        return Err(error);
                    }
                }
            }
        }
    }

    async fn read(&mut self, batch: &mut Vec<Message>, limit: BatchLimit) -> Result<(), DriverError> {
        let first = match self.ahead.take() {
            Some(next) => next?,
            None => match self.next().await? {
                Some(message) => message,
                None => return Ok(()),
            },
        };
        self.cluster.answered();
        let mut left = limit.bytes.saturating_sub(first.size());
        batch.push(first);
        for _ in 1..limit.messages {
            match self.at_hand() {
                Some(Ok(message)) if message.size() <= left => {
                    left -= message.size();
                    batch.push(message);
                }
                later => {
                    self.ahead = later;
                    break;
                }
            }
        }
        Ok(())
    }

    /// Waits for the next message; `None` where a reader that ends has ended.
    async fn next(&mut self) -> Result<Option<Message>, DriverError> {
        loop {
            match &mut self.kind {
                Kind::Member { membership, .. } => membership.place().await?,
                Kind::UpToEnd(stretch) if stretch.is_due() => {
                    let Some(starts) = stretch.due() else { return Ok(None) };
                    let (client, starts) = (self.client.clone(), starts.clone());
                    let begun =
                        spawn_blocking(move || begin(&client, &starts)).await.map_err(|_| closed())?;
                    begun.map_err(|error| self.cluster.error("Taking partitions", &error))?;
                    stretch.begun();
                }
                Kind::UpToEnd(_) | Kind::AtPosition { .. } => {}
            }
            let received = tokio::select! {
                () = self.share.given() => continue,
                received = self.client.recv() => received,
            };
            let event = self.judge(received);
            if let Some(result) = self.note(event) {
                return result.map(Some);
            }
        }
    }

    /// The next message, if librdkafka has one already.
    fn at_hand(&mut self) -> Option<Result<Message, DriverError>> {
        loop {
            let event = self.judge(self.client.recv().now_or_never()?);
            if let Some(result) = self.note(event) {
                return Some(result);
            }
        }
    }

    fn judge(&self, received: Result<BorrowedMessage<'_>, KafkaError>) -> Event {
        let error = match received {
            Ok(record) => return Event::Message(record::message(&record, &self.names)),
            Err(KafkaError::PartitionEOF(number)) => return Event::End(partition_of(number)),
            Err(error) => error,
        };
        match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::PollExceeded) => {
                warn!(
                    "A reader was not asked for messages for so long that its group went on without it; it \
                     joins again."
                );
                Event::Passing
            }
            // It takes no rights on a group to read at a position; librdkafka asks for its coordinator anyway.
            Some(RDKafkaErrorCode::GroupAuthorizationFailed) if !matches!(self.kind, Kind::Member { .. }) => {
                Event::Passing
            }
            // The topic of a pattern may go at any time; whoever watches for it takes note.
            Some(code) if is_missing(code) && self.topics.iter().any(is_pattern) => Event::Passing,
            // A token that has just ended is followed by the next one.
            _ if is_passing(&error)
                && (kind_of(&error) != ErrorKind::Refused || self.cluster.uses_tokens()) =>
            {
                Event::Passing
            }
            _ => {
                let names = self.topics.iter().map(Topic::as_str).collect::<Vec<_>>().join("', '");
                Event::Failed(self.cluster.error(format_args!("Reading the topic '{names}'"), &error))
            }
        }
    }

    /// Hands on what concerns the caller, after a reader that ends has taken note.
    fn note(&mut self, event: Event) -> Option<Result<Message, DriverError>> {
        match (event, &mut self.kind) {
            (Event::Failed(error), _) => Some(Err(error)),
            (Event::Message(message), Kind::UpToEnd(stretch)) => {
                message.place().into_iter().for_each(|place| stretch.read(place));
                Some(Ok(message))
            }
            (Event::Message(message), _) => Some(Ok(message)),
            (Event::End(partition), Kind::UpToEnd(stretch)) => {
                stretch.ended(partition);
                None
            }
            (Event::End(_) | Event::Passing, _) => None,
        }
    }
}

impl Consumer for Reader {
    fn fetch<'a>(
        &'a mut self,
        batch: &'a mut Vec<Message>,
        limit: BatchLimit,
    ) -> BoxFuture<'a, Result<(), DriverError>> {
        Box::pin(self.read(batch, limit))
    }

    fn commit<'a>(&'a mut self, position: &'a Position) -> BoxFuture<'a, Result<(), DriverError>> {
        Box::pin(async move {
            match &mut self.kind {
                Kind::Member { membership, .. } => membership.commit(position).await,
                Kind::AtPosition { .. } | Kind::UpToEnd(_) => Err(DriverError::new(
                    ErrorKind::Unsupported,
                    "Only a reader of a group can commit; this one reads Kafka at a position.",
                )),
            }
        })
    }
}

/// Makes these the partitions that a client reads. Blocks.
fn begin(client: &Client, starts: &Starts) -> Result<(), KafkaError> {
    let mut topics: Vec<&Topic> = starts.iter().map(|(topic, ..)| topic).collect();
    topics.dedup();
    // Left to itself, librdkafka would look for leaders half a second after its start. Without an answer it
    // still does.
    let _ = topics
        .into_iter()
        .try_for_each(|topic| client.fetch_metadata(Some(topic.as_str()), WARM_UP).map(drop));
    client.assign(&list_of(starts)?)
}

fn list_of(starts: &Starts) -> Result<TopicPartitionList, KafkaError> {
    list(starts.iter().map(|(topic, partition, offset)| (topic, *partition, *offset)))
}

/// Opens a client and prepares it, on a thread that may block: reading certificates and handing over an
/// assignment both do.
async fn open(
    settings: ClientConfig,
    cluster: &Arc<Cluster>,
    share: &Arc<Share>,
    prepare: impl FnOnce(&Client) -> Result<(), KafkaError> + Send + 'static,
) -> Result<Arc<Client>, DriverError> {
    let listener = ReaderListener::new(cluster, share);
    let uses_tokens = cluster.uses_tokens();
    let ends = cluster.ends.clone();
    let opened = spawn_blocking(move || {
        let client = StreamConsumer::from_config_and_context(&settings, listener)?;
        let client = Client::new(ReaderClient(client), ends);
        if uses_tokens {
            // The token is handed over to a client that is asked for messages, and to no other.
            (0..FIRST_EVENTS).for_each(|_| drop(client.recv().now_or_never()));
        }
        prepare(&client)?;
        Ok(Arc::new(client))
    });
    opened.await.map_err(|_| closed())?.map_err(|error: KafkaError| cluster.error("Opening a reader", &error))
}

/// Gives the reader those partitions that its topics get after its start, from their first message on, and takes from it
/// those of topics that are gone.
async fn watch(
    client: Weak<Client>,
    lookup: Arc<Lookup>,
    topics: Vec<Topic>,
    mut known: BTreeSet<(Topic, Partition)>,
    refresh: Duration,
) {
    loop {
        sleep(refresh).await;
        let found = match lookup.partitions(&topics).await {
            Ok(found) => found,
            Err(error) => {
                debug!(%error, "New partitions could not be looked for; that is done again later.");
                continue;
            }
        };
        let found: BTreeSet<_> = found.into_iter().collect();
        let new: Vec<_> = found.difference(&known).cloned().collect();
        let gone: Vec<_> = known.difference(&found).cloned().collect();
        let Some(client) = client.upgrade() else { return };
        if new.is_empty() && gone.is_empty() {
            continue;
        }
        let starts = |partitions: &[(Topic, Partition)]| -> Starts {
            let all = partitions.iter();
            all.map(|(topic, partition)| (topic.clone(), *partition, KafkaOffset::Beginning)).collect()
        };
        let (added, taken) = (list_of(&starts(&new)), list_of(&starts(&gone)));
        let (has_new, has_gone) = (!new.is_empty(), !gone.is_empty());
        let changed = spawn_blocking(move || {
            if has_gone {
                client.incremental_unassign(&taken?)?;
            }
            if has_new {
                client.incremental_assign(&added?)?;
            }
            Ok(())
        });
        match changed.await.map_err(|_| KafkaError::Canceled).flatten() {
            Ok(()) => {
                if has_new {
                    info!(partitions = ?new, "There are new topics or partitions; they are read from their first message on.");
                }
                if has_gone {
                    info!(partitions = ?gone, "Topics are gone; they are read no more.");
                }
                known = found;
            }
            Err(error) => {
                warn!(%error, partitions = ?new, "New partitions could not be added to a reader; that is done again later.");
            }
        }
    }
}

/// The topics that these stand for now.
async fn names_of(lookup: &Lookup, topics: &[Topic]) -> Result<BTreeSet<Topic>, DriverError> {
    Ok(lookup.partitions(topics).await?.into_iter().map(|(topic, _)| topic).collect())
}

/// Asks the group for a share of these topics, or for none.
fn subscribe(client: &Client, names: &BTreeSet<Topic>) -> Result<(), KafkaError> {
    if names.is_empty() {
        client.unsubscribe();
        return Ok(());
    }
    client.subscribe(&names.iter().map(Topic::as_str).collect::<Vec<_>>())
}

/// Asks the group for a share of what matches the patterns of a member, whenever that has changed.
async fn watch_names(
    client: Weak<Client>,
    lookup: Arc<Lookup>,
    topics: Vec<Topic>,
    mut known: BTreeSet<Topic>,
    refresh: Duration,
) {
    loop {
        sleep(refresh).await;
        let Some(client) = client.upgrade() else { return };
        let names = match names_of(&lookup, &topics).await {
            Ok(names) => names,
            Err(error) => {
                debug!(%error, "Topics that match a pattern could not be looked for; that is done again later.");
                continue;
            }
        };
        if names == known {
            continue;
        }
        let wanted = names.clone();
        let subscribed = spawn_blocking(move || subscribe(&client, &wanted)).await;
        match subscribed.map_err(|_| KafkaError::Canceled).flatten() {
            Ok(()) => {
                info!(topics = ?names, "A group reads other topics from now on, as others match its patterns.");
                known = names;
            }
            Err(error) => {
                warn!(%error, "The topics of a group could not be changed; that is done again later.");
            }
        }
    }
}
