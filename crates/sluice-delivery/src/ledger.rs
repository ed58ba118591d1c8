//! How far one subscription has come: the [ack window](AckWindow) over what it is brought, and the place where
//! that is stored.

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicBool, Ordering},
};

use sluice_api::Qos;
use sluice_message::{Place, Position};
use sluice_stream::{AckWindow, Begun, Positions, PositionsError};
use tracing::warn;

/// Messages that may be under way, or settled behind one that is not. Each takes some 32 bytes.
const WINDOW: usize = 10_000;

/// How far one reader has come.
pub(crate) struct Ledger {
    positions: Arc<dyn Positions>,
    reader: String,
    keeps: Keeps,
    window: Mutex<AckWindow>,
    /// Whether the position has moved since it was stored.
    moved: AtomicBool,
}

/// Which position is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Keeps {
    /// None: there is no place to come back to.
    Nothing,
    /// Behind what is dealt with.
    Settled,
    /// Behind what has gone out.
    Begun,
}

/// A message that is being dealt with.
#[derive(Debug)]
pub(crate) struct Ticket(Option<Begun>);

impl Ledger {
    /// A reader that goes on behind `position`.
    pub(crate) fn new(
        positions: &Arc<dyn Positions>,
        reader: String,
        qos: Qos,
        position: Position,
    ) -> Arc<Self> {
        let keeps = match qos {
            Qos::None => Keeps::Nothing,
            Qos::Auto | Qos::AtLeastOnce => Keeps::Settled,
            Qos::AtMostOnce => Keeps::Begun,
        };
        let window = Mutex::new(AckWindow::new(position, WINDOW));
        // Also the one that it begins with may not be stored yet.
        let moved = AtomicBool::new(true);
        Arc::new(Self { positions: Arc::clone(positions), reader, keeps, window, moved })
    }

    /// Takes a message in hand; `None` where it is or was in hand already. A message that the broker gave no
    /// place is not accounted for.
    pub(crate) fn begin(&self, place: Option<&Place>) -> Option<Ticket> {
        match place {
            Some(place) if self.keeps != Keeps::Nothing => {
                self.window().begin(place).map(|begun| Ticket(Some(begun)))
            }
            _ => Some(Ticket(None)),
        }
    }

    /// A message is dealt with.
    pub(crate) fn settle(&self, ticket: &Ticket) {
        let moved = ticket.0.as_ref().is_some_and(|begun| self.window().settle(begun));
        self.moved.fetch_or(moved, Ordering::Relaxed);
    }

    /// A message does not count: the position moves past it with the next one.
    pub(crate) fn leave_out(&self, ticket: &Ticket) {
        let moved = ticket.0.as_ref().is_some_and(|begun| self.window().leave_out(begun));
        self.moved.fetch_or(moved, Ordering::Relaxed);
    }

    /// A message surely was not taken, and is to come again. False where that cannot be: it is at most once, and
    /// later ones have gone out.
    pub(crate) fn release(&self, ticket: &Ticket) -> bool {
        let Some(begun) = &ticket.0 else { return true };
        let comes_again = self.window().release(begun) || self.keeps != Keeps::Begun;
        if comes_again {
            self.moved.store(true, Ordering::Relaxed);
        } else {
            self.settle(ticket);
        }
        comes_again
    }

    /// Goes on where the broker's reader does, which has told of a gap. All that it handed out before is in hand
    /// or dealt with.
    pub(crate) fn follow(&self, read: &Position) {
        if self.keeps == Keeps::Nothing {
            return;
        }
        let mut window = self.window();
        let handed = window.begun();
        for (topic, partition, next) in read.nexts() {
            let known = handed.next(topic, partition);
            let is_anew = known.is_some_and(|known| next < known);
            let is_idle = known == window.position().next(topic, partition);
            if is_anew || (is_idle && known != Some(next)) {
                window.give(topic, partition, Some(next));
            }
        }
        for (topic, partition, _) in
            handed.nexts().filter(|(topic, partition, _)| read.next(topic, *partition).is_none())
        {
            window.take_away(topic, partition);
        }
        self.moved.store(true, Ordering::Relaxed);
    }

