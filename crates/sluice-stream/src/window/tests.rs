//! Every order of events for a few messages, and random ones for many, against a model that keeps sets.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use proptest::prelude::*;
use sluice_message::{Offset, Partition, Place, Position, Topic};

use super::{AckWindow, Begun};

/// What the broker has: the offsets of each partition, with holes.
type Broker = Vec<Vec<u64>>;

/// A message: partition and offset.
type Name = (u32, u64);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Event {
    /// The broker hands out the next message of a partition.
    Hand(u32),
    /// A released message is handed out again.
    Again(Name),
    Ack(Name),
    Nack(Name),
    /// The call of a message ends that went out before its partition changed hands.
    LateAck(usize),
    /// A partition is taken away and given back where its position is.
    Rebalance(u32),
    /// The process ends and comes back with the position.
    Restart,
}

fn place((partition, offset): Name) -> Place {
    Place { topic: Topic::from("t"), partition: Partition(partition), offset: Offset(offset) }
}

/// A reader with a window, and beside it what is true, kept in sets.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Reader<'b> {
    broker: &'b Broker,
    window: AckWindow,
    in_order_only: bool,
    under_way: BTreeMap<Name, Begun>,
    released: BTreeSet<Name>,
    /// Settled since the last restart or rebalance of the partition.
    settled: BTreeSet<Name>,
    /// Settled at any time.
    ever_settled: BTreeSet<Name>,
    /// Went out at any time, except for those that surely were not taken.
    ever_begun: BTreeSet<Name>,
    /// Given up by the at-most-once reader: released in front of something that has begun.
    lost: BTreeSet<Name>,
    late: Vec<Begun>,
    /// Where the broker's reader is in each partition.
    read: Vec<usize>,
    /// Restarts and rebalances that are still to come, at the most.
    changes: usize,
}

impl<'b> Reader<'b> {
    fn new(broker: &'b Broker, in_order_only: bool, changes: usize) -> Self {
        let window = AckWindow::new(Position::new(), usize::MAX);
        let read = vec![0; broker.len()];
        Self {
            broker,
            window,
            in_order_only,
            under_way: BTreeMap::new(),
            released: BTreeSet::new(),
            settled: BTreeSet::new(),
            ever_settled: BTreeSet::new(),
            ever_begun: BTreeSet::new(),
            lost: BTreeSet::new(),
            late: Vec::new(),
            read,
            changes,
        }
    }

    /// What can happen now.
    fn events(&self) -> Vec<Event> {
        let partitions = || 0..u32::try_from(self.broker.len()).unwrap();
        let has_more = |partition: &u32| {
            let waits = self.in_order_only && self.released.iter().any(|(of, _)| of == partition);
            !waits && self.read[*partition as usize] < self.broker[*partition as usize].len()
        };
        let mut events: Vec<_> = partitions().filter(has_more).map(Event::Hand).collect();
        events.extend(self.under_way.keys().flat_map(|name| [Event::Ack(*name), Event::Nack(*name)]));
        let is_next = |name: &&Name| {
            !self.in_order_only || self.released.iter().find(|(of, _)| *of == name.0) == Some(*name)
        };
        events.extend(self.released.iter().filter(is_next).map(|name| Event::Again(*name)));
        events.extend((0..self.late.len()).map(Event::LateAck));
        if self.changes > 0 {
            events.extend(partitions().map(Event::Rebalance));
            events.push(Event::Restart);
        }
        events
    }

    fn position(&self) -> Position {
        if self.in_order_only { self.window.begun() } else { self.window.position().clone() }
    }

    fn begin(&mut self, name: Name) {
        if let Some(begun) = self.window.begin(&place(name)) {
            self.under_way.insert(name, begun);
            self.ever_begun.insert(name);
        }
    }

