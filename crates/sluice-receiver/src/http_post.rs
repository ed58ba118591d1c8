//! The `http-post` receiver: one POST, one message, answered once the broker has it.
//!
//! What is posted with an `Idempotency-Key` goes on to its end without its client, so that a repeat that comes
//! meanwhile finds it under way; see [`idempotency`](crate::idempotency).

use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response, header};
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
    let mut message = Message::builder().payload(payload);
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
