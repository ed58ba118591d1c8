//! What the broker's conditions and the library's errors mean to the gateway.

use std::io;

use fe2o3_amqp::{
    connection::{ConnectionStopReason, Error as ConnectionError, OpenError},
    link::{
        DetachError, LinkStateError, ReceiverAttachError, RecvError, SendError, SenderAttachError,
        SessionStopReason,
    },
    session::BeginError,
    transport,
    types::{
        definitions::{AmqpError, Error as Condition, ErrorCondition, LinkError},
        primitives::Symbol,
    },
};
use sluice_broker::{DriverError, ErrorKind};

/// Why something failed, in words that end a sentence, and what kind of error it is.
#[derive(Debug, Clone)]
pub(crate) struct Cause {
    pub(crate) kind: ErrorKind,
    pub(crate) text: String,
    /// Whether the connection is of no use any more.
    pub(crate) disconnected: bool,
}

impl Cause {
    pub(crate) fn new(kind: ErrorKind, text: impl Into<String>) -> Self {
        Self { kind, text: text.into(), disconnected: false }
    }

    pub(crate) fn lost(text: impl Into<String>) -> Self {
        Self { disconnected: true, ..Self::new(ErrorKind::Unreachable, text) }
    }

    /// Whether it is about the address, and no message to it fares better.
    pub(crate) const fn is_of_address(&self) -> bool {
        matches!(self.kind, ErrorKind::NoTopic | ErrorKind::Refused)
    }

    /// What the broker says, where it says anything.
    fn said(condition: Option<&Condition>, otherwise: &str) -> Self {
        condition.map_or_else(|| Self::new(ErrorKind::Other, otherwise), Self::of_condition)
    }

    /// An error that the broker gave a link or a message.
    pub(crate) fn of_condition(condition: &Condition) -> Self {
        let kind = match &condition.condition {
            ErrorCondition::AmqpError(AmqpError::NotFound | AmqpError::ResourceDeleted) => ErrorKind::NoTopic,
            ErrorCondition::AmqpError(AmqpError::UnauthorizedAccess) => ErrorKind::Refused,
            ErrorCondition::LinkError(LinkError::MessageSizeExceeded) => ErrorKind::TooLarge,
            _ if is_missing_permission(condition) => ErrorKind::Refused,
            _ if condition.description.as_deref().and_then(largest).is_some() => ErrorKind::TooLarge,
            _ => ErrorKind::Other,
        };
        Self::new(kind, told(condition))
    }

    /// The same for what closed the whole connection, which no later message survives.
    fn of_close(condition: Option<&Condition>) -> Self {
        let Some(condition) = condition else { return Self::lost("the broker closed the connection") };
        let cause = Self::of_condition(condition);
        let kind = match cause.kind {
            ErrorKind::Refused => ErrorKind::Refused,
            // A virtual host that is not there, or that this user has no access to.
            ErrorKind::NoTopic => ErrorKind::Refused,
            _ => ErrorKind::Unreachable,
        };
        Self { kind, disconnected: true, text: format!("the broker closed the connection: {}", cause.text) }
    }

    fn of_session(reason: &SessionStopReason) -> Self {
        match reason {
            SessionStopReason::ConnectionStopped(
                ConnectionStopReason::RemoteClosedWithError(error)
                | ConnectionStopReason::ClosedWithError(error),
            ) => Self::of_close(Some(error)),
            // RabbitMQ ends the session for what others answer on the link.
            SessionStopReason::RemoteEndedWithError(error) | SessionStopReason::EndedWithError(error) => {
                Self { disconnected: true, ..Self::of_condition(error) }
            }
            SessionStopReason::ConnectionStopped(_) => Self::lost("the connection was lost"),
            SessionStopReason::Ended | SessionStopReason::RemoteEnded => {
                Self::lost("the broker ended the session")
            }
        }
    }
}

/// The most bytes of a payload that the broker takes, where what it says is about that: RabbitMQ says it in words.
pub(crate) fn largest(said: &str) -> Option<usize> {
    let (_, limit) = said.split_once(" is larger than ")?;
    limit.rsplit(' ').next()?.parse().ok()
}

/// Artemis has several conditions for a missing permission, an internal error among them, and one number or another of
/// a message for each of them.
fn is_missing_permission(condition: &Condition) -> bool {
    let description = condition.description.as_deref().unwrap_or_default();
    ["AMQ229032", "AMQ229213"].iter().any(|number| description.contains(number))
}

/// The condition's name and what the broker says about it.
fn told(condition: &Condition) -> String {
    let name = match &condition.condition {
        ErrorCondition::AmqpError(error) => Symbol::from(error),
        ErrorCondition::ConnectionError(error) => Symbol::from(error),
        ErrorCondition::SessionError(error) => Symbol::from(error),
        ErrorCondition::LinkError(error) => Symbol::from(error),
        ErrorCondition::Custom(symbol) => symbol.clone(),
    };
    let name = name.as_str();
    match &condition.description {
        Some(description) => format!("the broker says {name}: {description}"),
        None => format!("the broker says {name}"),
    }
}

