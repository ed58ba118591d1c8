//! Who has published and who has seen what, and the judgement on it. No I/O.
//!
//! A publisher sends number after number, each until it is acknowledged. So what was acknowledged is one number:
//! all below it.

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicU64, Ordering},
};

/// Examples of each kind of fault that are kept to be shown.
const EXAMPLES: usize = 10;

/// How often something happened that may have a message published twice in spite of its key: the gateway was
/// killed, it could not write its notes, or its clock was changed. Counted before and after, so that whoever reads it in between sees a change.
#[derive(Debug, Clone, Default)]
pub(crate) struct Excuses(Arc<AtomicU64>);

impl Excuses {
    pub(crate) fn add(&self) {
        self.0.fetch_add(1, Ordering::AcqRel);
    }

    pub(crate) fn count(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }
}

/// One event API that is published to.
#[derive(Debug)]
pub(crate) struct Channel {
    /// The kind of its broker and its own, as `kafka/stream`. Its path is this behind a slash.
    pub(crate) name: String,
    /// Whether it has a spool, which hands messages to the broker after they were acknowledged, and after a kill
    /// again where it had not noted that it did.
    pub(crate) spools: bool,
    pub(crate) publishers: Vec<Published>,
    pub(crate) excuses: Excuses,
}

/// What one publisher has done.
#[derive(Debug)]
pub(crate) struct Published {
    /// Whether it sends an `Idempotency-Key`.
    pub(crate) keyed: bool,
    acknowledged: AtomicU64,
    /// Each number that was acknowledged.
    sent: Mutex<Vec<Sent>>,
}

/// How a message was sent.
#[derive(Debug, Clone, Copy)]
struct Sent {
    /// The excuses there were when it was first sent.
    excuses: u64,
    /// Whether it may be stored twice in spite of its key, for what happened until it was acknowledged.
    excused: bool,
}

impl Channel {
    /// With so many publishers, of which every other sends keys.
    pub(crate) fn new(name: &str, spools: bool, publishers: usize, excuses: &Excuses) -> Self {
        let publishers = (0..publishers).map(|index| Published {
            keyed: index % 2 == 1,
            acknowledged: AtomicU64::new(0),
            sent: Mutex::default(),
        });
        Self { name: name.to_owned(), spools, publishers: publishers.collect(), excuses: excuses.clone() }
    }

    /// How many messages were acknowledged.
    pub(crate) fn acknowledged(&self) -> u64 {
        self.publishers.iter().map(Published::acknowledged).sum()
    }

    /// A publisher's next number was acknowledged. `excuses` are those there were when it was first sent;
    /// `may_be_stored` says that an answer before left open whether the broker has it.
    pub(crate) fn acknowledge(&self, publisher: usize, excuses: u64, may_be_stored: bool) {
        let published = &self.publishers[publisher];
        let excused = may_be_stored || excuses != self.excuses.count();
        lock(&published.sent).push(Sent { excuses, excused });
        published.acknowledged.fetch_add(1, Ordering::AcqRel);
    }

    /// Whether a message may be stored twice in spite of its key.
    fn is_excused(&self, publisher: usize, number: u64) -> bool {
        let sent = lock(&self.publishers[publisher].sent);
        match usize::try_from(number).ok().and_then(|index| sent.get(index)) {
            Some(sent) => sent.excused || (self.spools && sent.excuses != self.excuses.count()),
            // It was not acknowledged yet: the gateway may be killed before it is.
            None => true,
        }
    }

    /// The text of a message.
    pub(crate) fn content(&self, publisher: usize, number: u64) -> String {
        format!("{}/{publisher}-{number}", self.name)
    }

    /// Which message a text is; `None` where it is none of this API.
    fn parse(&self, content: &str) -> Option<(usize, u64)> {
        let own = content.strip_prefix(&*self.name)?.strip_prefix('/')?;
        let (publisher, number) = own.split_once('-')?;
        let publisher = publisher.parse().ok().filter(|publisher| *publisher < self.publishers.len())?;
        Some((publisher, number.parse().ok()?))
    }
}

impl Published {
    pub(crate) fn acknowledged(&self) -> u64 {
        self.acknowledged.load(Ordering::Acquire)
    }
}

/// Where a message stands: partition and offset.
pub(crate) type Place = (i32, i64);