    fn happen(&mut self, event: Event) {
        let before = self.window.position().clone();
        match event {
            Event::Hand(partition) => {
                let offset = self.broker[partition as usize][self.read[partition as usize]];
                self.read[partition as usize] += 1;
                assert!(!self.lost.contains(&(partition, offset)), "a lost message came again");
                self.begin((partition, offset));
            }
            Event::Again(name) => {
                self.released.remove(&name);
                self.begin(name);
            }
            Event::Ack(name) => {
                let begun = self.under_way.remove(&name).unwrap();
                self.window.settle(&begun);
                self.settled.insert(name);
                self.ever_settled.insert(name);
            }
            Event::Nack(name) => {
                let begun = self.under_way.remove(&name).unwrap();
                let comes_again = self.window.release(&begun);
                self.ever_begun.remove(&name);
                if self.in_order_only && !comes_again {
                    // Nothing in front of what has begun may begin again, so it is given up.
                    self.window.settle(&begun);
                    self.settled.insert(name);
                    self.lost.insert(name);
                } else {
                    self.released.insert(name);
                }
            }
            Event::LateAck(index) => {
                let begun = self.late.remove(index);
                let was = self.window.position().clone();
                assert!(!self.window.settle(&begun) && *self.window.position() == was);
                self.ever_settled.insert((begun.place.partition.0, begun.place.offset.0));
            }
            Event::Rebalance(partition) => self.rebalance(partition),
            Event::Restart => self.restart(),
        }
        if !matches!(event, Event::Restart | Event::Rebalance(_)) {
            assert!(self.window.position().reaches(&before), "the position moved back");
        }
        self.check();
    }

    fn rebalance(&mut self, partition: u32) {
        self.changes -= 1;
        let stored = self.position().next(&Topic::from("t"), Partition(partition));
        self.window.take_away(&Topic::from("t"), Partition(partition));
        assert_eq!(self.window.position().next(&Topic::from("t"), Partition(partition)), None);
        self.window.give(&Topic::from("t"), Partition(partition), stored);
        let (gone, kept) =
            std::mem::take(&mut self.under_way).into_iter().partition(|((of, _), _)| *of == partition);
        self.under_way = kept;
        self.late.extend(BTreeMap::into_values(gone));
        self.released.retain(|(of, _)| *of != partition);
        self.settled.retain(|(of, _)| *of != partition);
        self.seek(partition, stored);
    }

    fn restart(&mut self) {
        self.changes -= 1;
        let stored = self.position();
        self.window = AckWindow::new(stored.clone(), usize::MAX);
        self.under_way.clear();
        self.released.clear();
        self.settled.clear();
        self.late.clear();
        for partition in 0..u32::try_from(self.broker.len()).unwrap() {
            self.seek(partition, stored.next(&Topic::from("t"), Partition(partition)));
        }
    }

    fn seek(&mut self, partition: u32, next: Option<Offset>) {
        let next = next.map_or(0, |next| next.0);
        let offsets = &self.broker[partition as usize];
        self.read[partition as usize] = offsets.iter().filter(|offset| **offset < next).count();
        if self.in_order_only {
            let behind = |name: &&Name| name.0 == partition && name.1 >= next;
            let again: Vec<_> = self.ever_begun.iter().filter(behind).copied().collect();
            assert_eq!(again, [], "begun before, and would begin again");
        }
    }

    fn check(&self) {
        let position = self.position();
        let covers = |name: Name| position.covers(&place(name));
        for (partition, offsets) in self.broker.iter().enumerate() {
            let names = || offsets.iter().map(|offset| (u32::try_from(partition).unwrap(), *offset));
            for name in names().filter(|name| covers(*name)) {
                if self.in_order_only {
                    let began = self.ever_begun.contains(&name) || self.lost.contains(&name);
                    assert!(began, "{name:?} never began and would be missed");
                } else {
                    assert!(self.ever_settled.contains(&name), "{name:?} is not settled and would be missed");
                }
            }
            // As far as it may: the first message behind the position is not settled.
            let behind = |name: &Name| !self.window.position().covers(&place(*name));
            let first = names().find(behind).filter(|name| self.settled.contains(name));
            assert_eq!(first, None, "the position stayed behind");
        }
        let behind_hole = self.settled.iter().filter(|name| !self.window.position().covers(&place(**name)));
        let known = self.under_way.len() + self.released.len() + behind_hole.count();
        assert_eq!(self.window.len(), known);
    }
}

