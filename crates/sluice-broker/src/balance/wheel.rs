//! Whose turn it is, among those who can be used.

use std::hash::{BuildHasher, RandomState};

use sluice_api::Balancing;

/// Deals out turns to the members of a group.
#[derive(Debug)]
pub(super) struct Wheel {
    balancing: Balancing,
    weights: Vec<u32>,
    /// What each is owed, by weight; who is owed most is next and pays for the turn.
    owed: Vec<i64>,
    /// Turns dealt out by chance so far, and what makes chance of that number.
    chances: u64,
    chance: RandomState,
}

impl Wheel {
    /// For members of these weights.
    pub(super) fn new(balancing: Balancing, weights: &[u32]) -> Self {
        let weights: Vec<u32> = match balancing {
            Balancing::RoundRobin | Balancing::Random => vec![1; weights.len()],
            Balancing::WeightedRoundRobin | Balancing::WeightedRandom => weights.to_vec(),
        };
        let owed = vec![0; weights.len()];
        Self { balancing, weights, owed, chances: 0, chance: RandomState::new() }
    }

    /// One of these members; `None` where there is none.
    pub(super) fn next(&mut self, of: &[usize]) -> Option<usize> {
        match self.balancing {
            Balancing::RoundRobin | Balancing::WeightedRoundRobin => self.in_turn(of),
            Balancing::Random | Balancing::WeightedRandom => self.by_chance(of),
        }
    }

    /// Within as many turns as the weights come to, each has exactly its share, as far apart as can be.
    fn in_turn(&mut self, of: &[usize]) -> Option<usize> {
        let mut total = 0;
        for &member in of {
            self.owed[member] += i64::from(self.weights[member]);
            total += i64::from(self.weights[member]);
        }
        // The first of those who are owed the same.
        let next = of.iter().copied().rev().max_by_key(|member| self.owed[*member])?;
        self.owed[next] -= total;
        Some(next)
    }

    fn by_chance(&mut self, of: &[usize]) -> Option<usize> {
        let total: u64 = of.iter().map(|member| u64::from(self.weights[*member])).sum();
        self.chances = self.chances.wrapping_add(1);
        let mut drawn = self.chance.hash_one(self.chances).checked_rem(total)?;
        of.iter().copied().find(|member| {
            let weight = u64::from(self.weights[*member]);
            let hit = drawn < weight;
            drawn = drawn.saturating_sub(weight);
            hit
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn turns(balancing: Balancing, weights: &[u32], of: &[usize], count: usize) -> Vec<usize> {
        let mut wheel = Wheel::new(balancing, weights);
        (0..count).map(|_| wheel.next(of).unwrap()).collect()
    }

    #[test]
    fn turns_go_round_whatever_the_weights_are() {
        assert_eq!(turns(Balancing::RoundRobin, &[5, 1, 1], &[0, 1, 2], 6), [0, 1, 2, 0, 1, 2]);
    }

    #[test]
    fn a_heavy_member_has_its_turns_spread_out() {
        assert_eq!(turns(Balancing::WeightedRoundRobin, &[3, 1], &[0, 1], 8), [0, 0, 1, 0, 0, 0, 1, 0]);
    }

    #[test]
    fn among_nobody_it_is_nobodys_turn() {
        for balancing in [Balancing::RoundRobin, Balancing::Random] {
            assert_eq!(Wheel::new(balancing, &[1]).next(&[]), None);
        }
    }

    #[test]
    fn chance_gives_each_about_its_share() {
        let drawn = turns(Balancing::WeightedRandom, &[3, 1], &[0, 1], 8000);
        let first = drawn.iter().filter(|member| **member == 0).count();
        // A share of 6000 with a deviation of 39: fifteen of them.
        assert!((5400..6600).contains(&first), "{first}");
    }

    proptest! {
        #[test]
        fn every_round_honours_the_weights_exactly(
            weights in prop::collection::vec(1_u32..50, 1..8),
            rounds in 1_usize..4,
        ) {
            let of: Vec<usize> = (0..weights.len()).collect();
            let total: u32 = weights.iter().sum();
            let dealt = turns(Balancing::WeightedRoundRobin, &weights, &of, total as usize * rounds);
            for round in dealt.chunks(total as usize) {
                for (member, weight) in weights.iter().enumerate() {
                    let had = round.iter().filter(|turn| **turn == member).count();
                    prop_assert_eq!(had, *weight as usize);
                }
            }
        }

        #[test]
        fn only_those_are_chosen_who_are_there(
            weights in prop::collection::vec(1_u32..50, 2..8),
            away in 0_usize..8,
            by_chance in any::<bool>(),
        ) {
            let away = away % weights.len();
            let of: Vec<usize> = (0..weights.len()).filter(|member| *member != away).collect();
            let balancing = if by_chance { Balancing::WeightedRandom } else { Balancing::WeightedRoundRobin };
            prop_assert!(!turns(balancing, &weights, &of, 100).contains(&away));
        }
    }
}
