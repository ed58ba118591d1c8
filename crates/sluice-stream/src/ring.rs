//! The ring of recent messages of a hub, bounded in count and in bytes.
//!
//! Every message gets a sequence number; a reader keeps the number it wants next. The ring knows nothing of
//! its readers: one that has fallen behind sees so by its number. It knows which position its oldest and its
//! newest message stand at, so that a reader can come and go by position too.
//!
//! Messages that the broker had dropped get no number. They lie in a gap before the next one, and are counted
//! apart: a reader keeps how many it has heard of, beside its number.

use std::{collections::VecDeque, sync::Arc};

use sluice_broker::BatchLimit;
use sluice_message::{Message, Place, Position};

/// Gaps with kept messages before them. More than this in one ring is a broker that loses all the time; then
/// the messages before the oldest gap go.
const MAX_GAPS: usize = 16;

/// Recent messages, oldest first.
#[derive(Debug)]
pub(crate) struct Ring {
    messages: VecDeque<Kept>,
    /// The sequence number of the oldest message kept, or of the next one to come when none is.
    first: u64,
    bytes: usize,
    limit: BatchLimit,
    /// The position before the oldest message kept. A partition that is not named was not there when the
    /// hub began, and everything of it is kept.
    floor: Position,
    /// The position behind the newest message.
    head: Position,
    /// How many messages the broker had dropped before the oldest message kept.
    lost: u64,
    /// Gaps behind the oldest message kept, oldest first.
    gaps: VecDeque<Gap>,
    /// From this number on every message has the text of its position.
    told_from: u64,
}

/// A message with its size, which every reader asks for.
#[derive(Debug)]
struct Kept {
    message: Message,
    size: usize,
}

impl Kept {
    fn place(&self) -> Option<&Place> {
        self.message.place()
    }
}

/// Messages that the broker had dropped.
#[derive(Debug)]
struct Gap {
    /// The number of the message behind it.
    at: u64,
    /// How many messages are lost in it and in all gaps before.
    lost: u64,
    /// The position behind it.
    position: Position,
}

