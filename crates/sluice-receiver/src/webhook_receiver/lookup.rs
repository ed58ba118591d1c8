//! What a request says about itself besides its content: the record key, and the id by which a delivery is known
//! when it comes again.

use bytes::Bytes;
use http::{HeaderMap, header};
use serde_json::Value;
use sluice_api::{RequestField, WebhookProvider, WebhookReceiverConfig};
use sluice_message::Message;

use super::scheme;

/// The value of a field of a request; `None` where it is not there, is empty, or is no single value.
pub(super) fn find(field: &RequestField, headers: &HeaderMap, message: &Message) -> Option<Bytes> {
    match field {
        RequestField::Header(name) => from_header(headers, name),
        RequestField::JsonPath(path) => scalar(path.find(&*message.json()?)?),
    }
}

/// The id of a delivery: where the settings say, else where the provider puts it.
pub(super) fn delivery_id(
    settings: &WebhookReceiverConfig,
    headers: &HeaderMap,
    message: &Message,
) -> Option<Bytes> {
    if let Some(field) = &settings.delivery_id {
        return find(field, headers, message);
    }
    let member = |name: &str| scalar(message.json()?.get(name)?);
    match settings.sender.as_ref()?.provider {
        WebhookProvider::Github => from_header(headers, "x-github-delivery"),
        WebhookProvider::Shopify => from_header(headers, "x-shopify-webhook-id"),
        WebhookProvider::StandardWebhooks => from_header(headers, scheme::standard_names(headers).id),
        WebhookProvider::Stripe => member("id"),
        WebhookProvider::Slack => member("event_id"),
        WebhookProvider::Hmac => None,
    }
}

/// Whether key or id are looked for in the body.
pub(super) fn reads_body(settings: &WebhookReceiverConfig) -> bool {
    let is_in_body = |field: &RequestField| matches!(field, RequestField::JsonPath(_));
    let preset = || {
        let provider = settings.sender.as_ref().map(|sender| sender.provider);
        matches!(provider, Some(WebhookProvider::Stripe | WebhookProvider::Slack))
    };
    let reads_id = settings.delivery_id.as_ref().map_or_else(preset, is_in_body);
    settings.key.as_ref().is_some_and(is_in_body) || (reads_id && settings.replay_window_seconds().is_some())
}

/// Whether a body is compressed or the like, so that it is not what it says.
pub(super) fn is_encoded(headers: &HeaderMap) -> bool {
    headers
        .get_all(header::CONTENT_ENCODING)
        .iter()
        .any(|coding| !coding.as_bytes().eq_ignore_ascii_case(b"identity"))
}

fn from_header(headers: &HeaderMap, name: &str) -> Option<Bytes> {
    let value = headers.get(name)?.as_bytes();
    (!value.is_empty()).then(|| Bytes::copy_from_slice(value))
}

fn scalar(value: &Value) -> Option<Bytes> {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Number(_) | Value::Bool(_) => value.to_string(),
        Value::Null | Value::Array(_) | Value::Object(_) => return None,
    };
    (!text.is_empty()).then(|| Bytes::from(text))
}
