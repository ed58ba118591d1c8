//! A gateway on the embedded log, with a listener.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use futures_util::{FutureExt, future::BoxFuture};
use serde_json::{Value, json};
use sluice_api::{BrokerConfig, from_value};
use sluice_broker::{
    Bounds, BrokerDriver, Capabilities, ConsumeSpec, Consumer, DriverError, ErrorKind, Log, LogOptions, Mock,
    Receipt,
};
use sluice_gateway::{DriverFactory, Gateway, GatewayOptions, ListenOptions, Listeners};
use sluice_message::{Message, Topic};
use sluice_stream::{MemoryNotes, MemoryPositions};
use tempfile::TempDir;

/// A gateway that listens; it ends with the test.
pub(crate) struct Running {
    pub(crate) gateway: Gateway,
    pub(crate) address: SocketAddr,
    pub(crate) listeners: Listeners,
    _directory: Option<TempDir>,
}

/// The embedded log, the mock, and for any other kind a broker that is away.
struct Brokers(Log);

impl DriverFactory for Brokers {
    fn open(&self, config: &BrokerConfig) -> Result<Arc<dyn BrokerDriver>, DriverError> {
        Ok(match config {
            BrokerConfig::Log(_) => Arc::new(self.0.clone()),
            BrokerConfig::Mock(mock) => Arc::new(Mock::new(mock.clone())),
            _ => Arc::new(Away),
        })
    }
}

/// A broker that does not answer.
struct Away;

fn away<T>() -> Result<T, DriverError> {
    Err(DriverError::new(ErrorKind::Unreachable, "No answer from 10.1.2.3:9092."))
}

impl BrokerDriver for Away {
    fn capabilities(&self) -> Capabilities {
        Capabilities { groups: false, sharing: false, ..Capabilities::ALL }
    }

    fn identity(&self) -> BoxFuture<'_, Result<String, DriverError>> {
        async { away() }.boxed()
    }

    fn publish<'a>(&'a self, _: &'a Topic, _: Message) -> BoxFuture<'a, Result<Receipt, DriverError>> {
        async { away() }.boxed()
    }

    fn consume(&self, _: ConsumeSpec) -> BoxFuture<'_, Result<Box<dyn Consumer>, DriverError>> {
        async { away() }.boxed()
    }

    fn bounds<'a>(&'a self, _: &'a [Topic]) -> BoxFuture<'a, Result<Bounds, DriverError>> {
        async { away() }.boxed()
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        async {}.boxed()
    }
}

/// A gateway with this one event API.
pub(crate) async fn serving(api: Value) -> Running {
    serving_within(api, ListenOptions::default()).await
}

/// A gateway with this one event API and these bounds of connections.
pub(crate) async fn serving_within(api: Value, options: ListenOptions) -> Running {
    let directory = tempfile::tempdir().unwrap();
    let log = Log::open(directory.path().join("log"), LogOptions::default()).unwrap();
    Running { _directory: Some(directory), ..serving_all(Box::new(Brokers(log)), api, options).await }
}

/// A gateway with this one event API and these brokers.
pub(crate) async fn serving_by(brokers: Box<dyn DriverFactory>, api: Value) -> Running {
    serving_all(brokers, api, ListenOptions::default()).await
}

async fn serving_all(brokers: Box<dyn DriverFactory>, api: Value, options: ListenOptions) -> Running {
    let positions = Arc::new(MemoryPositions::default());
    let gateway =
        Gateway::new(GatewayOptions::default(), brokers, positions, Arc::new(MemoryNotes::default()));
    gateway.deploy(from_value(api).unwrap()).unwrap();
    let listeners = Listeners::new(options);
    let (socket, address) = Listeners::bind(([127, 0, 0, 1], 0).into()).await.unwrap();
    let serving = gateway.clone();
    listeners.serve(socket, move |request, ends| {
        let gateway = serving.clone();
        async move { gateway.serve(request, ends).await }
    });
    Running { gateway, address, listeners, _directory: None }
}

/// An open API at `/a` with these receivers, on a topic of the embedded log.
pub(crate) fn on_log(receivers: Value) -> Value {
    api(receivers, json!({ "type": "log", "configuration": { "topics": ["t"] } }))
}

/// An open API at `/a` with these receivers and this broker.
pub(crate) fn api(receivers: Value, mut broker: Value) -> Value {
    broker["name"] = "b".into();
    let mut api = json!({
        "id": "a",
        "name": "a",
        "paths": [{ "path": "/a" }],
        "brokers": [broker],
        "plans": [{ "id": "open", "name": "Open", "security": { "type": "key-less" }, "status": "published" }],
        "limits": { "maxBodyBytes": 1000 },
    });
    api["receivers"] = receivers;
    api
}

impl Running {
    pub(crate) fn url(&self, rest: &str) -> String {
        format!("http://{}/a{rest}", self.address)
    }

    /// Stops everything; fails when something does not end.
    pub(crate) async fn stop(self) {
        let (done, ()) =
            tokio::join!(self.listeners.shut_down(Duration::from_secs(20)), self.gateway.shut_down());
        assert!(done, "a connection did not end");
    }

    /// Waits until a line of the metrics is this.
    pub(crate) async fn metric(&self, line: &str) {
        while !self.gateway.metrics_text().lines().any(|found| found == line) {
            tokio::task::yield_now().await;
        }
    }
}
