//! Our own contract: what is served, who is connected, how deliveries stand, and replays in all contracts.

use std::{net::SocketAddr, sync::Arc};

use serde_json::{Value, json};
use sluice_api::{ApiId, BrokerConfig, EventApi, PlanId, offers};
use sluice_broker::{BrokerDriver, DriverError, Log, LogOptions, Spool, SpoolMetrics, Spools};
use sluice_gateway::{DriverFactory, Gateway, GatewayOptions, ListenOptions, Listeners};
use sluice_management::{Expected, NewApplication, NewSubscription, Side};
use sluice_message::Message;
use sluice_store::{Catalogue, ConsumerConfiguration};

use crate::support::{Answer, BASE, PASSWORD, Server, api, gateway_on, send};

/// The embedded log behind every API, with a place for spools.
struct Logs(Log, Spools);

impl DriverFactory for Logs {
    fn open(&self, _: &BrokerConfig) -> Result<Arc<dyn BrokerDriver>, DriverError> {
        Ok(Arc::new(self.0.clone()))
    }

    fn spool(
        &self,
        api: &ApiId,
        settings: Option<&sluice_api::Spool>,
        broker: &BrokerConfig,
        driver: Arc<dyn BrokerDriver>,
        metrics: SpoolMetrics,
    ) -> Result<Arc<Spool>, DriverError> {
        self.1.spool(api, settings, broker, driver, metrics)
    }
}

/// A server over a gateway that serves, with one started API at `/orders`.
struct Stage {
    server: Server,
    gateway: Gateway,
    log: Log,
}

impl Stage {
    async fn set(definition: EventApi) -> Self {
        Self::set_on(definition, LogOptions::default()).await
    }

    async fn set_on(definition: EventApi, options: LogOptions) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let log = Log::open(directory.path().join("log"), options).unwrap();
        let spools = Spools::new(directory.path().join("spool"), LogOptions::default());
        let gateway = gateway_on(GatewayOptions::default(), Box::new(Logs(log.clone(), spools)));
        let server = Server::over(directory, &gateway).await;
        let id = definition.id.clone();
        server.registry.create(definition, Catalogue::new()).await.unwrap();
        server.registry.start(&id, Expected::Any).await.unwrap();
        Self { server, gateway, log }
    }

    async fn listen(&self) -> SocketAddr {
        let listeners = Listeners::new(ListenOptions::default());
        let (socket, address) = Listeners::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let gateway = self.gateway.clone();
        listeners.serve(socket, move |request, client| {
            let gateway = gateway.clone();
            async move { gateway.serve(request, client).await }
        });
        address
    }

    /// Subscribes an application of this name, to be called at this address.
    async fn subscribe(&self, name: &str, url: &str) -> String {
        let application = NewApplication {
            name: name.to_owned(),
            description: String::new(),
            client_id: None,
            catalogue: Catalogue::new(),
        };
        let application = self.server.registry.create_application(application).await.unwrap();
        let consumer = ConsumerConfiguration {
            connector: "webhook".to_owned(),
            channel: None,
            callback: sluice_api::Callback::to(url),
            hub: None,
        };
        let wanted = NewSubscription {
            api: ApiId("orders".to_owned()),
            plan: PlanId("push".to_owned()),
            application: application.id.clone(),
            consumer: Some(consumer),
            metadata: [("feature".to_owned(), "a".to_owned())].into(),
            message: None,
        };
        self.server.registry.subscribe(wanted, Side::Publisher).await.unwrap().id.0.clone()
    }

    async fn get(&self, path: &str) -> Answer {
        call(&self.server, "GET", path, None).await
    }

    async fn replay(&self, subscription: &str, body: &Value) -> Answer {
        let path = format!("apis/orders/subscriptions/{subscription}/_replay");
        call(&self.server, "POST", &path, Some(body)).await
    }
}

