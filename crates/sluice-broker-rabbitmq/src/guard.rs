//! The stream that lapin reads from, with no table nested so deep that reading it would overflow the stack.
//!
//! lapin decodes tables and arrays of headers by recursion, without a bound, on a thread of its own. Whoever may publish
//! writes those, and RabbitMQ passes them on. So frames that hold a table are looked at before lapin sees them. What is
//! too deep becomes bytes: arrays, tables and bytes are written alike but for their type, so that one letter is all
//! there is to change. Nothing else is changed, and writing is passed on as it is.

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use async_rs::{
    Tokio,
    traits::{Executor, Reactor, RuntimeKit},
    util::Task,
};
use futures_io::{AsyncRead, AsyncWrite};
use futures_util::Stream;
use lapin::AsyncTcpStream;

use crate::stranger;

/// Arrays and tables in each other, at the most: the table of headers is the first.
const DEEPEST: usize = 32;
/// The largest frame with a table in bytes. RabbitMQ sends 128 KiB where nobody has set it to more.
const LARGEST_FRAME: usize = 1 << 20;
/// Bytes that are read at a time.
const READ: usize = 16 << 10;
/// Type, channel and size, which come before a frame's payload.
const FRAME_HEADER: usize = 7;
/// Types of frames.
const METHOD: u8 = 1;
const PROPERTIES: u8 = 2;
const BODY: u8 = 3;
const HEARTBEAT: u8 = 8;

/// A stream from RabbitMQ.
pub(crate) struct Guarded<S> {
    inner: S,
    /// What has come; lapin may have it from `given` to `sound`.
    buffer: Vec<u8>,
    given: usize,
    sound: usize,
    /// Bytes behind `sound` that need no look.
    passing: usize,
    /// Whether nothing that was looked at has told yet who speaks.
    is_new: bool,
}

impl<S> Guarded<S> {
    pub(crate) const fn new(inner: S) -> Self {
        Self { inner, buffer: Vec::new(), given: 0, sound: 0, passing: 0, is_new: true }
    }

    /// Finds out how far what has come may be read.
    fn look(&mut self) -> io::Result<()> {
        if self.is_new {
            let Some(first) = self.buffer.first_chunk() else { return Ok(()) };
            self.is_new = false;
            stranger::known(first)?;
        }
        loop {
            let rest = self.buffer.get_mut(self.sound..).unwrap_or_default();
            if self.passing > 0 {
                let passed = self.passing.min(rest.len());
                self.passing -= passed;
                self.sound += passed;
                if self.passing > 0 {
                    return Ok(());
                }
                continue;
            }
            let Some([kind, _, _, size @ ..]) = rest.first_chunk::<FRAME_HEADER>().copied() else {
                return Ok(());
            };
            let size = usize::try_from(u32::from_be_bytes(size)).unwrap_or(usize::MAX);
            // One byte more ends it.
            let whole = size.saturating_add(FRAME_HEADER + 1);
            match kind {
                METHOD | PROPERTIES if whole > LARGEST_FRAME => {
                    return Err(broken(&format!("a frame of {whole} bytes, more than {LARGEST_FRAME}")));
                }
                METHOD | PROPERTIES => {
                    let Some(frame) = rest.get_mut(..whole) else { return Ok(()) };
                    let payload = &mut frame[FRAME_HEADER..whole - 1];
                    let table =
                        if kind == METHOD { table_of_method(payload)? } else { table_of_properties(payload) };
                    // lapin refuses a table that cannot be read, and reads it no further than this does.
                    table.and_then(|table| flatten(table, true, 1));
                    self.sound += whole;
                }
                BODY | HEARTBEAT => self.passing = whole,
                // No frame at all, at which lapin ends the connection.
                _ => self.passing = usize::MAX,
            }
        }
    }
}

/// The table in a method that a broker sends, which is the first one only.
fn table_of_method(payload: &mut [u8]) -> io::Result<Option<&mut [u8]>> {
    match *payload {
        // Its version has two bytes.
        [0, 10, 0, 10, ..] => Ok(payload.get_mut(6..).and_then(long)),
        // These have tables and are a client's.
        [0, 10, 0, 11, ..]
        | [0, 40, 0, 10 | 30 | 40, ..]
        | [0, 50, 0, 10 | 20 | 50, ..]
        | [0, 60, 0, 20, ..] => Err(broken("a method that only clients send")),
        _ => Ok(None),
    }
}

