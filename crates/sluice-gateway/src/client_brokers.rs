//! Brokers of clients' own: where settings of an event API differ from client to client, each set of values has its
//! drivers, which clients with the same values share. Made when the first of them comes, kept for a while after the
//! last has gone, bounded.
//!
//! What the values of a client are is found out in `sluice-policy`; receivers use what they are given here like what
//! all clients have in common.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures_util::future::BoxFuture;
use http::StatusCode;
use sluice_api::{EventApi, Problem};
use sluice_broker::{
    Bounds, BrokerDriver, Capabilities, ConsumeSpec, Consumer, DriverError, ErrorKind, Receipt,
};
use sluice_message::{Message, Topic};
use sluice_policy::{Caller, ClientSettings, ClientValues};
use sluice_receiver::{Binding, Refusal};
use tokio::{
    task::spawn_blocking,
    time::{Instant, sleep},
};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use crate::{
    Gateway,
    deployment::{Counters, Deployment, Shared, beside, channels},
    endpoint_metrics::EndpointFamilies,
    endpoints::{Brokers, bindings},
};

/// How long connections are kept that no client uses: the next request of the same client comes soon.
const KEPT: Duration = Duration::from_secs(60);

/// How long connections that no client uses are kept where others are waiting for their place. Clients that come
/// with other values each time do not make the gateway connect more often.
const KEPT_WHEN_FULL: Duration = Duration::from_secs(1);

/// Seconds after which a client may find room that found none.
const RETRY_AFTER: u8 = 1;

/// The brokers of clients with the same values.
pub(crate) struct Own {
    /// What receivers are given; of an API with channels what they have in common.
    binding: Arc<Binding>,
    channels: HashMap<String, Arc<Binding>>,
    elsewhere: HashMap<Arc<str>, Arc<Binding>>,
}

/// The brokers of a deployment's clients, by what their settings come to.
pub(crate) struct ClientBrokers {
    kept: Mutex<HashMap<ClientValues, (Arc<Own>, Instant)>>,
    /// As many may be there at once.
    most: usize,
    endpoints: EndpointFamilies,
    /// Held while some are opened.
    turn: tokio::sync::Mutex<()>,
}

impl ClientBrokers {
    pub(crate) fn new(api: &EventApi, counters: &Counters) -> Self {
        Self {
            kept: Mutex::default(),
            most: api.limits.client_connections,
            endpoints: counters.endpoints.clone(),
            turn: tokio::sync::Mutex::default(),
        }
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.lock().len()
    }

