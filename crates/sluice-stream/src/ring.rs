//! The ring of recent messages of a hub, bounded in count and in bytes.
//!
//! Every message gets a sequence number; a reader keeps the number it wants next. The ring knows nothing of
//! its readers: one that has fallen behind sees so by its number.

use std::collections::VecDeque;

use sluice_broker::BatchLimit;
use sluice_message::Message;

/// Recent messages, oldest first.
#[derive(Debug)]
pub(crate) struct Ring {
    messages: VecDeque<Message>,
    /// The sequence number of the oldest message kept, or of the next one to come when none is.
    first: u64,
    bytes: usize,
    limit: BatchLimit,
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
        Self { messages: VecDeque::new(), first: 0, bytes: 0, limit }
    }

    /// The number that the next message will get.
    pub(crate) fn next(&self) -> u64 {
        self.first + self.messages.len() as u64
    }

    /// Adds the newest message and drops the oldest ones that no longer fit. The newest always stays, even
    /// if it is larger than the bound by itself.
    pub(crate) fn push(&mut self, message: Message) {
        self.bytes += message.size();
        self.messages.push_back(message);
        while self.messages.len() > self.limit.messages.max(1)
            || (self.bytes > self.limit.bytes && self.messages.len() > 1)
        {
            self.drop_oldest();
        }
    }

    /// Marks that so many messages are missing before the next one: every reader finds that it has skipped
    /// them, and whatever it had not read yet.
    pub(crate) fn mark_gap(&mut self, missing: u64) {
        self.first = self.next() + missing;
        self.messages.clear();
        self.bytes = 0;
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
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

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
        ring.mark_gap(3);
        ring.push(message("b"));
        let mut seen = Vec::new();
        let read = ring.read(next, limit(10, usize::MAX), &mut seen);
        assert!(read.skipped == 3 && seen.is_empty());
        ring.read(read.next, limit(10, usize::MAX), &mut seen);
        assert_eq!(seen[0].payload(), b"b");
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
