//! A message as its client sends it in a JSON document: the document of `frames: json` without what only a broker
//! knows, and with an id by which the client is told what became of it.
//!
//! It is read strictly, since a member that is not understood would be lost without anyone noticing.

use std::fmt;

use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;
use http::{HeaderName, StatusCode};
use serde::{
    Deserialize, Deserializer,
    de::{Error as _, MapAccess, SeqAccess, Visitor},
};
use sluice_api::is_withheld;
use sluice_message::{Headers, Message};
use sluice_websocket::Kind;

use super::frame;
use crate::Refusal;

/// The longest id, in bytes: it is sent back with each acknowledgement.
const MAX_ID: usize = 256;

/// The most headers of one message, each value counted.
const MAX_HEADERS: usize = 64;

/// What their names and values may take together, in bytes.
const MAX_HEADER_BYTES: usize = 16 << 10;

/// A client's document.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Envelope {
    #[serde(default)]
    id: Option<String>,
    #[serde(default)]
    key: Option<String>,
    /// Required, since null says that there is none.
    #[serde(deserialize_with = "nullable")]
    content: Option<String>,
    #[serde(default)]
    encoding: Option<Encoding>,
    #[serde(default)]
    headers: Option<Named>,
    #[serde(default)]
    binary: Option<Binary>,
}

#[derive(Deserialize)]
enum Encoding {
    #[serde(rename = "base64")]
    Base64,
}

/// What is not UTF-8, in base64.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Binary {
    #[serde(default)]
    key: Option<String>,
    #[serde(default)]
    headers: Option<Named>,
}

/// Headers: under each name one value, or several in their order.
struct Named(Vec<(String, String)>);

/// A message and the id that its client knows it by.
pub(super) struct Sent {
    pub(super) message: Message,
    pub(super) id: Option<String>,
}

/// The message that a client has sent in a frame. With `marked` it says in which kind of frame its content belongs,
/// where its client does not.
///
/// # Errors
/// 400 for a frame that is no such document, with a header that no client may set, or with too many.
pub(super) fn read(kind: Kind, payload: &[u8], marked: bool) -> Result<Sent, Refusal> {
    if kind != Kind::Text {
        return Err(wrong("it must be a text frame"));
    }
    let envelope: Envelope = serde_json::from_slice(payload).map_err(|error| wrong(&error.to_string()))?;
    if envelope.id.as_ref().is_some_and(|id| id.len() > MAX_ID) {
        return Err(wrong(&format!("'id' has more than {MAX_ID} bytes")));
    }
    let is_text = envelope.encoding.is_none();
    let content = match (envelope.content, is_text) {
        (Some(content), true) => Some(Bytes::from(content)),
        (Some(content), false) => Some(unpacked("content", &content)?),
        (None, true) => None,
        (None, false) => return Err(wrong("'encoding' is there without content")),
    };
    let binary = envelope.binary.unwrap_or(Binary { key: None, headers: None });
    let key = either("key", envelope.key.map(Bytes::from), packed_key(binary.key)?)?;
    let headers = either(
        "headers",
        headers(envelope.headers, |text| Ok(text.into()))?,
        headers(binary.headers, |text| unpacked("binary.headers", &text))?,
    )?;
    let mut headers = headers.unwrap_or_default();
    if marked && headers.get(frame::CONTENT_TYPE).is_none() {
        headers.append(
            frame::CONTENT_TYPE,
            frame::content_type(if is_text { Kind::Text } else { Kind::Binary }),
        );
    }
    let mut message = Message::builder().headers(headers);
    if let Some(content) = content {
        message = message.payload(content);
    }
    if let Some(key) = key {
        message = message.key(key);
    }
    Ok(Sent { message: message.build(), id: envelope.id })
}

/// The one of the two that is there.
fn either<T>(name: &str, plain: Option<T>, binary: Option<T>) -> Result<Option<T>, Refusal> {
    match (plain, binary) {
        (Some(_), Some(_)) => Err(wrong(&format!("'{name}' is there twice, once in 'binary'"))),
        (plain, binary) => Ok(plain.or(binary)),
    }
}

fn packed_key(key: Option<String>) -> Result<Option<Bytes>, Refusal> {
    key.map(|key| unpacked("binary.key", &key)).transpose()
}

fn headers(
    named: Option<Named>,
    value: impl Fn(String) -> Result<Bytes, Refusal>,
) -> Result<Option<Headers>, Refusal> {
    let Some(Named(named)) = named else { return Ok(None) };
    let mut headers = Headers::new();
    for (name, text) in named {
        let is_name = HeaderName::from_bytes(name.as_bytes()).is_ok();
        if !is_name || is_withheld(&name.to_ascii_lowercase()) {
            return Err(wrong("a header has a name that no client may set"));
        }
        headers.append(name, value(text)?);
    }
    if headers.size() > MAX_HEADER_BYTES {
        return Err(wrong(&format!("its headers have more than {MAX_HEADER_BYTES} bytes")));
    }
    Ok(Some(headers))
}

