//! An API with a hub on an embedded log, and everything that a test wants to look at.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Request, Response, StatusCode, header::RETRY_AFTER};
use http_body_util::Full;
use serde_json::{Value, json};
use sluice_api::{ApiId, EventApi, ReceiverConfig, WebsubConfig, from_value};
use sluice_broker::{BatchLimit, BrokerDriver, ConsumeSpec, Log, LogOptions, StartAt, StopAt};
use sluice_delivery::{Deliveries, DeliveryOptions, Guard, GuardOptions};
use sluice_message::{Message, Topic};
use sluice_policy::{Caller, Chains, ChosenBy, Environment, Hook};
use sluice_receiver::{ApiMetrics, Binding, Body, Refusal, Succession};
use sluice_stream::{Begin, HubOptions as StreamOptions, Hubs, MemoryNotes, MemoryPositions, StreamMetrics};
use sluice_websub::{Addresses, Asked, AskedMode, Hub, HubOptions};
use tempfile::TempDir;
use tokio::sync::Semaphore;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::desk::MemoryDesk;

pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// The public base of the API.
pub(crate) const BASE: &str = "https://hub.example/shop";

pub(crate) struct Bench {
    pub(crate) hub: Hub,
    pub(crate) desk: Arc<MemoryDesk>,
    pub(crate) log: Log,
    pub(crate) options: HubOptions,
    guard: GuardOptions,
    settings: WebsubConfig,
    api: EventApi,
    _directory: TempDir,
}

/// The answer of the hub as a client sees it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// Empty for one that is no error.
    pub(crate) code: &'static str,
    pub(crate) message: String,
    pub(crate) retry_after: Option<u64>,
}

impl Bench {
    /// Of an API with the channels `paid` and `orders/new` and the default settings, open.
    pub(crate) async fn new() -> Self {
        Self::with(&json!({}), &json!({})).await
    }

    /// The same with these settings of the hub and these further parts of the API.
    pub(crate) async fn with(settings: &Value, parts: &Value) -> Self {
        let bench = Self::closed(settings, parts);
        bench.hub.open(Arc::clone(&bench.desk) as _).await.unwrap();
        bench
    }

    /// The same without a desk yet.
    pub(crate) fn closed(settings: &Value, parts: &Value) -> Self {
        let mut definition = json!({
            "id": "shop",
            "name": "shop",
            "paths": [{ "path": "/shop" }],
            "receivers": [{ "type": "websub", "configuration": settings }],
            "brokers": [{ "name": "b", "type": "log", "configuration": {} }],
            "channels": { "paid": {}, "orders/new": { "consumeFrom": "new", "produceTo": "new" } },
            "plans": [{ "id": "open", "name": "Open", "security": { "type": "key-less" } }],
        });
        definition.as_object_mut().unwrap().extend(parts.as_object().unwrap().clone());
        let api: EventApi = from_value(definition).unwrap();
        assert_eq!(api.validate(), []);
        let ReceiverConfig::Websub(settings) = api.receivers[0].configuration.clone() else {
            panic!("no hub")
        };
        let directory = tempfile::tempdir().unwrap();
        let log = Log::open(directory.path(), LogOptions::default()).unwrap();
        let options = HubOptions { retry_waits: vec![Duration::from_millis(1); 2], ..HubOptions::default() };
        let (guard, desk) = (GuardOptions::loopback(), MemoryDesk::new());
        let hub = Hub::new(options.clone(), deliveries(&guard));
        Self { hub, desk, log, options, guard, settings: *settings, api, _directory: directory }
    }

    /// The same after a restart, with other bounds: nothing but the desk and the log is left. The API is not deployed.
    pub(crate) async fn restarted(mut self, options: HubOptions) -> Self {
        self.hub.shut_down(Duration::ZERO).await;
        self.hub = Hub::new(options.clone(), deliveries(&self.guard));
        self.options = options;
        self.hub.open(Arc::clone(&self.desk) as _).await.unwrap();
        self
    }

    /// What the gateway does when the API is deployed.
    pub(crate) fn deploy(&self) {
        self.hub.learn(&self.api.id, &self.settings);
    }

    pub(crate) fn id(&self) -> &ApiId {
        &self.api.id
    }

    pub(crate) fn binding(&self, channel: &str) -> Arc<Binding> {
        self.binding_to(channel, Arc::new(self.log.clone()))
    }

    pub(crate) fn binding_to(&self, channel: &str, driver: Arc<dyn BrokerDriver>) -> Arc<Binding> {
        let api = &self.api;
        let of_channel = &api.channels[channel];
        let drain = CancellationToken::new();
        Arc::new(Binding {
            api: api.id.clone(),
            channel: Some(channel.into()),
            endpoint: None,
            whose: None,
            endpoints: Arc::default(),
            credentials: Arc::default(),
            publisher: Arc::clone(&driver),
            driver,
            publish_topics: vec![Topic::from(of_channel.publish_topic(channel))],
            deliver_topics: vec![Topic::from(of_channel.deliver_topic(channel))],
            chosen_by: ChosenBy::new(&api.brokers[0].configuration, &Environment::default()).unwrap(),
            begin: Begin::Latest,
            hubs: Hubs::new(StreamOptions::default(), Arc::new(StreamMetrics::default())),
            positions: Arc::new(MemoryPositions::default()),
            notes: Arc::new(MemoryNotes::default()),
            keys_in_use: Arc::default(),
            streams: Arc::default(),
            chains: Chains::compile(api, &Arc::default(), &Arc::default()).unwrap(),
            max_body_bytes: api.limits.max_body_bytes,
            body_bytes: Arc::new(Semaphore::new(64 << 20)),
            body_timeout: Duration::from_secs(30),
            succession: Succession::new(&drain),
            drain,
            metrics: ApiMetrics::default(),
            failures: Arc::default(),
            in_flight: TaskTracker::new(),
            definition: Arc::new(api.clone()),
        })
    }

