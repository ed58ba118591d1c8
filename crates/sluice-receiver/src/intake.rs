//! What every receiver does that takes one message per request: reads the body within its bounds, and publishes.
//!
//! Which message is made of a request is the receiver's work; how it gets to the broker is that of
//! [`publishing`](crate::publishing). In between stands here what all of them owe their clients: a message under a
//! name by which its repeats are known goes on to its end without its client, each failure is counted, and what is
//! the broker's or the gateway's fault is told to the log.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::StatusCode;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use sluice_broker::{DriverError, ErrorKind};
use sluice_message::Message;
use sluice_policy::{Caller, Hook};
use tokio::sync::OwnedSemaphorePermit;

use crate::{
    Binding, Refusal,
    idempotency::{self, Done, Once},
    publishing::{self, Attempt},
};

/// Room taken of what the gateway may hold of request bodies; given back when it is dropped.
#[derive(Debug)]
pub struct Held {
    _bytes: OwnedSemaphorePermit,
}

/// A message that has come as a whole.
pub(crate) struct Taken {
    pub(crate) message: Message,
    /// The names under which it is published once.
    pub(crate) names: Vec<Once>,
    /// Held until the broker has the message, so that bodies on their way are counted too.
    pub(crate) held: Option<Held>,
}

impl Taken {
    /// Resolves once the broker has acknowledged the message on every topic, now or when it came before. With a
    /// name it goes on to its end also when this is dropped.
    pub(crate) async fn publish(
        self,
        binding: &Arc<Binding>,
        caller: &Arc<Caller>,
        attempt: Attempt,
    ) -> Result<Done, Refusal> {
        let outlives_client = !self.names.is_empty();
        let publishing = self.go_through(Arc::clone(binding), Arc::clone(caller), attempt);
        if outlives_client {
            tokio::spawn(publishing).await.unwrap_or_else(|_| Err(interrupted()))
        } else {
            publishing.await
        }
    }

    /// Publishes, and tells of a failure also where no client is left to be told.
    async fn go_through(
        self,
        binding: Arc<Binding>,
        caller: Arc<Caller>,
        attempt: Attempt,
    ) -> Result<Done, Refusal> {
        let Self { message, names, held: _held } = self;
        let _in_flight = binding.in_flight.token();
        let chain = binding.chains.select(Hook::Publish, &caller);
        let done = match publishing::admit(&binding, &chain, &caller, message.clone()) {
            Ok(admitted) if names.is_empty() => {
                admitted.publish().await.map(|()| Done::Published).map_err(Refusal::from)
            }
            Ok(admitted) => idempotency::once(&binding, &names, &message, admitted).await,
            Err(failure) => Err(failure.into()),
        };
        match &done {
            Ok(_) => attempt.succeeded(),
            Err(refusal) => binding.failures.tell(&binding.api, refusal),
        }
        done
    }
}

/// Publishes a message that did not come as a request to a receiver, as what a hub was told of: through the publish
/// policies, counted and told like that of any other client. Resolves once the broker has acknowledged it on every
/// topic.
///
/// # Errors
/// What a policy says, 403 where one keeps the message back, 500 where one sends it where it cannot go, and what
/// the broker says. It may have been written to some of its topics.
pub async fn publish(binding: &Arc<Binding>, caller: &Arc<Caller>, message: Message) -> Result<(), Refusal> {
    let taken = Taken { message, names: Vec::new(), held: None };
    taken.publish(binding, caller, Attempt::new(binding)).await.map(drop)
}

/// Reads a request's body within the bounds of its API, with room for it and for as many bytes `more`.
///
/// # Errors
/// 413 for a body that is larger than the API takes, 408 for one that does not come in time, 400 for one that
/// breaks off, 503 when the gateway holds as much as it may.
pub async fn read_body<B>(binding: &Binding, body: B, more: usize) -> Result<(Bytes, Held), Refusal>
where
    B: http_body::Body<Data = Bytes>,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let held = reserve(&body, binding, more)?;
    Ok((collect(body, binding.max_body_bytes, binding.body_timeout).await?, held))
}

/// What a client is told whose publish ended in the middle, as when the gateway stops.
fn interrupted() -> Refusal {
    DriverError::new(ErrorKind::Unreachable, "The publish was interrupted.").into()
}

/// Room for a body and what goes with it: as much as the body announces, or as much as it may be.
fn reserve<B: http_body::Body>(body: &B, binding: &Binding, more: usize) -> Result<Held, Refusal> {
    let limit = binding.max_body_bytes;
    let bytes = body.size_hint().exact().map_or(limit, |bytes| usize::try_from(bytes).unwrap_or(limit));
    let permits = u32::try_from(bytes.min(limit) + more).unwrap_or(u32::MAX);
    let acquired = Arc::clone(&binding.body_bytes).try_acquire_many_owned(permits);
    acquired.map(|bytes| Held { _bytes: bytes }).map_err(|_| {
        let text = "The gateway holds as many request bodies as it may; try again in a moment.";
        Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "request.overloaded", text)
    })
}

/// The whole body, within its bound in bytes and in time.
async fn collect<B>(body: B, limit: usize, timeout: Duration) -> Result<Bytes, Refusal>
where
    B: http_body::Body<Data = Bytes>,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let too_large = || {
        let text = format!("The body is larger than the {limit} bytes that this API takes.");
        Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "request.body.too-large", text)
    };
    // What is announced as too large is refused before it is sent.
    if body.size_hint().lower() > limit as u64 {
        return Err(too_large());
    }
    match tokio::time::timeout(timeout, Limited::new(body, limit).collect()).await {
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_large()),
        Ok(Err(error)) => {
            let text = format!("The body could not be read to its end: {error}.");
            Err(Refusal::new(StatusCode::BAD_REQUEST, "request.body.broken", text))
        }
        Err(_) => {
            let text = format!("The body did not arrive within {} ms.", timeout.as_millis());
            Err(Refusal::new(StatusCode::REQUEST_TIMEOUT, "request.body.timeout", text))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_body_at_the_limit_is_taken_and_one_byte_more_is_not() {
        let read = |size: usize| async move {
            let body = http_body_util::Full::new(Bytes::from(vec![b'x'; size]));
            collect(body, 8, Duration::from_secs(5)).await
        };
        assert_eq!(read(8).await.unwrap().len(), 8);
        assert_eq!(read(9).await.unwrap_err().status, StatusCode::PAYLOAD_TOO_LARGE);
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_never_comes_is_given_up() {
        let body = http_body_util::StreamBody::new(futures_util::stream::pending::<
            Result<http_body::Frame<Bytes>, std::convert::Infallible>,
        >());
        let refusal = collect(body, 8, Duration::from_secs(5)).await.unwrap_err();
        assert_eq!(refusal.status, StatusCode::REQUEST_TIMEOUT);
    }
}
