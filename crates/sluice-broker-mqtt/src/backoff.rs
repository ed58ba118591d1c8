//! How long a connection waits before it tries again. It waits longer from failure to failure, and by chance not
//! as long as others do, so that the clients of a broker that comes back do not all call at once.

use std::{
    hash::{BuildHasher, RandomState},
    time::{Duration, Instant},
};

const FIRST: Duration = Duration::from_millis(200);
const LAST: Duration = Duration::from_secs(5);

/// The waits of one connection.
#[derive(Debug, Default)]
pub(crate) struct Backoff {
    failures: u32,
    connected: Option<Instant>,
}

impl Backoff {
    /// The connection is there.
    pub(crate) fn connected(&mut self) {
        self.connected = Some(Instant::now());
    }

    /// How long to wait now that it has failed or is lost. One that lasted counts as a fresh start; one that is lost as
    /// soon as it is made does not, as where two clients with one id drive each other out.
    pub(crate) fn wait(&mut self) -> Duration {
        if self.connected.take().is_some_and(|since| since.elapsed() > LAST) {
            self.failures = 0;
        }
        let whole = FIRST.saturating_mul(1 << self.failures.min(5)).min(LAST);
        self.failures = self.failures.saturating_add(1);
        // Fresh random keys come with each state; that is chance enough for this.
        let chance = RandomState::new().hash_one(self.failures) % 500;
        whole - whole.mul_f64(chance as f64 / 1000.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_five_seconds_and_never_fall_below_half_of_what_they_may_be() {
        let mut backoff = Backoff::default();
        for most in [200, 400, 800, 1600, 3200, 5000, 5000] {
            let most = Duration::from_millis(most);
            let wait = backoff.wait();
            assert!(wait <= most && wait >= most / 2, "{wait:?} of {most:?}");
        }
    }

    #[test]
    fn a_connection_that_is_lost_at_once_is_no_fresh_start() {
        let mut backoff = Backoff::default();
        for _ in 0..5 {
            backoff.connected();
            backoff.wait();
        }
        assert!(backoff.wait() > Duration::from_secs(1));
    }
}
