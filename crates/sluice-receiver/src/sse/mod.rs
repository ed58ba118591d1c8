//! The `sse` receiver: a GET becomes a stream of Server-Sent Events that lasts until either side ends it.
//!
//! The stream is a body that waits for messages by itself; there is no task and no queue for a client. Its
//! frames are those of the messages, shared with every other client of the same settings.

mod frame;

use std::{
    collections::VecDeque,
    hash::{BuildHasher, RandomState},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use futures_util::stream;
use http::{HeaderValue, Response, header};
use sluice_api::{PlanId, SseConfig};
use sluice_message::Message;
use sluice_policy::{Chain, Connection, EvalContext, Hook, Outcome};
use sluice_stream::{Cursor, Step};
use tokio::time::Instant;
use tokio_util::task::task_tracker::TaskTrackerToken;
use tracing::{debug, warn};

use crate::{Binding, Body, Refusal};

/// Serves one GET. Resolves once everything published from now on will be in the stream. `sub_path` is the
/// request's path below the API's own, `client` names the other side in logs.
pub async fn serve(
    binding: &Arc<Binding>,
    settings: &SseConfig,
    plan: &PlanId,
    sub_path: &str,
    client: String,
) -> Result<Response<Body>, Refusal> {
    let cursor = binding.hubs.join(&binding.driver, &binding.deliver_topics, binding.begin).await?;
    let context = EvalContext::default();
    let connection = Connection { receiver: "sse", sub_path, plan: Some(plan), context };
    let session = Session {
        chain: binding.chains.select(Hook::Deliver, &connection),
        settings: settings.clone(),
        cursor,
        batch: Vec::new(),
        ready: VecDeque::from([frame::retry(reconnect_delay_ms())]),
        last_sent: Instant::now(),
        ended: false,
        open: OpenStream::new(binding, client),
    };
    let mut response = Response::new(Body::Stream(Box::pin(stream::unfold(session, Session::next))));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream;charset=UTF-8"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert(header::CONNECTION, HeaderValue::from_static("keep-alive"));
    // Asks the proxies that know it to pass each event on at once.
    headers.insert(header::HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
    Ok(response)
}

/// From 1 to 30 seconds, different for each client, so that a restart is not followed by all clients at
/// the same moment.
fn reconnect_delay_ms() -> u64 {
    1000 + RandomState::new().hash_one(()) % 29_000
}

/// One client's stream.
struct Session {
    cursor: Cursor,
    chain: Chain,
    settings: SseConfig,
    batch: Vec<Message>,
    /// Frames to be sent before the next wait.
    ready: VecDeque<Bytes>,
    last_sent: Instant,
    ended: bool,
    open: OpenStream,
}

impl Session {
    /// The next frame, and the session to go on with; `None` at the end.
    async fn next(mut self) -> Option<(Bytes, Self)> {
        loop {
            if let Some(frame) = self.ready.pop_front() {
                self.last_sent = Instant::now();
                return Some((frame, self));
            }
            if self.ended {
                return None;
            }
            self.wait().await;
        }
    }

    /// Waits for messages, for the heartbeat to be due, or for the end of the API.
    async fn wait(&mut self) {
        let heartbeat = self.last_sent + Duration::from_millis(self.settings.heartbeat_interval_in_ms);
        let drain = &self.open.binding.drain;
        tokio::select! {
            biased;
            () = drain.cancelled() => {
                self.ready.push_back(Bytes::from_static(frame::GOAWAY));
                self.ended = true;
            }
            step = self.cursor.next(&mut self.batch) => match step {
                Ok(Step::Messages) => self.take_batch(),
                Ok(Step::Skipped(count)) => self.tell_skipped(count),
                Ok(Step::Ended) => self.ended = true,
                Err(error) => {
                    warn!(
                        api = %self.open.binding.api, client = self.open.client, %error,
                        "A stream ends because its broker cannot be read."
                    );
                    self.ready.push_back(frame::error(&error.to_string()));
                    self.ended = true;
                }
            },
            () = tokio::time::sleep_until(heartbeat) => {
                self.ready.push_back(Bytes::from_static(frame::HEARTBEAT));
            }
        }
    }

    fn take_batch(&mut self) {
        let metrics = &self.open.binding.metrics;
        for message in self.batch.drain(..) {
            let message = if self.chain.is_empty() {
                message
            } else {
                match self.chain.run(&EvalContext::default(), message) {
                    Outcome::Pass(message) => message,
                    Outcome::Dropped { .. } => {
                        metrics.dropped_by_policy.inc();
                        continue;
                    }
                    Outcome::Rejected(rejection) => {
                        self.ready.push_back(frame::error(&rejection.message));
                        self.ended = true;
                        break;
                    }
                }
            };
            self.ready.push_back(frame::message(&message, &self.settings).clone());
            metrics.delivered.inc();
        }
    }

    fn tell_skipped(&mut self, count: u64) {
        self.open.binding.metrics.skipped.inc_by(count);
        warn!(
            api = %self.open.binding.api, client = self.open.client, messages = count,
            "A client was too slow; messages were skipped for it."
        );
        self.ready.push_back(frame::skipped(count));
    }
}

/// Counts a stream as open, and keeps its API from being gone before it.
struct OpenStream {
    binding: Arc<Binding>,
    client: String,
    _in_flight: TaskTrackerToken,
}

impl OpenStream {
    fn new(binding: &Arc<Binding>, client: String) -> Self {
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
