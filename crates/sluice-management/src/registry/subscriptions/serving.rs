//! What of the subscriptions the gateway is to serve, and when they end by themselves.

use std::sync::Arc;

use sluice_api::{ApiId, ApplicationId, Callback, EventApi, HubTerms, PlanStatus, Problem, Subscription};
use sluice_store::{
    ConsumerConfiguration, ConsumerStatus, SubscriptionRecord, SubscriptionStatus, Timestamp,
};

use super::{
    super::{
        ManagedApi, Origin, State,
        hub::{HUB, served_websub},
        masks,
    },
    Inner, RegistryError,
    changes::close,
    rules,
};

/// Those subscriptions that a change may concern.
pub(in super::super) enum Among {
    All,
    OfApi(ApiId),
    OfApplication(ApplicationId),
}

impl Inner {
    /// Makes the gateway serve a subscription, or not, as its record says.
    pub(super) fn serve(&self, record: &SubscriptionRecord) {
        let wanted = wanted(&self.read(), record);
        match wanted {
            Some(subscription) => self.gateway.put_subscription(subscription),
            None => self.gateway.remove_subscription(&record.id, !record.status.is_open()),
        }
    }

    /// Whether a record says of how it is served what the gateway was given.
    pub(super) fn serves_as(&self, record: &SubscriptionRecord, served: &Subscription) -> bool {
        let called = self.read().called(record);
        called.is_some_and(|(callback, hub)| callback == served.callback && hub == served.hub)
            && record.ending_at.map(|time| time.0) == served.ending_at
    }

    /// Makes the gateway serve several, or not.
    pub(in super::super) fn serve_subscriptions(&self, among: &Among) {
        let records: Vec<_> = self.read().among(among).cloned().collect();
        records.iter().for_each(|record| self.serve(record));
    }

    /// Makes the gateway serve whatever is to be served, when it serves nothing yet. How far the others had come
    /// was forgotten when they were closed; to make sure of it would be a write to the disk for each.
    pub(in super::super) fn serve_all_subscriptions(&self) {
        let state = self.read();
        let all = state.subscriptions.all().filter_map(|record| wanted(&state, record));
        all.for_each(|subscription| self.gateway.put_subscription(subscription));
    }

    /// Closes subscriptions whose plan is closed or gone, or whose application is put away.
    pub(in super::super) async fn close_ended_subscriptions(
        &self,
        among: &Among,
    ) -> Result<(), RegistryError> {
        let ended: Vec<_> = {
            let state = self.read();
            let open = state.among(among).filter(|record| record.status.is_open());
            open.filter_map(|record| Some((Arc::clone(record), ended(&state, record)?))).collect()
        };
        if ended.is_empty() {
            return Ok(());
        }
        let closed = ended.into_iter().map(|(record, reason)| {
            let mut record = (*record).clone();
            record.updated_at = Timestamp::now_after(record.updated_at);
            let now = record.updated_at;
            close(&mut record, now, reason);
            tracing::info!(subscription = %record.id, reason, "A subscription ended.");
            record
        });
        self.keep_subscriptions(closed.collect()).await
    }

    /// Forgets the subscriptions to an API that is no more; the store did so with the API.
    pub(in super::super) fn forget_subscriptions_to(&self, api: &ApiId) {
        let removed = self.write().subscriptions.remove_api(api);
        removed.iter().for_each(|id| self.gateway.remove_subscription(id, true));
    }

    /// Puts back the secrets that came as their masks.
    pub(super) fn unmasked(
        consumer: &mut ConsumerConfiguration,
        former: Option<&ConsumerConfiguration>,
    ) -> Vec<Problem> {
        let former = former.map(|former| &former.callback);
        let problems = masks::unmask_callback(&mut consumer.callback, former);
        problems.into_iter().map(|problem| problem.within("callback")).collect()
    }

