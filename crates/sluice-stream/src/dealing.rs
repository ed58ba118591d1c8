//! Who of a group gets which message. Nothing here reads a broker, waits, or knows the time.
//!
//! Members that ask are served in turn. While messages of a record key are with one member, those that follow go to
//! the same one, so that each key is dealt with in its order. What a member was handed and did not confirm goes to
//! others when it leaves, before what came later.

#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::Arc,
};

use bytes::Bytes;
use sluice_broker::BatchLimit;
use sluice_message::{Message, Place, Position};
use tokio::sync::Notify;

use crate::{AckWindow, Begun, cursor::BATCH};

/// How much is read ahead of the members. Little, since what waits here no other gateway can have.
const AHEAD: BatchLimit = BatchLimit { messages: 256, bytes: 1 << 20 };

/// Messages that may be read beyond the first one that is not dealt with.
const WINDOW: usize = 4096;

/// How much may wait for members that are busy with its keys, while another member asks in vain. What that one may
/// have lies behind it. Of so many bytes, since an API has many groups, and each may have such a member.
const PARKED: BatchLimit = BatchLimit { messages: WINDOW, bytes: 4 << 20 };

/// Messages that a member is handed at once, where many wait.
const MOST_AT_ONCE: usize = 16;

/// The messages and the members of one group in this gateway.
pub(crate) struct Dealing {
    window: AckWindow,
    /// Read and not dealt out.
    waiting: VecDeque<Dealt>,
    waiting_bytes: usize,
    members: HashMap<u64, Member>,
    /// Members that ask for messages, by when they began to.
    asking: BTreeMap<u64, u64>,
    /// With whom the messages of a record key are, and how many.
    keys: HashMap<Bytes, (u64, usize)>,
    /// The next number of a member or of a turn.
    next: u64,
    /// Whether more may be committed than was.
    has_moved: bool,
}

struct Dealt {
    /// How the window knows it; a message without a place is in none.
    begun: Option<Begun>,
    message: Message,
}

struct Member {
    /// Handed over and not confirmed.
    held: VecDeque<Dealt>,
    /// Dealt to it and not taken yet.
    inbox: VecDeque<Dealt>,
    inbox_bytes: usize,
    /// Since when it asks.
    turn: Option<u64>,
    woken: Arc<Notify>,
    /// Whether it says what it is done with; otherwise whatever it takes is.
    confirms: bool,
}

impl Dealing {
    pub(crate) fn new() -> Self {
        Self {
            window: AckWindow::new(Position::new(), WINDOW),
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            members: HashMap::new(),
            asking: BTreeMap::new(),
            keys: HashMap::new(),
            next: 0,
            has_moved: false,
        }
    }

    /// A new member, which is woken by this when something was dealt to it.
    pub(crate) fn enter(&mut self, confirms: bool, woken: Arc<Notify>) -> u64 {
        let id = self.number();
        let (held, inbox) = (VecDeque::new(), VecDeque::new());
        self.members.insert(id, Member { held, inbox, inbox_bytes: 0, turn: None, woken, confirms });
        id
    }

    /// A member is gone. What it has not confirmed is dealt to others, in its order.
    pub(crate) fn leave(&mut self, id: u64) {
        self.rest(id);
        let Some(member) = self.members.remove(&id) else { return };
        for dealt in member.held.into_iter().chain(member.inbox).rev() {
            self.release(&dealt.message);
            self.waiting_bytes += dealt.message.size();
            self.waiting.push_front(dealt);
        }
        self.deal();
    }

    /// Whether nobody is there.
    pub(crate) fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// How much may be read now; `None` where there is enough.
    pub(crate) fn room(&self) -> Option<BatchLimit> {
        let most = if self.is_short() { PARKED } else { AHEAD };
        let messages = most.messages.saturating_sub(self.waiting.len()).min(AHEAD.messages);
        let bytes = most.bytes.saturating_sub(self.waiting_bytes).min(AHEAD.bytes);
        let messages = messages.min(WINDOW.saturating_sub(self.window.len()));
        (messages > 0 && bytes > 0).then_some(BatchLimit { messages, bytes })
    }

    /// Whether a member asks although messages wait. Then all of them are of keys that other members are busy with,
    /// or it would have been dealt one.
    pub(crate) fn is_short(&self) -> bool {
        !self.asking.is_empty() && !self.waiting.is_empty()
    }

    /// Takes what was read.
    pub(crate) fn add(&mut self, batch: &mut Vec<Message>) {
        for message in batch.drain(..) {
            let begun = message.place().and_then(|place| self.begin(place));
            self.waiting_bytes += message.size();
            self.waiting.push_back(Dealt { begun, message });
        }
        self.deal();
    }

