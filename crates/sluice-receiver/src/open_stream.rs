//! A client that is being served: counted, named in logs, and waited for when its API drains.

use std::sync::Arc;

use tokio_util::task::task_tracker::TaskTrackerToken;
use tracing::debug;

use crate::Binding;

/// Counts a stream as open, and keeps its API from being gone before it.
pub(crate) struct OpenStream {
    pub(crate) binding: Arc<Binding>,
    pub(crate) client: String,
    _in_flight: TaskTrackerToken,
}

impl OpenStream {
    pub(crate) fn new(binding: &Arc<Binding>, client: String) -> Self {
        binding.metrics.streams.inc();
        debug!(api = %binding.api, client, "A stream begins.");
        Self { client, _in_flight: binding.in_flight.token(), binding: Arc::clone(binding) }
    }
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        self.binding.metrics.streams.dec();
        debug!(api = %self.binding.api, client = self.client, "A stream ends.");
    }
}
