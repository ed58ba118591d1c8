//! A deployed event API: the definition compiled into what serving needs.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::StatusCode;
use sluice_api::{AutoOffsetReset, EventApi, PlanId, PlanSecurity, Problem, Receiver, ReceiverConfig};
use sluice_broker::BrokerDriver;
use sluice_delivery::{DeadLetters, DeliveryMetrics, Route};
use sluice_message::Topic;
use sluice_policy::{Caller, Chains, ChosenBy, Environment, Response};
use sluice_receiver::{ApiMetrics, Binding, Body, FailureLog, put_headers};
use sluice_stream::{Begin, Hubs, Positions};
use tokio::sync::Semaphore;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{cors::CorsRules, drivers::Drivers};

/// What the deployments of a gateway have in common.
pub(crate) struct Shared {
    pub(crate) drivers: Drivers,
    pub(crate) hubs: Arc<Hubs>,
    /// How far readers have come that outlive a connection.
    pub(crate) positions: Arc<dyn Positions>,
    /// Bytes of request bodies that may be held at once.
    pub(crate) body_bytes: Arc<Semaphore>,
    /// How long a request body may take to arrive.
    pub(crate) body_timeout: Duration,
    /// What expressions see beside messages and clients.
    pub(crate) environment: Arc<Environment>,
    /// Calls to subscribers that one API may have under way.
    pub(crate) calls_of_one_api: usize,
}

/// A definition with its policies compiled and its broker driver at hand.
pub(crate) struct Deployment {
    /// What was deployed.
    pub(crate) api: EventApi,
    /// What its receivers are given.
    pub(crate) binding: Arc<Binding>,
    /// Which pages of other origins may use it.
    pub(crate) cors: Option<CorsRules>,
    /// What it offers subscribers that are called.
    pub(crate) route: Option<Arc<Route>>,
}

impl Deployment {
    /// Compiles a definition. Nothing is contacted; a broker that is away shows when it is used.
    pub(crate) fn compile(
        api: EventApi,
        shared: &Shared,
        metrics: ApiMetrics,
        deliveries: DeliveryMetrics,
    ) -> Result<Self, Vec<Problem>> {
        let problems = api.validate();
        let Some(broker) = api.brokers.first().filter(|_| problems.is_empty()) else { return Err(problems) };
        let chains = Chains::compile(&api, &shared.environment)?;
        let driver = driver(&api, 0, shared)?;
        let binding = Binding {
            api: api.id.clone(),
            driver,
            publish_topics: topics(broker.configuration.publish_topics()),
            deliver_topics: topics(broker.configuration.deliver_topics()),
            chosen_by: ChosenBy::new(&broker.configuration),
            begin: match broker.configuration.auto_offset_reset() {
                AutoOffsetReset::Earliest => Begin::Earliest,
                AutoOffsetReset::Latest | AutoOffsetReset::None => Begin::Latest,
            },
            hubs: Arc::clone(&shared.hubs),
            positions: Arc::clone(&shared.positions),
            chains,
            max_body_bytes: api.limits.max_body_bytes,
            body_bytes: Arc::clone(&shared.body_bytes),
            body_timeout: shared.body_timeout,
            drain: CancellationToken::new(),
            metrics,
            failures: FailureLog::default(),
            in_flight: TaskTracker::new(),
        };
        let cors = api.cors.as_ref().map(CorsRules::new);
        let route = route(&api, shared, &binding, deliveries)?;
        Ok(Self { api, binding: Arc::new(binding), cors, route })
    }

    /// The first plan that admits a request without credentials.
    pub(crate) fn admit(&self, caller: &Caller) -> Option<&PlanId> {
        let open = |plan: &&sluice_api::Plan| {
            plan.status.admits()
                && matches!(plan.security, PlanSecurity::KeyLess)
                && self.binding.chains.admits(&plan.id, caller)
        };
        self.api.plans.iter().find(open).map(|plan| &plan.id)
    }

    /// The receiver of this kind.
    pub(crate) fn receiver(&self, kind: &str) -> Option<&Receiver> {
        self.api.receivers.iter().find(|receiver| receiver.configuration.kind() == kind)
    }

    /// Lets policies change the head of an answer.
    pub(crate) fn respond(&self, mut caller: Caller, answer: &mut http::Response<Body>) {
        let headers = answer.headers().iter();
        let headers = headers.map(|(name, value)| (name.as_str(), Bytes::copy_from_slice(value.as_bytes())));
        let mut shown = Response { status: answer.status().as_u16(), headers: headers.collect() };
        self.binding.chains.respond(&mut caller, &mut shown);
        if let Ok(status) = StatusCode::from_u16(shown.status) {
            *answer.status_mut() = status;
        }
        answer.headers_mut().clear();
        put_headers(&shown.headers, answer.headers_mut());
    }

