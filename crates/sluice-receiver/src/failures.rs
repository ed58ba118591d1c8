//! Failures that the broker or the gateway is to blame for, in the log: each outage is told, none floods.

use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicBool, Ordering},
};

use sluice_api::ApiId;
use sluice_stream::NotesError;
use tracing::{debug, warn};

use crate::{Refusal, seldom::Seldom};

/// Publishes of one API that failed, those that could not be noted, and those that could not be verified: each told at
/// most once in ten seconds, with the number of those between.
#[derive(Debug, Default)]
pub struct FailureLog {
    publishes: Seldom,
    notes: Seldom,
    unverifiable: Seldom,
    /// Whether the last publish failed, so that one that succeeds need not look for more.
    is_failing: AtomicBool,
    last: Mutex<Option<PublishFailure>>,
}

/// Why the last publish of an API failed, for operators.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublishFailure {
    /// The stable code of the error.
    pub code: &'static str,
    /// What is wrong, with the broker's own words and addresses.
    pub message: String,
}

impl FailureLog {
    /// Tells of a refused publish. What is the client's own fault, or a policy's will,
    /// is told to the client alone.
    pub fn tell(&self, api: &ApiId, refusal: &Refusal) {
        let (code, error) = (refusal.code, refusal.detail());
        if !refusal.status.is_server_error() || refusal.is_by_policy() {
            debug!(%api, code, error, "A publish was refused.");
            return;
        }
        *self.last() = Some(PublishFailure { code, message: error.to_owned() });
        self.is_failing.store(true, Ordering::Release);
        if let Some(failures) = self.publishes.tell(1) {
            warn!(%api, code, error, failures_before = failures - 1, "Publishing fails; clients are told to try again.");
        }
    }

    /// A publish has succeeded.
    pub(crate) fn passed(&self) {
        if self.is_failing.load(Ordering::Acquire) {
            self.is_failing.store(false, Ordering::Release);
            *self.last() = None;
        }
    }

    /// Why the last publish failed; `None` where it succeeded, or there was none.
    pub fn publish_failure(&self) -> Option<PublishFailure> {
        self.last().clone()
    }

    fn last(&self) -> std::sync::MutexGuard<'_, Option<PublishFailure>> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells of a message that was published with a key, without that being noted.
    pub(crate) fn tell_unnoted(&self, api: &ApiId, error: &NotesError) {
        if let Some(failures) = self.notes.tell(1) {
            warn!(
                %api, %error, failures_before = failures - 1,
                "It cannot be noted which messages are published; one that is sent again will be there twice."
            );
        }
    }

    /// Tells of a webhook that was refused because there is no secret by which it could be verified.
    pub(crate) fn tell_unverifiable(&self, api: &ApiId) {
        if let Some(refused) = self.unverifiable.tell(1) {
            warn!(
                %api, refused_before = refused - 1,
                "Webhooks are refused, as there is no secret to verify them with; set sender.secrets of the \
                 webhook-receiver, or make a webhook secret of the API."
            );
        }
    }
}
