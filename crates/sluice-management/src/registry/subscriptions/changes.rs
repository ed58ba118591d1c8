//! The life of a subscription, step by step.
//!
//! The publisher's side: pending, then accepted or rejected; accepted and paused, forth and back; closed. The
//! consumer's side, beside it: started, stopped, failed.

use std::sync::Arc;

use sluice_api::{PlanId, PlanValidation, Subscription, SubscriptionId};
use sluice_store::{
    ConsumerConfiguration, ConsumerStatus, SubscriptionRecord, SubscriptionStatus, Timestamp,
};

use super::{Decision, Inner, Registry, RegistryError, Side, SubscriptionUpdate, rules};
use crate::USER;

type Changed = Result<Arc<SubscriptionRecord>, RegistryError>;

/// The longest cause of a failure that is kept, in characters; it may hold what a stranger's server answered.
const MAX_CAUSE: usize = 1024;

/// What a subscriber at the hub is told when somebody else has closed its subscription.
const ENDED: &str = "The subscription was ended by the publisher.";

/// The code of a failure by which a subscriber says that it wants nothing any more.
const GONE: &str = "delivery.gone";

impl Registry {
    /// Changes what is not part of its life. Where a consumer changes how it is called, on a plan with manual
    /// validation, the publisher has to agree again, and nothing is delivered until then.
    pub async fn update_subscription(
        &self,
        id: &SubscriptionId,
        update: SubscriptionUpdate,
        by: Side,
    ) -> Changed {
        self.change_subscription(id, move |inner, record, _| inner.updated(record, update, by)).await
    }

    /// Agrees to a pending subscription, or does not.
    pub async fn process_subscription(&self, id: &SubscriptionId, decision: Decision) -> Changed {
        let processed = self.change_subscription(id, move |_, record, now| {
            if record.status != SubscriptionStatus::Pending {
                return Err(refused("subscription.processed", "The subscription is not pending any more."));
            }
            let mut problems = Vec::new();
            rules::message_problem("reason", decision.reason.as_deref(), &mut problems);
            if !problems.is_empty() {
                return Err(RegistryError::Invalid(problems));
            }
            (record.publisher_message, record.processed_at) = (decision.reason, Some(now));
            record.processed_by = Some(USER.to_owned());
            if !decision.accepted {
                (record.status, record.closed_at) = (SubscriptionStatus::Rejected, Some(now));
                return Ok(());
            }
            record.status = SubscriptionStatus::Accepted;
            record.starting_at = decision.starting_at.or(Some(now));
            record.ending_at = decision.ending_at;
            rules::check_dates(record)
        });
        let processed = processed.await?;
        self.inner.gateway.placed(id).await;
        Ok(processed)
    }

    /// Has an accepted subscription pause; its position is kept.
    pub async fn pause_subscription(&self, id: &SubscriptionId) -> Changed {
        self.change_subscription(id, |_, record, now| {
            if record.status != SubscriptionStatus::Accepted {
                return Err(refused(
                    "subscription.notAccepted",
                    "Only an accepted subscription can be paused.",
                ));
            }
            (record.status, record.paused_at) = (SubscriptionStatus::Paused, Some(now));
            Ok(())
        })
        .await
    }

    /// Ends the pause; delivery goes on where it stopped.
    pub async fn resume_subscription(&self, id: &SubscriptionId) -> Changed {
        self.change_subscription(id, |_, record, _| {
            if record.status != SubscriptionStatus::Paused {
                return Err(refused("subscription.notPaused", "The subscription is not paused."));
            }
            (record.status, record.paused_at) = (SubscriptionStatus::Accepted, None);
            Ok(())
        })
        .await
    }

    /// Closes a subscription for good; a pending one is turned down. A subscriber at the hub is told.
    pub async fn close_subscription(&self, id: &SubscriptionId) -> Changed {
        let closed = self.change_subscription(id, |_, record, now| {
            if !record.status.is_open() {
                return Err(refused("subscription.closed", "The subscription is closed."));
            }
            close(record, now, "The subscription was closed before it was agreed to.");
            Ok(())
        });
        let closed = closed.await?;
        if let Some(terms) = &closed.consumer.hub {
            let callback = &closed.consumer.callback.callback_url;
            self.inner.gateway.deny_hub_subscription(&closed.api, callback, &terms.topic, ENDED);
        }
        Ok(closed)
    }

    /// Moves a subscription to another plan of its API with the same security.
    pub async fn transfer_subscription(&self, id: &SubscriptionId, plan: &PlanId) -> Changed {
        let plan = plan.clone();
        self.change_subscription(id, move |inner, record, _| {
            if !matches!(record.status, SubscriptionStatus::Accepted | SubscriptionStatus::Paused) {
                let message = "Only an accepted or paused subscription can change its plan.";
                return Err(refused("subscription.notAccepted", message));
            }
            let api = inner.get(&record.api)?;
            let (from, to) = (&api.plan(&record.plan)?.plan, &api.plan(&plan)?.plan);
            rules::check_plan(to)?;
            if from.security != to.security {
                let message = "The plan asks for another kind of credential.";
                return Err(RegistryError::refused("plan", "subscription.transfer.invalid", message));
            }
            if record.consumer.hub.is_none() {
                inner.refuse_second(&record.application, &record.api, &plan)?;
            }
            record.plan = plan;
            Ok(())
        })
        .await
    }

