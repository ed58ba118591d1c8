//! Failures that the broker or the gateway is to blame for, in the log: each outage is told, none floods.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use sluice_api::ApiId;
use sluice_stream::NotesError;
use tracing::{debug, warn};

use crate::Refusal;

/// How long after a line the next one may come.
const INTERVAL: Duration = Duration::from_secs(10);

/// Publishes of one API that failed, and those that could not be noted: each told at most once in ten seconds, with
/// the number of those between.
#[derive(Debug, Default)]
pub struct FailureLog {
    publishes: Turns,
    notes: Turns,
}

/// Whose turn it is to be told.
#[derive(Debug, Default)]
struct Turns(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    told: Option<Instant>,
    untold: u64,
}

impl FailureLog {
    /// Tells of a refused publish. What is the client's own fault, or a policy's will,
    /// is told to the client alone.
    pub(crate) fn tell(&self, api: &ApiId, refusal: &Refusal) {
        let (code, error) = (refusal.code, refusal.detail());
        if !refusal.status.is_server_error() || refusal.is_by_policy() {
            debug!(%api, code, error, "A publish was refused.");
            return;
        }
        if let Some(untold) = self.publishes.take() {
            warn!(%api, code, error, failures_before = untold, "Publishing fails; clients are told to try again.");
        }
    }

    /// Tells of a message that was published with a key, without that being noted.
    pub(crate) fn tell_unnoted(&self, api: &ApiId, error: &NotesError) {
        if let Some(untold) = self.notes.take() {
            warn!(
                %api, %error, failures_before = untold,
                "It cannot be noted which messages are published; one that is sent again will be there twice."
            );
        }
    }
}

impl Turns {
    /// How many had no turn since the last one; `None` where it is too early for the next.
    fn take(&self) -> Option<u64> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if state.told.is_some_and(|told| told.elapsed() < INTERVAL) {
            state.untold += 1;
            return None;
        }
        state.told = Some(Instant::now());
        Some(std::mem::take(&mut state.untold))
    }
}
