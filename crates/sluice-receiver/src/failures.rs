//! Failures that the broker or the gateway is to blame for, in the log: each outage is told, none floods.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use sluice_api::ApiId;
use tracing::{debug, warn};

use crate::Refusal;

/// How long after a line the next one may come.
const INTERVAL: Duration = Duration::from_secs(10);

/// Publishes of one API that failed, told at most once in ten seconds with the number of those between.
#[derive(Debug, Default)]
pub struct FailureLog(Mutex<State>);

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
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if state.told.is_some_and(|told| told.elapsed() < INTERVAL) {
            state.untold += 1;
            return;
        }
        let untold = std::mem::take(&mut state.untold);
        state.told = Some(Instant::now());
        drop(state);
        warn!(%api, code, error, failures_before = untold, "Publishing fails; clients are told to try again.");
    }
}