/// What one consumer has seen.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    publishers: Vec<Sightings>,
    foreign: Examples,
    disorder: Examples,
    repeats: u64,
    gaps: u64,
    unkeyed_twice: u64,
    excused_twice: u64,
    keyed_twice: Examples,
}

/// What one consumer has seen of one publisher.
#[derive(Debug, Default)]
struct Sightings {
    seen: Vec<bool>,
    /// Where each number was first met, as far as consumers are told.
    places: Vec<Option<Place>>,
    /// All numbers below this one were seen.
    complete: usize,
    highest: Option<u64>,
}

/// How often something was, and a few cases of it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Examples {
    pub(crate) count: u64,
    pub(crate) shown: Vec<String>,
}

impl Examples {
    fn add(&mut self, example: impl FnOnce() -> String) {
        self.count += 1;
        if self.shown.len() < EXAMPLES {
            self.shown.push(example());
        }
    }
}

impl Seen {
    pub(crate) fn new(channel: &Channel) -> Self {
        let publishers = channel.publishers.iter().map(|_| Sightings::default()).collect();
        Self { publishers, ..Self::default() }
    }

    /// A message came.
    pub(crate) fn message(&mut self, channel: &Channel, content: &str, place: Option<Place>) {
        let Some((publisher, number)) = channel.parse(content) else {
            return self.foreign.add(|| format!("{content:?}"));
        };
        let sightings = &mut self.publishers[publisher];
        let index = usize::try_from(number).unwrap_or(usize::MAX);
        if sightings.seen.len() <= index {
            sightings.seen.resize(index + 1, false);
            sightings.places.resize(index + 1, None);
        }
        if sightings.seen[index] {
            self.repeats += 1;
            let first = sightings.places[index];
            if first.is_some() && place.is_some() && first != place {
                self.twice(channel, publisher, number);
            }
            return;
        }
        sightings.seen[index] = true;
        sightings.places[index] = place;
        while sightings.seen.get(sightings.complete) == Some(&true) {
            sightings.complete += 1;
        }
        match sightings.highest {
            Some(highest) if highest > number => {
                self.disorder.add(|| format!("{content} came first after {highest}"));
            }
            _ => sightings.highest = Some(number),
        }
    }

    /// The broker has a message at two places.
    fn twice(&mut self, channel: &Channel, publisher: usize, number: u64) {
        if !channel.publishers[publisher].keyed {
            self.unkeyed_twice += 1;
        } else if channel.is_excused(publisher, number) {
            self.excused_twice += 1;
        } else {
            self.keyed_twice.add(|| channel.content(publisher, number));
        }
    }

    /// The consumer was told that it has missed messages.
    pub(crate) fn gap(&mut self) {
        self.gaps += 1;
    }

    /// Whether everything that was acknowledged has been seen.
    pub(crate) fn is_complete(&self, channel: &Channel) -> bool {
        let mut both = self.publishers.iter().zip(&channel.publishers);
        both.all(|(sightings, published)| sightings.complete as u64 >= published.acknowledged())
    }

    /// What is to be said about this consumer.
    pub(crate) fn judge(&self, channel: &Channel, consumer: &str) -> Judgement {
        let mut lost = Examples::default();
        let mut seen = 0;
        for (publisher, (sightings, published)) in self.publishers.iter().zip(&channel.publishers).enumerate()
        {
            seen += sightings.seen.iter().filter(|seen| **seen).count() as u64;
            let missing = (sightings.complete as u64..published.acknowledged())
                .filter(|number| sightings.seen.get(*number as usize) != Some(&true));
            missing.for_each(|number| lost.add(|| channel.content(publisher, number)));
        }
        Judgement {
            channel: channel.name.clone(),
            consumer: consumer.to_owned(),
            acknowledged: channel.acknowledged(),
            seen,
            lost,
            disorder: self.disorder.clone(),
            repeats: self.repeats,
            gaps: self.gaps,
            foreign: self.foreign.clone(),
            unkeyed_twice: self.unkeyed_twice,
            excused_twice: self.excused_twice,
            keyed_twice: self.keyed_twice.clone(),
        }
    }
}

