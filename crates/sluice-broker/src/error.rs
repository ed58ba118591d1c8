//! Why a broker did not do what it was asked, whose fault that is, and whether to try again.

use std::fmt;

/// Who has to act for the same call to succeed later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The web client sent what the broker cannot take.
    Client,
    /// The broker is away, full, or refuses.
    Broker,
    /// The gateway's own configuration or disk.
    Gateway,
}

/// What went wrong, as far as callers act differently on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// No answer within the time allowed, or no connection.
    Unreachable,
    /// The broker answered that these credentials may not do this.
    Refused,
    /// The topic does not exist and is not made on demand.
    NoTopic,
    /// The message is larger than the broker takes.
    TooLarge,
    /// The message breaks a rule of its topic: it needs a key, say, or is of another time.
    Invalid,
    /// The broker does not take this message, and would not if it came again: for what the broker has decided, as a
    /// size that it does not tell beforehand.
    Rejected,
    /// More is under way than the driver holds; the message was not accepted.
    Overloaded,
    /// The messages behind a position are no longer kept.
    PositionLost,
    /// The driver has no such ability.
    Unsupported,
    /// The driver was closed.
    Closed,
    /// The settings cannot work.
    Configuration,
    /// The disk under the embedded log failed or is full.
    Storage,
    /// Anything else; the text says what.
    Other,
}

impl ErrorKind {
    /// The stable code of this error in logs, in answers and in docs/errors.md.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Unreachable => "broker.unreachable",
            Self::Refused => "broker.refused",
            Self::NoTopic => "broker.topic.missing",
            Self::TooLarge => "broker.message.too-large",
            Self::Invalid => "broker.message.invalid",
            Self::Rejected => "broker.message.rejected",
            Self::Overloaded => "broker.overloaded",
            Self::PositionLost => "broker.position.lost",
            Self::Unsupported => "broker.unsupported",
            Self::Closed => "broker.closed",
            Self::Configuration => "broker.configuration",
            Self::Storage => "broker.storage",
            Self::Other => "broker.error",
        }
    }

    /// Whose fault it is.
    pub const fn fault(self) -> Fault {
        match self {
            Self::TooLarge | Self::Invalid | Self::PositionLost => Fault::Client,
            Self::Unreachable
            | Self::Refused
            | Self::NoTopic
            | Self::Rejected
            | Self::Overloaded
            | Self::Other => Fault::Broker,
            Self::Unsupported | Self::Closed | Self::Configuration | Self::Storage => Fault::Gateway,
        }
    }

    /// Whether the same call may succeed later without anybody changing its input.
    pub const fn retryable(self) -> bool {
        matches!(
            self,
            Self::Unreachable
                | Self::Refused
                | Self::NoTopic
                | Self::Overloaded
                | Self::Storage
                | Self::Other
        )
    }
}

/// A failed call to a broker.
#[derive(Debug, Clone, thiserror::Error)]
pub struct DriverError {
    /// What went wrong.
    pub kind: ErrorKind,
    /// One sentence with names: the topic, the address, the setting.
    pub message: String,
}

impl DriverError {
    /// An error of this kind; `message` names the topic, address or setting concerned.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }

    /// The stable code, see [`ErrorKind::code`].
    pub const fn code(&self) -> &'static str {
        self.kind.code()
    }

    /// Whose fault it is.
    pub const fn fault(&self) -> Fault {
        self.kind.fault()
    }

    /// Whether to try again.
    pub const fn retryable(&self) -> bool {
        self.kind.retryable()
    }
}

impl fmt::Display for DriverError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} [{}]", self.message, self.code())
    }
}
