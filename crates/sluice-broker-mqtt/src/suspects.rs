//! Which messages a broker may have hung up on. A broker that does not tell its limit ends the connection over a
//! message that is too large, and names none; so does one that is restarted, or falls over.
//!
//! What tells them apart is repetition. A message that was under way when the connection ended, and is larger than any
//! that the broker took, is suspected: from then on it, and whatever is as large, goes one at a time. So when the
//! connection ends again it is for this one, or for one that is smaller still. Where that has happened often enough
//! there is a verdict, and for a while what is as large is not sent at all, since each try breaks the connection that
//! all publishers share. Nothing here sends, or waits for a connection.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::{Mutex as Turn, MutexGuard as Held},
    time::Instant,
};

/// A packet of so many bytes or less is too large for no broker.
const UNSUSPECTED: usize = 1024;
/// Sizes that are remembered. What is known of one holds for all above it.
const MOST: usize = 64;
/// How long a verdict holds. Each minute one message may break the connection to find out whether somebody has changed
/// the limit; that is seldom enough for all others, and soon enough for whoever changed it.
const HOLDS: Duration = Duration::from_secs(60);

/// The suspects among the messages of one connection to publish by. They outlive the call that published them, so that
/// one who tries again, as a spool does, comes to an end too.
#[derive(Debug)]
pub(crate) struct Suspects {
    /// The largest packet that the broker has taken, in bytes; [`UNSUSPECTED`] at the least.
    taken: AtomicUsize,
    /// By the size of a packet that is larger: how often the connection ended while it had its turn.
    ends: Mutex<BTreeMap<usize, u32>>,
    verdict: Mutex<Option<Verdict>>,
    turn: Turn<()>,
}

/// What was found out about a size. It holds for all above it.
#[derive(Debug)]
struct Verdict {
    size: usize,
    since: Instant,
    what_is_known: String,
}

impl Default for Suspects {
    fn default() -> Self {
        Self {
            taken: AtomicUsize::new(UNSUSPECTED),
            ends: Mutex::default(),
            verdict: Mutex::default(),
            turn: Turn::default(),
        }
    }
}

impl Suspects {
    /// Notes that the broker took a packet of this size.
    pub(crate) fn took(&self, size: usize) {
        if self.taken.fetch_max(size, Ordering::Relaxed) < size {
            self.ends().retain(|suspect, _| *suspect > size);
        }
    }

    /// Whether the end of a connection may be due to a packet of this size.
    pub(crate) fn is_possible(&self, size: usize) -> bool {
        size > self.taken.load(Ordering::Relaxed)
    }

    /// Whether a packet of this size is to go alone, as one like it is suspected already.
    fn is_suspected(&self, size: usize) -> bool {
        self.is_possible(size) && self.ends().range(..=size).next().is_some()
    }

