//! Which messages of one subscription wait for which: a lane for each record key, one for all, or none.
//!
//! A message whose lane is busy is held until the one before it is dealt with. How much is held is bounded; when
//! it is full, nothing more is read. Nothing here calls anybody.

use std::collections::{HashMap, VecDeque};

use bytes::Bytes;
use sluice_api::CallbackOrder;
use sluice_message::Message;

/// How much may be held behind busy lanes. A single message may be larger than the bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Room {
    pub(crate) messages: usize,
    pub(crate) bytes: usize,
}

/// Messages in the same lane go one after the other.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Lane {
    /// No other message is in it.
    Own,
    /// All messages are, or all without a key.
    Common,
    /// All messages with this key.
    Key(Bytes),
}

/// The lanes of one subscription.
#[derive(Debug)]
pub(crate) struct Lanes<T> {
    order: CallbackOrder,
    room: Room,
    busy: HashMap<Lane, VecDeque<(T, usize)>>,
    held: usize,
    bytes: usize,
}

impl<T> Lanes<T> {
    pub(crate) fn new(order: CallbackOrder, room: Room) -> Self {
        Self { order, room, busy: HashMap::new(), held: 0, bytes: 0 }
    }

    /// The lane that a message is in.
    pub(crate) fn of(&self, message: &Message) -> Lane {
        match (self.order, message.key()) {
            (CallbackOrder::None, _) => Lane::Own,
            (CallbackOrder::Key, Some(key)) => Lane::Key(key.clone()),
            (CallbackOrder::Key, None) | (CallbackOrder::All, _) => Lane::Common,
        }
    }

    /// Takes a lane that is free. False where it is busy.
    pub(crate) fn enter(&mut self, lane: &Lane) -> bool {
        if *lane == Lane::Own {
            return true;
        }
        let free = !self.busy.contains_key(lane);
        if free {
            self.busy.insert(lane.clone(), VecDeque::new());
        }
        free
    }

    /// Whether one more may be held.
    pub(crate) const fn has_room(&self) -> bool {
        self.held < self.room.messages && self.bytes < self.room.bytes
    }

    /// Holds a message of this size, in bytes, behind those of its lane, which is busy.
    pub(crate) fn hold(&mut self, lane: &Lane, item: T, size: usize) {
        if let Some(queue) = self.busy.get_mut(lane) {
            queue.push_back((item, size));
            self.held += 1;
            self.bytes += size;
        }
    }

    /// The message at the head of a lane is dealt with: the next one, whose turn it is; without any the lane is
    /// free.
    pub(crate) fn leave(&mut self, lane: &Lane) -> Option<T> {
        let Some((item, size)) = self.busy.get_mut(lane)?.pop_front() else {
            self.busy.remove(lane);
            return None;
        };
        self.held -= 1;
        self.bytes -= size;
        Some(item)
    }

    /// Messages that are held.
    pub(crate) const fn held(&self) -> usize {
        self.held
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(key: Option<&'static str>) -> Message {
        let builder = Message::builder().payload("x");
        key.map_or_else(|| builder.clone(), |key| builder.clone().key(key)).build()
    }

    fn lanes(order: CallbackOrder, messages: usize, bytes: usize) -> Lanes<u32> {
        Lanes::new(order, Room { messages, bytes })
    }

    #[test]
    fn messages_of_a_key_go_one_after_the_other_and_other_keys_at_once() {
        let mut lanes = lanes(CallbackOrder::Key, 9, 99);
        let (a, b) = (lanes.of(&message(Some("a"))), lanes.of(&message(Some("b"))));
        assert!(lanes.enter(&a) && lanes.enter(&b) && !lanes.enter(&a));
        lanes.hold(&a, 1, 10);
        lanes.hold(&a, 2, 10);
        assert_eq!((lanes.leave(&b), lanes.leave(&a), lanes.leave(&a)), (None, Some(1), Some(2)));
        assert!(!lanes.enter(&a), "the last one is still to be dealt with");
        assert!(lanes.leave(&a).is_none() && lanes.enter(&a) && lanes.held() == 0);
    }

    #[test]
    fn messages_without_a_key_wait_for_one_another() {
        let mut lanes = lanes(CallbackOrder::Key, 9, 99);
        let (none, empty) = (lanes.of(&message(None)), lanes.of(&message(Some(""))));
        assert!(lanes.enter(&none) && lanes.enter(&empty) && !lanes.enter(&none));
    }

    #[test]
    fn all_is_one_lane_and_none_has_no_lanes() {
        let mut all = lanes(CallbackOrder::All, 9, 99);
        let (a, b) = (all.of(&message(Some("a"))), all.of(&message(None)));
        assert!(all.enter(&a) && !all.enter(&b));
        let mut none = lanes(CallbackOrder::None, 9, 99);
        let lane = none.of(&message(Some("a")));
        assert!(none.enter(&lane) && none.enter(&lane) && none.leave(&lane).is_none());
    }

    #[test]
    fn what_is_held_is_bounded_in_messages_and_bytes() {
        let held = |messages, bytes, size| {
            let mut lanes = lanes(CallbackOrder::All, messages, bytes);
            assert!(lanes.enter(&Lane::Common));
            let mut held = 0;
            while lanes.has_room() {
                lanes.hold(&Lane::Common, held, size);
                held += 1;
            }
            lanes.leave(&Lane::Common);
            assert!(held == 0 || lanes.has_room());
            held
        };
        assert_eq!((held(0, 99, 1), held(3, 99, 1), held(99, 10, 5), held(99, 10, 40)), (0, 3, 2, 1));
    }
}
