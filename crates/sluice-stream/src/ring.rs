//! The ring of recent messages of a hub, bounded in count and in bytes.
//!
//! Every message gets a sequence number; a reader keeps the number it wants next. The ring knows nothing of
//! its readers: one that has fallen behind sees so by its number. It knows which position its oldest and its
//! newest message stand at, so that a reader can come and go by position too.

use std::collections::VecDeque;

use sluice_broker::BatchLimit;
use sluice_message::{Message, Position};

/// Recent messages, oldest first.
#[derive(Debug)]
pub(crate) struct Ring {
    messages: VecDeque<Message>,
    /// The sequence number of the oldest message kept, or of the next one to come when none is.
    first: u64,
    bytes: usize,
    limit: BatchLimit,
    /// The position before the oldest message kept. A partition that is not named was not there when the
    /// hub began, and everything of it is kept.
    floor: Position,
    /// The position behind the newest message.
    head: Position,
}

/// What a read of the ring came to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Read {
    /// How many messages the reader has missed because they are no longer kept.
    pub(crate) skipped: u64,
    /// The number to ask for next time.
    pub(crate) next: u64,
}

impl Ring {
    pub(crate) const fn new(limit: BatchLimit) -> Self {
        Self {
            messages: VecDeque::new(),
            first: 0,
            bytes: 0,
            limit,
            floor: Position::new(),
            head: Position::new(),
        }
    }

    /// Fixes the position behind which the messages will come. The ring is empty still.
    pub(crate) fn begin(&mut self, position: Position) {
        self.floor.clone_from(&position);
        self.head = position;
    }

    /// The number that the next message will get.
    pub(crate) fn next(&self) -> u64 {
        self.first + self.messages.len() as u64
    }

    /// The position behind the newest message.
    pub(crate) const fn head(&self) -> &Position {
        &self.head
    }

    /// The position of a reader that wants the message of this number next, or the oldest that is kept.
    pub(crate) fn position_at(&self, number: u64) -> Position {
        if number >= self.next() {
            return self.head.clone();
        }
        let behind = usize::try_from(number.saturating_sub(self.first)).unwrap_or(usize::MAX);
        let mut position = self.floor.clone();
        position.extend(self.messages.iter().take(behind).filter_map(Message::place));
        position
    }

    /// The number with which a reader at this position goes on, if everything behind the position is kept.
    /// What the position covers may come after that number too, and is the reader's to leave out. A position
    /// that lies before the oldest message or beyond the newest has no number.
    pub(crate) fn number_at(&self, position: &Position) -> Option<u64> {
        if !position.reaches(&self.floor) || !self.head.reaches(position) {
            return None;
        }
        // The usual case, and the ring may hold many messages.
        if position.reaches(&self.head) {
            return Some(self.next());
        }
        let is_covered = |message: &&Message| message.place().is_none_or(|place| position.covers(place));
        Some(self.first + self.messages.iter().take_while(is_covered).count() as u64)
    }

    /// Whether the message of this number, and all that follow, are kept or still to come.
    pub(crate) const fn keeps(&self, number: u64) -> bool {
        number >= self.first
    }

    /// Adds the newest message and drops the oldest ones that no longer fit. The newest always stays, even
    /// if it is larger than the bound by itself.
    pub(crate) fn push(&mut self, message: Message) {
        self.bytes += message.size();
        self.head.extend(message.place());
        self.messages.push_back(message);
        while self.messages.len() > self.limit.messages.max(1)
            || (self.bytes > self.limit.bytes && self.messages.len() > 1)
        {
            self.drop_oldest();
        }
    }

    /// Marks that so many messages are missing before the next one, which will come behind `position`: every
    /// reader finds that it has skipped them, and whatever it had not read yet.
    pub(crate) fn mark_gap(&mut self, missing: u64, position: Position) {
        self.first = self.next() + missing;
        self.messages.clear();
        self.bytes = 0;
        self.begin(position);
    }

    /// Appends messages from number `from` on, within `limit` but at least one if there is any. A reader
    /// that has missed messages is given none, so that it hears of the gap before what follows it.
    pub(crate) fn read(&self, from: u64, limit: BatchLimit, batch: &mut Vec<Message>) -> Read {
        if from < self.first {
            return Read { skipped: self.first - from, next: self.first };
        }
        let mut bytes = 0;
        let start = usize::try_from(from - self.first).unwrap_or(usize::MAX).min(self.messages.len());
        let mut next = from;
        for message in self.messages.range(start..).take(limit.messages.max(1)) {
            bytes += message.size();
            if bytes > limit.bytes && next > from {
                break;
            }
            batch.push(message.clone());
            next += 1;
        }
        Read { skipped: 0, next }
    }

