//! The `http-post` receiver: one POST, one message, answered once the broker has it.
//!
//! What is posted with an `Idempotency-Key` goes on to its end without its client, so that a repeat that comes
//! meanwhile finds it under way; see [`idempotency`](crate::idempotency).

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, header};
use sluice_api::HttpPostConfig;
use sluice_message::Message;
use sluice_policy::Caller;

use crate::{
    Binding, Body, Refusal,
    idempotency::{self, Once},
    intake::{self, Taken},
    message_headers::message_headers,
    publishing::Attempt,
};

/// By which a client says that its message has no payload: the mark by which compacted topics forget a key.
const TOMBSTONE: HeaderName = HeaderName::from_static("sluice-tombstone");

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
    let received = receive(binding, settings, caller, request).await;
    let taken = received.inspect_err(|refusal| binding.failures.tell(&binding.api, refusal))?;
    Ok(taken.publish(binding, caller, attempt).await?.answer())
}

/// Whether a message without a payload is meant, which is not the same as one with an empty payload.
///
/// # Errors
/// 400 where the header says anything but true or false, or there is a payload all the same.
fn is_tombstone(headers: &HeaderMap, payload: &Bytes) -> Result<bool, Refusal> {
    let refused = |text| Err(Refusal::new(StatusCode::BAD_REQUEST, "tombstone.invalid", text));
    let mut values = headers.get_all(&TOMBSTONE).iter();
    let (first, more) = (values.next(), values.next().is_some());
    match first.map(HeaderValue::as_bytes) {
        None => Ok(false),
        Some(b"false") if !more => Ok(false),
        Some(b"true") if !more && payload.is_empty() => Ok(true),
        Some(b"true") if !more => {
            refused("A message with 'Sluice-Tombstone: true' has no payload; send no body.")
        }
        Some(_) => refused("The header Sluice-Tombstone is 'true' or 'false', once."),
    }
}

/// Reads a request within its bounds.
async fn receive<B>(
    binding: &Binding,
    settings: &HttpPostConfig,
    caller: &Caller,
    request: Request<B>,
) -> Result<Taken, Refusal>
where
    B: http_body::Body<Data = Bytes>,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let (head, body) = request.into_parts();
    let key = idempotency::key(&head.headers)?;
    let (payload, held) =
        intake::read_body(binding, body, if key.is_some() { idempotency::ROOM } else { 0 }).await?;
    let mut message = Message::builder();
    if !is_tombstone(&head.headers, &payload)? {
        message = message.payload(payload);
    }
    if settings.request_headers_to_message {
        message = message.headers(message_headers(&head.headers));
    } else if binding.definition.websub().is_some()
        && let Some(kind) = head.headers.get(header::CONTENT_TYPE)
    {
        // A hub distributes content with its type (WebSub section 7).
        let kind = Bytes::copy_from_slice(kind.as_bytes());
        message = message.headers([("content-type", kind)].into_iter().collect());
    }
    let names = key.map(|key| Once::by_key(binding, caller, &head.method, &key)).into_iter().collect();
    Ok(Taken { message: message.build(), names, held: Some(held) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tombstone_is_asked_for_by_its_header_and_has_no_payload() {
        let asked = |values: &[&'static str], payload: &'static str| {
            let pairs = values.iter().map(|value| (TOMBSTONE, HeaderValue::from_static(value)));
            let mut headers = HeaderMap::new();
            for (name, value) in pairs {
                headers.append(name, value);
            }
            is_tombstone(&headers, &Bytes::from_static(payload.as_bytes())).map_err(|refusal| refusal.code)
        };
        assert_eq!(asked(&[], ""), Ok(false), "an empty payload");
        assert_eq!((asked(&["true"], ""), asked(&["false"], "x")), (Ok(true), Ok(false)));
        for (values, payload) in [(&["true"][..], "x"), (&["yes"], ""), (&["true", "true"], "")] {
            assert_eq!(asked(values, payload), Err("tombstone.invalid"), "{values:?}");
        }
    }
}
