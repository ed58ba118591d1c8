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
use sluice_api::SseConfig;
use sluice_message::Message;
use sluice_policy::{Caller, Chain, Hook, Outcome};
use sluice_stream::{Cursor, Lag, Step};
use tokio::time::Instant;
use tracing::warn;

use crate::{Binding, Body, Refusal, open_stream::OpenStream};

/// Serves one GET. Resolves once everything published from now on will be in the stream. `client` names the
/// other side in logs.
pub async fn serve(
    binding: &Arc<Binding>,
    settings: &SseConfig,
    caller: Arc<Caller>,
    client: String,
) -> Result<Response<Body>, Refusal> {
    let topics = binding.chosen_by.deliver(&binding.deliver_topics, caller.attributes())?;
    let cursor = binding.hubs.join(&binding.driver, &topics, binding.begin.clone(), Lag::Skip).await?;
    let session = Session {
        chain: binding.chains.select(Hook::Deliver, &caller),
        caller,
        settings: settings.clone(),
        cursor,
        batch: Vec::new(),
        ready: VecDeque::from([Ready::Frame(frame::retry(reconnect_delay_ms()))]),
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

/// What a session has at hand.
enum Ready {
    Frame(Bytes),
    /// A policy wants what follows to be sent so much later.
    Pause(Duration),
}

/// One client's stream.
struct Session {
    cursor: Cursor,
    chain: Chain,
    caller: Arc<Caller>,
    settings: SseConfig,
    batch: Vec<Message>,
    /// What is to be sent before the next wait.
    ready: VecDeque<Ready>,
    last_sent: Instant,
    ended: bool,
    open: OpenStream,
}

impl Session {
    /// The next frame, and the session to go on with; `None` at the end.
    async fn next(mut self) -> Option<(Bytes, Self)> {
        loop {
            match self.ready.pop_front() {
                Some(Ready::Frame(frame)) => {
                    self.last_sent = Instant::now();
                    return Some((frame, self));
                }
                Some(Ready::Pause(delay)) => self.pause(delay).await,
                None if self.ended => return None,
                None => self.wait().await,
            }
        }
    }

    /// Waits as a policy wants it. An API that is stopped meanwhile says so at once.
    async fn pause(&mut self, delay: Duration) {
        let drain = &self.open.binding.drain;
        tokio::select! {
            () = drain.cancelled() => {
                self.ready.clear();
                self.say_goodbye();
            }
            () = tokio::time::sleep(delay) => {}
        }
    }

    fn say_goodbye(&mut self) {
        self.send(Bytes::from_static(frame::GOAWAY));
        self.ended = true;
    }

    fn send(&mut self, frame: Bytes) {
        self.ready.push_back(Ready::Frame(frame));
    }

    /// Waits for messages, for the heartbeat to be due, or for the end of the API.
    async fn wait(&mut self) {
        let heartbeat = self.last_sent + Duration::from_millis(self.settings.heartbeat_interval_in_ms);
        let drain = &self.open.binding.drain;
        tokio::select! {
            biased;
            () = drain.cancelled() => self.say_goodbye(),
            step = self.cursor.next(&mut self.batch) => match step {
                Ok(Step::Messages) => self.take_batch(),
                Ok(Step::Skipped(count)) => self.tell_skipped(count),
                Ok(Step::Ended) => self.ended = true,
                Err(error) => {
                    warn!(
                        api = %self.open.binding.api, client = self.open.client, %error,
                        "A stream ends because its broker cannot be read."
                    );
                    // Not the broker's own words, which name addresses.
                    self.send(frame::error(&Refusal::from(error).message));
                    self.ended = true;
                }
            },
            () = tokio::time::sleep_until(heartbeat) => {
                self.send(Bytes::from_static(frame::HEARTBEAT));
            }
        }
    }

    fn take_batch(&mut self) {
        let mut batch = std::mem::take(&mut self.batch);
        for message in batch.drain(..) {
            let outcome = match self.chain.is_empty() {
                true => Outcome::Pass(message),
                false => self.chain.run(&self.caller.context(), message),
            };
            let message = match outcome {
                Outcome::Pass(message) => message,
                Outcome::Delayed(message, delay) => {
                    self.ready.push_back(Ready::Pause(delay));
                    message
                }
                Outcome::Dropped { .. } => {
                    self.open.binding.metrics.dropped_by_policy.inc();
                    continue;
                }
                Outcome::Rejected(rejection) => {
                    self.send(frame::error(&rejection.message));
                    self.ended = true;
                    break;
                }
            };
            self.send(frame::message(&message, &self.settings).clone());
            self.open.binding.metrics.delivered.inc();
        }
        // Its room is used again.
        self.batch = batch;
    }

    fn tell_skipped(&mut self, count: u64) {
        self.open.binding.metrics.skipped.inc_by(count);
        warn!(
            api = %self.open.binding.api, client = self.open.client, messages = count,
            "A client was too slow; messages were skipped for it."
        );
        self.send(frame::skipped(count));
    }
}

#[cfg(test)]
mod tests {
    use futures_util::StreamExt;
    use serde_json::json;
    use sluice_broker::{DriverError, ErrorKind};

    use super::*;
    use crate::testing;

    #[tokio::test(start_paused = true)]
    async fn a_stream_that_fails_does_not_say_the_brokers_own_words() {
        let binding = Arc::new(testing::binding(&json!({}), &json!([])));
        let caller = Arc::new(Caller::new(&binding.chains, "sse", ""));
        let answer = serve(&binding, &SseConfig::default(), caller, "c".to_owned()).await.unwrap();
        let Body::Stream(mut frames) = answer.into_body() else { panic!("no stream") };
        assert!(frames.next().await.unwrap().starts_with(b"retry: "));
        binding.driver.close().await;
        let told = Refusal::from(DriverError::new(ErrorKind::Closed, "10.0.0.1 is closed.")).message;
        assert!(!told.contains("10.0.0.1"));
        assert_eq!(frames.next().await, Some(frame::error(&told)));
        assert_eq!(frames.next().await, None);
    }
}
