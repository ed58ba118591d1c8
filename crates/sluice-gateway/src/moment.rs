//! What metrics say of a moment: how brokers are doing and how far readers are behind. Nobody keeps it up to date; it is
//! looked at when somebody asks, so that what is gone is shown no more. Broker and store are asked nothing for it.

use std::collections::BTreeMap;

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{family::Family, gauge::Gauge},
    registry::Registry,
};
use sluice_api::{ApiId, Broker};
use sluice_delivery::SubscriptionLag;
use sluice_message::Topic;
use sluice_receiver::Binding;

use crate::{BrokerState, deployment::Deployment};

/// The gauges of a moment.
#[derive(Default)]
pub(crate) struct MomentFamilies {
    broker_up: Family<BrokerLabel, Gauge>,
    consumer_lag: Family<ReadLabel, Gauge>,
    subscription_lag: Family<ApiLabel, Gauge>,
    largest_subscription_lag: Family<ApiLabel, Gauge>,
    client_connections: Family<ApiLabel, Gauge>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ApiLabel {
    api: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct BrokerLabel {
    api: String,
    broker: String,
}

/// Whose topics are read. Event APIs with the same connection share a reader, so that it belongs to none of them.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, EncodeLabelSet)]
struct ReadLabel {
    address: String,
    topics: String,
}

/// What there is to show, gathered from those who know it.
#[derive(Default)]
pub(crate) struct Moment {
    brokers: Vec<(BrokerLabel, bool)>,
    reading: BTreeMap<ReadLabel, u64>,
    subscriptions: Vec<(ApiLabel, SubscriptionLag)>,
    client_connections: Vec<(ApiLabel, usize)>,
}

impl Moment {
    /// Adds a deployed event API, and how far its subscriptions are behind where it has some.
    pub(crate) fn add(&mut self, deployment: &Deployment, subscriptions: Option<SubscriptionLag>) {
        let api = &deployment.api;
        for broker in deployment.watch.status() {
            let is_up = match broker.state {
                BrokerState::Unknown | BrokerState::OfClients => continue,
                BrokerState::Up => true,
                BrokerState::Down(_) => false,
            };
            self.brokers.push((BrokerLabel { api: api.id.0.clone(), broker: broker.name }, is_up));
        }
        for binding in std::iter::once(&deployment.binding).chain(deployment.channels.values()) {
            self.add_reader(binding, api.serving().map(|(_, broker)| broker));
        }
        for (endpoint, binding) in &deployment.elsewhere {
            self.add_reader(binding, api.named(endpoint).map(|(_, broker)| broker));
        }
        self.subscriptions.extend(subscriptions.map(|lag| (label(&api.id), lag)));
        if !deployment.binding.chains.client_settings().is_empty() {
            self.client_connections.push((label(&api.id), deployment.clients.count()));
        }
    }

    /// Topics that are others for each client have no series: nobody could say how many there will be.
    fn add_reader<'a>(&mut self, binding: &Binding, brokers: impl Iterator<Item = &'a Broker>) {
        let Some(lag) = binding.hubs.lag(&binding.driver, &binding.deliver_topics) else { return };
        let addresses: Vec<_> = brokers.map(|broker| broker.configuration.address()).collect();
        let topics: Vec<_> = binding.deliver_topics.iter().map(Topic::as_str).collect();
        let label = ReadLabel { address: addresses.join(", "), topics: topics.join(", ") };
        // One broker may be read by several connections.
        let known = self.reading.entry(label).or_default();
        *known = lag.max(*known);
    }
}

impl MomentFamilies {
    pub(crate) fn register(&self, registry: &mut Registry) {
        registry.register(
            "broker_up",
            "Whether a broker of an event API answered when it was asked last",
            self.broker_up.clone(),
        );
        registry.register(
            "consumer_lag_messages",
            "Messages that a broker has and its shared consumer has not read",
            self.consumer_lag.clone(),
        );
        registry.register(
            "subscription_lag_messages",
            "Messages that subscriptions were not brought yet, all together",
            self.subscription_lag.clone(),
        );
        registry.register(
            "largest_subscription_lag_messages",
            "Messages that the subscription was not brought yet that is the farthest behind",
            self.largest_subscription_lag.clone(),
        );
        registry.register(
            "client_connections",
            "Connections to brokers for clients with credentials of their own",
            self.client_connections.clone(),
        );
    }

