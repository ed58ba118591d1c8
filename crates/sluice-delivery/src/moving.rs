//! A subscription whose API gets another connection, or other topics. Where nothing is left behind, as the connection
//! leads to the same broker and no topic is dropped, it goes on there at once. Else it is served as before for a while,
//! until it has brought what there was of that when the change came; then it goes on where the new topics, or the new
//! broker, stood at that moment. While a new broker says nothing, deliveries go on at the old one.

use std::{collections::BTreeSet, pin::pin, sync::Arc, time::Duration};

use sluice_api::{Subscription, SubscriptionId};
use sluice_broker::BrokerDriver;
use sluice_message::{Position, Topic};
use sluice_stream::Begin;
use tokio::time::{Instant, sleep};
use tracing::{info, warn};

use crate::{
    Failure, Route,
    arrival::Arrival,
    deliveries::{Deployed, Shared},
    home,
    home::Trouble,
    place::{Left, Whereabouts},
};

/// How long a broker is left alone that does not say who it is or how far it has come.
const AGAIN: Duration = Duration::from_millis(500);

/// A route as one subscription sees it.
#[derive(Debug, Clone)]
pub(crate) struct Leg {
    pub(crate) route: Arc<Route>,
    /// Its topics there, unless policies choose others.
    pub(crate) topics: Vec<Topic>,
    /// Where those stood when the route came.
    arrival: Arc<Arrival>,
}

/// A subscription on its way to another route.
pub(crate) struct Moving {
    /// What it is served by until then.
    pub(crate) from: Leg,
    /// The broker there.
    home: String,
    /// The topics that are read there.
    topics: Vec<Topic>,
    /// Where they ended when the change came, once that is known.
    ends: Option<Position>,
    /// Where it goes.
    pub(crate) to: Leg,
    /// When it goes, whatever is left.
    pub(crate) by: Instant,
    /// Where that leads, once that is known.
    leads: Option<Leads>,
    /// The broker of which it is noted where it begins there.
    announced: Option<String>,
}

/// Where a connection leads.
#[derive(Debug)]
enum Leads {
    /// To the broker that the subscription is at.
    Home {
        /// Where topics begin that it did not read before.
        begin: Position,
    },
    /// To another.
    Elsewhere,
}

impl Leg {
    /// What a subscription is served by on this route.
    ///
    /// # Errors
    /// The API does not have its channel.
    pub(crate) fn of(deployed: Deployed, subscription: &Subscription) -> Result<Self, Failure> {
        let Deployed { route, arrival } = deployed;
        let topics = route.topics_of(subscription)?.to_vec();
        Ok(Self { route, topics, arrival })
    }

    /// Whether what is read there has this topic.
    pub(crate) fn covers(&self, topic: &Topic) -> bool {
        self.route.driver.covers_any(&self.topics, topic)
    }
}

impl Moving {
    /// From this broker, where the subscription has this position.
    pub(crate) fn new(shared: &Shared, from: Leg, (home, position): (String, &Position), to: Leg) -> Self {
        let by = Instant::now() + shared.drain_timeout;
        let read: BTreeSet<Topic> = position.nexts().map(|(topic, ..)| topic.clone()).collect();
        // Policies may have chosen others than the API names.
        let named = read.iter().all(|topic| from.covers(topic));
        let topics = if named { from.topics.clone() } else { read.into_iter().collect() };
        Self { from, home, topics, ends: None, to, by, leads: None, announced: None }
    }

    /// Goes there instead.
    pub(crate) fn redirect(&mut self, to: Leg) {
        if !Arc::ptr_eq(&self.to.route, &to.route) || self.to.topics != to.topics {
            (self.to, self.leads) = (to, None);
        }
    }

    /// Whether it is time to go: nothing is left behind, or there is no more time.
    pub(crate) fn is_due(&self) -> bool {
        let at_home = matches!(self.leads, Some(Leads::Home { .. })) && self.drops_nothing();
        at_home || Instant::now() >= self.by
    }

    /// What is to be reached before it goes, once that is known.
    pub(crate) fn goal(&self) -> Option<Position> {
        let (leads, ends) = (self.leads.as_ref()?, self.ends.as_ref()?);
        Some(match leads {
            Leads::Home { .. } => only(ends, |topic| self.drops(topic)),
            Leads::Elsewhere => ends.clone(),
        })
    }

    fn drops(&self, topic: &Topic) -> bool {
        self.from.covers(topic) && !self.to.covers(topic)
    }

    fn drops_nothing(&self) -> bool {
        !self.from.topics.iter().any(|topic| self.drops(topic))
    }

