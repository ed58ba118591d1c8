//! What to do when a broker no longer has the messages behind a position.

use sluice_broker::Bounds;
use sluice_message::Position;

/// Moves a position to what is left, in the partitions that were hit and in no other, so that nothing that
/// was delivered is delivered again. Returns how many messages are missing, at least by their offsets; zero
/// when the broker has everything after all.
///
/// A partition that ends before the position was cut short or made anew; its messages cannot be told from those
/// delivered, so it is read from its start: repeating is allowed where losing is not. A partition that is
/// gone altogether counts as one message, as nobody can say what was in it.
pub(crate) fn move_to_what_is_left(position: &mut Position, bounds: &Bounds) -> u64 {
    let gone = position
        .nexts()
        .filter(|(topic, partition, _)| !bounds.contains_key(&((*topic).clone(), *partition)));
    let gone: Vec<_> = gone.map(|(topic, partition, _)| (topic.clone(), partition)).collect();
    gone.iter().for_each(|(topic, partition)| position.forget(topic, *partition));
    let mut missing = gone.len() as u64;
    for ((topic, partition), kept) in bounds {
        let Some(next) = position.next(topic, *partition) else { continue };
        if next < kept.start {
            missing += kept.start.0 - next.0;
        } else if next > kept.end {
            missing += next.0 - kept.end.0;
        } else {
            continue;
        }
        position.set_next(topic, *partition, kept.start);
    }
    missing
}

#[cfg(test)]
mod tests {
    use sluice_message::{Offset, Partition, Topic};

    use super::*;

    fn after(next: &[(u32, u64)], kept: &[(u32, u64, u64)]) -> (Vec<(u32, u64)>, u64) {
        let topic = Topic::from("t");
        let mut position = Position::new();
        for (partition, next) in next {
            position.set_next(&topic, Partition(*partition), Offset(*next));
        }
        let bounds = kept.iter().map(|(partition, start, end)| {
            ((topic.clone(), Partition(*partition)), Offset(*start)..Offset(*end))
        });
        let missing = move_to_what_is_left(&mut position, &bounds.collect());
        (position.iter().map(|(_, partition, last)| (partition.0, last.0 + 1)).collect(), missing)
    }

    #[test]
    fn only_the_partition_that_lost_messages_is_moved() {
        assert_eq!(after(&[(0, 5), (1, 8)], &[(0, 7, 9), (1, 0, 8)]), (vec![(0, 7), (1, 8)], 2));
    }

    #[test]
    fn a_partition_that_ends_before_the_position_is_read_from_its_start() {
        assert_eq!(after(&[(0, 5)], &[(0, 1, 3)]), (vec![(0, 1)], 2));
        assert_eq!(after(&[(0, 5)], &[(0, 0, 0)]), (vec![], 5));
    }

    #[test]
    fn a_partition_that_is_gone_is_no_longer_asked_for() {
        assert_eq!(after(&[(0, 5), (1, 8)], &[(0, 0, 5)]), (vec![(0, 5)], 1));
    }

    #[test]
    fn a_partition_that_had_delivered_nothing_loses_messages_like_any_other() {
        assert_eq!(after(&[(0, 0)], &[(0, 3, 4)]), (vec![(0, 3)], 3));
    }

    #[test]
    fn a_position_within_bounds_stays_as_it_is() {
        assert_eq!(after(&[(0, 5)], &[(0, 5, 5), (1, 3, 9)]), (vec![(0, 5)], 0));
    }
}
