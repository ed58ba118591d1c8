//! The frames that a server sends. Each is whole, and the same for every client.

use bytes::{BufMut, Bytes, BytesMut};

use crate::{
    CloseCode, Deflate, Kind,
    deflate::deflate,
    header::{MAX_CONTROL, MAX_HEADER, Opcode, put},
};

/// The largest message that is compressed, in bytes: a larger one would keep everything else on its thread waiting.
const MAX_COMPRESSED: usize = 1 << 20;

/// A message in one frame.
pub fn message(kind: Kind, payload: &[u8]) -> Bytes {
    frame(Opcode::Message(kind), false, payload)
}

/// A message in one frame, compressed unless it is very large; for clients that agreed to it.
pub fn compressed(kind: Kind, payload: &[u8], agreed: Deflate) -> Bytes {
    let small = Some(payload).filter(|payload| payload.len() <= MAX_COMPRESSED);
    match small.and_then(|payload| deflate(payload, agreed.server_window_bits)) {
        Some(content) => frame(Opcode::Message(kind), true, &content),
        None => message(kind, payload),
    }
}

/// A question whether the client is there. Without content: any answer will do.
pub fn ping() -> Bytes {
    frame(Opcode::Ping, false, &[])
}

/// The answer to a ping, with the content of the ping.
pub fn pong(content: &[u8]) -> Bytes {
    frame(Opcode::Pong, false, &content[..content.len().min(MAX_CONTROL)])
}

/// The end, and why. A reason that is too long for the frame is cut.
pub fn close(code: CloseCode, reason: &str) -> Bytes {
    let mut content = Vec::with_capacity(2 + reason.len());
    content.put_u16(code.number());
    content.put_slice(&reason.as_bytes()[..reason.floor_char_boundary(MAX_CONTROL - 2)]);
    frame(Opcode::Close, false, &content)
}

/// The answer to a close that named no code.
pub fn close_without_code() -> Bytes {
    frame(Opcode::Close, false, &[])
}

fn frame(opcode: Opcode, compressed: bool, content: &[u8]) -> Bytes {
    let mut frame = BytesMut::with_capacity(MAX_HEADER + content.len());
    put(&mut frame, opcode, compressed, content.len());
    frame.put_slice(content);
    frame.freeze()
}
