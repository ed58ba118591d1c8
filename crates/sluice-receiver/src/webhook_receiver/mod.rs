//! The `webhook-receiver`: what webhook senders push, verified, known again when it comes again, and answered once the
//! broker has it.
//!
//! A body is kept byte for byte, also where it is compressed. Its signature is checked before anything else reads it;
//! then the request becomes a message, with the headers that the settings list, and goes the way of every
//! [intake](crate::intake). Which channel it is for is found before.

mod attributes;
mod cloud_events;
mod handshake;
mod lookup;
mod scheme;
mod sender;
#[cfg(test)]
mod tests;

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header, request::Parts};
use serde_json::Value;
use sluice_api::{CloudEvents, WebhookProvider, WebhookReceiverConfig};
use sluice_message::{Headers, Message};
use sluice_policy::Caller;

pub use handshake::handshake;
pub use sender::verify;

use self::cloud_events::Mode;
use crate::{
    Binding, Body, Refusal,
    idempotency::{self, Once},
    intake::{self, Taken},
    message_headers::nominated,
    publishing::Attempt,
};

/// What came with one POST.
enum Received {
    Message(Taken),
    /// A question of the sender whether it has come to the right place, with the answer that it wants.
    Challenge(String),
}

/// Serves one POST to a channel, or to an API without channels.
///
/// 202 with an empty body means that the broker has acknowledged the message on every topic, now or when the same
/// delivery came before.
///
/// # Errors
/// 401 for a request that is not signed as the settings want it, 400 for an unsound event, 415 for what cannot be
/// read where it must be, those of an [intake](crate::read_body), of policies and of the broker.
pub async fn serve<B>(
    binding: &Arc<Binding>,
    settings: &WebhookReceiverConfig,
    caller: &Arc<Caller>,
    request: Request<B>,
) -> Result<Response<Body>, Refusal>
where
    B: http_body::Body<Data = Bytes>,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let attempt = Attempt::new(binding);
    let received = receive(binding, settings, caller, request).await;
    let taken = match received.inspect_err(|refusal| tell(binding, refusal))? {
        Received::Message(taken) => taken,
        Received::Challenge(answer) => {
            attempt.succeeded();
            return Ok(answered(answer));
        }
    };
    Ok(taken.publish(binding, caller, attempt).await?.answer())
}

/// Reads a request within its bounds, and makes a message of it.
async fn receive<B>(
    binding: &Binding,
    settings: &WebhookReceiverConfig,
    caller: &Caller,
    request: Request<B>,
) -> Result<Received, Refusal>
where
    B: http_body::Body<Data = Bytes>,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let (head, body) = request.into_parts();
    let key = idempotency::key(&head.headers)?;
    let names = usize::from(key.is_some()) + usize::from(settings.replay_window_seconds().is_some());
    let (payload, held) = intake::read_body(binding, body, names * idempotency::ROOM).await?;
    if let Some(sender) = &settings.sender {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        verify(sender, &binding.credentials.secrets(), &head.headers, &payload, now)?;
    }
    let raw = Message::builder().payload(payload).build();
    if let Some(answer) = challenge(settings, &raw) {
        return Ok(Received::Challenge(answer));
    }
    let message = described(settings, &head, &raw)?;
    let window = settings.replay_window_seconds().map(|seconds| Duration::from_secs(seconds.into()));
    let delivery = window.and_then(|window| {
        let id = lookup::delivery_id(settings, &head.headers, &raw)?;
        Some(Once::by_delivery(binding, &id, window))
    });
    let key = key.map(|key| Once::by_key(binding, caller, &head.method, &key));
    let names = delivery.into_iter().chain(key).collect();
    Ok(Received::Message(Taken { message, names, held: Some(held) }))
}

/// The message with its headers and its record key.
fn described(settings: &WebhookReceiverConfig, head: &Parts, raw: &Message) -> Result<Message, Refusal> {
    let mode = match settings.cloud_events {
        CloudEvents::Off => None,
        CloudEvents::Accept => cloud_events::mode(&head.headers)?,
        CloudEvents::Require => Some(cloud_events::mode(&head.headers)?.ok_or_else(cloud_events::required)?),
    };
    let reads_body = mode == Some(Mode::Structured) || lookup::reads_body(settings);
    if reads_body && lookup::is_encoded(&head.headers) {
        let text = "The body is compressed, and this API reads it. Send it without Content-Encoding.";
        return Err(Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "webhook.content-encoding", text));
    }
    let mut headers = carried(settings, &head.headers);
    match mode {
        None => {}
        Some(Mode::Structured) => cloud_events::check_structured(raw)?,
        Some(Mode::Binary) => {
            for event in &cloud_events::binary(&head.headers)? {
                headers.append(event.name.clone(), event.value.clone());
            }
        }
    }
    let mut described = raw.to_builder().headers(headers);
    if let Some(key) = settings.key.as_ref().and_then(|key| lookup::find(key, &head.headers, raw)) {
        described = described.key(key);
    }
    Ok(described.build())
}

/// The request headers that the settings list. The attributes of events are not among them where they are read as
/// such: they go on under the names that they have in messages.
fn carried(settings: &WebhookReceiverConfig, request: &HeaderMap) -> Headers {
    let nominated = nominated(request);
    let reads_events = settings.cloud_events != CloudEvents::Off;
    let kept = request.iter().filter(|(name, _)| {
        let text = name.as_str();
        settings.carries(text)
            && !(reads_events && text.starts_with(cloud_events::HTTP_PREFIX))
            && !nominated.iter().any(|nominated| nominated == text)
    });
    kept.map(|(name, value)| (name.as_str(), Bytes::copy_from_slice(value.as_bytes()))).collect()
}

/// What Slack wants to hear before it pushes anything: the text that it sends, in place of an event.
fn challenge(settings: &WebhookReceiverConfig, message: &Message) -> Option<String> {
    settings.sender.as_ref().filter(|sender| sender.provider == WebhookProvider::Slack)?;
    let json = message.json()?;
    let is_question = json.get("type").and_then(Value::as_str) == Some("url_verification");
    json.get("challenge").and_then(Value::as_str).filter(|_| is_question).map(str::to_owned)
}

fn answered(text: String) -> Response<Body> {
    let mut response = Response::new(Body::Full(text.into()));
    let content_type = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, content_type);
    response
}

fn tell(binding: &Binding, refusal: &Refusal) {
    if refusal.code == sender::NO_SECRET {
        binding.failures.tell_unverifiable(&binding.api);
    } else {
        binding.failures.tell(&binding.api, refusal);
    }
}
