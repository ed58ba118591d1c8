//! The subscriptions that were made at a hub: found by channel and callback, and by when they end, without looking at
//! the others. It knows ids only; the records are in the table.

use std::collections::{BTreeSet, HashMap};

use sluice_api::{ApiId, SubscriptionId};
use sluice_store::{SubscriptionRecord, Timestamp};

/// Subscriptions in the order in which something happened, or will happen, to them.
type InTime = BTreeSet<(Timestamp, SubscriptionId)>;

/// Which subscriptions were made at hubs.
#[derive(Default)]
pub(super) struct HubIndex {
    of_apis: HashMap<ApiId, OfApi>,
    /// The open ones by the end of their leases.
    leases: InTime,
}

#[derive(Default)]
struct OfApi {
    /// The open ones by channel, then by callback.
    open: HashMap<String, HashMap<String, SubscriptionId>>,
    /// The closed ones by when they were closed.
    closed: InTime,
}

impl HubIndex {
    pub(super) fn insert(&mut self, record: &SubscriptionRecord) {
        if record.consumer.hub.is_none() {
            return;
        }
        let of_api = self.of_apis.entry(record.api.clone()).or_default();
        let id = record.id.clone();
        if !record.status.is_open() {
            of_api.closed.insert((closed_at(record), id));
            return;
        }
        self.leases.extend(record.ending_at.map(|end| (end, id.clone())));
        let callbacks = of_api.open.entry(channel(record).to_owned()).or_default();
        callbacks.insert(record.consumer.callback.callback_url.clone(), id);
    }

    /// Takes out what was put in for this record.
    pub(super) fn remove(&mut self, record: &SubscriptionRecord) {
        let Some(of_api) = self.of_apis.get_mut(&record.api) else { return };
        of_api.closed.remove(&(closed_at(record), record.id.clone()));
        if let Some(end) = record.ending_at {
            self.leases.remove(&(end, record.id.clone()));
        }
        if let Some(callbacks) = of_api.open.get_mut(channel(record)) {
            let callback = &record.consumer.callback.callback_url;
            // Another one may have its place by now.
            if callbacks.get(callback) == Some(&record.id) {
                callbacks.remove(callback);
            }
            if callbacks.is_empty() {
                of_api.open.remove(channel(record));
            }
        }
        if of_api.open.is_empty() && of_api.closed.is_empty() {
            self.of_apis.remove(&record.api);
        }
    }

    /// The open one of this channel and callback.
    pub(super) fn find(&self, api: &ApiId, channel: &str, callback: &str) -> Option<&SubscriptionId> {
        self.of_apis.get(api)?.open.get(channel)?.get(callback)
    }

    /// How many open ones an API has.
    pub(super) fn count(&self, api: &ApiId) -> usize {
        self.of_apis.get(api).map_or(0, |of_api| of_api.open.values().map(HashMap::len).sum())
    }

    /// How many open ones a channel has.
    pub(super) fn count_at(&self, api: &ApiId, channel: &str) -> usize {
        self.of_apis.get(api).and_then(|of_api| of_api.open.get(channel)).map_or(0, HashMap::len)
    }

    /// The open ones whose lease is over, as many of them, the earliest first.
    pub(super) fn over(&self, now: Timestamp, limit: usize) -> impl Iterator<Item = &SubscriptionId> {
        self.leases.iter().take_while(move |(end, _)| *end <= now).take(limit).map(|(_, id)| id)
    }

    /// When the next lease ends.
    pub(super) fn next_end(&self) -> Option<Timestamp> {
        self.leases.first().map(|(end, _)| *end)
    }

    /// The closed ones of an API that are too many, the earliest first, when so many more are closed.
    pub(super) fn too_many(
        &self,
        api: &ApiId,
        more: usize,
        kept: usize,
    ) -> impl Iterator<Item = &SubscriptionId> {
        let closed = self.of_apis.get(api).map(|of_api| &of_api.closed);
        let too_many = closed.map_or(0, |closed| (closed.len() + more).saturating_sub(kept));
        closed.into_iter().flatten().take(too_many).map(|(_, id)| id)
    }
}

fn channel(record: &SubscriptionRecord) -> &str {
    record.consumer.channel.as_deref().unwrap_or_default()
}

fn closed_at(record: &SubscriptionRecord) -> Timestamp {
    record.closed_at.unwrap_or(record.updated_at)
}
