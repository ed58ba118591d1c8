//! Where a message stands in its topic.
//!
//! A broker numbers the messages of each partition of a topic. [`Place`] names one message; [`Position`] is
//! how far somebody has come: for every partition the last message that was delivered. What clients see of
//! it is opaque text, made elsewhere.

use std::{collections::BTreeMap, fmt, sync::Arc};

/// The name of a topic at a broker. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Topic(Arc<str>);

impl Topic {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl<T: Into<Arc<str>>> From<T> for Topic {
    fn from(name: T) -> Self {
        Self(name.into())
    }
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The number of a partition within a topic, from 0. A broker without partitions has only 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Partition(pub u32);

/// The number of a message within its partition. Grows by at least one from message to message; brokers
/// may leave gaps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Offset(pub u64);

impl Offset {
    /// The smallest offset behind this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// Where one message stands: topic, partition, offset.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// The topic it was read from or written to.
    pub topic: Topic,
    /// The partition of that topic.
    pub partition: Partition,
    /// Its number in that partition.
    pub offset: Offset,
}

/// How far a reader has come: the last delivered offset of each partition. A partition that is not named
/// has delivered nothing yet.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Position(BTreeMap<(Topic, Partition), Offset>);

impl Position {
    /// The position of a reader that has seen nothing.
    pub const fn new() -> Self {
        Self(BTreeMap::new())
    }

    /// Moves forward to `place`. A place behind the position changes nothing, so that a redelivered
    /// message never moves a reader back.
    pub fn advance(&mut self, place: &Place) {
        let last = self.0.entry((place.topic.clone(), place.partition)).or_insert(place.offset);
        *last = (*last).max(place.offset);
    }

    /// The last delivered offset of a partition.
    pub fn last(&self, topic: &Topic, partition: Partition) -> Option<Offset> {
        self.0.get(&(topic.clone(), partition)).copied()
    }

    /// Whether the message at `place` has been delivered already.
    pub fn covers(&self, place: &Place) -> bool {
        self.last(&place.topic, place.partition).is_some_and(|last| last >= place.offset)
    }

    /// Sets a partition as if everything before `next`, and nothing else, had been delivered.
    pub fn set_next(&mut self, topic: &Topic, partition: Partition, next: Offset) {
        match next.0.checked_sub(1) {
            Some(last) => drop(self.0.insert((topic.clone(), partition), Offset(last))),
            None => self.forget(topic, partition),
        }
    }

    /// Takes a partition out, as if nothing of it had been delivered.
    pub fn forget(&mut self, topic: &Topic, partition: Partition) {
        self.0.remove(&(topic.clone(), partition));
    }

    /// Every partition with its last delivered offset, ordered by topic and partition.
    pub fn iter(&self) -> impl Iterator<Item = (&Topic, Partition, Offset)> {
        self.0.iter().map(|((topic, partition), offset)| (topic, *partition, *offset))
    }

    /// Whether nothing has been delivered.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<'a> Extend<&'a Place> for Position {
    fn extend<I: IntoIterator<Item = &'a Place>>(&mut self, places: I) {
        places.into_iter().for_each(|place| self.advance(place));
    }
}

impl<'a> FromIterator<&'a Place> for Position {
    fn from_iter<I: IntoIterator<Item = &'a Place>>(places: I) -> Self {
        let mut position = Self::new();
        position.extend(places);
        position
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(partition: u32, offset: u64) -> Place {
        Place { topic: Topic::from("t"), partition: Partition(partition), offset: Offset(offset) }
    }

    #[test]
    fn a_position_never_moves_back() {
        let mut position = Position::new();
        position.advance(&place(0, 7));
        position.advance(&place(0, 3));
        assert_eq!(position.last(&Topic::from("t"), Partition(0)), Some(Offset(7)));
    }

    #[test]
    fn covers_what_was_delivered_and_nothing_else() {
        let position = Position::from_iter([&place(0, 7), &place(1, 0)]);
        assert!(position.covers(&place(0, 7)) && position.covers(&place(0, 2)));
        assert!(!position.covers(&place(0, 8)) && !position.covers(&place(2, 0)));
    }
}
