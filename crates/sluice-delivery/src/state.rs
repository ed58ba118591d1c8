//! How the deliveries of one subscription stand, for people. Written where something changes, read at any time.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sluice_message::Position;
use sluice_stream::Standing;

use crate::{Failure, clock::now_ms, ledger::Ledger, retries::Retries, told::Told};

/// How the deliveries of one subscription stand. Times are milliseconds since 1970; counts begin with the process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeliveryState {
    /// What it does.
    pub phase: Phase,
    /// Behind what it was brought, as it is stored; `None` where nothing is read yet, and with qos `none`.
    pub position: Option<Position>,
    /// Messages that the broker has and that are not dealt with, about: also those under way, tried again or held.
    pub lag: u64,
    /// Calls under way.
    pub in_flight: usize,
    /// Messages that it took.
    pub delivered: u64,
    /// The status of its last answer.
    pub last_status: Option<u16>,
    /// What failed last.
    pub last_failure: Option<LastFailure>,
    /// The message that is tried again next, where there is one.
    pub retrying: Option<Retrying>,
}

/// How far the subscriptions of an event API are behind that are served, each as its [`DeliveryState::lag`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SubscriptionLag {
    /// Messages that they have before them, all together.
    pub total: u64,
    /// Those of the one that is the farthest behind.
    pub largest: u64,
}

/// What a subscription does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Its time has not come.
    Waiting {
        /// When it does.
        until_ms: u64,
    },
    /// Its time is over.
    Over,
    /// Its API is not deployed, or calls nobody.
    NoRoute,
    /// It waits for its broker, for the store, or for the policies that meet it; the last failure says why.
    Opening,
    /// The same, and it will not pass by itself: somebody has to change something.
    Blocked,
    /// Messages are brought as they come.
    Delivering,
    /// A message is tried again.
    Retrying,
    /// The subscriber is left alone.
    CircuitOpen {
        /// Until when.
        until_ms: u64,
    },
    /// One call tries whether the subscriber is back.
    HalfOpen,
    /// Dead letters are brought again, beside what comes.
    Replaying,
}

/// What failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastFailure {
    /// As in docs/errors.md.
    pub code: &'static str,
    /// One sentence.
    pub message: String,
    /// The status of the answer, if there was one.
    pub status: Option<u16>,
    /// When.
    pub at_ms: u64,
}

/// A message that is tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retrying {
    /// Calls for it that count.
    pub attempts: u32,
    /// When it is tried next, not before the circuit lets a call out; past while that call is under way.
    pub next_ms: u64,
}

/// What a worker does, as far as it is not told by its retries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    Waiting { until_ms: u64 },
    Over,
    NoRoute,
    Opening,
    Blocked,
    Serving,
}

/// Where the state of one subscription is written.
pub(crate) struct Watched {
    retries: Arc<Retries>,
    /// What the log says of it.
    pub(crate) told: Told,
    seen: Mutex<Seen>,
}

struct Seen {
    stage: Stage,
    ledger: Option<Arc<Ledger>>,
    standing: Option<Arc<Standing>>,
    replaying: bool,
    /// Messages that were read and are not dealt with.
    in_hand: usize,
    in_flight: usize,
    delivered: u64,
    last_status: Option<u16>,
    last_failure: Option<LastFailure>,
}

/// Counts a call for as long as it is under way.
pub(crate) struct InFlight<'w>(&'w Watched);

impl Watched {
    pub(crate) fn new(retries: Arc<Retries>) -> Self {
        let seen = Seen {
            stage: Stage::Opening,
            ledger: None,
            standing: None,
            replaying: false,
            in_hand: 0,
            in_flight: 0,
            delivered: 0,
            last_status: None,
            last_failure: None,
        };
        Self { retries, told: Told::default(), seen: Mutex::new(seen) }
    }

    /// The state now.
    pub(crate) fn state(&self) -> DeliveryState {
        let seen = self.seen();
        let open = self.retries.circuit().open;
        // Nothing goes out before the one call that tries.
        let probe_ms = open.map_or(0, |opened| opened.until);
        let retrying = self
            .retries
            .next()
            .map(|tried| Retrying { attempts: tried.attempts, next_ms: tried.next.max(probe_ms) });
        let phase = match seen.stage {
            Stage::Waiting { until_ms } => Phase::Waiting { until_ms },
            Stage::Over => Phase::Over,
            Stage::NoRoute => Phase::NoRoute,
            Stage::Opening => Phase::Opening,
            Stage::Blocked => Phase::Blocked,
            Stage::Serving => match open {
                Some(opened) if opened.until > now_ms() => Phase::CircuitOpen { until_ms: opened.until },
                Some(_) => Phase::HalfOpen,
                None if retrying.is_some() => Phase::Retrying,
                None if seen.replaying => Phase::Replaying,
                None => Phase::Delivering,
            },
        };
        let position = seen.ledger.as_ref().map(|ledger| ledger.position());
        DeliveryState {
            phase,
            position: position.filter(|position| !position.is_empty()),
            lag: seen.lag(),
            in_flight: seen.in_flight,
            delivered: seen.delivered,
            last_status: seen.last_status,
            last_failure: seen.last_failure.clone(),
            retrying,
        }
    }

    /// The lag alone, which is cheaper.
    pub(crate) fn lag(&self) -> u64 {
        self.seen().lag()
    }

    pub(crate) fn set_stage(&self, stage: Stage) {
        let mut seen = self.seen();
        seen.stage = stage;
        if !matches!(stage, Stage::Serving | Stage::Opening) {
            (seen.standing, seen.in_hand) = (None, 0);
        }
    }

    /// Messages are brought from here on.
    pub(crate) fn serve(&self, ledger: &Arc<Ledger>, standing: &Arc<Standing>, replaying: bool) {
        let mut seen = self.seen();
        (seen.stage, seen.in_hand, seen.replaying) = (Stage::Serving, 0, replaying);
        (seen.ledger, seen.standing) = (Some(Arc::clone(ledger)), Some(Arc::clone(standing)));
    }

    /// All dead letters were brought again.
    pub(crate) fn replayed(&self) {
        self.seen().replaying = false;
    }

    pub(crate) fn set_in_hand(&self, messages: usize) {
        self.seen().in_hand = messages;
    }

    /// A call begins.
    pub(crate) fn calling(&self) -> InFlight<'_> {
        self.seen().in_flight += 1;
        InFlight(self)
    }

    pub(crate) fn delivered(&self, status: u16) {
        let mut seen = self.seen();
        seen.delivered += 1;
        seen.last_status = Some(status);
    }

    pub(crate) fn failed(&self, failure: &Failure) {
        let mut seen = self.seen();
        seen.last_status = failure.status.or(seen.last_status);
        seen.last_failure = Some(LastFailure {
            code: failure.code,
            message: failure.message.clone(),
            status: failure.status,
            at_ms: now_ms(),
        });
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seen {
    fn lag(&self) -> u64 {
        let behind = self.standing.as_ref().map_or(0, |standing| standing.behind());
        behind.saturating_add(self.in_hand as u64)
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.seen().in_flight -= 1;
    }
}