impl From<&LinkStateError> for Cause {
    fn from(error: &LinkStateError) -> Self {
        match error {
            LinkStateError::SessionStopped(reason) => Self::of_session(reason),
            LinkStateError::RemoteDetachedWithError(error) | LinkStateError::RemoteClosedWithError(error) => {
                Self::of_condition(error)
            }
            // The library tells the first why its link was closed, and the others on it no more than this.
            LinkStateError::RemoteDetached
            | LinkStateError::RemoteClosed
            | LinkStateError::IllegalState
            | LinkStateError::ExpectImmediateDetach => {
                Self::new(ErrorKind::Other, "the broker closed the link")
            }
        }
    }
}

impl From<&DetachError> for Cause {
    fn from(error: &DetachError) -> Self {
        match error {
            DetachError::SessionStopped(reason) => Self::of_session(reason),
            DetachError::RemoteDetachedWithError(error) | DetachError::RemoteClosedWithError(error) => {
                Self::of_condition(error)
            }
            _ => Self::new(ErrorKind::Other, "the broker closed the link"),
        }
    }
}

impl From<&SendError> for Cause {
    fn from(error: &SendError) -> Self {
        match error {
            SendError::LinkStateError(error) => error.into(),
            SendError::Detached(error) => error.into(),
            other => Self::new(ErrorKind::Other, other.to_string()),
        }
    }
}

impl From<&RecvError> for Cause {
    fn from(error: &RecvError) -> Self {
        match error {
            RecvError::LinkStateError(error) => error.into(),
            other => Self::lost(format!("the broker broke a rule of AMQP: {other}")),
        }
    }
}

impl From<&SenderAttachError> for Cause {
    fn from(error: &SenderAttachError) -> Self {
        match error {
            SenderAttachError::SessionStopped(reason) => Self::of_session(reason),
            SenderAttachError::RemoteClosedWithError(error) => Self::of_condition(error),
            other => Self::new(ErrorKind::Other, other.to_string()),
        }
    }
}

impl From<&ReceiverAttachError> for Cause {
    fn from(error: &ReceiverAttachError) -> Self {
        match error {
            ReceiverAttachError::SessionStopped(reason) => Self::of_session(reason),
            ReceiverAttachError::RemoteClosedWithError(error) => Self::of_condition(error),
            other => Self::new(ErrorKind::Other, other.to_string()),
        }
    }
}

impl From<&BeginError> for Cause {
    fn from(error: &BeginError) -> Self {
        match error {
            BeginError::ConnectionStopped(ConnectionStopReason::RemoteClosedWithError(error))
            | BeginError::RemoteEndedWithError(error) => Self::of_close(Some(error)),
            _ => Self::lost("the broker gave no session"),
        }
    }
}

impl From<&ConnectionError> for Cause {
    fn from(error: &ConnectionError) -> Self {
        match error {
            ConnectionError::RemoteClosedWithError(error) => Self::of_close(Some(error)),
            ConnectionError::RemoteClosed => Self::of_close(None),
            ConnectionError::TransportError(error) => of_transport(error),
            other => Self::lost(other.to_string()),
        }
    }
}

impl From<&OpenError> for Cause {
    fn from(error: &OpenError) -> Self {
        match error {
            OpenError::Io(error) => of_io(error),
            OpenError::TransportError(error) => of_transport(error),
            OpenError::ProtocolHeaderMismatch(_) | OpenError::DecodeError(_) => no_amqp(),
            OpenError::RemoteClosed => Self::of_close(None),
            OpenError::RemoteClosedWithError(error) => Self::of_close(Some(error)),
            other => Self::lost(other.to_string()),
        }
    }
}

fn of_transport(error: &transport::Error) -> Cause {
    match error {
        transport::Error::Io(error) => of_io(error),
        transport::Error::IdleTimeoutElapsed => Cause::lost("the broker has fallen silent"),
        _ => no_amqp(),
    }
}

/// The error of a connection.
pub(crate) fn of_io(error: &io::Error) -> Cause {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => Cause::lost("the broker hung up"),
        _ => Cause::lost(error.to_string()),
    }
}

/// The error of what answers with something else.
pub(crate) fn no_amqp() -> Cause {
    Cause::lost("what answers there does not speak AMQP 1.0")
}

/// The error of every call to a driver that was closed.
pub(crate) fn closed() -> DriverError {
    DriverError::new(ErrorKind::Closed, "The connection to the AMQP broker was closed.")
}

/// What the broker says of a message that it does not want.
pub(crate) fn rejection(condition: Option<&Condition>) -> Cause {
    let cause = Cause::said(condition, "the broker rejected it without a reason");
    let passes = condition
        .is_some_and(|error| error.condition == ErrorCondition::AmqpError(AmqpError::ResourceLimitExceeded));
    match cause.kind {
        // Full today may be empty tomorrow; any other reason stays with the message.
        ErrorKind::Other if !passes => Cause { kind: ErrorKind::Invalid, ..cause },
        _ => cause,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rabbitmqs_limit_is_read_from_its_words() {
        let text = "PRECONDITION_FAILED - message size 3145728 is larger than configured max size 2097152";
        let condition = Condition::new(AmqpError::PreconditionFailed, Some(text.to_owned()), None);
        let cause = Cause::of_condition(&condition);
        assert_eq!((cause.kind, largest(&cause.text)), (ErrorKind::TooLarge, Some(2_097_152)));
        let other = Condition::new(AmqpError::PreconditionFailed, Some("no".to_owned()), None);
        assert_eq!(Cause::of_condition(&other).kind, ErrorKind::Other);
    }
}
