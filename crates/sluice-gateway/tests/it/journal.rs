//! Receivers before a broker that keeps no messages: read live, or from the journal where the API promises more.

use std::{
    collections::VecDeque,
    path::Path,
    sync::{Arc, Mutex, MutexGuard},
};

use futures_util::{FutureExt, future::BoxFuture};
use serde_json::{Value, json};
use sluice_api::{ApiId, BrokerConfig, EventApi, from_value};
use sluice_broker::{
    BatchLimit, Bounds, BrokerDriver, Capabilities, ConsumeSpec, Consumer, DriverError, ErrorKind, Journal,
    JournalMetrics, Journals, LogOptions, Receipt, StartAt,
};
use sluice_gateway::DriverFactory;
use sluice_message::{Message, Offset, Partition, Place, Position, Topic};
use tokio::sync::watch;

use crate::{
    client::{BINARY, Client},
    support::{Running, api, serving_by},
};

/// A broker that keeps nothing but what a group has not acknowledged. Messages that are read live have no place.
#[derive(Clone, Default)]
struct Passing {
    state: Arc<State>,
    /// Whether it does not keep that either.
    forgets: bool,
}

#[derive(Default)]
struct State {
    queues: Mutex<Vec<Queue>>,
    changed: watch::Sender<()>,
}

struct Queue {
    /// Of a group, or of one live reader.
    name: Arc<str>,
    topics: Vec<Topic>,
    messages: VecDeque<Message>,
}

impl Passing {
    fn queues(&self) -> MutexGuard<'_, Vec<Queue>> {
        self.state.queues.lock().unwrap()
    }
}

impl BrokerDriver for Passing {
    fn capabilities(&self) -> Capabilities {
        Capabilities { replay: false, groups: !self.forgets, sharing: false, ..Capabilities::ALL }
    }

    fn identity(&self) -> BoxFuture<'_, Result<String, DriverError>> {
        async { Ok("passing".to_owned()) }.boxed()
    }

    fn publish<'a>(
        &'a self,
        topic: &'a Topic,
        message: Message,
    ) -> BoxFuture<'a, Result<Receipt, DriverError>> {
        for queue in self.queues().iter_mut().filter(|queue| queue.topics.contains(topic)) {
            queue.messages.push_back(message.clone());
        }
        self.state.changed.send_replace(());
        async { Ok(Receipt { place: None }) }.boxed()
    }

    fn consume(&self, spec: ConsumeSpec) -> BoxFuture<'_, Result<Box<dyn Consumer>, DriverError>> {
        async move {
            let (name, is_group): (Arc<str>, _) = match spec.start {
                StartAt::Latest => (uuid::Uuid::new_v4().to_string().into(), false),
                StartAt::Group { name, .. } => (name, true),
                _ => return Err(DriverError::new(ErrorKind::Unsupported, "Nothing is kept.")),
            };
            let mut queues = self.queues();
            if !queues.iter().any(|queue| queue.name == name) {
                let (name, topics) = (name.clone(), spec.topics.clone());
                queues.push(Queue { name, topics, messages: VecDeque::new() });
            }
            let reader = PassingReader {
                broker: self.clone(),
                name,
                is_group,
                topic: spec.topics[0].clone(),
                handed: 0,
                gone: 0,
            };
            Ok(Box::new(reader) as Box<dyn Consumer>)
        }
        .boxed()
    }

    fn check<'a>(&'a self, _: &'a [Topic]) -> BoxFuture<'a, Result<(), DriverError>> {
        async { Ok(()) }.boxed()
    }

    fn bounds<'a>(&'a self, _: &'a [Topic]) -> BoxFuture<'a, Result<Bounds, DriverError>> {
        async { Err(DriverError::new(ErrorKind::Unsupported, "There are no offsets.")) }.boxed()
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        async {}.boxed()
    }
}

struct PassingReader {
    broker: Passing,
    name: Arc<str>,
    is_group: bool,
    topic: Topic,
    /// Messages of the queue that were handed out and are not acknowledged.
    handed: usize,
    /// Messages that were acknowledged.
    gone: usize,
}

