//! Messages on their way to one subscriber: read, put into their lanes, brought, and accounted for.

use std::{collections::VecDeque, sync::atomic::Ordering};

use futures_util::{StreamExt, future::BoxFuture, stream::FuturesUnordered};
use sluice_api::{CallbackOrder, Qos, Subscription};
use sluice_message::{Message, Position};
use sluice_stream::{Cursor, Step};
use tokio::{sync::mpsc, time::sleep};
use tracing::{error, warn};

use crate::{
    Failure,
    call::{Courier, Fate, Parcel},
    clock::until,
    judge::{Judge, Judged},
    lanes::{Lanes, Room},
    ledger::Ledger,
    letter::{is_without_message, origin, original},
    retries::Which,
    worker::Orders,
};

/// Why a session ends.
#[derive(Debug)]
pub(crate) enum End {
    /// The worker has something else to do.
    Changed,
    /// Everything was brought that was to be before the subscription moves to another broker.
    Drained,
    /// The subscription's time is over.
    Over,
    /// The subscriber cannot be called.
    Failed(Failure),
    /// What it reads with is of no more use.
    Unreadable,
}

/// Messages on their way.
pub(crate) struct Flow<'f> {
    courier: &'f Courier<'f>,
    judge: &'f Judge<'f>,
    ledger: &'f Ledger,
    /// Where this position is reached there is nothing more to do.
    goal: Option<&'f Position>,
    /// Dead letters that are brought again.
    letters: Option<Letters<'f>>,
    lanes: Lanes<Parcel>,
    /// Calls that may be under way.
    turns: usize,
    /// Held before, and now at the head of their lane.
    ready: VecDeque<Parcel>,
    /// Read, and not yet in hand.
    queue: VecDeque<Message>,
    calls: FuturesUnordered<BoxFuture<'f, (Parcel, Fate)>>,
    /// Bytes of the messages that are being brought.
    bytes: usize,
    /// Why nothing more is begun.
    end: Option<End>,
}

/// Dead letters that are brought again.
pub(crate) struct Letters<'f> {
    /// Closed behind the last one.
    source: mpsc::Receiver<Message>,
    ledger: &'f Ledger,
    /// Where they end.
    until: &'f Position,
    next: Option<Message>,
    in_hand: usize,
    exhausted: bool,
}

impl<'f> Letters<'f> {
    pub(crate) const fn new(
        source: mpsc::Receiver<Message>,
        ledger: &'f Ledger,
        until: &'f Position,
    ) -> Self {
        Self { source, ledger, until, next: None, in_hand: 0, exhausted: false }
    }
}

/// Which messages of a subscription wait for which.
pub(crate) fn order(subscription: &Subscription, qos: Qos) -> CallbackOrder {
    let default = if qos == Qos::None { CallbackOrder::None } else { CallbackOrder::All };
    subscription.callback.order.unwrap_or(default)
}

impl<'f> Flow<'f> {
    pub(crate) fn new(
        courier: &'f Courier<'f>,
        judge: &'f Judge<'f>,
        ledger: &'f Ledger,
        goal: Option<&'f Position>,
        letters: Option<Letters<'f>>,
    ) -> Self {
        let order = order(courier.subscription, courier.route.qos);
        // Reading ahead is of use only where later messages may overtake. At most once they begin in the order in
        // which they are read: else a position would be stored behind one that has not gone out.
        let waits = order == CallbackOrder::All || courier.once();
        let room = if waits { Room { messages: 0, bytes: 0 } } else { courier.shared.room };
        Self {
            courier,
            judge,
            ledger,
            goal,
            letters,
            lanes: Lanes::new(order, room),
            turns: courier.turns.available_permits(),
            ready: VecDeque::new(),
            queue: VecDeque::new(),
            calls: FuturesUnordered::new(),
            bytes: 0,
            end: None,
        }
    }

