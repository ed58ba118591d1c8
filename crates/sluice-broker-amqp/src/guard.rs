//! The stream that the library reads from, with nothing in it that the library must not decode.
//!
//! Frames are let through whole, once their values were looked at. A performative with a flaw ends the connection:
//! only the broker writes those. What publishers write are messages: one with a flaw is cut off there, so that the
//! library finds a message that cannot be decoded, which the reader rejects. Writing is passed on as it is.

use std::{
    collections::HashMap,
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_util::io::poll_read_buf;

use crate::values::Scan;

/// The largest frame in bytes that a broker may send; it is told.
pub(crate) const LARGEST_FRAME: u32 = 256 << 10;

/// The header of the protocol, which comes before all frames.
const PROTOCOL: usize = 8;
/// What a frame has before its body.
const FRAME_HEADER: usize = 8;
/// Room that is made for what comes next.
const READ: usize = 16 << 10;
/// Messages of which a part has come, at the most: one for each link.
const MOST_PARTS: usize = 1024;
/// No type of AMQP has this code.
const NO_TYPE: u8 = 0xff;

/// A stream from a broker.
#[derive(Debug)]
pub(crate) struct Guarded<S> {
    inner: S,
    /// What has come and was not looked at.
    coming: BytesMut,
    /// What the library may read.
    sound: BytesMut,
    frames: Option<Frames>,
    largest_message: u64,
}

/// What is remembered from one frame to the next.
#[derive(Debug)]
struct Frames {
    /// Messages of which more is to come, by channel and link; `None` for one that was cut off.
    parts: HashMap<(u16, u32), Option<Scan>>,
    largest_message: u64,
}

/// What matters of a transfer.
struct Transfer {
    handle: u32,
    has_more: bool,
    is_resumed: bool,
    is_aborted: bool,
}

impl<S> Guarded<S> {
    /// Messages may have so many bytes when they are encoded.
    pub(crate) fn new(inner: S, largest_message: u64) -> Self {
        Self { inner, coming: BytesMut::new(), sound: BytesMut::new(), frames: None, largest_message }
    }

    /// Takes what has come whole to what may be read.
    fn advance(&mut self) -> io::Result<()> {
        let Some(frames) = &mut self.frames else {
            if self.coming.len() >= PROTOCOL {
                self.sound = self.coming.split_to(PROTOCOL);
                self.frames = Some(Frames { parts: HashMap::new(), largest_message: self.largest_message });
            }
            return Ok(());
        };
        let Some(size) = self.coming.first_chunk().map(|size| u32::from_be_bytes(*size)) else {
            return Ok(());
        };
        let whole = usize::try_from(size).unwrap_or(usize::MAX);
        if size > LARGEST_FRAME || whole < FRAME_HEADER {
            return Err(broken("a frame of a size that is not allowed"));
        }
        if self.coming.len() >= whole {
            let mut frame = self.coming.split_to(whole);
            frames.check(&mut frame)?;
            self.sound = frame;
        }
        Ok(())
    }
}

impl Frames {
    /// Looks at a frame, and cuts off what must not be decoded.
    fn check(&mut self, frame: &mut BytesMut) -> io::Result<()> {
        let channel = match frame[4..FRAME_HEADER] {
            [2, 0, high, low] => u16::from_be_bytes([high, low]),
            _ => return Err(broken("a frame with a header that is not AMQP's")),
        };
        let body = &frame[FRAME_HEADER..];
        if body.is_empty() {
            return Ok(());
        }
        let mut scan = Scan::new(u64::from(LARGEST_FRAME));
        let performative = scan.one(body).map_err(|_| broken("values that must not be decoded"))?;
        let Some(transfer) = Transfer::read(&body[..performative])? else { return Ok(()) };
        // Links are never resumed; a transfer that says so would be put together in another way.
        if transfer.is_resumed {
            return Err(broken("a resumed delivery, which nobody asked for"));
        }
        let link = (channel, transfer.handle);
        let known = self.parts.remove(&link);
        if transfer.is_aborted {
            return Ok(());
        }
        let mut message = known.unwrap_or_else(|| Some(Scan::new(self.largest_message)));
        let payload = &body[performative..];
        let cut = match &mut message {
            None => Some((0, false)),
            Some(scan) => scan.push(payload).err().map(|flaw| (flaw.at, flaw.is_type)),
        };
        if let Some((at, is_type)) = cut {
            message = None;
            frame.truncate(FRAME_HEADER + performative + at);
            // In the place of a type an end could be taken for the end of the message.
            frame.extend(is_type.then_some(NO_TYPE));
            let size = u32::try_from(frame.len()).unwrap_or(u32::MAX);
            frame[..4].copy_from_slice(&size.to_be_bytes());
        }
        if transfer.has_more {
            if self.parts.len() >= MOST_PARTS {
                return Err(broken("parts of more messages than there are links"));
            }
            self.parts.insert(link, message);
        }
        Ok(())
    }
}

impl Transfer {
    /// The code that tells a transfer from other performatives.
    const CODE: u64 = 0x14;

    /// Reads a performative that was found sound; `None` for any other than a transfer.
    fn read(performative: &[u8]) -> io::Result<Option<Self>> {
        let (code, list) = match performative {
            [0, 0x53, code, list @ ..] => (u64::from(*code), list),
            [0, 0x80, rest @ ..] if rest.len() >= 8 => {
                let (code, list) = rest.split_at(8);
                (code.iter().fold(0, |code, byte| code << 8 | u64::from(*byte)), list)
            }
            _ => return Err(broken("a performative without a number")),
        };
        if code != Self::CODE {
            return Ok(None);
        }
        let mut rest = match list {
            [0xc0, _, _, fields @ ..] => fields,
            [0xd0, _, _, _, _, _, _, _, _, fields @ ..] => fields,
            _ => return Err(broken("a transfer without a list")),
        };
        let mut fields = Vec::new();
        while !rest.is_empty() && fields.len() <= 9 {
            let length = Scan::new(u64::from(LARGEST_FRAME)).one(rest);
            let (field, others) = rest.split_at(length.map_err(|_| broken("a transfer with a flaw"))?);
            fields.push(field);
            rest = others;
        }
        let handle = match fields.first() {
            Some([0x43]) => 0,
            Some([0x52, handle]) => u32::from(*handle),
            Some([0x70, a, b, c, d]) => u32::from_be_bytes([*a, *b, *c, *d]),
            _ => return Err(broken("a transfer without a link")),
        };
        let is_true = |at: usize| matches!(fields.get(at), Some([0x41] | [0x56, 1]));
        Ok(Some(Self { handle, has_more: is_true(5), is_resumed: is_true(8), is_aborted: is_true(9) }))
    }
}

fn broken(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("the broker sent {what}"))
}

