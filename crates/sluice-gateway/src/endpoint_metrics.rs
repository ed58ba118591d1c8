//! What is counted of brokers that share the work of an event API, each by the names of the API and of the broker.
//! There are as many as definitions name, and those that are named no more are forgotten.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError},
};

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family},
    registry::Registry,
};
use sluice_api::{ApiId, EventApi};
use sluice_broker::balance::MemberMetrics;

/// The counters of all brokers that share work.
#[derive(Debug, Clone, Default)]
pub(crate) struct EndpointFamilies {
    published: Family<EndpointLabel, Counter>,
    failed: Family<EndpointLabel, Counter>,
    passed_over: Family<EndpointLabel, Counter>,
    /// Those that were made, so that they can be forgotten.
    known: Arc<Mutex<BTreeMap<ApiId, BTreeSet<String>>>>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct EndpointLabel {
    api: String,
    endpoint: String,
}

impl EndpointLabel {
    fn new(api: &ApiId, endpoint: &str) -> Self {
        Self { api: api.0.clone(), endpoint: endpoint.to_owned() }
    }
}

impl EndpointFamilies {
    pub(crate) fn register(&self, registry: &mut Registry) {
        let mut add = |name: &str, help: &str, family: &Family<EndpointLabel, Counter>| {
            registry.register(name, help, family.clone());
        };
        add(
            "endpoint_published_messages",
            "Messages that one of several brokers has acknowledged",
            &self.published,
        );
        add(
            "endpoint_publish_failures",
            "Messages that one of several brokers has not acknowledged",
            &self.failed,
        );
        add(
            "endpoint_passed_over",
            "Messages that went to others while a broker was left alone",
            &self.passed_over,
        );
    }

    /// Those of one broker of an API, made when they are first asked for.
    pub(crate) fn of(&self, api: &ApiId, endpoint: &str) -> MemberMetrics {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.entry(api.clone()).or_default().insert(endpoint.to_owned());
        let label = EndpointLabel::new(api, endpoint);
        MemberMetrics {
            published: self.published.get_or_create_owned(&label),
            failed: self.failed.get_or_create_owned(&label),
            passed_over: self.passed_over.get_or_create_owned(&label),
        }
    }

    /// Forgets those of brokers that a definition, which has come in place of another, does not name any more.
    pub(crate) fn keep(&self, api: &EventApi) {
        self.retain(&api.id, |endpoint| {
            api.brokers
                .iter()
                .any(|broker| broker.name == endpoint && api.group(&broker.group).nth(1).is_some())
        });
    }

    /// Forgets those of an API that is gone.
    pub(crate) fn forget(&self, api: &ApiId) {
        self.retain(api, |_| false);
    }

    fn retain(&self, api: &ApiId, is_kept: impl Fn(&str) -> bool) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(endpoints) = known.get_mut(api) else { return };
        endpoints.retain(|endpoint| {
            let kept = is_kept(endpoint);
            if !kept {
                let label = EndpointLabel::new(api, endpoint);
                for family in [&self.published, &self.failed, &self.passed_over] {
                    family.remove(&label);
                }
            }
            kept
        });
        if endpoints.is_empty() {
            known.remove(api);
        }
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::encoding::text;

    use super::*;

    #[test]
    fn brokers_that_are_named_no_more_are_shown_no_more() {
        let (families, mut registry) = (EndpointFamilies::default(), Registry::default());
        families.register(&mut registry);
        let broker = |name: &str| serde_json::json!({ "name": name, "group": "g", "type": "mock", "configuration": { "messageContent": name } });
        let api: EventApi = sluice_api::from_value(serde_json::json!({
            "id": "a", "name": "a", "receivers": [], "brokers": [broker("one"), broker("two")],
        }))
        .unwrap();
        for endpoint in ["one", "two", "three"] {
            families.of(&api.id, endpoint).published.inc();
        }
        let shown = || {
            let mut rendered = String::new();
            text::encode(&mut rendered, &registry).unwrap();
            ["one", "two", "three"].map(|endpoint| rendered.contains(&format!("endpoint=\"{endpoint}\"")))
        };
        families.keep(&api);
        assert_eq!(shown(), [true, true, false]);
        families.forget(&api.id);
        assert_eq!(shown(), [false; 3]);
    }
}