    /// Brings what a cursor hands out, until something ends it and every call is done.
    pub(crate) async fn run(mut self, cursor: &mut Cursor, orders: &mut Orders) -> End {
        let mut batch = Vec::new();
        // A source that has an end has nothing more for this subscription.
        let mut exhausted = false;
        let (courier, metrics) = (self.courier, &self.courier.route.metrics);
        loop {
            while self.end.is_none()
                && self.has_turn()
                && let Some(parcel) = self.next()
            {
                self.begin(parcel);
            }
            self.look_for_an_end();
            // Once for all that was dealt with by now.
            self.ledger.remember();
            if let Some(end) = self.end.take_if(|_| self.calls.is_empty()) {
                return end;
            }
            courier.watched.set_in_hand(self.undelivered());
            let open = self.end.is_none();
            let reads = open && !exhausted && self.queue.is_empty() && !self.ledger.is_full();
            let asks =
                self.letters.as_ref().is_some_and(|letters| letters.next.is_none() && !letters.exhausted);
            tokio::select! {
                biased;
                Some((parcel, fate)) = self.calls.next(), if !self.calls.is_empty() => self.settle(&parcel, fate),
                () = courier.paused.notified(), if open => {}
                () = orders.changed(), if open => self.end = Some(End::Changed),
                () = over(courier.subscription), if open => self.end = Some(End::Over),
                letter = next_letter(&mut self.letters), if open && asks => self.take_letter(letter),
                step = cursor.next(&mut batch), if reads => match step {
                    Ok(Step::Messages) => self.queue.extend(batch.drain(..)),
                    Ok(Step::Skipped(count)) => {
                        tell_missed(courier, count, "A subscription was too slow; messages passed it by.");
                        metrics.skipped.inc_by(count);
                        self.ledger.follow(&cursor.position());
                    }
                    Ok(Step::Lost(count)) => {
                        tell_missed(courier, count, "The broker had dropped messages before a subscription could get them.");
                        metrics.lost.inc_by(count);
                        self.ledger.follow(&cursor.position());
                    }
                    Ok(Step::Ended | Step::Overrun(_)) => exhausted = true,
                    Err(error) => {
                        error!(
                            api = %courier.route.api, subscription = %courier.subscription.id, %error,
                            "The broker of a subscription cannot be read; trying again."
                        );
                        courier.watched.failed(&Failure::new(error.code(), error.message));
                        self.end = Some(End::Unreadable);
                    }
                },
            }
            if self.end.is_some() {
                courier.winding.cancel();
            }
        }
    }

    /// Messages that were read and are not dealt with. Dead letters are none of those that the broker has.
    fn undelivered(&self) -> usize {
        let in_hand = self.ready.len() + self.lanes.held() + self.calls.len();
        let letters = self.letters.as_ref().map_or(0, |letters| letters.in_hand);
        self.queue.len() + in_hand.saturating_sub(letters)
    }

    /// Whether one more call may be under way. Messages that wait for a time to come leave room for others, as far
    /// as it goes.
    fn has_turn(&self) -> bool {
        let waiting = self.courier.pausing.load(Ordering::Relaxed);
        let room = self.courier.shared.room;
        self.calls.len().saturating_sub(waiting) < self.turns
            && waiting < room.messages
            && (waiting == 0 || self.bytes < room.bytes)
    }

    /// The next message whose turn it is. Those whose lane is busy are held, as far as there is room.
    fn next(&mut self) -> Option<Parcel> {
        if let Some(parcel) = self.ready.pop_front() {
            return Some(parcel);
        }
        if let Some(letter) = self.letters.as_mut().and_then(|letters| letters.next.take())
            && let Some(parcel) = self.take(letter, true)
        {
            return Some(parcel);
        }
        while let Some(message) = self.queue.pop_front() {
            if self.ledger.is_full() {
                self.queue.push_front(message);
                return None;
            }
            let waiting = self.queue.len();
            if let Some(parcel) = self.take(message, false) {
                return Some(parcel);
            }
            if self.queue.len() > waiting {
                return None;
            }
        }
        None
    }

    /// Takes a message in hand: it is given back where its turn has come, else held, or put back where there is
    /// no room for it.
    fn take(&mut self, message: Message, letter: bool) -> Option<Parcel> {
        if letter && is_without_message(&message) {
            self.pass_over(&message);
            return None;
        }
        let lane = self.lanes.of(&message);
        let enters = self.lanes.enter(&lane);
        if !enters && !self.lanes.has_room() {
            match self.letters.as_mut().filter(|_| letter) {
                Some(letters) => letters.next = Some(message),
                None => self.queue.push_front(message),
            }
            return None;
        }
        let ledger = self.ledger_of(letter);
        let Some(ticket) = ledger.begin(message.place()) else {
            // It is in hand already. Only the lane that was entered for it is given back.
            if enters {
                self.lanes.leave(&lane);
            }
            return None;
        };
        let remembers = letter || self.courier.route.qos != Qos::None;
        let place = message.place().filter(|_| remembers).cloned();
        let original = if letter { original(&message) } else { message };
        let which = place.map(|place| Which { letter, place });
        let size = original.size();
        let parcel = Parcel { original, lane, ticket, which, letter };
        if let Some(letters) = self.letters.as_mut().filter(|_| letter) {
            letters.in_hand += 1;
        }
        if enters {
            return Some(parcel);
        }
        let lane = parcel.lane.clone();
        self.lanes.hold(&lane, parcel, size);
        None
    }

    /// A dead letter that has nothing of its message is dealt with as it is.
    fn pass_over(&self, letter: &Message) {
        let ledger = self.ledger_of(true);
        let Some(ticket) = ledger.begin(letter.place()) else { return };
        ledger.settle(&ticket);
        self.courier.route.metrics.letters_passed_over.inc();
        let replay_from = origin(letter).map(|place| {
            let mut before = Position::new();
            before.set_next(&place.topic, place.partition, place.offset);
            before.to_string()
        });
        warn!(
            api = %self.courier.route.api, subscription = %self.courier.subscription.id, replay_from,
            "A dead letter was passed over: its message was too large to be put there. A replay from its position brings it."
        );
    }