impl PassingReader {
    /// The next message, if there is one.
    fn next(&mut self) -> Option<Message> {
        let mut queues = self.broker.queues();
        let queue = queues.iter_mut().find(|queue| queue.name == self.name).unwrap();
        if !self.is_group {
            return queue.messages.pop_front();
        }
        let message = queue.messages.get(self.handed)?.clone();
        let offset = Offset((self.gone + self.handed) as u64);
        self.handed += 1;
        let place = Place { topic: self.topic.clone(), partition: Partition(0), offset };
        Some(message.to_builder().place(place).build())
    }
}

impl Consumer for PassingReader {
    fn fetch<'a>(
        &'a mut self,
        batch: &'a mut Vec<Message>,
        _: BatchLimit,
    ) -> BoxFuture<'a, Result<(), DriverError>> {
        async move {
            let mut changed = self.broker.state.changed.subscribe();
            loop {
                batch.extend(self.next());
                if !batch.is_empty() {
                    return Ok(());
                }
                changed.changed().await.unwrap();
            }
        }
        .boxed()
    }

    fn commit<'a>(&'a mut self, position: &'a Position) -> BoxFuture<'a, Result<(), DriverError>> {
        let next = usize::try_from(position.next(&self.topic, Partition(0)).unwrap().0).unwrap();
        let mut queues = self.broker.queues();
        let queue = queues.iter_mut().find(|queue| queue.name == self.name).unwrap();
        queue.messages.drain(..next - self.gone);
        (self.handed, self.gone) = (self.handed + self.gone - next, next);
        async { Ok(()) }.boxed()
    }
}

impl Drop for PassingReader {
    fn drop(&mut self) {
        if !self.is_group {
            self.broker.queues().retain(|queue| queue.name != self.name);
        }
    }
}

struct Brokers {
    broker: Passing,
    journals: Journals,
}

impl DriverFactory for Brokers {
    fn open(&self, broker: &BrokerConfig) -> Result<Arc<dyn BrokerDriver>, DriverError> {
        let forgets = matches!(broker, BrokerConfig::Mqtt(settings) if settings.consumer.qos == 0);
        Ok(Arc::new(Passing { forgets, ..self.broker.clone() }))
    }

    fn journal(
        &self,
        api: &ApiId,
        broker: &sluice_api::Broker,
        driver: Arc<dyn BrokerDriver>,
        topics: &[Topic],
        metrics: JournalMetrics,
    ) -> Result<Arc<Journal>, DriverError> {
        self.journals.journal(api, broker, driver, topics, metrics)
    }
}

/// An API before such a broker, with these receivers.
fn before(receivers: &Value) -> Value {
    let settings = json!({ "serverHost": "localhost", "serverPort": 1883, "topic": "t" });
    api(receivers.clone(), json!({ "type": "mqtt5", "configuration": settings }))
}

async fn run(receivers: Value, directory: &Path) -> Running {
    let journals = Journals::new(directory.join("journal"), LogOptions::default());
    serving_by(Box::new(Brokers { broker: Passing::default(), journals }), before(&receivers)).await
}

async fn post(running: &Running, content: &str) {
    let answer = reqwest::Client::new().post(running.url("")).body(content.to_owned()).send().await.unwrap();
    assert_eq!(answer.status(), 202);
}

async fn stream(running: &Running, headers: &[(&str, &str)]) -> reqwest::Response {
    let mut request = reqwest::Client::new().get(running.url("")).header("Accept", "text/event-stream");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let answer = request.send().await.unwrap();
    assert_eq!(answer.status(), 200);
    answer
}

/// What a stream says up to this.
async fn read_to(stream: &mut reqwest::Response, end: &str) -> String {
    let mut read = String::new();
    while !read.contains(end) {
        let chunk = tokio::time::timeout(std::time::Duration::from_secs(30), stream.chunk()).await;
        read.push_str(std::str::from_utf8(&chunk.unwrap().unwrap().unwrap()).unwrap());
    }
    read
}

