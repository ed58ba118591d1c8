//! What RabbitMQ's and lapin's errors mean to the gateway.

use std::fmt::Display;

use lapin::{Error, ErrorKind as Lapin, protocol::AMQPError};
use sluice_broker::{DriverError, ErrorKind};

/// Reply codes of AMQP 0-9-1, section 1.1, and of RabbitMQ.
mod code {
    pub(super) const CONTENT_TOO_LARGE: u16 = 311;
    pub(super) const CONNECTION_FORCED: u16 = 320;
    pub(super) const ACCESS_REFUSED: u16 = 403;
    pub(super) const NOT_FOUND: u16 = 404;
    pub(super) const RESOURCE_LOCKED: u16 = 405;
    pub(super) const PRECONDITION_FAILED: u16 = 406;
    pub(super) const NOT_ALLOWED: u16 = 530;
}

/// The error of what was done at the broker of this address.
pub(crate) fn failed(doing: impl Display, address: &str, error: &Error) -> DriverError {
    let cause = cause(error);
    DriverError::new(kind_of(error), format!("{doing} failed at RabbitMQ {address}: {cause}."))
}

/// What went wrong, in the broker's own words where it said any.
pub(crate) fn cause(error: &Error) -> String {
    match error.kind() {
        Lapin::ProtocolError(answer) => answer.get_message().to_string().trim_end_matches('.').to_owned(),
        Lapin::ParsingError(_) => "what answers there does not speak AMQP 0-9-1".to_owned(),
        Lapin::InvalidProtocolVersion(version) => {
            format!("what answers there speaks AMQP {version} and not 0-9-1; the broker 'amqp' speaks 1.0")
        }
        Lapin::InvalidChannelState(..) | Lapin::InvalidConnectionState(_) | Lapin::InvalidChannel(_) => {
            "the connection was lost".to_owned()
        }
        Lapin::MissingHeartbeatError => "the broker was not heard for too long".to_owned(),
        Lapin::IOError(error) => error.to_string(),
        _ => error.to_string(),
    }
}

fn kind_of(error: &Error) -> ErrorKind {
    match error.kind() {
        Lapin::ProtocolError(answer) => kind_of_answer(answer),
        Lapin::ChannelsLimitReached => ErrorKind::Overloaded,
        Lapin::SerialisationError(_) => ErrorKind::Invalid,
        Lapin::InvalidChannelState(..)
        | Lapin::InvalidConnectionState(_)
        | Lapin::InvalidChannel(_)
        | Lapin::InvalidProtocolVersion(_)
        | Lapin::IOError(_)
        | Lapin::MissingHeartbeatError
        | Lapin::ParsingError(_)
        | Lapin::RuntimeShutdownError(_) => ErrorKind::Unreachable,
        _ => ErrorKind::Other,
    }
}

fn kind_of_answer(answer: &AMQPError) -> ErrorKind {
    match answer.get_id() {
        code::NOT_FOUND => ErrorKind::NoTopic,
        // A virtual host that is missing or not open to this user is not allowed, in AMQP's words.
        code::ACCESS_REFUSED | code::RESOURCE_LOCKED | code::NOT_ALLOWED => ErrorKind::Refused,
        code::PRECONDITION_FAILED if size_and_limit(answer).is_some() => ErrorKind::TooLarge,
        code::PRECONDITION_FAILED => ErrorKind::Configuration,
        code::CONTENT_TOO_LARGE => ErrorKind::TooLarge,
        code::CONNECTION_FORCED => ErrorKind::Unreachable,
        _ => ErrorKind::Other,
    }
}

/// The answer of the broker that closed a channel, if one did.
pub(crate) fn answer_of(error: &Error) -> Option<&AMQPError> {
    match error.kind() {
        Lapin::ProtocolError(answer) if error.is_amqp_soft_error() => Some(answer),
        _ => None,
    }
}

/// The size of the message that was too large, and the broker's limit, both in bytes: RabbitMQ says them in words.
pub(crate) fn size_and_limit(answer: &AMQPError) -> Option<(usize, usize)> {
    let text = answer.get_message().as_str();
    let (size, limit) = text.split_once(" is larger than ")?;
    let number = |text: &str| text.rsplit(' ').next()?.parse().ok();
    Some((number(size)?, number(limit)?))
}

/// The routing key that the user may not publish with, if that is what the broker says.
pub(crate) fn refused_key(answer: &AMQPError) -> Option<&str> {
    let text = answer.get_message().as_str();
    let (_, rest) = text.split_once("access to topic '")?;
    Some(rest.split_once("' in exchange")?.0)
}

/// The error of every call to a driver or reader that was closed.
pub(crate) fn closed() -> DriverError {
    DriverError::new(ErrorKind::Closed, "The connection to RabbitMQ was closed.")
}

#[cfg(test)]
mod tests {
    use lapin::types::ShortString;

    use super::*;

    fn answer(code: u16, text: &str) -> AMQPError {
        AMQPError::from_id(code, ShortString::from(text)).unwrap()
    }

    #[test]
    fn the_broker_says_which_message_was_too_large() {
        for limit in ["configured max size", "max size"] {
            let text = format!("PRECONDITION_FAILED - message size 2000 is larger than {limit} 1000");
            assert_eq!(size_and_limit(&answer(406, &text)), Some((2000, 1000)));
            assert_eq!(kind_of_answer(&answer(406, &text)), ErrorKind::TooLarge);
        }
        let other =
            answer(406, "PRECONDITION_FAILED - inequivalent arg 'type' for exchange 'x' in vhost '/'");
        assert_eq!((size_and_limit(&other), kind_of_answer(&other)), (None, ErrorKind::Configuration));
    }

    #[test]
    fn the_broker_says_which_routing_key_was_refused() {
        let text = "ACCESS_REFUSED - write access to topic 'a.b' in exchange 'amq.topic' in vhost '/' refused for user 'u'";
        assert_eq!(refused_key(&answer(403, text)), Some("a.b"));
        assert_eq!(refused_key(&answer(403, "ACCESS_REFUSED - write access to exchange 'x' refused")), None);
    }
}
