//! A broker that is away, as a driver that reconnects by itself counts it: since when, and after how many tries.
//!
//! It says when publishers need not wait for the connection any longer. It connects nothing and waits for nothing.

use std::{
    io,
    time::{Duration, Instant},
};

use crate::{DriverError, ErrorKind};

/// How long a lost connection is waited for before the broker counts as away.
const PATIENCE: Duration = Duration::from_secs(2);
/// How many tries in a row must fail for the same, where that takes less time.
const FAILURES: u32 = 3;

/// A connection that was lost, or could not be made so far.
#[derive(Debug, Clone)]
pub struct Outage {
    since: Instant,
    failures: u32,
    error: DriverError,
}

impl Outage {
    /// A connection was lost just now, for this reason.
    pub fn lost(error: DriverError) -> Self {
        Self { since: Instant::now(), failures: 0, error }
    }

    /// A try to connect failed, the first one or one more of the same outage.
    pub fn failed(before: Option<&Self>, error: DriverError) -> Self {
        let (since, failures) =
            before.map_or_else(|| (Instant::now(), 0), |outage| (outage.since, outage.failures));
        Self { since, failures: failures.saturating_add(1), error }
    }

    /// Whether waiting is of no use: the broker refuses, three tries failed, or two seconds are over.
    pub fn is_known(&self) -> bool {
        self.error.kind != ErrorKind::Unreachable
            || self.failures >= FAILURES
            || self.known_at() <= Instant::now()
    }

    /// When it is known at the latest.
    pub fn known_at(&self) -> Instant {
        self.since + PATIENCE
    }

    /// What the last try came to, or how the connection was lost.
    pub const fn error(&self) -> &DriverError {
        &self.error
    }
}

/// Whether the other end of a connection is gone, as this error of it tells.
pub fn has_left(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::UnexpectedEof
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::BrokenPipe
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outage(kind: ErrorKind, failures: u32, age: Duration) -> Outage {
        let since = Instant::now().checked_sub(age).unwrap();
        Outage { since, failures, error: DriverError::new(kind, "Away.") }
    }

    #[test]
    fn it_is_known_by_its_age_its_failures_or_a_refusal() {
        let second = Duration::from_secs(1);
        assert!(!outage(ErrorKind::Unreachable, FAILURES - 1, second).is_known());
        assert!(outage(ErrorKind::Unreachable, FAILURES, second).is_known());
        assert!(outage(ErrorKind::Unreachable, 0, PATIENCE).is_known());
        assert!(outage(ErrorKind::Refused, 0, second).is_known());
    }

    #[test]
    fn failures_of_one_outage_add_up() {
        let error = |text: &str| DriverError::new(ErrorKind::Unreachable, text);
        let lost = Outage::lost(error("Lost."));
        let first = Outage::failed(Some(&lost), error("One."));
        let second = Outage::failed(Some(&first), error("Two."));
        assert_eq!((second.since, second.failures, &*second.error().message), (lost.since, 2, "Two."));
        assert_eq!(Outage::failed(None, error("New.")).failures, 1);
    }
}
