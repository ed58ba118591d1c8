//! What is known of a broker's topics while it is away: how far they reached when it was asked or read last, and
//! where a topic begins for readers that could not ask.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::{Mutex, MutexGuard, PoisonError},
};

use sluice_message::{Message, Offset, Partition, Position, Topic};

use crate::{Bounds, BrokerDriver, log::now_ms};

/// Topics that are remembered: as many as a gateway may well read, and few enough to hold. Policies may choose more.
const MAX_TOPICS: usize = 4096;

/// What is known of one broker.
#[derive(Default)]
pub(super) struct Known(Mutex<State>);

#[derive(Default)]
struct State {
    /// Topics, or patterns of them, that the broker was asked for and told.
    told: HashSet<Topic>,
    held: Bounds,
    /// Those that somebody began to read while the broker was away, before it ever told, and when: milliseconds since
    /// 1970-01-01 UTC.
    missed: HashMap<Topic, i64>,
    /// Where partitions of these begin: with what was made since.
    floors: BTreeMap<(Topic, Partition), Offset>,
}

impl Known {
    /// What the broker tells of these topics, without what is before their floors.
    pub(super) async fn told(&self, driver: &dyn BrokerDriver, topics: &[Topic], bounds: Bounds) -> Bounds {
        if let Some(since) = self.missed_since(topics) {
            // Messages were promised since then. Where a broker knows no times, it is what comes from now on.
            let begin = driver.position_at(topics, since).await.unwrap_or_default();
            let mut state = self.state();
            for ((topic, partition), held) in &bounds {
                if state.missed.keys().any(|missed| driver.covers(missed, topic)) {
                    let floor = begin.next(topic, *partition).unwrap_or(held.end);
                    state.floors.insert((topic.clone(), *partition), floor);
                }
            }
            state.missed.retain(|missed, _| !topics.contains(missed));
        }
        let mut state = self.state();
        if state.has_room(topics) {
            state.told.extend(topics.iter().cloned());
            state.held.retain(|(topic, _), _| !topics.iter().any(|wanted| driver.covers(wanted, topic)));
            state.held.extend(bounds.clone());
        }
        state.above_floors(bounds)
    }

    /// What it told last, where it told of all these topics.
    pub(super) fn recalled(&self, driver: &dyn BrokerDriver, topics: &[Topic]) -> Option<Bounds> {
        let state = self.state();
        if !topics.iter().all(|topic| state.told.contains(topic)) {
            return None;
        }
        let held = state.held.iter();
        let wanted = held.filter(|((topic, _), _)| topics.iter().any(|wanted| driver.covers(wanted, topic)));
        Some(state.above_floors(wanted.map(|(partition, held)| (partition.clone(), held.clone())).collect()))
    }

    /// Notes that somebody begins to read these topics now, and the broker did not tell of them. Returns false where
    /// more topics are noted than may be.
    pub(super) fn miss(&self, topics: &[Topic]) -> bool {
        let mut state = self.state();
        let has_room = state.has_room(topics);
        if has_room {
            let now = now_ms();
            for topic in topics {
                state.missed.entry(topic.clone()).or_insert(now);
            }
        }
        has_room
    }

    /// Whether a partition of these topics may begin later than its first message.
    pub(super) fn has_floors(&self, driver: &dyn BrokerDriver, topics: &[Topic]) -> bool {
        let state = self.state();
        topics.iter().any(|topic| state.missed.contains_key(topic))
            || state.floors.keys().any(|(topic, _)| topics.iter().any(|wanted| driver.covers(wanted, topic)))
    }

    /// Notes how far the broker was read.
    pub(super) fn read(&self, messages: &[Message]) {
        let mut state = self.state();
        for place in messages.iter().filter_map(Message::place) {
            if let Some(held) = state.held.get_mut(&(place.topic.clone(), place.partition)) {
                held.end = held.end.max(place.offset.next());
            }
        }
    }

    /// Whether a position reaches all that the broker is known to hold.
    pub(super) fn is_reached(
        &self,
        driver: &dyn BrokerDriver,
        topics: &[Topic],
        position: &Position,
    ) -> bool {
        let reached = |((topic, partition), held): (&(Topic, Partition), &std::ops::Range<Offset>)| {
            position.next(topic, *partition).unwrap_or(held.start) >= held.end
        };
        self.recalled(driver, topics).is_some_and(|held| held.iter().all(reached))
    }

    fn missed_since(&self, topics: &[Topic]) -> Option<i64> {
        let state = self.state();
        topics.iter().filter_map(|topic| state.missed.get(topic).copied()).min()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn has_room(&self, topics: &[Topic]) -> bool {
        let new =
            topics.iter().filter(|topic| !self.told.contains(*topic) && !self.missed.contains_key(*topic));
        self.told.len() + self.missed.len() + new.count() <= MAX_TOPICS
    }

    fn above_floors(&self, mut bounds: Bounds) -> Bounds {
        for (partition, held) in &mut bounds {
            // A topic that was made anew may end before its floor.
            if let Some(floor) = self.floors.get(partition).filter(|floor| **floor <= held.end) {
                held.start = held.start.max(*floor);
            }
        }
        bounds
    }
}
