//! Work that clients share: each message of a group goes to one of its members.
//!
//! A group is a real one at the broker, where other gateways may have members of it. In this gateway it has one reader,
//! however many clients are in it: what that reads is [dealt](crate::dealing) to them as they ask, and committed once
//! they are done with it. The reader begins with the first member and ends some seconds after the last has gone.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use sluice_broker::{BrokerDriver, ConsumeSpec, Consumer, DriverError, ErrorKind, StartAt, StopAt};
use sluice_message::{Message, Place, Topic};
use tokio::{
    sync::{Notify, watch},
    time::{Instant, sleep, sleep_until},
};
use tracing::{debug, info, warn};

use crate::{
    Cursor, Hubs, Step, StreamMetrics,
    dealing::Dealing,
    hub::{BACKOFF, Phase, names},
    metrics::Held,
};

/// How a client joins a group.
#[derive(Debug, Clone)]
pub struct Sharing {
    /// Whose group it is. One owner may have so many open at once as [`HubOptions`](crate::HubOptions) say.
    pub owner: Arc<str>,
    /// The name of the group at the broker.
    pub name: Arc<str>,
    /// Whether a group without a commit begins with the first message that the broker has.
    pub from_earliest: bool,
    /// Whether the client [says](Confirm) what it is done with. What others are handed is committed at once.
    pub confirms: bool,
}

/// Why a client is not in a group.
#[derive(Debug, Clone)]
pub enum NoGroup {
    /// Its owner has as many open as it may.
    TooMany,
    /// The broker's error.
    Driver(DriverError),
}

/// Which group: the driver by identity, the topics, the name.
type Key = (usize, Vec<Topic>, Arc<str>);

/// The groups of a gateway.
pub(crate) type Groups = Mutex<HashMap<Key, Arc<Group>>>;

/// What the reader and the members of a group share.
pub(crate) struct Group {
    owner: Arc<str>,
    name: Arc<str>,
    from_earliest: bool,
    driver: Arc<dyn BrokerDriver>,
    topics: Vec<Topic>,
    dealing: Mutex<Dealing>,
    phase: watch::Sender<Phase>,
    /// Since when nobody is there.
    empty_since: watch::Sender<Option<Instant>>,
    /// There may be something to commit, or room to read.
    moved: Notify,
}

impl std::fmt::Debug for Group {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Group").field("name", &self.name).finish_non_exhaustive()
    }
}

/// A member's place, as its cursor has it.
pub(crate) struct InGroup {
    group: Arc<Group>,
    id: u64,
    confirms: bool,
    woken: Arc<Notify>,
    phase: watch::Receiver<Phase>,
}

/// By which a member of a group says what it is done with.
#[derive(Debug, Clone)]
pub struct Confirm {
    group: Arc<Group>,
    id: u64,
}

impl Confirm {
    /// The message at this place is dealt with, and goes to nobody else.
    pub fn done(&self, place: &Place) {
        self.group.dealing().confirm(self.id, place);
        self.group.moved.notify_one();
    }
}

impl Hubs {
    /// A new member of a group, on a driver with the capabilities `groups` and `sharing`. Resolves once the group has
    /// its place at the broker.
    ///
    /// # Errors
    /// The owner has too many groups, or the broker's error, also when it takes longer than the open timeout.
    pub async fn join_group(
        self: &Arc<Self>,
        driver: &Arc<dyn BrokerDriver>,
        topics: &[Topic],
        sharing: &Sharing,
    ) -> Result<Cursor, NoGroup> {
        let mut member = self.enter(driver, topics, sharing)?;
        let opening = tokio::time::timeout(self.options().open_timeout, member.opened());
        let opened = opening.await.unwrap_or_else(|_| Err(member.overdue(self.options().open_timeout)));
        opened.map_err(NoGroup::Driver)?;
        Ok(Cursor::in_group(member))
    }

    fn enter(
        self: &Arc<Self>,
        driver: &Arc<dyn BrokerDriver>,
        topics: &[Topic],
        sharing: &Sharing,
    ) -> Result<InGroup, NoGroup> {
        let key = (Arc::as_ptr(driver).cast::<()>() as usize, topics.to_vec(), Arc::clone(&sharing.name));
        let mut groups = lock(self.groups());
        if let Some(group) = groups.get(&key) {
            return Ok(group.enter(sharing.confirms));
        }
        if groups.values().filter(|group| group.owner == sharing.owner).count() >= self.options().max_groups {
            return Err(NoGroup::TooMany);
        }
        let group = Arc::new(Group {
            owner: Arc::clone(&sharing.owner),
            name: Arc::clone(&sharing.name),
            from_earliest: sharing.from_earliest,
            driver: Arc::clone(driver),
            topics: topics.to_vec(),
            dealing: Mutex::new(Dealing::new()),
            phase: watch::Sender::new(Phase::Opening(None)),
            empty_since: watch::Sender::new(None),
            moved: Notify::new(),
        });
        let member = group.enter(sharing.confirms);
        groups.insert(key.clone(), Arc::clone(&group));
        drop(groups);
        let reader = Reader {
            group,
            hubs: Arc::clone(self),
            key,
            linger: self.options().linger,
            backoff: BACKOFF.0,
            told: None,
        };
        tokio::spawn(reader.run());
        Ok(member)
    }
}

