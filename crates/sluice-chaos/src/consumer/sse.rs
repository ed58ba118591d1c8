//! Server-Sent Events, as a browser reads them.

use futures_util::StreamExt;
use tokio::time::timeout;

use super::{Bookmark, End, SILENCE, Way, turned_away};

/// One connection, from its request to its end.
pub(super) async fn connection(way: &Way, bookmark: &mut Bookmark) -> End {
    let url = format!("http://{}/{}", way.authority, way.path());
    let mut request = way.client.get(url).header("Accept", "text/event-stream");
    if let Some(id) = &bookmark.0 {
        request = request.header("Last-Event-ID", id);
    }
    let answer = match timeout(SILENCE, request.send()).await {
        Ok(Ok(answer)) if answer.status().is_success() => answer,
        Ok(Ok(answer)) => return turned_away(answer).await,
        Ok(Err(error)) => return End::Over(error.to_string()),
        Err(_) => return End::Over("no answer".to_owned()),
    };
    let (mut pieces, mut text) = (answer.bytes_stream(), Vec::new());
    loop {
        match timeout(SILENCE, pieces.next()).await {
            Ok(Some(Ok(piece))) => text.extend_from_slice(&piece),
            Ok(Some(Err(error))) => return End::Over(error.to_string()),
            Ok(None) => return End::Over("the stream has ended".to_owned()),
            Err(_) => return End::Over("silence".to_owned()),
        }
        while let Some(end) = text.windows(2).position(|two| two == b"\n\n") {
            let block: Vec<u8> = text.drain(..end + 2).collect();
            event(way, bookmark, &String::from_utf8_lossy(&block));
        }
    }
}

/// One block, up to its empty line.
fn event(way: &Way, bookmark: &mut Bookmark, block: &str) {
    let field = |name: &str| block.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
    if let Some(id) = field("id") {
        bookmark.0 = Some(id.to_owned());
    }
    let data = field("data").unwrap_or_default();
    match field("event") {
        Some("message") => way.observer.message(data, field("id").unwrap_or_default(), None),
        Some("gap" | "skipped") => way.observer.gap(block.trim()),
        Some(other) => way.observer.note(&format!("{other}: {data}")),
        // A comment, or the time until a reconnect.
        None => {}
    }
}
