//! Places of several brokers side by side: the number of a partition carries, above its own, which broker it is of.
//!
//! The first broker's places are as that broker numbers them.

use sluice_message::{Message, Partition, Place, Position};

use crate::{Bounds, DriverError, ErrorKind};

/// Bits of the partition's own number: sixteen million partitions, of 256 brokers.
const BITS: u32 = 24;
const OWN: u32 = (1 << BITS) - 1;

/// The place of a message of the broker with this ordinal, among those of all.
pub(super) fn outer(ordinal: usize, place: Place) -> Place {
    Place { partition: number(ordinal, place.partition), ..place }
}

/// A message of the broker with this ordinal, at its place among those of all. Clients are shown the number that the
/// broker gave its partition.
pub(super) fn outer_message(ordinal: usize, message: Message) -> Message {
    match message.place() {
        Some(place) if ordinal > 0 => {
            let shown = place.partition.0.to_string();
            let place = outer(ordinal, place.clone());
            message.to_builder().place(place).metadata("partition", shown).build()
        }
        _ => message,
    }
}

/// The same for bounds.
///
/// # Errors
/// A topic with more partitions than can be told apart.
pub(super) fn outer_bounds(ordinal: usize, bounds: Bounds) -> Result<Bounds, DriverError> {
    let many = bounds.keys().find(|(_, partition)| partition.0 > OWN);
    if let Some((topic, _)) = many {
        let text = format!("The topic {topic} has more partitions than a group of brokers can have.");
        return Err(DriverError::new(ErrorKind::Unsupported, text));
    }
    let outer = |((topic, partition), held)| ((topic, number(ordinal, partition)), held);
    Ok(bounds.into_iter().map(outer).collect())
}

/// Puts what a position says of the broker with this ordinal beside what is said of others.
pub(super) fn add(ordinal: usize, inner: &Position, all: &mut Position) {
    for (topic, partition, next) in inner.nexts() {
        all.set_next(topic, number(ordinal, partition), next);
    }
}

/// What a position says of the broker with this ordinal, as that one numbers its partitions.
pub(super) fn inner(ordinal: usize, all: &Position) -> Position {
    let mut inner = Position::new();
    let own = all.nexts().filter(|(_, partition, _)| usize::try_from(partition.0 >> BITS) == Ok(ordinal));
    for (topic, partition, next) in own {
        inner.set_next(topic, Partition(partition.0 & OWN), next);
    }
    inner
}

fn number(ordinal: usize, partition: Partition) -> Partition {
    // There are at most as many brokers as a definition may have, far fewer than 256.
    let ordinal = u32::try_from(ordinal).unwrap_or_default();
    Partition(ordinal << BITS | partition.0 & OWN)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use sluice_message::{Offset, Topic};

    use super::*;

    proptest! {
        #[test]
        fn positions_of_brokers_side_by_side_come_apart_again(
            positions in prop::collection::vec(
                prop::collection::btree_map(0..=OWN, 0_u64..1000, 0..5),
                1..16,
            ),
        ) {
            let topic = Topic::from("t");
            let positions: Vec<Position> = positions.iter().map(|nexts| {
                let mut position = Position::new();
                for (partition, next) in nexts {
                    position.set_next(&topic, Partition(*partition), Offset(*next));
                }
                position
            }).collect();
            let mut all = Position::new();
            for (ordinal, position) in positions.iter().enumerate() {
                add(ordinal, position, &mut all);
            }
            for (ordinal, position) in positions.iter().enumerate() {
                prop_assert_eq!(&inner(ordinal, &all), position);
            }
        }
    }

    #[test]
    fn a_client_is_shown_the_partition_as_its_broker_numbers_it() {
        let place = Place { topic: Topic::from("t"), partition: Partition(7), offset: Offset(3) };
        for ordinal in [0, 5] {
            let message = outer_message(ordinal, Message::builder().place(place.clone()).build());
            let shown: Vec<_> = message.metadata().filter(|(name, _)| *name == "partition").collect();
            assert_eq!((shown.len(), &*shown[0].1), (1, "7"));
            assert_eq!(message.place().unwrap().partition == place.partition, ordinal == 0);
        }
    }

    #[test]
    fn more_partitions_than_can_be_told_apart_are_refused() {
        let bounds = |number| Bounds::from([((Topic::from("t"), Partition(number)), Offset(0)..Offset(1))]);
        assert!(outer_bounds(1, bounds(OWN)).is_ok());
        assert_eq!(outer_bounds(1, bounds(OWN + 1)).unwrap_err().kind, ErrorKind::Unsupported);
    }
}
