//! Log lines that may be due at any rate, told seldom: each outage and each slow client is told, none floods.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

/// How long after a line the next one may come.
const INTERVAL: Duration = Duration::from_secs(10);

/// One kind of line about one thing: at most one in ten seconds, with the sum of what came between.
#[derive(Debug, Default)]
pub(crate) struct Seldom(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    told: Option<Instant>,
    untold: u64,
}

impl Seldom {
    /// So much has come; how much there is to tell now, with what was not told since the last line. `None` where
    /// it is too early for the next.
    pub(crate) fn tell(&self, number: u64) -> Option<u64> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.untold = state.untold.saturating_add(number);
        if state.told.is_some_and(|told| told.elapsed() < INTERVAL) {
            return None;
        }
        state.told = Some(Instant::now());
        Some(std::mem::take(&mut state.untold))
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_comes_between_two_lines_is_summed_up_in_the_next() {
        let seldom = Seldom::default();
        assert_eq!(seldom.tell(3), Some(3));
        assert_eq!((seldom.tell(4), seldom.tell(5)), (None, None));
        advance(INTERVAL - Duration::from_millis(1)).await;
        assert_eq!(seldom.tell(1), None);
        advance(Duration::from_millis(1)).await;
        assert_eq!((seldom.tell(1), seldom.tell(7)), (Some(11), None));
        advance(INTERVAL).await;
        assert_eq!(seldom.tell(u64::MAX), Some(u64::MAX));
    }
}
