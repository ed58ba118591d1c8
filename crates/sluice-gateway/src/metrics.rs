//! What the gateway counts, in the text format that Prometheus reads.

use std::sync::Mutex;

use prometheus_client::{
    encoding::{EncodeLabelSet, text},
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};
use sluice_api::ApiId;
use sluice_broker::{JournalMetrics, SpoolMetrics};
use sluice_delivery::DeliveryMetrics;
use sluice_receiver::ApiMetrics;
use sluice_stream::StreamMetrics;
use sluice_websub::HubMetrics;

use crate::{
    endpoint_metrics::EndpointFamilies,
    moment::{Moment, MomentFamilies},
};

/// All counters of a gateway.
pub(crate) struct Metrics {
    registry: Mutex<Registry>,
    published: Family<ApiLabel, Counter>,
    publish_failed: Family<ApiLabel, Counter>,
    replayed_publishes: Family<ApiLabel, Counter>,
    unnoted_publishes: Family<ApiLabel, Counter>,
    delivered: Family<ApiLabel, Counter>,
    dropped_by_policy: Family<ApiLabel, Counter>,
    skipped: Family<ApiLabel, Counter>,
    lost: Family<ApiLabel, Counter>,
    overrun: Family<ApiLabel, Counter>,
    misled: Family<ApiLabel, Counter>,
    failed_calls: Family<ApiLabel, Counter>,
    dead_lettered: Family<ApiLabel, Counter>,
    given_up: Family<ApiLabel, Counter>,
    headers_left_out: Family<ApiLabel, Counter>,
    streams: Family<ApiLabel, Gauge>,
    subscriptions: Family<ApiLabel, Gauge>,
    replayed: Family<ApiLabel, Counter>,
    letters_passed_over: Family<ApiLabel, Counter>,
    open_circuits: Family<ApiLabel, Gauge>,
    forwarded: Family<ApiLabel, Counter>,
    set_aside: Family<ApiLabel, Counter>,
    spooled_messages: Family<ApiLabel, Gauge>,
    spooled_bytes: Family<ApiLabel, Gauge>,
    aside_messages: Family<ApiLabel, Gauge>,
    /// Those of journals.
    pub(crate) journals: JournalFamilies,
    /// Those of brokers that share work.
    pub(crate) endpoints: EndpointFamilies,
    moment: MomentFamilies,
    /// Requests that found no event API or no receiver in one, or were not admitted.
    pub(crate) unrouted: Counter,
}

/// The counters of journals by API. An API without one shows none.
#[derive(Debug, Clone, Default)]
pub(crate) struct JournalFamilies {
    messages: Family<ApiLabel, Counter>,
    bytes: Family<ApiLabel, Counter>,
    errors: Family<ApiLabel, Counter>,
    reading: Family<ApiLabel, Gauge>,
}