    /// Begins to bring a message, unless the policies have it dropped.
    fn begin(&mut self, parcel: Parcel) {
        let (courier, ledger) = (self.courier, self.ledger_of(parcel.letter));
        let size = parcel.original.size();
        match self.judge.judge(parcel.original.clone()) {
            Judged::Drop { moves } => {
                if moves {
                    ledger.settle(&parcel.ticket);
                } else {
                    ledger.leave_out(&parcel.ticket);
                }
                self.forget(&parcel);
                return;
            }
            Judged::Bring(message, delay) => self.calls.push(Box::pin(async move {
                let fate = courier.bring(&parcel, ledger, message, delay).await;
                (parcel, fate)
            })),
            Judged::SetAside(failure) => self.calls.push(Box::pin(async move {
                let fate = courier.set_aside(&parcel, failure, 0, false).await;
                (parcel, fate)
            })),
        }
        self.bytes += size;
    }

    /// Notes what became of a message.
    fn settle(&mut self, parcel: &Parcel, fate: Fate) {
        self.bytes -= parcel.original.size();
        let ledger = self.ledger_of(parcel.letter);
        match fate {
            Fate::Settled => {
                ledger.settle(&parcel.ticket);
                if parcel.letter {
                    self.courier.route.metrics.replayed.inc();
                }
                self.forget(parcel);
            }
            Fate::Failed(failure) if self.courier.once() && failure.ambiguous => {
                // It may have been taken, so it does not go out again.
                self.courier.route.metrics.given_up.inc();
                ledger.settle(&parcel.ticket);
                self.end.get_or_insert(End::Failed(failure));
            }
            Fate::Failed(failure) => {
                self.release(parcel);
                // A change that came before the failure may have mended what failed.
                self.end.get_or_insert(End::Failed(failure));
            }
            Fate::Cut => {
                self.release(parcel);
                self.end.get_or_insert(End::Changed);
            }
        }
    }

    /// A message was not taken, and comes again if it may.
    fn release(&self, parcel: &Parcel) {
        if !self.ledger_of(parcel.letter).release(&parcel.ticket) {
            self.courier.route.metrics.given_up.inc();
            warn!(
                api = %self.courier.route.api, subscription = %self.courier.subscription.id,
                "A message was given up: later ones have gone out, and none may go out twice."
            );
        }
    }

    /// A message is dealt with: those behind it may follow.
    fn forget(&mut self, parcel: &Parcel) {
        if let Some(which) = &parcel.which {
            self.courier.retries.done(which);
        }
        self.ready.extend(self.lanes.leave(&parcel.lane));
        if let Some(letters) = self.letters.as_mut().filter(|_| parcel.letter) {
            letters.in_hand -= 1;
        }
    }

    fn take_letter(&mut self, letter: Option<Message>) {
        if let Some(letters) = &mut self.letters {
            letters.exhausted = letter.is_none();
            letters.next = letter;
        }
    }

    /// Whether the dead letters are done, or all that there was to do.
    fn look_for_an_end(&mut self) {
        let done = |letters: &mut Letters<'_>| letters.exhausted && letters.in_hand == 0;
        if let Some(letters) = self.letters.take_if(done) {
            // Also behind the letters of others that come last.
            letters.ledger.follow(letters.until);
            letters.ledger.remember();
            self.courier.watched.replayed();
        }
        if let Some(letters) = &self.letters {
            letters.ledger.remember();
        }
        // At most once a position is behind what has only gone out.
        let dealt_with = !self.courier.once() || self.calls.is_empty();
        if self.goal.is_some_and(|goal| dealt_with && self.ledger.position().reaches(goal)) {
            self.end.get_or_insert(End::Drained);
        }
    }

    fn ledger_of(&self, letter: bool) -> &'f Ledger {
        self.letters.as_ref().filter(|_| letter).map_or(self.ledger, |letters| letters.ledger)
    }
}

/// Calls that a subscription may have under way, of so many at the most. More than one would not keep the order of
/// all.
pub(crate) fn turns(subscription: &Subscription, qos: Qos, most: u32) -> usize {
    match order(subscription, qos) {
        CallbackOrder::All => 1,
        CallbackOrder::Key | CallbackOrder::None => most as usize,
    }
}

async fn next_letter(letters: &mut Option<Letters<'_>>) -> Option<Message> {
    match letters {
        Some(letters) => letters.source.recv().await,
        None => std::future::pending().await,
    }
}

fn tell_missed(courier: &Courier<'_>, messages: u64, what: &str) {
    warn!(api = %courier.route.api, subscription = %courier.subscription.id, messages, "{what}");
}

/// Resolves when the time of a subscription is over.
pub(crate) async fn over(subscription: &Subscription) {
    match subscription.ending_at {
        None => std::future::pending().await,
        Some(end) => {
            while let Some(wait) = until(end) {
                sleep(wait).await;
            }
        }
    }
}
