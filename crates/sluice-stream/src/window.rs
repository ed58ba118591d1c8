//! The ack window: which position may be stored while several messages are under way and settle in any order.
//!
//! It goes by the messages that were handed out, in the order of their offsets, and never by "offset plus one":
//! brokers leave holes. Nothing here reads a broker, waits, or knows the time. Who hands messages out tells it
//! what [begins](AckWindow::begin), what is [settled](AckWindow::settle), what is [released](AckWindow::release)
//! and comes again, and which partitions are [taken away](AckWindow::take_away) or [given](AckWindow::give).

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};

use sluice_message::{Offset, Partition, Place, Position, Topic};

/// What may be stored of a reader whose messages settle in any order. See the [module](self).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct AckWindow {
    /// Behind everything that is settled without a hole.
    settled: Position,
    /// What was handed out behind that. A partition of which there is nothing is not there.
    partitions: BTreeMap<(Topic, Partition), Run>,
    /// How often a partition changed hands.
    era: u64,
    held: usize,
    bound: usize,
}

/// A message that was handed out. Tells it from one that has the same place in a partition that was taken away
/// and given back meanwhile.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Begun {
    place: Place,
    era: u64,
}

/// The messages of one partition that were handed out and do not yet count, by their offsets.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Run {
    era: u64,
    slots: VecDeque<(Offset, Mark)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Mark {
    Begun,
    Settled,
    Released,
}

impl AckWindow {
    /// A reader that goes on behind `position` and keeps at most `bound` messages, by its own care:
    /// [`is_full`](Self::is_full) is to be asked before a message is begun.
    pub const fn new(position: Position, bound: usize) -> Self {
        Self { settled: position, partitions: BTreeMap::new(), era: 0, held: 0, bound }
    }

    /// A message is handed out, for the first time or after it was released. `None` where it is under way or
    /// settled already, and so is not to be handed out.
    pub fn begin(&mut self, place: &Place) -> Option<Begun> {
        if self.settled.covers(place) {
            return None;
        }
        let key = (place.topic.clone(), place.partition);
        let era = self.era;
        let run = self.partitions.entry(key).or_insert_with(|| Run { era, slots: VecDeque::new() });
        match run.slots.binary_search_by_key(&place.offset, |(offset, _)| *offset) {
            Ok(at) if run.slots[at].1 == Mark::Released => run.slots[at].1 = Mark::Begun,
            Ok(_) => return None,
            Err(at) => {
                run.slots.insert(at, (place.offset, Mark::Begun));
                self.held += 1;
            }
        }
        Some(Begun { place: place.clone(), era: run.era })
    }

    /// A message is dealt with. Whether the position has moved by it.
    pub fn settle(&mut self, begun: &Begun) -> bool {
        let Some((run, at)) = self.find(begun) else { return false };
        run.slots[at].1 = Mark::Settled;
        self.advance(begun)
    }

    /// A message does not count, as if it had not been handed out: the position moves past it with the next one
    /// of its partition, and not by itself. Whether it has moved.
    pub fn leave_out(&mut self, begun: &Begun) -> bool {
        let Some((run, at)) = self.find(begun) else { return false };
        run.slots.remove(at);
        self.held -= 1;
        self.advance(begun)
    }

    /// Moves the position in the partition of a message past what is settled there.
    fn advance(&mut self, begun: &Begun) -> bool {
        let key = (begun.place.topic.clone(), begun.place.partition);
        let Some(run) = self.partitions.get_mut(&key) else { return false };
        let done = run.slots.iter().take_while(|(_, mark)| *mark == Mark::Settled).count();
        let last = run.slots.drain(..done).next_back();
        if run.slots.is_empty() {
            self.partitions.remove(&key);
        }
        self.held -= done;
        if let Some((offset, _)) = last {
            self.settled.advance(&Place { offset, ..begun.place.clone() });
        }
        last.is_some()
    }

    /// A message was not dealt with and is to be handed out again. False where a later one of its partition has
    /// begun, so that [`begun`](Self::begun) stays behind it all the same.
    pub fn release(&mut self, begun: &Begun) -> bool {
        let Some((run, at)) = self.find(begun) else { return true };
        if run.slots[at].1 == Mark::Begun {
            run.slots[at].1 = Mark::Released;
        }
        run.slots.iter().skip(at + 1).all(|(_, mark)| *mark == Mark::Released)
    }

    /// A partition is somebody else's from now on. What was handed out of it counts no more, and the position no
    /// longer names it.
    pub fn take_away(&mut self, topic: &Topic, partition: Partition) {
        let run = self.partitions.remove(&(topic.clone(), partition));
        self.held -= run.map_or(0, |run| run.slots.len());
        self.settled.forget(topic, partition);
        self.era += 1;
    }

    /// A partition is given, to go on with the smallest offset that is not dealt with; with its first message
    /// where none is said. What it had before is taken away.
    pub fn give(&mut self, topic: &Topic, partition: Partition, next: Option<Offset>) {
        self.take_away(topic, partition);
        if let Some(next) = next {
            self.settled.set_next(topic, partition, next);
        }
    }

    /// Behind everything that is settled without a hole before it. Whoever goes on here misses nothing: the
    /// position for at-least-once. It never moves back while its partitions are the same.
    pub const fn position(&self) -> &Position {
        &self.settled
    }

    /// Behind everything that has begun and was not released. Whoever goes on here repeats nothing: the position
    /// for at-most-once, to be stored before a message goes out. It is behind nothing that has not begun, as long
    /// as messages begin in order.
    pub fn begun(&self) -> Position {
        let mut position = self.settled.clone();
        for ((topic, partition), run) in &self.partitions {
            let last = run.slots.iter().rev().find(|(_, mark)| *mark != Mark::Released);
            if let Some((offset, _)) = last {
                position.advance(&Place { topic: topic.clone(), partition: *partition, offset: *offset });
            }
        }
        position
    }

    /// Messages that were handed out and do not count yet: under way, released, or settled behind such a one.
    pub const fn len(&self) -> usize {
        self.held
    }

    /// Whether everything that was handed out is settled.
    pub const fn is_empty(&self) -> bool {
        self.held == 0
    }

    /// Whether nothing more is to begin for now.
    pub const fn is_full(&self) -> bool {
        self.held >= self.bound
    }

    fn find(&mut self, begun: &Begun) -> Option<(&mut Run, usize)> {
        let key = (begun.place.topic.clone(), begun.place.partition);
        let run = self.partitions.get_mut(&key).filter(|run| run.era == begun.era)?;
        let at = run.slots.binary_search_by_key(&begun.place.offset, |(offset, _)| *offset).ok()?;
        Some((run, at))
    }
}
