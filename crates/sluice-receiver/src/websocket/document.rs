//! A message as a JSON document, for the frame format `json`: as `http-get` writes its items, and whole.
//!
//! Text stands as it is, everything else in base64: content with a mark, a key in `binary`, and headers there once more,
//! since beside it they are text for people. Clients send such documents, too; see [`envelope`](super::envelope).

use base64::{Engine, prelude::BASE64_STANDARD};
use serde_json::{Map, Value, json};
use sluice_message::Message;

/// The document of a message.
pub(super) fn document(message: &Message) -> String {
    let mut document = Map::new();
    let mut put = |name: &str, value: Value| drop(document.insert(name.to_owned(), value));
    if let Some(position) = message.position() {
        put("id", Value::from(&**position));
    }
    match message.payload_bytes().map(|payload| (std::str::from_utf8(payload), payload)) {
        None => put("content", Value::Null),
        Some((Ok(text), _)) => put("content", text.into()),
        Some((Err(_), payload)) => {
            put("content", BASE64_STANDARD.encode(payload).into());
            put("encoding", "base64".into());
        }
    }
    if let Some(key) = message.key().and_then(|key| std::str::from_utf8(key).ok()) {
        put("key", key.into());
    }
    put("headers", headers(message, |value| String::from_utf8_lossy(value).into_owned()));
    put("metadata", message.metadata().map(|(name, value)| (name.to_owned(), Value::from(value))).collect());
    let binary = binary(message);
    if !binary.is_empty() {
        put("binary", binary.into());
    }
    Value::from(document).to_string()
}

/// What of key and headers is not UTF-8, in base64.
fn binary(message: &Message) -> Map<String, Value> {
    let mut binary = Map::new();
    let key = message.key().filter(|key| std::str::from_utf8(key).is_err());
    binary.extend(key.map(|key| ("key".to_owned(), BASE64_STANDARD.encode(key).into())));
    if message.headers().iter().any(|header| std::str::from_utf8(&header.value).is_err()) {
        binary.insert("headers".to_owned(), headers(message, |value| BASE64_STANDARD.encode(value)));
    }
    binary
}

/// All headers: under each name its values in their order.
fn headers(message: &Message, text: impl Fn(&[u8]) -> String) -> Value {
    let mut headers = Map::new();
    for header in message.headers() {
        let values = headers.entry(&*header.name).or_insert_with(|| json!([]));
        if let Value::Array(values) = values {
            values.push(text(&header.value).into());
        }
    }
    headers.into()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use sluice_message::{Headers, MessageBuilder, Offset, Partition, Place, Topic};

    use super::*;

    fn read(message: MessageBuilder) -> Value {
        serde_json::from_str(&document(&message.build())).unwrap()
    }

    #[test]
    fn text_stands_as_it_is_with_headers_and_key() {
        let place = Place { topic: Topic::from("t"), partition: Partition(1), offset: Offset(2) };
        let headers = Headers::from_iter([("X-A", "1"), ("X-A", "ä"), ("X-B", "")]);
        let message = Message::builder().payload("a\n\"b\"").headers(headers).key("k").place(place);
        let whole = document(&message.build().with_position("cA==".into()));
        let expected = json!({
            "id": "cA==",
            "key": "k",
            "content": "a\n\"b\"",
            "headers": { "X-A": ["1", "ä"], "X-B": [""] },
            "metadata": { "key": "k", "topic": "t", "partition": "1", "offset": "2" },
        });
        assert_eq!(serde_json::from_str::<Value>(&whole).unwrap(), expected);
    }

    #[test]
    fn what_is_no_text_is_in_base64() {
        let headers = Headers::from_iter([("X-A", Bytes::from("1")), ("X-B", Bytes::from_static(b"\xfe"))]);
        let message = Message::builder().payload(&b"\xff"[..]).headers(headers).key(&b"\xfd"[..]);
        let expected = json!({
            "content": "/w==",
            "encoding": "base64",
            "headers": { "X-A": ["1"], "X-B": ["\u{fffd}"] },
            "metadata": { "key": "\u{fffd}" },
            "binary": { "key": "/Q==", "headers": { "X-A": ["MQ=="], "X-B": ["/g=="] } },
        });
        assert_eq!(read(message), expected);
    }

    #[test]
    fn a_tombstone_has_no_content_and_an_empty_message_has_empty_content() {
        let rest = json!({ "headers": {}, "metadata": {} });
        for (message, content) in
            [(Message::builder(), Value::Null), (Message::builder().payload(""), "".into())]
        {
            let mut expected = rest.clone();
            expected["content"] = content;
            assert_eq!(read(message), expected);
        }
    }
}
