//! Bytes to and from one client: a queue of frames on their way out, and what was received and not read yet.
//!
//! Both ways go on in one call, so that a client which takes nothing can still be heard. No buffer is kept
//! while there is nothing in it: most connections are idle most of the time.

use std::{
    collections::VecDeque,
    future::poll_fn,
    io::{self, IoSlice},
    mem::MaybeUninit,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// How much is read at once, in bytes.
const READ: usize = 16 << 10;

/// How many frames are handed to the system at once.
const FRAMES: usize = 64;

/// What has happened on a connection.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// Everything in the queue was written.
    Sent,
    /// Something was received.
    Received,
    /// The client has closed its side.
    Ended,
}

/// A connection with its buffers.
pub(super) struct Wire<'a, S> {
    stream: &'a mut S,
    /// Received and not read yet.
    pub(super) incoming: BytesMut,
    outgoing: VecDeque<Bytes>,
    flushed: bool,
}

impl<'a, S> Wire<'a, S> {
    /// `received` is what came before this was made.
    pub(super) fn new(stream: &'a mut S, received: Bytes) -> Self {
        Self { stream, incoming: received.into(), outgoing: VecDeque::new(), flushed: true }
    }

    /// Puts a frame behind those that are on their way.
    pub(super) fn send(&mut self, frame: Bytes) {
        self.outgoing.push_back(frame);
    }

    /// Frames that are on their way.
    pub(super) fn queued(&self) -> usize {
        self.outgoing.len()
    }

    /// Gives back the memory of what was received, when all of it was read.
    pub(super) fn tidy(&mut self) {
        if self.incoming.is_empty() {
            self.incoming = BytesMut::new();
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Wire<'_, S> {
    /// Waits until the queue is written or, with `read`, something is received. Cancel-safe.
    pub(super) async fn turn(&mut self, read: bool) -> io::Result<Turn> {
        poll_fn(|cx| {
            if (!self.outgoing.is_empty() || !self.flushed)
                && let Poll::Ready(sent) = self.poll_send(cx)
            {
                return Poll::Ready(sent.map(|()| Turn::Sent));
            }
            if read { self.poll_receive(cx) } else { Poll::Pending }
        })
        .await
    }

    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.outgoing.is_empty() {
            self.flushed = false;
            let mut pieces = [IoSlice::new(&[]); FRAMES];
            let mut count = 0;
            for (piece, frame) in pieces.iter_mut().zip(&self.outgoing) {
                *piece = IoSlice::new(frame);
                count += 1;
            }
            let written = Pin::new(&mut *self.stream).poll_write_vectored(cx, &pieces[..count]);
            let written = ready!(written)?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.forget(written);
        }
        self.outgoing = VecDeque::new();
        ready!(Pin::new(&mut *self.stream).poll_flush(cx))?;
        self.flushed = true;
        Poll::Ready(Ok(()))
    }

    /// Takes what was written out of the queue.
    fn forget(&mut self, mut written: usize) {
        while let Some(frame) = self.outgoing.front_mut() {
            if written < frame.len() {
                frame.advance(written);
                return;
            }
            written -= frame.len();
            self.outgoing.pop_front();
        }
    }

    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Turn>> {
        let mut space = [MaybeUninit::uninit(); READ];
        let mut space = ReadBuf::uninit(&mut space);
        ready!(Pin::new(&mut *self.stream).poll_read(cx, &mut space))?;
        if space.filled().is_empty() {
            return Poll::Ready(Ok(Turn::Ended));
        }
        self.incoming.extend_from_slice(space.filled());
        Poll::Ready(Ok(Turn::Received))
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test]
    async fn frames_are_written_in_order_in_whatever_pieces_the_client_takes() {
        let (mut near, mut far) = tokio::io::duplex(7);
        let mut wire = Wire::new(&mut near, Bytes::new());
        let expected: Vec<u8> = (0..100).flat_map(|number| vec![number; usize::from(number % 11)]).collect();
        for number in 0..100 {
            wire.send(vec![number; usize::from(number % 11)].into());
        }
        let mut read = vec![0; expected.len()];
        let (turn, got) = tokio::join!(wire.turn(true), far.read_exact(&mut read));
        assert_eq!((turn.unwrap(), got.unwrap()), (Turn::Sent, expected.len()));
        assert_eq!((read, wire.queued()), (expected, 0));
    }

    #[tokio::test]
    async fn a_client_that_takes_nothing_is_still_heard() {
        let (mut near, mut far) = tokio::io::duplex(4);
        let mut wire = Wire::new(&mut near, Bytes::from("be"));
        wire.send(Bytes::from_static(b"longer than the pipe"));
        far.write_all(b"fore").await.unwrap();
        assert_eq!(wire.turn(true).await.unwrap(), Turn::Received);
        assert_eq!(&wire.incoming[..], b"before");
        drop(far);
        assert!(wire.turn(true).await.is_err());
    }
}