/// What is to be said about one consumer.
#[derive(Debug, Clone)]
pub(crate) struct Judgement {
    pub(crate) channel: String,
    pub(crate) consumer: String,
    pub(crate) acknowledged: u64,
    /// Messages, each counted once. More than were acknowledged where an acknowledgement did not arrive.
    pub(crate) seen: u64,
    /// Acknowledged and not seen.
    pub(crate) lost: Examples,
    /// Seen for the first time after a later one of the same publisher, and so of the same partition.
    pub(crate) disorder: Examples,
    /// Messages that came once more.
    pub(crate) repeats: u64,
    /// Times that the consumer was told that it has missed something.
    pub(crate) gaps: u64,
    /// Messages of nobody here.
    pub(crate) foreign: Examples,
    /// Messages without a key that the broker has more than once.
    pub(crate) unkeyed_twice: u64,
    /// Messages with a key that it has more than once for a good reason.
    pub(crate) excused_twice: u64,
    /// Messages with a key that it has more than once for no good reason.
    pub(crate) keyed_twice: Examples,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn published(acknowledged: &[u64]) -> Channel {
        let channel = Channel::new("log/stream", false, acknowledged.len(), &Excuses::default());
        for (publisher, count) in acknowledged.iter().enumerate() {
            (0..*count).for_each(|_| channel.acknowledge(publisher, 0, false));
        }
        channel
    }

    fn judged(channel: &Channel, messages: &[(usize, u64, i64)]) -> Judgement {
        let mut seen = Seen::new(channel);
        for (publisher, number, offset) in messages {
            seen.message(channel, &channel.content(*publisher, *number), Some((0, *offset)));
        }
        assert_eq!(seen.is_complete(channel), seen.judge(channel, "sse").lost.count == 0);
        seen.judge(channel, "sse")
    }

    #[test]
    fn what_was_acknowledged_and_not_seen_is_lost() {
        let judgement = judged(&published(&[3, 1]), &[(0, 0, 1), (0, 2, 2)]);
        assert_eq!(judgement.lost.shown, ["log/stream/0-1", "log/stream/1-0"]);
        assert_eq!((judgement.acknowledged, judgement.seen), (4, 2));
    }

    #[test]
    fn what_was_not_acknowledged_may_be_seen_or_not() {
        let judgement = judged(&published(&[1]), &[(0, 0, 1), (0, 1, 2)]);
        assert_eq!((judgement.acknowledged, judgement.seen, judgement.lost.count), (1, 2, 0));
    }

    #[test]
    fn a_first_sight_after_a_later_message_is_disorder_and_a_repeat_is_not() {
        let judgement = judged(&published(&[4]), &[(0, 0, 1), (0, 1, 2), (0, 0, 1), (0, 1, 2), (0, 3, 4)]);
        assert_eq!((judgement.repeats, judgement.disorder.count), (2, 0));
        let judgement = judged(&published(&[3, 3]), &[(0, 0, 1), (0, 2, 3), (1, 0, 4), (0, 1, 2)]);
        assert_eq!(judgement.disorder.shown, ["log/stream/0-1 came first after 2"]);
    }

    #[test]
    fn a_message_at_two_places_is_held_against_its_key_unless_it_is_excused() {
        let channel = published(&[1, 1]);
        let twice = [(0, 0, 1), (0, 0, 2), (1, 0, 3), (1, 0, 4), (1, 0, 3)];
        let judgement = judged(&channel, &twice);
        assert_eq!((judgement.repeats, judgement.unkeyed_twice), (3, 1));
        assert_eq!(judgement.keyed_twice.shown, ["log/stream/1-0"]);
        channel.acknowledge(1, 0, true);
        channel.excuses.add();
        channel.acknowledge(1, 0, false);
        let judgement = judged(&channel, &[(1, 1, 1), (1, 1, 2), (1, 2, 3), (1, 2, 4)]);
        assert_eq!((judgement.excused_twice, judgement.keyed_twice.count), (2, 0));
    }

    #[test]
    fn a_kill_after_the_acknowledgement_excuses_only_a_spool() {
        let mut channel = published(&[0, 1]);
        let twice = [(1, 0, 1), (1, 0, 2)];
        channel.excuses.add();
        assert_eq!(judged(&channel, &twice).keyed_twice.count, 1);
        channel.spools = true;
        assert_eq!(judged(&channel, &twice).keyed_twice.count, 0);
    }

    #[test]
    fn messages_of_another_api_are_foreign() {
        let channel = published(&[0]);
        let mut seen = Seen::new(&channel);
        for content in ["kafka/stream/0-0", "log/stream/9-0", "log/stream/0-x", ""] {
            seen.message(&channel, content, None);
        }
        assert_eq!(seen.judge(&channel, "sse").foreign.count, 4);
    }
}