fn unpacked(name: &str, text: &str) -> Result<Bytes, Refusal> {
    BASE64_STANDARD.decode(text).map(Bytes::from).map_err(|_| wrong(&format!("'{name}' is no base64")))
}

fn wrong(why: &str) -> Refusal {
    let text = format!("The message is not in a document as this API takes it: {why}.");
    Refusal::new(StatusCode::BAD_REQUEST, "websocket.envelope", text)
}

fn nullable<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    Option::deserialize(deserializer)
}

impl<'de> Deserialize<'de> for Named {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(NamedVisitor)
    }
}

/// Reads headers, and stops where there are too many: a list of nothing takes more room than its text.
struct NamedVisitor;

impl<'de> Visitor<'de> for NamedVisitor {
    type Value = Named;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object of headers")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Named, A::Error> {
        let mut named = Vec::new();
        while let Some(name) = entries.next_key::<String>()? {
            let Values(values) = entries.next_value()?;
            named.extend(values.into_iter().map(|value| (name.clone(), value)));
            if named.len() > MAX_HEADERS {
                return Err(A::Error::custom(too_many()));
            }
        }
        Ok(Named(named))
    }
}

/// The values of one header.
struct Values(Vec<String>);

impl<'de> Deserialize<'de> for Values {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValuesVisitor)
    }
}

struct ValuesVisitor;

impl<'de> Visitor<'de> for ValuesVisitor {
    type Value = Values;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a text or a list of texts")
    }

    fn visit_str<E>(self, value: &str) -> Result<Values, E> {
        Ok(Values(vec![value.to_owned()]))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Values, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = items.next_element()? {
            if values.len() == MAX_HEADERS {
                return Err(A::Error::custom(too_many()));
            }
            values.push(value);
        }
        Ok(Values(values))
    }
}