/// A call of our own contract.
pub(crate) async fn call(server: &Server, method: &str, path: &str, body: Option<&Value>) -> Answer {
    let request = server.anonymous(method, &format!("/api/v1/{path}")).basic_auth("admin", Some(PASSWORD));
    send(match body {
        Some(body) => request.json(body),
        None => request,
    })
    .await
}

pub(crate) fn refused(answer: &Answer, status: u16, code: &str) -> Value {
    let body = answer.json();
    assert_eq!((answer.status.as_u16(), &body["code"]), (status, &json!(code)), "{}", answer.text);
    assert!(body["message"].as_str().is_some_and(|message| !message.is_empty()));
    body
}

/// Orders on the embedded log, taken by POST and handed out as events and to subscribers.
fn orders() -> EventApi {
    let mut orders = api("orders", "/orders");
    let receivers =
        json!([{ "type": "http-post" }, { "type": "sse", "qos": "at-least-once" }, { "type": "webhook" }]);
    orders.receivers = sluice_api::from_value(receivers).unwrap();
    let push = json!({ "id": "push", "name": "Push", "security": { "type": "push" } });
    orders.plans.push(sluice_api::from_value(push).unwrap());
    orders
}

#[tokio::test]
async fn the_table_of_promises_is_the_one_that_validation_asks() {
    let server = Server::start().await;
    let table = call(&server, "GET", "qos", None).await.json();
    assert_eq!(table, json!({ "data": offers() }));
    assert!(
        table["data"]
            .as_array()
            .unwrap()
            .contains(&json!({ "receiver": "http-post", "broker": "mock", "qos": ["none", "auto"] }))
    );
}

#[tokio::test]
async fn an_api_is_shown_as_it_is_served() {
    let stage = Stage::set(orders()).await;
    let shown = stage.get("apis/orders").await.json();
    let expected = json!({
        "id": "orders", "name": "orders", "version": "1.0", "description": "",
        "origin": { "type": "management" }, "deployed": true, "edited": false,
        "paths": [{ "path": "/orders" }], "broker": "log",
        "streams": { "open": 0, "farthestBehind": 0 }, "subscriptions": 0, "faults": []
    });
    for (field, value) in expected.as_object().unwrap() {
        assert_eq!(shown[field], *value, "{field}");
    }
    let all = ["none", "auto", "at-most-once", "at-least-once"];
    assert_eq!(shown["receivers"][1], json!({ "type": "sse", "qos": "at-least-once", "offeredQos": all }));
    let listed = stage.get("apis").await.json();
    assert_eq!((&listed["data"][0], &listed["pagination"]["totalCount"]), (&shown, &json!(1)));

    let mut edited = orders();
    edited.name = "Renamed".to_owned();
    stage.server.registry.update(&edited.id.clone(), Expected::Any, edited, Catalogue::new()).await.unwrap();
    let shown = stage.get("apis/orders").await.json();
    assert_eq!((&shown["name"], &shown["edited"]), (&json!("orders"), &json!(true)));
    stage.server.registry.stop(&ApiId("orders".to_owned()), Expected::Any).await.unwrap();
    assert_eq!(stage.get("apis/orders").await.json()["deployed"], false);
    let in_file = vec![("filed.yaml".into(), Ok(api("filed", "/filed")))];
    assert_eq!(stage.server.registry.sync_files(in_file).await.unwrap(), []);
    let shown = stage.get("apis/filed").await.json();
    assert_eq!(shown["origin"], json!({ "type": "file", "file": "filed.yaml" }));
}

