//! The circuit of one subscriber: closed, open for a while after calls in a row that failed, half-open while one
//! call tries whether it is back. A state machine without a clock; who waits is the [`gate`](crate::gate).

use std::time::Duration;

use sluice_api::CallbackBreaker;
use tokio::time::Instant;

use crate::retry::jittered;

/// What a call may do now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Leave {
    /// Go out.
    Go,
    /// Go out as the one that tries.
    Probe,
    /// Ask again at this moment; without one, when the call that tries has come to something.
    Later(Option<Instant>),
}

/// The circuit of one subscriber.
#[derive(Debug)]
pub(crate) struct Breaker {
    settings: CallbackBreaker,
    circuit: Circuit,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Circuit {
    /// With so many failed calls in a row.
    Closed(u32),
    Open {
        until: Instant,
        /// How long it stays open this time, without jitter.
        wait: Duration,
    },
    HalfOpen {
        probing: bool,
        wait: Duration,
    },
}

impl Breaker {
    /// Closed, with so many failed calls in a row.
    pub(crate) const fn closed(settings: CallbackBreaker, failures: u32) -> Self {
        Self { settings, circuit: Circuit::Closed(failures) }
    }

    /// Open until then, for a wait of this length.
    pub(crate) const fn open(settings: CallbackBreaker, until: Instant, wait: Duration) -> Self {
        Self { settings, circuit: Circuit::Open { until, wait } }
    }

    /// What a call may do at this moment; one that may try has to tell what came of it.
    pub(crate) fn ask(&mut self, now: Instant) -> Leave {
        let leave = self.peek(now);
        if leave == Leave::Probe
            && let Circuit::Open { wait, .. } | Circuit::HalfOpen { wait, .. } = self.circuit
        {
            self.circuit = Circuit::HalfOpen { probing: true, wait };
        }
        leave
    }

    /// What [`ask`](Self::ask) would say.
    pub(crate) fn peek(&self, now: Instant) -> Leave {
        match self.circuit {
            Circuit::Closed(_) => Leave::Go,
            Circuit::Open { until, .. } if now < until => Leave::Later(Some(until)),
            Circuit::HalfOpen { probing: true, .. } => Leave::Later(None),
            Circuit::Open { .. } | Circuit::HalfOpen { .. } => Leave::Probe,
        }
    }

    /// A call succeeded. One that went out before the circuit opened says nothing about now.
    pub(crate) fn succeeded(&mut self, probe: bool) {
        if probe || matches!(self.circuit, Circuit::Closed(_)) {
            self.circuit = Circuit::Closed(0);
        }
    }

    /// A call failed. `random` is from 0 to 1.
    pub(crate) fn failed(&mut self, probe: bool, now: Instant, random: f64) {
        let first = Duration::from_millis(self.settings.first_wait_ms);
        let longest = Duration::from_millis(self.settings.longest_wait_ms);
        let wait = match self.circuit {
            Circuit::Closed(failures) if failures + 1 < self.settings.failures => {
                self.circuit = Circuit::Closed(failures + 1);
                return;
            }
            Circuit::Closed(_) => first,
            Circuit::Open { wait, .. } | Circuit::HalfOpen { wait, .. } if probe => (wait * 2).min(longest),
            Circuit::Open { .. } | Circuit::HalfOpen { .. } => return,
        };
        self.circuit = Circuit::Open { until: now + jittered(wait, random), wait };
    }

    /// The call that was to try came to nothing: it was never made.
    pub(crate) fn abandoned(&mut self) {
        if let Circuit::HalfOpen { probing, .. } = &mut self.circuit {
            *probing = false;
        }
    }

    /// Failed calls in a row while it is closed.
    pub(crate) const fn failures(&self) -> Option<u32> {
        match self.circuit {
            Circuit::Closed(failures) => Some(failures),
            Circuit::Open { .. } | Circuit::HalfOpen { .. } => None,
        }
    }

    /// Failed calls in a row that open it.
    pub(crate) const fn bound(&self) -> u32 {
        self.settings.failures
    }

