//! Bounds of a driver, in time and in memory; where to connect is the event API's business.

use std::time::Duration;

/// How long a driver waits and how much it holds.
#[derive(Debug, Clone, Copy)]
pub struct AmqpOptions {
    /// How long a message may take until it is acknowledged, waiting for a connection included. Default 10 s.
    pub publish_timeout: Duration,
    /// How long the broker may take to accept a connection and a link. Default 10 s.
    pub answer_timeout: Duration,
    /// How long nothing at all may come from the broker until the connection counts as lost. The broker is told, and
    /// sends something in time while it is there. Default 20 s.
    pub idle_timeout: Duration,
    /// How long a reader or publisher waits after a first failed connection; the wait doubles up to
    /// `longest_pause`. Default 200 ms.
    pub first_pause: Duration,
    /// The longest wait after a failed connection. Default 5 s.
    pub longest_pause: Duration,
    /// Messages not yet acknowledged, at the most; publishing more fails as overloaded. Default 10,000.
    pub queue_messages: u32,
    /// Their size in KiB, at the most. Default 65,536, which is 64 MiB.
    pub queue_kib: u32,
    /// What a reader takes ahead of being asked and acknowledged, in KiB, by the size of what came before. Default
    /// 8,192, which is 8 MiB.
    pub read_ahead_kib: u32,
    /// What a message that is read must be smaller than, encoded, in KiB; brokers are told with each link, and one that
    /// comes all the same is rejected. Default 32,768, which is 32 MiB.
    pub message_kib: u32,
    /// Addresses that links for publishing are kept open for. Default 256; the one that was used the longest ago is
    /// closed for another.
    pub links: usize,
}

impl Default for AmqpOptions {
    fn default() -> Self {
        Self {
            publish_timeout: Duration::from_secs(10),
            answer_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(20),
            first_pause: Duration::from_millis(200),
            longest_pause: Duration::from_secs(5),
            queue_messages: 10_000,
            queue_kib: 64 << 10,
            read_ahead_kib: 8 << 10,
            message_kib: 32 << 10,
            links: 256,
        }
    }
}
