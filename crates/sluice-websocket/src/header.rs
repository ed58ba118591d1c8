//! The first bytes of a frame, RFC 6455 section 5.2.

use bytes::BufMut;

use crate::{Kind, Violation, mask::Mask};

/// What a frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Opcode {
    Continuation,
    Message(Kind),
    Close,
    Ping,
    Pong,
}

/// The most bytes that a ping, pong or close may carry.
pub(crate) const MAX_CONTROL: usize = 125;

const FIN: u8 = 0x80;
const COMPRESSED: u8 = 0x40;
const RESERVED: u8 = 0x30;
const MASKED: u8 = 0x80;

/// A frame of a client without its content.
#[derive(Debug)]
pub(crate) struct Header {
    pub(crate) fin: bool,
    pub(crate) compressed: bool,
    pub(crate) opcode: Opcode,
    pub(crate) length: u64,
    pub(crate) mask: Mask,
}

impl Opcode {
    const fn number(self) -> u8 {
        match self {
            Self::Continuation => 0,
            Self::Message(Kind::Text) => 1,
            Self::Message(Kind::Binary) => 2,
            Self::Close => 8,
            Self::Ping => 9,
            Self::Pong => 10,
        }
    }

    const fn from_number(number: u8) -> Option<Self> {
        Some(match number {
            0 => Self::Continuation,
            1 => Self::Message(Kind::Text),
            2 => Self::Message(Kind::Binary),
            8 => Self::Close,
            9 => Self::Ping,
            10 => Self::Pong,
            _ => return None,
        })
    }

    pub(crate) const fn is_control(self) -> bool {
        matches!(self, Self::Close | Self::Ping | Self::Pong)
    }
}

/// Reads the header at the beginning of `bytes`, and says how long it is; `None` while it is not whole. What
/// is wrong is told as soon as it can be seen.
pub(crate) fn parse(bytes: &[u8]) -> Result<Option<(Header, usize)>, Violation> {
    let Some(&first) = bytes.first() else { return Ok(None) };
    let opcode = Opcode::from_number(first & 0x0f).ok_or(Violation::Opcode)?;
    let (fin, compressed) = (first & FIN != 0, first & COMPRESSED != 0);
    if first & RESERVED != 0 {
        return Err(Violation::ReservedBit);
    }
    if opcode.is_control() && !fin {
        return Err(Violation::Control);
    }
    let Some(&second) = bytes.get(1) else { return Ok(None) };
    if second & MASKED == 0 {
        return Err(Violation::Unmasked);
    }
    let short = second & !MASKED;
    if opcode.is_control() && usize::from(short) > MAX_CONTROL {
        return Err(Violation::Control);
    }
    let rest = &bytes[2..];
    let (length, rest) = match short {
        126 => {
            let Some((length, rest)) = rest.split_first_chunk() else { return Ok(None) };
            (u64::from(u16::from_be_bytes(*length)), rest)
        }
        127 => {
            let Some((length, rest)) = rest.split_first_chunk() else { return Ok(None) };
            (u64::from_be_bytes(*length), rest)
        }
        short => (u64::from(short), rest),
    };
    let least = match short {
        126 => 126,
        127 => 1 << 16,
        _ => 0,
    };
    if length < least || length >> 63 != 0 {
        return Err(Violation::Length);
    }
    let Some((key, rest)) = rest.split_first_chunk() else { return Ok(None) };
    let header = Header { fin, compressed, opcode, length, mask: Mask::new(*key) };
    Ok(Some((header, bytes.len() - rest.len())))
}

/// Writes the header of a server's frame, which is whole and has no mask.
pub(crate) fn put(out: &mut impl BufMut, opcode: Opcode, compressed: bool, length: usize) {
    out.put_u8(FIN | if compressed { COMPRESSED } else { 0 } | opcode.number());
    match length {
        0..=125 => out.put_u8(length as u8),
        126..=0xffff => {
            out.put_u8(126);
            out.put_u16(length as u16);
        }
        _ => {
            out.put_u8(127);
            out.put_u64(length as u64);
        }
    }
}

/// The most bytes that [`put`] writes.
pub(crate) const MAX_HEADER: usize = 10;
