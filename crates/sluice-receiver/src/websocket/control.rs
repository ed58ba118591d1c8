//! What is told between the messages: in the frame format `json`, and of the client's own messages where it is to
//! hear what became of them. Each is a text frame with an object of one member, while a message's object always has
//! `content`.

use bytes::Bytes;
use serde_json::{Value, json};
use sluice_websocket::{Kind, encode};

use crate::Refusal;

/// Where a client begins that is told positions, so that it can resume before it was sent any message.
pub(super) fn begin(position: &str) -> Bytes {
    frame(&json!({ "begin": { "position": position } }))
}

/// Messages are missing that the broker no longer has; `None` where nobody knows how many. A client that is told
/// positions and comes back by this one does not hear of the gap again.
pub(super) fn gap(messages: Option<u64>, position: Option<String>) -> Bytes {
    let mut gap = json!({ "messages": messages });
    put_position(&mut gap, position);
    frame(&json!({ "gap": gap }))
}

/// So many messages were missed, because the client was too slow.
pub(super) fn skipped(messages: u64) -> Bytes {
    frame(&json!({ "skipped": { "messages": messages } }))
}

/// The client was too slow and gets nothing more: so many messages are missing, and behind this position it can
/// resume, if it is told positions.
pub(super) fn disconnected(messages: u64, position: Option<String>) -> Bytes {
    let mut end = json!({ "reason": "slow", "messages": messages });
    put_position(&mut end, position);
    frame(&json!({ "disconnected": end }))
}

/// The connection is about to be closed, and the client should come again after so many milliseconds.
pub(super) fn goaway(reconnect_after_ms: u64) -> Bytes {
    frame(&json!({ "goaway": { "reconnectAfterMs": reconnect_after_ms } }))
}

/// The broker has the client's message of this number, counted from 1 on this connection; `id` is what the client
/// calls it.
pub(super) fn ack(sequence: u64, id: Option<&str>) -> Bytes {
    frame(&json!({ "ack": numbered(sequence, id) }))
}

/// The broker does not have the client's message of this number, or nobody knows, and why.
pub(super) fn error(sequence: u64, id: Option<&str>, refusal: &Refusal) -> Bytes {
    let mut error = numbered(sequence, id);
    error["code"] = refusal.code.into();
    error["message"] = (*refusal.message).into();
    frame(&json!({ "error": error }))
}

fn numbered(sequence: u64, id: Option<&str>) -> Value {
    match id {
        Some(id) => json!({ "id": id, "sequence": sequence }),
        None => json!({ "sequence": sequence }),
    }
}

fn put_position(told: &mut Value, position: Option<String>) {
    if let Some(position) = position {
        told["position"] = position.into();
    }
}

fn frame(document: &Value) -> Bytes {
    encode::message(Kind::Text, document.to_string().as_bytes())
}

#[cfg(test)]
mod tests {
    use http::StatusCode;

    use super::*;

    fn text(frame: &Bytes) -> &str {
        std::str::from_utf8(&frame[2..]).unwrap()
    }

    #[test]
    fn what_became_of_a_message_is_told_by_its_number_and_by_its_id_where_it_has_one() {
        let refusal = Refusal::new(StatusCode::BAD_REQUEST, "x.y", "Why.");
        assert_eq!(text(&ack(1, None)), r#"{"ack":{"sequence":1}}"#);
        assert_eq!(text(&ack(2, Some("a"))), r#"{"ack":{"id":"a","sequence":2}}"#);
        let read = |frame: &Bytes| serde_json::from_str::<Value>(text(frame)).unwrap();
        let told = json!({ "id": "a", "sequence": 3, "code": "x.y", "message": "Why." });
        assert_eq!(read(&error(3, Some("a"), &refusal)), json!({ "error": told }));
    }

    #[test]
    fn what_is_told_has_one_member_that_no_message_has() {
        assert_eq!(text(&gap(Some(3), None)), r#"{"gap":{"messages":3}}"#);
        assert_eq!(text(&gap(None, None)), r#"{"gap":{"messages":null}}"#);
        assert_eq!(text(&goaway(7)), r#"{"goaway":{"reconnectAfterMs":7}}"#);
        assert_eq!(text(&begin("cA==")), r#"{"begin":{"position":"cA=="}}"#);
        assert_eq!(text(&skipped(3)), r#"{"skipped":{"messages":3}}"#);
        let at = || Some("cA==".to_owned());
        assert_eq!(text(&gap(Some(3), at())), r#"{"gap":{"messages":3,"position":"cA=="}}"#);
        let read = |frame: &Bytes| serde_json::from_str::<Value>(text(frame)).unwrap();
        assert_eq!(
            read(&disconnected(3, at())),
            json!({ "disconnected": { "reason": "slow", "messages": 3, "position": "cA==" } })
        );
        let told = read(&disconnected(3, None));
        assert_eq!(told, json!({ "disconnected": { "reason": "slow", "messages": 3 } }));
    }
}
