//! How many messages a link may have under way: bounded by number, and by size as far as it can be foretold.
//!
//! AMQP counts credit in messages. What the next ones weigh is guessed from the largest of late, so that large messages
//! shrink the credit and small ones let it grow again.

/// The guess before anything has come.
const FIRST_GUESS: usize = 16 << 10;

/// The credit of one link.
#[derive(Debug)]
pub(crate) struct Credit {
    most: u32,
    bytes: usize,
    guess: usize,
    waits: bool,
}

impl Credit {
    /// At most so many messages, and about so many KiB; where it `waits`, no more is given until all of it was used.
    pub(crate) const fn new(most: u32, kib: u32, waits: bool) -> Self {
        Self { most, bytes: (kib as usize).saturating_mul(1024), guess: FIRST_GUESS, waits }
    }

    /// A message of so many bytes has come.
    pub(crate) fn note(&mut self, size: usize) {
        self.guess = size.max(self.guess - self.guess / 16).max(1);
    }

    /// The credit to give now, with so much unacknowledged and so much credit still out; `None` where that will do.
    /// There is always credit for one message when none is held.
    pub(crate) fn to_ask_for(&self, held: usize, held_bytes: usize, out: u32) -> Option<u32> {
        let by_number = (self.most as usize).saturating_sub(held);
        let by_size = self.bytes.saturating_sub(held_bytes) / self.guess;
        let least = usize::from(held == 0);
        let room = u32::try_from(by_number.min(by_size).max(least)).unwrap_or(u32::MAX);
        let enough = if self.waits { room.min(1) } else { room.div_ceil(2) };
        (out < enough).then_some(room)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credit_is_renewed_at_half() {
        let credit = Credit::new(100, 8 << 10, false);
        assert_eq!(credit.to_ask_for(0, 0, 0), Some(100));
        assert_eq!(credit.to_ask_for(0, 0, 50), None);
        assert_eq!(credit.to_ask_for(0, 0, 49), Some(100));
    }

    #[test]
    fn credit_that_waits_is_renewed_when_it_is_used_up() {
        let credit = Credit::new(100, 8 << 10, true);
        assert_eq!((credit.to_ask_for(0, 0, 1), credit.to_ask_for(0, 0, 0)), (None, Some(100)));
        assert_eq!(credit.to_ask_for(100, 0, 0), None);
    }

    #[test]
    fn what_is_held_is_subtracted() {
        let credit = Credit::new(10, 8 << 10, false);
        assert_eq!(credit.to_ask_for(4, 0, 0), Some(6));
        assert_eq!(credit.to_ask_for(10, 0, 0), None);
        assert_eq!(credit.to_ask_for(9, 0, 0), Some(1));
    }

    #[test]
    fn large_messages_shrink_it_and_small_ones_let_it_grow() {
        let mut credit = Credit::new(1000, 1024, false);
        credit.note(512 << 10);
        assert_eq!(credit.to_ask_for(0, 0, 0), Some(2));
        credit.note(2 << 20);
        assert_eq!(credit.to_ask_for(0, 0, 0), Some(1), "one always may come");
        assert_eq!(credit.to_ask_for(1, 2 << 20, 0), None);
        for _ in 0..200 {
            credit.note(100);
        }
        assert_eq!(credit.to_ask_for(0, 0, 0), Some(1000));
    }
}
