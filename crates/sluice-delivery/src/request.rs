//! What is sent for a message: its payload as it is, headers that HTTP can carry, and the marks of a hub.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, header::CONTENT_TYPE};
use sluice_api::{Callback, SubscriptionId};
use sluice_message::Message;

use crate::{event_headers::of_event, hub_call::HubCall, signature::message_id};

/// The most headers that a message may bring, and the most bytes of them. Servers refuse requests whose
/// head is larger than some 8 to 16 KiB.
const MAX_HEADERS: usize = 64;
const MAX_HEADER_BYTES: usize = 8 << 10;

/// Headers that no message may bring, beside those that no subscriber may set and `X-Forwarded-*`.
const OWN_HEADERS: [&str; 7] = [
    "sluice-tombstone",
    "accept-encoding",
    "forwarded",
    "user-agent",
    "webhook-id",
    "webhook-signature",
    "webhook-timestamp",
];

/// A message ready to be sent, as often as it takes.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    /// The same for each try.
    pub(crate) id: String,
    /// Headers of the message that HTTP cannot carry, or that are the gateway's to say.
    pub(crate) left_out: u64,
}

/// The headers that a subscriber wants on each call. Those that HTTP cannot carry were refused before.
pub(crate) fn own_headers(callback: &Callback) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for header in &callback.headers {
        if let (Ok(name), Ok(mut value)) =
            (HeaderName::try_from(&header.name), HeaderValue::try_from(header.value.expose()))
        {
            value.set_sensitive(true);
            headers.append(name, value);
        }
    }
    headers
}

/// Tells a message without a payload from one with an empty one. No message has such a header of its own.
const TOMBSTONE: HeaderName = HeaderName::from_static("sluice-tombstone");

impl Request {
    /// The message's own headers come first, then those of the subscriber that the message does not have.
    ///
    /// Without a `Content-Type` in either, a JSON object or array is sent as `application/json`, anything
    /// else as `application/octet-stream`; by a hub always so, since its publishers say what their content is.
    /// `original` is the message before the policies: what they have set goes out from a hub, too.
    pub(crate) fn new(
        subscription: &SubscriptionId,
        (message, original): (&Message, &Message),
        own: &HeaderMap,
        hub: Option<&HubCall>,
    ) -> Self {
        let (mut headers, left_out) = message_headers(message, |name, value| {
            let shown = || original.headers().get_all(name.as_str()).any(|had| had == value.as_bytes());
            hub.is_some() && (HubCall::says(name) || (HubCall::is_credential(name) && shown()))
        });
        for name in own.keys().filter(|name| !headers.contains_key(*name)).cloned().collect::<Vec<_>>() {
            for value in own.get_all(&name) {
                headers.append(name.clone(), value.clone());
            }
        }
        if !headers.contains_key(CONTENT_TYPE) {
            let begins = message.payload().iter().find(|byte| !byte.is_ascii_whitespace());
            let json = hub.is_none() && matches!(begins, Some(b'{' | b'[')) && message.json().is_some();
            let kind = if json { "application/json" } else { "application/octet-stream" };
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        }
        if message.payload_bytes().is_none() {
            headers.insert(TOMBSTONE, HeaderValue::from_static("true"));
        }
        let body = message.payload_bytes().cloned().unwrap_or_default();
        if let Some(hub) = hub {
            hub.mark(&mut headers, &body);
        }
        Self { headers, body, id: message_id(subscription, message), left_out }
    }
}

/// Whether a header says what only the gateway can say: about the connection, the way that a call has taken, and
/// who signed it. `Content-Encoding` is not among them, as it describes the payload.
fn is_gateways(name: &HeaderName) -> bool {
    OWN_HEADERS.contains(&name.as_str())
        || name.as_str().starts_with("x-forwarded-")
        || Callback::reserves_header(name.as_str())
}

/// The headers of a message but those that are held back, and how many were left out.
fn message_headers(
    message: &Message,
    is_held_back: impl Fn(&HeaderName, &HeaderValue) -> bool,
) -> (HeaderMap, u64) {
    let mut headers = HeaderMap::new();
    let (mut left_out, mut bytes) = (0, 0);
    for header in of_event(message).as_ref().unwrap_or_else(|| message.headers()) {
        bytes += header.name.len() + header.value.len();
        let fits = headers.len() < MAX_HEADERS && bytes <= MAX_HEADER_BYTES;
        let parts =
            (HeaderName::try_from(&*header.name), HeaderValue::from_maybe_shared(header.value.clone()));
        match parts {
            (Ok(name), Ok(value)) if fits && !is_gateways(&name) && !is_held_back(&name, &value) => {
                headers.append(name, value);
            }
            _ => left_out += 1,
        }
    }
    (headers, left_out)
}

