//! All subscriptions, by id and by event API: what is asked of one API does not look at those of the others.

use std::{collections::BTreeMap, sync::Arc};

use sluice_api::{ApiId, SubscriptionId};
use sluice_store::SubscriptionRecord;

type Records = BTreeMap<SubscriptionId, Arc<SubscriptionRecord>>;

/// All subscriptions. A record that changes keeps its API.
#[derive(Default)]
pub(in super::super) struct SubscriptionTable {
    all: Records,
    of_apis: BTreeMap<ApiId, Records>,
}

impl SubscriptionTable {
    pub(in super::super) fn insert(&mut self, record: Arc<SubscriptionRecord>) {
        let of_api = self.of_apis.entry(record.api.clone()).or_default();
        of_api.insert(record.id.clone(), Arc::clone(&record));
        self.all.insert(record.id.clone(), record);
    }

    /// Takes out those to an API.
    pub(super) fn remove_api(&mut self, api: &ApiId) -> Vec<SubscriptionId> {
        let removed: Vec<_> = self.of_apis.remove(api).into_iter().flat_map(Records::into_keys).collect();
        for id in &removed {
            self.all.remove(id);
        }
        removed
    }

    pub(super) fn get(&self, id: &SubscriptionId) -> Option<&Arc<SubscriptionRecord>> {
        self.all.get(id)
    }

    /// Every one, ordered by id.
    pub(super) fn all(&self) -> impl Iterator<Item = &Arc<SubscriptionRecord>> {
        self.all.values()
    }

    /// Those to an API, ordered by id.
    pub(super) fn of_api(&self, api: &ApiId) -> impl Iterator<Item = &Arc<SubscriptionRecord>> {
        self.of_apis.get(api).into_iter().flat_map(BTreeMap::values)
    }

    /// How many an API has, whatever state they are in.
    pub(super) fn count(&self, api: &ApiId) -> usize {
        self.of_apis.get(api).map_or(0, BTreeMap::len)
    }
}
