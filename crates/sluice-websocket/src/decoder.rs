//! Reading what a client sends: frames in pieces of any size become whole messages.
//!
//! What is wrong is told as soon as it can be seen: a length over the limit before its bytes have come, text
//! that is not UTF-8 in the middle of a frame. Only the message that is being put together is kept.

use bytes::{Buf, Bytes, BytesMut};

use crate::{
    CloseCode, Kind, Violation,
    deflate::Inflater,
    header::{self, Header, Opcode},
    mask::Mask,
    utf8::Utf8,
};

/// How large what a client sends may be, in bytes.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// The content of one frame, as it is sent.
    pub frame: usize,
    /// A message, put together and uncompressed.
    pub message: usize,
}

/// What a client has said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A whole message.
    Message {
        /// What the client says it is. Text has been checked.
        kind: Kind,
        /// Its content.
        payload: Bytes,
    },
    /// A question whether this side is there, to be answered with the same content.
    Ping(Bytes),
    /// An answer to such a question.
    Pong,
    /// The end; nothing more is read.
    Close(Option<(CloseCode, String)>),
}

/// Reads what one client sends.
#[derive(Debug)]
pub struct Decoder {
    limits: Limits,
    compression: bool,
    /// The frame of a message whose content is awaited.
    frame: Option<Frame>,
    /// The message that is being put together.
    message: Option<Box<Partial>>,
    closed: bool,
}

#[derive(Debug)]
struct Frame {
    fin: bool,
    /// Bytes that have not come yet; within the limit of a frame.
    awaited: usize,
    mask: Mask,
}

#[derive(Debug)]
struct Partial {
    kind: Kind,
    content: Vec<u8>,
    text: Utf8,
    inflater: Option<Inflater>,
    /// Bytes of content that its frames have announced, as they are sent.
    announced: u64,
}

impl Decoder {
    /// A decoder for one connection; `compression` says whether it was agreed on.
    pub const fn new(limits: Limits, compression: bool) -> Self {
        Self { limits, compression, frame: None, message: None, closed: false }
    }

    /// Sets other limits for what begins from now on.
    pub const fn limit(&mut self, limits: Limits) {
        self.limits = limits;
    }

    /// Bytes of memory that the message which is being put together takes by now.
    pub fn held(&self) -> usize {
        self.message.as_ref().map_or(0, |message| message.content.capacity())
    }

    /// The next thing that the client has said, taken from the beginning of what was received; `None` when
    /// more is needed. Call it until then. After an error or a close nothing more is to be read.
    pub fn next(&mut self, received: &mut BytesMut) -> Result<Option<Event>, Violation> {
        while !self.closed {
            if let Some(frame) = &mut self.frame {
                if received.is_empty() && frame.awaited > 0 {
                    return Ok(None);
                }
                let here = frame.awaited.min(received.len());
                frame.mask.apply(&mut received[..here]);
                frame.awaited -= here;
                let (whole, fin) = (frame.awaited == 0, frame.fin);
                if let Some(message) = &mut self.message {
                    message.push(&received[..here], self.limits.message)?;
                }
                received.advance(here);
                if whole {
                    self.frame = None;
                }
                if whole
                    && fin
                    && let Some(message) = self.message.take()
                {
                    return message.finish(self.limits.message).map(Some);
                }
                continue;
            }
            let Some((header, length)) = header::parse(received)? else { return Ok(None) };
            if !header.opcode.is_control() {
                self.begin(&header)?;
                received.advance(length);
            } else if header.compressed {
                return Err(Violation::ReservedBit);
            } else {
                // At most 125 bytes, see the header.
                let end = length + usize::try_from(header.length).unwrap_or(usize::MAX);
                if received.len() < end {
                    return Ok(None);
                }
                let event = self.control(&header, &mut received[length..end]);
                received.advance(end);
                return event.map(Some);
            }
        }
        received.clear();
        Ok(None)
    }

    /// Begins a frame of a message.
    fn begin(&mut self, header: &Header) -> Result<(), Violation> {
        let message = match (header.opcode, &mut self.message) {
            (Opcode::Message(_), Some(_)) => return Err(Violation::Interleaved),
            (Opcode::Message(kind), none) => {
                if header.compressed && !self.compression {
                    return Err(Violation::ReservedBit);
                }
                none.insert(Box::new(Partial::new(kind, header.compressed)))
            }
            (_, None) => return Err(Violation::Continuation),
            // Only the first frame of a message says whether it is compressed.
            (_, Some(_)) if header.compressed => return Err(Violation::ReservedBit),
            (_, Some(message)) => message,
        };
        message.announced = message.announced.saturating_add(header.length);
        let most = match message.inflater {
            None => self.limits.message,
            // What cannot be compressed is a little larger for having been.
            Some(_) => self.limits.message.saturating_add(self.limits.message / 8 + 64),
        };
        if message.announced > most as u64 {
            return Err(Violation::TooBig);
        }
        let awaited = usize::try_from(header.length).ok().filter(|length| *length <= self.limits.frame);
        let awaited = awaited.ok_or(Violation::TooBig)?;
        self.frame = Some(Frame { fin: header.fin, awaited, mask: header.mask });
        Ok(())
    }

    fn control(&mut self, header: &Header, content: &mut [u8]) -> Result<Event, Violation> {
        let mut mask = header.mask;
        mask.apply(content);
        match header.opcode {
            Opcode::Ping => Ok(Event::Ping(Bytes::copy_from_slice(content))),
            Opcode::Close => {
                self.closed = true;
                close(content).map(Event::Close)
            }
            _ => Ok(Event::Pong),
        }
    }
}

/// The content of a close frame.
fn close(content: &[u8]) -> Result<Option<(CloseCode, String)>, Violation> {
    if content.is_empty() {
        return Ok(None);
    }
    let (number, reason) = content.split_first_chunk().ok_or(Violation::CloseCode)?;
    let code = CloseCode::from_wire(u16::from_be_bytes(*number)).ok_or(Violation::CloseCode)?;
    let reason = std::str::from_utf8(reason).map_err(|_| Violation::Utf8)?;
    Ok(Some((code, reason.to_owned())))
}

impl Partial {
    fn new(kind: Kind, compressed: bool) -> Self {
        let inflater = compressed.then(Inflater::new);
        Self { kind, content: Vec::new(), text: Utf8::default(), inflater, announced: 0 }
    }

    /// Adds content without its mask.
    fn push(&mut self, piece: &[u8], limit: usize) -> Result<(), Violation> {
        let before = self.content.len();
        match &mut self.inflater {
            None => self.content.extend_from_slice(piece),
            Some(inflater) => inflater.push(piece, &mut self.content, limit)?,
        }
        self.check_text(before)
    }

    fn finish(mut self, limit: usize) -> Result<Event, Violation> {
        if let Some(inflater) = self.inflater.take() {
            let before = self.content.len();
            inflater.finish(&mut self.content, limit)?;
            self.check_text(before)?;
        }
        if !self.text.is_whole() {
            return Err(Violation::Utf8);
        }
        Ok(Event::Message { kind: self.kind, payload: self.content.into() })
    }

    fn check_text(&mut self, from: usize) -> Result<(), Violation> {
        if self.kind == Kind::Text && !self.text.push(&self.content[from..]) {
            return Err(Violation::Utf8);
        }
        Ok(())
    }
}
