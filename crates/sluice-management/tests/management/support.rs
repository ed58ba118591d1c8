//! A management server on a free port, and what it is made of.

use std::{path::Path, sync::Arc};

use futures_util::future::BoxFuture;
use reqwest::{Method, RequestBuilder, StatusCode};
use serde_json::{Value, json};
use sluice_api::{BrokerConfig, EventApi};
use sluice_broker::{
    Bounds, BrokerDriver, Capabilities, ConsumeSpec, Consumer, DriverError, ErrorKind, Receipt,
};
use sluice_gateway::{DriverFactory, Gateway, GatewayOptions};
use sluice_management::{Auth, ManagementOptions, Password, Registry, router};
use sluice_message::{Message, Topic};
use sluice_store::Store;
use sluice_stream::{MemoryNotes, MemoryPositions};
use tempfile::TempDir;

pub(crate) const BASE: &str = "/management/organizations/DEFAULT/environments/DEFAULT";
pub(crate) const PASSWORD: &str = "s3cret";

pub(crate) async fn registry(directory: &Path) -> Registry {
    registry_of(directory, &gateway(GatewayOptions::default())).await
}

pub(crate) async fn registry_of(directory: &Path, gateway: &Gateway) -> Registry {
    Registry::open(Store::open(directory).await.unwrap(), gateway.clone()).await.unwrap()
}

/// A gateway whose brokers are all away.
pub(crate) fn gateway(options: GatewayOptions) -> Gateway {
    gateway_on(options, Box::new(Nowhere))
}

/// A gateway with these brokers, which forgets positions and notes with the process.
pub(crate) fn gateway_on(options: GatewayOptions, brokers: Box<dyn DriverFactory>) -> Gateway {
    Gateway::new(options, brokers, Arc::new(MemoryPositions::default()), Arc::new(MemoryNotes::default()))
}

/// A definition in our own notation, with one published plan.
pub(crate) fn api(id: &str, path: &str) -> EventApi {
    let document = json!({
        "id": id,
        "name": id,
        "paths": [{"path": path}],
        "receivers": [{"type": "http-post"}],
        "brokers": [{"type": "log", "configuration": {"topics": ["orders"]}}],
        "plans": [{"name": "Open", "security": {"type": "key-less"}}]
    });
    EventApi::from_document(document).unwrap()
}

pub(crate) struct Server {
    pub(crate) registry: Registry,
    address: String,
    client: reqwest::Client,
    serving: tokio::task::JoinHandle<()>,
    _directory: TempDir,
}

pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: reqwest::header::HeaderMap,
    pub(crate) text: String,
}

impl Server {
    pub(crate) async fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        Self::over(directory, &gateway(GatewayOptions::default())).await
    }

    /// One over this gateway, with its database in this directory.
    pub(crate) async fn over(directory: TempDir, gateway: &Gateway) -> Self {
        Self::with(directory, gateway, ManagementOptions::default()).await
    }

    /// The same with these options.
    pub(crate) async fn with(directory: TempDir, gateway: &Gateway, options: ManagementOptions) -> Self {
        let registry = registry_of(directory.path(), gateway).await;
        let auth = Auth::new(Password::parse(PASSWORD).unwrap());
        let router = router(registry.clone(), auth, options);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let serving = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { registry, address, client: reqwest::Client::new(), serving, _directory: directory }
    }

    pub(crate) fn base(&self) -> String {
        format!("http://{}{BASE}", self.address)
    }

    pub(crate) fn anonymous(&self, method: &str, path: &str) -> RequestBuilder {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        self.client.request(method, format!("http://{}{path}", self.address))
    }

    /// A request of the administrator; the path is below [`BASE`].
    pub(crate) fn request(&self, method: &str, path: &str) -> RequestBuilder {
        self.anonymous(method, &format!("{BASE}/{path}")).basic_auth("admin", Some(PASSWORD))
    }

    pub(crate) async fn call(&self, method: &str, path: &str, body: Option<&Value>) -> Answer {
        let request = self.request(method, path);
        send(match body {
            Some(body) => request.json(body),
            None => request,
        })
        .await
    }

    /// Creates an API from a body of the contract and returns its id.
    pub(crate) async fn create(&self, body: &Value) -> String {
        let answer = self.call("POST", "v4/apis", Some(body)).await;
        assert_eq!(answer.status, 201, "{}", answer.text);
        answer.json()["id"].as_str().unwrap().to_owned()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

pub(crate) async fn send(request: RequestBuilder) -> Answer {
    let response = request.send().await.unwrap();
    let (status, headers) = (response.status(), response.headers().clone());
    Answer { status, headers, text: response.text().await.unwrap() }
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap()
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers[name].to_str().unwrap()
    }

    pub(crate) fn refused(&self, status: u16, code: &str) -> &Self {
        let body = self.json();
        assert_eq!((self.status.as_u16(), &body["technicalCode"]), (status, &json!(code)), "{}", self.text);
        assert_eq!(body["http_status"], status);
        assert!(body["message"].as_str().is_some_and(|message| !message.is_empty()));
        self
    }
}

/// Opens drivers to a broker that is away for good.
struct Nowhere;

impl Nowhere {
    fn unreachable<T>() -> Result<T, DriverError> {
        Err(DriverError::new(ErrorKind::Unreachable, "There is no broker in this test."))
    }
}

impl DriverFactory for Nowhere {
    fn open(&self, _: &BrokerConfig) -> Result<Arc<dyn BrokerDriver>, DriverError> {
        Ok(Arc::new(Self))
    }
}

impl BrokerDriver for Nowhere {
    fn capabilities(&self) -> Capabilities {
        Capabilities::ALL
    }

    fn identity(&self) -> BoxFuture<'_, Result<String, DriverError>> {
        Box::pin(async { Self::unreachable() })
    }

    fn publish<'a>(&'a self, _: &'a Topic, _: Message) -> BoxFuture<'a, Result<Receipt, DriverError>> {
        Box::pin(async { Self::unreachable() })
    }

    fn consume(&self, _: ConsumeSpec) -> BoxFuture<'_, Result<Box<dyn Consumer>, DriverError>> {
        Box::pin(async { Self::unreachable() })
    }

    fn bounds<'a>(&'a self, _: &'a [Topic]) -> BoxFuture<'a, Result<Bounds, DriverError>> {
        Box::pin(async { Self::unreachable() })
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {})
    }
}