    /// What a form comes to.
    pub(crate) async fn form(&self, form: &str) -> Answer {
        let request = Request::post("/shop/hub").header("content-type", "application/x-www-form-urlencoded");
        self.send(request.body(Full::from(form.to_owned())).unwrap()).await
    }

    /// What these parameters come to.
    pub(crate) async fn ask(&self, parameters: &[(&str, &str)]) -> Answer {
        self.form(&url::form_urlencoded::Serializer::new(String::new()).extend_pairs(parameters).finish())
            .await
    }

    pub(crate) async fn subscribe(&self, callback: &str) -> Answer {
        self.ask(&[("hub.mode", "subscribe"), ("hub.topic", "paid"), ("hub.callback", callback)]).await
    }

    pub(crate) async fn unsubscribe(&self, callback: &str) -> Answer {
        self.ask(&[("hub.mode", "unsubscribe"), ("hub.topic", "paid"), ("hub.callback", callback)]).await
    }

    /// What a request comes to, by the way that it takes through the gateway.
    pub(crate) async fn send(&self, request: Request<Full<Bytes>>) -> Answer {
        self.send_through(request, |channel| self.binding(channel)).await
    }

    pub(crate) async fn send_through(
        &self,
        request: Request<Full<Bytes>>,
        binding: impl Fn(&str) -> Arc<Binding>,
    ) -> Answer {
        match self.served(request, binding).await {
            Ok(response) => {
                assert!(matches!(response.body(), Body::Empty), "an accepted request has an empty answer");
                Answer {
                    status: response.status().as_u16(),
                    code: "",
                    message: String::new(),
                    retry_after: None,
                }
            }
            Err(refusal) => {
                let (code, message) = (refusal.code, refusal.message.clone());
                let response = refusal.into_response(true);
                let retry_after = response.headers().get(RETRY_AFTER);
                let retry_after = retry_after.map(|seconds| seconds.to_str().unwrap().parse().unwrap());
                Answer { status: response.status().as_u16(), code, message, retry_after }
            }
        }
    }

    async fn served(
        &self,
        request: Request<Full<Bytes>>,
        binding: impl Fn(&str) -> Arc<Binding>,
    ) -> Result<Response<Body>, Refusal> {
        let addresses = Addresses { base: BASE.to_owned() };
        let asked = Asked::read(&binding("paid"), request).await?;
        let channel = asked.channel(&self.api, &addresses)?;
        let binding = binding(channel);
        let mut caller = Caller::new(&binding.chains, "websub", channel).with_plan(&self.api.plans[0].id);
        let hook = match asked.mode() {
            AskedMode::Subscribe => Hook::Subscribe,
            AskedMode::Unsubscribe => Hook::Unsubscribe,
            AskedMode::Publish => Hook::Connect,
        };
        binding.chains.meet(hook, &mut caller).await?;
        self.hub.accept(&binding, &self.settings, &Arc::new(caller), asked, channel, &addresses).await
    }

    pub(crate) async fn publish(&self, topic: &str, text: &'static str) {
        self.log.publish(&topic.into(), Message::builder().payload(text).build()).await.unwrap();
    }

    /// The first messages of a topic.
    pub(crate) async fn messages(&self, topic: &str, count: usize) -> Vec<Message> {
        let spec =
            ConsumeSpec { topics: vec![Topic::from(topic)], start: StartAt::Earliest, stop: StopAt::Never };
        let mut consumer = self.log.consume(spec).await.unwrap();
        let mut batch = Vec::new();
        while batch.len() < count {
            let limit = BatchLimit { messages: count, bytes: 1 << 20 };
            tokio::time::timeout(PATIENCE, consumer.fetch(&mut batch, limit)).await.unwrap().unwrap();
        }
        batch
    }
}

impl Answer {
    /// 202.
    pub(crate) fn accepted(&self) {
        assert_eq!((self.status, self.code), (StatusCode::ACCEPTED.as_u16(), ""), "{self:?}");
    }

    pub(crate) fn refused(&self, status: u16, code: &str) {
        assert_eq!((self.status, self.code), (status, code), "{self:?}");
    }
}

fn deliveries(guard: &GuardOptions) -> Deliveries {
    let options = DeliveryOptions { guard: Guard::new(guard.clone()), ..DeliveryOptions::default() };
    let hubs = Hubs::new(StreamOptions::default(), Arc::new(StreamMetrics::default()));
    let (positions, notes) = (Arc::new(MemoryPositions::default()), Arc::new(MemoryNotes::default()));
    Deliveries::new(options, hubs, positions, notes).0
}

/// Waits until something holds.
pub(crate) async fn until(condition: impl Fn() -> bool) {
    let holds = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(PATIENCE, holds).await.expect("it should have come to hold");
}
