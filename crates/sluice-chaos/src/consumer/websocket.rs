//! A WebSocket client that somebody else wrote, reading frames of JSON.

use futures_util::{SinkExt, StreamExt};
use serde_json::Value;
use tokio::time::timeout;
use tokio_tungstenite::{
    connect_async,
    tungstenite::{Error, Message},
};

use super::{Bookmark, End, SILENCE, Way};

/// One connection, from its handshake to its end.
pub(super) async fn connection(way: &Way, bookmark: &mut Bookmark) -> End {
    let cursor = bookmark.0.as_deref().map(|id| format!("?cursor={}", escaped(id))).unwrap_or_default();
    let url = format!("ws://{}/{}{cursor}", way.authority, way.path());
    let mut socket = match timeout(SILENCE, connect_async(url)).await {
        Ok(Ok((socket, _))) => socket,
        Ok(Err(Error::Http(answer))) if matches!(answer.status().as_u16(), 400 | 401 | 403) => {
            let text = answer.body().as_deref().map(String::from_utf8_lossy).unwrap_or_default();
            return End::Refused(format!("{}: {text}", answer.status()));
        }
        Ok(Err(error)) => return End::Over(error.to_string()),
        Err(_) => return End::Over("no answer".to_owned()),
    };
    loop {
        let message = match timeout(SILENCE, socket.next()).await {
            Ok(Some(Ok(message))) => message,
            Ok(Some(Err(error))) => return End::Over(error.to_string()),
            Ok(None) => return End::Over("the connection has ended".to_owned()),
            // The gateway asks less often than this client is willing to wait: it asks itself.
            Err(_) => match socket.send(Message::Ping(Vec::new().into())).await {
                Ok(()) => continue,
                Err(error) => return End::Over(error.to_string()),
            },
        };
        match message {
            Message::Text(text) => frame(way, bookmark, &text),
            Message::Close(why) => return End::Over(format!("closed: {why:?}")),
            other => way.observer.note(&format!("{other:?}")),
        }
    }
}

fn frame(way: &Way, bookmark: &mut Bookmark, text: &str) {
    let frame: Value = serde_json::from_str(text).unwrap_or_default();
    if let Some(id) = frame["id"].as_str() {
        bookmark.0 = Some(id.to_owned());
    }
    match frame["content"].as_str() {
        Some(content) => way.observer.message(content, frame["id"].as_str().unwrap_or_default(), None),
        None if frame["gap"].is_null() => way.observer.note(text),
        None => way.observer.gap(text),
    }
}

/// What of base64 has a meaning of its own in a query, written so that it has not.
pub(super) fn escaped(id: &str) -> String {
    id.replace('+', "%2B").replace('/', "%2F").replace('=', "%3D")
}
