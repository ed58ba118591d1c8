//! Whether the connections of a driver last. A broker that takes every connection and ends it again, as one does with
//! two clients of one id, answers whoever asks it, and serves nobody. It is told here, and found by
//! [`check`](sluice_broker::BrokerDriver::check), which says so where the state of a broker is kept and logged; nothing
//! here writes a line for each connection that is lost.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use sluice_broker::DriverError;
use tokio::time::Instant;

use crate::error::{Failure, Suspicion};

/// How soon a connection is lost again that does not last; for as long that is told.
const SOON: Duration = Duration::from_secs(60);
/// How often, one loss soon after the other, until it is told. A broker that is restarted loses each of them once.
const OFTEN: u32 = 3;

/// What the connections of one driver tell together.
#[derive(Debug, Default)]
pub(crate) struct Flaps(Mutex<Option<(Instant, DriverError)>>);

/// The losses of one connection, however often it is made again.
#[derive(Debug)]
pub(crate) struct Losses {
    address: String,
    flaps: Arc<Flaps>,
    is_made: bool,
    count: u32,
    last: Option<Instant>,
}

impl Flaps {
    /// Fails while connections do not last.
    pub(crate) fn check(&self) -> Result<(), DriverError> {
        match &*self.told() {
            Some((at, error)) if at.elapsed() < SOON => Err(error.clone()),
            _ => Ok(()),
        }
    }

    /// There was another reason, which is known.
    pub(crate) fn forget(&self) {
        *self.told() = None;
    }

    fn told(&self) -> MutexGuard<'_, Option<(Instant, DriverError)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Losses {
    pub(crate) fn new(address: String, flaps: Arc<Flaps>) -> Self {
        Self { address, flaps, is_made: false, count: 0, last: None }
    }

    /// The connection is there.
    pub(crate) fn made(&mut self) {
        self.is_made = true;
    }

    /// It is lost, or could not be made, which is no loss.
    pub(crate) fn failed(&mut self, failure: &Failure) {
        if !std::mem::take(&mut self.is_made) {
            return;
        }
        let is_soon = self.last.replace(Instant::now()).is_some_and(|last| last.elapsed() < SOON);
        self.count = if is_soon { self.count.saturating_add(1) } else { 1 };
        if self.count >= OFTEN {
            let hint = match failure.suspicion {
                Suspicion::Possible => "; two gateways with one clientId drive each other out like that",
                _ => "",
            };
            let cause = format!(
                "takes connections that do not last, {} of one client so far, each lost within {} s of the one before; \
                 the last time it {}{hint}",
                self.count,
                SOON.as_secs(),
                failure.cause
            );
            let error = Failure::new(failure.kind, cause).at(&self.address);
            *self.flaps.told() = Some((Instant::now(), error));
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    fn lose(losses: &mut Losses) {
        losses.made();
        losses.failed(&Failure::hung_up(""));
    }

    #[tokio::test(start_paused = true)]
    async fn connections_that_are_lost_again_and_again_are_told_until_they_last() {
        let flaps = Arc::new(Flaps::default());
        let mut losses = Losses::new("b:1883".to_owned(), Arc::clone(&flaps));
        for _ in 1..OFTEN {
            lose(&mut losses);
            advance(SOON - Duration::from_millis(1)).await;
            assert!(flaps.check().is_ok());
        }
        lose(&mut losses);
        let error = flaps.check().expect_err("that is often");
        assert!(error.message.contains("b:1883 takes connections that do not last, 3 of"), "{error}");
        advance(SOON).await;
        assert!(flaps.check().is_ok());
        lose(&mut losses);
        assert!(flaps.check().is_ok(), "it had lasted");
    }

    #[tokio::test(start_paused = true)]
    async fn a_broker_that_is_away_or_restarted_is_none_of_these() {
        let flaps = Arc::new(Flaps::default());
        let readers = (0..9).map(|_| Losses::new("b:1883".to_owned(), Arc::clone(&flaps)));
        for mut losses in readers {
            lose(&mut losses);
            (0..9).for_each(|_| losses.failed(&Failure::hung_up("")));
        }
        assert!(flaps.check().is_ok());
    }
}