#[cfg(test)]
mod tests {
    use sluice_api::{CallbackHeader, Secret};
    use sluice_message::Headers;

    use super::*;

    fn request(payload: &'static str, headers: Headers, own: &[(&str, &str)]) -> Request {
        let mut callback = Callback::to("http://a");
        callback.headers = own
            .iter()
            .map(|(name, value)| CallbackHeader { name: (*name).to_owned(), value: Secret::new(*value) })
            .collect();
        let message = Message::builder().payload(payload).headers(headers).build();
        Request::new(&SubscriptionId("s".to_owned()), (&message, &message), &own_headers(&callback), None)
    }

    #[test]
    fn headers_of_the_message_go_before_those_of_the_subscriber() {
        let headers: Headers = [("X-A", "message"), ("x-b", "1"), ("x-b", "2")].into_iter().collect();
        let request = request("", headers, &[("x-a", "own"), ("x-c", "own")]);
        assert_eq!(request.headers["x-a"], "message");
        assert_eq!(request.headers["x-c"], "own");
        assert_eq!(request.headers.get_all("X-B").iter().collect::<Vec<_>>(), ["1", "2"]);
    }

    #[test]
    fn headers_that_http_cannot_carry_are_left_out_and_counted() {
        let mut headers: Headers =
            [("bad name", "x"), ("", "x"), ("host", "evil"), ("Content-Length", "9")].into_iter().collect();
        headers.append("x-line", &b"a\r\nX-Evil: 1"[..]);
        headers.append("x-binary", &b"\x00\x01"[..]);
        headers.append("x-utf8", "\u{e4}");
        let request = request("", headers, &[]);
        assert_eq!((request.left_out, request.headers.len()), (6, 2));
        assert_eq!(request.headers["x-utf8"].as_bytes(), "\u{e4}".as_bytes());
    }

    #[test]
    fn what_only_the_gateway_can_say_is_left_out_and_counted() {
        let of_gateway = [
            ("webhook-id", "forged"),
            ("Webhook-Timestamp", "1"),
            ("WEBHOOK-SIGNATURE", "v1,forged"),
            ("accept-encoding", "gzip"),
            ("Forwarded", "for=192.0.2.1"),
            ("X-Forwarded-For", "192.0.2.1"),
            ("x-forwarded-proto", "https"),
            ("user-agent", "other"),
        ];
        let describing = [("content-encoding", "gzip"), ("x-forwarded", "1"), ("webhook-kind", "a")];
        let request = request("", of_gateway.into_iter().chain(describing).collect(), &[]);
        assert_eq!(request.left_out, 8);
        assert!(describing.iter().all(|(name, value)| request.headers[*name] == *value));
        assert_eq!(request.headers.len(), 4);
    }

    #[test]
    fn more_headers_than_a_server_takes_are_left_out() {
        let many: Headers = (0..70).map(|index| (format!("x-{index}"), "v")).collect();
        assert_eq!(request("", many, &[]).left_out, 6);
        let at = |bytes: usize| [("x", "v".repeat(bytes - 1))].into_iter().collect::<Headers>();
        assert_eq!(request("", at(8 << 10), &[]).left_out, 0);
        assert_eq!(request("", at((8 << 10) + 1), &[]).left_out, 1);
    }

    #[test]
    fn a_content_type_is_the_messages_or_the_subscribers_or_told_from_the_payload() {
        let own = Headers::from_iter([("content-type", "text/csv")]);
        assert_eq!(request("{}", own, &[("Content-Type", "a/b")]).headers[CONTENT_TYPE], "text/csv");
        let type_of =
            |payload, own: &[_]| request(payload, Headers::new(), own).headers[CONTENT_TYPE].clone();
        assert_eq!(type_of("{}", &[("Content-Type", "a/b")]), "a/b");
        assert_eq!(type_of(" {\"a\":1}", &[]), "application/json");
        assert_eq!(type_of("{not json", &[]), "application/octet-stream");
        assert_eq!(type_of("12", &[]), "application/octet-stream");
    }
}
