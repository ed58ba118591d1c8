//! Who of a group is published to: the next one by the wheel, of those who can be used.
//!
//! Who has failed is left alone for a while, the longer the more often it fails. Then one message is let through to
//! find out; until its outcome is known nobody else goes there.

use std::{
    hash::{BuildHasher, BuildHasherDefault, DefaultHasher},
    time::Duration,
};

use sluice_api::Balancing;
use sluice_message::Topic;
use tokio::time::Instant;

use super::wheel::Wheel;
use crate::ErrorKind;

/// How long a member is left alone after its first failure, and at the most.
const REST: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// Topics take turns of their own, so that a message for two of them does not always send the first here and the
/// second there. There may be any number of topics: some share a lane.
const LANES: usize = 64;

/// What is known of the members of a group.
#[derive(Debug)]
pub(super) struct Choice {
    secondary: Vec<bool>,
    lanes: Vec<Lane>,
    /// Of the broker as a whole.
    rests: Vec<Rest>,
}

/// The turns of some topics.
#[derive(Debug)]
struct Lane {
    wheel: Wheel,
    /// Of these topics alone: a topic that a client chose, and that a broker refuses, says nothing of others.
    rests: Vec<Rest>,
}

/// A member that is left alone, or is not.
#[derive(Debug, Clone, Copy, Default)]
struct Rest {
    failures: u32,
    until: Option<Instant>,
}

/// Whose turn it is.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Chosen {
    pub(super) member: usize,
    /// Those who would have been asked first, were they not left alone.
    pub(super) passed_over: Vec<usize>,
}

impl Choice {
    pub(super) fn new(balancing: Balancing, weights: &[u32], secondary: Vec<bool>) -> Self {
        let rests = vec![Rest::default(); weights.len()];
        let lane = || Lane { wheel: Wheel::new(balancing, weights), rests: rests.clone() };
        Self { secondary, lanes: (0..LANES).map(|_| lane()).collect(), rests }
    }

    /// The next member for a message of this topic, other than those it was given to already; `None` when it was
    /// given to all. Primaries go before secondaries, and whoever can be used before those who are left alone: a
    /// message that nobody else takes is tried there, too.
    pub(super) fn next(&mut self, topic: &Topic, tried: &[usize], now: Instant) -> Option<Chosen> {
        let Self { secondary, lanes, rests } = self;
        let lane = &mut lanes[lane_of(topic)];
        let rested =
            |lane: &Lane, member: usize| rests[member].is_over(now) && lane.rests[member].is_over(now);
        let left: Vec<usize> = (0..secondary.len()).filter(|member| !tried.contains(member)).collect();
        let of = |usable: bool, is_secondary: bool| -> Vec<usize> {
            let fits = |member: &usize| secondary[*member] == is_secondary && rested(lane, *member) == usable;
            left.iter().copied().filter(fits).collect()
        };
        let ranks = [of(true, false), of(true, true), of(false, false), of(false, true)];
        let rank = ranks.iter().position(|members| !members.is_empty())?;
        // While one of its own rank can be used, who is left alone there is passed over; before a secondary all are.
        let passed_over = if rank < 2 { ranks[2].clone() } else { Vec::new() };
        let member = lane.wheel.next(&ranks[rank])?;
        for rest in [&mut rests[member], &mut lane.rests[member]] {
            rest.try_out(now);
        }
        Some(Chosen { member, passed_over })
    }

    /// A member has taken a message of this topic. Returns whether it had failed before.
    pub(super) fn succeeded(&mut self, topic: &Topic, member: usize) -> bool {
        let rests = [&mut self.rests[member], &mut self.lanes[lane_of(topic)].rests[member]];
        // Both start afresh, whether or not the first had failed.
        rests.map(std::mem::take).iter().any(|rest| rest.failures > 0)
    }

    /// A member has not taken a message of this topic. Returns whether it is left alone from now on, and was not
    /// before.
    pub(super) fn failed(&mut self, topic: &Topic, member: usize, kind: ErrorKind, now: Instant) -> bool {
        let rest = match kind {
            // It has much to do, and does it.
            ErrorKind::Overloaded => return false,
            ErrorKind::Refused | ErrorKind::NoTopic => &mut self.lanes[lane_of(topic)].rests[member],
            _ => &mut self.rests[member],
        };
        rest.begin(now);
        rest.failures == 1
    }
}

