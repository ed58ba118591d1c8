//! Why a connection failed, in the words of neither library: what it means to callers and what to do.

use std::io;

use sluice_broker::{DriverError, ErrorKind, has_left};

/// What ended a connection, or kept it from being made.
#[derive(Debug, Clone)]
pub(crate) struct Failure {
    /// What it means to whoever waits.
    pub(crate) kind: ErrorKind,
    /// What to say behind the broker's address: "refused the connection".
    pub(crate) cause: String,
    /// Whether a message that was sent may have been the reason.
    pub(crate) suspicion: Suspicion,
}

/// Whether a message that was on its way is to blame for the end of a connection; none is ever named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Suspicion {
    /// It was something else.
    None,
    /// The broker hung up and said nothing, which is all that one of 3.1.1 can do about a message.
    Possible,
    /// The broker said that one was too large.
    Told,
}

impl Failure {
    pub(crate) fn new(kind: ErrorKind, cause: impl Into<String>) -> Self {
        Self { kind, cause: cause.into(), suspicion: Suspicion::None }
    }

    pub(crate) fn unreachable(cause: impl Into<String>) -> Self {
        Self::new(ErrorKind::Unreachable, cause)
    }

    /// The error for callers, with the broker's address.
    pub(crate) fn at(&self, address: &str) -> DriverError {
        DriverError::new(self.kind, format!("The MQTT broker at {address} {}.", self.cause))
    }

    /// The broker does not take a message of the size of one that was sent, and does not say which.
    pub(crate) fn oversized() -> Self {
        Self {
            suspicion: Suspicion::Told,
            ..Self::unreachable("ended the connection: a message is larger than it takes")
        }
    }

    /// The broker ended the connection without a word; `how` is what the transport says to that.
    pub(crate) fn hung_up(how: &str) -> Self {
        Self { suspicion: Suspicion::Possible, ..Self::unreachable(format!("closed the connection{how}")) }
    }

    /// Nobody answered to what stands in `to` in time.
    pub(crate) fn silent(to: &str) -> Self {
        Self::unreachable(format!("did not answer {to} in time; it is overloaded or frozen"))
    }

    /// Nobody answered to the first that was said.
    pub(crate) fn mute() -> Self {
        Self::unreachable(
            "did not answer CONNECT in time; it is overloaded or frozen, or something else than MQTT is spoken there",
        )
    }

    /// Nothing was heard for as long as a broker may be silent.
    pub(crate) fn lasting_silence() -> Self {
        Self::unreachable("said nothing for two keep-alives; it is overloaded or frozen")
    }

    /// The transport failed. TLS says so by errors of input and output, too.
    pub(crate) fn io(error: &io::Error) -> Self {
        let text = error.to_string();
        if text.contains("peer certificate") {
            return Self::unreachable(format!(
                "has a certificate that is not accepted ({text}); check security.ssl.trustStore and that serverHost is a \
                 name in the certificate"
            ));
        }
        if text.contains("fatal alert") {
            return Self::new(
                ErrorKind::Refused,
                format!("refused the TLS connection ({text}); check security.ssl.keyStore"),
            );
        }
        if text.contains("InvalidContentType") || text.contains("corrupt message") {
            return Self::unreachable(format!(
                "does not speak TLS on that port ({text}); leave security.ssl out or use the port for TLS"
            ));
        }
        match error.kind() {
            io::ErrorKind::ConnectionRefused => {
                Self::unreachable("cannot be reached: nothing listens on that port")
            }
            _ if has_left(error) => Self::hung_up(&format!(" ({text})")),
            _ => Self::unreachable(format!("cannot be reached: {text}")),
        }
    }

    /// What came was no MQTT.
    pub(crate) fn foreign(error: &dyn std::fmt::Display) -> Self {
        Self::unreachable(format!(
            "sent what is no MQTT of this version ({error}); check serverPort, 'transport' and 'version', and \
             security.ssl"
        ))
    }

    /// The credentials, or the right to connect, were refused.
    pub(crate) fn refused(reason: &dyn std::fmt::Debug) -> Self {
        Self::new(
            ErrorKind::Refused,
            format!("refused the connection: {reason:?}; check security.auth and clientId"),
        )
    }

    /// It speaks another version.
    pub(crate) fn other_version(version: &str, other: &str) -> Self {
        Self::new(
            ErrorKind::Refused,
            format!("does not speak MQTT {version}; set 'version' to \"{other}\" in the broker's settings"),
        )
    }

    /// The same while connecting, where an end without a word has causes of its own.
    pub(crate) fn while_connecting(mut self) -> Self {
        if self.suspicion == Suspicion::Possible {
            self.cause.push_str(
                " before it answered CONNECT; it may not speak this version of MQTT, or want TLS or another transport",
            );
        }
        Self { suspicion: Suspicion::None, ..self }
    }
}

/// The error of every call to a driver that was closed.
pub(crate) fn closed() -> DriverError {
    DriverError::new(ErrorKind::Closed, "The connection to MQTT was closed.")
}
