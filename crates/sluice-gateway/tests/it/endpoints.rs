//! Several brokers behind one API: shared work, failover, and brokers that policies choose.

use std::{sync::Arc, time::Duration};

use futures_util::{FutureExt, future::BoxFuture};
use serde_json::{Value, json};
use sluice_api::{BrokerConfig, EventApi, Format, from_value, parse_document};
use sluice_broker::{
    Bounds, BrokerDriver, Capabilities, ConsumeSpec, Consumer, DriverError, ErrorKind, Log, LogOptions,
    Receipt,
};
use sluice_gateway::DriverFactory;
use sluice_message::{Message, Position, Topic};
use tempfile::TempDir;
use tokio::sync::watch;

use crate::support::{Running, serving_by};

/// A log for each address of a Kafka cluster, so that an API can name several.
struct Clusters(Vec<(&'static str, Cluster)>);

#[derive(Clone)]
struct Cluster {
    log: Log,
    is_away: watch::Sender<bool>,
}

impl Clusters {
    fn new(names: &[&'static str]) -> (Self, TempDir) {
        let directory = tempfile::tempdir().unwrap();
        let open = |name: &&'static str| {
            let log = Log::open(directory.path().join(name), LogOptions::default()).unwrap();
            (*name, Cluster { log, is_away: watch::Sender::new(false) })
        };
        (Self(names.iter().map(open).collect()), directory)
    }

    fn of(&self, name: &str) -> Cluster {
        self.0.iter().find(|(known, _)| *known == name).unwrap().1.clone()
    }
}

impl DriverFactory for Clusters {
    fn open(&self, config: &BrokerConfig) -> Result<Arc<dyn BrokerDriver>, DriverError> {
        let BrokerConfig::Kafka(kafka) = config else { panic!("{config:?}") };
        let name = kafka.bootstrap_servers.split(':').next().unwrap();
        Ok(Arc::new(self.of(name)))
    }
}

impl Cluster {
    fn there(&self) -> Result<(), DriverError> {
        if *self.is_away.borrow() {
            return Err(DriverError::new(ErrorKind::Unreachable, "It is away."));
        }
        Ok(())
    }

    async fn has(&self, topic: &str) -> u64 {
        let bounds = self.log.bounds(&[Topic::from(topic)]).await.unwrap();
        bounds.values().map(|held| held.end.0).sum()
    }

    async fn put(&self, topic: &str, payload: &'static str) {
        self.log.publish(&Topic::from(topic), Message::builder().payload(payload).build()).await.unwrap();
    }
}

impl BrokerDriver for Cluster {
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
        async move {
            self.there()?;
            self.log.publish(topic, message).await
        }
        .boxed()
    }

    fn consume(&self, spec: ConsumeSpec) -> BoxFuture<'_, Result<Box<dyn Consumer>, DriverError>> {
        async move {
            self.there()?;
            self.log.consume(spec).await
        }
        .boxed()
    }

    fn bounds<'a>(&'a self, topics: &'a [Topic]) -> BoxFuture<'a, Result<Bounds, DriverError>> {
        async move {
            self.there()?;
            self.log.bounds(topics).await
        }
        .boxed()
    }

    fn position_at<'a>(
        &'a self,
        topics: &'a [Topic],
        at: i64,
    ) -> BoxFuture<'a, Result<Position, DriverError>> {
        self.log.position_at(topics, at)
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        self.log.close()
    }
}

fn broker(name: &str, group: &str) -> Value {
    json!({
        "name": name, "group": group, "type": "kafka",
        "configuration": { "bootstrapServers": format!("{name}:9092"), "topics": ["t"] },
    })
}

/// An API that takes posts and streams them, on these brokers; a request chooses one by the parameter `to`, a message
/// by the header `X-To`.
fn api(brokers: &[Value]) -> Value {
    let assign = |value: &str| {
        json!([{ "policy": "policy-assign-attributes", "configuration": { "attributes": [
            { "name": "gravitee.attribute.request.endpoint", "value": value }
        ] } }])
    };
    json!({
        "id": "a", "name": "a", "paths": [{ "path": "/a" }],
        "receivers": [
            { "type": "http-post", "configuration": { "requestHeadersToMessage": true } },
            { "type": "sse", "qos": "at-least-once" }
        ],
        "brokers": brokers,
        "flows": [{
            "connect": assign("{#request.params['to'] != null ? #request.params['to'][0] : null}"),
            "publish": assign("{#message.headers['x-to'] != null ? #message.headers['x-to'][0] : null}"),
        }],
        "plans": [{ "id": "open", "name": "Open", "security": { "type": "key-less" } }],
    })
}

async fn post(running: &Running, to: &str, header: Option<&str>, content: &str) -> u16 {
    let url = format!("http://{}/a{to}", running.address);
    let mut request = reqwest::Client::new().post(url).body(content.to_owned());
    if let Some(header) = header {
        request = request.header("X-To", header);
    }
    request.send().await.unwrap().status().as_u16()
}

struct Stream(reqwest::Response, String);

impl Stream {
    async fn open(running: &Running, to: &str, last: Option<&str>) -> Self {
        let mut request = reqwest::Client::new()
            .get(format!("http://{}/a{to}", running.address))
            .header("Accept", "text/event-stream");
        if let Some(last) = last {
            request = request.header("Last-Event-ID", last);
        }
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), 200);
        Self(answer, String::new())
    }

    /// The content and the id of the next message.
    async fn message(&mut self) -> (String, String) {
        loop {
            if let Some((event, rest)) = self.1.split_once("\n\n") {
                let line = |name: &str| {
                    event.lines().find_map(|line| line.strip_prefix(name)).map(|text| text.trim().to_owned())
                };
                let found = line("data:").zip(line("id:"));
                self.1 = rest.to_owned();
                if let Some(found) = found {
                    return found;
                }
                continue;
            }
            let chunk = tokio::time::timeout(Duration::from_secs(30), self.0.chunk()).await.unwrap();
            self.1.push_str(std::str::from_utf8(&chunk.unwrap().unwrap()).unwrap());
        }
    }

    async fn contents(&mut self, count: usize) -> (Vec<String>, String) {
        let (mut contents, mut id) = (Vec::new(), String::new());
        for _ in 0..count {
            let (content, last) = self.message().await;
            contents.push(content);
            id = last;
        }
        contents.sort();
        (contents, id)
    }
}

