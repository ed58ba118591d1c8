//! A subscription whose API gets another broker: the old one is drained first, for a while, then it goes on at the
//! new one, where that stood when the change came.

use std::{sync::Arc, time::Duration};

use sluice_api::SubscriptionId;
use sluice_message::Position;
use sluice_stream::Begin;
use tokio::time::{Instant, sleep};
use tracing::{info, warn};

use crate::{Route, deliveries::Shared, home, home::Trouble};

/// How long a broker is left alone that does not say how far it has come.
const AGAIN: Duration = Duration::from_millis(500);

/// A subscription on its way to another broker.
pub(crate) struct Moving {
    /// What it is served by until then.
    pub(crate) from: Arc<Route>,
    /// Where it goes.
    pub(crate) to: Arc<Route>,
    /// When it goes, whatever is left.
    pub(crate) by: Instant,
    /// Where the old broker ended when the change came, once that is known.
    pub(crate) goal: Option<Position>,
    /// Whether it is noted where the new one begins.
    pub(crate) announced: bool,
}

impl Moving {
    pub(crate) fn new(shared: &Shared, from: Arc<Route>, to: Arc<Route>) -> Self {
        Self { from, to, by: Instant::now() + shared.drain_timeout, goal: None, announced: false }
    }

    /// Whether its time is over.
    pub(crate) fn is_over(&self) -> bool {
        Instant::now() >= self.by
    }

    /// Fixes where the new broker begins and the old one ends, as soon as they say. Cancel-safe.
    pub(crate) async fn prepare(&mut self, shared: &Shared, id: &SubscriptionId) {
        while !self.announced || self.goal.is_none() {
            let begun = if self.announced { Ok(()) } else { self.announce(shared, id).await };
            let ended = if self.goal.is_some() { Ok(()) } else { self.fix_the_end().await };
            for error in [begun.err(), ended.err()].into_iter().flatten() {
                warn!(
                    api = %self.from.api, subscription = %id, %error,
                    "A subscription is to move to another broker, and where from and to is not known yet."
                );
            }
            if !self.announced || self.goal.is_none() {
                sleep(AGAIN).await;
            }
        }
    }

    async fn announce(&mut self, shared: &Shared, id: &SubscriptionId) -> Result<(), Trouble> {
        if self.to.begin == Begin::Latest {
            let begin = ends(&self.to).await?;
            home::announce(shared, id, &self.from.broker, &self.to.broker, begin).await?;
        }
        self.announced = true;
        Ok(())
    }

    async fn fix_the_end(&mut self) -> Result<(), Trouble> {
        self.goal = Some(ends(&self.from).await?);
        Ok(())
    }

    /// Says what was left behind, of what was there when the change came.
    pub(crate) fn tell(&self, id: &SubscriptionId, reached: Option<&Position>) {
        let api = &self.from.api;
        let Some(goal) = &self.goal else {
            warn!(%api, subscription = %id, "A subscription left a broker that did not answer any more for another one.");
            return;
        };
        let left = goal.nexts().map(|(topic, partition, end)| {
            let next = reached.and_then(|reached| reached.next(topic, partition)).unwrap_or_default();
            end.0.saturating_sub(next.0)
        });
        let messages = left.sum::<u64>();
        if messages == 0 {
            info!(%api, subscription = %id, "A subscription has brought all that its broker had, and goes on at another.");
        } else {
            warn!(
                %api, subscription = %id, messages,
                "A subscription went on at another broker, and could not bring so many messages of the former in time."
            );
        }
    }
}

async fn ends(route: &Route) -> Result<Position, Trouble> {
    let mut position = Position::new();
    for ((topic, partition), kept) in route.driver.bounds(&route.topics).await? {
        position.set_next(&topic, partition, kept.end);
    }
    Ok(position)
}
