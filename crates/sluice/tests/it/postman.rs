//! The Postman collection, run by newman against the real binary, with what newman cannot do beside it: an SSE
//! client, WebSocket clients, and a receiver of webhooks.

use serde_json::{Value, json};

use crate::harness::{Gateway, Leash, Listener, Sse, Starting, kafka, kafka_topic, node};

/// The folders of the collection.
const FOLDERS: [&str; 5] = ["ingestion", "sse", "ws", "webhook", "filter"];

/// newman, with the collection pointed at a gateway.
struct Newman(Leash);

impl Newman {
    fn start(gateway: &Gateway, callback_url: &str, broker: &Value) -> Self {
        let mut variables = json!({
            "gateway_host": gateway.url(""),
            "management_host": gateway.management_url(""),
            "callback_url": callback_url,
            "pause_ms": "0",
        });
        variables.as_object_mut().unwrap().extend(broker.as_object().unwrap().clone());
        let collection = concat!(env!("CARGO_MANIFEST_DIR"), "/../../postman/sluice.postman_collection.json");
        let mut node = node("collection.cjs");
        Self(Leash::start(node.arg(collection).arg(variables.to_string())))
    }

    /// Runs the same part of all folders, or everything where `part` is empty.
    fn run(&mut self, part: &str) {
        let folders = FOLDERS.map(|folder| format!("{folder}-{part}"));
        self.0.tell(&if part.is_empty() { String::new() } else { folders.join(" ") });
        let ran = self.0.json();
        assert_eq!(ran["failures"], json!([]), "{ran:#}");
        assert!(ran["assertions"].as_u64().unwrap() > 30, "{ran}");
    }
}

/// One WebSocket connection.
fn websocket(gateway: &Gateway, path: &str) -> Leash {
    let client = Leash::start(node("websocket.cjs").arg(gateway.url(path).replace("http:", "ws:")));
    assert_eq!(client.json(), json!({ "open": "" }));
    client
}

/// The next deliveries, as the subscription each was for and the number in its body, per subscription in the
/// order of arrival.
fn deliveries(listener: &Listener, count: usize) -> Vec<(String, u64)> {
    let mut deliveries: Vec<_> = (0..count)
        .map(|_| {
            let told = listener.next();
            let body: Value = serde_json::from_str(told["body"].as_str().unwrap()).unwrap();
            let subscription = told["headers"]["x-subscription"].as_str().unwrap().to_owned();
            (subscription, body["number"].as_u64().unwrap())
        })
        .collect();
    deliveries.sort_by(|one, other| one.0.cmp(&other.0));
    deliveries
}

async fn the_collection_is_green(broker: &Value) {
    let listener = Listener::start(&[]);
    let gateway = Starting::run().config("delivery: { allow: ['127.0.0.0/8', '::1/128'] }").start().await;
    let mut newman = Newman::start(&gateway, listener.url(), broker);
    newman.run("use");

    let mut stream = Sse::open(&gateway, "/demo/sse").await;
    gateway.publish("/demo/sse", "the last one").await;
    let mut streamed = Vec::new();
    while streamed.last().is_none_or(|last| last != "the last one") {
        streamed.push(stream.message().await);
    }
    assert!(
        streamed.contains(&"{\n  \"feature\": \"demo\",\n  \"sent\": \"to sse\"\n}".to_owned()),
        "{streamed:?}"
    );

    let (mut one, other) = (websocket(&gateway, "/demo/ws"), websocket(&gateway, "/demo/ws"));
    one.tell(&json!({ "text": "from one" }).to_string());
    let sent = json!({ "binary": "ZnJvbSBvbmU=" });
    assert!(
        std::iter::from_fn(|| other.line()).any(|line| serde_json::from_str::<Value>(&line).unwrap() == sent)
    );

    let expected =
        [("demo", 1), ("demo", 2), ("demo", 3), ("demo-a", 1), ("demo-a", 4), ("demo-b", 2), ("demo-b", 5)];
    let expected = expected.map(|(subscription, number)| (subscription.to_owned(), number));
    assert_eq!(deliveries(&listener, expected.len()), expected);
    newman.run("clean-up");

    // Nothing is left behind that a second run would stumble over.
    newman.run("");
}

#[tokio::test]
async fn the_collection_is_green_on_the_embedded_log() {
    the_collection_is_green(&json!({ "endpoint_type": "log" })).await;
}

#[tokio::test]
async fn the_collection_is_green_on_kafka() {
    let topic = kafka_topic("postman", 1).await;
    let broker = json!({ "endpoint_type": "kafka", "bootstrap_servers": kafka(), "topic": topic });
    the_collection_is_green(&broker).await;
}