    /// What the consumer wants: to be served ([`ConsumerStatus::Started`], also after a failure) or not
    /// ([`ConsumerStatus::Stopped`]). Only the gateway tells of failures.
    pub async fn set_consumer_status(&self, id: &SubscriptionId, status: ConsumerStatus) -> Changed {
        self.change_subscription(id, move |_, record, now| {
            if !matches!(record.status, SubscriptionStatus::Accepted | SubscriptionStatus::Paused) {
                let message = "Only an accepted or paused subscription can be started and stopped.";
                return Err(refused("subscription.notAccepted", message));
            }
            record.consumer_paused_at = match status {
                ConsumerStatus::Started => None,
                ConsumerStatus::Stopped => record.consumer_paused_at.or(Some(now)),
                ConsumerStatus::Failure => {
                    let message = "Write STARTED or STOPPED.";
                    return Err(RegistryError::refused(
                        "status",
                        "subscription.consumerStatus.invalid",
                        message,
                    ));
                }
            };
            (record.consumer_status, record.failure_cause) = (status, None);
            Ok(())
        })
        .await
    }

    /// Goes on after a failure, with the message that failed.
    pub async fn resume_failure(&self, id: &SubscriptionId) -> Changed {
        self.change_subscription(id, |_, record, _| {
            if record.consumer_status != ConsumerStatus::Failure || !record.status.is_open() {
                return Err(refused("subscription.notFailed", "The subscription did not fail."));
            }
            (record.consumer_status, record.failure_cause) = (ConsumerStatus::Started, None);
            Ok(())
        })
        .await
    }

    /// Keeps what the gateway tells: that it gave a subscription up that it served so, and why. One that is not
    /// to be served any more, or is served in another way by now, stays as it is. A subscriber at the hub that says
    /// that it is gone has ended its subscription.
    pub async fn fail_subscription(&self, served: &Arc<Subscription>, code: &str, cause: &str) -> Changed {
        let cause: String = cause.chars().take(MAX_CAUSE).collect();
        let (served, is_gone) = (Arc::clone(served), code == GONE);
        self.change_subscription(&served.id.clone(), move |inner, record, _| {
            if !record.status.is_open()
                || record.consumer_status != ConsumerStatus::Started
                || !inner.serves_as(record, &served)
            {
                return Ok(());
            }
            if is_gone && record.consumer.hub.is_some() {
                end(record, &cause);
            } else {
                (record.consumer_status, record.failure_cause) = (ConsumerStatus::Failure, Some(cause));
            }
            Ok(())
        })
        .await
    }

    async fn change_subscription(
        &self,
        id: &SubscriptionId,
        edit: impl FnOnce(&Inner, &mut SubscriptionRecord, Timestamp) -> Result<(), RegistryError>
        + Send
        + 'static,
    ) -> Changed {
        let id = id.clone();
        self.exclusively(async move |inner| {
            let mut record = (*inner.subscription(&id)?).clone();
            record.updated_at = Timestamp::now_after(record.updated_at);
            let now = record.updated_at;
            edit(&inner, &mut record, now)?;
            inner.keep_subscriptions(vec![record]).await?;
            inner.subscription(&id)
        })
        .await
    }
}

impl Inner {
    fn updated(
        &self,
        record: &mut SubscriptionRecord,
        update: SubscriptionUpdate,
        by: Side,
    ) -> Result<(), RegistryError> {
        if !record.status.is_open() {
            return Err(refused("subscription.closed", "The subscription is closed."));
        }
        let api = self.get(&record.api)?;
        let mut problems = Vec::new();
        let shown = update
            .consumer
            .map(|consumer| ConsumerConfiguration { hub: record.consumer.hub.clone(), ..consumer });
        if let Some(mut consumer) = shown.filter(|consumer| *consumer != record.consumer) {
            if record.consumer.hub.is_some() {
                let message = "This subscription was made at the hub; its subscriber changes it there.";
                return Err(RegistryError::conflict("", "subscription.hub", message));
            }
            problems.extend(Self::unmasked(&mut consumer, Some(&record.consumer)));
            problems.extend(self.consumer_problems(&api, &consumer));
            let asks_again = by == Side::Consumer
                && api.plan(&record.plan)?.plan.validation == PlanValidation::Manual
                && consumer != record.consumer;
            if asks_again {
                record.status = SubscriptionStatus::Pending;
                (record.processed_by, record.processed_at, record.paused_at) = (None, None, None);
            }
            record.consumer = consumer;
        }
        if let Some(metadata) = update.metadata {
            problems.extend(rules::metadata_problems(&metadata));
            record.metadata = metadata;
        }
        if !problems.is_empty() {
            return Err(RegistryError::Invalid(problems));
        }
        record.starting_at = update.starting_at.unwrap_or(record.starting_at);
        record.ending_at = update.ending_at.unwrap_or(record.ending_at);
        rules::check_dates(record)
    }
}

/// Ends an open subscription that was made at a hub.
pub(in super::super) fn end(record: &mut SubscriptionRecord, cause: &str) {
    let now = Timestamp::now_after(record.updated_at);
    record.updated_at = now;
    close(record, now, cause);
    record.failure_cause = Some(cause.to_owned());
}

/// Ends an open subscription.
pub(super) fn close(record: &mut SubscriptionRecord, now: Timestamp, reason: &str) {
    if record.status == SubscriptionStatus::Pending {
        record.status = SubscriptionStatus::Rejected;
        (record.publisher_message, record.processed_at) = (Some(reason.to_owned()), Some(now));
        record.processed_by = Some(USER.to_owned());
    } else {
        record.status = SubscriptionStatus::Closed;
    }
    (record.closed_at, record.paused_at, record.consumer_paused_at) = (Some(now), None, None);
}

fn refused(code: &'static str, message: &str) -> RegistryError {
    RegistryError::refused("", code, message)
}
