//! A WebSocket client of frames of JSON, which somebody else wrote.

use futures_util::{SinkExt, StreamExt};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async,
    tungstenite::{Error, Message},
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
        let url = gateway.url(path).replacen("http", "ws", 1);
        match within("the answer to a handshake", connect_async(url)).await {
            Ok((socket, _)) => Ok(Self(socket)),
            Err(Error::Http(answer)) => Err(answer.status().as_u16()),
            Err(error) => panic!("{error}"),
        }
    }

    pub(crate) async fn send(&mut self, text: &str) {
        self.0.send(Message::text(text)).await.unwrap();
    }

    /// The next document, or the code by which the gateway closes.
    pub(crate) async fn next(&mut self) -> Result<Value, u16> {
        loop {
            match within("a frame", self.0.next()).await.expect("no close frame").unwrap() {
                Message::Text(text) => return Ok(serde_json::from_str(&text).unwrap()),
                Message::Close(frame) => return Err(frame.map_or(1005, |frame| frame.code.into())),
                Message::Ping(_) | Message::Pong(_) => {}
                other => panic!("{other:?}"),
            }
        }
    }
}
