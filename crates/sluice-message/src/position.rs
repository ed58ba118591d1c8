//! Where a message stands in its topic.
//!
//! A broker numbers the messages of each partition of a topic. [`Place`] names one message; [`Position`] is
//! how far somebody has come: for every partition the last message that was delivered. Clients and stores
//! see it as text.

mod text;

use std::{collections::BTreeMap, fmt, sync::Arc};

pub use text::{MAX_POSITION_BYTES, MAX_POSITION_PARTITIONS, PositionError};

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

/// How far a reader has come: the last delivered offset of each partition. A partition that is named may
/// have delivered nothing, which says that its reader began before its offset 0. One that is not named is
/// read from the first message there is, whichever that will be. Its text is described at [`Position::encode`].
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Position(
    /// The offset behind the last delivered one, so that "nothing yet" has a number too.
    BTreeMap<(Topic, Partition), Offset>,
);

impl Position {
    /// The position of a reader that has seen nothing, of any topic.
    pub const fn new() -> Self {
        Self(BTreeMap::new())
    }

    /// Moves forward to `place`. A place behind the position changes nothing, so that a redelivered
    /// message never moves a reader back.
    pub fn advance(&mut self, place: &Place) {
        let next = Offset(place.offset.0.saturating_add(1));
        let kept = self.0.entry((place.topic.clone(), place.partition)).or_insert(next);
        *kept = (*kept).max(next);
    }

    /// Moves forward, in each partition that `other` names, to where `other` is.
    pub fn merge(&mut self, other: &Self) {
        for (partition, next) in &other.0 {
            let kept = self.0.entry(partition.clone()).or_insert(*next);
            *kept = (*kept).max(*next);
        }
    }

    /// The last delivered offset of a partition; `None` where nothing was delivered.
    pub fn last(&self, topic: &Topic, partition: Partition) -> Option<Offset> {
        self.next(topic, partition)?.0.checked_sub(1).map(Offset)
    }

    /// The smallest offset that has not been delivered of a partition; `None` where it is not named.
    pub fn next(&self, topic: &Topic, partition: Partition) -> Option<Offset> {
        self.0.get(&(topic.clone(), partition)).copied()
    }

    /// Whether the message at `place` has been delivered already.
    pub fn covers(&self, place: &Place) -> bool {
        self.next(&place.topic, place.partition).is_some_and(|next| next > place.offset)
    }

    /// Whether everything that `other` has delivered has been delivered here too.
    pub fn reaches(&self, other: &Self) -> bool {
        let is_reached =
            |(partition, next): (_, &Offset)| *next <= self.0.get(partition).copied().unwrap_or_default();
        other.0.iter().all(is_reached)
    }

    /// Sets a partition as if everything before `next`, and nothing else, had been delivered.
    pub fn set_next(&mut self, topic: &Topic, partition: Partition, next: Offset) {
        self.0.insert((topic.clone(), partition), next);
    }

    /// Takes a partition out, so that it is no longer named.
    pub fn forget(&mut self, topic: &Topic, partition: Partition) {
        self.0.remove(&(topic.clone(), partition));
    }

    /// Every partition that has delivered something, with its last delivered offset, ordered by topic and
    /// partition.
    pub fn iter(&self) -> impl Iterator<Item = (&Topic, Partition, Offset)> {
        self.nexts().filter_map(|(topic, partition, next)| {
            next.0.checked_sub(1).map(|last| (topic, partition, Offset(last)))
        })
    }

    /// Every partition that is named, with the smallest offset that it has not delivered, ordered by topic
    /// and partition.
    pub fn nexts(&self) -> impl Iterator<Item = (&Topic, Partition, Offset)> {
        self.0.iter().map(|((topic, partition), next)| (topic, *partition, *next))
    }

    /// How many partitions are named.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether no partition is named.
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

    #[test]
    fn a_partition_that_has_delivered_nothing_is_named_and_one_that_is_not_named_is_another_thing() {
        let topic = Topic::from("t");
        let mut position = Position::new();
        position.set_next(&topic, Partition(0), Offset(0));
        assert_eq!((position.last(&topic, Partition(0)), position.iter().count()), (None, 0));
        assert_eq!(position.next(&topic, Partition(0)), Some(Offset(0)));
        assert_eq!(position.next(&topic, Partition(1)), None);
        assert!(!position.is_empty() && !position.covers(&place(0, 0)));
    }

    #[test]
    fn reaching_is_asked_of_each_partition_that_the_other_names() {
        let (far, near) =
            (Position::from_iter([&place(0, 7), &place(1, 2)]), Position::from_iter([&place(0, 7)]));
        assert!(far.reaches(&near) && far.reaches(&far) && !near.reaches(&far));
        let mut nothing = Position::new();
        nothing.set_next(&Topic::from("t"), Partition(5), Offset(0));
        assert!(near.reaches(&nothing) && Position::new().reaches(&nothing) && !nothing.reaches(&near));
    }

    #[test]
    fn a_merge_takes_the_farther_of_each_partition() {
        let mut position = Position::from_iter([&place(0, 7), &place(1, 2)]);
        position.merge(&Position::from_iter([&place(0, 3), &place(1, 5), &place(2, 0)]));
        assert_eq!(position, Position::from_iter([&place(0, 7), &place(1, 5), &place(2, 0)]));
    }
}
