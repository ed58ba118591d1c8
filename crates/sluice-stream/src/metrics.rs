//! Counters of the fan-out, read by whoever shows metrics.

use prometheus_client::metrics::{counter::Counter, gauge::Gauge};

/// What the hubs of a gateway do and have done since it started.
#[derive(Debug, Default)]
pub struct StreamMetrics {
    /// Broker consumers that hubs hold open now.
    pub hub_consumers: Gauge,
    /// Broker consumers that groups of clients hold open now.
    pub group_consumers: Gauge,
    /// Readers that a single client holds open now, to read what lies before its hub's ring.
    pub client_readers: Gauge,
    /// Messages that hubs and groups have read from brokers.
    pub messages_read: Counter,
    /// Times that a hub or a group found its position gone at the broker and had to go on behind a gap.
    pub positions_lost: Counter,
}

/// Keeps a gauge one higher for as long as it lives.
#[derive(Debug)]
pub(crate) struct Held(Gauge);

impl Held {
    pub(crate) fn new(gauge: &Gauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.dec();
    }
}