    fn drop_oldest(&mut self) {
        if let Some(oldest) = self.messages.pop_front() {
            self.bytes -= oldest.size();
            self.first += 1;
            self.floor.extend(oldest.place());
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

    use proptest::prelude::*;
    use sluice_message::{Offset, Partition, Place, Topic};

    use super::*;

    const fn limit(messages: usize, bytes: usize) -> BatchLimit {
        BatchLimit { messages, bytes }
    }

    fn message(content: &str) -> Message {
        Message::builder().payload(content.to_owned()).build()
    }

    #[test]
    fn a_reader_that_keeps_up_misses_nothing() {
        let mut ring = Ring::new(limit(2, usize::MAX));
        let mut seen = Vec::new();
        let mut next = ring.next();
        for content in ["a", "b", "c", "d"] {
            ring.push(message(content));
            let read = ring.read(next, limit(10, usize::MAX), &mut seen);
            assert_eq!(read.skipped, 0);
            next = read.next;
        }
        assert_eq!(seen.iter().map(Message::payload).collect::<Vec<_>>(), [b"a", b"b", b"c", b"d"]);
    }

    #[test]
    fn a_reader_that_was_overtaken_hears_how_much_it_missed_before_it_reads_on() {
        let mut ring = Ring::new(limit(2, usize::MAX));
        for content in ["a", "b", "c", "d", "e"] {
            ring.push(message(content));
        }
        let mut seen = Vec::new();
        assert_eq!(ring.read(0, limit(10, usize::MAX), &mut seen), Read { skipped: 3, next: 3 });
        assert!(seen.is_empty());
        assert_eq!(ring.read(3, limit(10, usize::MAX), &mut seen), Read { skipped: 0, next: 5 });
        assert_eq!(seen.len(), 2);
    }

    #[test]
    fn a_message_larger_than_the_bound_is_kept_alone() {
        let mut ring = Ring::new(limit(10, 100));
        ring.push(message("a"));
        ring.push(message(&"x".repeat(1000)));
        let mut seen = Vec::new();
        assert_eq!(ring.read(1, limit(10, 10), &mut seen), Read { skipped: 0, next: 2 });
        assert_eq!(seen.len(), 1);
    }

    #[test]
    fn a_gap_is_seen_by_readers_that_were_up_to_date() {
        let mut ring = Ring::new(limit(10, usize::MAX));
        ring.push(message("a"));
        let next = ring.next();
        ring.mark_gap(3, Position::new());
        ring.push(message("b"));
        let mut seen = Vec::new();
        let read = ring.read(next, limit(10, usize::MAX), &mut seen);
        assert!(read.skipped == 3 && seen.is_empty());
        ring.read(read.next, limit(10, usize::MAX), &mut seen);
        assert_eq!(seen[0].payload(), b"b");
    }

    fn placed(topic: &str, offset: u64) -> Message {
        let (topic, partition, offset) = (Topic::from(topic), Partition(0), Offset(offset));
        Message::builder().place(Place { topic, partition, offset }).build()
    }

    /// A ring that began at t 3 and holds the numbers 2 to 4: t 5, u 0, t 6.
    fn ring_of_two_topics() -> Ring {
        let mut ring = Ring::new(limit(3, usize::MAX));
        ring.begin("t@0#2".parse().unwrap());
        for (topic, offset) in [("t", 3), ("t", 4), ("t", 5), ("u", 0), ("t", 6)] {
            ring.push(placed(topic, offset));
        }
        ring
    }

    #[test]
    fn a_position_has_a_number_when_all_that_follows_is_kept() {
        let ring = ring_of_two_topics();
        let number = |position: &str| ring.number_at(&position.parse().unwrap());
        assert_eq!(number("t@0#4"), Some(2), "a partition that began in the ring may be missing");
        assert_eq!(number("t@0#5"), Some(3));
        assert_eq!(number("t@0#6"), Some(3), "one message of the other topic was not seen");
        assert_eq!(number("t@0#4;u@0#0"), Some(2));
        assert_eq!(number("t@0#6;u@0#0"), Some(5));
        assert_eq!(number("t@0#3;u@0#0"), None, "a message has left the ring");
        assert_eq!(number(""), None);
        assert_eq!(number("t@0#7;u@0#0"), None, "the hub has not come as far");
    }

    #[test]
    fn a_number_has_the_position_before_it() {
        let ring = ring_of_two_topics();
        let position = |number| ring.position_at(number).to_string();
        assert_eq!((position(0), position(2)), ("t@0#4".to_owned(), "t@0#4".to_owned()));
        assert_eq!((position(3), position(4)), ("t@0#5".to_owned(), "t@0#5;u@0#0".to_owned()));
        assert_eq!((position(5), position(9)), ("t@0#6;u@0#0".to_owned(), "t@0#6;u@0#0".to_owned()));
    }

    #[test]
    fn behind_a_gap_positions_begin_anew() {
        let mut ring = ring_of_two_topics();
        ring.mark_gap(4, "t@0#9;u@0#0".parse().unwrap());
        assert_eq!(ring.number_at(&"t@0#6;u@0#0".parse().unwrap()), None);
        assert_eq!(ring.number_at(&"t@0#9;u@0#0".parse().unwrap()), Some(9));
    }

    proptest! {
        #[test]
        fn every_message_is_read_or_counted_as_skipped(
            sizes in prop::collection::vec(0usize..200, 0..100),
            read_every in 1usize..20,
            messages in 1usize..10,
            bytes in 1usize..2000,
        ) {
            let mut ring = Ring::new(limit(messages, bytes));
            let (mut next, mut skipped, mut seen) = (0, 0, Vec::new());
            for (index, size) in sizes.iter().enumerate() {
                ring.push(message(&"x".repeat(*size)));
                prop_assert!(ring.messages.len() <= messages);
                prop_assert!(ring.bytes <= bytes || ring.messages.len() == 1);
                if index % read_every == 0 {
                    let read = ring.read(next, limit(3, 500), &mut seen);
                    next = read.next;
                    skipped += read.skipped;
                }
            }
            while next < ring.next() {
                let read = ring.read(next, limit(3, 500), &mut seen);
                next = read.next;
                skipped += read.skipped;
            }
            prop_assert_eq!(skipped + seen.len() as u64, sizes.len() as u64);
        }
    }
}
