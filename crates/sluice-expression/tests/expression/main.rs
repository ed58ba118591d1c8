//! What the language does and what it refuses, by its public face.

#![expect(clippy::panic, reason = "a test helper that fails says for which expression")]

mod bounds;
mod classes;
mod collections;
mod examples;
mod language;
mod refusals;
mod roots;
mod xpath;

use std::collections::BTreeMap;

use serde_json::json;
use sluice_expression::{
    Api, Environment, EvalContext, EvalError, Expression, Node, Request, Response, Subscription,
    SubscriptionKind, Value,
};
use sluice_message::{Attributes, Headers, Message, Offset, Partition, Place, Topic};

/// What the expressions of these tests look at.
struct World {
    message: Message,
    metadata: BTreeMap<String, String>,
    request: Request,
    response: Response,
    attributes: Attributes,
    api: Api,
    environment: Environment,
}

const PAYLOAD: &str = r#"{"feature":"demo-filter","price":12.5,"count":3,"ok":true,"none":null,
    "tags":["a","b"],"deep":{"er":{"x":"y"}},"text":"{\"in\":1}",
    "book":[{"title":"A","price":8},{"title":"B","price":12},{"title":"C"}]}"#;

impl World {
    fn new() -> Self {
        let headers: Headers =
            [("Foo", "bar-value"), ("x-header-test", "one"), ("X-Header-Test", "two")].into_iter().collect();
        let place = Place { topic: Topic::from("orders"), partition: Partition(3), offset: Offset(42) };
        let mut attributes = Attributes::default();
        attributes.set("left", json!("by a policy"));
        let message = Message::builder().payload(PAYLOAD).key("the-key").headers(headers);
        let message = message.metadata("extra", "more").id("id-1").place(place).attributes(attributes);
        Self {
            message: message.build(),
            metadata: texts(&[
                ("feature", "demo-filter"),
                ("bar", "bar-value"),
                ("pattern", "demo-.*"),
                ("both", "one,two"),
            ]),
            request: request(),
            response: Response {
                status: 202,
                headers: [("Content-Type", "text/plain")].into_iter().collect(),
            },
            attributes: context_attributes(),
            api: Api {
                id: "api-1".into(),
                name: "Orders".into(),
                version: "1.0".into(),
                properties: texts(&[("region", "eu"), ("name_a", "Anna")]),
            },
            environment: environment(),
        }
    }

    fn context(&self) -> EvalContext<'_> {
        let subscription = Subscription {
            application_name: Some("shop"),
            ..Subscription::new("sub-1", SubscriptionKind::Push, &self.metadata)
        };
        EvalContext::new()
            .with_message(&self.message)
            .with_subscription(Some(subscription))
            .with_request(Some(&self.request))
            .with_response(Some(&self.response))
            .with_attributes(&self.attributes)
            .with_api(&self.api)
            .with_environment(&self.environment)
    }
}

fn request() -> Request {
    let headers = [
        ("X-Topic-Override-Request-Level", "other"),
        ("X-Topic-Override-Message-Level", "another"),
        ("X-New-Topic", "new"),
        ("X-AutoOffsetReset", "earliest"),
        ("X-Condition-Flow-Selection", "root-condition"),
    ];
    Request {
        id: "req-1".into(),
        transaction_id: "tx-1".into(),
        uri: "/demo/stores/123?q=1&q=2&flag=".into(),
        path: "/demo/stores/123".into(),
        context_path: "/demo".into(),
        path_info: "/stores/123".into(),
        method: "POST".into(),
        scheme: "http".into(),
        host: "localhost:8082".into(),
        version: "HTTP_1_1".into(),
        timestamp_ms: 1_793_894_829_045,
        remote_address: "127.0.0.1".into(),
        local_address: "127.0.0.2".into(),
        headers: headers.into_iter().collect(),
        params: [("q", "1"), ("q", "2"), ("flag", "")].map(|(name, text)| (name.into(), text.into())).into(),
        content: Some(r#"{"foo":{"bar":"something"},"n":[1,2]}"#.into()),
    }
}

fn context_attributes() -> Attributes {
    let mut attributes = Attributes::default();
    attributes.set("gravitee.attribute.api", json!("api-1"));
    attributes.set("gravitee.attribute.plan", json!("plan-1"));
    attributes.set("my-attribute", json!("my-value"));
    attributes.set("jwt.claims", json!({"iss": "issuer", "roles": ["reader", "writer"]}));
    attributes
}

fn environment() -> Environment {
    Environment {
        dictionaries: [("cities".to_owned(), texts(&[("par", "Paris")]))].into(),
        secrets: texts(&[
            ("/vault/secret/rabbitmq:host", "rabbit"),
            ("/vault/secret/kafka:bootstrap", "kafka:9092"),
            ("/vault/secret/solace:url", "tcp://solace"),
        ]),
        node: Node {
            id: "node-1".into(),
            version: "0.1.0".into(),
            tenant: Some("blue".into()),
            zone: None,
            sharding_tags: vec!["internal".into(), "eu".into()],
        },
        endpoints: texts(&[("primary", "kafka://one:9092")]),
    }
}

fn texts(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect()
}

/// Whether the condition holds in the world of these tests.
fn holds(source: &str) -> bool {
    let expression = Expression::parse(source).unwrap_or_else(|error| panic!("{source}: {error}"));
    expression.holds(&World::new().context()).unwrap_or_else(|error| panic!("{source}: {error}"))
}

/// Why there is no value in the world of these tests.
fn failure(source: &str) -> EvalError {
    let expression = Expression::parse(source).unwrap_or_else(|error| panic!("{source}: {error}"));
    let world = World::new();
    let value = expression.evaluate(&world.context());
    value.err().unwrap_or_else(|| panic!("{source} has a value"))
}

/// The text of the value, made by a template around the expression.
fn text(source: &str) -> String {
    let expression =
        Expression::parse(&format!("<{source}>")).unwrap_or_else(|error| panic!("{source}: {error}"));
    let world = World::new();
    match expression.evaluate(&world.context()).unwrap_or_else(|error| panic!("{source}: {error}")) {
        Value::Text(text) => {
            let text = text.strip_prefix('<').and_then(|text| text.strip_suffix('>'));
            text.unwrap_or_default().to_owned()
        }
        other => panic!("{source} gave {other:?}"),
    }
}