#[tokio::test]
async fn who_is_connected_is_told_with_address_and_plan() {
    let stage = Stage::set(orders()).await;
    let address = stage.listen().await;
    let connect = async || {
        let request = reqwest::Client::new().get(format!("http://{address}/orders"));
        let stream = request.header("accept", "text/event-stream").send().await.unwrap();
        assert_eq!(stream.status(), 200);
        stream
    };
    let (first, _second) = (connect().await, connect().await);
    let shown = stage.get("apis/orders/streams?limit=1").await.json();
    assert_eq!(shown["summary"], json!({ "open": 2, "farthestBehind": 0 }));
    let [stream] = &shown["data"].as_array().unwrap()[..] else { panic!("{shown}") };
    assert_eq!((&stream["receiver"], &stream["plan"]), (&json!("sse"), &json!("orders-open")));
    assert_eq!((&stream["behind"], &stream["skipped"]), (&json!(0), &json!(0)));
    assert!(stream["client"].as_str().unwrap().starts_with("127.0.0.1:"));
    assert!(stream["since"].as_str().unwrap().ends_with('Z'));
    assert_eq!(stage.get("apis/orders").await.json()["streams"]["open"], 2);
    assert_eq!(stage.get("apis/orders/slow-clients").await.json(), json!({ "data": [] }));
    drop(first);
    while stage.get("apis/orders/streams").await.json()["summary"]["open"] != 1 {}
}

#[tokio::test]
async fn errors_have_a_code_a_message_and_a_path() {
    let stage = Stage::set(orders()).await;
    assert_eq!(refused(&stage.get("apis/none").await, 404, "api.notFound").get("path"), None);
    for path in ["streams", "slow-clients", "subscriptions", "subscriptions/x"] {
        refused(&stage.get(&format!("apis/none/{path}")).await, 404, "api.notFound");
    }
    refused(&stage.get("apis/orders/subscriptions/none").await, 404, "subscription.notFound");
    refused(&stage.get("no/such/place").await, 404, "route.notFound");
    refused(&call(&stage.server, "DELETE", "qos", None).await, 405, "route.method");
    let anonymous = send(stage.server.anonymous("GET", "/api/v1/apis")).await;
    refused(&anonymous, 401, "auth.required");
    assert!(anonymous.header("www-authenticate").starts_with("Basic realm="));
    for limit in ["0", "1001", "all", "-1"] {
        let answer = stage.get(&format!("apis/orders/streams?limit={limit}")).await;
        assert_eq!(refused(&answer, 400, "document.field")["path"], "limit");
    }
    for (query, path) in [("page=0", "page"), ("perPage=10001", "perPage")] {
        let answer = stage.get(&format!("apis?{query}")).await;
        assert_eq!(refused(&answer, 400, "document.field")["path"], path);
    }
    for (method, path) in [("POST", "_retry"), ("DELETE", "set-aside")] {
        let spool = call(&stage.server, method, &format!("apis/orders/spool/{path}"), None).await;
        refused(&spool, 400, "spool.none");
    }
    let status = stage.get("apis/orders/subscriptions?status=asleep").await;
    assert_eq!(refused(&status, 400, "subscription.status.invalid")["path"], "status");
}

#[tokio::test]
async fn what_is_set_aside_in_a_spool_is_discarded_and_counted() {
    let mut orders = orders();
    orders.guarantees.spool = Some(sluice_api::Spool::default());
    // The spool takes larger messages than the log.
    let options = LogOptions { max_message_bytes: 1000, ..LogOptions::default() };
    let stage = Stage::set_on(orders, options).await;
    let url = format!("http://{}/orders", stage.listen().await);
    let posted = reqwest::Client::new().post(url).body("x".repeat(2000)).send().await.unwrap();
    assert_eq!(posted.status(), 202);
    while stage.get("apis/orders").await.json()["spool"]["setAsideMessages"] != 1 {}
    let discarded = call(&stage.server, "DELETE", "apis/orders/spool/set-aside", None).await;
    assert_eq!((discarded.status.as_u16(), discarded.json()), (200, json!({ "messages": 1 })));
    assert_eq!(stage.get("apis/orders").await.json()["spool"]["setAsideMessages"], 0);
    let discarded = call(&stage.server, "DELETE", "apis/orders/spool/set-aside", None).await;
    assert_eq!(discarded.json(), json!({ "messages": 0 }));
    let none = call(&stage.server, "DELETE", "apis/none/spool/set-aside", None).await;
    refused(&none, 404, "api.notFound");
}

