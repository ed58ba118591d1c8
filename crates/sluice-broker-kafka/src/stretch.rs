//! What a reader that ends has still to read: everything up to the ends as they were when it was opened.
//!
//! A partition is done with the last message before its end, or when librdkafka says that nothing more is
//! there: the last offsets may hold no message (compaction, marks of transactions). What librdkafka says
//! names the partition by its number alone, so topics are read one after the other.

use sluice_broker::Bounds;
use sluice_message::{Offset, Partition, Place};

use crate::{lookup::Offsets, reader::Starts};

/// The partitions to read, topic by topic.
pub(crate) struct Stretch {
    topics: Vec<(Starts, Offsets)>,
    /// The ends of those partitions of the topic being read that are not read to the end.
    open: Offsets,
}

impl Stretch {
    /// From these starts to the ends of these bounds.
    pub(crate) fn new(starts: &Starts, bounds: &Bounds) -> Self {
        let mut topics: Vec<(Starts, Offsets)> = Vec::new();
        for (topic, partition, start) in starts {
            let Some(held) = bounds.get(&(topic.clone(), *partition)) else { continue };
            let first = start.to_raw().and_then(|start| u64::try_from(start).ok()).map_or(held.start, Offset);
            if first >= held.end {
                continue;
            }
            if topics.last().is_none_or(|(starts, _)| starts.last().is_none_or(|(last, ..)| last != topic)) {
                topics.push(Default::default());
            }
            if let Some((starts, ends)) = topics.last_mut() {
                starts.push((topic.clone(), *partition, *start));
                ends.insert((topic.clone(), *partition), held.end);
            }
        }
        Self { topics, open: Offsets::new() }
    }

    /// Whether the topic being read is read to its end, so that the next one is due.
    pub(crate) fn is_due(&self) -> bool {
        self.open.is_empty()
    }

    /// The starts of the topic that is due; `None` when all are read.
    pub(crate) fn due(&self) -> Option<&Starts> {
        self.topics.last().map(|(starts, _)| starts)
    }

    /// Notes that reading of the topic that was due has begun.
    pub(crate) fn begun(&mut self) {
        self.open = self.topics.pop().map(|(_, ends)| ends).unwrap_or_default();
    }

    /// Notes that a message was read.
    pub(crate) fn read(&mut self, Place { topic, partition, offset }: &Place) {
        let partition = (topic.clone(), *partition);
        if self.open.get(&partition).is_some_and(|end| offset.next() >= *end) {
            self.open.remove(&partition);
        }
    }

    /// Notes that a partition of the topic being read has nothing more.
    pub(crate) fn ended(&mut self, number: Partition) {
        self.open.retain(|(_, partition), _| *partition != number);
    }
}

#[cfg(test)]
mod tests {
    use rdkafka::Offset as KafkaOffset;
    use sluice_message::Topic;

    use super::*;

    fn partition(topic: &str, number: u32) -> (Topic, Partition) {
        (Topic::from(topic), Partition(number))
    }

    #[test]
    fn ends_with_the_last_message_or_with_the_word_that_none_is_left() {
        let starts = vec![
            (Topic::from("a"), Partition(0), KafkaOffset::Beginning),
            (Topic::from("a"), Partition(1), KafkaOffset::Offset(3)),
            (Topic::from("b"), Partition(0), KafkaOffset::Offset(5)),
            (Topic::from("c"), Partition(0), KafkaOffset::Beginning),
        ];
        let bounds = Bounds::from([
            (partition("a", 0), Offset(2)..Offset(4)),
            (partition("a", 1), Offset(0)..Offset(9)),
            (partition("b", 0), Offset(0)..Offset(5)),
            (partition("c", 0), Offset(1)..Offset(2)),
        ]);
        let mut stretch = Stretch::new(&starts, &bounds);
        let mut order = Vec::new();
        while let Some(due) = stretch.due() {
            order.push(due[0].0.as_str().to_owned());
            stretch.begun();
            assert!(!stretch.is_due());
            stretch.read(&Place { topic: Topic::from("a"), partition: Partition(0), offset: Offset(3) });
            stretch.ended(Partition(1));
            stretch.read(&Place { topic: Topic::from("c"), partition: Partition(0), offset: Offset(1) });
            assert!(stretch.is_due());
        }
        assert_eq!(order, ["c", "a"], "'b' has nothing to read");
    }
}
