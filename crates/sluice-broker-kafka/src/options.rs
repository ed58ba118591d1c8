//! Bounds of a driver, in time and in memory; where to connect is the event API's business.

use std::time::Duration;

/// How long a driver waits and how much it holds.
#[derive(Debug, Clone, Copy)]
pub struct KafkaOptions {
    /// How long a message may take until it is acknowledged, retries included. Default 10 s.
    pub publish_timeout: Duration,
    /// How long the broker may take to answer what is asked about topics, or to take a commit. Default 10 s.
    pub answer_timeout: Duration,
    /// How long a new member of a group may wait for its share of the partitions. Default 30 s.
    pub join_timeout: Duration,
    /// How often readers look for new partitions, and for topics that match a pattern now. Default 30 s.
    pub topic_refresh: Duration,
    /// Topics that patterns of one reader may match, at the most. Default 1,000.
    pub pattern_topics: usize,
    /// Messages not yet acknowledged, at the most; publishing more fails as overloaded. Default 10,000.
    pub queue_messages: u32,
    /// Their size in KiB, at the most. Default 65,536, which is 64 MiB.
    pub queue_kib: u32,
    /// What a reader fetches ahead of being asked, in KiB. Default 4,096, which is 4 MiB.
    pub read_ahead_kib: u32,
}

impl Default for KafkaOptions {
    fn default() -> Self {
        Self {
            publish_timeout: Duration::from_secs(10),
            answer_timeout: Duration::from_secs(10),
            join_timeout: Duration::from_secs(30),
            topic_refresh: Duration::from_secs(30),
            pattern_topics: 1000,
            queue_messages: 10_000,
            queue_kib: 64 << 10,
            read_ahead_kib: 4 << 10,
        }
    }
}
