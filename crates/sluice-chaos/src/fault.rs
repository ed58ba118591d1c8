//! What can go wrong, and the order in which it does: drawn from a seed, before anything has run.

use std::time::Duration;

use clap::ValueEnum;

use crate::random::Random;

/// One thing that goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, ValueEnum)]
pub enum Fault {
    /// The gateway is killed (SIGKILL) and started again at once.
    Kill,
    /// The gateway is asked to end (SIGTERM), and started again when it has.
    Term,
    /// Kafka is asked to end (SIGTERM), stays away for a while, and is started again.
    KafkaStop,
    /// Kafka stands still (SIGSTOP) for a while: connections stay open and nothing answers.
    KafkaPause,
    /// Subscribers cannot be reached: connections are refused.
    SubscriberDown,
    /// Subscribers answer 500.
    #[value(name = "subscriber-500")]
    Subscriber500,
    /// Subscribers answer 429 with Retry-After.
    #[value(name = "subscriber-429")]
    Subscriber429,
    /// Subscribers take requests and answer nothing.
    SubscriberSilent,
    /// No write to a file of the gateway succeeds any more.
    DiskFull,
    /// Connections between clients and gateway, and between gateway and subscribers, are reset again and again.
    Reset,
    /// The gateway's wall clock jumps, forwards or backwards, by up to two hours.
    Clock,
    /// APIs are deployed anew every second, with another description, policy or path.
    Redeploy,
}

impl Fault {
    /// Its name, as on the command line.
    pub fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }

    /// Whether it needs Kafka.
    pub(crate) const fn is_of_kafka(self) -> bool {
        matches!(self, Self::KafkaStop | Self::KafkaPause)
    }

    /// Whether the gateway can be killed in the middle of it.
    const fn can_be_worse(self) -> bool {
        // A gateway that starts anew has room on its disk again.
        !matches!(self, Self::Kill | Self::Term | Self::DiskFull)
    }
}

/// One fault with everything that chance decides about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Turn {
    pub(crate) fault: Fault,
    /// How long all is well before it.
    pub(crate) calm: Duration,
    /// How long it lasts.
    pub(crate) length: Duration,
    /// When in the middle of it the gateway is killed, too.
    pub(crate) kill_after: Option<Duration>,
    /// By how many seconds the clock jumps.
    pub(crate) jump: i64,
}

/// An endless sequence of faults. Each block of it has every fault once, in an order of its own.
#[derive(Debug)]
pub(crate) struct Turns {
    random: Random,
    faults: Vec<Fault>,
    block: Vec<Fault>,
    /// The longest that a fault lasts, in milliseconds.
    longest: u64,
}

/// Two hours: less than any time for which messages are kept.
const LONGEST_JUMP_SECONDS: u64 = 2 * 3600;

impl Turns {
    /// `faults` must not be empty. No fault lasts longer than `longest`.
    pub(crate) fn new(seed: u64, faults: &[Fault], longest: Duration) -> Self {
        let longest = u64::try_from(longest.as_millis()).unwrap_or(u64::MAX).max(1);
        Self { random: Random::new(seed), faults: faults.to_vec(), block: Vec::new(), longest }
    }
}

impl Iterator for Turns {
    type Item = Turn;

    fn next(&mut self) -> Option<Turn> {
        if self.block.is_empty() {
            self.block.clone_from(&self.faults);
            self.random.shuffle(&mut self.block);
        }
        let fault = self.block.pop()?;
        // All is drawn for every fault, so that a change to one of them does not change the others.
        let calm = self.random.milliseconds(100..=1000);
        let length = self.random.milliseconds(self.longest / 2..=self.longest);
        let is_worse = self.random.once_in(3) && self.faults.contains(&Fault::Kill);
        let kill_after = length.mul_f64(self.random.within(1..=9) as f64 / 10.0);
        let back = self.random.once_in(2);
        let jump = self.random.within(1..=LONGEST_JUMP_SECONDS).cast_signed();
        Some(Turn {
            fault,
            calm,
            length,
            kill_after: (is_worse && fault.can_be_worse()).then_some(kill_after),
            jump: if back { -jump } else { jump },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turns(seed: u64, faults: &[Fault]) -> Vec<Turn> {
        Turns::new(seed, faults, Duration::from_secs(4)).take(120).collect()
    }

    #[test]
    fn the_same_seed_gives_the_same_turns() {
        assert_eq!(turns(5, Fault::value_variants()), turns(5, Fault::value_variants()));
        assert_ne!(turns(5, Fault::value_variants()), turns(6, Fault::value_variants()));
    }

    #[test]
    fn every_fault_comes_once_in_each_block() {
        let all = Fault::value_variants();
        for block in turns(7, all).chunks(all.len()) {
            let mut faults: Vec<_> = block.iter().map(|turn| turn.fault).collect();
            faults.sort();
            assert_eq!(faults, all);
        }
    }

    #[test]
    fn nobody_is_killed_where_that_was_not_asked_for() {
        let calm = [Fault::Reset, Fault::Redeploy];
        assert!(turns(8, &calm).iter().all(|turn| turn.kill_after.is_none()));
        assert!(turns(8, Fault::value_variants()).iter().any(|turn| turn.kill_after.is_some()));
    }
}
