//! Who of this process reads for which group. A broker knows a durable reader by its client's id; the ids of a
//! group's readers carry numbers, the lowest free one first, so that a reader that comes back takes up the session
//! that one before it has left. Two clients with one id would drive each other out, so a number is given once.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio_util::sync::CancellationToken;

/// Of how many sessions it is known what they are subscribed to. Beyond that all is forgotten, and asked for once more.
const MAX_KNOWN: usize = 10_000;

/// All members of all groups of one driver.
#[derive(Debug, Default)]
pub(crate) struct Members {
    groups: Mutex<HashMap<Arc<str>, BTreeMap<u32, Seat>>>,
    known: Mutex<HashMap<(Arc<str>, u32), Subscribed>>,
}

/// What a session at the broker is subscribed to. To ask for it again would be allowed, and makes some brokers deliver
/// again what is under way, and MQTT 3.1.1 what is retained.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Subscribed {
    pub(crate) filters: Vec<String>,
    /// Whether it was never subscribed to anything else.
    pub(crate) only: bool,
}

#[derive(Debug)]
struct Seat {
    /// Its reader is gone, its connection perhaps not yet.
    left: bool,
    ended: CancellationToken,
}

/// A number within a group, taken until this is dropped.
#[derive(Debug)]
pub(crate) struct Member {
    all: Arc<Members>,
    group: Arc<str>,
    /// Its number, from 0.
    pub(crate) number: u32,
    ended: CancellationToken,
    before: Option<CancellationToken>,
}

impl Members {
    fn groups(&self) -> MutexGuard<'_, HashMap<Arc<str>, BTreeMap<u32, Seat>>> {
        self.groups.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the lowest number that is free. Where the one before is still on its way out, [`Member::alone`] waits for
    /// it. `None` for a sole member where there is one already.
    pub(crate) fn join(self: &Arc<Self>, group: &Arc<str>, sole: bool) -> Option<Member> {
        let mut groups = self.groups();
        let seats = groups.entry(Arc::clone(group)).or_default();
        let is_free = |number: &u32| seats.get(number).is_none_or(|seat| seat.left);
        let number = (0..u32::MAX).find(is_free).filter(|number| !sole || *number == 0)?;
        let ended = CancellationToken::new();
        let before = seats.insert(number, Seat { left: false, ended: ended.clone() }).map(|seat| seat.ended);
        Some(Member { all: Arc::clone(self), group: Arc::clone(group), number, ended, before })
    }
}

impl Member {
    /// Waits until the connection of the one before is gone.
    pub(crate) async fn alone(&self) {
        if let Some(before) = &self.before {
            before.cancelled().await;
        }
    }

    /// Makes room for the next one.
    pub(crate) fn leave(&self) {
        if let Some(seat) =
            self.all.groups().get_mut(&self.group).and_then(|seats| seats.get_mut(&self.number))
        {
            seat.left |= seat.ended == self.ended;
        }
    }

    fn known(&self) -> MutexGuard<'_, HashMap<(Arc<str>, u32), Subscribed>> {
        self.all.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What its session is subscribed to, as far as this process knows.
    pub(crate) fn subscribed(&self) -> Option<Subscribed> {
        self.known().get(&(Arc::clone(&self.group), self.number)).cloned()
    }

    /// Its session is subscribed to this from now on.
    pub(crate) fn remember(&self, subscribed: Option<Subscribed>) {
        let (mut known, key) = (self.known(), (Arc::clone(&self.group), self.number));
        match subscribed {
            None => drop(known.remove(&key)),
            Some(subscribed) => {
                if known.len() >= MAX_KNOWN {
                    known.clear();
                }
                known.insert(key, subscribed);
            }
        }
    }

    /// Whether others read for the group.
    pub(crate) fn has_others(&self) -> bool {
        let groups = self.all.groups();
        let seats = groups.get(&self.group);
        seats.is_some_and(|seats| seats.iter().any(|(number, seat)| *number != self.number && !seat.left))
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.ended.cancel();
        let mut groups = self.all.groups();
        let Some(seats) = groups.get_mut(&self.group) else { return };
        // Another may have the number by now.
        if seats.get(&self.number).is_some_and(|seat| seat.ended == self.ended) {
            seats.remove(&self.number);
        }
        if seats.is_empty() {
            groups.remove(&self.group);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_lowest_number_is_given_again_and_waited_for() {
        let (members, group) = (Arc::new(Members::default()), Arc::from("g"));
        let first = members.join(&group, false).expect("it is free");
        let second = members.join(&group, false).expect("there are many numbers");
        assert_eq!((first.number, second.number), (0, 1));
        assert!(first.has_others());
        first.leave();
        let again = members.join(&group, false).expect("the first has left");
        assert_eq!(again.number, 0);
        let (alone, ()) = tokio::join!(again.alone(), async { drop(first) });
        let () = alone;
        second.leave();
        drop(second);
        assert!(!again.has_others());
        drop(again);
        assert!(members.groups().is_empty());
    }

    #[test]
    fn what_a_session_is_subscribed_to_is_known_to_the_next_with_its_number() {
        let (members, group) = (Arc::new(Members::default()), Arc::from("g"));
        let subscribed = Subscribed { filters: vec!["a".to_owned()], only: true };
        let join = || members.join(&group, true).expect("it is free");
        join().remember(Some(subscribed.clone()));
        assert_eq!(join().subscribed(), Some(subscribed));
        join().remember(None);
        assert_eq!(join().subscribed(), None);
        for number in 0..MAX_KNOWN {
            let member = members.join(&Arc::from(number.to_string()), true).expect("it is free");
            member.remember(Some(Subscribed { filters: Vec::new(), only: true }));
        }
        join().remember(Some(Subscribed { filters: Vec::new(), only: true }));
        assert_eq!(join().known().len(), 1);
    }

    #[test]
    fn a_sole_member_is_alone() {
        let (members, group) = (Arc::new(Members::default()), Arc::from("g"));
        let only = members.join(&group, true).expect("it is free");
        assert!(members.join(&group, true).is_none());
        assert!(members.join(&Arc::from("other"), true).is_some());
        only.leave();
        assert!(members.join(&group, true).is_some());
    }
}
