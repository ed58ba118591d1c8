//! Subscriptions: asked for, agreed to, paused, closed. Whatever is to be served is handed to the gateway with
//! each change; a change of metadata or address takes effect at once.

mod changes;
mod deliveries;
mod hub_index;
mod leases;
mod rules;
mod serving;
mod table;

use std::{collections::BTreeMap, sync::Arc};

use sluice_api::{ApiId, ApplicationId, HubTerms, PlanId, PlanValidation, SubscriptionId};
use sluice_store::{
    ConsumerConfiguration, ConsumerStatus, SubscriptionRecord, SubscriptionStatus, Timestamp,
};
use uuid::Uuid;

pub(super) use changes::end;
pub(super) use leases::LEASE_OVER;
pub(super) use serving::Among;
pub(super) use table::SubscriptionTable;

use super::{Inner, Registry, RegistryError};
use crate::USER;

/// Who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// Who offers the API: what it does needs nobody's agreement.
    Publisher,
    /// Who uses the API: on a plan with manual validation the publisher has to agree.
    Consumer,
}

/// A subscription that is asked for.
#[derive(Debug, Clone)]
pub struct NewSubscription {
    /// The API whose messages are wanted.
    pub api: ApiId,
    /// The plan: published, and not key-less.
    pub plan: PlanId,
    /// For whom.
    pub application: ApplicationId,
    /// How messages are handed over; plans whose subscribers are called need it.
    pub consumer: Option<ConsumerConfiguration>,
    /// What the subscriber says about itself, for filters.
    pub metadata: BTreeMap<String, String>,
    /// What the consumer says to the publisher.
    pub message: Option<String>,
}

/// What of a subscription is to be changed; what is absent stays.
#[derive(Debug, Clone, Default)]
pub struct SubscriptionUpdate {
    /// How messages are handed over. A secret that comes back as the mask keeps its value.
    pub consumer: Option<ConsumerConfiguration>,
    /// What the subscriber says about itself, all of it.
    pub metadata: Option<BTreeMap<String, String>>,
    /// When it begins; an inner `None` is at once.
    pub starting_at: Option<Option<Timestamp>>,
    /// When it ends; an inner `None` is never.
    pub ending_at: Option<Option<Timestamp>>,
}

/// What the publisher says to a subscription that was asked for.
#[derive(Debug, Clone)]
pub struct Decision {
    /// Whether it is agreed to.
    pub accepted: bool,
    /// What the publisher says to the consumer.
    pub reason: Option<String>,
    /// When it begins; now when absent.
    pub starting_at: Option<Timestamp>,
    /// When it ends; never when absent.
    pub ending_at: Option<Timestamp>,
}

/// Which subscriptions are meant: those that are in every list that is not empty.
#[derive(Debug, Clone, Default)]
pub struct SubscriptionFilter {
    /// Of these APIs.
    pub apis: Vec<ApiId>,
    /// By these plans.
    pub plans: Vec<PlanId>,
    /// Of these applications.
    pub applications: Vec<ApplicationId>,
    /// In these states.
    pub statuses: Vec<SubscriptionStatus>,
    /// For these channels.
    pub channels: Vec<String>,
    /// Of subscribers that are called at these addresses.
    pub callbacks: Vec<String>,
}

impl SubscriptionFilter {
    fn takes(&self, record: &SubscriptionRecord) -> bool {
        fn among<T: PartialEq>(wanted: &[T], value: &T) -> bool {
            wanted.is_empty() || wanted.contains(value)
        }
        among(&self.apis, &record.api)
            && among(&self.plans, &record.plan)
            && among(&self.applications, &record.application)
            && among(&self.statuses, &record.status)
            && (self.channels.is_empty()
                || record.consumer.channel.as_ref().is_some_and(|channel| self.channels.contains(channel)))
            && among(&self.callbacks, &record.consumer.callback.callback_url)
    }
}

impl Registry {
    /// One subscription.
    pub fn subscription(&self, id: &SubscriptionId) -> Result<Arc<SubscriptionRecord>, RegistryError> {
        self.inner.subscription(id)
    }

    /// One subscription, where it is to this API.
    pub fn subscription_to(
        &self,
        api: &ApiId,
        id: &SubscriptionId,
    ) -> Result<Arc<SubscriptionRecord>, RegistryError> {
        self.get(api)?;
        let record = self.subscription(id)?;
        if record.api == *api { Ok(record) } else { Err(RegistryError::SubscriptionNotFound(id.clone())) }
    }

    /// The subscriptions that a filter takes, in the order of creation.
    pub fn subscriptions(&self, filter: &SubscriptionFilter) -> Vec<Arc<SubscriptionRecord>> {
        let taken = |record: &&Arc<SubscriptionRecord>| filter.takes(record);
        let mut found: Vec<_> = {
            let table = &self.inner.read().subscriptions;
            match &filter.apis[..] {
                [api] => table.of_api(api).filter(taken).cloned().collect(),
                _ => table.all().filter(taken).cloned().collect(),
            }
        };
        found.sort_by_key(|record| record.created_at);
        found
    }

    /// How many subscriptions an API has, closed ones among them.
    pub fn count_subscriptions(&self, api: &ApiId) -> usize {
        self.inner.read().subscriptions.count(api)
    }