fn too_many() -> String {
    format!("there are more than {MAX_HEADERS} headers")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::{super::document::document, *};

    fn read_text(text: &str) -> Result<Sent, Refusal> {
        read(Kind::Text, text.as_bytes(), false)
    }

    fn sent(document: &Value) -> Message {
        read_text(&document.to_string()).unwrap().message
    }

    #[test]
    fn a_document_has_content_and_may_have_key_headers_and_an_id() {
        let text = r#"{"id":"7","key":"k","content":"ä","headers":{"X-A":["1","2"],"x-b":"3"}}"#;
        let Sent { message, id } = read_text(text).unwrap();
        assert_eq!((id.as_deref(), message.payload()), (Some("7"), "ä".as_bytes()));
        assert_eq!(message.key().unwrap(), "k");
        assert_eq!(*message.headers(), Headers::from_iter([("X-A", "1"), ("X-A", "2"), ("x-b", "3")]));
        let least = sent(&json!({ "content": "" }));
        assert_eq!((least.payload_bytes(), least.key()), (Some(&Bytes::new()), None));
        assert_eq!(sent(&json!({ "content": null })).payload_bytes(), None, "a tombstone");
    }

    #[test]
    fn what_is_no_text_comes_in_base64() {
        let message = sent(&json!({
            "content": "/w==", "encoding": "base64", "binary": { "key": "/Q==", "headers": { "X-A": "/g==" } },
        }));
        assert_eq!((message.payload(), &message.key().unwrap()[..]), (&b"\xff"[..], &b"\xfd"[..]));
        assert_eq!(&message.headers().get("x-a").unwrap()[..], b"\xfe");
    }

    #[test]
    fn a_document_that_is_not_understood_is_refused() {
        for text in [
            "",
            "x",
            "null",
            "[]",
            "{}",
            "\"content\"",
            r#"{"content":1}"#,
            r#"{"content":{}}"#,
            r#"{"content":"x","colour":"red"}"#,
            r#"{"content":"x","metadata":{"topic":"t"}}"#,
            r#"{"content":"x","content":"y"}"#,
            r#"{"content":"x"} {"content":"y"}"#,
            r#"{"content":"x","encoding":"hex"}"#,
            r#"{"content":"?","encoding":"base64"}"#,
            r#"{"content":null,"encoding":"base64"}"#,
            r#"{"content":"x","key":1}"#,
            r#"{"content":"x","key":"k","binary":{"key":"aw=="}}"#,
            r#"{"content":"x","headers":{},"binary":{"headers":{}}}"#,
            r#"{"content":"x","binary":{"key":"k"}}"#,
            r#"{"content":"x","binary":{"content":"aw=="}}"#,
            r#"{"content":"x","headers":[]}"#,
            r#"{"content":"x","headers":{"a":1}}"#,
            r#"{"content":"x","headers":{"a":[["1"]]}}"#,
            r#"{"content":"x","headers":{"a b":"1"}}"#,
            r#"{"content":"x","headers":{"":"1"}}"#,
        ] {
            let refusal = read_text(text).err().unwrap_or_else(|| panic!("{text} was taken"));
            assert_eq!((refusal.status.as_u16(), refusal.code), (400, "websocket.envelope"));
        }
        assert!(read(Kind::Binary, br#"{"content":"x"}"#, false).is_err(), "a binary frame");
    }

    #[test]
    fn no_client_sets_the_headers_of_the_gateway_or_names_a_credential() {
        for name in ["Authorization", "x-api-key", "cookie", "webhook-signature", "sluice-dlq-code", "via"] {
            assert!(
                read_text(&json!({ "content": "x", "headers": { name: "1" } }).to_string()).is_err(),
                "{name}"
            );
        }
    }

    #[test]
    fn headers_and_ids_are_taken_up_to_their_bounds() {
        let taken = |document: Value| read_text(&document.to_string()).is_ok();
        let many = |count| json!({ "content": "x", "headers": { "a": vec![""; count] } });
        assert!(taken(many(MAX_HEADERS)) && !taken(many(MAX_HEADERS + 1)));
        let spread = |count: usize| {
            let headers: serde_json::Map<_, _> = (0..count).map(|n| (format!("h{n}"), json!(""))).collect();
            json!({ "content": "x", "headers": headers })
        };
        assert!(taken(spread(MAX_HEADERS)) && !taken(spread(MAX_HEADERS + 1)));
        let large = |bytes| json!({ "content": "x", "headers": { "a": "x".repeat(bytes - 1) } });
        assert!(taken(large(MAX_HEADER_BYTES)) && !taken(large(MAX_HEADER_BYTES + 1)));
        let named = |bytes| json!({ "content": "x", "id": "x".repeat(bytes) });
        assert!(taken(named(MAX_ID)) && !taken(named(MAX_ID + 1)));
    }

    #[test]
    fn a_message_says_in_which_kind_of_frame_it_belongs_unless_its_client_does() {
        let marked = |document: Value| {
            let sent = read(Kind::Text, document.to_string().as_bytes(), true).unwrap();
            let values: Vec<_> = sent.message.headers().get_all("content-type").cloned().collect();
            values
        };
        assert_eq!(marked(json!({ "content": "x" })), ["text/plain; charset=utf-8"]);
        assert_eq!(marked(json!({ "content": "eA==", "encoding": "base64" })), ["application/octet-stream"]);
        let own = json!({ "content": "x", "headers": { "content-type": "text/csv" } });
        assert_eq!(marked(own), ["text/csv"]);
    }

    fn value() -> impl Strategy<Value = Vec<u8>> {
        prop_oneof![prop::collection::vec(any::<u8>(), 0..8), "\\PC{0,8}".prop_map(String::into_bytes)]
    }

    proptest! {
        /// Without its metadata, which only a broker can know, and without headers in a second form.
        #[test]
        fn what_goes_out_in_a_document_comes_in_by_the_same_one(
            content in prop::option::of(value()),
            key in prop::option::of(value()),
            headers in prop::collection::btree_map("x-[a-z]{1,4}", prop::collection::vec(value(), 1..3), 0..4),
        ) {
            let headers = headers.into_iter().flat_map(|(name, values)| {
                values.into_iter().map(move |value| (name.clone(), value))
            });
            let mut message = Message::builder().headers(headers.collect());
            if let Some(content) = content {
                message = message.payload(content);
            }
            if let Some(key) = key {
                message = message.key(key);
            }
            let message = message.build();
            let mut out: Value = serde_json::from_str(&document(&message)).unwrap();
            let members = out.as_object_mut().unwrap();
            members.remove("metadata");
            if members.get("binary").is_some_and(|binary| binary.get("headers").is_some()) {
                members.remove("headers");
            }
            let back = sent(&out);
            prop_assert_eq!(back.payload_bytes(), message.payload_bytes());
            prop_assert_eq!(back.key(), message.key());
            prop_assert_eq!(back.headers(), message.headers());
        }

        #[test]
        fn no_frame_makes_it_panic(text in "[{}\\[\\]\":,a-z]{0,64}|\\PC{0,64}") {
            let _any = read_text(&text);
        }
    }
}
