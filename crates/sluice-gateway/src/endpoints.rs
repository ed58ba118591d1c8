//! The brokers of a deployment: which of them serve, which of them are used as one, and what policies can choose.
//!
//! A group of several brokers is read as one by a `Merged`, which all event APIs with these brokers share, and
//! published to by a `Balanced` of each API's own. A group of one is its driver.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, Mutex, PoisonError, Weak},
};

use sluice_api::{AutoOffsetReset, Broker, BrokerConfig, EventApi, Problem, ReceiverConfig, has_expression};
use sluice_broker::{
    BrokerDriver,
    balance::{Balanced, Member, Merged},
};
use sluice_message::Topic;
use sluice_policy::{Caller, ChosenBy, Environment};
use sluice_receiver::{Binding, Endpoint, Endpoints, NoEndpoint, Refusal};
use sluice_stream::Begin;

use crate::{
    Gateway,
    deployment::{Counters, Deployment, Shared, beside, driver, reading},
    endpoint_metrics::EndpointFamilies,
};

/// The groups of brokers that are read as one.
#[derive(Default)]
pub(crate) struct Groups(Mutex<Vec<Weak<Merged>>>);

impl Groups {
    /// That of these drivers, made if no deployed API has it.
    fn of(&self, drivers: &[Arc<dyn BrokerDriver>]) -> Arc<Merged> {
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        open.retain(|known| known.strong_count() > 0);
        if let Some(known) = open.iter().filter_map(Weak::upgrade).find(|known| known.is_of(drivers)) {
            return known;
        }
        let merged = Arc::new(Merged::new(drivers.iter().cloned()));
        open.push(Arc::downgrade(&merged));
        merged
    }
}

/// The brokers of a deployment.
pub(crate) struct Brokers {
    /// By index in the definition: what each is published to by.
    connections: Vec<Arc<dyn BrokerDriver>>,
    /// By index in the definition: what each is read by.
    readings: Vec<Arc<dyn BrokerDriver>>,
    /// Those that are used as one, by the name of their group.
    balanced: HashMap<String, Arc<Balanced>>,
    /// What the serving brokers are read by.
    pub(crate) reading: Arc<dyn BrokerDriver>,
    /// What they are published to by, where no spool is before it.
    pub(crate) connection: Arc<dyn BrokerDriver>,
}

impl Brokers {
    /// Opens what is not open yet. Groups that have not changed since `former` are taken from it.
    pub(crate) fn open(
        api: &EventApi,
        shared: &Shared,
        counters: &Counters,
        former: Option<&Deployment>,
    ) -> Result<Self, Vec<Problem>> {
        let connections: Vec<_> =
            (0..api.brokers.len()).map(|index| driver(api, index, shared)).collect::<Result<_, _>>()?;
        let serving: BTreeSet<usize> = api.serving().map(|(index, _)| index).collect();
        let readings = connections.iter().enumerate().map(|(index, connection)| {
            // What others hold is read while somebody reads it; nobody was promised that it is kept.
            if serving.contains(&index) {
                reading(api, index, connection, shared, counters)
            } else {
                Ok(Arc::clone(connection))
            }
        });
        let readings: Vec<_> = readings.collect::<Result<_, _>>()?;
        let mut balanced = HashMap::new();
        for group in api.brokers.iter().map(|broker| &broker.group) {
            let members: Vec<_> = api.group(group).collect();
            if members.len() > 1 && !balanced.contains_key(group) {
                let made = together(api, &members, &connections, &readings, shared, &counters.endpoints);
                let known = former.and_then(|former| former.brokers.balanced.get(group));
                let kept = known.filter(|known| known.is_like(&made)).cloned();
                balanced.insert(group.clone(), kept.unwrap_or_else(|| Arc::new(made)));
            }
        }
        let (reading, connection) = match balanced.get(&api.brokers[0].group) {
            Some(group) => (Arc::clone(group.reading()) as Arc<dyn BrokerDriver>, Arc::clone(group) as _),
            None => (Arc::clone(&readings[0]), Arc::clone(&connections[0])),
        };
        Ok(Self { connections, readings, balanced, reading, connection })
    }

    /// What the broker, or the group of brokers, of this name is published to by.
    pub(crate) fn named(&self, api: &EventApi, endpoint: &str) -> Option<Arc<dyn BrokerDriver>> {
        let mut named = api.named(endpoint);
        let (index, _) = named.next()?;
        match self.balanced.get(endpoint) {
            Some(group) if named.next().is_some() => Some(Arc::clone(group) as _),
            _ => Some(Arc::clone(&self.connections[index])),
        }
    }

    /// Each broker with what it is read by.
    pub(crate) fn each<'a>(
        &'a self,
        api: &'a EventApi,
    ) -> impl Iterator<Item = (&'a Broker, Arc<dyn BrokerDriver>)> {
        api.brokers.iter().zip(self.readings.iter().cloned())
    }

    /// What policies can choose.
    pub(crate) fn endpoints(
        &self,
        api: &EventApi,
        environment: &Environment,
    ) -> Result<Endpoints, Vec<Problem>> {
        let first = &api.brokers[0];
        let mut serving: Vec<Arc<str>> = Vec::new();
        if api.serving().count() == 1 {
            serving.extend([Arc::from(&*first.name), Arc::from(&*first.group)]);
        } else if api.serving().all(|(_, broker)| broker.name != first.group) {
            serving.push(Arc::from(&*first.group));
        }
        let mut others: Vec<Endpoint> = Vec::new();
        for (index, broker) in api.brokers.iter().enumerate() {
            let alone = (Arc::clone(&self.readings[index]), Arc::clone(&self.connections[index]));
            let together = match self.balanced.get(&broker.group) {
                Some(group) => (Arc::clone(group.reading()) as Arc<dyn BrokerDriver>, Arc::clone(group) as _),
                None => alone.clone(),
            };
            for (name, drivers) in [(&broker.name, alone), (&broker.group, together)] {
                if !others.iter().any(|known| *known.name == **name) {
                    others.push(endpoint(name, broker, drivers, environment)?);
                }
            }
        }
        others.retain(|other| !serving.contains(&other.name));
        Ok(Endpoints::new(serving, others))
    }
}

