//! A message as the bytes of a Server-Sent Event.
//!
//! Source: WHATWG HTML, "Server-sent events", sections "Parsing an event stream" and "Interpreting an event
//! stream". An event cannot hold a line break within a field, so content with several lines becomes several
//! `data:` fields, which the client joins by a line feed again.

use std::borrow::Cow;

use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::{BufMut, Bytes, BytesMut};
use serde_json::json;
use sluice_api::SseConfig;
use sluice_message::{FrameKind, Message};

/// A comment, sent when nothing else was for a while.
pub(super) const HEARTBEAT: &[u8] = b":\n\n";

/// The first block of a stream: how many milliseconds the client waits before it reconnects and, where positions are
/// told, where it begins. So it can come back behind it before it was sent any message: an id counts without
/// an event, too (WHATWG HTML, "dispatch the event", step 1).
pub(super) fn begin(milliseconds: u64, position: Option<&str>) -> Bytes {
    let id = position.map(|position| format!("id: {position}\n")).unwrap_or_default();
    format!("retry: {milliseconds}\n{id}\n").into()
}

/// The goodbye of a stream that has to be opened anew, after so many milliseconds.
pub(super) fn goodbye(milliseconds: u64) -> Bytes {
    format!("retry: {milliseconds}\n\nevent: goaway\ndata: Stopping, please reconnect\n\n").into()
}

/// Tells the client that it was too slow for so many messages.
pub(super) fn skipped(count: u64) -> Bytes {
    format!("event: skipped\ndata: {{\"messages\":{count}}}\n\n").into()
}

/// Tells the client that so many messages are missing, or nobody can say how many. With the position behind the
/// gap as its id, a client that reconnects does not hear of the gap again.
pub(super) fn gap(count: Option<u64>, position: Option<&str>) -> Bytes {
    let mut data = json!({ "messages": count });
    let mut frame = BytesMut::new();
    if let Some(position) = position {
        data["position"] = position.into();
        put_field(&mut frame, b"id: ", position);
    }
    frame.put_slice(b"event: gap\n");
    put_field(&mut frame, b"data: ", &data.to_string());
    frame.put_u8(b'\n');
    frame.freeze()
}

/// Tells the client that its stream ends because it is so many messages behind, and where it can go on.
pub(super) fn disconnected(behind: u64, position: Option<&str>) -> Bytes {
    let mut data = json!({ "reason": "slow", "messages": behind });
    if let Some(position) = position {
        data["position"] = position.into();
    }
    format!("event: disconnected\ndata: {data}\n\n").into()
}

/// Tells the client why its stream ends.
pub(super) fn error(text: &str) -> Bytes {
    let mut frame = BytesMut::from("event: error\n");
    put_data(&mut frame, text);
    frame.put_u8(b'\n');
    frame.freeze()
}

/// The event of a message, rendered once for all clients with the same settings. Its id is the message's position
/// where the API tells positions, else the one that the broker gave it.
pub(super) fn message<'a>(message: &'a Message, settings: &SseConfig, tells_positions: bool) -> &'a Bytes {
    let kind = 0x5e00
        | u16::from(settings.metadata_as_comment)
        | u16::from(settings.headers_as_comment) << 1
        | u16::from(tells_positions) << 2;
    message.frame(FrameKind(kind), || {
        let id = if tells_positions { message.position().map(|text| &**text) } else { message.id() };
        render(message, settings, id)
    })
}

fn render(message: &Message, settings: &SseConfig, id: Option<&str>) -> Bytes {
    let mut frame = BytesMut::with_capacity(message.payload().len() + 64);
    // An id with these characters would be read as something else or ignored.
    if let Some(id) = id.filter(|id| !id.contains(['\0', '\n', '\r'])) {
        put_field(&mut frame, b"id: ", id);
    }
    // The stream is UTF-8. Content that is not goes out in base64 under another event name, so that no
    // client takes it for text; what has no content at all has a name of its own, too.
    match std::str::from_utf8(message.payload()) {
        _ if message.payload_bytes().is_none() => {
            frame.put_slice(b"event: tombstone\n");
            put_data(&mut frame, "");
        }
        Ok(text) => {
            frame.put_slice(b"event: message\n");
            put_data(&mut frame, text);
        }
        Err(_) => {
            frame.put_slice(b"event: binary\n");
            put_data(&mut frame, &BASE64_STANDARD.encode(message.payload()));
        }
    }
    if settings.headers_as_comment {
        for header in message.headers() {
            put_comment(&mut frame, &header.name, &String::from_utf8_lossy(&header.value));
        }
    }
    if settings.metadata_as_comment {
        for (name, value) in message.metadata() {
            put_comment(&mut frame, name, &value);
        }
    }
    frame.put_u8(b'\n');
    frame.freeze()
}

/// `data:` fields, one a line. CR LF, LF and CR each end a line, as they do for the client's parser.
fn put_data(frame: &mut BytesMut, text: &str) {
    let mut rest = text;
    loop {
        let end = rest.find(['\n', '\r']);
        put_field(frame, b"data: ", &rest[..end.unwrap_or(rest.len())]);
        let Some(end) = end else { return };
        let line_break = if rest[end..].starts_with("\r\n") { 2 } else { 1 };
        rest = &rest[end + line_break..];
    }
}