#[tokio::test]
async fn a_subscription_is_shown_with_its_delivery_and_without_secrets() {
    let stage = Stage::set(orders()).await;
    let id = stage.subscribe("First", "https://hooks.example/in?key=hunter2").await;
    let other = stage.subscribe("Second", "https://hooks.example/other").await;
    let shown = stage.get(&format!("apis/orders/subscriptions/{id}")).await;
    assert!(!shown.text.contains("hunter2"), "{}", shown.text);
    let shown = shown.json();
    assert_eq!((&shown["status"], &shown["consumerStatus"]), (&json!("accepted"), &json!("started")));
    assert_eq!((&shown["plan"], &shown["metadata"]), (&json!("push"), &json!({ "feature": "a" })));
    assert_eq!(shown["callbackUrl"], "https://hooks.example/in");
    assert!(shown["delivery"].is_object(), "{shown}");
    let page = stage.get("apis/orders/subscriptions?perPage=1&page=2&status=accepted,paused").await.json();
    assert_eq!((&page["data"][0]["id"], &page["pagination"]["totalCount"]), (&json!(other), &json!(2)));
    let mine = format!("apis/orders/subscriptions?application={}", shown["application"].as_str().unwrap());
    assert_eq!(stage.get(&mine).await.json()["pagination"]["totalCount"], 1);
    let closed = stage.get("apis/orders/subscriptions?status=closed").await.json();
    assert_eq!(closed["data"], json!([]));
}

#[tokio::test]
async fn a_replay_that_can_not_be_is_refused_with_its_reason() {
    let stage = Stage::set(orders()).await;
    let id = stage.subscribe("First", "https://hooks.example/in").await;
    for (body, code, path) in [
        (json!({}), "replay.invalid", None),
        (json!({ "position": "orders@0#0", "deadLetters": true }), "replay.invalid", None),
        (json!({ "position": "yesterday" }), "replay.position.invalid", Some("position")),
        (json!({ "since": "yesterday" }), "document.field", Some("since")),
        (json!({ "position": "bills@0#0" }), "replay.position.unknown", Some("position")),
        (json!({ "position": "orders@0#41" }), "replay.position.unknown", Some("position")),
        (json!({ "deadLetters": true }), "replay.no-dead-letters", None),
    ] {
        let answer = stage.replay(&id, &body).await;
        let path = path.map_or(Value::Null, Value::from);
        assert_eq!(refused(&answer, 400, code)["path"], path, "{body}");
    }
    refused(&stage.replay("none", &json!({ "deadLetters": true })).await, 404, "subscription.notFound");
    let subscription = sluice_api::SubscriptionId(id.clone());
    stage.server.registry.pause_subscription(&subscription).await.unwrap();
    let paused = stage.replay(&id, &json!({ "position": "orders@0#-1" })).await;
    refused(&paused, 409, "replay.not-served");
    stage.server.registry.close_subscription(&subscription).await.unwrap();
    let closed = stage.replay(&id, &json!({ "position": "orders@0#-1" })).await;
    refused(&closed, 400, "subscription.closed");
}

#[tokio::test]
async fn a_replay_is_asked_for_in_every_contract() {
    let stage = Stage::set(orders()).await;
    let id = stage.subscribe("First", "https://hooks.example/in").await;
    let published =
        stage.log.publish(&"orders".into(), Message::builder().payload("hello").build()).await.unwrap();
    assert!(published.place.is_some());
    for base in ["/api/v1".to_owned(), format!("{BASE}/v4"), "/management/v2/environments/DEFAULT".to_owned()]
    {
        let path = format!("{base}/apis/orders/subscriptions/{id}/_replay");
        for body in [json!({ "position": "orders@0#-1" }), json!({ "since": "1970-01-01T00:00:00Z" })] {
            let request = stage.server.anonymous("POST", &path).basic_auth("admin", Some(PASSWORD));
            let answer = send(request.json(&body)).await;
            assert_eq!((answer.status.as_u16(), &*answer.text), (202, ""), "{path}");
        }
    }
}
