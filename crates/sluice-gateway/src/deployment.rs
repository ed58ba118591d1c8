//! A deployed event API: the definition compiled into what serving needs.

use std::{collections::HashMap, sync::Arc, time::Duration};

use bytes::Bytes;
use http::StatusCode;
use sluice_api::{
    BrokerConfig, EventApi, Guarantees, Limits, PlanId, PlanSecurity, Problem, Receiver, WebhookConfig,
    has_expression,
};
use sluice_broker::{BrokerDriver, DriverError, Journals, Spool, SpoolMetrics};
use sluice_delivery::{DeadLetters, DeliveryMetrics, Route};
use sluice_message::Topic;
use sluice_policy::{Caller, Chains, ChosenBy, Environment, Response};
use sluice_receiver::{ApiMetrics, Binding, Body, KeysInUse, Refusal, Streams, Succession, put_headers};
use sluice_stream::{Hubs, Notes, Positions};
use tokio::sync::Semaphore;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    broker_watch::BrokerWatch,
    client_brokers::{self, ClientBrokers, WithoutClient, hand_over},
    cors::CorsRules,
    drivers::Drivers,
    endpoint_metrics::EndpointFamilies,
    endpoints::{Brokers, Groups, begin, bindings, topics},
    key_rings::KeyRings,
    metrics::JournalFamilies,
};

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
    /// A permit for each broker that is asked how it is doing.
    pub(crate) watching: Arc<Semaphore>,
    /// The groups of brokers that are read as one.
    pub(crate) groups: Groups,
}

/// A definition with its policies compiled and its broker driver at hand.
pub(crate) struct Deployment {
    /// What was deployed.
    pub(crate) api: Arc<EventApi>,
    /// What its receivers are given; of an API with channels what they have in common.
    pub(crate) binding: Arc<Binding>,
    /// What its receivers are given for each of its channels, where it has some.
    pub(crate) channels: HashMap<String, Arc<Binding>>,
    /// What they are given where a policy has chosen a broker for a client.
    pub(crate) elsewhere: HashMap<Arc<str>, Arc<Binding>>,
    /// Which pages of other origins may use it.
    pub(crate) cors: Option<CorsRules>,
    /// What it offers subscribers that are called.
    pub(crate) route: Option<Arc<Route>>,
    /// What keeps its messages on their way to the broker; without a setting for it what has them from earlier.
    pub(crate) spool: Option<Arc<Spool>>,
    /// Its brokers.
    pub(crate) brokers: Brokers,
    /// How they are doing.
    pub(crate) watch: BrokerWatch,
    /// Those of clients' own.
    pub(crate) clients: ClientBrokers,
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
        let problems = client_brokers::problems(&api, chains.client_settings());
        if !problems.is_empty() {
            return Err(problems);
        }
        let clients = ClientBrokers::new(&api, &counters);
        let brokers = Brokers::open(&api, shared, &counters, former)?;
        let dead_letters = dead_letters(&api, &brokers);
        let endpoints = Arc::new(brokers.endpoints(&api, &shared.environment)?);
        // The last thing that can fail: what waits in a spool goes to the broker of whoever opens it.
        let spool = spool(&api, &broker.configuration, &brokers.connection, shared, &counters, former)?;
        let publisher = match &spool {
            Some(spool) if api.guarantees.spool.is_some() => Arc::clone(spool) as Arc<dyn BrokerDriver>,
            _ => Arc::clone(&brokers.connection),
        };
        let drain = CancellationToken::new();
        let binding = Binding {
            api: api.id.clone(),
            channel: None,
            credentials,
            definition: Arc::clone(&api),
            publisher,
            driver: Arc::clone(&brokers.reading),
            endpoint: None,
            whose: None,
            endpoints,
            publish_topics: topics(broker.configuration.publish_topics()),
            deliver_topics: topics(broker.configuration.deliver_topics()),
            chosen_by: ChosenBy::new(&broker.configuration, &shared.environment)?,
            begin: begin(&broker.configuration),
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
            failures: Arc::default(),
            in_flight: TaskTracker::new(),
        };
        let cors = api.cors.as_ref().map(CorsRules::new);
        let route = match kept.filter(|former| has_same_deliveries(&former.api, &api)) {
            Some(former) => former.route.clone(),
            None => route(&api, shared, &binding, dead_letters, counters.deliveries),
        };
        let channels = channels(&api, &binding);
        let elsewhere = bindings(&binding);
        let watch = watch(&api, &binding, &channels, &brokers, former);
        let binding = Arc::new(binding);
        Ok(Self { api, binding, channels, elsewhere, cors, route, spool, brokers, watch, clients })
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
    pub(crate) fn hand_over(&self, successor: &Self, shared: &Shared) {
        self.binding.succession.set(Arc::clone(&successor.binding));
        hand_over(&self.channels, &successor.channels);
        hand_over(&self.elsewhere, &successor.elsewhere);
        self.hand_over_clients(successor, shared);
    }

