//! A WebSocket client, which somebody else wrote.

use futures_util::{SinkExt, StreamExt};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async,
    tungstenite::{Error, Message, client::IntoClientRequest},
};

use super::{Gateway, within};

/// One open connection.
pub(crate) struct Socket(WebSocketStream<MaybeTlsStream<TcpStream>>);

impl Socket {
    /// Connects, and requires that the gateway agreed.
    pub(crate) async fn open(gateway: &Gateway, path: &str) -> Self {
        Self::try_open(gateway, path).await.unwrap()
    }

    /// Connects; otherwise the status of the answer.
    pub(crate) async fn try_open(gateway: &Gateway, path: &str) -> Result<Self, u16> {
        Self::asked(gateway, path, &[]).await
    }

    /// Connects with these headers; otherwise the status of the answer.
    pub(crate) async fn asked(gateway: &Gateway, path: &str, headers: &[(&str, &str)]) -> Result<Self, u16> {
        let mut request = gateway.url(path).replacen("http", "ws", 1).into_client_request().unwrap();
        for (name, value) in headers {
            let name: http::HeaderName = name.parse().unwrap();
            request.headers_mut().append(name, value.parse().unwrap());
        }
        match within("the answer to a handshake", Box::pin(connect_async(request))).await {
            Ok((socket, _)) => Ok(Self(socket)),
            Err(Error::Http(answer)) => Err(answer.status().as_u16()),
            Err(error) => panic!("{error}"),
        }
    }

    pub(crate) async fn send(&mut self, text: &str) {
        self.send_frame(Message::text(text)).await;
    }

    pub(crate) async fn send_frame(&mut self, frame: Message) {
        self.0.send(frame).await.unwrap();
    }

    /// The next frame with a message, or the code by which the gateway closes.
    pub(crate) async fn frame(&mut self) -> Result<Message, u16> {
        // As a whole: signs of life do not make a message come.
        within("a frame", async {
            loop {
                match self.0.next().await.expect("no close frame").unwrap() {
                    Message::Close(frame) => return Err(frame.map_or(1005, |frame| frame.code.into())),
                    Message::Ping(_) | Message::Pong(_) => {}
                    message => return Ok(message),
                }
            }
        })
        .await
    }

    /// The next text.
    pub(crate) async fn text(&mut self) -> String {
        self.frame().await.unwrap().into_text().unwrap().to_string()
    }

    /// The next document, or the code by which the gateway closes.
    pub(crate) async fn next(&mut self) -> Result<Value, u16> {
        match self.frame().await? {
            Message::Text(text) => Ok(serde_json::from_str(&text).unwrap()),
            other => panic!("{other:?}"),
        }
    }
}
