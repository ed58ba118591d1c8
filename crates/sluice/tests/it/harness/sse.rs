//! A client of Server-Sent Events that keeps every line.

use futures_util::{Stream, StreamExt};
use reqwest::{RequestBuilder, Response};

use super::{Gateway, within};

/// One open stream.
pub(crate) struct Sse {
    pieces: std::pin::Pin<Box<dyn Stream<Item = reqwest::Result<bytes::Bytes>> + Send>>,
    received: String,
}

/// One block of a stream, up to its empty line.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Event {
    pub(crate) id: Option<String>,
    pub(crate) event: Option<String>,
    pub(crate) data: Option<String>,
    pub(crate) retry: Option<String>,
    pub(crate) comments: Vec<String>,
}

impl Sse {
    /// Opens a stream; resolves when the gateway has answered, and requires that it agreed.
    pub(crate) async fn open(gateway: &Gateway, path: &str) -> Self {
        Self::agreed(Self::request(gateway, path).await).await
    }

    /// The same, behind the event with this id.
    pub(crate) async fn resume(gateway: &Gateway, path: &str, last_event_id: &str) -> Self {
        Self::with(gateway, path, ("Last-Event-ID", last_event_id)).await
    }

    /// The same for a client that gives itself a name.
    pub(crate) async fn named(gateway: &Gateway, path: &str, name: &str) -> Self {
        Self::with(gateway, path, ("X-Gravitee-Client-Identifier", name)).await
    }

    /// The same with this header.
    pub(crate) async fn with(gateway: &Gateway, path: &str, header: (&str, &str)) -> Self {
        Self::agreed(Self::asked(gateway, path, header).await).await
    }

    /// The stream of this answer, which must be one.
    pub(crate) async fn agreed(response: Response) -> Self {
        assert_eq!(response.status(), 200, "{:?}", response.text().await);
        assert_eq!(response.headers()["content-type"], "text/event-stream;charset=UTF-8");
        Self { pieces: Box::pin(response.bytes_stream()), received: String::new() }
    }

    pub(crate) async fn request(gateway: &Gateway, path: &str) -> Response {
        within("the answer to a stream request", Self::get(gateway, path).send()).await.unwrap()
    }

    /// The answer to a stream request with this header.
    pub(crate) async fn asked(gateway: &Gateway, path: &str, (name, value): (&str, &str)) -> Response {
        let request = Self::get(gateway, path).header(name, value);
        within("the answer to a stream request", request.send()).await.unwrap()
    }

    fn get(gateway: &Gateway, path: &str) -> RequestBuilder {
        gateway.client().get(gateway.url(path)).header("Accept", "text/event-stream")
    }

    /// The next block of any kind; `None` when the stream has ended.
    pub(crate) async fn block(&mut self) -> Option<Event> {
        loop {
            if let Some((block, rest)) = self.received.split_once("\n\n") {
                let event = Event::parse(block);
                self.received = rest.to_owned();
                return Some(event);
            }
            let piece = within("a piece of the stream", self.pieces.next()).await?;
            self.received.push_str(std::str::from_utf8(&piece.ok()?).unwrap());
        }
    }

    /// The next block that is an event, heartbeats and the reconnect time left out.
    pub(crate) async fn event(&mut self) -> Option<Event> {
        loop {
            let block = self.block().await?;
            if block.event.is_some() {
                return Some(block);
            }
        }
    }

    /// The next milliseconds after which to come again.
    pub(crate) async fn retry(&mut self) -> u64 {
        loop {
            let block = self.block().await.expect("the stream has ended");
            assert_eq!(block.event, None, "{block:?}");
            if let Some(retry) = block.retry {
                return retry.parse().unwrap();
            }
        }
    }

    /// The content of the next message.
    pub(crate) async fn message(&mut self) -> String {
        let event = self.event().await.expect("the stream has ended");
        assert_eq!(event.event.as_deref(), Some("message"), "{event:?}");
        event.data.unwrap()
    }

    /// The contents of the next messages.
    pub(crate) async fn messages(&mut self, count: usize) -> Vec<String> {
        let mut messages = Vec::with_capacity(count);
        while messages.len() < count {
            messages.push(self.message().await);
        }
        messages
    }
}

impl Event {
    fn parse(block: &str) -> Self {
        let mut event = Self::default();
        for line in block.lines() {
            let (field, value) = line.split_once(':').unwrap_or((line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            match field {
                "" => event.comments.push(value.to_owned()),
                "id" => event.id = Some(value.to_owned()),
                "event" => event.event = Some(value.to_owned()),
                "retry" => event.retry = Some(value.to_owned()),
                "data" => match &mut event.data {
                    Some(data) => {
                        data.push('\n');
                        data.push_str(value);
                    }
                    none => *none = Some(value.to_owned()),
                },
                other => panic!("an unknown field {other}"),
            }
        }
        event
    }
}