/// The headers among the properties: they come third, behind two short texts.
fn table_of_properties(payload: &mut [u8]) -> Option<&mut [u8]> {
    // Behind a class, a weight and the size of the body, a bit for each property that is there.
    let flags = *payload.get(12)?;
    let mut rest = payload.get_mut(14..)?;
    for text in [0x80, 0x40] {
        if flags & text != 0 {
            let length = usize::from(*rest.first()?);
            rest = rest.get_mut(1 + length..)?;
        }
    }
    if flags & 0x20 == 0 { None } else { long(rest) }
}

/// What has its length in four bytes before it.
fn long(bytes: &mut [u8]) -> Option<&mut [u8]> {
    let length = u32::from_be_bytes(*bytes.first_chunk()?);
    bytes.get_mut(4..usize::try_from(length).ok()?.checked_add(4)?)
}

/// Makes bytes of what is too deep in a table, or in an array. `None` where it cannot be read.
fn flatten(mut rest: &mut [u8], is_table: bool, depth: usize) -> Option<()> {
    while !rest.is_empty() {
        if is_table {
            let name = usize::from(*rest.first()?);
            rest = rest.get_mut(1 + name..)?;
        }
        let (kind, value) = rest.split_first_mut()?;
        let length = match kind {
            b'V' => 0,
            b't' | b'b' | b'B' => 1,
            b's' | b'U' | b'u' => 2,
            b'I' | b'i' | b'f' => 4,
            b'D' => 5,
            b'L' | b'l' | b'd' | b'T' => 8,
            b'S' | b'x' | b'A' | b'F' => 4 + long(value)?.len(),
            _ => return None,
        };
        let (value, others) = value.split_at_mut_checked(length)?;
        match kind {
            b'A' | b'F' if depth == DEEPEST => *kind = b'x',
            b'A' | b'F' => flatten(long(value)?, *kind == b'F', depth + 1)?,
            _ => {}
        }
        rest = others;
    }
    Some(())
}

fn broken(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("RabbitMQ sent {what}"))
}

impl<S: AsyncRead + Unpin> AsyncRead for Guarded<S> {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, out: &mut [u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        loop {
            if this.given < this.sound {
                let count = out.len().min(this.sound - this.given);
                out[..count].copy_from_slice(&this.buffer[this.given..this.given + count]);
                this.given += count;
                return Poll::Ready(Ok(count));
            }
            this.buffer.drain(..this.sound);
            (this.given, this.sound) = (0, 0);
            if this.buffer.is_empty() && this.passing > 0 {
                // Payloads are the most of it, and are not copied.
                let most = out.len().min(this.passing);
                let count = ready!(Pin::new(&mut this.inner).poll_read(context, &mut out[..most]))?;
                this.passing -= count;
                return Poll::Ready(Ok(count));
            }
            let before = this.buffer.len();
            this.buffer.resize(before + READ, 0);
            let read = Pin::new(&mut this.inner).poll_read(context, &mut this.buffer[before..]);
            let count = if let Poll::Ready(Ok(count)) = &read { *count } else { 0 };
            this.buffer.truncate(before + count);
            match ready!(read) {
                Ok(0) if this.is_new => return Poll::Ready(Err(stranger::left())),
                Err(error) if this.is_new && sluice_broker::has_left(&error) => {
                    return Poll::Ready(Err(stranger::left()));
                }
                Ok(0) => return Poll::Ready(Ok(0)),
                Err(error) => return Poll::Ready(Err(error)),
                Ok(_) => {}
            }
            this.look()?;
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

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_close(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_close(context)
    }
}

/// Tokio, but for the type of streams: what lapin is told to find out that a stream may be a guarded one.
#[derive(Debug, Clone)]
pub(crate) struct Kit(pub(crate) Tokio);

impl RuntimeKit for Kit {}

impl Executor for Kit {
    type Task<T: Send + 'static> = <Tokio as Executor>::Task<T>;

    fn block_on<T, F: Future<Output = T>>(&self, work: F) -> T {
        self.0.block_on(work)
    }

    fn spawn<T: Send + 'static, F: Future<Output = T> + Send + 'static>(
        &self,
        work: F,
    ) -> Task<Self::Task<T>> {
        self.0.spawn(work)
    }

    fn spawn_blocking<T: Send + 'static, F: FnOnce() -> T + Send + 'static>(
        &self,
        work: F,
    ) -> Task<Self::Task<T>> {
        self.0.spawn_blocking(work)
    }
}

impl Reactor for Kit {
    type TcpStream = Guarded<AsyncTcpStream<<Tokio as Reactor>::TcpStream>>;
    type Sleep = <Tokio as Reactor>::Sleep;

    /// Nobody asks for it: lapin is handed its stream.
    fn register<H: io::Read + io::Write + Send + 'static>(
        &self,
        _: H,
    ) -> io::Result<impl AsyncRead + AsyncWrite + Send + Unpin + 'static> {
        Err::<Self::TcpStream, _>(io::ErrorKind::Unsupported.into())
    }

