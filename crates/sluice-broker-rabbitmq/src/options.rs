//! Bounds of a driver, in time and in memory; where to connect is the event API's business.

use std::time::Duration;

/// How long a driver waits and how much it holds.
#[derive(Debug, Clone, Copy)]
pub struct RabbitmqOptions {
    /// How long a message may take until it is acknowledged. Default 10 s.
    pub publish_timeout: Duration,
    /// How long a connection, and whatever is asked on one, may take. Default 10 s.
    pub answer_timeout: Duration,
    /// Messages not yet acknowledged, at the most; publishing more fails as overloaded. Default 10,000.
    pub queue_messages: u32,
    /// Their size in KiB, at the most. Default 65,536, which is 64 MiB.
    pub queue_kib: u32,
    /// Messages that have a channel to themselves until they are acknowledged (those that must reach a queue, and large
    /// ones), at the most; more of them wait. Default 64.
    pub own_channels: u32,
}

impl Default for RabbitmqOptions {
    fn default() -> Self {
        Self {
            publish_timeout: Duration::from_secs(10),
            answer_timeout: Duration::from_secs(10),
            queue_messages: 10_000,
            queue_kib: 64 << 10,
            own_channels: 64,
        }
    }
}
