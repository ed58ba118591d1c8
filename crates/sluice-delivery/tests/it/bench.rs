//! Deliveries with a log, positions and everything that a test wants to look at.

use std::{sync::Arc, time::Duration};

use serde_json::{Value, json};
use sluice_api::{
    ApiId, ApplicationId, Callback, EventApi, PlanId, Qos, ReceiverConfig, Subscription, SubscriptionId,
};
use sluice_broker::{BatchLimit, BrokerDriver, ConsumeSpec, Log, LogOptions, StartAt, StopAt};
use sluice_delivery::{
    DeadLetters, Deliveries, DeliveryMetrics, DeliveryOptions, DeliveryState, Failed, Guard, GuardOptions,
    Replay, ReplayError, Route,
};
use sluice_message::{Message, Topic};
use sluice_policy::{Chains, ChosenBy, Environment};
use sluice_stream::{
    Begin, HubOptions, Hubs, MemoryNotes, MemoryPositions, Notes, Positions, StreamMetrics,
    subscription_reader,
};
use tempfile::TempDir;
use tokio::sync::mpsc;

pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) struct Bench {
    pub(crate) deliveries: Deliveries,
    pub(crate) failures: mpsc::Receiver<Failed>,
    pub(crate) positions: Arc<dyn Positions>,
    pub(crate) notes: Arc<dyn Notes>,
    pub(crate) stream: Arc<StreamMetrics>,
    pub(crate) metrics: DeliveryMetrics,
    options: DeliveryOptions,
    hubs: Arc<Hubs>,
    pub(crate) log: Log,
    _dir: TempDir,
}

/// What a test's API has beside the usual.
#[derive(Debug, Clone)]
pub(crate) struct Offer {
    pub(crate) qos: Qos,
    pub(crate) flows: Value,
    pub(crate) webhook: Value,
    pub(crate) dead_letters: bool,
    pub(crate) topics: Vec<&'static str>,
    /// Channels, each with its topic.
    pub(crate) channels: Vec<(&'static str, &'static str)>,
}

impl Default for Offer {
    fn default() -> Self {
        Self {
            qos: Qos::Auto,
            flows: json!([]),
            webhook: json!({}),
            dead_letters: false,
            topics: vec!["t"],
            channels: Vec::new(),
        }
    }
}

impl Bench {
    /// With a guard that allows the loopback.
    pub(crate) fn new() -> Self {
        Self::guarded(Guard::new(GuardOptions::loopback()))
    }

    pub(crate) fn guarded(guard: Guard) -> Self {
        Self::with(DeliveryOptions { guard, ..DeliveryOptions::default() })
    }

    /// With other bounds, and a guard that allows the loopback.
    pub(crate) fn bounded(mut options: DeliveryOptions) -> Self {
        options.guard = Guard::new(GuardOptions::loopback());
        Self::with(options)
    }

    fn with(options: DeliveryOptions) -> Self {
        let (dir, log) = broker();
        let stream = Arc::new(StreamMetrics::default());
        let hubs = Hubs::new(HubOptions::default(), Arc::clone(&stream));
        let positions: Arc<dyn Positions> = Arc::new(MemoryPositions::default());
        let notes: Arc<dyn Notes> = Arc::new(MemoryNotes::default());
        let (deliveries, failures) = deliveries(&options, &hubs, &positions, &notes);
        let metrics = DeliveryMetrics::default();
        Self { deliveries, failures, positions, notes, stream, metrics, options, hubs, log, _dir: dir }
    }

    /// The same after a restart of the gateway.
    pub(crate) async fn restarted(self) -> Self {
        assert!(self.deliveries.shut_down(PATIENCE).await);
        self.reborn()
    }

    /// The same in a new process, whatever the former one was doing.
    pub(crate) fn reborn(mut self) -> Self {
        (self.deliveries, self.failures) =
            deliveries(&self.options, &self.hubs, &self.positions, &self.notes);
        self
    }

    pub(crate) fn offer(&self, offer: &Offer) {
        self.offer_from(&self.log, offer);
    }

    /// The same from another broker.
    pub(crate) fn offer_from(&self, log: &Log, offer: &Offer) {
        self.offer_by(|| Arc::new(log.clone()), offer);
    }

    /// The same by connections that are opened so.
    pub(crate) fn offer_by(&self, driver: impl Fn() -> Arc<dyn BrokerDriver>, offer: &Offer) {
        let api: EventApi = sluice_api::from_value(json!({
            "id": "a",
            "name": "a",
            "receivers": [{ "type": "webhook", "configuration": offer.webhook }],
            "brokers": [{ "name": "log", "type": "log", "configuration": { "topics": ["t"] } }],
            "plans": [{ "id": "push", "name": "push", "security": { "type": "push" } }],
            "flows": offer.flows,
        }))
        .unwrap();
        let ReceiverConfig::Webhook(webhook) = &api.receivers[0].configuration else { panic!("no webhook") };
        let dead_letters = offer
            .dead_letters
            .then(|| DeadLetters { driver: driver(), topics: ["dead", "copies"].map(Topic::from).into() });
        let route = Route {
            api: api.id.clone(),
            driver: driver(),
            topics: offer.topics.iter().copied().map(Topic::from).collect(),
            channels: offer
                .channels
                .iter()
                .map(|(name, topic)| ((*name).to_owned(), vec![Topic::from(*topic)]))
                .collect(),
            chosen_by: ChosenBy::new(&api.brokers[0].configuration, &Environment::default()).unwrap(),
            begin: Begin::Latest,
            qos: offer.qos,
            chains: Chains::compile(&api, &Arc::default(), &Arc::default()).unwrap(),
            webhook: webhook.clone(),
            dead_letters,
            calls: tokio::sync::Semaphore::new(128),
            metrics: self.metrics.clone(),
        };
        self.deliveries.set_route(&api.id, Some(&Arc::new(route)));
    }