    /// The position for whoever goes on after this.
    pub(crate) fn position(&self) -> Position {
        match self.keeps {
            Keeps::Nothing => Position::new(),
            Keeps::Settled => self.window().position().clone(),
            Keeps::Begun => self.window().begun(),
        }
    }

    /// Whether nothing more is to be taken in hand for now.
    pub(crate) fn is_full(&self) -> bool {
        self.window().is_full()
    }

    /// Stores the position durably.
    pub(crate) async fn save(&self) -> Result<(), PositionsError> {
        let position = self.position();
        self.positions.save(&self.reader, position).await
    }

    /// Stores the position within a moment, if it has moved.
    pub(crate) fn remember(&self) {
        if !self.moved.swap(false, Ordering::Relaxed) {
            return;
        }
        let position = self.position();
        // An empty one would say that everything is to come again; it is stored only on purpose.
        if position.is_empty() {
            return;
        }
        if let Err(error) = self.positions.save_soon(&self.reader, position) {
            warn!(
                reader = self.reader, %error,
                "A position could not be stored; after a restart some messages will be delivered again."
            );
        }
    }

    fn window(&self) -> MutexGuard<'_, AckWindow> {
        // The window is whole after any panic: each change of it is one call.
        self.window.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use sluice_message::{Offset, Partition, Topic};
    use sluice_stream::MemoryPositions;

    use super::*;

    fn place(offset: u64) -> Place {
        Place { topic: Topic::from("t"), partition: Partition(0), offset: Offset(offset) }
    }

    fn at(next: u64) -> Position {
        let mut position = Position::new();
        position.set_next(&Topic::from("t"), Partition(0), Offset(next));
        position
    }

    fn ledger(qos: Qos) -> Arc<Ledger> {
        let positions: Arc<dyn Positions> = Arc::new(MemoryPositions::default());
        Ledger::new(&positions, "r".to_owned(), qos, at(5))
    }

    #[test]
    fn at_least_once_goes_on_behind_what_is_dealt_with_and_at_most_once_behind_what_went_out() {
        for (qos, next) in [(Qos::AtLeastOnce, 5), (Qos::AtMostOnce, 8)] {
            let ledger = ledger(qos);
            let (_first, second) =
                (ledger.begin(Some(&place(5))).unwrap(), ledger.begin(Some(&place(7))).unwrap());
            ledger.settle(&second);
            assert_eq!(ledger.position(), at(next));
        }
    }

    #[test]
    fn at_most_once_a_message_comes_again_unless_a_later_one_went_out() {
        let ledger = ledger(Qos::AtMostOnce);
        let (first, second) =
            (ledger.begin(Some(&place(5))).unwrap(), ledger.begin(Some(&place(7))).unwrap());
        assert!(!ledger.release(&first));
        assert!(ledger.release(&second));
        assert_eq!(ledger.position(), at(6));
    }

    #[test]
    fn a_gap_is_passed_over_when_nothing_before_it_is_in_hand() {
        let ledger = ledger(Qos::Auto);
        ledger.follow(&at(9));
        assert_eq!(ledger.position(), at(9));
        let ticket = ledger.begin(Some(&place(9))).unwrap();
        ledger.follow(&at(20));
        assert_eq!(ledger.position(), at(9));
        ledger.settle(&ticket);
        assert_eq!(ledger.position(), at(10));
    }

    #[test]
    fn a_topic_made_anew_is_read_from_its_start_and_old_calls_do_not_count() {
        let ledger = ledger(Qos::Auto);
        let old = ledger.begin(Some(&place(7))).unwrap();
        ledger.follow(&at(0));
        let new = ledger.begin(Some(&place(7))).unwrap();
        ledger.settle(&old);
        assert_eq!(ledger.position(), at(0));
        ledger.settle(&new);
        assert_eq!(ledger.position(), at(8));
        ledger.follow(&Position::new());
        assert!(ledger.position().is_empty());
    }
}