fn put_field(frame: &mut BytesMut, name: &[u8], value: &str) {
    frame.put_slice(name);
    frame.put_slice(value.as_bytes());
    frame.put_u8(b'\n');
}

/// A comment line; a line break inside it becomes a space, since what follows one would be a field.
fn put_comment(frame: &mut BytesMut, name: &str, value: &str) {
    let one_line = |text: &'_ str| -> Cow<'_, str> {
        if text.contains(['\n', '\r']) {
            text.replace(['\n', '\r'], " ").into()
        } else {
            text.to_owned().into()
        }
    };
    frame.put_u8(b':');
    frame.put_slice(one_line(name).as_bytes());
    frame.put_slice(b": ");
    frame.put_slice(one_line(value).as_bytes());
    frame.put_u8(b'\n');
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rendered(message: &Message, metadata: bool, headers: bool) -> String {
        let settings =
            SseConfig { metadata_as_comment: metadata, headers_as_comment: headers, ..SseConfig::default() };
        String::from_utf8(super::message(message, &settings, false).to_vec()).unwrap()
    }

    fn text(content: &str) -> String {
        rendered(&Message::builder().payload(content.to_owned()).build(), false, false)
    }

    #[test]
    fn a_tombstone_is_no_empty_message() {
        let written = |message: Message| rendered(&message, false, false);
        assert!(written(Message::builder().key("k").build()).starts_with("event: tombstone\ndata: \n"));
        assert!(written(Message::builder().payload("").build()).starts_with("event: message\ndata: \n"));
    }

    #[test]
    fn every_line_of_the_content_is_a_data_field() {
        assert_eq!(text("a\nb\r\nc\rd"), "event: message\ndata: a\ndata: b\ndata: c\ndata: d\n\n");
        assert_eq!(text("a\n"), "event: message\ndata: a\ndata: \n\n");
        assert_eq!(text(""), "event: message\ndata: \n\n");
        assert_eq!(text(" lead"), "event: message\ndata:  lead\n\n");
    }

    #[test]
    fn an_id_comes_first_and_one_with_a_line_break_not_at_all() {
        let with_id = |id: &str| rendered(&Message::builder().payload("x").id(id).build(), false, false);
        assert_eq!(with_id("7"), "id: 7\nevent: message\ndata: x\n\n");
        assert_eq!(with_id("7\ndata: y"), "event: message\ndata: x\n\n");
    }

    #[test]
    fn a_position_is_the_id_where_positions_are_told_and_not_seen_elsewhere() {
        let placed = Message::builder().payload("x").id("7").build().with_position("dEAwIzE=".into());
        let frame = |tells_positions| message(&placed, &SseConfig::default(), tells_positions).clone();
        assert_eq!(frame(true), "id: dEAwIzE=\nevent: message\ndata: x\n\n");
        assert_eq!(frame(false), "id: 7\nevent: message\ndata: x\n\n");
    }

    #[test]
    fn a_gap_says_how_much_is_missing_and_where_it_goes_on() {
        assert_eq!(gap(None, None), "event: gap\ndata: {\"messages\":null}\n\n");
        let told = "id: cA==\nevent: gap\ndata: {\"messages\":3,\"position\":\"cA==\"}\n\n";
        assert_eq!(gap(Some(3), Some("cA==")), told);
    }

    #[test]
    fn content_that_is_not_utf8_is_a_binary_event_in_base64() {
        let message = Message::builder().payload(vec![0xff, 0x00]).build();
        assert_eq!(rendered(&message, false, false), "event: binary\ndata: /wA=\n\n");
    }

    #[test]
    fn headers_and_metadata_are_comments_that_cannot_break_out() {
        let headers = [("x-a", "1\ndata: forged")].into_iter().collect();
        let message = Message::builder().payload("x").headers(headers).key("k").build();
        assert_eq!(rendered(&message, false, true), "event: message\ndata: x\n:x-a: 1 data: forged\n\n");
        assert_eq!(rendered(&message, true, false), "event: message\ndata: x\n:key: k\n\n");
    }

    /// The client's side as the standard words it, for the fields that we send.
    fn parse(frame: &str) -> (String, String) {
        let (mut event, mut data) = (String::new(), String::new());
        for line in frame.replace("\r\n", "\n").split(['\n', '\r']) {
            if let Some(value) = line.strip_prefix("data:") {
                data.push_str(value.strip_prefix(' ').unwrap_or(value));
                data.push('\n');
            } else if let Some(value) = line.strip_prefix("event:") {
                event = value.strip_prefix(' ').unwrap_or(value).to_owned();
            } else {
                assert!(line.is_empty(), "an unexpected line: {line:?}");
            }
        }
        data.pop();
        (event, data)
    }

    proptest! {
        #[test]
        fn a_client_reads_back_the_content_with_line_feeds(content in "\\PC*([\r\n]{0,3}\\PC*){0,4}") {
            let (event, data) = parse(&text(&content));
            prop_assert_eq!(event, "message");
            prop_assert_eq!(data, content.replace("\r\n", "\n").replace('\r', "\n"));
        }
    }
}