    /// Until when it is open, and the length of that wait; the moment is now where it is half-open.
    pub(crate) const fn opened(&self, now: Instant) -> Option<(Instant, Duration)> {
        match self.circuit {
            Circuit::Closed(_) => None,
            Circuit::Open { until, wait } => Some((until, wait)),
            Circuit::HalfOpen { wait, .. } => Some((now, wait)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: fn(u64) -> Duration = Duration::from_millis;

    fn settings() -> CallbackBreaker {
        CallbackBreaker { failures: 3, first_wait_ms: 1000, longest_wait_ms: 3000 }
    }

    /// A circuit that has just opened, and when.
    fn opened() -> (Breaker, Instant) {
        let (mut breaker, now) = (Breaker::closed(settings(), 0), Instant::now());
        for _ in 0..3 {
            assert_eq!(breaker.ask(now), Leave::Go);
            breaker.failed(false, now, 0.5);
        }
        (breaker, now)
    }

    #[test]
    fn it_opens_after_failures_in_a_row_and_not_before() {
        let (mut breaker, now) = (Breaker::closed(settings(), 0), Instant::now());
        breaker.failed(false, now, 0.5);
        breaker.failed(false, now, 0.5);
        breaker.succeeded(false);
        assert_eq!(breaker.failures(), Some(0));
        breaker.failed(false, now, 0.5);
        breaker.failed(false, now, 0.5);
        assert_eq!(breaker.ask(now), Leave::Go);
        breaker.failed(false, now, 0.5);
        assert_eq!(breaker.ask(now), Leave::Later(Some(now + MS(1000))));
    }

    #[test]
    fn one_call_tries_and_no_other_goes_out() {
        let (mut breaker, now) = opened();
        assert_eq!(breaker.ask(now + MS(999)), Leave::Later(Some(now + MS(1000))));
        assert_eq!(breaker.ask(now + MS(1000)), Leave::Probe);
        assert_eq!(breaker.ask(now + MS(1000)), Leave::Later(None));
        assert_eq!(breaker.ask(now + MS(9000)), Leave::Later(None));
        breaker.succeeded(true);
        assert_eq!(breaker.ask(now + MS(9000)), Leave::Go);
    }

    #[test]
    fn a_try_that_fails_doubles_the_wait_up_to_the_longest() {
        let (mut breaker, mut now) = opened();
        for wait in [1000, 2000, 3000, 3000] {
            let until = now + MS(wait);
            assert_eq!(breaker.ask(now), Leave::Later(Some(until)));
            now = until;
            assert_eq!(breaker.ask(now), Leave::Probe);
            breaker.failed(true, now, 0.5);
        }
    }

    #[test]
    fn a_try_that_was_never_made_leaves_room_for_another() {
        let (mut breaker, now) = opened();
        assert_eq!(breaker.ask(now + MS(1000)), Leave::Probe);
        breaker.abandoned();
        assert_eq!(breaker.ask(now + MS(1000)), Leave::Probe);
    }

    #[test]
    fn calls_that_went_out_before_it_opened_change_nothing() {
        let (mut breaker, now) = opened();
        breaker.succeeded(false);
        breaker.failed(false, now + MS(500), 0.5);
        assert_eq!(breaker.ask(now), Leave::Later(Some(now + MS(1000))));
    }

    #[test]
    fn waits_are_up_to_a_fifth_shorter_or_longer() {
        for (random, wait) in [(0.0, 800), (1.0, 1200)] {
            let (mut breaker, now) = (Breaker::closed(settings(), 2), Instant::now());
            breaker.failed(false, now, random);
            assert_eq!(breaker.ask(now), Leave::Later(Some(now + MS(wait))));
        }
    }

    #[test]
    fn what_was_remembered_goes_on_where_it_was() {
        let now = Instant::now();
        let mut breaker = Breaker::open(settings(), now + MS(700), MS(2000));
        assert_eq!(breaker.ask(now + MS(700)), Leave::Probe);
        breaker.failed(true, now + MS(700), 0.5);
        assert_eq!(breaker.opened(now), Some((now + MS(3700), MS(3000))));
    }
}