/// The brokers of a group as one.
fn together(
    api: &EventApi,
    members: &[(usize, &Broker)],
    connections: &[Arc<dyn BrokerDriver>],
    readings: &[Arc<dyn BrokerDriver>],
    shared: &Shared,
    counters: &EndpointFamilies,
) -> Balanced {
    let read: Vec<_> = members.iter().map(|(index, _)| Arc::clone(&readings[*index])).collect();
    let group = members.first().map(|(_, broker)| broker.group.as_str()).unwrap_or_default();
    let balancing = api.balancing.get(group).copied().unwrap_or_default();
    let members = members.iter().map(|(index, broker)| Member {
        name: Arc::from(&*broker.name),
        weight: broker.weight,
        secondary: broker.secondary,
        driver: Arc::clone(&connections[*index]),
        metrics: counters.of(&api.id, &broker.name),
    });
    Balanced::new(&api.id.0, balancing, members.collect(), shared.groups.of(&read))
}

fn endpoint(
    name: &str,
    broker: &Broker,
    (driver, publisher): (Arc<dyn BrokerDriver>, Arc<dyn BrokerDriver>),
    environment: &Environment,
) -> Result<Endpoint, Vec<Problem>> {
    let configuration = &broker.configuration;
    let fixed = |names: Option<Vec<&str>>| names.map(|names| topics(Some(names)));
    Ok(Endpoint {
        name: Arc::from(name),
        driver,
        publisher,
        publish_topics: fixed(configuration.publish_topics()),
        deliver_topics: fixed(configuration.deliver_topics()),
        chosen_by: ChosenBy::new(configuration, environment)?,
        begin: begin(configuration),
    })
}

/// Where a client that brings no position begins.
pub(crate) fn begin(broker: &BrokerConfig) -> Begin {
    match broker.auto_offset_reset() {
        AutoOffsetReset::Earliest => Begin::Earliest,
        AutoOffsetReset::Latest | AutoOffsetReset::None => Begin::Latest,
    }
}

/// The topics that are the same for all clients.
pub(crate) fn topics(names: Option<Vec<&str>>) -> Vec<Topic> {
    let names = names.unwrap_or_default().into_iter();
    names.filter(|name| !has_expression(name)).map(Topic::from).collect()
}

/// What receivers are given for each broker, or group, that policies can choose: the same as without a choice, with
/// other drivers and topics.
pub(crate) fn bindings(whole: &Binding) -> HashMap<Arc<str>, Arc<Binding>> {
    let bound = whole.endpoints.others().iter().map(|endpoint| {
        let binding = Binding {
            endpoint: Some(Arc::clone(&endpoint.name)),
            driver: Arc::clone(&endpoint.driver),
            publisher: Arc::clone(&endpoint.publisher),
            publish_topics: endpoint.publish_topics.clone().unwrap_or_default(),
            deliver_topics: endpoint.deliver_topics.clone().unwrap_or_default(),
            chosen_by: endpoint.chosen_by.clone(),
            begin: endpoint.begin.clone(),
            ..beside(whole)
        };
        (Arc::clone(&endpoint.name), Arc::new(binding))
    });
    bound.collect()
}

impl Deployment {
    /// What a receiver is given for a client: what was meant for it, or what a policy has chosen for this client; with
    /// the client's own connections, where it has some.
    pub(crate) async fn chosen(
        self: &Arc<Self>,
        meant: &Arc<Binding>,
        receiver: &sluice_api::Receiver,
        caller: &Caller,
        gateway: &Gateway,
    ) -> Result<Arc<Binding>, Refusal> {
        let (meant, own) = self.for_client(meant, caller, gateway).await?;
        let Some(endpoint) = meant.endpoints.chosen(&[caller.attributes()])? else { return Ok(meant) };
        if !reads(&receiver.configuration) {
            // Each message is published by what is chosen for it, or for its client.
            return Ok(meant);
        }
        let found = self.elsewhere(own.as_deref(), &endpoint.name).ok_or(NoEndpoint::Unknown)?;
        // Which topics there belong to a channel nobody says.
        if meant.channel.is_some()
            || (found.deliver_topics.is_empty() && !found.chosen_by.makes_topics(sluice_api::Side::Deliver))
        {
            return Err(NoEndpoint::Closed.into());
        }
        if receiver.qos.tells_positions() && !found.driver.capabilities().replay {
            return Err(NoEndpoint::Fleeting.into());
        }
        Ok(Arc::clone(found))
    }
}

/// Whether clients of this receiver are sent messages.
fn reads(receiver: &ReceiverConfig) -> bool {
    match receiver {
        ReceiverConfig::Websocket(settings) => settings.subscriber.enabled,
        other => other.delivers(),
    }
}
