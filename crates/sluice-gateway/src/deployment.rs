//! A deployed event API: the definition compiled into what serving needs.

use std::sync::Arc;

use sluice_api::{AutoOffsetReset, EventApi, PlanId, PlanSecurity, Problem, ReceiverConfig};
use sluice_message::Topic;
use sluice_policy::Chains;
use sluice_receiver::{ApiMetrics, Binding, FailureLog};
use sluice_stream::{Begin, Hubs};
use tokio::sync::Semaphore;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::drivers::Drivers;

/// A definition with its policies compiled and its broker driver at hand.
pub(crate) struct Deployment {
    /// What was deployed.
    pub(crate) api: EventApi,
    /// What its receivers are given.
    pub(crate) binding: Arc<Binding>,
}

impl Deployment {
    /// Compiles a definition. Nothing is contacted; a broker that is away shows when it is used.
    pub(crate) fn compile(
        api: EventApi,
        drivers: &Drivers,
        hubs: &Arc<Hubs>,
        body_bytes: &Arc<Semaphore>,
        metrics: ApiMetrics,
    ) -> Result<Self, Vec<Problem>> {
        let problems = api.validate();
        let [broker] = &*api.brokers else { return Err(problems) };
        if !problems.is_empty() {
            return Err(problems);
        }
        let chains = Chains::compile(&api)?;
        let driver = drivers
            .get(&broker.configuration)
            .map_err(|error| vec![Problem::new("brokers[0].configuration", error.code(), error.message)])?;
        let topics =
            |names: Option<Vec<&str>>| names.unwrap_or_default().into_iter().map(Topic::from).collect();
        let binding = Binding {
            api: api.id.clone(),
            driver,
            publish_topics: topics(broker.configuration.publish_topics()),
            deliver_topics: topics(broker.configuration.deliver_topics()),
            begin: match broker.configuration.auto_offset_reset() {
                AutoOffsetReset::Earliest => Begin::Earliest,
                AutoOffsetReset::Latest | AutoOffsetReset::None => Begin::Latest,
            },
            hubs: Arc::clone(hubs),
            chains,
            max_body_bytes: api.limits.max_body_bytes,
            body_bytes: Arc::clone(body_bytes),
            drain: CancellationToken::new(),
            metrics,
            failures: FailureLog::default(),
            in_flight: TaskTracker::new(),
        };
        Ok(Self { api, binding: Arc::new(binding) })
    }

    /// The plan that admits a request without credentials.
    pub(crate) fn admit(&self) -> Option<&PlanId> {
        let open =
            |plan: &&sluice_api::Plan| plan.status.admits() && matches!(plan.security, PlanSecurity::KeyLess);
        self.api.plans.iter().find(open).map(|plan| &plan.id)
    }

    /// The first receiver that `wanted` finds settings in.
    pub(crate) fn receiver<'a, T>(&'a self, wanted: impl Fn(&'a ReceiverConfig) -> Option<T>) -> Option<T> {
        self.api.receivers.iter().find_map(|receiver| wanted(&receiver.configuration))
    }

    /// Tells streams to say goodbye, and waits until everything in flight is done.
    pub(crate) async fn drain(&self) {
        self.binding.drain.cancel();
        self.binding.in_flight.close();
        self.binding.in_flight.wait().await;
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use sluice_api::{BrokerConfig, from_value};
    use sluice_broker::{BrokerDriver, DriverError, ErrorKind};
    use sluice_stream::{HubOptions, StreamMetrics};

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
        let hubs = Hubs::new(HubOptions::default(), Arc::new(StreamMetrics::default()));
        let drivers = Drivers::new(Box::new(MockOnly));
        let bytes = Arc::new(Semaphore::new(1 << 20));
        Arc::new(Deployment::compile(api, &drivers, &hubs, &bytes, ApiMetrics::default()).unwrap())
    }

    #[tokio::test]
    async fn an_api_without_an_open_plan_admits_nobody() {
        assert!(deployed("a", None, "/a").admit().is_none());
    }
}
