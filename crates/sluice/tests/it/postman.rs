//! The Postman collection, run by newman against the real binary, with what newman cannot do beside it: an SSE
//! client, WebSocket clients, and a receiver of webhooks.

use serde_json::{Value, json};

use crate::harness::{Gateway, Leash, Listener, Sse, Starting, kafka, kafka_topic, node};

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

    /// Runs folders by their ids, or everything where none is given.
    fn run(&mut self, folders: &str) {
        self.0.tell(folders);
        let ran = self.0.json();
        assert_eq!(ran["failures"], json!([]), "{ran:#}");
        assert!(ran["assertions"].as_u64().unwrap() > 10, "{ran}");
    }
}

/// One WebSocket connection.
fn websocket(gateway: &Gateway, path: &str) -> Leash {
    let client = Leash::start(node("websocket.cjs").arg(gateway.url(path).replace("http:", "ws:")));
    assert_eq!(client.json(), json!({ "open": "" }));
    client
}

/// The next deliveries for these subscriptions: to each the numbers in the messages, in the order of arrival.
fn deliveries(listener: &Listener, subscriptions: &[&str], count: usize) -> Vec<(String, u64)> {
    let deliveries = std::iter::from_fn(|| {
        let told = listener.next();
        Some((told["headers"]["x-subscription"].as_str().unwrap().to_owned(), told["body"].clone()))
    });
    let wanted = deliveries.filter(|(subscription, _)| subscriptions.contains(&subscription.as_str()));
    let number =
        |body: &Value| serde_json::from_str::<Value>(body.as_str().unwrap()).unwrap()["number"].as_u64();
    let mut numbers: Vec<_> =
        wanted.take(count).map(|(subscription, body)| (subscription, number(&body).unwrap())).collect();
    numbers.sort_by(|one, other| one.0.cmp(&other.0));
    numbers
}

fn expected<const N: usize>(deliveries: [(&str, u64); N]) -> [(String, u64); N] {
    deliveries.map(|(subscription, number)| (subscription.to_owned(), number))
}

async fn the_collection_is_green(broker: &Value) {
    let listener = Listener::start(&[]);
    let gateway = Starting::run().config("webhooks: { allow: ['127.0.0.0/8', '::1/128'] }").start().await;
    let mut newman = Newman::start(&gateway, listener.url(), broker);

    newman.run("webhook-use");
    let delivered = deliveries(&listener, &["demo"], 3);
    assert_eq!(delivered, expected([("demo", 1), ("demo", 2), ("demo", 3)]), "over the pause, too");
    newman.run("webhook-clean-up filter-use");
    // Each gets its own, and what is for nobody was published before the last of them.
    let delivered = deliveries(&listener, &["demo-a", "demo-b"], 4);
    assert_eq!(delivered, expected([("demo-a", 1), ("demo-a", 4), ("demo-b", 2), ("demo-b", 5)]));
    newman.run("filter-clean-up ingestion-use sse-use ws-use");

    let mut stream = Sse::open(&gateway, "/demo/sse").await;
    gateway.publish("/demo/sse", "the last one").await;
    let mut streamed = Vec::new();
    while streamed.last().is_none_or(|last| last != "the last one") {
        streamed.push(stream.message().await);
    }
    let published = "{\n  \"feature\": \"demo\",\n  \"sent\": \"to sse\"\n}";
    assert!(streamed.iter().any(|message| message == published), "{streamed:?}");

    let (mut one, other) = (websocket(&gateway, "/demo/ws"), websocket(&gateway, "/demo/ws"));
    one.tell(&json!({ "text": "from one" }).to_string());
    assert_eq!(other.json(), json!({ "binary": "ZnJvbSBvbmU=" }));
    newman.run("ingestion-clean-up sse-clean-up ws-clean-up");

    // Nothing is left behind that another run would stumble over.
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
