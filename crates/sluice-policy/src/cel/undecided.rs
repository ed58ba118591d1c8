//! Conditions without a value, told in the log: at most once in a while, with how often it was.

use std::{
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

/// At most one line in so long.
const PAUSE: Duration = Duration::from_secs(10);

/// How often one condition had no value since that was told last.
#[derive(Debug, Default)]
pub(super) struct Undecided {
    times: AtomicU64,
    told: Mutex<Option<Instant>>,
}

impl Undecided {
    /// Counts one more, and tells of all where it is time again. Why is not told: it may show what a message has in it.
    pub(super) fn tell(&self, condition: &str, api: Option<&str>) {
        self.times.fetch_add(1, Ordering::Relaxed);
        // Whoever finds it locked leaves the telling to the one who tells.
        let Ok(mut told) = self.told.try_lock() else { return };
        if told.is_some_and(|told| told.elapsed() < PAUSE) {
            return;
        }
        *told = Some(Instant::now());
        let times = self.times.swap(0, Ordering::Relaxed);
        tracing::warn!(
            api,
            condition,
            times,
            "A condition has no value, since what it reads is not there, of another kind or too much; its step is \
             passed by, unless it asks who somebody is or what they may.",
        );
    }
}
