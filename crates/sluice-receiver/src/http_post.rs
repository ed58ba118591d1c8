//! The `http-post` receiver: one POST, one message, answered once the broker has it.
//!
//! What is posted with an `Idempotency-Key` goes on to its end without its client, so that a repeat that comes
//! meanwhile finds it under way; see [`idempotency`](crate::idempotency).

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use sluice_api::HttpPostConfig;
use sluice_broker::{DriverError, ErrorKind};
use sluice_message::{Headers, Message};
use sluice_policy::{Caller, Hook};
use tokio::sync::OwnedSemaphorePermit;

use crate::{
    Binding, Body, Refusal,
    idempotency::{self, Done},
    publishing::{self, Attempt},
};

/// Parts of the names of request headers that say who the client is, or may. They never become message
/// headers: a broker and its readers must not learn a credential, whatever a client calls it.
const CREDENTIALS: [&str; 12] = [
    "auth",
    "cookie",
    "token",
    "secret",
    "password",
    "passwd",
    "credential",
    "apikey",
    "api-key",
    "csrf",
    "xsrf",
    "session",
];

/// Request headers about this one connection, RFC 9110 section 7.6.1, and about the body's transfer.
const CONNECTION: [&str; 9] = [
    "connection",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "content-length",
    "expect",
];

/// Request headers about the way here, about the form in which the body came and about its repetition, and those
/// by which a gateway signs what it calls subscribers with, or marks dead letters: a poster could only forge them.
const WAY: [&str; 5] = ["content-encoding", "accept-encoding", "forwarded", "via", "idempotency-key"];
const WAY_PREFIXES: [&str; 3] = ["x-forwarded-", "webhook-", "sluice-"];

/// Bytes that a POST with a key takes beside its body, so that as few can be under way as there is room for.
const KEYED: usize = 1024;

/// What came with one POST.
struct Post {
    message: Message,
    /// The method and the key under which it is published once.
    key: Option<(Method, String)>,
    /// Held until the broker has the message, so that bodies on their way are counted too.
    _bytes: OwnedSemaphorePermit,
}

/// Serves one POST.
///
/// 202 with an empty body means that the broker has acknowledged the message on every topic, now or when it came
/// before. After any error the message may have been written to some of them.
pub async fn serve<B>(
    binding: &Arc<Binding>,
    settings: &HttpPostConfig,
    caller: &Arc<Caller>,
    request: Request<B>,
) -> Result<Response<Body>, Refusal>
where
    B: http_body::Body<Data = Bytes>,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let attempt = Attempt::new(binding);
    let received = receive(binding, settings, request).await;
    let post = received.inspect_err(|refusal| binding.failures.tell(&binding.api, refusal))?;
    let outlives_client = post.key.is_some();
    let publishing = publish(Arc::clone(binding), Arc::clone(caller), post, attempt);
    let done = if outlives_client {
        tokio::spawn(publishing).await.unwrap_or_else(|_| Err(interrupted()))?
    } else {
        publishing.await?
    };
    let mut response = Response::new(Body::Empty);
    *response.status_mut() = StatusCode::ACCEPTED;
    if done == Done::Replayed {
        response.headers_mut().insert(idempotency::REPLAYED, HeaderValue::from_static("true"));
    }
    Ok(response)
}

/// Reads a request within its bounds.
async fn receive<B>(
    binding: &Binding,
    settings: &HttpPostConfig,
    request: Request<B>,
) -> Result<Post, Refusal>
where
    B: http_body::Body<Data = Bytes>,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let (head, body) = request.into_parts();
    let key = idempotency::key(&head.headers)?.map(|key| (head.method, key));
    let bytes = reserve(&body, binding, if key.is_some() { KEYED } else { 0 })?;
    let payload = read_body(body, binding.max_body_bytes, binding.body_timeout).await?;
    let mut message = Message::builder().payload(payload);
    if settings.request_headers_to_message {
        message = message.headers(message_headers(&head.headers));
    }
    Ok(Post { message: message.build(), key, _bytes: bytes })
}

/// Publishes what was posted, and tells of a failure also where no client is left to be told.
async fn publish(
    binding: Arc<Binding>,
    caller: Arc<Caller>,
    post: Post,
    attempt: Attempt,
) -> Result<Done, Refusal> {
    let _in_flight = binding.in_flight.token();
    let chain = binding.chains.select(Hook::Publish, &caller);
    let done = match publishing::admit(&binding, &chain, &caller, post.message.clone()) {
        Ok(admitted) => match &post.key {
            Some((method, key)) => {
                let name = idempotency::note_name(&binding, &caller, method, key);
                idempotency::once(&binding, &name, &post.message, admitted).await
            }
            None => admitted.publish().await.map(|()| Done::Published).map_err(Refusal::from),
        },
        Err(failure) => Err(failure.into()),
    };
    match &done {
        Ok(_) => attempt.succeeded(),
        Err(refusal) => binding.failures.tell(&binding.api, refusal),
    }
    done
}