impl JournalFamilies {
    /// Those of one API, made when they are first asked for.
    pub(crate) fn of(&self, api: &ApiId) -> JournalMetrics {
        let label = ApiLabel { api: api.0.clone() };
        JournalMetrics {
            messages: self.messages.get_or_create_owned(&label),
            bytes: self.bytes.get_or_create_owned(&label),
            errors: self.errors.get_or_create_owned(&label),
            reading: self.reading.get_or_create_owned(&label),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ApiLabel {
    api: String,
}

impl Metrics {
    pub(crate) fn new(stream: &StreamMetrics, websub: &HubMetrics) -> Self {
        let mut registry = Registry::with_prefix("sluice");
        websub.register(&mut registry);
        let metrics = Self {
            registry: Mutex::default(),
            published: Family::default(),
            publish_failed: Family::default(),
            replayed_publishes: Family::default(),
            unnoted_publishes: Family::default(),
            delivered: Family::default(),
            dropped_by_policy: Family::default(),
            skipped: Family::default(),
            lost: Family::default(),
            overrun: Family::default(),
            misled: Family::default(),
            failed_calls: Family::default(),
            dead_lettered: Family::default(),
            given_up: Family::default(),
            headers_left_out: Family::default(),
            streams: Family::default(),
            subscriptions: Family::default(),
            replayed: Family::default(),
            letters_passed_over: Family::default(),
            open_circuits: Family::default(),
            forwarded: Family::default(),
            set_aside: Family::default(),
            spooled_messages: Family::default(),
            spooled_bytes: Family::default(),
            aside_messages: Family::default(),
            journals: JournalFamilies::default(),
            endpoints: EndpointFamilies::default(),
            moment: MomentFamilies::default(),
            unrouted: Counter::default(),
        };
        let mut add = |name: &str, help: &str, family: &Family<ApiLabel, Counter>| {
            registry.register(name, help, family.clone());
        };
        add("published_messages", "Messages that the broker has acknowledged", &metrics.published);
        add("publish_failures", "Publish requests that were refused or failed", &metrics.publish_failed);
        add(
            "replayed_publishes",
            "Publishes that were not repeated, by their key",
            &metrics.replayed_publishes,
        );
        add(
            "unnoted_publishes",
            "Messages with a key whose publishing was not noted",
            &metrics.unnoted_publishes,
        );
        add("delivered_messages", "Messages written towards clients", &metrics.delivered);
        add("policy_dropped_messages", "Messages that a policy kept back", &metrics.dropped_by_policy);
        add("skipped_messages", "Messages that clients were too slow for", &metrics.skipped);
        add("lost_messages", "Messages that the broker had dropped before clients got them", &metrics.lost);
        add(
            "slow_disconnects",
            "Clients that were disconnected because they were too slow",
            &metrics.overrun,
        );
        add("misled", "Clients and messages without a topic or key that can be used", &metrics.misled);
        add("failed_calls", "Calls to subscribers that did not succeed", &metrics.failed_calls);
        add("dead_letters", "Messages put with the dead letters", &metrics.dead_lettered);
        add("given_up_messages", "Messages that subscribers did not take in all tries", &metrics.given_up);
        add("left_out_headers", "Headers of messages that HTTP cannot carry", &metrics.headers_left_out);
        add("replayed_messages", "Dead letters that were brought once more", &metrics.replayed);
        add(
            "passed_over_dead_letters",
            "Dead letters without their message, which could not be brought once more",
            &metrics.letters_passed_over,
        );
        add("spool_forwarded_messages", "Messages that brokers have taken from spools", &metrics.forwarded);
        add("spool_refused_messages", "Messages of spools that were set aside", &metrics.set_aside);
        add("journal_messages", "Messages that journals have on the disk", &metrics.journals.messages);
        add("journal_bytes", "Bytes of messages that journals have on the disk", &metrics.journals.bytes);
        add(
            "journal_errors",
            "Tries of journals to read a broker, or to write, that failed",
            &metrics.journals.errors,
        );
        let mut gauge = |name: &str, help: &str, family: &Family<ApiLabel, Gauge>| {
            registry.register(name, help, family.clone());
        };
        gauge("open_circuits", "Subscriptions that are left alone for a while", &metrics.open_circuits);
        gauge("spool_waiting_messages", "Messages that wait for their broker", &metrics.spooled_messages);
        gauge("spool_waiting_bytes", "Bytes that wait for their broker", &metrics.spooled_bytes);
        gauge("spool_set_aside_messages", "Messages set aside in spools now", &metrics.aside_messages);
        gauge("journal_topics", "Topics that are read into journals now", &metrics.journals.reading);
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
            "group_consumers",
            "Broker consumers that are shared by the clients of a group",
            stream.group_consumers.clone(),
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
        metrics.endpoints.register(&mut registry);
        metrics.moment.register(&mut registry);
        Self { registry: Mutex::new(registry), ..metrics }
    }

    /// The counters of one API, made when they are first asked for; they outlive a redeployment.
    pub(crate) fn of_api(&self, api: &ApiId) -> ApiMetrics {
        let label = ApiLabel { api: api.0.clone() };
        ApiMetrics {
            published: self.published.get_or_create_owned(&label),
            publish_failed: self.publish_failed.get_or_create_owned(&label),
            replayed: self.replayed_publishes.get_or_create_owned(&label),
            unnoted: self.unnoted_publishes.get_or_create_owned(&label),
            delivered: self.delivered.get_or_create_owned(&label),
            dropped_by_policy: self.dropped_by_policy.get_or_create_owned(&label),
            skipped: self.skipped.get_or_create_owned(&label),
            lost: self.lost.get_or_create_owned(&label),
            overrun: self.overrun.get_or_create_owned(&label),
            misled: self.misled.get_or_create_owned(&label),
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
            lost: self.lost.get_or_create_owned(&label),
            replayed: self.replayed.get_or_create_owned(&label),
            letters_passed_over: self.letters_passed_over.get_or_create_owned(&label),
            open_circuits: self.open_circuits.get_or_create_owned(&label),
            failed_calls: self.failed_calls.get_or_create_owned(&label),
            dead_lettered: self.dead_lettered.get_or_create_owned(&label),
            given_up: self.given_up.get_or_create_owned(&label),
            headers_left_out: self.headers_left_out.get_or_create_owned(&label),
            subscriptions: self.subscriptions.get_or_create_owned(&label),
        }
    }

    /// The counters of one API's spool. An API without one shows none.
    pub(crate) fn of_spool(&self, api: &ApiId) -> SpoolMetrics {
        let label = ApiLabel { api: api.0.clone() };
        SpoolMetrics {
            waiting_messages: self.spooled_messages.get_or_create_owned(&label),
            waiting_bytes: self.spooled_bytes.get_or_create_owned(&label),
            set_aside_messages: self.aside_messages.get_or_create_owned(&label),
            forwarded: self.forwarded.get_or_create_owned(&label),
            set_aside: self.set_aside.get_or_create_owned(&label),
        }
    }

    /// Forgets the counters of an API that is gone.
    pub(crate) fn forget(&self, api: &ApiId) {
        self.endpoints.forget(api);
        let label = ApiLabel { api: api.0.clone() };
        let counters = [
            &self.published,
            &self.publish_failed,
            &self.replayed_publishes,
            &self.unnoted_publishes,
            &self.delivered,
            &self.dropped_by_policy,
            &self.skipped,
            &self.lost,
            &self.overrun,
            &self.misled,
            &self.failed_calls,
            &self.dead_lettered,
            &self.given_up,
            &self.headers_left_out,
            &self.replayed,
            &self.letters_passed_over,
            &self.forwarded,
            &self.set_aside,
            &self.journals.messages,
            &self.journals.bytes,
            &self.journals.errors,
        ];
        for family in counters {
            family.remove(&label);
        }
        let gauges = [
            &self.streams,
            &self.subscriptions,
            &self.open_circuits,
            &self.spooled_messages,
            &self.spooled_bytes,
            &self.aside_messages,
            &self.journals.reading,
        ];
        for family in gauges {
            family.remove(&label);
        }
    }

    /// Everything, in the OpenMetrics text format, with how things stand at this moment.
    pub(crate) fn render(&self, moment: Moment) -> String {
        let mut rendered = String::new();
        // Of two who ask at once each sees a whole moment.
        let registry = self.registry.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        self.moment.show(moment);
        if text::encode(&mut rendered, &registry).is_err() {
            // Writing to a string does not fail; half a page would be worse than none.
            rendered.clear();
        }
        rendered
    }
}