    /// What was agreed on at the hub for a subscription, as it is served.
    pub fn hub_terms(&self, record: &SubscriptionRecord) -> Option<HubTerms> {
        let served = self.inner.read().called(record).and_then(|(_, hub)| hub);
        served.or_else(|| record.consumer.hub.clone())
    }

    /// How many open subscriptions were made at the hub of an API.
    pub fn count_at_hub(&self, api: &ApiId) -> usize {
        self.inner.read().subscriptions.count_at_hub(api)
    }

    /// The same, for one of its channels.
    pub fn count_of_channel(&self, api: &ApiId, channel: &str) -> usize {
        self.inner.read().subscriptions.count_of_channel(api, channel)
    }

    /// Subscribes an application to a plan. It is accepted at once, unless a consumer asks for a plan with
    /// manual validation.
    pub async fn subscribe(
        &self,
        wanted: NewSubscription,
        by: Side,
    ) -> Result<Arc<SubscriptionRecord>, RegistryError> {
        let subscribed = self.exclusively(async move |inner| {
            let record = inner.new_subscription(wanted, by)?;
            let id = record.id.clone();
            inner.keep_subscriptions(vec![record]).await?;
            inner.subscription(&id)
        });
        let subscribed = subscribed.await?;
        // What the client publishes once it has the answer is to reach the subscriber.
        self.inner.gateway.placed(&subscribed.id).await;
        Ok(subscribed)
    }
}

impl Inner {
    fn subscription(&self, id: &SubscriptionId) -> Result<Arc<SubscriptionRecord>, RegistryError> {
        let subscription = self.read().subscriptions.get(id).cloned();
        subscription.ok_or_else(|| RegistryError::SubscriptionNotFound(id.clone()))
    }

    fn new_subscription(
        &self,
        wanted: NewSubscription,
        by: Side,
    ) -> Result<SubscriptionRecord, RegistryError> {
        let api = self.get(&wanted.api)?;
        let plan = &api.plan(&wanted.plan)?.plan;
        rules::check_plan(plan)?;
        self.application_in_use(&wanted.application)?;
        self.refuse_second(&wanted.application, &wanted.api, &wanted.plan)?;
        let mut consumer = rules::needed_consumer(wanted.consumer)?;
        let mut problems = Self::unmasked(&mut consumer, None);
        problems.extend(self.consumer_problems(&api, &consumer));
        problems.extend(rules::metadata_problems(&wanted.metadata));
        rules::message_problem("message", wanted.message.as_deref(), &mut problems);
        if !problems.is_empty() {
            return Err(RegistryError::Invalid(problems));
        }
        let now = Timestamp::now();
        let accepted = by == Side::Publisher || plan.validation == PlanValidation::Auto;
        let if_accepted = |time| accepted.then_some(time);
        Ok(SubscriptionRecord {
            id: SubscriptionId(Uuid::new_v4().to_string()),
            api: wanted.api,
            plan: wanted.plan,
            application: wanted.application,
            consumer,
            metadata: wanted.metadata,
            status: if accepted { SubscriptionStatus::Accepted } else { SubscriptionStatus::Pending },
            consumer_status: ConsumerStatus::Started,
            failure_cause: None,
            consumer_message: wanted.message,
            publisher_message: None,
            subscribed_by: USER.to_owned(),
            processed_by: accepted.then(|| USER.to_owned()),
            processed_at: if_accepted(now),
            created_at: now,
            updated_at: now,
            starting_at: if_accepted(now),
            ending_at: None,
            closed_at: None,
            paused_at: None,
            consumer_paused_at: None,
        })
    }

    /// An application has one subscription to a plan at a time.
    fn refuse_second(
        &self,
        application: &ApplicationId,
        api: &ApiId,
        plan: &PlanId,
    ) -> Result<(), RegistryError> {
        let state = self.read();
        let is_other =
            |record: &&Arc<SubscriptionRecord>| record.status.is_open() && record.consumer.hub.is_none();
        let mut others = state.subscriptions.of_api(api).filter(is_other);
        if others.any(|record| record.application == *application && record.plan == *plan) {
            let message = format!("The application [{application}] has a subscription to this plan already.");
            return Err(RegistryError::refused("plan", "subscription.exists", message));
        }
        Ok(())
    }

    /// Keeps changed subscriptions, shows them to readers and makes the gateway serve them, or not.
    async fn keep_subscriptions(&self, records: Vec<SubscriptionRecord>) -> Result<(), RegistryError> {
        let forgotten = self.read().subscriptions.superfluous(&records);
        self.store.replace_subscriptions(&records, &forgotten).await?;
        self.show_subscriptions(records, &forgotten);
        Ok(())
    }

    /// Shows subscriptions to readers that are kept, and makes the gateway serve them, or not.
    pub(super) fn show_subscriptions(&self, records: Vec<SubscriptionRecord>, forgotten: &[SubscriptionId]) {
        let records: Vec<_> = records.into_iter().map(Arc::new).collect();
        {
            let mut state = self.write();
            forgotten.iter().for_each(|id| state.subscriptions.remove(id));
            records.iter().for_each(|record| state.subscriptions.insert(Arc::clone(record)));
        }
        records.iter().for_each(|record| self.serve(record));
        if records.iter().any(|record| record.consumer.hub.is_some()) {
            self.leases_changed.notify_one();
        }
    }
}