    /// Tells streams to say goodbye.
    pub(crate) fn stop(&self) {
        // Those of channels, of chosen brokers and of clients' own follow.
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
    /// Of its journal, where it needs one; without them none is opened: the definition is looked at only.
    pub(crate) journals: Option<JournalFamilies>,
    /// Of the brokers that share work.
    pub(crate) endpoints: EndpointFamilies,
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

pub(crate) fn driver(
    api: &EventApi,
    index: usize,
    shared: &Shared,
) -> Result<Arc<dyn BrokerDriver>, Vec<Problem>> {
    let configuration = &api.brokers[index].configuration;
    if configuration.waits_for_clients() {
        return Ok(Arc::new(WithoutClient));
    }
    shared.drivers.get(configuration).map_err(|error| {
        let path = format!("brokers[{index}].configuration");
        vec![Problem::new(path, error.code(), error.message)]
    })
}

/// The driver by which a broker of an API is read: its own, or the journal around it where the API needs messages that
/// stay and the broker keeps none.
pub(crate) fn reading(
    api: &EventApi,
    index: usize,
    driver: &Arc<dyn BrokerDriver>,
    shared: &Shared,
    counters: &Counters,
) -> Result<Arc<dyn BrokerDriver>, Vec<Problem>> {
    if driver.capabilities().replay || !api.reads_from_a_journal() {
        return Ok(Arc::clone(driver));
    }
    let broker = &api.brokers[index];
    let refused = |code: &'static str, text: String| {
        vec![Problem::new(format!("brokers[{index}].configuration"), code, text)]
    };
    let named = broker.configuration.deliver_topics().unwrap_or_default();
    if let Some(chosen) = named.into_iter().find(|topic| has_expression(topic)) {
        let text = format!(
            "The topic {chosen} is another one for each client, and what a receiver of this API promises needs messages \
             that stay, which this kind of broker does not keep and the gateway's journal keeps for fixed topics only. \
             Name a fixed topic, or promise no more than 'auto' on 'sse' and 'websocket'."
        );
        return Err(refused("journal.topic.chosen", text));
    }
    let impossible = |error: DriverError| refused(error.code(), error.message);
    // Asked of a definition that is looked at only, too, so that it is refused before it is kept.
    Journals::can_keep(broker, &**driver).map_err(impossible)?;
    let Some(journals) = &counters.journals else { return Ok(Arc::clone(driver)) };
    let mut topics = topics(broker.configuration.deliver_topics());
    topics.extend(api.channels.iter().map(|(name, channel)| Topic::from(channel.deliver_topic(name))));
    let opened = shared.drivers.journal(&api.id, broker, driver, &topics, journals.of(&api.id));
    opened.map(|journal| journal as Arc<dyn BrokerDriver>).map_err(impossible)
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
        Arc::ptr_eq(&former.brokers.connection, driver) && former.api.guarantees.spool.as_ref() == settings
    });
    if let Some(kept) = unchanged.and_then(|former| former.spool.clone()) {
        return Ok(Some(kept));
    }
    let opened = shared.drivers.spool(&api.id, settings, broker, Arc::clone(driver), metrics.clone());
    opened.map(Some).map_err(|error| vec![Problem::new("guarantees.spool", error.code(), error.message)])
}

/// What receivers are given for each channel: the same as for all, with topics, a drain and a succession of its own,
/// since a channel may end while others go on.
pub(crate) fn channels(api: &EventApi, whole: &Binding) -> HashMap<String, Arc<Binding>> {
    let bound = api.channels.iter().map(|(name, channel)| {
        let binding = Binding {
            channel: Some(Arc::from(&**name)),
            publish_topics: vec![Topic::from(channel.publish_topic(name))],
            deliver_topics: vec![Topic::from(channel.deliver_topic(name))],
            ..beside(whole)
        };
        (name.clone(), Arc::new(binding))
    });
    bound.collect()
}

/// The same once more, which may end while others go on.
pub(crate) fn beside(whole: &Binding) -> Binding {
    let drain = whole.drain.child_token();
    Binding {
        api: whole.api.clone(),
        channel: whole.channel.clone(),
        definition: Arc::clone(&whole.definition),
        credentials: Arc::clone(&whole.credentials),
        driver: Arc::clone(&whole.driver),
        publisher: Arc::clone(&whole.publisher),
        endpoint: whole.endpoint.clone(),
        whose: whole.whose.clone(),
        endpoints: Arc::clone(&whole.endpoints),
        publish_topics: whole.publish_topics.clone(),
        deliver_topics: whole.deliver_topics.clone(),
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
        succession: Succession::new(&drain),
        drain,
        metrics: whole.metrics.clone(),
        failures: Arc::default(),
        in_flight: whole.in_flight.clone(),
    }
}

/// The brokers of an API to be asked how they are doing, each with the topics that are used there.
fn watch(
    api: &EventApi,
    binding: &Binding,
    channels: &HashMap<String, Arc<Binding>>,
    brokers: &Brokers,
    former: Option<&Deployment>,
) -> BrokerWatch {
    let bindings = std::iter::once(binding).chain(channels.values().map(|channel| &**channel));
    let mut serving: Vec<_> = bindings
        .flat_map(|binding| binding.deliver_topics.iter().chain(&binding.publish_topics))
        .cloned()
        .collect();
    serving.sort_unstable();
    serving.dedup();
    let watched = brokers.each(api).map(|(broker, driver)| {
        let is_serving = broker.group == api.brokers[0].group;
        let used = if is_serving { serving.clone() } else { topics(broker.configuration.publish_topics()) };
        (broker, driver, used)
    });
    BrokerWatch::new(watched, former.map(|former| &former.watch))
}

/// The receiver that calls its clients, with its settings.
fn calling(api: &EventApi) -> Option<(&Receiver, &WebhookConfig)> {
    api.receivers.iter().find_map(|receiver| Some((receiver, receiver.configuration.calls()?)))
}

/// Where messages go that subscribers do not take.
fn dead_letters(api: &EventApi, brokers: &Brokers) -> Option<DeadLetters> {
    let endpoint = &calling(api)?.0.dlq.as_ref()?.endpoint;
    let driver = brokers.named(api, endpoint)?;
    let broker = api.dead_letter_broker(endpoint)?;
    Some(DeadLetters { driver, topics: topics(broker.configuration.publish_topics()) })
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
            watching: Arc::new(Semaphore::new(1)),
            groups: Groups::default(),
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
