//! Consumers that come to the gateway. Each resumes from where it was, as a client in use would.

mod http_get;
mod sse;
mod websocket;

use std::{sync::Arc, time::Duration};

use reqwest::Client;
use tokio::time::sleep;

use crate::observer::Observer;

/// The consumer that is told where a message stands at its broker, by its name.
pub(crate) const TELLS_PLACES: &str = "http-get";
/// How long a client waits before it comes again.
const RECONNECT: Duration = Duration::from_millis(200);
/// Silence after which a client takes a connection for dead. The gateway says something more often.
const SILENCE: Duration = Duration::from_secs(20);

/// What a consumer needs to come to its API.
#[derive(Clone)]
pub(crate) struct Way {
    pub(crate) client: Client,
    /// `HOST:PORT` of the gateway.
    pub(crate) authority: String,
    pub(crate) observer: Arc<Observer>,
}

impl Way {
    /// The path of the API, behind a slash.
    fn path(&self) -> &str {
        &self.observer.channel.name
    }

    /// After a connection, and before the next.
    async fn over(&self, end: End) {
        match end {
            End::Over(why) => self.observer.note(&why),
            End::Refused(answer) => self.observer.refused(&answer),
        }
        sleep(RECONNECT).await;
    }
}

/// Where a consumer is: what it would resume from.
#[derive(Debug, Default)]
struct Bookmark(Option<String>);

/// Why a connection is over.
enum End {
    /// The client comes again.
    Over(String),
    /// The gateway does not take the client's bookmark.
    Refused(String),
}

/// Server-Sent Events, resumed by `Last-Event-ID`.
pub(crate) async fn sse(way: Way) {
    let mut bookmark = Bookmark::default();
    loop {
        way.over(sse::connection(&way, &mut bookmark).await).await;
    }
}

/// A WebSocket with frames of JSON, resumed by the parameter `cursor`.
pub(crate) async fn websocket(way: Way) {
    let mut bookmark = Bookmark::default();
    loop {
        way.over(websocket::connection(&way, &mut bookmark).await).await;
    }
}

/// Answers of JSON, each asked for behind the `nextCursor` of the one before.
pub(crate) async fn http_get(way: Way) {
    let mut bookmark = Bookmark::default();
    loop {
        way.over(http_get::answer(&way, &mut bookmark).await).await;
    }
}

/// What an answer that is no stream means for the client.
async fn turned_away(answer: reqwest::Response) -> End {
    let status = answer.status();
    let text = answer.text().await.unwrap_or_default();
    // 404: the API is not deployed yet. 429: come later.
    if status.is_client_error() && !matches!(status.as_u16(), 404 | 429) {
        return End::Refused(format!("{status}: {text}"));
    }
    End::Over(format!("{status}: {text}"))
}
