//! What an operator is told in the log about the calls of one subscription: that its subscriber is left alone and
//! that it is back, that a message is not taken and that it was at last, and what became of those that never were.
//!
//! Each kind of line comes at most once in a while, so that no subscriber can flood the log; the next one says how
//! many were left out. That all is well again is told where the trouble was.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use sluice_api::Subscription;
use tokio::time::Instant;
use tracing::{info, warn};

use crate::Failure;

/// No line of one kind comes sooner after the one before it.
const APART: Duration = Duration::from_secs(10);

/// What was told of one subscription. Outlives its sessions.
#[derive(Debug, Default)]
pub(crate) struct Told(Mutex<Kinds>);

#[derive(Debug, Default)]
struct Kinds {
    /// Whether it was told that the circuit is open.
    open: bool,
    circuit: Pace,
    refused: Pace,
    buried: Pace,
    given_up: Pace,
}

/// When a kind of line was written last.
#[derive(Debug, Default)]
struct Pace {
    last: Option<Instant>,
    left_out: u64,
}

/// What is told of a message that is not dealt with as it should be.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Trouble<'t> {
    pub(crate) subscription: &'t Subscription,
    pub(crate) failure: &'t Failure,
    /// Calls that counted.
    pub(crate) attempts: u32,
}

impl Pace {
    /// How many were left out since the last line, where one may be written now; else this one is, too.
    fn next(&mut self, now: Instant) -> Option<u64> {
        if self.last.is_some_and(|last| now < last + APART) {
            self.left_out += 1;
            return None;
        }
        self.last = Some(now);
        Some(std::mem::take(&mut self.left_out))
    }
}

impl Told {
    /// The circuit has opened after so many failed calls or more, or stays open after a try. Told once until it
    /// closes.
    pub(crate) fn opened(&self, subscription: &Subscription, failures: u32, until_ms: u64) {
        let mut kinds = self.kinds();
        if kinds.open {
            return;
        }
        let Some(left_out) = kinds.circuit.next(Instant::now()) else { return };
        kinds.open = true;
        drop(kinds);
        warn!(
            api = %subscription.api, subscription = %subscription.id, application = subscription.application_name,
            host = host(subscription), failures, until_ms, left_out,
            "A subscriber is left alone: calls in a row failed. Then one message tries whether it is back."
        );
    }

    /// The circuit is closed, though no call has closed it: somebody changed something.
    pub(crate) fn anew(&self) {
        self.kinds().open = false;
    }

    /// The circuit has closed.
    pub(crate) fn closed(&self, subscription: &Subscription) {
        if std::mem::take(&mut self.kinds().open) {
            info!(
                api = %subscription.api, subscription = %subscription.id,
                application = subscription.application_name, host = host(subscription),
                "A subscriber is back: it took a message, and the others follow."
            );
        }
    }

    /// A call for a message failed, and it is tried again. Whether that was told.
    pub(crate) fn refused(&self, trouble: Trouble<'_>) -> bool {
        let Some(left_out) = self.kinds().refused.next(Instant::now()) else { return false };
        let Trouble { subscription, failure, attempts } = trouble;
        warn!(
            api = %subscription.api, subscription = %subscription.id, application = subscription.application_name,
            attempts, code = failure.code, reason = %failure.message, left_out,
            "A subscriber did not take a message; it is tried again."
        );
        true
    }

    /// A message of which [that](Self::refused) was told was taken.
    pub(crate) fn taken(&self, subscription: &Subscription, attempts: u32) {
        info!(
            api = %subscription.api, subscription = %subscription.id, application = subscription.application_name,
            attempts, "A subscriber has taken a message that it did not take before."
        );
    }

    /// A message was put with the dead letters.
    pub(crate) fn buried(&self, trouble: Trouble<'_>) {
        let Some(left_out) = self.kinds().buried.next(Instant::now()) else { return };
        let Trouble { subscription, failure, attempts } = trouble;
        warn!(
            api = %subscription.api, subscription = %subscription.id, application = subscription.application_name,
            attempts, code = failure.code, reason = %failure.message, left_out,
            "A message was put with the dead letters."
        );
    }

    /// A message was given up.
    pub(crate) fn given_up(&self, trouble: Trouble<'_>) {
        let Some(left_out) = self.kinds().given_up.next(Instant::now()) else { return };
        let Trouble { subscription, failure, attempts } = trouble;
        warn!(
            api = %subscription.api, subscription = %subscription.id, application = subscription.application_name,
            attempts, code = failure.code, reason = %failure.message, left_out, "A message was given up."
        );
    }

    fn kinds(&self) -> MutexGuard<'_, Kinds> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whom a subscription calls. The rest of the address may hold secrets.
fn host(subscription: &Subscription) -> String {
    let url = url::Url::parse(&subscription.callback.callback_url).ok();
    url.and_then(|url| url.host_str().map(str::to_owned)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_apart_and_say_how_many_were_left_out() {
        let (mut pace, now) = (Pace::default(), Instant::now());
        assert_eq!(pace.next(now), Some(0));
        assert_eq!(pace.next(now + APART - Duration::from_millis(1)), None);
        assert_eq!(pace.next(now + APART / 2), None);
        assert_eq!(pace.next(now + APART), Some(2));
        assert_eq!(pace.next(now + APART), None);
    }
}
