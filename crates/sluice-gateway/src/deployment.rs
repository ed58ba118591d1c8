//! A deployed event API: the definition compiled into what serving needs.

use std::{collections::HashMap, sync::Arc, time::Duration};

use bytes::Bytes;
use http::StatusCode;
use sluice_api::{
    AutoOffsetReset, BrokerConfig, EventApi, Guarantees, Limits, PlanId, PlanSecurity, Problem, Receiver,
    WebhookConfig,
};
use sluice_broker::{BrokerDriver, Spool, SpoolMetrics};
use sluice_delivery::{DeadLetters, DeliveryMetrics, Route};
use sluice_message::Topic;
use sluice_policy::{Caller, Chains, ChosenBy, Environment, Response};
use sluice_receiver::{
    ApiMetrics, Binding, Body, FailureLog, KeysInUse, Refusal, Streams, Succession, put_headers,
};
use sluice_stream::{Begin, Hubs, Notes, Positions};
use tokio::sync::Semaphore;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{cors::CorsRules, drivers::Drivers, key_rings::KeyRings};

/// What the deployments of a gateway have in common.
pub(crate) struct Shared {
    pub(crate) drivers: Drivers,
    /// Those that streams share; the hub of WebSub is the gateway's.
    pub(crate) hubs: Arc<Hubs>,
    /// How far readers have come that outlive a connection.
    pub(crate) positions: Arc<dyn Positions>,
    /// What else is remembered.
    pub(crate) notes: Arc<dyn Notes>,
    /// The keys of publishes that are under way.
    pub(crate) keys_in_use: Arc<KeysInUse>,
    /// The streams that are open.
    pub(crate) streams: Arc<Streams>,
    /// Bytes of request bodies that may be held at once.
    pub(crate) body_bytes: Arc<Semaphore>,
    /// How long a request body may take to arrive.
    pub(crate) body_timeout: Duration,
    /// What expressions see beside messages and clients.
    pub(crate) environment: Arc<Environment>,
    /// The keys and secrets of APIs, whether they are deployed or not.
    pub(crate) key_rings: KeyRings,
    /// Calls to subscribers that one API may have under way.
    pub(crate) calls_of_one_api: usize,
}

/// A definition with its policies compiled and its broker driver at hand.
pub(crate) struct Deployment {
    /// What was deployed.
    pub(crate) api: Arc<EventApi>,
    /// What its receivers are given; of an API with channels what they have in common.
    pub(crate) binding: Arc<Binding>,
    /// What its receivers are given for each of its channels, where it has some.
    pub(crate) channels: HashMap<String, Arc<Binding>>,
    /// Which pages of other origins may use it.
    pub(crate) cors: Option<CorsRules>,
    /// What it offers subscribers that are called.
    pub(crate) route: Option<Arc<Route>>,
    /// What keeps its messages on their way to the broker; without a setting for it what has them from earlier.
    pub(crate) spool: Option<Arc<Spool>>,
}

