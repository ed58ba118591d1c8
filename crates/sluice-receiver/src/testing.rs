//! What tests of several receivers begin with: bindings to a mock, and to brokers that do what a test wants.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use futures_util::{FutureExt, future::BoxFuture};
use http::request::Parts;
use serde_json::{Value, json};
use sluice_api::{BrokerConfig, EventApi, from_value};
use sluice_broker::{
    Bounds, BrokerDriver, Capabilities, ConsumeSpec, Consumer, DriverError, ErrorKind, Log, LogOptions, Mock,
    Receipt, StartAt,
};
use sluice_message::{Message, Offset, Topic};
use sluice_policy::{Caller, Chains, ChosenBy, Environment};
use sluice_stream::{Begin, HubOptions, Hubs, MemoryNotes, MemoryPositions, StreamMetrics};
use tempfile::TempDir;
use tokio::sync::{Semaphore, mpsc};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{ApiMetrics, Binding, Client, Succession};

/// A binding to a mock with these settings, with the policies of these flows.
pub(crate) fn binding(mock: &Value, flows: &Value) -> Binding {
    let broker = json!({ "name": "b", "type": "mock", "configuration": mock });
    binding_of(&json!({ "receivers": [{ "type": "websocket" }], "brokers": [broker], "flows": flows }))
}

/// A binding to a mock of an API with these parts; without brokers of its own it has a log, which is not there.
pub(crate) fn binding_of(parts: &Value) -> Binding {
    let mut definition = json!({
        "id": "a",
        "name": "a",
        "paths": [{ "path": "/a" }],
        "receivers": [{ "type": "sse" }],
        "brokers": [{ "name": "b", "type": "log", "configuration": { "topics": ["t", "u"] } }],
        "plans": [{ "id": "open", "name": "Open", "security": { "type": "key-less" } }],
    });
    definition.as_object_mut().unwrap().extend(parts.as_object().unwrap().clone());
    let api: EventApi = from_value(definition).unwrap();
    let chains = Chains::compile(&api, &Arc::default(), &Arc::default()).unwrap();
    let config = &api.brokers[0].configuration;
    let mock = match config {
        BrokerConfig::Mock(mock) => mock.clone(),
        _ => serde_json::from_value(json!({})).unwrap(),
    };
    let driver: Arc<dyn BrokerDriver> = Arc::new(Mock::new(mock));
    let topics = |names: Option<Vec<&str>>| names.unwrap_or(vec!["t"]).into_iter().map(Topic::from).collect();
    let drain = CancellationToken::new();
    Binding {
        api: api.id.clone(),
        channel: None,
        credentials: Arc::default(),
        publisher: Arc::clone(&driver),
        driver,
        endpoint: None,
        whose: None,
        endpoints: Arc::default(),
        publish_topics: topics(config.publish_topics()),
        deliver_topics: topics(config.deliver_topics()),
        chosen_by: ChosenBy::new(config, &Environment::default()).unwrap(),
        begin: Begin::Latest,
        hubs: Hubs::new(HubOptions::default(), Arc::new(StreamMetrics::default())),
        positions: Arc::new(MemoryPositions::default()),
        notes: Arc::new(MemoryNotes::default()),
        keys_in_use: Arc::default(),
        streams: Arc::default(),
        chains,
        max_body_bytes: 1000,
        body_bytes: Arc::new(Semaphore::new(100_000)),
        body_timeout: Duration::from_secs(30),
        succession: Succession::new(&drain),
        drain,
        metrics: ApiMetrics::default(),
        failures: Arc::default(),
        in_flight: TaskTracker::new(),
        definition: Arc::new(api),
    }
}

/// A client that came by the receiver of this kind and the plan `open`.
pub(crate) fn caller(binding: &Binding, kind: &'static str) -> Arc<Caller> {
    Arc::new(Caller::new(&binding.chains, kind, "").with_plan(&binding.definition.plans[0].id))
}

/// A GET without headers, and who asks.
pub(crate) fn request() -> (Parts, Client) {
    let request = http::Request::get("/a").body(()).unwrap().into_parts().0;
    (request, Client::new(([10, 0, 0, 1], 1).into()))
}

/// An API on the topics `t` and `u` of an embedded log.
pub(crate) struct Bench {
    pub(crate) binding: Arc<Binding>,
    pub(crate) log: Arc<Forgetful>,
    pub(crate) metrics: Arc<StreamMetrics>,
    _directory: TempDir,
}