#[test]
fn the_example_can_be_deployed() {
    let example = include_str!("../../../../examples/two-clusters.yaml");
    assert!(EventApi::from_document(parse_document(example, Format::Yaml).unwrap()).is_ok());
}

#[tokio::test]
async fn messages_are_shared_out_and_streamed_from_all() {
    let (clusters, _directory) = Clusters::new(&["east", "west"]);
    let [east, west] = ["east", "west"].map(|name| clusters.of(name));
    let running = serving_by(Box::new(clusters), api(&[broker("east", "g"), broker("west", "g")])).await;
    let mut stream = Stream::open(&running, "", None).await;
    for number in 0..4 {
        assert_eq!(post(&running, "", None, &number.to_string()).await, 202);
    }
    assert_eq!((east.has("t").await, west.has("t").await), (2, 2));
    let (contents, id) = stream.contents(4).await;
    assert_eq!(contents, ["0", "1", "2", "3"]);
    // A client that comes back goes on behind what it has of each.
    drop(stream);
    for number in 4..6 {
        assert_eq!(post(&running, "", None, &number.to_string()).await, 202);
    }
    let mut stream = Stream::open(&running, "", Some(&id)).await;
    assert_eq!(stream.contents(2).await.0, ["4", "5"]);
    let metrics = running.gateway.metrics_text();
    assert!(metrics.contains("sluice_endpoint_published_messages_total{api=\"a\",endpoint=\"west\"} 3"));
}

#[tokio::test]
async fn one_cluster_takes_over_for_another_and_streams_go_on() {
    let (clusters, _directory) = Clusters::new(&["east", "west"]);
    let [east, west] = ["east", "west"].map(|name| clusters.of(name));
    let mut secondary = broker("west", "g");
    secondary["secondary"] = json!(true);
    let running = serving_by(Box::new(clusters), api(&[broker("east", "g"), secondary])).await;
    let mut stream = Stream::open(&running, "", None).await;
    assert_eq!(post(&running, "", None, "primary").await, 202);
    assert_eq!(stream.message().await.0, "primary");
    east.is_away.send_replace(true);
    assert_eq!(post(&running, "", None, "secondary").await, 202);
    assert_eq!(stream.message().await.0, "secondary");
    assert_eq!((east.has("t").await, west.has("t").await), (1, 1));
    // One that comes now is served, too.
    let mut late = Stream::open(&running, "", None).await;
    west.put("t", "from elsewhere").await;
    assert_eq!(late.message().await.0, "from elsewhere");
}

#[tokio::test]
async fn policies_choose_a_broker_for_a_client_or_a_message() {
    let (clusters, _directory) = Clusters::new(&["east", "west", "north"]);
    let [east, west, north] = ["east", "west", "north"].map(|name| clusters.of(name));
    let brokers = [broker("east", "g"), broker("west", "g"), broker("north", "other")];
    let running = serving_by(Box::new(clusters), api(&brokers)).await;
    let counts = async || (east.has("t").await, west.has("t").await, north.has("t").await);
    for (to, header) in [("?to=north", None), ("", Some("other")), ("?to=west", Some("north:"))] {
        assert_eq!(post(&running, to, header, "x").await, 202, "{to} {header:?}");
    }
    assert_eq!(counts().await, (0, 0, 3));
    assert_eq!(post(&running, "?to=west", None, "x").await, 202);
    assert_eq!(counts().await, (0, 1, 3));
    assert_eq!(post(&running, "?to=g", None, "x").await, 202);
    assert_eq!(post(&running, "?to=nowhere", None, "x").await, 503);
    assert_eq!(post(&running, "", Some("nowhere"), "x").await, 503);
    assert_eq!(counts().await, (1, 1, 3));
    let mut of_north = Stream::open(&running, "?to=north", None).await;
    assert_eq!(post(&running, "", None, "elsewhere").await, 202);
    north.put("t", "here").await;
    assert_eq!(of_north.message().await.0, "here");
}

#[tokio::test]
async fn a_redeployment_that_changes_no_broker_lets_streams_go_on() {
    let (clusters, _directory) = Clusters::new(&["east", "west"]);
    let brokers = [broker("east", "g"), broker("west", "g")];
    let running = serving_by(Box::new(clusters), api(&brokers)).await;
    let mut stream = Stream::open(&running, "", None).await;
    let mut of_west = Stream::open(&running, "?to=west", None).await;
    let mut changed = api(&brokers);
    changed["description"] = json!("New.");
    running.gateway.deploy(from_value(changed.clone()).unwrap()).unwrap();
    assert_eq!(post(&running, "?to=west", None, "on").await, 202);
    assert_eq!((stream.message().await.0, of_west.message().await.0), ("on".to_owned(), "on".to_owned()));
    // Another way of sharing changes what clients were told.
    changed["balancing"] = json!({ "g": "random" });
    running.gateway.deploy(from_value(changed).unwrap()).unwrap();
    assert_eq!(post(&running, "?to=west", None, "more").await, 202);
    assert_eq!(of_west.message().await.0, "more");
}
