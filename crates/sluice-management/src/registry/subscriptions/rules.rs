//! The rules of subscriptions that need no more than the subscription, its plan and its application.

use std::collections::BTreeMap;

use sluice_api::{Plan, PlanSecurity, PlanStatus, Problem};
use sluice_store::{ConsumerConfiguration, SubscriptionRecord};

use super::RegistryError;

/// Bounds on what a subscriber says about itself: filters read it for every message.
const MAX_METADATA: usize = 64;
const MAX_METADATA_NAME: usize = 128;
const MAX_METADATA_VALUE: usize = 4096;
const MAX_MESSAGE: usize = 4096;
pub(super) const MAX_CHANNEL: usize = 256;

/// Only published plans that ask who comes are subscribed to.
pub(super) fn check_plan(plan: &Plan) -> Result<(), RegistryError> {
    let refused = |code, message: &str| Err(RegistryError::refused("plan", code, message));
    if plan.security == PlanSecurity::KeyLess {
        return refused("plan.keyless", "A key-less plan needs no subscription, and takes none.");
    }
    match plan.status {
        PlanStatus::Published => Ok(()),
        PlanStatus::Staging => refused("plan.staging", "The plan is not published yet."),
        PlanStatus::Deprecated => {
            refused("plan.deprecated", "The plan is deprecated and takes no new subscriptions.")
        }
        PlanStatus::Closed => refused("plan.closed", "The plan is closed."),
    }
}

pub(super) fn needed_consumer(
    consumer: Option<ConsumerConfiguration>,
) -> Result<ConsumerConfiguration, RegistryError> {
    consumer.filter(|consumer| !consumer.connector.is_empty()).ok_or_else(|| {
        let message = "Say by which entrypoint messages are handed over, for example 'webhook'.";
        RegistryError::refused("connector", "subscription.entrypoint.missing", message)
    })
}

pub(super) fn metadata_problems(metadata: &BTreeMap<String, String>) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut refuse = |path: String, message: String| {
        problems.push(Problem::new(path, "subscription.metadata.invalid", message));
    };
    if metadata.len() > MAX_METADATA {
        refuse("metadata".to_owned(), format!("At most {MAX_METADATA} entries are allowed."));
        return problems;
    }
    for (name, value) in metadata {
        if name.is_empty() || name.len() > MAX_METADATA_NAME {
            refuse("metadata".to_owned(), format!("A name has from 1 to {MAX_METADATA_NAME} bytes."));
        } else if value.len() > MAX_METADATA_VALUE {
            refuse(format!("metadata.{name}"), format!("A value has at most {MAX_METADATA_VALUE} bytes."));
        }
    }
    problems
}

pub(super) fn message_problem(path: &str, message: Option<&str>, problems: &mut Vec<Problem>) {
    if message.is_some_and(|message| message.len() > MAX_MESSAGE) {
        let message = format!("At most {MAX_MESSAGE} bytes are allowed.");
        problems.push(Problem::new(path, "subscription.message.invalid", message));
    }
}

pub(super) fn check_dates(record: &SubscriptionRecord) -> Result<(), RegistryError> {
    match (record.starting_at, record.ending_at) {
        (Some(start), Some(end)) if end <= start => {
            let message = "A subscription ends after it begins.";
            Err(RegistryError::refused("endingAt", "subscription.dates.invalid", message))
        }
        _ => Ok(()),
    }
}