/// What a read of the ring came to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Read {
    /// These messages; the number to ask for next time.
    Messages(u64),
    /// The reader has missed so many messages that are no longer kept.
    Skipped {
        missed: u64,
        /// The number to ask for next time.
        next: u64,
    },
    /// The broker had dropped so many messages before the one asked for.
    Lost {
        missed: u64,
        /// How many the reader has heard of then.
        lost: u64,
    },
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
            lost: 0,
            gaps: VecDeque::new(),
            told_from: 0,
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

    /// How many messages the broker had dropped so far.
    pub(crate) fn lost(&self) -> u64 {
        self.gaps.back().map_or(self.lost, |gap| gap.lost)
    }

    /// From which number on every message has the text of its position.
    pub(crate) const fn told_from(&self) -> u64 {
        self.told_from
    }

    /// The position behind the newest message.
    pub(crate) const fn head(&self) -> &Position {
        &self.head
    }

    /// The text of the position behind the newest message; that of the message, if it has it.
    pub(crate) fn head_text(&self) -> Arc<str> {
        let newest = self.messages.back().filter(|_| self.whole_from() < self.next());
        newest.and_then(|kept| kept.message.position()).map_or_else(|| self.head.encode().into(), Arc::clone)
    }

    /// The position behind the last gap, or before the oldest message kept: nothing is missing behind it.
    pub(crate) fn base(&self) -> &Position {
        self.gaps.back().map_or(&self.floor, |gap| &gap.position)
    }

    /// The position of a reader that wants the message of this number next, or the oldest that is kept. Takes
    /// a while.
    pub(crate) fn position_at(&self, number: u64) -> Position {
        if number >= self.next() {
            return self.head.clone();
        }
        let gap = self.gaps.iter().rev().find(|gap| gap.at <= number);
        let (from, base) = gap.map_or((self.first, &self.floor), |gap| (gap.at, &gap.position));
        let mut position = base.clone();
        let before = usize::try_from(number.saturating_sub(from)).unwrap_or(usize::MAX);
        position.extend(self.messages.range(self.index(from)..).take(before).filter_map(Kept::place));
        position
    }

    /// The number with which a reader at this position goes on, if everything behind the position is kept.
    /// What the position covers may come after that number too, and is the reader's to leave out. A position
    /// that lies before the last gap, before the oldest message or beyond the newest has no number.
    pub(crate) fn number_at(&self, position: &Position) -> Option<u64> {
        if !position.reaches(self.base()) || !self.head.reaches(position) {
            return None;
        }
        // The usual case, and the ring may hold many messages.
        if position.reaches(&self.head) {
            return Some(self.next());
        }
        let from = self.whole_from();
        let is_covered = |kept: &&Kept| kept.place().is_none_or(|place| position.covers(place));
        let covered = self.messages.range(self.index(from)..).take_while(is_covered);
        Some(from + covered.count() as u64)
    }

    /// The number from which on no message is covered by this position; `None` while such messages may still
    /// come.
    pub(crate) fn settled_at(&self, position: &Position) -> Option<u64> {
        if !self.head.reaches(position) {
            return None;
        }
        let is_covered = |kept: &Kept| kept.place().is_some_and(|place| position.covers(place));
        let from = self.whole_from();
        let last = self.messages.range(self.index(from)..).rposition(is_covered);
        Some(from + last.map_or(0, |index| index as u64 + 1))
    }

    /// Whether the message of this number, and all that follow, are kept or still to come.
    pub(crate) const fn keeps(&self, number: u64) -> bool {
        number >= self.first
    }

    /// Adds the newest message and drops the oldest ones that no longer fit. The newest always stays, even
    /// if it is larger than the bound by itself.
    pub(crate) fn push(&mut self, message: Message) {
        let size = message.size();
        self.bytes += size;
        self.head.extend(message.place());
        if message.position().is_none() {
            self.told_from = self.next() + 1;
        }
        self.messages.push_back(Kept { message, size });
        while self.messages.len() > self.limit.messages.max(1)
            || (self.bytes > self.limit.bytes && self.messages.len() > 1)
        {
            self.drop_oldest();
        }
    }

    /// Marks that so many messages are missing before the next one, which will come behind `position`: every
    /// reader hears of them when it comes there.
    pub(crate) fn mark_gap(&mut self, missing: u64, position: Position) {
        let (at, lost) = (self.next(), self.lost() + missing);
        self.head.clone_from(&position);
        // Gaps without a message between them are one.
        self.gaps.pop_back_if(|last| last.at == at);
        self.gaps.push_back(Gap { at, lost, position });
        self.pass_gaps();
        while self.gaps.len() > MAX_GAPS {
            self.drop_oldest();
        }
    }

    /// Appends messages from number `from` on, within `limit` but at least one if there is any. A reader
    /// that has missed messages, or has heard of fewer than were `lost` before that number, is given none, so
    /// that it hears of the gap before what follows it.
    pub(crate) fn read(&self, from: u64, heard: u64, limit: BatchLimit, batch: &mut Vec<Message>) -> Read {
        if from < self.first {
            return Read::Skipped { missed: self.first - from, next: self.first };
        }
        let lost = self.gaps.iter().rev().find(|gap| gap.at <= from).map_or(self.lost, |gap| gap.lost);
        if lost > heard {
            return Read::Lost { missed: lost - heard, lost };
        }
        let end = self.gaps.iter().find(|gap| gap.at > from).map_or(self.next(), |gap| gap.at);
        let mut bytes = 0;
        let mut next = from;
        for kept in self.messages.range(self.index(from)..self.index(end)).take(limit.messages.max(1)) {
            bytes += kept.size;
            if bytes > limit.bytes && next > from {
                break;
            }
            batch.push(kept.message.clone());
            next += 1;
        }
        Read::Messages(next)
    }

    /// The number from which on there is no gap.
    fn whole_from(&self) -> u64 {
        self.gaps.back().map_or(self.first, |gap| gap.at)
    }

    fn index(&self, number: u64) -> usize {
        usize::try_from(number.saturating_sub(self.first)).unwrap_or(usize::MAX).min(self.messages.len())
    }

    fn drop_oldest(&mut self) {
        if let Some(oldest) = self.messages.pop_front() {
            self.bytes -= oldest.size;
            self.first += 1;
            self.floor.extend(oldest.place());
            self.pass_gaps();
        }
    }

    /// What lies before the oldest message kept is no longer between messages.
    fn pass_gaps(&mut self) {
        while let Some(gap) = self.gaps.pop_front_if(|gap| gap.at <= self.first) {
            self.floor = gap.position;
            self.lost = gap.lost;
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic, reason = "a test stops at the first surprise")]

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
            next = match ring.read(next, 0, limit(10, usize::MAX), &mut seen) {
                Read::Messages(next) => next,
                gap => panic!("{gap:?}"),
            };
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
        assert_eq!(ring.read(0, 0, limit(10, usize::MAX), &mut seen), Read::Skipped { missed: 3, next: 3 });
        assert!(seen.is_empty());
        assert_eq!(ring.read(3, 0, limit(10, usize::MAX), &mut seen), Read::Messages(5));
        assert_eq!(seen.len(), 2);
    }

    #[test]
    fn a_message_larger_than_the_bound_is_kept_alone() {
        let mut ring = Ring::new(limit(10, 100));
        ring.push(message("a"));
        ring.push(message(&"x".repeat(1000)));
        let mut seen = Vec::new();
        assert_eq!(ring.read(1, 0, limit(10, 10), &mut seen), Read::Messages(2));
        assert_eq!(seen.len(), 1);
    }

    #[test]
    fn a_gap_is_heard_of_when_everything_before_it_was_read() {
        let mut ring = Ring::new(limit(10, usize::MAX));
        ring.push(message("a"));
        ring.mark_gap(2, Position::new());
        ring.mark_gap(1, Position::new());
        ring.push(message("b"));
        let mut seen = Vec::new();
        assert_eq!(ring.read(0, 0, limit(10, usize::MAX), &mut seen), Read::Messages(1));
        assert_eq!(ring.read(1, 0, limit(10, usize::MAX), &mut seen), Read::Lost { missed: 3, lost: 3 });
        assert_eq!(ring.read(1, 3, limit(10, usize::MAX), &mut seen), Read::Messages(2));
        assert_eq!(seen.iter().map(Message::payload).collect::<Vec<_>>(), [b"a", b"b"]);
    }

    #[test]
    fn a_reader_that_was_overtaken_across_a_gap_hears_of_both() {
        let mut ring = Ring::new(limit(2, usize::MAX));
        ring.push(message("a"));
        ring.mark_gap(3, Position::new());
        for content in ["b", "c", "d"] {
            ring.push(message(content));
        }
        let mut seen = Vec::new();
        assert_eq!(ring.read(0, 0, limit(10, usize::MAX), &mut seen), Read::Skipped { missed: 2, next: 2 });
        assert_eq!(ring.read(2, 0, limit(10, usize::MAX), &mut seen), Read::Lost { missed: 3, lost: 3 });
        assert_eq!(ring.read(2, 3, limit(10, usize::MAX), &mut seen), Read::Messages(4));
    }

    #[test]
    fn a_broker_that_loses_all_the_time_leaves_no_more_gaps_than_allowed() {
        let mut ring = Ring::new(limit(1000, usize::MAX));
        for _ in 0..100 {
            ring.push(message("a"));
            ring.mark_gap(1, Position::new());
        }
        assert_eq!((ring.gaps.len(), ring.messages.len(), ring.lost()), (MAX_GAPS, MAX_GAPS, 100));
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
        assert_eq!(ring.number_at(&"t@0#9;u@0#0".parse().unwrap()), Some(5));
        ring.push(placed("t", 10));
        assert_eq!(ring.position_at(3).to_string(), "t@0#5", "before the gap");
        assert_eq!(ring.position_at(5).to_string(), "t@0#9;u@0#0");
        assert_eq!(ring.number_at(&"t@0#10;u@0#0".parse().unwrap()), Some(6));
    }

    #[test]
    fn a_position_is_settled_behind_the_last_message_that_it_covers() {
        let ring = ring_of_two_topics();
        let settled = |position: &str| ring.settled_at(&position.parse().unwrap());
        assert_eq!(settled("t@0#4"), Some(2));
        assert_eq!(settled("t@0#6"), Some(5), "though one before was not seen");
        assert_eq!(settled("t@0#5;u@0#0"), Some(4));
        assert_eq!(settled("t@0#7"), None, "a message that it covers is still to come");
    }

    fn go_on(ring: &Ring, next: u64, skipped: u64, seen: &mut Vec<Message>) -> (u64, u64) {
        match ring.read(next, 0, limit(3, 500), seen) {
            Read::Messages(next) => (next, skipped),
            Read::Skipped { missed, next } => (next, skipped + missed),
            Read::Lost { .. } => panic!("nothing was lost"),
        }
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
                    (next, skipped) = go_on(&ring, next, skipped, &mut seen);
                }
            }
            while next < ring.next() {
                (next, skipped) = go_on(&ring, next, skipped, &mut seen);
            }
            prop_assert_eq!(skipped + seen.len() as u64, sizes.len() as u64);
        }
    }
}