    /// Shows a moment in place of the one before.
    pub(crate) fn show(&self, moment: Moment) {
        self.broker_up.clear();
        self.consumer_lag.clear();
        self.subscription_lag.clear();
        self.largest_subscription_lag.clear();
        self.client_connections.clear();
        for (api, count) in moment.client_connections {
            self.client_connections.get_or_create(&api).set(i64::try_from(count).unwrap_or(i64::MAX));
        }
        for (broker, is_up) in moment.brokers {
            self.broker_up.get_or_create(&broker).set(i64::from(is_up));
        }
        for (read, lag) in moment.reading {
            self.consumer_lag.get_or_create(&read).set(count(lag));
        }
        for (api, lag) in moment.subscriptions {
            self.subscription_lag.get_or_create(&api).set(count(lag.total));
            self.largest_subscription_lag.get_or_create(&api).set(count(lag.largest));
        }
    }
}

fn label(api: &ApiId) -> ApiLabel {
    ApiLabel { api: api.0.clone() }
}

fn count(messages: u64) -> i64 {
    i64::try_from(messages).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Duration};

    use serde_json::{Value, json};
    use sluice_broker::ErrorKind;
    use sluice_stream::{Begin, Joining, Lag, MemoryNotes, MemoryPositions};
    use tokio::time::sleep;

    use super::*;
    use crate::{
        Gateway, GatewayOptions,
        scripted::{Only, Scripted},
    };

    fn gateway(broker: &Arc<Scripted>) -> Gateway {
        Gateway::new(
            GatewayOptions::default(),
            Box::new(Only(Arc::clone(broker))),
            Arc::new(MemoryPositions::default()),
            Arc::new(MemoryNotes::default()),
        )
    }

    fn deploy(gateway: &Gateway, name: &str, receiver: &str) {
        let configuration = json!({ "bootstrapServers": "one:9092", "topics": ["t", "u"] });
        let api: Value = json!({
            "id": name,
            "name": name,
            "paths": [{ "path": format!("/{name}") }],
            "receivers": [{ "type": receiver }],
            "brokers": [{ "name": "b", "type": "kafka", "configuration": configuration }],
        });
        gateway.deploy(sluice_api::from_value(api).unwrap()).unwrap();
    }

    fn shown(gateway: &Gateway, metric: &str) -> Vec<String> {
        let text = gateway.metrics_text();
        let lines = text.lines().filter_map(|line| line.strip_prefix(metric)?.strip_prefix('{'));
        let mut lines: Vec<_> = lines.map(ToOwned::to_owned).collect();
        lines.sort_unstable();
        lines
    }

    #[tokio::test(start_paused = true)]
    async fn a_broker_is_shown_when_it_was_asked_and_for_as_long_as_its_api_is_served() {
        const METRIC: &str = "sluice_broker_up";
        let broker = Scripted::new([ErrorKind::Unreachable]);
        let gateway = gateway(&broker);
        deploy(&gateway, "a", "sse");
        assert!(shown(&gateway, METRIC).is_empty(), "nobody has asked yet");
        broker.is_asked(1).await;
        assert_eq!(shown(&gateway, METRIC), ["api=\"a\",broker=\"b\"} 0"]);
        broker.is_asked(3).await;
        assert_eq!(shown(&gateway, METRIC), ["api=\"a\",broker=\"b\"} 1"]);
        gateway.undeploy(&ApiId("a".to_owned()));
        assert!(shown(&gateway, METRIC).is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn the_lag_of_topics_is_shown_once_for_all_apis_that_share_their_reader() {
        const METRIC: &str = "sluice_consumer_lag_messages";
        let broker = Scripted::new([]);
        let gateway = gateway(&broker);
        deploy(&gateway, "a", "sse");
        deploy(&gateway, "b", "sse");
        let deployed = gateway.deployed();
        let mut clients = Vec::new();
        for deployment in &deployed {
            let (binding, joining) = (&deployment.binding, Joining::new(Begin::Latest, Lag::Skip));
            let joined = binding.hubs.join(&binding.driver, &binding.deliver_topics, joining).await;
            clients.push(joined.unwrap());
        }
        broker.goes_to(3);
        sleep(Duration::from_secs(16)).await;
        let labels = "address=\"kafka one:9092\",topics=\"t, u\"";
        assert_eq!(shown(&gateway, METRIC), [format!("{labels}}} 6")]);
        drop(clients);
        sleep(GatewayOptions::default().hub.linger * 2).await;
        assert!(shown(&gateway, METRIC).is_empty(), "nobody reads");
    }

    #[tokio::test(start_paused = true)]
    async fn apis_that_call_nobody_have_no_lag_of_subscriptions() {
        let gateway = gateway(&Scripted::new([]));
        deploy(&gateway, "a", "sse");
        deploy(&gateway, "b", "webhook");
        for metric in ["sluice_subscription_lag_messages", "sluice_largest_subscription_lag_messages"] {
            assert_eq!(shown(&gateway, metric), ["api=\"b\"} 0"]);
        }
    }
}