/// Every order of events that there is, each state once.
fn explore(broker: &Broker, in_order_only: bool, changes: usize) -> usize {
    let mut seen = HashSet::new();
    let mut waiting = vec![Reader::new(broker, in_order_only, changes)];
    while let Some(reader) = waiting.pop() {
        for event in reader.events() {
            let mut next = reader.clone();
            next.happen(event);
            if !seen.contains(&next) {
                seen.insert(next.clone());
                waiting.push(next);
            }
        }
    }
    seen.len()
}

#[test]
fn no_order_of_events_has_at_least_once_miss_an_unsettled_message() {
    let states = explore(&vec![vec![0, 5], vec![3, 4]], false, 1);
    assert!(states > 1000, "{states}");
    explore(&vec![vec![1, 2, 9, 10]], false, 0);
    explore(&vec![vec![0, 5], vec![3]], false, 2);
}

#[test]
fn no_order_of_events_has_at_most_once_repeat_a_message_that_began() {
    let states = explore(&vec![vec![0, 5], vec![3, 4]], true, 1);
    assert!(states > 1000, "{states}");
    explore(&vec![vec![1, 2, 9, 10]], true, 0);
    explore(&vec![vec![0, 5], vec![3]], true, 2);
}

fn partition() -> impl Strategy<Value = Vec<u64>> {
    proptest::collection::vec(1_u64..4, 0..60).prop_map(|steps| {
        let offsets = steps.iter().scan(0, |offset, step| {
            *offset += step;
            Some(*offset)
        });
        offsets.collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn no_random_order_of_events_misses_or_repeats(
        broker in proptest::collection::vec(partition(), 1..4),
        choices in proptest::collection::vec(any::<u16>(), 0..400),
        in_order_only: bool,
    ) {
        let mut reader = Reader::new(&broker, in_order_only, 9);
        for choice in choices {
            let events = reader.events();
            if events.is_empty() {
                break;
            }
            reader.happen(events[usize::from(choice) % events.len()]);
        }
    }
}

#[test]
fn the_window_is_full_at_its_bound_and_takes_more_when_the_hole_is_filled() {
    let mut window = AckWindow::new(Position::new(), 3);
    let begun: Vec<_> = (0..3).map(|offset| window.begin(&place((0, offset))).unwrap()).collect();
    assert!(window.is_full());
    assert!(!window.settle(&begun[1]) && !window.settle(&begun[2]));
    assert!(window.is_full(), "settled behind a hole is kept");
    assert!(window.settle(&begun[0]));
    assert!(window.is_empty() && !window.is_full());
    assert_eq!(window.position().last(&Topic::from("t"), Partition(0)), Some(Offset(2)));
}

#[test]
fn a_message_is_handed_out_once_unless_it_was_released() {
    let mut window = AckWindow::new(Position::from_iter([&place((0, 4))]), 9);
    assert_eq!(window.begin(&place((0, 4))), None);
    let begun = window.begin(&place((0, 7))).unwrap();
    assert_eq!(window.begin(&place((0, 7))), None);
    assert!(window.release(&begun));
    assert_eq!(window.begin(&place((0, 7))), Some(begun.clone()));
    assert!(window.settle(&begun) && !window.settle(&begun));
    assert_eq!(window.begin(&place((0, 7))), None);
}

#[test]
fn a_message_that_does_not_count_is_passed_with_the_next_one_and_not_by_itself() {
    let mut window = AckWindow::new(Position::new(), 9);
    let begun: Vec<_> = (0..4).map(|offset| window.begin(&place((0, offset))).unwrap()).collect();
    assert!(!window.leave_out(&begun[0]) && window.position().is_empty());
    assert!(!window.settle(&begun[2]));
    assert!(window.leave_out(&begun[1]));
    assert_eq!(window.position().last(&Topic::from("t"), Partition(0)), Some(Offset(2)));
    assert!(!window.leave_out(&begun[3]) && window.is_empty());
    assert_eq!(window.position().last(&Topic::from("t"), Partition(0)), Some(Offset(2)));
}
