//! A message as a WebSocket frame, and the kind of frame that it goes out in.

use bytes::Bytes;
use sluice_api::FrameFormat;
use sluice_message::{FrameKind, Headers, Message};
use sluice_websocket::{Deflate, Kind, encode};

use super::document::document;

pub(super) const CONTENT_TYPE: &str = "Content-Type";

/// The frame of a message, rendered once for all clients of the same format and compression.
pub(super) fn message(message: &Message, format: FrameFormat, deflate: Option<Deflate>) -> &Bytes {
    let format_number = match format {
        FrameFormat::Binary => 0,
        FrameFormat::Text => 1,
        FrameFormat::Auto => 2,
        FrameFormat::Json => 3,
    };
    let window_bits = deflate.map_or(0, |deflate| u16::from(deflate.server_window_bits));
    let kind = FrameKind(0x3500 | format_number << 4 | window_bits);
    message.frame(kind, || match kind_of(message, format) {
        None => encoded(Kind::Text, document(message).as_bytes(), deflate),
        Some(kind) => encoded(kind, message.payload(), deflate),
    })
}

fn encoded(kind: Kind, content: &[u8], deflate: Option<Deflate>) -> Bytes {
    match deflate {
        None => encode::message(kind, content),
        Some(deflate) => encode::compressed(kind, content, deflate),
    }
}

/// The message that is the content of a frame. With `marked` it says in which kind it came, so that `auto` sends it in
/// such a frame again.
pub(super) fn read(kind: Kind, payload: Bytes, marked: bool) -> Message {
    let message = Message::builder().payload(payload);
    match marked {
        true => message.headers(Headers::from_iter([(CONTENT_TYPE, content_type(kind))])).build(),
        false => message.build(),
    }
}

/// The content type by which `auto` sends a message in a frame of this kind.
pub(super) const fn content_type(kind: Kind) -> &'static str {
    match kind {
        Kind::Text => "text/plain; charset=utf-8",
        Kind::Binary => "application/octet-stream",
    }
}

/// The kind of frame that a message's content goes out in; `None` where a document goes in its place.
fn kind_of(message: &Message, format: FrameFormat) -> Option<Kind> {
    let wanted = match format {
        FrameFormat::Binary => false,
        FrameFormat::Text => true,
        FrameFormat::Auto => message.headers().get(CONTENT_TYPE).is_none_or(|value| names_text(value)),
        FrameFormat::Json => return None,
    };
    // A text frame that is not UTF-8 would make the client close the connection.
    let is_text = wanted && std::str::from_utf8(message.payload()).is_ok();
    Some(if is_text { Kind::Text } else { Kind::Binary })
}

/// Whether a media type is one that people can read.
fn names_text(content_type: &[u8]) -> bool {
    let content_type = String::from_utf8_lossy(content_type).to_ascii_lowercase();
    let name = content_type.split(';').next().unwrap_or_default().trim();
    name.starts_with("text/")
        || matches!(name, "application/json" | "application/xml")
        || name.ends_with("+json")
        || name.ends_with("+xml")
}

#[cfg(test)]
mod tests {
    use sluice_websocket::agree;

    use super::*;

    fn sent_as(payload: &'static [u8], content_type: Option<&'static str>, format: FrameFormat) -> Kind {
        let headers = content_type.map(|value| ("content-type", value));
        let made = Message::builder().payload(payload).headers(headers.into_iter().collect()).build();
        match message(&made, format, None)[0] {
            0x81 => Kind::Text,
            0x82 => Kind::Binary,
            other => panic!("{other:x}"),
        }
    }

    #[test]
    fn the_api_decides_the_kind_of_frame_and_text_must_be_utf8() {
        assert_eq!(sent_as(b"x", None, FrameFormat::Binary), Kind::Binary);
        assert_eq!(sent_as(b"x", None, FrameFormat::Text), Kind::Text);
        assert_eq!(sent_as(b"\xff", None, FrameFormat::Text), Kind::Binary);
    }

    #[test]
    fn auto_goes_by_the_content_type() {
        for (content_type, kind) in [
            (None, Kind::Text),
            (Some("text/csv"), Kind::Text),
            (Some("Application/JSON; charset=utf-8"), Kind::Text),
            (Some("application/cloudevents+json"), Kind::Text),
            (Some("image/svg+xml"), Kind::Text),
            (Some("application/octet-stream"), Kind::Binary),
            (Some("image/png"), Kind::Binary),
            (Some(""), Kind::Binary),
        ] {
            assert_eq!(sent_as(b"x", content_type, FrameFormat::Auto), kind, "{content_type:?}");
        }
        assert_eq!(sent_as(b"\xff", Some("text/plain"), FrameFormat::Auto), Kind::Binary);
    }

    #[test]
    fn what_came_in_a_frame_goes_out_in_one_of_its_kind() {
        for kind in [Kind::Text, Kind::Binary] {
            let made = read(kind, Bytes::from("x"), true);
            assert_eq!(kind_of(&made, FrameFormat::Auto), Some(kind));
            assert!(read(kind, Bytes::from("x"), false).headers().is_empty());
        }
    }

    #[test]
    fn a_document_is_rendered_once_for_clients_of_the_same_settings() {
        let made = Message::builder().payload("x".repeat(1000)).build();
        let [plain, again] = [None, None].map(|deflate| message(&made, FrameFormat::Json, deflate));
        assert_eq!((plain.as_ptr(), plain[0]), (again.as_ptr(), 0x81));
        let deflate = agree(["permessage-deflate"]);
        let compressed = message(&made, FrameFormat::Json, deflate);
        assert_eq!(compressed.as_ptr(), message(&made.clone(), FrameFormat::Json, deflate).as_ptr());
        assert!(compressed[0] == 0xc1 && compressed.len() < 200);
        assert_eq!(
            message(&made, FrameFormat::Text, None)[2..],
            *[&1000_u16.to_be_bytes()[..], made.payload()].concat()
        );
    }
}