    /// Where a place comes once more, its partition was somebody else's meanwhile, or was made anew. It goes on from
    /// there, and what was read before counts no more.
    fn begin(&mut self, place: &Place) -> Option<Begun> {
        let begun = self.window.begin(place);
        if begun.is_some() {
            return begun;
        }
        self.window.give(&place.topic, place.partition, Some(place.offset));
        let is_of_another = |dealt: &Dealt| {
            let other = dealt.message.place();
            other.is_none_or(|other| (&other.topic, other.partition) != (&place.topic, place.partition))
        };
        self.waiting.retain(is_of_another);
        self.waiting_bytes = self.waiting.iter().map(|dealt| dealt.message.size()).sum();
        self.window.begin(place)
    }

    /// A member asks for messages, from now on.
    pub(crate) fn ask(&mut self, id: u64) {
        let turn = self.number();
        if let Some(member) = self.members.get_mut(&id).filter(|member| member.turn.is_none()) {
            member.turn = Some(turn);
            self.asking.insert(turn, id);
            self.deal();
        }
    }

    /// A member asks no longer.
    pub(crate) fn rest(&mut self, id: u64) {
        let turn = self.members.get_mut(&id).and_then(|member| member.turn.take());
        turn.map(|turn| self.asking.remove(&turn));
    }

    /// What was dealt to a member. Whether there was anything.
    pub(crate) fn take(&mut self, id: u64, batch: &mut Vec<Message>) -> bool {
        let Some(member) = self.members.get_mut(&id) else { return false };
        let inbox = std::mem::take(&mut member.inbox);
        member.inbox_bytes = 0;
        batch.extend(inbox.iter().map(|dealt| dealt.message.clone()));
        let has_any = !inbox.is_empty();
        if member.confirms {
            member.held.extend(inbox);
        } else {
            inbox.iter().for_each(|dealt| self.done(dealt));
            self.deal();
        }
        has_any
    }

    /// A member is done with the message at this place.
    pub(crate) fn confirm(&mut self, id: u64, place: &Place) {
        let Some(member) = self.members.get_mut(&id) else { return };
        let Some(at) = member.held.iter().position(|dealt| dealt.message.place() == Some(place)) else {
            return;
        };
        if let Some(dealt) = member.held.remove(at) {
            self.done(&dealt);
            self.deal();
        }
    }

    /// What may be committed, where that is more than was asked for before.
    pub(crate) fn committable(&mut self) -> Option<Position> {
        std::mem::take(&mut self.has_moved).then(|| self.window.position().clone())
    }

    /// What was to be committed was not.
    pub(crate) const fn commit_again(&mut self) {
        self.has_moved = true;
    }

    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn done(&mut self, dealt: &Dealt) {
        self.release(&dealt.message);
        if let Some(begun) = &dealt.begun {
            self.has_moved |= self.window.settle(begun);
        }
    }

    fn release(&mut self, message: &Message) {
        let Some(key) = message.key() else { return };
        if let Some((_, count)) = self.keys.get_mut(key) {
            *count -= 1;
            if *count == 0 {
                self.keys.remove(key);
            }
        }
    }

    /// Deals what waits to those who ask, each no more than its share of it.
    fn deal(&mut self) {
        let share = self.waiting.len().div_ceil(self.members.len().max(1)).clamp(1, MOST_AT_ONCE);
        let mut at = 0;
        while at < self.waiting.len() && !self.asking.is_empty() {
            let key = self.waiting[at].message.key();
            let taker = match key.and_then(|key| self.keys.get(key)) {
                Some((holder, _)) => Some(*holder).filter(|holder| self.asks(*holder)),
                None => self.asking.first_key_value().map(|(_, id)| *id),
            };
            match taker {
                Some(id) => self.give(at, id, share),
                None => at += 1,
            }
        }
    }

    fn asks(&self, id: u64) -> bool {
        self.members.get(&id).is_some_and(|member| member.turn.is_some())
    }

    fn give(&mut self, at: usize, id: u64, share: usize) {
        let (Some(dealt), Some(member)) = (self.waiting.remove(at), self.members.get_mut(&id)) else {
            return;
        };
        let size = dealt.message.size();
        self.waiting_bytes -= size;
        if let Some(key) = dealt.message.key() {
            self.keys.entry(key.clone()).or_insert((id, 0)).1 += 1;
        }
        member.inbox.push_back(dealt);
        member.inbox_bytes += size;
        member.woken.notify_one();
        if member.inbox.len() >= share || member.inbox_bytes >= BATCH.bytes {
            self.rest(id);
        }
    }
}
