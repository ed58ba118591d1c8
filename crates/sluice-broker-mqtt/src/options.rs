//! Bounds of a driver, in time and in memory; where to connect is the event API's business.

use std::time::Duration;

/// How long a driver waits and how much it holds.
#[derive(Debug, Clone, Copy)]
pub struct MqttOptions {
    /// How long a message may take until it is acknowledged, connecting and sending again included. Default 10 s.
    pub publish_timeout: Duration,
    /// How long the broker may take to accept a connection, and to answer a subscription. Default 10 s.
    pub answer_timeout: Duration,
    /// Messages not yet acknowledged, at the most; publishing more fails as overloaded. Default 10,000.
    pub queue_messages: usize,
    /// Their size in KiB, at the most. Default 65,536, which is 64 MiB.
    pub queue_kib: usize,
    /// What a reader holds ahead of being asked, in KiB; it takes one message more at the most. Default 4,096,
    /// which is 4 MiB.
    pub read_ahead_kib: usize,
}

impl Default for MqttOptions {
    fn default() -> Self {
        Self {
            publish_timeout: Duration::from_secs(10),
            answer_timeout: Duration::from_secs(10),
            queue_messages: 10_000,
            queue_kib: 64 << 10,
            read_ahead_kib: 4 << 10,
        }
    }
}
