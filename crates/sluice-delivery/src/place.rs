//! Where a subscription reads: behind its stored position, or where its API lets new ones begin.

use std::collections::BTreeSet;

use sluice_api::{Qos, SubscriptionId};
use sluice_broker::{DriverError, ErrorKind};
use sluice_message::{Position, Topic};
use sluice_stream::{Begin, Cursor, Joining, Lag, Side};
use tokio::time::sleep;
use tracing::{error, warn};

use crate::{
    Route,
    backoff::Backoff,
    deliveries::Shared,
    home::{self, Found, Trouble},
    moving::{all_of, behind, only},
    retries::Retries,
    state::{Stage, Watched},
};

/// How far a subscription has come, as its worker knows it.
#[derive(Debug, Default)]
pub(crate) struct Whereabouts {
    /// Where it goes on; `None` where it has not begun.
    pub(crate) position: Option<Position>,
    /// The broker that this is known of, as it calls itself, once it was looked up.
    pub(crate) broker: Option<String>,
    /// What it left at its former broker, where it is not known yet whether it is at another now.
    pub(crate) left: Option<Left>,
}

/// What a subscription leaves behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Left {
    /// So many messages: some of their offsets may hold none.
    About(u64),
    /// The former broker did not say what it had.
    Unknown,
}

/// A subscription that is to be read for.
pub(crate) struct Opening<'o> {
    pub(crate) shared: &'o Shared,
    pub(crate) route: &'o Route,
    pub(crate) id: &'o SubscriptionId,
    pub(crate) topics: &'o [Topic],
    pub(crate) retries: &'o Retries,
    pub(crate) watched: &'o Watched,
}