    fn sleep(&self, time: Duration) -> Self::Sleep {
        self.0.sleep(time)
    }

    fn interval(&self, time: Duration) -> impl Stream<Item = Instant> + Send + 'static {
        self.0.interval(time)
    }

    fn tcp_connect_addr(
        &self,
        address: SocketAddr,
    ) -> impl Future<Output = io::Result<Self::TcpStream>> + Send + 'static {
        let connecting = self.0.tcp_connect_addr(address);
        async move { Ok(Guarded::new(AsyncTcpStream::Plain(connecting.await?))) }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
        let size = u32::try_from(payload.len()).unwrap();
        [&[kind, 0, 1], &size.to_be_bytes()[..], payload, &[0xce]].concat()
    }

    fn sized(bytes: &[u8]) -> Vec<u8> {
        [&u32::try_from(bytes.len()).unwrap().to_be_bytes(), bytes].concat()
    }

    /// Properties with two texts, and one header of this type and value.
    fn properties(kind: u8, value: &[u8]) -> Vec<u8> {
        let table = [b"\x01h", &[kind][..], value].concat();
        let before = [&[0, 60, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xe0, 0][..], b"\x01c\x01e"].concat();
        frame(PROPERTIES, &[before, sized(&table), vec![2]].concat())
    }

    /// An array in an array, and so on; the innermost is empty.
    fn arrays(depth: usize, too_deep: Option<usize>) -> Vec<u8> {
        let kinds = (1..depth).rev().map(|at| if too_deep == Some(at) { b'x' } else { b'A' });
        kinds.fold(sized(b""), |inner, kind| sized(&[&[kind], &inner[..]].concat()))
    }

    async fn read(sent: &[u8]) -> io::Result<Vec<u8>> {
        let mut guarded = Guarded::new(sent);
        let (mut found, mut part) = (Vec::new(), [0; 1000]);
        loop {
            let count = poll_fn(|context| Pin::new(&mut guarded).poll_read(context, &mut part)).await?;
            if count == 0 {
                return Ok(found);
            }
            found.extend_from_slice(&part[..count]);
        }
    }

    #[tokio::test]
    async fn frames_come_through_as_they_are() {
        let start = [&[0, 10, 0, 10, 0, 9][..], &sized(b"\x01vF\0\0\0\x02\x01nt"), b"rest"].concat();
        let frames = [
            frame(METHOD, &start),
            frame(METHOD, &[0, 60, 0, 60]),
            properties(b'A', &arrays(DEEPEST - 1, None)),
            frame(BODY, &vec![1; 3 * READ]),
            frame(HEARTBEAT, b""),
            properties(b'?', b"no type"),
            frame(PROPERTIES, b"short"),
            b"HTTP/1.1 400 Bad Request".to_vec(),
        ];
        assert_eq!(read(&frames.concat()).await.unwrap(), frames.concat());
    }

    #[tokio::test]
    async fn what_is_too_deep_becomes_bytes_and_nothing_else_does() {
        for depth in [DEEPEST, 10_000] {
            let (sent, next) = (properties(b'A', &arrays(depth, None)), properties(b't', &[1]));
            let expected = properties(b'A', &arrays(depth, Some(DEEPEST - 1)));
            assert_eq!(sent != expected, depth >= DEEPEST);
            assert_eq!(
                read(&[sent, next.clone()].concat()).await.unwrap(),
                [expected, next].concat(),
                "{depth}"
            );
        }
    }

    #[tokio::test]
    async fn what_a_broker_never_sends_ends_the_connection() {
        let large = [&[PROPERTIES, 0, 1][..], &u32::MAX.to_be_bytes()].concat();
        for sent in [large, frame(METHOD, &[0, 50, 0, 10, 0, 0]), frame(METHOD, &[0, 60, 0, 20])] {
            assert_eq!(read(&sent).await.unwrap_err().kind(), io::ErrorKind::InvalidData);
        }
    }
}