    pub(crate) fn withdraw(&self) {
        self.deliveries.set_route(&ApiId("a".to_owned()), None);
    }

    /// Puts a subscription and waits until everything published from now on will reach it.
    pub(crate) async fn subscribe(&self, id: &str, callback: Callback) -> Subscription {
        let subscription = subscription(id, callback);
        self.put(subscription.clone()).await;
        subscription
    }

    pub(crate) async fn put(&self, subscription: Subscription) {
        let reader = subscription_reader(&subscription.id.0);
        self.deliveries.put(subscription);
        until(async || self.positions.load(&reader).await.unwrap().is_some()).await;
    }

    pub(crate) async fn publish(&self, text: &str) {
        self.publish_in("t", text).await;
    }

    /// Publishes in another topic.
    pub(crate) async fn publish_in(&self, topic: &str, text: &str) {
        let message = Message::builder().payload(text.to_owned()).build();
        self.log.publish(&Topic::from(topic), message).await.unwrap();
    }

    /// Publishes under a record key.
    pub(crate) async fn publish_of(&self, key: &str, text: &str) {
        let message = Message::builder().payload(text.to_owned()).key(key.to_owned()).build();
        self.log.publish(&Topic::from("t"), message).await.unwrap();
    }

    pub(crate) fn state(&self, id: &str) -> DeliveryState {
        self.deliveries.state(&SubscriptionId(id.to_owned())).unwrap()
    }

    pub(crate) async fn replay(&self, id: &str, replay: Replay) -> Result<(), ReplayError> {
        self.deliveries.replay(&SubscriptionId(id.to_owned()), replay).await
    }

    /// How far a subscription has come, as it is stored: the offset of the next message.
    pub(crate) async fn next_of(&self, id: &str) -> u64 {
        let position = self.positions.load(&subscription_reader(id)).await.unwrap().unwrap();
        position.nexts().map(|(_, _, next)| next.0).sum()
    }

    /// The first dead letter.
    pub(crate) async fn dead_letter(&self) -> Message {
        let topics = vec![Topic::from("dead")];
        let spec = ConsumeSpec { topics, start: StartAt::Earliest, stop: StopAt::Never };
        let mut consumer = self.log.consume(spec).await.unwrap();
        let mut batch = Vec::new();
        let limit = BatchLimit { messages: 1, bytes: 1 << 20 };
        tokio::time::timeout(PATIENCE, consumer.fetch(&mut batch, limit)).await.unwrap().unwrap();
        batch.remove(0)
    }

    pub(crate) async fn failure(&mut self) -> Failed {
        tokio::time::timeout(PATIENCE, self.failures.recv()).await.unwrap().unwrap()
    }
}

fn deliveries(
    options: &DeliveryOptions,
    hubs: &Arc<Hubs>,
    positions: &Arc<dyn Positions>,
    notes: &Arc<dyn Notes>,
) -> (Deliveries, mpsc::Receiver<Failed>) {
    Deliveries::new(options.clone(), Arc::clone(hubs), Arc::clone(positions), Arc::clone(notes))
}

/// A broker of its own.
pub(crate) fn broker() -> (TempDir, Log) {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::open(dir.path(), LogOptions::default()).unwrap();
    (dir, log)
}

pub(crate) fn subscription(id: &str, callback: Callback) -> Subscription {
    Subscription {
        id: SubscriptionId(id.to_owned()),
        api: ApiId("a".to_owned()),
        plan: PlanId("push".to_owned()),
        application: ApplicationId("app".to_owned()),
        application_name: "App".to_owned(),
        client_id: None,
        metadata: std::collections::BTreeMap::new(),
        channel: None,
        callback,
        hub: None,
        starting_at: None,
        ending_at: None,
    }
}

/// A subscriber that is tried again at once, so often in all.
pub(crate) fn patient(url: String, attempts: u32) -> Callback {
    with(url, attempts, json!({}))
}

/// The same with further settings.
pub(crate) fn with(url: String, attempts: u32, settings: Value) -> Callback {
    let mut callback = settings;
    callback["callbackUrl"] = url.into();
    callback["retry"] =
        json!({ "retryOption": "Retry On Fail", "maxAttempts": attempts, "initialDelaySeconds": 0 });
    let callback: Callback = sluice_api::from_value(callback).unwrap();
    assert_eq!(callback.problems(), []);
    callback
}

/// Waits until something holds.
pub(crate) async fn until(condition: impl AsyncFn() -> bool) {
    let holds = async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, holds).await.expect("it should have come to hold");
}