    /// Everything that speaks against how a subscriber wants to be called.
    pub(super) fn consumer_problems(
        &self,
        api: &ManagedApi,
        consumer: &ConsumerConfiguration,
    ) -> Vec<Problem> {
        let mut problems = Vec::new();
        let kind = consumer.connector.strip_suffix("-advanced").unwrap_or(&consumer.connector);
        let mut receivers = api.record.draft.receivers.iter().map(|receiver| &receiver.configuration);
        if kind == HUB {
            let message = "Subscriptions of this kind are made by their subscribers, at the hub.";
            problems.push(Problem::new("connector", "subscription.entrypoint.invalid", message));
        } else if !receivers.any(|receiver| receiver.calls_clients() && receiver.kind() == kind) {
            let message = format!(
                "The API [{}] has no entrypoint '{}' that calls its subscribers.",
                api.record.id(),
                consumer.connector
            );
            problems.push(Problem::new("connector", "subscription.entrypoint.invalid", message));
        }
        if consumer.channel.as_ref().is_some_and(|channel| channel.len() > rules::MAX_CHANNEL) {
            let message = format!("At most {} bytes are allowed.", rules::MAX_CHANNEL);
            problems.push(Problem::new("channel", "subscription.channel.invalid", message));
        }
        problems.extend(channel_problem(&api.record.draft, consumer.channel.as_deref()));
        let callback = self.gateway.check_callback(&consumer.callback);
        problems.extend(callback.into_iter().map(|problem| problem.within("callback")));
        problems
    }
}

impl State {
    /// How a subscriber is called. One of a hub has said where only; the rest is the API's to say, and follows its
    /// settings. `None` where the API has no hub any more.
    pub(super) fn called(&self, record: &SubscriptionRecord) -> Option<(Callback, Option<HubTerms>)> {
        let (mut callback, mut hub) = (record.consumer.callback.clone(), record.consumer.hub.clone());
        if let Some(terms) = &mut hub {
            let settings = served_websub(&self.apis.get(&record.api)?.record)?;
            (callback.retry, callback.order) = (settings.retry.clone(), settings.order);
            terms.signature = settings.signature;
        }
        Some((callback, hub))
    }

    fn among<'a>(&'a self, among: &'a Among) -> Box<dyn Iterator<Item = &'a Arc<SubscriptionRecord>> + 'a> {
        let table = &self.subscriptions;
        match among {
            Among::All => Box::new(table.all()),
            Among::OfApi(api) => Box::new(table.of_api(api)),
            Among::OfApplication(id) => Box::new(table.all().filter(move |it| it.application == *id)),
        }
    }
}

/// Who subscribes to an API with channels says to which.
fn channel_problem(api: &EventApi, channel: Option<&str>) -> Option<Problem> {
    let named = channel.map(|channel| channel.trim_start_matches('/'));
    if api.channels.is_empty() || named.is_some_and(|channel| api.channels.contains_key(channel)) {
        return None;
    }
    let channels: Vec<_> = api.channels.keys().map(String::as_str).collect();
    let message = format!("Name one of the API's channels: {}.", channels.join(", "));
    Some(Problem::new("channel", "subscription.channel.unknown", message))
}

/// What the gateway is given for a record; nothing when it is not to be served.
fn wanted(state: &State, record: &SubscriptionRecord) -> Option<Subscription> {
    let plan = state.apis.get(&record.api)?.plan(&record.plan).ok()?;
    let application = state.applications.get(&record.application)?;
    let served = record.status == SubscriptionStatus::Accepted
        && record.consumer_status == ConsumerStatus::Started
        && plan.plan.status.admits();
    let (callback, hub) = state.called(record)?;
    served.then(|| Subscription {
        id: record.id.clone(),
        api: record.api.clone(),
        plan: record.plan.clone(),
        application: record.application.clone(),
        application_name: application.name.clone(),
        client_id: application.client_id.clone(),
        metadata: record.metadata.clone(),
        channel: record.consumer.channel.clone(),
        callback,
        hub,
        starting_at: record.starting_at.map(|time| time.0),
        ending_at: record.ending_at.map(|time| time.0),
    })
}

/// Why a subscription is over, although nobody closed it. A plan that is missing in a file may come back.
fn ended(state: &State, record: &SubscriptionRecord) -> Option<&'static str> {
    let archived = state
        .applications
        .get(&record.application)
        .is_some_and(|application| application.archived_at.is_some());
    if archived {
        return Some("The application is archived.");
    }
    let api = state.apis.get(&record.api).filter(|api| api.origin == Origin::Management)?;
    match api.plan(&record.plan) {
        Ok(plan) if plan.plan.status != PlanStatus::Closed => None,
        Ok(_) => Some("The plan is closed."),
        Err(_) => Some("The plan is deleted."),
    }
}