/// What a client is told whose publish ended in the middle, as when the gateway stops.
fn interrupted() -> Refusal {
    DriverError::new(ErrorKind::Unreachable, "The publish was interrupted.").into()
}

/// Room for a body and what goes with it: as much as the body announces, or as much as it may be.
fn reserve<B: http_body::Body>(
    body: &B,
    binding: &Binding,
    more: usize,
) -> Result<OwnedSemaphorePermit, Refusal> {
    let limit = binding.max_body_bytes;
    let bytes = body.size_hint().exact().map_or(limit, |bytes| usize::try_from(bytes).unwrap_or(limit));
    let permits = u32::try_from(bytes.min(limit) + more).unwrap_or(u32::MAX);
    Arc::clone(&binding.body_bytes).try_acquire_many_owned(permits).map_err(|_| {
        let text = "The gateway holds as many request bodies as it may; try again in a moment.";
        Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "request.overloaded", text)
    })
}

/// The whole body, within its bound in bytes and in time.
async fn read_body<B>(body: B, limit: usize, timeout: Duration) -> Result<Bytes, Refusal>
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

/// Request headers as message headers, without credentials, without those of the connection, which includes
/// whatever `Connection` names, and without those of the way here.
fn message_headers(request: &HeaderMap) -> Headers {
    let nominated: Vec<String> = request
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(|name| name.trim().to_ascii_lowercase())
        .collect();
    let kept = request.iter().filter(|(name, _)| {
        let text = name.as_str();
        !CREDENTIALS.iter().any(|part| text.contains(part))
            && !CONNECTION.contains(&text)
            && !WAY.contains(&text)
            && !WAY_PREFIXES.iter().any(|prefix| text.starts_with(prefix))
            && !nominated.iter().any(|nominated| nominated == text)
    });
    kept.map(|(name, value)| (name.as_str(), Bytes::copy_from_slice(value.as_bytes()))).collect()
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn credentials_and_connection_headers_do_not_become_message_headers() {
        let mut request = HeaderMap::new();
        for name in
            ["authorization", "cookie", "x-gravitee-api-key", "x-api-key", "keep-alive", "te", "x-hop"]
        {
            request.insert(header::HeaderName::from_static(name), HeaderValue::from_static("v"));
        }
        for name in
            ["content-encoding", "accept-encoding", "forwarded", "x-forwarded-for", "x-forwarded-host"]
        {
            request.insert(header::HeaderName::from_static(name), HeaderValue::from_static("v"));
        }
        for name in [
            "via",
            "idempotency-key",
            "webhook-id",
            "webhook-timestamp",
            "webhook-signature",
            "sluice-dlq-subscription",
            "sluice-",
        ] {
            request.insert(header::HeaderName::from_static(name), HeaderValue::from_static("v"));
        }
        request.insert(header::CONNECTION, HeaderValue::from_static("close, X-Hop"));
        request.append("x-colour", HeaderValue::from_static("red"));
        request.append("x-colour", HeaderValue::from_static("blue"));
        request.append("x-sluice-gate", HeaderValue::from_static("open"));
        let kept: Headers =
            [("x-colour", "red"), ("x-colour", "blue"), ("x-sluice-gate", "open")].into_iter().collect();
        assert_eq!(message_headers(&request), kept);
    }

    #[tokio::test]
    async fn a_body_at_the_limit_is_taken_and_one_byte_more_is_not() {
        let read = |size: usize| async move {
            let body = http_body_util::Full::new(Bytes::from(vec![b'x'; size]));
            read_body(body, 8, Duration::from_secs(5)).await
        };
        assert_eq!(read(8).await.unwrap().len(), 8);
        assert_eq!(read(9).await.unwrap_err().status, StatusCode::PAYLOAD_TOO_LARGE);
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_never_comes_is_given_up() {
        let body = http_body_util::StreamBody::new(futures_util::stream::pending::<
            Result<http_body::Frame<Bytes>, std::convert::Infallible>,
        >());
        let refusal = read_body(body, 8, Duration::from_secs(5)).await.unwrap_err();
        assert_eq!(refusal.status, StatusCode::REQUEST_TIMEOUT);
    }
}