    /// A turn to send a packet of this size; `None` where it is not suspected, or no longer when its turn has come.
    ///
    /// # Errors
    /// What is known against it, while there is a verdict.
    pub(crate) async fn turn(&self, size: usize) -> Result<Option<Held<'_, ()>>, String> {
        if !self.is_suspected(size) {
            return Ok(None);
        }
        self.judged(size)?;
        let turn = self.turn.lock().await;
        // Whoever had it before has found out something.
        self.judged(size)?;
        Ok(self.is_suspected(size).then_some(turn))
    }

    /// Notes that the broker does not take a packet of this size, and how that is known.
    pub(crate) fn judge(&self, size: usize, what_is_known: &str) {
        // One that holds already says more: its size is no larger.
        if self.judged(size).is_ok() {
            let what_is_known = what_is_known.to_owned();
            *self.verdict() = Some(Verdict { size, since: Instant::now(), what_is_known });
        }
    }

    fn judged(&self, size: usize) -> Result<(), String> {
        match &*self.verdict() {
            Some(verdict)
                if size >= verdict.size
                    && self.is_possible(verdict.size)
                    && verdict.since.elapsed() < HOLDS =>
            {
                Err(verdict.what_is_known.clone())
            }
            _ => Ok(()),
        }
    }

    fn verdict(&self) -> MutexGuard<'_, Option<Verdict>> {
        self.verdict.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that the connection ended while a packet of this size was under way, which had its turn or came before it
    /// was suspected. Tells how often it ended over one of this size or less.
    pub(crate) fn ended(&self, size: usize, had_turn: bool) -> u32 {
        let mut ends = self.ends();
        let count = ends.entry(size).or_default();
        *count = count.saturating_add(u32::from(had_turn));
        let ended = ends.range(..=size).fold(0, |sum: u32, (_, count)| sum.saturating_add(*count));
        if ends.len() > MOST {
            ends.pop_last();
        }
        ended
    }

    fn ends(&self) -> MutexGuard<'_, BTreeMap<usize, u32>> {
        self.ends.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use futures_util::FutureExt as _;
    use tokio::time::advance;

    use super::*;

    #[test]
    fn what_is_no_larger_than_what_was_taken_is_not_suspected() {
        let suspects = Suspects::default();
        assert!(!suspects.is_possible(UNSUSPECTED) && suspects.is_possible(UNSUSPECTED + 1));
        suspects.ended(5000, false);
        assert!(suspects.is_suspected(5000) && suspects.is_suspected(6000) && !suspects.is_suspected(4999));
        suspects.took(4999);
        assert!(suspects.is_suspected(5000));
        suspects.took(5000);
        assert!(!suspects.is_possible(5000) && !suspects.is_suspected(6000), "it was something else");
    }

    #[test]
    fn ends_count_over_suspects_in_their_turn_and_speak_against_all_that_is_larger() {
        let suspects = Suspects::default();
        assert_eq!(suspects.ended(5000, false), 0);
        assert_eq!(suspects.ended(5000, true), 1);
        assert_eq!(suspects.ended(4000, true), 1);
        assert_eq!(suspects.ended(5000, true), 3);
        assert_eq!(suspects.ended(4500, true), 2);
    }

    #[test]
    fn few_sizes_are_remembered_and_those_the_smallest() {
        let suspects = Suspects::default();
        for size in 0..=MOST {
            suspects.ended(2000 + size, true);
        }
        assert_eq!(suspects.ends().len(), MOST);
        assert!(!suspects.ends().contains_key(&(2000 + MOST)));
        assert_eq!(suspects.ended(9000, true), 65, "with all that are smaller");
    }

    #[tokio::test(start_paused = true)]
    async fn a_verdict_holds_for_its_size_and_above_for_a_minute() {
        let suspects = Suspects::default();
        suspects.ended(4000, true);
        suspects.judge(5000, "known");
        assert_eq!(suspects.turn(5000).await.err().as_deref(), Some("known"));
        assert_eq!(suspects.turn(9000).await.err().as_deref(), Some("known"));
        assert!(matches!(suspects.turn(4999).await, Ok(Some(_))));
        advance(HOLDS - Duration::from_millis(1)).await;
        suspects.judge(6000, "of a larger one, which adds nothing");
        assert_eq!(suspects.turn(6000).await.err().as_deref(), Some("known"));
        advance(Duration::from_millis(1)).await;
        assert!(matches!(suspects.turn(6000).await, Ok(Some(_))));
        suspects.judge(6000, "again");
        suspects.took(6000);
        assert!(matches!(suspects.turn(7000).await, Ok(None)), "the limit was changed");
    }

    #[tokio::test]
    async fn whoever_waits_for_a_turn_goes_by_what_was_found_out_meanwhile() {
        let suspects = Suspects::default();
        suspects.ended(5000, false);
        let first = suspects.turn(5000).await;
        let (mut same, mut larger) = (pin!(suspects.turn(5000)), pin!(suspects.turn(6000)));
        assert!(same.as_mut().now_or_never().is_none() && larger.as_mut().now_or_never().is_none());
        suspects.took(5000);
        suspects.ended(6000, true);
        suspects.judge(6000, "known");
        drop(first);
        assert!(matches!(same.await, Ok(None)), "it need not wait for anything more");
        assert_eq!(larger.await.err().as_deref(), Some("known"));
    }
}
