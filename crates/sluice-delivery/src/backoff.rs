//! The waits between tries of what the gateway itself needs: a broker, the store. What a subscriber wants between
//! two calls is in [`retry`](crate::retry).

use std::time::Duration;

const SHORTEST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(30);

/// A wait that is twice as long each time.
#[derive(Debug)]
pub(crate) struct Backoff(Duration);

impl Backoff {
    /// Begins with a second.
    pub(crate) const fn new() -> Self {
        Self(SHORTEST)
    }

    /// How long to wait this time.
    pub(crate) fn next(&mut self) -> Duration {
        let wait = self.0;
        self.0 = (wait * 2).min(LONGEST);
        wait
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_half_a_minute() {
        let mut backoff = Backoff::new();
        let waits: Vec<_> = std::iter::repeat_with(|| backoff.next().as_secs()).take(7).collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 30, 30]);
    }
}
