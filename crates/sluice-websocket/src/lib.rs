//! The server's side of the WebSocket protocol (RFC 6455) with message compression (RFC 7692), as bytes in and
//! bytes out: it opens no connection, waits for nothing and knows no clock.
//!
//! What a client sends goes into a [`Decoder`], which hands out whole messages. What is sent to clients is
//! made by [`encode`]. A server's frames have no mask, so the bytes of a message's frame serve every client.
//! To keep it so with compression, no compressor ever remembers a former message (`server_no_context_takeover`):
//! that costs some compression, and saves a quarter of a megabyte for each connection.
//!
//! ```
//! use bytes::BytesMut;
//! use sluice_websocket::{Decoder, Event, Kind, Limits, encode};
//!
//! let mut decoder = Decoder::new(Limits { frame: 1024, message: 1024 }, false);
//! // "Hi" from a client, masked with 1, 2, 3, 4.
//! let mut received = BytesMut::from(&[0x81, 0x82, 1, 2, 3, 4, b'H' ^ 1, b'i' ^ 2][..]);
//! let Ok(Some(Event::Message { kind, payload })) = decoder.next(&mut received) else { panic!() };
//! assert_eq!((kind, &payload[..]), (Kind::Text, &b"Hi"[..]));
//! assert_eq!(encode::message(kind, &payload)[..], *b"\x81\x02Hi");
//! ```

mod close;
mod decoder;
mod deflate;
pub mod encode;
mod extension;
mod header;
mod mask;
mod utf8;
mod violation;

#[cfg(test)]
mod tests;

use base64::{Engine, prelude::BASE64_STANDARD};
use sha1::{Digest, Sha1};

pub use close::CloseCode;
pub use decoder::{Decoder, Event, Limits};
pub use extension::{Deflate, agree};
pub use violation::Violation;

/// What a message is said to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// UTF-8; checked on what is received, up to the caller for what is sent.
    Text,
    /// Any bytes.
    Binary,
}

/// What a server appends to the key before it is hashed, RFC 6455 section 1.3.
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// The `Sec-WebSocket-Accept` that answers a `Sec-WebSocket-Key`; `None` for a key that is not 16 bytes in
/// base64.
pub fn accept_key(key: &str) -> Option<String> {
    if BASE64_STANDARD.decode(key).ok()?.len() != 16 {
        return None;
    }
    Some(BASE64_STANDARD.encode(Sha1::new().chain_update(key).chain_update(GUID).finalize()))
}
