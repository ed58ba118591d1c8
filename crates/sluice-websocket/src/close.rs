//! The numbers that say why a connection is closed, RFC 6455 section 7.4.

use std::fmt;

/// Why a connection is closed: a number that may stand in a close frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CloseCode(u16);

impl CloseCode {
    /// Everything was said.
    pub const NORMAL: Self = Self(1000);
    /// This side goes away, or takes the other to have gone.
    pub const GOING_AWAY: Self = Self(1001);
    /// The other side broke the protocol.
    pub const PROTOCOL: Self = Self(1002);
    /// Data that is not what its frame says: text that is not UTF-8, compressed data that is not.
    pub const INVALID_DATA: Self = Self(1007);
    /// A rule of this side does not allow the message.
    pub const POLICY: Self = Self(1008);
    /// The message is too big.
    pub const TOO_BIG: Self = Self(1009);
    /// This side cannot go on.
    pub const INTERNAL: Self = Self(1011);
    /// This side begins anew; a later try finds it.
    pub const RESTART: Self = Self(1012);
    /// This side cannot go on now; a later try may do.
    pub const TRY_LATER: Self = Self(1013);

    /// The code of this number; `None` for one that must not be sent.
    pub fn from_wire(number: u16) -> Option<Self> {
        matches!(number, 1000..=1003 | 1007..=1014 | 3000..=4999).then_some(Self(number))
    }

    /// The number.
    pub const fn number(self) -> u16 {
        self.0
    }
}

impl fmt::Display for CloseCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