fn lock(groups: &Groups) -> MutexGuard<'_, HashMap<Key, Arc<Group>>> {
    // The map is whole after any panic: each change of it is one call.
    groups.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Group {
    fn dealing(&self) -> MutexGuard<'_, Dealing> {
        self.dealing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn enter(self: &Arc<Self>, confirms: bool) -> InGroup {
        let woken = Arc::<Notify>::default();
        let id = self.dealing().enter(confirms, Arc::clone(&woken));
        self.empty_since.send_replace(None);
        InGroup { group: Arc::clone(self), id, confirms, woken, phase: self.phase.subscribe() }
    }

    /// Resolves when nobody has been there for so long. May be dropped and called again.
    async fn idle(&self, linger: Duration) {
        let mut changes = self.empty_since.subscribe();
        loop {
            let since = *changes.borrow_and_update();
            let over = async {
                match since {
                    Some(since) => sleep_until(since + linger).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = over => return,
                changed = changes.changed() => if changed.is_err() { return },
            }
        }
    }
}

impl InGroup {
    /// Waits until the group reads, or until it is plain that it does not.
    async fn opened(&mut self) -> Result<(), DriverError> {
        let settled = self.phase.wait_for(|phase| match phase {
            // An outage may pass in a moment; the other errors stay until somebody does something.
            Phase::Opening(failed) => {
                failed.as_ref().is_some_and(|error| error.kind != ErrorKind::Unreachable)
            }
            Phase::Live | Phase::Failed(_) | Phase::Ended => true,
        });
        match settled.await.map_or(Phase::Ended, |phase| phase.clone()) {
            Phase::Failed(error) | Phase::Opening(Some(error)) => Err(error),
            Phase::Opening(None) | Phase::Live | Phase::Ended => Ok(()),
        }
    }

    /// Why the group is not reading yet.
    fn overdue(&self, timeout: Duration) -> DriverError {
        if let Phase::Opening(Some(error)) = &*self.phase.borrow() {
            return error.clone();
        }
        let (name, topics, waited) = (&self.group.name, names(&self.group.topics), timeout.as_millis());
        let text =
            format!("The broker gave the group {name} no place in the topics {topics} within {waited} ms.");
        DriverError::new(ErrorKind::Unreachable, text)
    }

    /// By which the member says what it is done with, where it is to.
    pub(crate) fn confirm(&self) -> Option<Confirm> {
        self.confirms.then(|| Confirm { group: Arc::clone(&self.group), id: self.id })
    }

    /// The next messages for this member. Cancel-safe: what was dealt to it stays its own.
    pub(crate) async fn next(&mut self, batch: &mut Vec<Message>) -> Result<Step, DriverError> {
        loop {
            let (took, is_short) = {
                let mut dealing = self.group.dealing();
                let took = dealing.take(self.id, batch);
                if !took {
                    dealing.ask(self.id);
                }
                (took, dealing.is_short())
            };
            // Where nothing that waits is for this one, the reader may now go farther.
            if took || is_short {
                self.group.moved.notify_one();
            }
            if took {
                return Ok(Step::Messages);
            }
            // Asks while it waits, and not when this is dropped: others may be there for what comes.
            let _asking = Asking(self.group.as_ref(), self.id);
            match &*self.phase.borrow_and_update() {
                Phase::Failed(error) => return Err(error.clone()),
                Phase::Ended => return Ok(Step::Ended),
                Phase::Opening(_) | Phase::Live => {}
            }
            tokio::select! {
                () = self.woken.notified() => {}
                _changed = self.phase.changed() => {}
            }
        }
    }
}

impl Drop for InGroup {
    fn drop(&mut self) {
        let mut dealing = self.group.dealing();
        dealing.leave(self.id);
        if dealing.is_empty() {
            self.group.empty_since.send_replace(Some(Instant::now()));
        }
    }
}

/// A member that asks for messages for as long as this lives.
struct Asking<'a>(&'a Group, u64);

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        self.0.dealing().rest(self.1);
    }
}

/// What reads the broker on behalf of a group.
struct Reader {
    group: Arc<Group>,
    hubs: Arc<Hubs>,
    key: Key,
    linger: Duration,
    /// How long to wait after the next failure; short again as soon as something was read.
    backoff: Duration,
    /// The failure that the log was told last, until the broker is read again.
    told: Option<String>,
}

