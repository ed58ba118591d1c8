//! A message of the gateway as a message of AMQP 1.0, and back.
//!
//! The payload is one data section. A tombstone is an empty body (the value null). Headers are application properties,
//! but for the content type, which has a property of its own. A record key that is text is the group id, by which
//! brokers keep messages of one group together; any other key travels as an annotation.

use std::{
    fmt::Write,
    time::{SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use fe2o3_amqp::types::{
    messaging::{
        AmqpValue, ApplicationProperties, Batch, Body, Data, Header, Message as AmqpMessage,
        MessageAnnotations, MessageId, Properties, annotations::OwnedKey,
    },
    primitives::{Binary, OrderedMap, SimpleValue, Symbol, Timestamp, Value},
};
use sluice_message::{Headers, Message, MessageBuilder, Topic};

use crate::json;

/// The header whose value is a property of its own.
const CONTENT_TYPE: &str = "content-type";
/// The annotation that holds a record key which is no text.
const KEY_ANNOTATION: &str = "x-opt-sluice-key";

/// As it goes to the broker.
pub(crate) fn encode(topic: &Topic, message: &Message) -> AmqpMessage<Body<Value>> {
    let headers = message.headers();
    let content_type = headers.get(CONTENT_TYPE).and_then(ascii);
    let has_content_type = content_type.is_some();
    let key = message.key();
    let text_key = key.and_then(|key| std::str::from_utf8(key).ok()).filter(|key| !key.is_empty());
    let time = message.timestamp_ms().or_else(now_ms);
    let properties = Properties {
        to: Some(topic.as_str().to_owned()),
        content_type: content_type.map(Symbol::from),
        creation_time: time.map(Timestamp::from_milliseconds),
        group_id: text_key.map(str::to_owned),
        ..Properties::default()
    };
    let annotations = key.filter(|_| text_key.is_none()).map(|key| {
        let mut annotations = OrderedMap::new();
        annotations
            .insert(OwnedKey::from(Symbol::from(KEY_ANNOTATION)), Value::Binary(Binary::from(key.to_vec())));
        MessageAnnotations(annotations)
    });
    let body = match message.payload_bytes() {
        Some(payload) => Body::Data(Batch::new(vec![Data(Binary::from(payload.to_vec()))])),
        None => Body::Value(AmqpValue(Value::Null)),
    };
    AmqpMessage {
        header: Some(Header { durable: true, ..Header::default() }),
        delivery_annotations: None,
        message_annotations: annotations,
        properties: Some(properties),
        application_properties: encode_headers(headers, has_content_type),
        body,
        footer: None,
    }
}

/// As it came from the broker, without its place.
pub(crate) fn decode(message: AmqpMessage<Body<Value>>) -> MessageBuilder {
    let mut builder = Message::builder();
    if let Some(payload) = payload(message.body) {
        builder = builder.payload(payload);
    }
    let mut headers = Headers::new();
    if let Some(properties) = message.properties {
        builder = decode_properties(builder, properties, &mut headers);
    }
    if let Some(header) = message.header {
        builder = decode_header(builder, &header);
    }
    if let Some(ApplicationProperties(properties)) = message.application_properties {
        for (name, value) in properties {
            headers.append(name, simple(value));
        }
    }
    if let Some(MessageAnnotations(annotations)) = message.message_annotations
        && let Some(Value::Binary(key)) = annotations.get(&OwnedKey::from(Symbol::from(KEY_ANNOTATION)))
    {
        builder = builder.key(key.clone().into_vec());
    }
    builder.headers(headers)
}

/// Names once each, since a map has them once: values of a name that repeats are joined (RFC 9110 section 5.3).
fn encode_headers(headers: &Headers, without_content_type: bool) -> Option<ApplicationProperties> {
    let mut joined: Vec<(&str, Vec<u8>)> = Vec::new();
    let is_left_out = |name: &str| without_content_type && name.eq_ignore_ascii_case(CONTENT_TYPE);
    for header in headers.iter().filter(|header| !is_left_out(&header.name)) {
        match joined.iter_mut().find(|(name, _)| name.eq_ignore_ascii_case(&header.name)) {
            Some((_, value)) => {
                value.extend_from_slice(b", ");
                value.extend_from_slice(&header.value);
            }
            None => joined.push((&header.name, header.value.to_vec())),
        }
    }
    if joined.is_empty() {
        return None;
    }
    let properties: OrderedMap<String, SimpleValue> = joined
        .into_iter()
        .map(|(name, value)| {
            let value = match String::from_utf8(value) {
                Ok(text) => SimpleValue::String(text),
                Err(error) => SimpleValue::Binary(Binary::from(error.into_bytes())),
            };
            (name.to_owned(), value)
        })
        .collect();
    Some(ApplicationProperties(properties))
}

fn decode_properties(
    mut builder: MessageBuilder,
    properties: Properties,
    headers: &mut Headers,
) -> MessageBuilder {
    if let Some(Symbol(content_type)) = properties.content_type {
        builder = builder.metadata("contentType", content_type.as_str().to_owned());
        headers.append(CONTENT_TYPE, content_type);
    }
    if let Some(time) = properties.creation_time {
        builder = builder.timestamp_ms(time.milliseconds());
    }
    if let Some(key) = properties.group_id {
        builder = builder.key(key);
    }
    let facts = [
        ("topic", properties.to),
        ("subject", properties.subject),
        ("replyTo", properties.reply_to),
        ("messageId", properties.message_id.map(id)),
        ("correlationId", properties.correlation_id.map(id)),
        ("contentEncoding", properties.content_encoding.map(|Symbol(text)| text)),
        ("expiryTime", properties.absolute_expiry_time.map(|time| time.milliseconds().to_string())),
    ];
    for (name, value) in facts {
        if let Some(value) = value {
            builder = builder.metadata(name, value);
        }
    }
    builder
}

fn decode_header(mut builder: MessageBuilder, header: &Header) -> MessageBuilder {
    if let Some(ttl) = header.ttl {
        builder = builder.metadata("ttl", ttl.to_string());
    }
    builder
        .metadata("durable", header.durable.to_string())
        .metadata("priority", header.priority.0.to_string())
        .metadata("deliveryCount", header.delivery_count.to_string())
}

/// The bytes of a body: data as it is, text as UTF-8, anything else as JSON.
fn payload(body: Body<Value>) -> Option<Bytes> {
    match body {
        Body::Data(sections) => {
            let mut sections: Vec<Vec<u8>> =
                sections.into_iter().map(|Data(bytes)| bytes.into_vec()).collect();
            let whole = if sections.len() == 1 { sections.remove(0) } else { sections.concat() };
            Some(Bytes::from(whole))
        }
        Body::Value(AmqpValue(Value::Null)) | Body::Empty => None,
        Body::Value(AmqpValue(value)) => Some(bytes_of(value)),
        Body::Sequence(sections) => {
            let values = sections.into_iter().flat_map(|sequence| sequence.0).collect();
            Some(bytes_of(Value::List(values)))
        }
    }
}

fn bytes_of(value: Value) -> Bytes {
    match value {
        Value::Binary(bytes) => Bytes::from(bytes.into_vec()),
        Value::String(text) => Bytes::from(text),
        Value::Symbol(Symbol(text)) => Bytes::from(text),
        other => Bytes::from(json::of(other).to_string()),
    }
}

/// The value of an application property as a header.
fn simple(value: SimpleValue) -> Bytes {
    match value {
        SimpleValue::Null => Bytes::new(),
        SimpleValue::String(text) => Bytes::from(text),
        SimpleValue::Symbol(Symbol(text)) => Bytes::from(text),
        SimpleValue::Binary(bytes) => Bytes::from(bytes.into_vec()),
        SimpleValue::Char(character) => Bytes::from(character.to_string()),
        other => match json::of(other.into()) {
            serde_json::Value::String(text) => Bytes::from(text),
            value => Bytes::from(value.to_string()),
        },
    }
}

fn id(id: MessageId) -> String {
    match id {
        MessageId::Ulong(number) => number.to_string(),
        MessageId::Uuid(uuid) => uuid::Uuid::from_bytes(uuid.into_inner()).to_string(),
        MessageId::Binary(bytes) => bytes.iter().fold(String::new(), |mut text, byte| {
            // Writing to a string cannot fail.
            let _ = write!(text, "{byte:02x}");
            text
        }),
        MessageId::String(text) => text,
    }
}

fn ascii(value: &Bytes) -> Option<String> {
    let text = std::str::from_utf8(value).ok()?;
    text.is_ascii().then(|| text.to_owned())
}

fn now_ms() -> Option<i64> {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).ok()?;
    i64::try_from(since.as_millis()).ok()
}

#[cfg(test)]
mod tests {
    use fe2o3_amqp::types::messaging::AmqpSequence;

    use super::*;

    fn round_trip(message: &Message) -> Message {
        decode(encode(&Topic::from("topic://a/b"), message)).build()
    }

    fn metadata(message: &Message, name: &str) -> Option<String> {
        message.metadata().find(|(known, _)| *known == name).map(|(_, value)| value.into_owned())
    }

    #[test]
    fn every_part_comes_back() {
        let headers: Headers = [("Content-Type", "text/plain"), ("a", "1"), ("b", "2")].into_iter().collect();
        let sent =
            Message::builder().payload("text").key("k").headers(headers).timestamp_ms(1_700_000_000_123);
        let found = round_trip(&sent.build());
        assert_eq!((found.payload(), found.key()), (b"text".as_slice(), Some(&Bytes::from("k"))));
        assert_eq!(found.timestamp_ms(), Some(1_700_000_000_123));
        let header = |name| found.headers().get(name).cloned();
        assert_eq!(header("content-type"), Some(Bytes::from("text/plain")));
        assert_eq!((header("a"), header("b")), (Some("1".into()), Some("2".into())));
        assert_eq!(metadata(&found, "topic").as_deref(), Some("topic://a/b"));
        assert_eq!(metadata(&found, "durable").as_deref(), Some("true"));
    }

    #[test]
    fn a_tombstone_is_not_an_empty_payload() {
        assert_eq!(round_trip(&Message::builder().key("gone").build()).payload_bytes(), None);
        assert_eq!(round_trip(&Message::builder().payload("").build()).payload_bytes(), Some(&Bytes::new()));
    }

    #[test]
    fn any_key_comes_back() {
        for key in [b"text".as_slice(), b"", b"\xff\x00"] {
            let sent = Message::builder().payload("x").key(key.to_vec()).build();
            assert_eq!(round_trip(&sent).key().map(|found| &found[..]), Some(key));
        }
    }

    #[test]
    fn headers_that_repeat_are_joined_and_need_not_be_text() {
        let headers: Headers = [
            ("Accept", b"one".to_vec()),
            ("raw", vec![0xff]),
            ("accept", b"two".to_vec()),
            (CONTENT_TYPE, vec![0xfe]),
        ]
        .into_iter()
        .collect();
        let found = round_trip(&Message::builder().payload("x").headers(headers).build());
        assert_eq!(found.headers().get_all("accept").collect::<Vec<_>>(), ["one, two"]);
        assert_eq!(found.headers().get("raw"), Some(&Bytes::from_static(&[0xff])));
        assert_eq!(found.headers().get(CONTENT_TYPE), Some(&Bytes::from_static(&[0xfe])));
    }

    #[test]
    fn every_kind_of_body_is_read() {
        let body = |body| payload(body).map(|bytes| String::from_utf8(bytes.to_vec()).unwrap());
        let value = |value| body(Body::Value(AmqpValue(value)));
        assert_eq!(value(Value::from("text".to_owned())).as_deref(), Some("text"));
        assert_eq!(value(Value::Binary(Binary::from(b"bytes".to_vec()))).as_deref(), Some("bytes"));
        assert_eq!(value(Value::Long(-7)).as_deref(), Some("-7"));
        assert_eq!(value(Value::Null), None);
        let sections = ["one ", "two"].map(|text| Data(Binary::from(text.as_bytes().to_vec())));
        assert_eq!(body(Body::Data(Batch::new(sections.to_vec()))).as_deref(), Some("one two"));
        let sequence =
            |values: Vec<i32>| AmqpSequence(values.into_iter().map(Value::Int).collect::<Vec<_>>());
        let sections = vec![sequence(vec![1, 2]), sequence(vec![3])];
        assert_eq!(body(Body::Sequence(Batch::new(sections))).as_deref(), Some("[1,2,3]"));
    }

    #[test]
    fn what_the_broker_knows_is_told() {
        let properties = Properties {
            message_id: Some(MessageId::Binary(Binary::from(vec![0x01, 0xab]))),
            correlation_id: Some(MessageId::Ulong(7)),
            reply_to: Some("queue://answers".to_owned()),
            subject: Some("about".to_owned()),
            ..Properties::default()
        };
        let header = Header { ttl: Some(5000), delivery_count: 2, ..Header::default() };
        let mut application = OrderedMap::new();
        application.insert("number".to_owned(), SimpleValue::Int(5));
        application.insert("flag".to_owned(), SimpleValue::Bool(true));
        let found = decode(AmqpMessage {
            header: Some(header),
            delivery_annotations: None,
            message_annotations: None,
            properties: Some(properties),
            application_properties: Some(ApplicationProperties(application)),
            body: Body::Empty,
            footer: None,
        })
        .build();
        let expected = [
            ("messageId", "01ab"),
            ("correlationId", "7"),
            ("replyTo", "queue://answers"),
            ("subject", "about"),
            ("ttl", "5000"),
            ("deliveryCount", "2"),
        ];
        for (name, value) in expected {
            assert_eq!(metadata(&found, name).as_deref(), Some(value), "{name}");
        }
        let header = |name| found.headers().get(name).map(|value| &value[..]);
        assert_eq!((header("number"), header("flag")), (Some(b"5".as_slice()), Some(b"true".as_slice())));
    }
}
