//! The first frame of a client that says in it where it begins, and not in the address, which proxies log.
//!
//! Such a client connects with `?resume=frame`; until it has said so it is sent nothing. A frame of this form later
//! on, or of any other client, is a message like any other.

use std::time::Duration;

use serde_json::{Map, Value};
use sluice_message::{MAX_POSITION_BYTES, Topic};
use sluice_stream::Lag;
use sluice_websocket::{CloseCode, Kind, Limits};
use tokio::time::Instant;

use super::end::End;
use crate::resume::Bookmark;

/// How long the client may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// What may stand around the position, in bytes.
const AROUND: usize = 64;

/// What is read of the first frame, whatever the API takes of messages: any position fits.
pub(super) const LIMITS: Limits = Limits { frame: usize::MAX, message: MAX_POSITION_BYTES + AROUND };

/// What the client is waited for, and what becomes of it then.
pub(super) struct FirstFrame {
    /// When it must have come.
    pub(super) due: Instant,
    /// The topics that the client is to be placed in.
    pub(super) topics: Vec<Topic>,
    pub(super) lag: Lag,
}

impl FirstFrame {
    pub(super) fn new(topics: Vec<Topic>, lag: Lag) -> Self {
        Self { due: Instant::now() + PATIENCE, topics, lag }
    }
}

/// Where a client begins that has sent this.
pub(super) fn read(kind: Kind, payload: &[u8]) -> Result<Bookmark, End> {
    let members = if kind == Kind::Text { serde_json::from_slice(payload).ok() } else { None };
    let members: Map<String, Value> = members.unwrap_or_default();
    let only = if members.len() == 1 { members.into_iter().next() } else { None };
    match only {
        Some((name, Value::Null)) if name == "resume" => Ok(Bookmark::New),
        Some((name, Value::String(position))) if name == "resume" => Ok(Bookmark::Position(position)),
        _ => Err(wrong()),
    }
}

/// The end of a connection whose first frame was something else.
pub(super) fn wrong() -> End {
    End::closed(
        CloseCode::POLICY,
        "The first frame must be the text {\"resume\": \"<position>\"} or {\"resume\": null}.",
    )
}

/// The end of a connection whose first frame did not come.
pub(super) fn overdue() -> End {
    let text = format!(
        "Send {{\"resume\": \"<position>\"}} or {{\"resume\": null}} as the first frame, within {} s.",
        PATIENCE.as_secs()
    );
    End::closed(CloseCode::POLICY, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_first_frame_is_one_member_in_text() {
        let bookmark = |text: &str| read(Kind::Text, text.as_bytes()).ok();
        assert_eq!(bookmark("{\"resume\": \"cA==\"}"), Some(Bookmark::Position("cA==".to_owned())));
        assert_eq!(bookmark("{\"resume\": \"\"}"), Some(Bookmark::Position(String::new())));
        assert_eq!(bookmark(" {\"resume\":null} "), Some(Bookmark::New));
        let wrong =
            ["", "x", "null", "[]", "{}", "{\"resume\":1}", "{\"resume\":null,\"x\":1}", "{\"Resume\":null}"];
        for wrong in wrong {
            assert_eq!(bookmark(wrong), None, "{wrong}");
        }
        assert!(read(Kind::Binary, b"{\"resume\":null}").is_err());
    }

    #[test]
    fn what_a_client_is_told_fits_into_a_close_frame() {
        for end in [wrong(), overdue()] {
            let End::Closed(code, text) = end else { panic!("not closed") };
            assert!(code == CloseCode::POLICY && text.len() <= 123, "{text}");
        }
    }
}