#[tokio::test]
async fn streams_that_promise_no_position_are_read_live_and_make_no_journal() {
    let directory = tempfile::tempdir().unwrap();
    let get = json!({ "messagesLimitCount": 1, "messagesLimitDurationMs": 20_000 });
    let running = run(
        json!([
            { "type": "http-post" },
            { "type": "http-get", "qos": "none", "configuration": get },
            { "type": "sse" },
            { "type": "websocket", "qos": "none" },
        ]),
        directory.path(),
    )
    .await;
    post(&running, "for nobody").await;
    let mut socket = Client::connect(running.address).await;
    let named = [("X-Gravitee-Client-Identifier", "me"), ("Last-Event-ID", "dEAwIzE=")];
    let mut events = stream(&running, &named).await;
    let http = reqwest::Client::new();
    let mut polled = http.get(running.url("")).header("Accept", "application/json").send().await.unwrap();
    assert_eq!(polled.chunk().await.unwrap().unwrap(), "{\"items\":[");
    post(&running, "x").await;
    assert_eq!(socket.receive().await, (BINARY, b"x".to_vec()));
    assert_eq!(polled.text().await.unwrap(), r#"{"content":"x"}]}"#);
    let read = read_to(&mut events, "data: x").await;
    assert!(!read.contains("nobody"), "{read}");
    assert!(running.gateway.unreachable().await.is_empty());
    assert!(!directory.path().join("journal").exists());
    assert!(!running.gateway.metrics_text().contains("sluice_journal_messages_total{"));
    drop((socket, events));
    running.stop().await;
}

#[tokio::test]
async fn an_api_that_promises_positions_reads_from_the_journal_and_goes_on_through_deployments() {
    let directory = tempfile::tempdir().unwrap();
    let receivers = json!([{ "type": "http-post" }, { "type": "sse", "qos": "at-least-once" }]);
    let running = run(receivers.clone(), directory.path()).await;
    let mut events = stream(&running, &[]).await;
    post(&running, "one").await;
    let read = read_to(&mut events, "data: one").await;
    let id = read.lines().filter_map(|line| line.strip_prefix("id: ")).next_back().unwrap().to_owned();
    drop(events);
    post(&running, "two").await;
    let mut described: EventApi = from_value(before(&receivers)).unwrap();
    described.description = "New.".to_owned();
    let mut events = stream(&running, &[("Last-Event-ID", &id)]).await;
    let read = read_to(&mut events, "data: two").await;
    assert!(!read.contains("data: one"), "{read}");
    running.gateway.deploy(described).unwrap();
    post(&running, "three").await;
    read_to(&mut events, "data: three").await;
    running.metric("sluice_journal_messages_total{api=\"a\"} 3").await;
    running.metric("sluice_journal_topics{api=\"a\"} 1").await;
    assert!(running.gateway.unreachable().await.is_empty());
    drop(events);
    running.stop().await;
}

#[tokio::test]
async fn a_topic_that_is_another_for_each_client_is_refused_where_a_promise_needs_a_journal() {
    let directory = tempfile::tempdir().unwrap();
    let running = run(json!([{ "type": "sse" }]), directory.path()).await;
    let mut varying = before(&json!([{ "type": "sse", "qos": "at-least-once" }]));
    varying["brokers"][0]["configuration"]["consumer"] = json!({ "topic": "t/{#request.params['room']}" });
    let refused = running.gateway.deploy(from_value(varying).unwrap()).unwrap_err();
    assert_eq!((refused.len(), refused[0].code), (1, "journal.topic.chosen"), "{refused:?}");
    assert_eq!(refused[0].path, "brokers[0].configuration");
}

#[tokio::test]
async fn a_broker_that_keeps_nothing_is_refused_before_deployment_where_a_promise_needs_a_journal() {
    let directory = tempfile::tempdir().unwrap();
    let running = run(json!([{ "type": "sse" }]), directory.path()).await;
    let mut forgetting = before(&json!([{ "type": "sse", "qos": "at-least-once" }]));
    forgetting["brokers"][0]["configuration"]["consumer"] = json!({ "qos": 0 });
    let refused = running.gateway.check(&from_value(forgetting.clone()).unwrap());
    assert_eq!((refused.len(), refused[0].code), (1, "broker.unsupported"), "{refused:?}");
    assert_eq!(refused[0].path, "brokers[0].configuration");
    forgetting["receivers"] = json!([{ "type": "sse", "qos": "auto" }]);
    assert!(running.gateway.check(&from_value(forgetting).unwrap()).is_empty());
}