impl Opening<'_> {
    /// The cursor of a subscription, however long it takes. Where it has come to is looked up if that is not
    /// known; what is found or begun with is put there and stored.
    pub(crate) async fn open(&self, known: &mut Whereabouts) -> Cursor {
        let (mut backoff, mut told) = (Backoff::new(), false);
        loop {
            let trouble = match self.attempt(known).await {
                Ok(cursor) => return cursor,
                Err(trouble) => trouble,
            };
            let wait = backoff.next();
            self.watched.failed(&trouble.failure());
            let (api, subscription) = (&self.route.api, self.id);
            if trouble.passes() {
                self.watched.set_stage(Stage::Opening);
                warn!(
                    %api, %subscription, error = %trouble, again_in_ms = wait.as_millis(),
                    "A subscription cannot be read for; trying again."
                );
            } else {
                self.watched.set_stage(Stage::Blocked);
                if !std::mem::replace(&mut told, true) {
                    error!(
                        %api, %subscription, error = %trouble,
                        "A subscription cannot be read for until somebody changes the API or its broker."
                    );
                }
            }
            sleep(wait).await;
        }
    }

    async fn attempt(&self, known: &mut Whereabouts) -> Result<Cursor, Trouble> {
        let route = self.route;
        if route.qos == Qos::None {
            return self.attempt_without_position().await;
        }
        let broker = self.look_up(known).await?;
        let Some(position) = &mut known.position else {
            let cursor = self.join(route.begin.clone(), Lag::CatchUp).await?;
            let begun = cursor.position();
            // Kept before the first message, so that nothing that comes from now on can be missed; should that
            // fail, the next try begins here, too.
            known.position = Some(begun.clone());
            home::settle(self.shared, self.id, &broker, begun).await?;
            return Ok(cursor);
        };
        let fitted = self.fitted(position).await?;
        match self.join(Begin::After(fitted.clone()), Lag::CatchUp).await {
            Ok(cursor) => {
                let dropped = only(position, |topic| !self.covers(topic));
                *position = fitted;
                if !dropped.is_empty() {
                    self.left_of(&dropped).await.tell(route, self.id);
                }
                Ok(cursor)
            }
            Err(lost) if lost.kind == ErrorKind::PositionLost => {
                let cursor = self.join_anew(&lost, Lag::CatchUp).await?;
                *position = cursor.position();
                Ok(cursor)
            }
            Err(other) => Err(other.into()),
        }
    }

    /// With what is published from now on, or where it was noted to begin, which counts once.
    async fn attempt_without_position(&self) -> Result<Cursor, Trouble> {
        let noted = home::beginning(self.shared, self.id, &*self.route.driver).await?;
        let Some(noted) = noted else { return Ok(self.join(Begin::Latest, Lag::Skip).await?) };
        let begin = Begin::After(self.fitted(&noted).await?);
        let cursor = match self.join(begin, Lag::Skip).await {
            Err(lost) if lost.kind == ErrorKind::PositionLost => self.join_anew(&lost, Lag::Skip).await?,
            joined => joined?,
        };
        home::begun(self.shared, self.id).await?;
        Ok(cursor)
    }

    /// Looks up how far the subscription has come at this broker, unless that is known, and which broker it is.
    pub(crate) async fn look_up(&self, known: &mut Whereabouts) -> Result<String, Trouble> {
        let broker = self.route.driver.identity().await?;
        if known.broker.as_ref() == Some(&broker) {
            return Ok(broker);
        }
        let Found { position, moved } = home::find(self.shared, self.id, &broker).await?;
        if moved {
            // They are of messages that are not here.
            self.retries.clear();
            if let Some(left) = known.left {
                left.tell(self.route, self.id);
            }
        }
        *known = Whereabouts { position, broker: Some(broker.clone()), left: None };
        Ok(broker)
    }

    /// Where the subscription begins, as it has not yet.
    pub(crate) async fn beginning(&self) -> Result<Position, DriverError> {
        Ok(self.join(self.route.begin.clone(), Lag::CatchUp).await?.position())
    }

    async fn join_anew(&self, lost: &DriverError, lag: Lag) -> Result<Cursor, DriverError> {
        error!(
            api = %self.route.api, subscription = %self.id, error = %lost,
            "The topics are not those that a subscription has read; it begins with their first message."
        );
        self.join(Begin::Earliest, lag).await
    }

    async fn join(&self, begin: Begin, lag: Lag) -> Result<Cursor, DriverError> {
        let joining = Joining::new(begin, lag).of(Side::Subscription);
        self.shared.hubs.join(&self.route.driver, self.topics, joining).await
    }

    /// What is left behind a position in topics that are read no more.
    async fn left_of(&self, dropped: &Position) -> Left {
        let topics: BTreeSet<Topic> = dropped.nexts().map(|(topic, ..)| topic.clone()).collect();
        let ends = all_of(&*self.route.driver, &Vec::from_iter(topics)).await;
        ends.map_or(Left::Unknown, |ends| Left::About(behind(dropped, &ends)))
    }

    /// Whether what the subscription reads has this topic.
    fn covers(&self, topic: &Topic) -> bool {
        self.route.driver.covers_any(self.topics, topic)
    }

    /// The position in the topics that the API has now: a topic that it had before is forgotten, a new one is
    /// begun where new subscriptions begin.
    async fn fitted(&self, known: &Position) -> Result<Position, DriverError> {
        let mut fitted = only(known, |topic| self.covers(topic));
        let driver = &self.route.driver;
        let named = |wanted: &&Topic| known.nexts().any(|(topic, _, _)| driver.covers(wanted, topic));
        let new: Vec<Topic> = self.topics.iter().filter(|topic| !named(topic)).cloned().collect();
        if !new.is_empty() && !known.is_empty() && self.route.begin == Begin::Latest {
            for ((topic, partition), range) in driver.bounds(&new).await? {
                // One that is known by another name among these goes on where it was.
                if fitted.next(&topic, partition).is_none() {
                    fitted.set_next(&topic, partition, range.end);
                }
            }
        }
        Ok(fitted)
    }
}
