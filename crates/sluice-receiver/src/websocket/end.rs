//! Why a connection ends, and how the client is told: the codes of RFC 6455 section 7.4.1 as that means them.

use bytes::Bytes;
use http::StatusCode;
use sluice_broker::{DriverError, ErrorKind, Fault};
use sluice_websocket::{CloseCode, Violation, encode};

use crate::{Refusal, publishing::Failure};

/// The end of a connection.
#[derive(Debug)]
pub(super) enum End {
    /// The connection is gone; nobody is there to be told.
    Gone,
    /// The client has closed, with this code.
    Answered(Option<CloseCode>),
    /// The client broke the protocol; nothing more is read of it.
    Violated(Violation),
    /// This side closes.
    Closed(CloseCode, String),
}

impl End {
    /// This side closes with this code.
    pub(super) fn closed(code: CloseCode, reason: impl Into<String>) -> Self {
        Self::Closed(code, reason.into())
    }

    /// The last frame; `None` where there is nobody to read it.
    pub(super) fn frame(&self) -> Option<Bytes> {
        match self {
            Self::Gone => None,
            Self::Answered(Some(code)) => Some(encode::close(*code, "")),
            Self::Answered(None) => Some(encode::close_without_code()),
            Self::Violated(violation) => Some(encode::close(violation.close_code(), &violation.to_string())),
            Self::Closed(code, reason) => Some(encode::close(*code, reason)),
        }
    }

    /// Whether the client is to connect again after a while.
    pub(super) const fn is_to_come_again(&self) -> bool {
        matches!(self, Self::Closed(CloseCode::RESTART | CloseCode::TRY_LATER, _))
    }

    /// The end for a message that is not with the broker; `None` for one that a policy kept back, which is
    /// no fault.
    pub(super) fn of_publish(failure: &Failure) -> Option<Self> {
        match failure {
            Failure::Dropped { .. } => None,
            Failure::Rejected(rejection) => Some(Self::closed(CloseCode::POLICY, &*rejection.message)),
            Failure::Nowhere(error) => Some(Self::closed(CloseCode::INTERNAL, error.to_string())),
            Failure::Misled(error) => Some(Self::closed(CloseCode::INTERNAL, error.to_string())),
            Failure::Broker(error) => Some(error.clone().into()),
        }
    }
}

impl From<DriverError> for End {
    fn from(error: DriverError) -> Self {
        let code = match (error.kind, error.fault()) {
            (ErrorKind::TooLarge, _) => CloseCode::TOO_BIG,
            (_, Fault::Client) => CloseCode::POLICY,
            // A closed driver belongs to a deployment that is being replaced: the next try finds the new one.
            (ErrorKind::Closed, _) => CloseCode::TRY_LATER,
            _ if error.retryable() => CloseCode::TRY_LATER,
            _ => CloseCode::INTERNAL,
        };
        // Not the broker's own words, which name addresses.
        Self::Closed(code, Refusal::from(error).message)
    }
}

/// The end for a client that cannot be placed where it wants to begin.
impl From<Refusal> for End {
    fn from(refusal: Refusal) -> Self {
        let code = match refusal.status {
            status if status.is_client_error() => CloseCode::POLICY,
            StatusCode::SERVICE_UNAVAILABLE => CloseCode::TRY_LATER,
            _ => CloseCode::INTERNAL,
        };
        Self::Closed(code, refusal.message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_of_the_broker_is_one_to_come_back_after() {
        let code = |kind| {
            let Some(End::Closed(code, reason)) =
                End::of_publish(&Failure::Broker(DriverError::new(kind, "10.0.0.1 is away")))
            else {
                panic!("nothing to tell");
            };
            assert!(!reason.contains("10.0.0.1"));
            code
        };
        assert_eq!(code(ErrorKind::Unreachable), CloseCode::TRY_LATER);
        assert_eq!(code(ErrorKind::Closed), CloseCode::TRY_LATER);
        assert_eq!(code(ErrorKind::TooLarge), CloseCode::TOO_BIG);
        assert_eq!(code(ErrorKind::Configuration), CloseCode::INTERNAL);
    }

    #[test]
    fn a_place_that_cannot_be_had_now_is_one_to_come_back_for() {
        for (status, expected) in [
            (StatusCode::BAD_REQUEST, CloseCode::POLICY),
            (StatusCode::SERVICE_UNAVAILABLE, CloseCode::TRY_LATER),
            (StatusCode::INTERNAL_SERVER_ERROR, CloseCode::INTERNAL),
        ] {
            let End::Closed(code, reason) = Refusal::new(status, "x", "Why.").into() else {
                panic!("nothing to tell")
            };
            assert_eq!((code, &*reason), (expected, "Why."));
        }
    }
}