impl Deployment {
    /// Compiles a definition. Nothing is contacted; a broker that is away shows when it is used. What has not
    /// changed since `former` is taken from it, so that whoever uses it notices nothing.
    pub(crate) fn compile(
        api: EventApi,
        shared: &Shared,
        counters: Counters,
        former: Option<&Self>,
    ) -> Result<Self, Vec<Problem>> {
        let api = Arc::new(api);
        let problems = api.validate();
        let Some(broker) = api.brokers.first().filter(|_| problems.is_empty()) else { return Err(problems) };
        let credentials = shared.key_rings.of(&api.id);
        let kept = former.filter(|former| has_same_policies(&former.api, &api));
        let chains = match kept {
            Some(former) => former.binding.chains.clone(),
            None => Chains::compile(&api, &shared.environment, &credentials)?,
        };
        let driver = driver(&api, 0, shared)?;
        let dead_letters = dead_letters(&api, shared)?;
        // The last thing that can fail: what waits in a spool goes to the broker of whoever opens it.
        let spool = spool(&api, &broker.configuration, &driver, shared, &counters, former)?;
        let publisher = match &spool {
            Some(spool) if api.guarantees.spool.is_some() => Arc::clone(spool) as Arc<dyn BrokerDriver>,
            _ => Arc::clone(&driver),
        };
        let drain = CancellationToken::new();
        let binding = Binding {
            api: api.id.clone(),
            channel: None,
            credentials,
            definition: Arc::clone(&api),
            publisher,
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
            notes: Arc::clone(&shared.notes),
            keys_in_use: Arc::clone(&shared.keys_in_use),
            streams: Arc::clone(&shared.streams),
            chains,
            max_body_bytes: api.limits.max_body_bytes,
            body_bytes: Arc::clone(&shared.body_bytes),
            body_timeout: shared.body_timeout,
            succession: Succession::new(&drain),
            drain,
            metrics: counters.api,
            failures: FailureLog::default(),
            in_flight: TaskTracker::new(),
        };
        let cors = api.cors.as_ref().map(CorsRules::new);
        let route = match kept.filter(|former| has_same_deliveries(&former.api, &api)) {
            Some(former) => former.route.clone(),
            None => route(&api, shared, &binding, dead_letters, counters.deliveries),
        };
        let channels = channels(&api, &binding);
        Ok(Self { api, binding: Arc::new(binding), channels, cors, route, spool })
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

    /// What a client is told of a receiver whose promise the API's broker cannot keep.
    pub(crate) fn unkept_promise(&self, receiver: &Receiver) -> Option<Refusal> {
        let broker = &self.api.brokers.first()?.configuration;
        let is_kept = receiver.configuration.offered_qos(broker).contains(&receiver.qos);
        (!is_kept).then(|| {
            let text = "Incompatible Qos between entrypoint and endpoint";
            Refusal::new(StatusCode::BAD_REQUEST, "qos.incompatible", text).with_key("INCOMPATIBLE_QOS")
        })
    }

    /// The client for [`respond`](Self::respond), where a policy has something to say of the answer. Whoever answers
    /// may keep its client for as long as the answer lasts.
    pub(crate) fn to_answer(&self, caller: &Caller) -> Option<Caller> {
        self.binding.chains.responds(caller).then(|| caller.clone())
    }

    /// The answer with its head as policies leave it.
    pub(crate) fn respond(
        &self,
        caller: Option<Caller>,
        mut answer: http::Response<Body>,
    ) -> http::Response<Body> {
        let Some(mut caller) = caller else { return answer };
        let headers = answer.headers().iter();
        let headers = headers.map(|(name, value)| (name.as_str(), Bytes::copy_from_slice(value.as_bytes())));
        let mut shown = Response { status: answer.status().as_u16(), headers: headers.collect() };
        self.binding.chains.respond(&mut caller, &mut shown);
        if let Ok(status) = StatusCode::from_u16(shown.status) {
            *answer.status_mut() = status;
        }
        answer.headers_mut().clear();
        put_headers(&shown.headers, answer.headers_mut());
        answer
    }

    /// Lets streams go on under the deployment that comes in place of this one, as far as they can.
    pub(crate) fn hand_over(&self, successor: &Self) {
        self.binding.succession.set(Arc::clone(&successor.binding));
        for (name, binding) in &self.channels {
            match successor.channels.get(name) {
                Some(next) => binding.succession.set(Arc::clone(next)),
                None => binding.drain.cancel(),
            }
        }
    }

    /// Tells streams to say goodbye.
    pub(crate) fn stop(&self) {
        // Those of the channels follow.
        self.binding.drain.cancel();
    }

    /// Waits until everything in flight is done.
    pub(crate) async fn done(&self) {
        self.binding.in_flight.close();
        self.binding.in_flight.wait().await;
    }
}

/// The counters of a deployment; they outlive it.
#[derive(Default)]
pub(crate) struct Counters {
    pub(crate) api: ApiMetrics,
    pub(crate) deliveries: DeliveryMetrics,
    /// Of its spool; without it none is opened: there is none, or the definition is looked at only.
    pub(crate) spool: Option<SpoolMetrics>,
}

/// Whether policies that are compiled of one definition are right for the other.
fn has_same_policies(one: &EventApi, other: &EventApi) -> bool {
    let policies = |api: &EventApi| EventApi {
        description: String::new(),
        paths: Vec::new(),
        cors: None,
        limits: Limits::default(),
        guarantees: Guarantees::default(),
        receivers: Vec::new(),
        ..api.clone()
    };
    policies(one) == policies(other)
}

/// Whether subscribers that are called are offered the same by definitions with the same policies.
fn has_same_deliveries(one: &EventApi, other: &EventApi) -> bool {
    let calling = |api: &EventApi| {
        api.receivers
            .iter()
            .filter(|receiver| receiver.configuration.calls_clients())
            .cloned()
            .collect::<Vec<_>>()
    };
    calling(one) == calling(other)
}

fn driver(api: &EventApi, index: usize, shared: &Shared) -> Result<Arc<dyn BrokerDriver>, Vec<Problem>> {
    shared.drivers.get(&api.brokers[index].configuration).map_err(|error| {
        let path = format!("brokers[{index}].configuration");
        vec![Problem::new(path, error.code(), error.message)]
    })
}

/// The spool that an API wants or has messages in; that of its former deployment, if nothing has changed about it.
fn spool(
    api: &EventApi,
    broker: &BrokerConfig,
    driver: &Arc<dyn BrokerDriver>,
    shared: &Shared,
    counters: &Counters,
    former: Option<&Deployment>,
) -> Result<Option<Arc<Spool>>, Vec<Problem>> {
    let Some(metrics) = &counters.spool else { return Ok(None) };
    let settings = api.guarantees.spool.as_ref();
    let unchanged = former.filter(|former| {
        Arc::ptr_eq(&former.binding.driver, driver) && former.api.guarantees.spool.as_ref() == settings
    });
    if let Some(kept) = unchanged.and_then(|former| former.spool.clone()) {
        return Ok(Some(kept));
    }
    let opened = shared.drivers.spool(&api.id, settings, broker, Arc::clone(driver), metrics.clone());
    opened.map(Some).map_err(|error| vec![Problem::new("guarantees.spool", error.code(), error.message)])
}

fn topics(names: Option<Vec<&str>>) -> Vec<Topic> {
    names.unwrap_or_default().into_iter().map(Topic::from).collect()
}

/// What receivers are given for each channel: the same as for all, with topics, a drain and a succession of its own,
/// since a channel may end while others go on.
fn channels(api: &EventApi, whole: &Binding) -> HashMap<String, Arc<Binding>> {
    let bound = api.channels.iter().map(|(name, channel)| {
        let drain = whole.drain.child_token();
        let binding = Binding {
            channel: Some(Arc::from(&**name)),
            publish_topics: vec![Topic::from(channel.publish_topic(name))],
            deliver_topics: vec![Topic::from(channel.deliver_topic(name))],
            succession: Succession::new(&drain),
            drain,
            failures: FailureLog::default(),
            api: whole.api.clone(),
            definition: Arc::clone(&whole.definition),
            credentials: Arc::clone(&whole.credentials),
            driver: Arc::clone(&whole.driver),
            publisher: Arc::clone(&whole.publisher),
            chosen_by: whole.chosen_by.clone(),
            begin: whole.begin.clone(),
            hubs: Arc::clone(&whole.hubs),
            positions: Arc::clone(&whole.positions),
            notes: Arc::clone(&whole.notes),
            keys_in_use: Arc::clone(&whole.keys_in_use),
            streams: Arc::clone(&whole.streams),
            chains: whole.chains.clone(),
            max_body_bytes: whole.max_body_bytes,
            body_bytes: Arc::clone(&whole.body_bytes),
            body_timeout: whole.body_timeout,
            metrics: whole.metrics.clone(),
            in_flight: whole.in_flight.clone(),
        };
        (name.clone(), Arc::new(binding))
    });
    bound.collect()
}

/// The receiver that calls its clients, with its settings.
fn calling(api: &EventApi) -> Option<(&Receiver, &WebhookConfig)> {
    api.receivers.iter().find_map(|receiver| Some((receiver, receiver.configuration.calls()?)))
}

/// Where messages go that subscribers do not take.
fn dead_letters(api: &EventApi, shared: &Shared) -> Result<Option<DeadLetters>, Vec<Problem>> {
    let named = calling(api).and_then(|(receiver, _)| receiver.dlq.as_ref());
    let named = named.and_then(|dlq| api.dead_letter_broker(&dlq.endpoint));
    let index = named.and_then(|named| api.brokers.iter().position(|broker| std::ptr::eq(broker, named)));
    let Some(index) = index else { return Ok(None) };
    let topics = topics(api.brokers[index].configuration.publish_topics());
    Ok(Some(DeadLetters { driver: driver(api, index, shared)?, topics }))
}

/// What subscribers that are called are offered; nothing where no receiver calls.
fn route(
    api: &EventApi,
    shared: &Shared,
    binding: &Binding,
    dead_letters: Option<DeadLetters>,
    metrics: DeliveryMetrics,
) -> Option<Arc<Route>> {
    let (receiver, webhook) = calling(api)?;
    Some(Arc::new(Route {
        api: api.id.clone(),
        driver: Arc::clone(&binding.driver),
        topics: binding.deliver_topics.clone(),
        channels: api
            .channels
            .iter()
            .map(|(name, channel)| (name.clone(), vec![Topic::from(channel.deliver_topic(name))]))
            .collect(),
        chosen_by: binding.chosen_by.clone(),
        begin: binding.begin.clone(),
        qos: receiver.qos,
        chains: binding.chains.clone(),
        webhook: webhook.clone(),
        dead_letters,
        calls: Semaphore::new(shared.calls_of_one_api),
        metrics,
    }))
}

#[cfg(test)]
pub(crate) mod tests {
    use sluice_api::from_value;
    use sluice_broker::{DriverError, ErrorKind};
    use sluice_stream::{HubOptions, MemoryNotes, MemoryPositions, StreamMetrics};

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
            notes: Arc::new(MemoryNotes::default()),
            keys_in_use: Arc::default(),
            streams: Arc::default(),
            body_bytes: Arc::new(Semaphore::new(1 << 20)),
            body_timeout: Duration::from_secs(30),
            environment: Arc::default(),
            key_rings: KeyRings::default(),
            calls_of_one_api: 1,
        };
        Arc::new(Deployment::compile(api, &shared, Counters::default(), None).unwrap())
    }

    #[tokio::test]
    async fn an_api_without_an_open_plan_admits_nobody() {
        let deployed = deployed("a", None, "/a");
        let caller = Caller::new(&deployed.binding.chains, "sse", "");
        assert!(deployed.admit(&caller).is_none());
    }
}
