//! What a client can do wrong, and how it is told.

use crate::CloseCode;

/// Why nothing more is read of a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// A frame with a bit set that no agreed extension uses.
    #[error("a reserved bit is set")]
    ReservedBit,
    /// A frame of a kind that there is not.
    #[error("there is no frame with this opcode")]
    Opcode,
    /// A client's frame without a mask.
    #[error("a client must mask its frames")]
    Unmasked,
    /// A length that is written with more bytes than it needs, or beyond 63 bits.
    #[error("the length of a frame is not written as it must be")]
    Length,
    /// A ping, pong or close that is in pieces or over 125 bytes.
    #[error("a control frame must be whole and of at most 125 bytes")]
    Control,
    /// A piece of a message that was not begun.
    #[error("there is no message to be continued")]
    Continuation,
    /// A new message before the last one was whole.
    #[error("the message before this one has no end")]
    Interleaved,
    /// A close frame with half a number, or with one that must not be sent.
    #[error("a close frame has no valid code")]
    CloseCode,
    /// Text that is not UTF-8, in a message or in the reason of a close.
    #[error("text must be UTF-8")]
    Utf8,
    /// A compressed message that is none.
    #[error("a compressed message cannot be read")]
    Deflate,
    /// A frame or message over its limit.
    #[error("the message is too big")]
    TooBig,
}

impl Violation {
    /// The code with which the connection is to be closed.
    pub const fn close_code(self) -> CloseCode {
        match self {
            Self::Utf8 | Self::Deflate => CloseCode::INVALID_DATA,
            Self::TooBig => CloseCode::TOO_BIG,
            _ => CloseCode::PROTOCOL,
        }
    }
}
