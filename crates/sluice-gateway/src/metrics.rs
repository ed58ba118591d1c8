//! What the gateway counts, in the text format that Prometheus reads.

use std::sync::Mutex;

use prometheus_client::{
    encoding::{EncodeLabelSet, text},
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};
use sluice_api::ApiId;
use sluice_delivery::DeliveryMetrics;
use sluice_receiver::ApiMetrics;
use sluice_stream::StreamMetrics;

/// All counters of a gateway.
pub(crate) struct Metrics {
    registry: Mutex<Registry>,
    published: Family<ApiLabel, Counter>,
    publish_failed: Family<ApiLabel, Counter>,
    delivered: Family<ApiLabel, Counter>,
    dropped_by_policy: Family<ApiLabel, Counter>,
    skipped: Family<ApiLabel, Counter>,
    failed_calls: Family<ApiLabel, Counter>,
    dead_lettered: Family<ApiLabel, Counter>,
    given_up: Family<ApiLabel, Counter>,
    headers_left_out: Family<ApiLabel, Counter>,
    streams: Family<ApiLabel, Gauge>,
    subscriptions: Family<ApiLabel, Gauge>,
    /// Requests that found no event API or no receiver in one, or were not admitted.
    pub(crate) unrouted: Counter,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ApiLabel {
    api: String,
}

impl Metrics {
    pub(crate) fn new(stream: &StreamMetrics) -> Self {
        let mut registry = Registry::with_prefix("sluice");
        let metrics = Self {
            registry: Mutex::default(),
            published: Family::default(),
            publish_failed: Family::default(),
            delivered: Family::default(),
            dropped_by_policy: Family::default(),
            skipped: Family::default(),
            failed_calls: Family::default(),
            dead_lettered: Family::default(),
            given_up: Family::default(),
            headers_left_out: Family::default(),
            streams: Family::default(),
            subscriptions: Family::default(),
            unrouted: Counter::default(),
        };
        let mut add = |name: &str, help: &str, family: &Family<ApiLabel, Counter>| {
            registry.register(name, help, family.clone());
        };
        add("published_messages", "Messages that the broker has acknowledged", &metrics.published);
        add("publish_failures", "Publish requests that were refused or failed", &metrics.publish_failed);
        add("delivered_messages", "Messages written towards clients", &metrics.delivered);
        add("policy_dropped_messages", "Messages that a policy kept back", &metrics.dropped_by_policy);
        add("skipped_messages", "Messages that clients were too slow for", &metrics.skipped);
        add("failed_calls", "Calls to subscribers that did not succeed", &metrics.failed_calls);
        add("dead_letters", "Messages put with the dead letters", &metrics.dead_lettered);
        add("given_up_messages", "Messages that subscribers did not take in all tries", &metrics.given_up);
        add("left_out_headers", "Headers of messages that HTTP cannot carry", &metrics.headers_left_out);
        registry.register("open_streams", "Streams open now", metrics.streams.clone());
        registry.register(
            "served_subscriptions",
            "Subscriptions that are being served",
            metrics.subscriptions.clone(),
        );
        registry.register("unrouted_requests", "Requests that no event API took", metrics.unrouted.clone());
        registry.register(
            "hub_consumers",
            "Broker consumers that are shared by all clients of their topics",
            stream.hub_consumers.clone(),
        );
        registry.register(
            "client_readers",
            "Broker consumers that one client has to itself while it reads older messages",
            stream.client_readers.clone(),
        );
        registry.register(
            "consumed_messages",
            "Messages read from brokers by shared consumers",
            stream.messages_read.clone(),
        );
        registry.register(
            "lost_positions",
            "Times that a broker had dropped messages before they were read",
            stream.positions_lost.clone(),
        );
        Self { registry: Mutex::new(registry), ..metrics }
    }

    /// The counters of one API, made when they are first asked for; they outlive a redeployment.
    pub(crate) fn of_api(&self, api: &ApiId) -> ApiMetrics {
        let label = ApiLabel { api: api.0.clone() };
        ApiMetrics {
            published: self.published.get_or_create_owned(&label),
            publish_failed: self.publish_failed.get_or_create_owned(&label),
            delivered: self.delivered.get_or_create_owned(&label),
            dropped_by_policy: self.dropped_by_policy.get_or_create_owned(&label),
            skipped: self.skipped.get_or_create_owned(&label),
            streams: self.streams.get_or_create_owned(&label),
        }
    }

    /// The counters of one API's calls to subscribers; what streams have, too, is counted with them.
    pub(crate) fn of_deliveries(&self, api: &ApiId) -> DeliveryMetrics {
        let label = ApiLabel { api: api.0.clone() };
        DeliveryMetrics {
            delivered: self.delivered.get_or_create_owned(&label),
            dropped_by_policy: self.dropped_by_policy.get_or_create_owned(&label),
            skipped: self.skipped.get_or_create_owned(&label),
            failed_calls: self.failed_calls.get_or_create_owned(&label),
            dead_lettered: self.dead_lettered.get_or_create_owned(&label),
            given_up: self.given_up.get_or_create_owned(&label),
            headers_left_out: self.headers_left_out.get_or_create_owned(&label),
            subscriptions: self.subscriptions.get_or_create_owned(&label),
        }
    }

    /// Forgets the counters of an API that is gone.
    pub(crate) fn forget(&self, api: &ApiId) {
        let label = ApiLabel { api: api.0.clone() };
        let counters = [
            &self.published,
            &self.publish_failed,
            &self.delivered,
            &self.dropped_by_policy,
            &self.skipped,
            &self.failed_calls,
            &self.dead_lettered,
            &self.given_up,
            &self.headers_left_out,
        ];
        for family in counters {
            family.remove(&label);
        }
        self.streams.remove(&label);
        self.subscriptions.remove(&label);
    }

    /// Everything, in the OpenMetrics text format.
    pub(crate) fn render(&self) -> String {
        let mut rendered = String::new();
        let registry = self.registry.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if text::encode(&mut rendered, &registry).is_err() {
            // Writing to a string does not fail; half a page would be worse than none.
            rendered.clear();
        }
        rendered
    }
}
