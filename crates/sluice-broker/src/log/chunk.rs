//! The messages of one topic that were written in one piece: a chunk, the unit that the store knows.
//!
//! One entry for many messages makes everything per entry cheap: writing, reading again after a restart,
//! deleting. All that is told about a chunk stands in its key, so that looking for a place or for what is too
//! old reads no message.
//!
//! ```text
//! key:   topic u32 | first offset u64 | messages u32 | length u32 | appended_ms i64 | bytes before u64
//! value: version u8 | messages
//! ```
//!
//! Numbers in keys are big-endian: the store keeps chunks in the order of topic and offset.

use std::ops::Range;

use sluice_message::Message;

use super::record::{self, Corrupt};

const VERSION: u8 = 1;
const KEY_LENGTH: usize = 36;

/// The number by which keys name a topic.
pub(super) type TopicNumber = u32;

/// What is told about a chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ChunkKey {
    pub(super) topic: TopicNumber,
    /// The offset of its first message.
    pub(super) first: u64,
    /// How many messages it holds.
    pub(super) count: u32,
    /// Bytes of its value.
    pub(super) length: u32,
    /// When it was written, milliseconds since 1970-01-01 UTC; what retention by age goes by.
    pub(super) appended_ms: i64,
    /// Bytes of all chunks of the topic before it; what retention by size goes by.
    pub(super) bytes_before: u64,
}

impl ChunkKey {
    pub(super) fn encode(&self) -> [u8; KEY_LENGTH] {
        let mut key = [0; KEY_LENGTH];
        key[..4].copy_from_slice(&self.topic.to_be_bytes());
        key[4..12].copy_from_slice(&self.first.to_be_bytes());
        key[12..16].copy_from_slice(&self.count.to_be_bytes());
        key[16..20].copy_from_slice(&self.length.to_be_bytes());
        key[20..28].copy_from_slice(&self.appended_ms.to_be_bytes());
        key[28..].copy_from_slice(&self.bytes_before.to_be_bytes());
        key
    }

    /// The key in these bytes; `None` if they are none.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let (topic, rest) = bytes.split_first_chunk()?;
        let (first, rest) = rest.split_first_chunk()?;
        let (count, rest) = rest.split_first_chunk()?;
        let (length, rest) = rest.split_first_chunk()?;
        let (appended_ms, rest) = rest.split_first_chunk()?;
        Some(Self {
            topic: u32::from_be_bytes(*topic),
            first: u64::from_be_bytes(*first),
            count: u32::from_be_bytes(*count),
            length: u32::from_be_bytes(*length),
            appended_ms: i64::from_be_bytes(*appended_ms),
            bytes_before: u64::from_be_bytes(rest.try_into().ok()?),
        })
    }

    /// The offset behind its last message.
    pub(super) fn end(&self) -> u64 {
        self.first.saturating_add(u64::from(self.count))
    }

    /// Bytes of all chunks of the topic before the next.
    pub(super) fn bytes_at_end(&self) -> u64 {
        self.bytes_before.saturating_add(u64::from(self.length))
    }
}

/// The keys of every chunk of a topic whose first message has one of these offsets.
pub(super) fn keys(topic: TopicNumber, first: Range<u64>) -> Range<[u8; 12]> {
    let key = |offset: u64| {
        let mut key = [0; 12];
        key[..4].copy_from_slice(&topic.to_be_bytes());
        key[4..].copy_from_slice(&offset.to_be_bytes());
        key
    };
    key(first.start)..key(first.end)
}

/// The value of a chunk while it is filled.
pub(super) struct ChunkBuilder {
    value: Vec<u8>,
    count: u32,
}

impl ChunkBuilder {
    pub(super) fn new() -> Self {
        Self { value: vec![VERSION], count: 0 }
    }

    /// How many messages it holds.
    pub(super) const fn count(&self) -> u32 {
        self.count
    }

    /// Adds a message.
    pub(super) fn push(&mut self, message: &Message) {
        record::encode(message, &mut self.value);
        self.count += 1;
    }

    /// How many messages it holds, and its value.
    pub(super) fn finish(self) -> (u32, Vec<u8>) {
        (self.count, self.value)
    }
}

/// The messages in the value of a chunk, one by one as bytes.
pub(super) fn records(value: &[u8]) -> Result<impl Iterator<Item = Result<&[u8], Corrupt>>, Corrupt> {
    let (version, mut rest) = value.split_first().ok_or(Corrupt::Short)?;
    if *version != VERSION {
        return Err(Corrupt::Version(*version));
    }
    Ok(std::iter::from_fn(move || (!rest.is_empty()).then(|| record::next(&mut rest))).fuse())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn keys_are_in_the_order_of_topic_and_offset_and_come_back() {
        let key = |topic, first| ChunkKey {
            topic,
            first,
            count: 3,
            length: 70_000,
            appended_ms: 1_700_000_000_000,
            bytes_before: 1 << 40,
        };
        let ordered = [key(0, 255), key(0, 256), key(1, 0), key(1, u64::MAX), key(256, 0)];
        assert!(ordered.windows(2).all(|pair| pair[0].encode() < pair[1].encode()));
        assert!(ordered.iter().all(|key| ChunkKey::decode(&key.encode()) == Some(*key)));
        assert!(keys(1, 0..9).contains(&key(1, 8).encode()[..12].try_into().unwrap()));
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_are_no_panic(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            let _ = ChunkKey::decode(&bytes);
            if let Ok(records) = records(&bytes) {
                // A record that is corrupt takes nothing off: whoever reads on must stop there.
                prop_assert!(records.take_while(Result::is_ok).count() <= bytes.len());
            }
        }
    }
}