    /// Drops what no client has used for a while, until the API is drained.
    pub(crate) async fn sweep(deployment: std::sync::Weak<Deployment>, drain: CancellationToken) {
        loop {
            tokio::select! {
                () = sleep(KEPT / 4) => {}
                () = drain.cancelled() => return,
            }
            let Some(deployment) = deployment.upgrade() else { return };
            let mut idle = Vec::new();
            deployment.clients.lock().retain(|_, (own, used)| {
                if own.is_used() {
                    *used = Instant::now();
                }
                let is_kept = used.elapsed() < KEPT;
                if !is_kept {
                    idle.push(Arc::clone(own));
                }
                is_kept
            });
            if !idle.is_empty() {
                debug!(api = %deployment.api.id, count = idle.len(), "Connections that no client uses are closed.");
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<ClientValues, (Arc<Own>, Instant)>> {
        // The map is whole after any panic: each change of it is one call.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Those of clients with these values, if there are some.
    fn known(&self, values: &ClientValues) -> Option<Arc<Own>> {
        let mut kept = self.lock();
        let (own, used) = kept.get_mut(values)?;
        *used = Instant::now();
        Some(Arc::clone(own))
    }

    /// Whose place new ones take; `None` where there is room.
    fn replaced(&self) -> Result<Option<ClientValues>, Refusal> {
        let kept = self.lock();
        if kept.len() < self.most {
            return Ok(None);
        }
        let idle = kept.iter().filter(|(_, (own, used))| !own.is_used() && used.elapsed() >= KEPT_WHEN_FULL);
        let oldest = idle.min_by_key(|(_, (_, used))| *used).map(|(values, _)| values.clone());
        oldest.map(Some).ok_or_else(|| {
            let text =
                "The clients of this API have as many connections to its broker as they may. Try again later.";
            Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "endpoint.connections.full", text)
                .with_retry_after(RETRY_AFTER)
        })
    }

    /// The brokers of clients with these values, made if there are none: one after the other, and beside the threads
    /// that serve, since drivers read files and start threads.
    async fn of(
        &self,
        deployment: &Arc<Deployment>,
        values: ClientValues,
        gateway: &Gateway,
    ) -> Result<Arc<Own>, Refusal> {
        if let Some(own) = self.known(&values) {
            return Ok(own);
        }
        let _turn = self.turn.lock().await;
        if let Some(own) = self.known(&values) {
            return Ok(own);
        }
        let replaced = self.replaced()?;
        let (api, gateway, of) = (Arc::clone(deployment), gateway.clone(), values.clone());
        let opened = spawn_blocking(move || Own::open(&api, &of, gateway.shared()));
        let opened = opened.await.unwrap_or_else(|_| Err(Vec::new()));
        let own = Arc::new(opened.map_err(|problems| invalid(deployment, &problems))?);
        let mut kept = self.lock();
        if let Some(replaced) = replaced {
            kept.remove(&replaced);
        }
        kept.insert(values, (Arc::clone(&own), Instant::now()));
        Ok(own)
    }

    /// Lets streams go on with the brokers that clients with the same values have at the successor; without one they
    /// are told to come again.
    fn hand_over(&self, successor: Option<&Deployment>, shared: &Shared) {
        for (values, (own, _)) in self.lock().iter().filter(|(_, (own, _))| own.is_used()) {
            // Where they cannot be opened the client is told why when it comes again.
            let next = successor.and_then(|next| {
                let own = Own::open(next, values, shared).ok()?;
                let made = || (Arc::new(own), Instant::now());
                Some(Arc::clone(&next.clients.lock().entry(values.clone()).or_insert_with(made).0))
            });
            match next {
                Some(next) => own.hand_over(&next),
                None => own.binding.drain.cancel(),
            }
        }
    }
}

impl Own {
    fn open(deployment: &Deployment, values: &ClientValues, shared: &Shared) -> Result<Self, Vec<Problem>> {
        let api = values.put_into(&deployment.api)?;
        // They have neither a spool nor a journal: these would mix what belongs to several.
        let counters = Counters { endpoints: deployment.clients.endpoints.clone(), ..Counters::default() };
        let brokers = Brokers::open(&api, shared, &counters, None)?;
        let common = Binding {
            endpoints: Arc::new(brokers.endpoints(&api, &shared.environment)?),
            driver: Arc::clone(&brokers.reading),
            publisher: Arc::clone(&brokers.connection),
            whose: Some(values.whose().into()),
            failures: Arc::clone(&deployment.binding.failures),
            ..beside(&deployment.binding)
        };
        let (mut channels, mut elsewhere) = (channels(&api, &common), bindings(&common));
        share_failures(&mut channels, &deployment.channels);
        share_failures(&mut elsewhere, &deployment.elsewhere);
        Ok(Self { binding: Arc::new(common), channels, elsewhere })
    }

    /// What a receiver is given in place of what was meant for clients in common.
    fn in_place_of(&self, meant: &Binding) -> &Arc<Binding> {
        let channel = meant.channel.as_deref().and_then(|channel| self.channels.get(channel));
        channel.unwrap_or(&self.binding)
    }

    fn bindings(&self) -> impl Iterator<Item = &Arc<Binding>> {
        std::iter::once(&self.binding).chain(self.channels.values()).chain(self.elsewhere.values())
    }

    /// Whether a receiver has one of its bindings: they are handed out, and come back when a client is done.
    fn is_used(&self) -> bool {
        self.bindings().any(|binding| Arc::strong_count(binding) > 1)
    }

    fn hand_over(&self, next: &Self) {
        self.binding.succession.set(Arc::clone(&next.binding));
        hand_over(&self.channels, &next.channels);
        hand_over(&self.elsewhere, &next.elsewhere);
    }
}

/// Lets failures of all clients be told together: what one client brings must not fill the log.
fn share_failures<K: std::hash::Hash + Eq>(
    own: &mut HashMap<K, Arc<Binding>>,
    common: &HashMap<K, Arc<Binding>>,
) {
    for (name, binding) in own {
        if let (Some(binding), Some(common)) = (Arc::get_mut(binding), common.get(name)) {
            binding.failures = Arc::clone(&common.failures);
        }
    }
}

/// Lets the streams of each binding go on with that of the same name; those of one that is gone end.
pub(crate) fn hand_over<K: std::hash::Hash + Eq>(
    former: &HashMap<K, Arc<Binding>>,
    next: &HashMap<K, Arc<Binding>>,
) {
    for (name, binding) in former {
        match next.get(name) {
            Some(next) => binding.succession.set(Arc::clone(next)),
            None => binding.drain.cancel(),
        }
    }
}

impl Deployment {
    /// What a receiver is given for a client, and for each broker that a policy may choose for it: what all clients
    /// have in common, or its own.
    ///
    /// # Errors
    /// Its settings have no value, or none that works, or there are as many connections as there may be.
    pub(crate) async fn for_client(
        self: &Arc<Self>,
        meant: &Arc<Binding>,
        caller: &Caller,
        gateway: &Gateway,
    ) -> Result<(Arc<Binding>, Option<Arc<Own>>), Refusal> {
        let settings = self.binding.chains.client_settings();
        if settings.is_empty() {
            return Ok((Arc::clone(meant), None));
        }
        let values = settings.of(caller).inspect_err(|_| {
            self.binding.metrics.misled.inc();
        })?;
        let Some(values) = values else { return Ok((Arc::clone(meant), None)) };
        let own = self.clients.of(self, values, gateway).await?;
        Ok((Arc::clone(own.in_place_of(meant)), Some(own)))
    }

    /// What a receiver is given where a policy has chosen this broker for a client.
    pub(crate) fn elsewhere<'d>(&'d self, own: Option<&'d Own>, endpoint: &str) -> Option<&'d Arc<Binding>> {
        own.map_or(&self.elsewhere, |own| &own.elsewhere).get(endpoint)
    }

    /// Lets the streams of clients with brokers of their own go on under the deployment that comes in place of this one.
    pub(crate) fn hand_over_clients(&self, successor: &Self, shared: &Shared) {
        // The values are for these brokers, in this order.
        let differs = !successor.binding.chains.client_settings().is_empty();
        let goes_on = differs && self.api.brokers == successor.api.brokers;
        self.clients.hand_over(goes_on.then_some(successor), shared);
    }
}

/// Values that are not fit for the settings beside them. Which, stands in the log; it may be another's business.
fn invalid(deployment: &Deployment, problems: &[Problem]) -> Refusal {
    deployment.binding.metrics.misled.inc();
    let text =
        "Invalid configuration: what the broker settings of this API came to for this client cannot work.";
    let found = problems.iter().map(|problem| format!("{}: {}", problem.path, problem.message));
    let refusal = Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "endpoint.expression.invalid", text)
        .with_key("FAILURE_ENDPOINT_CONFIGURATION_INVALID")
        .with_detail(found.collect::<Vec<_>>().join(" "));
    deployment.binding.failures.tell(&deployment.api.id, &refusal);
    refusal
}

/// What keeps an API from being served where its settings differ from client to client; nothing where they do not.
pub(crate) fn problems(api: &EventApi, settings: &ClientSettings) -> Vec<Problem> {
    if settings.is_empty() {
        return Vec::new();
    }
    let mut problems = match settings.example().map(|example| example.put_into(api)) {
        Some(Ok(example)) => example.validate(),
        Some(Err(problems)) => problems,
        None => Vec::new(),
    };
    let mut refuse = |path: String, text: &str| {
        problems.push(Problem::new(path, "endpoints.configuration.invalid", text));
    };
    for (index, receiver) in api.receivers.iter().enumerate() {
        if receiver.configuration.calls_clients() {
            refuse(
                format!("receivers[{index}].type"),
                "Subscribers that are called share the connections of the API, of which settings differ from client to \
                 client here. Serve them by another API.",
            );
        }
    }
    if api.guarantees.spool.is_some() {
        refuse(
            "guarantees.spool".to_owned(),
            "A spool is for one connection, and settings of this API's brokers differ from client to client.",
        );
    }
    if api.reads_from_a_journal() {
        for (index, broker) in api.brokers.iter().enumerate() {
            if !broker.configuration.keeps_messages() {
                refuse(
                    format!("brokers[{index}].configuration"),
                    "What a receiver of this API promises needs messages that stay. This kind of broker keeps none, and \
                     the gateway's journal keeps them for all clients in common, where settings differ from client to \
                     client. Promise no more than 'auto' on 'sse' and 'websocket'.",
                );
            }
        }
    }
    problems
}

/// In place of a driver where nobody can connect without a client's values.
pub(crate) struct WithoutClient;

impl WithoutClient {
    fn refused<T>() -> BoxFuture<'static, Result<T, DriverError>> {
        let text = "Each client has a connection of its own to this broker, and here is no client.";
        Box::pin(async move { Err(DriverError::new(ErrorKind::Configuration, text)) })
    }
}

impl BrokerDriver for WithoutClient {
    /// Nothing is to be made up for here: what is missing, the drivers of clients say.
    fn capabilities(&self) -> Capabilities {
        Capabilities::ALL
    }

    fn identity(&self) -> BoxFuture<'_, Result<String, DriverError>> {
        Self::refused()
    }

    fn publish<'a>(&'a self, _: &'a Topic, _: Message) -> BoxFuture<'a, Result<Receipt, DriverError>> {
        Self::refused()
    }

    fn consume(&self, _: ConsumeSpec) -> BoxFuture<'_, Result<Box<dyn Consumer>, DriverError>> {
        Self::refused()
    }

    fn bounds<'a>(&'a self, _: &'a [Topic]) -> BoxFuture<'a, Result<Bounds, DriverError>> {
        Self::refused()
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(std::future::ready(()))
    }
}