impl<S: AsyncRead + Unpin> AsyncRead for Guarded<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            if this.sound.is_empty() {
                this.advance()?;
            }
            if !this.sound.is_empty() {
                let count = this.sound.len().min(buffer.remaining());
                buffer.put_slice(&this.sound[..count]);
                this.sound.advance(count);
                return Poll::Ready(Ok(()));
            }
            this.coming.reserve(READ);
            if ready!(poll_read_buf(Pin::new(&mut this.inner), context, &mut this.coming))? == 0 {
                let is_whole = this.coming.is_empty();
                let ended = if is_whole { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) };
                return Poll::Ready(ended);
            }
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Guarded<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(context, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;

    use super::*;
    use crate::values::DEEPEST;

    const PROTOCOL_HEADER: &[u8] = b"AMQP\x00\x01\x00\x00";

    fn frame(performative: &[u8], payload: &[u8]) -> Vec<u8> {
        let size = u32::try_from(FRAME_HEADER + performative.len() + payload.len()).unwrap();
        [&size.to_be_bytes()[..], &[2, 0, 0, 0], performative, payload].concat()
    }

    /// A transfer on a link, of which more may come.
    fn transfer(handle: u8, has_more: bool, payload: &[u8]) -> Vec<u8> {
        let more = if has_more { 0x41 } else { 0x42 };
        let fields = [0x52, handle, 0x43, 0xa0, 1, 9, 0x43, 0x42, more];
        frame(&[&[0x00, 0x53, 0x14, 0xc0, 10, 6][..], &fields].concat(), payload)
    }

    async fn read(frames: &[Vec<u8>]) -> (Vec<u8>, Option<String>) {
        let sent = [PROTOCOL_HEADER, &frames.concat()].concat();
        let mut guarded = Guarded::new(&sent[..], 1000);
        let mut found = Vec::new();
        let ended = guarded.read_to_end(&mut found).await;
        assert!(found.starts_with(PROTOCOL_HEADER));
        (found.split_off(PROTOCOL), ended.err().map(|error| error.to_string()))
    }

    fn described(depth: usize) -> Vec<u8> {
        [[0x00, 0x53, 0x77].repeat(depth), vec![0x40]].concat()
    }

    #[tokio::test]
    async fn what_is_sound_comes_through_as_it_is() {
        let begin = frame(&[0x00, 0x80, 0, 0, 0, 0, 0, 0, 0, 0x11, 0x45], &[]);
        let frames = [
            frame(&[], &[]),
            begin,
            transfer(0, true, &described(3)[..5]),
            transfer(1, false, &described(DEEPEST)),
            transfer(0, false, &described(3)[5..]),
        ];
        assert_eq!(read(&frames).await, (frames.concat(), None));
    }

    #[tokio::test]
    async fn a_message_is_cut_off_where_it_nests_too_deep_and_others_are_not() {
        let deep = described(DEEPEST + 10);
        let (first, rest) = deep.split_at(100);
        let frames = [
            transfer(0, true, first),
            transfer(0, true, rest),
            transfer(1, false, b"\x00\x53\x75\xa0\x01x"),
            transfer(0, false, &[0x40; 50]),
            transfer(0, false, b"\x00\x53\x75\xa0\x01y"),
        ];
        let cut = [&deep[100..3 * DEEPEST], &[NO_TYPE]].concat();
        let expected = [
            frames[0].clone(),
            transfer(0, true, &cut),
            frames[2].clone(),
            transfer(0, false, &[]),
            frames[4].clone(),
        ];
        assert_eq!(read(&frames).await, (expected.concat(), None));
    }

    #[tokio::test]
    async fn a_message_over_the_limit_is_cut_off_before_its_size() {
        let frames = [transfer(0, true, b"\x00\x53\x75\xb0\x00\x01"), transfer(0, false, &[0; 200])];
        let expected = [frames[0].clone(), transfer(0, false, &[0])];
        assert_eq!(read(&frames).await, (expected.concat(), None));
    }

    #[tokio::test]
    async fn a_flaw_of_the_broker_itself_ends_the_connection() {
        let resumed = [0x00, 0x53, 0x14, 0xc0, 10, 9, 0x43, 0x40, 0x40, 0x40, 0x40, 0x40, 0x40, 0x40, 0x41];
        let cases = [
            frame(&described(DEEPEST + 1), &[]),
            frame(&[0x00, 0x53, 0x10, 0xc0, 0, 0], &[]),
            frame(&[0x00, 0xa3, 1, b'x', 0x45], &[]),
            frame(&[0x00, 0x53, 0x14, 0x45], &[]),
            frame(&resumed, &[]),
            vec![0, 0, 0, 7, 2, 0, 0],
            vec![0, 4, 0, 1, 2, 0, 0, 0],
            vec![0, 0, 0, 8, 3, 0, 0, 0],
        ];
        for case in cases {
            let (found, error) = read(std::slice::from_ref(&case)).await;
            assert!(found.is_empty(), "{case:02x?}");
            assert!(error.is_some_and(|error| error.starts_with("the broker sent")), "{case:02x?}");
        }
        let (_, error) = read(&[vec![0, 0, 0, 9, 2, 0]]).await;
        assert!(error.is_some(), "the stream ends within a frame");
    }
}
