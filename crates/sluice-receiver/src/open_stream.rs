//! A client that is being served: counted, listed, named in logs, waited for when its API drains, and moved along
//! when its API is deployed anew.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use http::StatusCode;
use sluice_policy::Caller;
use sluice_stream::Standing;
use tokio_util::task::task_tracker::TaskTrackerToken;
use tracing::{debug, warn};

use crate::{
    Binding, Refusal,
    seldom::Seldom,
    streams::{SlowClientEnd, Stream},
    succession,
};

/// The other end of a connection.
#[derive(Debug, Clone)]
pub struct Client {
    /// Its address.
    pub address: SocketAddr,
    /// Set when its connection was cut because it took nothing for too long.
    pub has_stalled: Arc<AtomicBool>,
}

impl Client {
    /// A client at this address, of which nothing bad is known.
    pub fn new(address: SocketAddr) -> Self {
        Self { address, has_stalled: Arc::default() }
    }
}

/// Counts a stream as open, and keeps its API from being gone before it.
pub(crate) struct OpenStream {
    pub(crate) binding: Arc<Binding>,
    pub(crate) caller: Arc<Caller>,
    pub(crate) client: SocketAddr,
    has_stalled: Arc<AtomicBool>,
    stream: Arc<Stream>,
    skips: Seldom,
    _in_flight: TaskTrackerToken,
}

impl OpenStream {
    /// A stream of the receiver of this kind, which may have so many of this API open at once.
    ///
    /// # Errors
    /// 503 when as many are open.
    pub(crate) fn new(
        binding: &Arc<Binding>,
        kind: &'static str,
        caller: Arc<Caller>,
        client: &Client,
        limit: Option<u32>,
    ) -> Result<Self, Refusal> {
        let stream = binding.streams.add(&binding.api, kind, client.address, &caller, limit);
        let stream = stream.ok_or_else(|| {
            let text = "This API has as many clients connected as it may. Try again later.";
            Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "receiver.full", text)
        })?;
        binding.metrics.streams.inc();
        debug!(api = %binding.api, client = %client.address, "A stream begins.");
        Ok(Self {
            stream,
            caller,
            client: client.address,
            has_stalled: Arc::clone(&client.has_stalled),
            skips: Seldom::default(),
            _in_flight: binding.in_flight.token(),
            binding: Arc::clone(binding),
        })
    }

    /// Lets people see how far it is behind.
    pub(crate) fn follow(&self, standing: &Arc<Standing>) {
        self.stream.follow(standing);
    }

    /// Lets people see the group that its client is in.
    pub(crate) fn share(&self, group: &str) {
        self.stream.share(group);
    }

    /// Resolves when its API was deployed anew or stops; then [`move_on`](Self::move_on) is to be called.
    pub(crate) async fn is_over(&self) {
        self.binding.succession.has_come().await;
    }

    /// Whether another deployment came in place of its own; otherwise its API stops.
    pub(crate) fn is_replaced(&self) -> bool {
        self.binding.succession.get().is_some()
    }

    /// Goes on under the deployment that came in place of its own; false where it cannot, and the client has to
    /// come again. Chains are to be selected anew.
    pub(crate) fn move_on(&mut self) -> bool {
        let Some((binding, caller)) =
            succession::successor(&self.binding, self.stream.receiver, &self.caller)
        else {
            return false;
        };
        self._in_flight = binding.in_flight.token();
        self.binding = binding;
        self.caller = Arc::new(caller);
        true
    }

    /// Messages were skipped for its client, which was too slow.
    pub(crate) fn skipped(&self, messages: u64) {
        self.binding.metrics.skipped.inc_by(messages);
        self.binding.streams.note_slow(&self.stream, messages, SlowClientEnd::Skipped);
        if let Some(messages) = self.skips.tell(messages) {
            let what = "A client was too slow; messages were skipped for it.";
            self.name_slow(messages, SlowClientEnd::Skipped, what);
        }
    }

    /// Its client is disconnected, because it was too slow.
    pub(crate) fn overrun(&self, behind: u64) {
        self.binding.metrics.overrun.inc();
        self.binding.streams.note_slow(&self.stream, behind, SlowClientEnd::Disconnected);
        self.name_slow(behind, SlowClientEnd::Disconnected, "A client was too slow and is disconnected.");
    }

    /// The broker had dropped messages before its client could get them.
    pub(crate) fn lost(&self, messages: u64) {
        self.binding.metrics.lost.inc_by(messages);
        warn!(
            api = %self.binding.api, client = %self.client, messages,
            "The broker no longer has messages that a client has not read; it is told of the gap."
        );
    }

    fn name_slow(&self, behind: u64, end: SlowClientEnd, what: &str) {
        warn!(
            api = %self.binding.api, client = %self.client, receiver = self.stream.receiver,
            plan = self.stream.plan, application = self.stream.application, behind, end = end.as_str(), "{what}"
        );
    }
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        if self.has_stalled.load(Ordering::Relaxed) {
            self.binding.metrics.overrun.inc();
            let (behind, end) = (self.stream.behind(), SlowClientEnd::Stalled);
            self.binding.streams.note_slow(&self.stream, behind, end);
            self.name_slow(behind, end, "A client took nothing for too long; its connection was cut.");
        }
        self.binding.streams.remove(&self.stream);
        self.binding.metrics.streams.dec();
        let skipped = self.stream.skipped();
        debug!(api = %self.binding.api, client = %self.client, skipped, "A stream ends.");
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::testing;

    #[tokio::test(start_paused = true)]
    async fn each_skip_is_counted_and_listed_though_not_each_is_told() {
        let binding = Arc::new(testing::binding(&json!({}), &json!([])));
        let caller = testing::caller(&binding, "sse");
        let open = OpenStream::new(&binding, "sse", caller, &testing::request().1, None).unwrap();
        for messages in 1..=3 {
            open.skipped(messages);
        }
        let slow: Vec<_> =
            binding.streams.slow_clients(&binding.api).iter().map(|slow| slow.behind).collect();
        assert_eq!((slow, binding.metrics.skipped.get(), open.stream.skipped()), (vec![3, 2, 1], 6, 6));
        assert_eq!(open.skips.tell(0), None, "the last two wait for the next line");
        tokio::time::advance(std::time::Duration::from_secs(10)).await;
        assert_eq!(open.skips.tell(4), Some(2 + 3 + 4));
    }
}
