//! All subscriptions, by id, by event API, and those made at a hub by who is called: what is asked of one API does not
//! look at those of the others.

use std::{collections::BTreeMap, sync::Arc};

use sluice_api::{ApiId, SubscriptionId};
use sluice_store::{SubscriptionRecord, Timestamp};

use super::hub_index::HubIndex;

/// Closed subscriptions of a hub that are kept for each API; the oldest go first. Subscribers come and go by
/// themselves there, without end.
const CLOSED_KEPT: usize = 1000;

type Records = BTreeMap<SubscriptionId, Arc<SubscriptionRecord>>;

/// All subscriptions. A record that changes keeps its API.
#[derive(Default)]
pub(in super::super) struct SubscriptionTable {
    all: Records,
    of_apis: BTreeMap<ApiId, Records>,
    hubs: HubIndex,
}

impl SubscriptionTable {
    pub(in super::super) fn insert(&mut self, record: Arc<SubscriptionRecord>) {
        if let Some(former) = self.all.get(&record.id) {
            self.hubs.remove(former);
        }
        self.hubs.insert(&record);
        let of_api = self.of_apis.entry(record.api.clone()).or_default();
        of_api.insert(record.id.clone(), Arc::clone(&record));
        self.all.insert(record.id.clone(), record);
    }

    pub(super) fn remove(&mut self, id: &SubscriptionId) {
        let Some(record) = self.all.remove(id) else { return };
        self.hubs.remove(&record);
        if let Some(of_api) = self.of_apis.get_mut(&record.api) {
            of_api.remove(id);
        }
    }

    /// Takes out those to an API.
    pub(super) fn remove_api(&mut self, api: &ApiId) -> Vec<SubscriptionId> {
        let removed: Vec<_> = self.of_apis.get(api).into_iter().flat_map(Records::keys).cloned().collect();
        removed.iter().for_each(|id| self.remove(id));
        self.of_apis.remove(api);
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

    /// The open one that was made at the hub of an API, for this channel and callback.
    pub(in super::super) fn at_hub(
        &self,
        api: &ApiId,
        channel: &str,
        callback: &str,
    ) -> Option<&Arc<SubscriptionRecord>> {
        self.get(self.hubs.find(api, channel, callback)?)
    }

    /// How many open ones were made at the hub of an API.
    pub(in super::super) fn count_at_hub(&self, api: &ApiId) -> usize {
        self.hubs.count(api)
    }

    /// The same, for one of its channels.
    pub(super) fn count_of_channel(&self, api: &ApiId, channel: &str) -> usize {
        self.hubs.count_at(api, channel)
    }

    /// Open ones whose lease is over, not more than so many.
    pub(super) fn over(&self, now: Timestamp, limit: usize) -> Vec<Arc<SubscriptionRecord>> {
        self.hubs.over(now, limit).filter_map(|id| self.get(id)).cloned().collect()
    }

    /// When the next lease ends.
    pub(super) fn next_end(&self) -> Option<Timestamp> {
        self.hubs.next_end()
    }

    /// The closed ones of hubs that are to go when these are changed.
    pub(in super::super) fn superfluous(&self, changed: &[SubscriptionRecord]) -> Vec<SubscriptionId> {
        let mut closed: BTreeMap<&ApiId, usize> = BTreeMap::new();
        for record in changed.iter().filter(|it| it.consumer.hub.is_some() && !it.status.is_open()) {
            *closed.entry(&record.api).or_default() += 1;
        }
        let going = closed.into_iter().flat_map(|(api, more)| self.hubs.too_many(api, more, CLOSED_KEPT));
        going.filter(|id| changed.iter().all(|record| record.id != **id)).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use sluice_api::{PlanId, from_value};
    use sluice_store::{ConsumerStatus, SubscriptionStatus};

    use super::*;

    fn record(id: usize, callback: &str, ending_at: i64) -> SubscriptionRecord {
        let terms = json!({
            "topic": "t", "hubUrl": "http://h/hub", "selfUrl": "http://h/a", "leaseSeconds": 1, "signature": "sha256"
        });
        let consumer = json!({
            "connector": "websub", "channel": "a", "callback": { "callbackUrl": callback }, "hub": terms
        });
        SubscriptionRecord {
            id: SubscriptionId(format!("{id:05}")),
            api: ApiId("api".to_owned()),
            plan: PlanId("open".to_owned()),
            application: sluice_api::ApplicationId("websub".to_owned()),
            consumer: from_value(consumer).unwrap(),
            metadata: BTreeMap::new(),
            status: SubscriptionStatus::Accepted,
            consumer_status: ConsumerStatus::Started,
            failure_cause: None,
            consumer_message: None,
            publisher_message: None,
            subscribed_by: String::new(),
            processed_by: None,
            processed_at: None,
            created_at: Timestamp(1),
            updated_at: Timestamp(1),
            starting_at: None,
            ending_at: Some(Timestamp(ending_at)),
            closed_at: None,
            paused_at: None,
            consumer_paused_at: None,
        }
    }

    fn closed(id: usize, at: i64) -> SubscriptionRecord {
        let closed_at = Some(Timestamp(at));
        SubscriptionRecord { status: SubscriptionStatus::Closed, closed_at, ..record(id, "http://c/", 1) }
    }

    #[test]
    fn a_subscription_of_a_hub_is_found_by_its_callback_until_it_is_closed() {
        let (mut table, api) = (SubscriptionTable::default(), ApiId("api".to_owned()));
        table.insert(Arc::new(record(1, "http://c/", 10)));
        table.insert(Arc::new(record(2, "http://d/", 20)));
        let found = |table: &SubscriptionTable, callback| {
            table.at_hub(&api, "a", callback).map(|record| record.id.0.clone())
        };
        assert_eq!(found(&table, "http://c/").as_deref(), Some("00001"));
        assert_eq!((table.count_at_hub(&api), table.count_of_channel(&api, "b")), (2, 0));
        assert_eq!(table.next_end(), Some(Timestamp(10)));
        assert_eq!(table.over(Timestamp(10), 9).len(), 1);
        // Renewed, then closed.
        table.insert(Arc::new(record(1, "http://c/", 30)));
        assert_eq!(table.next_end(), Some(Timestamp(20)));
        table.insert(Arc::new(closed(1, 5)));
        assert_eq!((found(&table, "http://c/"), table.count_at_hub(&api)), (None, 1));
        assert_eq!(table.remove_api(&api).len(), 2);
        assert_eq!((table.next_end(), table.count(&api)), (None, 0));
    }

    #[test]
    fn of_closed_subscriptions_of_a_hub_only_the_last_are_kept() {
        let mut table = SubscriptionTable::default();
        for number in 0..CLOSED_KEPT {
            let number_ms = i64::try_from(number).unwrap();
            assert_eq!(table.superfluous(&[closed(number, number_ms)]), []);
            table.insert(Arc::new(closed(number, number_ms)));
        }
        let one_more = closed(5000, 5000);
        assert_eq!(table.superfluous(&[one_more]), [SubscriptionId("00000".to_owned())]);
        assert_eq!(table.superfluous(&[record(1, "http://e/", 1)]), []);
    }
}
