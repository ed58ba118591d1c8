//! Log lines that come again and again: one of a kind gets through in a while, with the number of those that
//! were left out since the one before.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

/// How long the next line of a kind is left out after one got through.
pub(crate) const QUIET: Duration = Duration::from_secs(10);

/// What was said of each kind. There must be few kinds: they are kept.
#[derive(Debug, Default)]
pub(crate) struct Throttle(HashMap<String, Said>);

#[derive(Debug)]
struct Said {
    at: Instant,
    left_out: u64,
}

impl Throttle {
    /// How many lines of this kind were left out before this one; `None` where this one is left out too.
    pub(crate) fn admit(&mut self, kind: &str, now: Instant) -> Option<u64> {
        match self.0.get_mut(kind) {
            Some(said) if now.duration_since(said.at) < QUIET => {
                said.left_out += 1;
                None
            }
            Some(said) => {
                said.at = now;
                Some(std::mem::take(&mut said.left_out))
            }
            None => {
                self.0.insert(kind.to_owned(), Said { at: now, left_out: 0 });
                Some(0)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repeated_line_comes_once_in_a_while_and_counts_those_left_out() {
        let mut throttle = Throttle::default();
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(throttle.admit("REQTMOUT", at(0)), Some(0));
        assert_eq!(throttle.admit("REQTMOUT", at(1)), None);
        assert_eq!(throttle.admit("REQTMOUT", at(9)), None);
        assert_eq!(throttle.admit("COMMITFAIL", at(9)), Some(0), "another kind");
        assert_eq!(throttle.admit("REQTMOUT", at(10)), Some(2));
        assert_eq!(throttle.admit("REQTMOUT", at(19)), None);
        assert_eq!(throttle.admit("REQTMOUT", at(60)), Some(1));
    }
}