    /// Finds out where it goes, and fixes where that begins and the old topics end. Lasts until all of them have said
    /// so; never ends where that is known. Cancel-safe.
    pub(crate) async fn prepare(&mut self, shared: &Shared, id: &SubscriptionId) {
        if self.leads.is_some() {
            return std::future::pending().await;
        }
        let drops_nothing = self.drops_nothing();
        let Self { from, home, topics, ends, to, announced, .. } = self;
        let mut leading = pin!(async {
            let mut told = false;
            loop {
                match lead(shared, id, (&*home, &*topics), to, announced).await {
                    Ok(leads) => return leads,
                    Err(error) => again(&from.route, id, error, &mut told).await,
                }
            }
        });
        // Each is fixed as soon as may be, whether the other says anything or not.
        let mut ending = pin!(async {
            let mut told = false;
            while ends.is_none() {
                match all_of(&*from.route.driver, topics).await {
                    Ok(known) => *ends = Some(known),
                    Err(error) => again(&from.route, id, error, &mut told).await,
                }
            }
        });
        let mut needs_ends = true;
        let leads = tokio::select! {
            leads = &mut leading => leads,
            () = &mut ending => {
                needs_ends = false;
                leading.await
            }
        };
        needs_ends &= !drops_nothing || matches!(leads, Leads::Elsewhere);
        if needs_ends {
            ending.await;
        }
        self.leads = Some(leads);
    }

    /// Where the subscription goes on, and by what. Says and counts what was left of topics that were dropped.
    pub(crate) fn arrive(self, id: &SubscriptionId, known: Whereabouts) -> (Leg, Whereabouts) {
        let goal = self.goal().or_else(|| self.ends.clone());
        let reached = known.position.unwrap_or_default();
        let left = goal.map_or(Left::Unknown, |goal| Left::About(behind(&reached, &goal)));
        let Some(Leads::Home { begin }) = &self.leads else {
            // That it is another broker, and so that all of this is lost, is known when it says who it is.
            return (self.to, Whereabouts { left: Some(left), ..Whereabouts::default() });
        };
        if !self.drops_nothing() {
            left.tell(&self.to.route, id);
        }
        let mut position = only(&reached, |topic| !self.drops(topic));
        position.merge(begin);
        (self.to, Whereabouts { position: Some(position), ..known })
    }
}

impl Left {
    /// Says and counts what is lost, as the subscription is served by this now.
    pub(crate) fn tell(self, route: &Route, id: &SubscriptionId) {
        let api = &route.api;
        match self {
            Self::About(0) => {
                info!(%api, subscription = %id, "A subscription has brought all that it leaves behind.");
            }
            Self::About(messages) => {
                route.metrics.lost.inc_by(messages);
                warn!(
                    %api, subscription = %id, messages,
                    "Messages were lost: the broker or the topics of an API were changed, and they were not brought in time."
                );
            }
            Self::Unknown => warn!(
                %api, subscription = %id,
                "The broker or the topics of an API were changed, and it is not known how much was lost there."
            ),
        }
    }
}

/// Where a route leads, seen from a broker and the topics that are read there.
async fn lead(
    shared: &Shared,
    id: &SubscriptionId,
    (home, topics): (&str, &[Topic]),
    Leg { route: to, topics: there, arrival }: &Leg,
    announced: &mut Option<String>,
) -> Result<Leads, Trouble> {
    let broker = to.driver.identity().await?;
    if broker == home {
        let new: Vec<Topic> = there.iter().filter(|topic| !topics.contains(topic)).cloned().collect();
        let begins = to.begin == Begin::Latest && !new.is_empty();
        let begin = if begins { arrival.position(&*to.driver, &new).await? } else { Position::new() };
        // What was read before goes on where it was, also where another pattern has it now.
        let begin = only(&begin, |topic| !to.driver.covers_any(topics, topic));
        return Ok(Leads::Home { begin });
    }
    if announced.as_ref() != Some(&broker) {
        if to.begin == Begin::Latest {
            let begin = arrival.position(&*to.driver, there).await?;
            home::announce(shared, id, home, &broker, begin).await?;
        }
        *announced = Some(broker);
    }
    Ok(Leads::Elsewhere)
}

/// Waits before a broker is asked again, and says once that there is no answer yet.
async fn again(from: &Route, id: &SubscriptionId, error: Trouble, told: &mut bool) {
    if !std::mem::replace(told, true) {
        warn!(
            api = %from.api, subscription = %id, %error,
            "A subscription is to be served by another connection, and a broker does not say yet what is there; \
             deliveries go on as before for a while."
        );
    }
    sleep(AGAIN).await;
}

/// Behind everything that topics hold.
pub(crate) async fn all_of(driver: &dyn BrokerDriver, topics: &[Topic]) -> Result<Position, Trouble> {
    let mut position = Position::new();
    for ((topic, partition), kept) in driver.bounds(topics).await? {
        position.set_next(&topic, partition, kept.end);
    }
    Ok(position)
}

/// About how many messages there are between a position and another, in the partitions of that.
pub(crate) fn behind(reached: &Position, goal: &Position) -> u64 {
    let left = goal.nexts().map(|(topic, partition, end)| {
        end.0.saturating_sub(reached.next(topic, partition).unwrap_or_default().0)
    });
    left.sum()
}

/// The position in some topics.
pub(crate) fn only(position: &Position, is_meant: impl Fn(&Topic) -> bool) -> Position {
    let mut some = Position::new();
    for (topic, partition, next) in position.nexts().filter(|(topic, ..)| is_meant(topic)) {
        some.set_next(topic, partition, next);
    }
    some
}
