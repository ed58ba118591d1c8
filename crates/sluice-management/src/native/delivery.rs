//! How the delivery of a subscription stands, as the contract answers it.

use schemars::JsonSchema;
use serde::Serialize;
use sluice_delivery::{DeliveryState, LastFailure, Phase, Resting, Retrying};

use crate::time::Moment;

/// How the delivery of a subscription stands. Counts begin with the gateway's start.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "Delivery")]
pub(super) struct DeliveryEntity {
    phase: PhaseWord,
    /// Until when, where the phase ends by itself at a known time.
    #[serde(skip_serializing_if = "Option::is_none")]
    until: Option<Moment>,
    /// What the subscriber was brought, as `topic@partition#offset`: the last message of each partition.
    #[serde(skip_serializing_if = "Option::is_none")]
    position: Option<String>,
    /// Messages that the broker has and that it was not called for yet, about; absent where the broker does not say.
    #[serde(skip_serializing_if = "Option::is_none")]
    lag: Option<u64>,
    /// Calls under way.
    in_flight: usize,
    /// Messages that it took.
    delivered: u64,
    /// The status of its last answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    last_status: Option<u16>,
    /// What failed last.
    #[serde(skip_serializing_if = "Option::is_none")]
    last_failure: Option<FailureEntity>,
    /// The message that is tried again next, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    retrying: Option<RetryingEntity>,
}

/// What the delivery of a subscription does.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(rename = "DeliveryPhase")]
enum PhaseWord {
    /// The subscription has not begun.
    Waiting,
    /// The subscription is over.
    Over,
    /// Its API is not deployed, or calls nobody.
    NoRoute,
    /// It waits for its broker, for the store, or for policies; the last failure says why.
    Opening,
    /// The same, and it will not pass by itself: somebody has to change something.
    Blocked,
    /// Messages are brought as they come.
    Delivering,
    /// A message is tried again.
    Retrying,
    /// The circuit is open: the subscriber is left alone.
    CircuitOpen,
    /// One call tries whether the subscriber is back.
    HalfOpen,
    /// Dead letters are brought again, beside what comes.
    Replaying,
    /// It is paused, stopped or failed; what comes waits.
    Resting,
}

/// What failed.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "DeliveryFailure")]
struct FailureEntity {
    /// The stable code of the error.
    code: &'static str,
    /// One sentence.
    message: String,
    /// The status of the answer, if there was one.
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    /// When.
    at: Moment,
}

/// A message that is tried again.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "DeliveryRetry")]
struct RetryingEntity {
    /// Calls for it that count.
    attempts: u32,
    /// When it is tried next.
    next_at: Moment,
}

impl From<DeliveryState> for DeliveryEntity {
    fn from(state: DeliveryState) -> Self {
        let (phase, until_ms) = told(state.phase);
        Self {
            phase,
            until: until_ms.map(Moment::from_ms),
            position: state.position.map(|position| position.to_string()),
            lag: Some(state.lag),
            in_flight: state.in_flight,
            delivered: state.delivered,
            last_status: state.last_status,
            last_failure: state.last_failure.map(FailureEntity::from),
            retrying: state.retrying.map(RetryingEntity::from),
        }
    }
}

impl From<Resting> for DeliveryEntity {
    fn from(resting: Resting) -> Self {
        Self {
            phase: PhaseWord::Resting,
            until: None,
            position: resting.position.map(|position| position.to_string()),
            lag: resting.lag,
            in_flight: 0,
            delivered: 0,
            last_status: None,
            last_failure: None,
            retrying: None,
        }
    }
}

const fn told(phase: Phase) -> (PhaseWord, Option<u64>) {
    match phase {
        Phase::Waiting { until_ms } => (PhaseWord::Waiting, Some(until_ms)),
        Phase::Over => (PhaseWord::Over, None),
        Phase::NoRoute => (PhaseWord::NoRoute, None),
        Phase::Opening => (PhaseWord::Opening, None),
        Phase::Blocked => (PhaseWord::Blocked, None),
        Phase::Delivering => (PhaseWord::Delivering, None),
        Phase::Retrying => (PhaseWord::Retrying, None),
        Phase::CircuitOpen { until_ms } => (PhaseWord::CircuitOpen, Some(until_ms)),
        Phase::HalfOpen => (PhaseWord::HalfOpen, None),
        Phase::Replaying => (PhaseWord::Replaying, None),
    }
}

impl From<LastFailure> for FailureEntity {
    fn from(failure: LastFailure) -> Self {
        let LastFailure { code, message, status, at_ms } = failure;
        Self { code, message, status, at: Moment::from_ms(at_ms) }
    }
}

impl From<Retrying> for RetryingEntity {
    fn from(retrying: Retrying) -> Self {
        Self { attempts: retrying.attempts, next_at: Moment::from_ms(retrying.next_ms) }
    }
}