    /// Tells streams to say goodbye, and waits until everything in flight is done.
    pub(crate) async fn drain(&self) {
        self.binding.drain.cancel();
        self.binding.in_flight.close();
        self.binding.in_flight.wait().await;
    }
}

fn driver(api: &EventApi, index: usize, shared: &Shared) -> Result<Arc<dyn BrokerDriver>, Vec<Problem>> {
    shared.drivers.get(&api.brokers[index].configuration).map_err(|error| {
        let path = format!("brokers[{index}].configuration");
        vec![Problem::new(path, error.code(), error.message)]
    })
}

fn topics(names: Option<Vec<&str>>) -> Vec<Topic> {
    names.unwrap_or_default().into_iter().map(Topic::from).collect()
}

/// What subscribers that are called are offered; nothing where no receiver calls.
fn route(
    api: &EventApi,
    shared: &Shared,
    binding: &Binding,
    metrics: DeliveryMetrics,
) -> Result<Option<Arc<Route>>, Vec<Problem>> {
    let mut calling = api.receivers.iter().filter_map(|receiver| match &receiver.configuration {
        ReceiverConfig::Webhook(webhook) => Some((receiver, webhook)),
        _ => None,
    });
    let Some((receiver, webhook)) = calling.next() else { return Ok(None) };
    let named = receiver.dlq.as_ref().and_then(|dlq| api.dead_letter_broker(&dlq.endpoint));
    let index = named.and_then(|named| api.brokers.iter().position(|broker| std::ptr::eq(broker, named)));
    let dead_letters = index.map(|index| {
        let topics = topics(api.brokers[index].configuration.publish_topics());
        Ok::<_, Vec<Problem>>(DeadLetters { driver: driver(api, index, shared)?, topics })
    });
    Ok(Some(Arc::new(Route {
        api: api.id.clone(),
        driver: Arc::clone(&binding.driver),
        topics: binding.deliver_topics.clone(),
        chosen_by: binding.chosen_by.clone(),
        begin: binding.begin.clone(),
        qos: receiver.qos,
        chains: binding.chains.clone(),
        webhook: webhook.clone(),
        dead_letters: dead_letters.transpose()?,
        calls: Semaphore::new(shared.calls_of_one_api),
        metrics,
    })))
}

#[cfg(test)]
pub(crate) mod tests {
    use sluice_api::{BrokerConfig, from_value};
    use sluice_broker::{DriverError, ErrorKind};
    use sluice_stream::{HubOptions, MemoryPositions, StreamMetrics};

    use super::*;
    use crate::DriverFactory;

    /// Opens the mock only.
    pub(crate) struct MockOnly;

    impl DriverFactory for MockOnly {
        fn open(&self, config: &BrokerConfig) -> Result<Arc<dyn BrokerDriver>, DriverError> {
            match config {
                BrokerConfig::Mock(mock) => Ok(Arc::new(sluice_broker::Mock::new(mock.clone()))),
                _ => Err(DriverError::new(ErrorKind::Configuration, "Only mock here.")),
            }
        }
    }

    /// An API on the mock, with this name and path.
    pub(crate) fn definition(name: &str, host: Option<&str>, path: &str) -> EventApi {
        let api = from_value(serde_json::json!({
            "id": name,
            "name": name,
            "paths": [{ "host": host, "path": path }],
            "receivers": [{ "type": "sse" }],
            "brokers": [{
                "type": "mock",
                "configuration": { "messageInterval": 1000, "messageContent": "x" }
            }],
        }));
        api.unwrap()
    }

    /// A deployed API on the mock, with this name and path.
    pub(crate) fn deployed(name: &str, host: Option<&str>, path: &str) -> Arc<Deployment> {
        let api = definition(name, host, path);
        let shared = Shared {
            drivers: Drivers::new(Box::new(MockOnly)),
            hubs: Hubs::new(HubOptions::default(), Arc::new(StreamMetrics::default())),
            positions: Arc::new(MemoryPositions::default()),
            body_bytes: Arc::new(Semaphore::new(1 << 20)),
            body_timeout: Duration::from_secs(30),
            environment: Arc::default(),
            calls_of_one_api: 1,
        };
        Arc::new({
            let (metrics, deliveries) = (ApiMetrics::default(), DeliveryMetrics::default());
            Deployment::compile(api, &shared, metrics, deliveries).unwrap()
        })
    }

    #[tokio::test]
    async fn an_api_without_an_open_plan_admits_nobody() {
        let deployed = deployed("a", None, "/a");
        let caller = Caller::new(&deployed.binding.chains, "sse", "");
        assert!(deployed.admit(&caller).is_none());
    }
}
