//! A WebSocket client that does what a test tells it, wrong or right.

use std::{net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// The lines of a good handshake behind the first.
pub(crate) const GOOD: &str = "Host: h\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

pub(crate) const TEXT: u8 = 0x81;
pub(crate) const BINARY: u8 = 0x82;
pub(crate) const CLOSE: u8 = 0x88;
pub(crate) const PING: u8 = 0x89;
pub(crate) const PONG: u8 = 0x8a;

/// How long a test waits for what must come.
const PATIENCE: Duration = Duration::from_secs(30);

/// A connection whose handshake was answered.
pub(crate) struct Client(pub(crate) TcpStream);

/// Sends a request head and returns the answer's, with the connection.
pub(crate) async fn request(address: SocketAddr, head: &str) -> (String, TcpStream) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(format!("{head}\r\n").as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let read = async {
        while !answer.ends_with(b"\r\n\r\n") {
            answer.push(stream.read_u8().await.unwrap());
        }
    };
    tokio::time::timeout(PATIENCE, read).await.unwrap();
    (String::from_utf8(answer).unwrap().to_ascii_lowercase(), stream)
}

impl Client {
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        Self::connect_to(address, "").await.0
    }

    /// Connects with this behind the path; also the head of the answer, in lower case.
    pub(crate) async fn connect_to(address: SocketAddr, rest: &str) -> (Self, String) {
        let (answer, stream) = request(address, &format!("GET /a{rest} HTTP/1.1\r\n{GOOD}")).await;
        assert!(answer.starts_with("http/1.1 101 "), "{answer}");
        (Self(stream), answer)
    }

    /// Sends a frame whose first byte is `first`.
    pub(crate) async fn send(&mut self, first: u8, content: &[u8]) {
        let key = [1, 2, 3, 4];
        let mut frame = vec![first];
        match u16::try_from(content.len()).unwrap() {
            length @ 0..=125 => frame.push(0x80 | length as u8),
            length => {
                frame.push(0x80 | 126);
                frame.extend(length.to_be_bytes());
            }
        }
        frame.extend(key);
        frame.extend(content.iter().enumerate().map(|(index, byte)| byte ^ key[index % 4]));
        self.0.write_all(&frame).await.unwrap();
    }

    /// The next frame: its first byte and its content.
    pub(crate) async fn receive(&mut self) -> (u8, Vec<u8>) {
        let read = async {
            let (first, length) = (self.0.read_u8().await.unwrap(), self.0.read_u8().await.unwrap());
            let length = match length {
                126 => usize::from(self.0.read_u16().await.unwrap()),
                127 => usize::try_from(self.0.read_u64().await.unwrap()).unwrap(),
                length => usize::from(length),
            };
            let mut content = vec![0; length];
            self.0.read_exact(&mut content).await.unwrap();
            (first, content)
        };
        tokio::time::timeout(PATIENCE, read).await.unwrap()
    }

    /// The document in the next frame, the first one left out that says where the client begins.
    pub(crate) async fn document(&mut self) -> serde_json::Value {
        loop {
            let (first, content) = self.receive().await;
            assert_eq!(first, TEXT, "{content:?}");
            let document: serde_json::Value = serde_json::from_slice(&content).unwrap();
            if document.get("begin").is_none() {
                return document;
            }
        }
    }

    /// The code and reason with which the connection ends; nothing may follow it.
    pub(crate) async fn closed(mut self) -> (u16, String) {
        let (first, content) = self.receive().await;
        assert_eq!(first, CLOSE, "{content:?}");
        self.send(CLOSE, &content[..2]).await;
        let mut rest = Vec::new();
        tokio::time::timeout(PATIENCE, self.0.read_to_end(&mut rest)).await.unwrap().unwrap();
        assert_eq!(rest, b"");
        let code = u16::from_be_bytes([content[0], content[1]]);
        (code, String::from_utf8(content[2..].to_vec()).unwrap())
    }
}