impl Rest {
    fn is_over(&self, now: Instant) -> bool {
        self.until.is_none_or(|until| until <= now)
    }

    /// Lets one message through to a member that has failed. Where its outcome never comes, since its publisher went
    /// away, another one is let through later.
    fn try_out(&mut self, now: Instant) {
        if self.failures > 0 {
            self.until = Some(now + REST.1);
        }
    }

    fn begin(&mut self, now: Instant) {
        let length = REST.0.saturating_mul(1 << self.failures.min(5)).min(REST.1);
        *self = Self { failures: self.failures.saturating_add(1), until: Some(now + length) };
    }
}

/// The same for a topic as long as the process runs.
fn lane_of(topic: &Topic) -> usize {
    let hash = BuildHasherDefault::<DefaultHasher>::default().hash_one(topic.as_str());
    usize::try_from(hash % LANES as u64).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choice(secondary: &[bool]) -> Choice {
        Choice::new(Balancing::RoundRobin, &vec![1; secondary.len()], secondary.to_vec())
    }

    fn member(choice: &mut Choice, tried: &[usize], now: Instant) -> Option<usize> {
        choice.next(&Topic::from("t"), tried, now).map(|chosen| chosen.member)
    }

    #[test]
    fn a_secondary_has_its_turn_only_while_no_primary_can_be_used() {
        let (mut choice, topic, now) = (choice(&[false, true, false]), Topic::from("t"), Instant::now());
        assert_eq!([0; 4].map(|_| member(&mut choice, &[], now)), [Some(0), Some(2), Some(0), Some(2)]);
        choice.failed(&topic, 0, ErrorKind::Unreachable, now);
        assert_eq!([0; 2].map(|_| member(&mut choice, &[], now)), [Some(2), Some(2)]);
        choice.failed(&topic, 2, ErrorKind::Unreachable, now);
        let chosen = choice.next(&topic, &[], now).unwrap();
        assert_eq!(chosen, Chosen { member: 1, passed_over: vec![0, 2] });
    }

    #[test]
    fn who_is_left_alone_is_tried_when_nobody_else_is_left() {
        let (mut choice, topic, now) = (choice(&[false, true]), Topic::from("t"), Instant::now());
        choice.failed(&topic, 0, ErrorKind::Unreachable, now);
        assert_eq!(member(&mut choice, &[], now), Some(1));
        assert_eq!(member(&mut choice, &[1], now), Some(0));
        assert_eq!(member(&mut choice, &[1, 0], now), None);
    }

    #[test]
    fn one_message_finds_out_whether_a_member_is_back() {
        let (mut choice, topic, begin) = (choice(&[false, false]), Topic::from("t"), Instant::now());
        assert!(choice.failed(&topic, 0, ErrorKind::Unreachable, begin));
        let later = begin + REST.0;
        let chosen: Vec<_> = (0..4).map(|_| member(&mut choice, &[], later).unwrap()).collect();
        assert_eq!(chosen.iter().filter(|member| **member == 0).count(), 1, "{chosen:?}");
        assert!(choice.succeeded(&topic, 0));
        let chosen: Vec<_> = (0..4).map(|_| member(&mut choice, &[], later).unwrap()).collect();
        assert_eq!(chosen.iter().filter(|member| **member == 0).count(), 2, "{chosen:?}");
    }

    #[test]
    fn rests_grow_up_to_their_bound() {
        let mut rest = Rest::default();
        let now = Instant::now();
        let lengths = [0; 7].map(|_| {
            rest.begin(now);
            (rest.until.unwrap() - now).as_secs()
        });
        assert_eq!(lengths, [1, 2, 4, 8, 16, 30, 30]);
    }

    #[test]
    fn a_topic_that_is_refused_says_nothing_of_others_and_haste_nothing_at_all() {
        let (mut choice, now) = (choice(&[false, false]), Instant::now());
        let topics = ["a", "b"].map(Topic::from);
        assert_ne!(lane_of(&topics[0]), lane_of(&topics[1]));
        choice.failed(&topics[0], 0, ErrorKind::Refused, now);
        assert_eq!(choice.next(&topics[0], &[], now).unwrap().passed_over, [0]);
        assert_eq!(choice.next(&topics[1], &[], now).unwrap(), Chosen { member: 0, passed_over: vec![] });
        assert!(!choice.failed(&topics[1], 0, ErrorKind::Overloaded, now));
        assert_eq!(choice.next(&topics[1], &[1], now).unwrap().member, 0);
    }
}