impl Bench {
    /// With a ring of so many messages, and an API with these parts.
    pub(crate) fn new(ring_messages: usize, parts: &Value) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let log = Log::open(directory.path(), LogOptions::default()).unwrap();
        let log = Arc::new(Forgetful { log, kept_from: AtomicU64::new(0) });
        let metrics = Arc::new(StreamMetrics::default());
        let options = HubOptions { ring_messages, ..HubOptions::default() };
        let binding = Binding {
            driver: Arc::clone(&log) as _,
            publisher: Arc::clone(&log) as _,
            hubs: Hubs::new(options, Arc::clone(&metrics)),
            ..binding_of(parts)
        };
        Self { binding: Arc::new(binding), log, metrics, _directory: directory }
    }

    /// What comes in place of the API, with these parts, on the same broker.
    pub(crate) fn successor(&self, parts: &Value) -> Arc<Binding> {
        let (old, new) = (&*self.binding, binding_of(parts));
        Arc::new(Binding {
            driver: Arc::clone(&old.driver),
            publisher: Arc::clone(&old.publisher),
            hubs: Arc::clone(&old.hubs),
            positions: Arc::clone(&old.positions),
            streams: Arc::clone(&old.streams),
            metrics: old.metrics.clone(),
            ..new
        })
    }

    pub(crate) async fn publish(&self, topic: &str, content: impl Into<String>) {
        let message = Message::builder().payload(content.into()).build();
        self.log.publish(&topic.into(), message).await.unwrap();
    }

    /// Waits until the hub has read so many messages.
    pub(crate) async fn read_by_hub(&self, messages: u64) {
        while self.metrics.messages_read.get() < messages {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

/// A log that has dropped what lies before an offset of the topic `t`, as retention does.
pub(crate) struct Forgetful {
    log: Log,
    kept_from: AtomicU64,
}

impl Forgetful {
    pub(crate) fn drop_before(&self, offset: u64) {
        self.kept_from.store(offset, Ordering::SeqCst);
    }

    fn kept_from(&self, topic: &Topic) -> Offset {
        Offset(if topic.as_str() == "t" { self.kept_from.load(Ordering::SeqCst) } else { 0 })
    }
}

impl BrokerDriver for Forgetful {
    fn capabilities(&self) -> Capabilities {
        self.log.capabilities()
    }

    fn identity(&self) -> BoxFuture<'_, Result<String, DriverError>> {
        self.log.identity()
    }

    fn publish<'a>(
        &'a self,
        topic: &'a Topic,
        message: Message,
    ) -> BoxFuture<'a, Result<Receipt, DriverError>> {
        self.log.publish(topic, message)
    }

    fn consume(&self, spec: ConsumeSpec) -> BoxFuture<'_, Result<Box<dyn Consumer>, DriverError>> {
        if let StartAt::After(position) = &spec.start
            && position.nexts().any(|(topic, _, next)| next < self.kept_from(topic))
        {
            let lost = DriverError::new(ErrorKind::PositionLost, "It was dropped.");
            return async { Err(lost) }.boxed();
        }
        self.log.consume(spec)
    }

    fn bounds<'a>(&'a self, topics: &'a [Topic]) -> BoxFuture<'a, Result<Bounds, DriverError>> {
        async move {
            let mut bounds = self.log.bounds(topics).await?;
            for ((topic, _), kept) in &mut bounds {
                kept.start = kept.start.max(self.kept_from(topic));
            }
            Ok(bounds)
        }
        .boxed()
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        self.log.close()
    }
}

/// A broker that answers each publish when a test says so.
pub(crate) struct Gated {
    answers: tokio::sync::Mutex<mpsc::UnboundedReceiver<Result<(), ErrorKind>>>,
    /// A permit for each publish that has come.
    pub(crate) come: Semaphore,
    taken: Mutex<Vec<Message>>,
}

impl Gated {
    /// The broker, and where its answers are given.
    pub(crate) fn new() -> (Arc<Self>, mpsc::UnboundedSender<Result<(), ErrorKind>>) {
        let (answer, answers) = mpsc::unbounded_channel();
        let gated = Self {
            answers: tokio::sync::Mutex::new(answers),
            come: Semaphore::new(0),
            taken: Mutex::default(),
        };
        (Arc::new(gated), answer)
    }

    /// The contents of the messages that it has acknowledged.
    pub(crate) fn taken(&self) -> Vec<String> {
        self.messages().iter().map(|message| String::from_utf8(message.payload().to_vec()).unwrap()).collect()
    }

    /// The messages that it has acknowledged.
    pub(crate) fn messages(&self) -> Vec<Message> {
        self.taken.lock().unwrap().clone()
    }
}

impl BrokerDriver for Gated {
    fn capabilities(&self) -> Capabilities {
        Capabilities { groups: false, sharing: false, ..Capabilities::ALL }
    }

    fn identity(&self) -> BoxFuture<'_, Result<String, DriverError>> {
        async { Err(DriverError::new(ErrorKind::Unreachable, "It does not say who it is.")) }.boxed()
    }

    fn publish<'a>(&'a self, _: &'a Topic, message: Message) -> BoxFuture<'a, Result<Receipt, DriverError>> {
        async move {
            self.come.add_permits(1);
            let answer = self.answers.lock().await.recv().await.unwrap();
            answer.map_err(|kind| DriverError::new(kind, "As the test wants it."))?;
            self.taken.lock().unwrap().push(message);
            Ok(Receipt { place: None })
        }
        .boxed()
    }

    fn consume(&self, _: ConsumeSpec) -> BoxFuture<'_, Result<Box<dyn Consumer>, DriverError>> {
        async { Err(DriverError::new(ErrorKind::Unreachable, "Nothing is read here.")) }.boxed()
    }

    fn bounds<'a>(&'a self, _: &'a [Topic]) -> BoxFuture<'a, Result<Bounds, DriverError>> {
        async { Err(DriverError::new(ErrorKind::Unreachable, "Nothing is read here.")) }.boxed()
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        async {}.boxed()
    }
}