impl Reader {
    async fn run(mut self) {
        debug!(group = %self.group.name, topics = %names(&self.group.topics), "A group begins.");
        if let Some(end) = self.read().await {
            lock(self.hubs.groups()).remove(&self.key);
            self.group.phase.send_replace(end);
        }
        debug!(group = %self.group.name, "A group ends.");
    }

    /// Reads for as long as there are members; returns why it ends, where that is not for want of them.
    async fn read(&mut self) -> Option<Phase> {
        let group = Arc::clone(&self.group);
        let mut consumer = loop {
            let opened = tokio::select! {
                opened = self.open() => opened,
                () = group.idle(self.linger) => match self.retire() {
                    true => return None,
                    false => continue,
                },
            };
            match opened {
                Ok(consumer) => break consumer,
                Err(error) if error.retryable() => {
                    self.report(&error);
                    group.phase.send_replace(Phase::Opening(Some(error)));
                    self.pause().await;
                }
                Err(error) => return Some(Phase::Failed(error)),
            }
        };
        group.phase.send_replace(Phase::Live);
        info!(group = %group.name, topics = %names(&group.topics), "Reading from the broker for a group.");
        self.told = None;
        let _open = Held::new(&self.metrics().group_consumers);
        self.pump(&mut *consumer).await
    }

    fn open(&self) -> impl Future<Output = Result<Box<dyn Consumer>, DriverError>> + use<'_> {
        let group = &self.group;
        let (name, from_earliest) = (Arc::clone(&group.name), group.from_earliest);
        let start = StartAt::Group { name, from_earliest, sole: false };
        group.driver.consume(ConsumeSpec { topics: group.topics.clone(), start, stop: StopAt::Never })
    }

    /// Deals out what is read, and commits what is done.
    async fn pump(&mut self, consumer: &mut dyn Consumer) -> Option<Phase> {
        let group = Arc::clone(&self.group);
        let mut batch = Vec::new();
        loop {
            self.commit(consumer).await;
            let room = group.dealing().room();
            let reading = async {
                match room {
                    Some(room) => consumer.fetch(&mut batch, room).await,
                    None => std::future::pending().await,
                }
            };
            let fetched = tokio::select! {
                fetched = reading => fetched,
                () = group.moved.notified() => continue,
                () = group.idle(self.linger) => {
                    self.commit(consumer).await;
                    match self.retire() {
                        true => return None,
                        false => continue,
                    }
                }
            };
            match fetched {
                Ok(()) if batch.is_empty() => return Some(Phase::Ended),
                Ok(()) => {
                    (self.backoff, self.told) = (BACKOFF.0, None);
                    self.metrics().messages_read.inc_by(batch.len() as u64);
                    group.dealing().add(&mut batch);
                }
                Err(error) if error.kind == ErrorKind::PositionLost => {
                    warn!(group = %group.name, %error, "The broker no longer has messages that a group has not read; it goes on with the first there is.");
                    self.metrics().positions_lost.inc();
                }
                Err(error) if error.retryable() => {
                    self.report(&error);
                    self.pause().await;
                }
                Err(error) => return Some(Phase::Failed(error)),
            }
        }
    }

    async fn commit(&mut self, consumer: &mut dyn Consumer) {
        let Some(position) = self.group.dealing().committable() else { return };
        if let Err(error) = consumer.commit(&position).await {
            self.report(&error);
            self.group.dealing().commit_again();
            self.pause().await;
            self.group.moved.notify_one();
        }
    }

    /// Takes the group out of service, unless a member has come meanwhile. Joining takes the same lock, so that no
    /// member can be left with a group that has ended.
    fn retire(&self) -> bool {
        let mut groups = lock(self.hubs.groups());
        let is_empty = self.group.dealing().is_empty();
        if is_empty {
            groups.remove(&self.key);
        }
        is_empty
    }

    fn metrics(&self) -> &StreamMetrics {
        self.hubs.metrics()
    }

    async fn pause(&mut self) {
        sleep(self.backoff).await;
        self.backoff = (self.backoff * 2).min(BACKOFF.1);
    }

    /// Tells the log once of each cause, however often it is met again.
    fn report(&mut self, error: &DriverError) {
        let (group, wait_ms) = (&self.group.name, self.backoff.as_millis());
        if self.told.as_ref() == Some(&error.message) {
            debug!(%group, %error, wait_ms, "Reading for a group failed once more.");
        } else {
            warn!(%group, %error, wait_ms, "Reading for a group failed; it is tried again until it succeeds.");
            self.told = Some(error.message.clone());
        }
    }
}
