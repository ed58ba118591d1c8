//! Requests of senders, over a broker that answers when a test says so.

mod deliveries;
mod events;
mod signatures;

use http::request::Builder;
use http_body_util::Full;
use serde_json::json;
use sluice_api::{Secret, WebhookReceiverConfig};
use sluice_broker::ErrorKind;
use sluice_policy::WebhookSecret;
use tokio::sync::mpsc::UnboundedSender;

use super::*;
use crate::testing::{self, Gated};

/// An API over a broker with one topic, and the settings of its receiver.
struct Bench {
    binding: Arc<Binding>,
    settings: WebhookReceiverConfig,
    broker: Arc<Gated>,
    answer: UnboundedSender<Result<(), ErrorKind>>,
}

impl Bench {
    fn new(settings: Value) -> Self {
        let (broker, answer) = Gated::new();
        let mut binding = testing::binding_of(&json!({}));
        binding.publisher = Arc::clone(&broker) as _;
        binding.publish_topics.truncate(1);
        let settings = sluice_api::from_value(settings).unwrap();
        Self { binding: Arc::new(binding), settings, broker, answer }
    }

    /// The same API, over a broker of its own, seen as one of its channels.
    fn channel(&self, name: &str) -> Self {
        let other = Self::new(serde_json::to_value(&self.settings).unwrap());
        let mut binding = Arc::into_inner(other.binding).unwrap();
        (binding.channel, binding.notes) = (Some(name.into()), Arc::clone(&self.binding.notes));
        Self { binding: Arc::new(binding), ..other }
    }

    async fn send(&self, request: Builder, body: impl Into<Bytes>) -> Result<Response<Body>, Refusal> {
        let request = request.body(Full::new(body.into())).unwrap();
        let caller = testing::caller(&self.binding, "webhook-receiver");
        serve(&self.binding, &self.settings, &caller, request).await
    }

    /// Sends what the broker takes, and gives the message that it has.
    async fn taken(&self, request: Builder, body: impl Into<Bytes>) -> Message {
        self.answer.send(Ok(())).unwrap();
        assert!(!is_replayed(&self.send(request, body).await.unwrap()));
        self.broker.messages().pop().unwrap()
    }

    /// Sends what is refused without the broker, and gives status and code.
    async fn refused(&self, request: Builder, body: impl Into<Bytes>) -> (u16, &'static str) {
        let refusal = self.send(request, body).await.unwrap_err();
        assert!(self.broker.messages().is_empty());
        (refusal.status.as_u16(), refusal.code)
    }
}

fn post() -> Builder {
    Request::post("/a/webhook-receiver?topic=t")
}

fn is_replayed(answer: &Response<Body>) -> bool {
    assert_eq!(answer.status(), StatusCode::ACCEPTED);
    answer.headers().get(idempotency::REPLAYED).is_some_and(|value| value == "true")
}

#[tokio::test]
async fn a_body_is_kept_byte_for_byte_with_the_headers_that_are_listed() {
    let bench = Bench::new(json!({ "headers": ["x-event", "x-shop-*"] }));
    let body = [0, 159, 146, 150, b'\r', b'\n', 0xff];
    let request = post()
        .header("content-type", "application/x-odd")
        .header("content-encoding", "gzip")
        .header("x-event", "one")
        .header("X-Event", "two")
        .header("x-shop-id", "7")
        .header("x-shop-token", "secret")
        .header("x-other", "1")
        .header("authorization", "Bearer secret")
        .header("cookie", "secret")
        .header("x-shop-hop", "1")
        .header("connection", "x-shop-hop");
    let message = bench.taken(request, body.to_vec()).await;
    assert_eq!((message.payload(), message.key()), (&body[..], None));
    let expected: Headers = [
        ("content-type", "application/x-odd"),
        ("content-encoding", "gzip"),
        ("x-event", "one"),
        ("x-event", "two"),
        ("x-shop-id", "7"),
    ]
    .into_iter()
    .collect();
    assert_eq!(*message.headers(), expected);
    assert_eq!((bench.binding.metrics.published.get(), bench.binding.metrics.publish_failed.get()), (1, 0));
}

#[tokio::test]
async fn a_body_at_the_limit_is_taken_and_one_byte_more_is_refused() {
    let bench = Bench::new(json!({}));
    assert_eq!(bench.refused(post(), vec![b'x'; 1001]).await, (413, "request.body.too-large"));
    assert_eq!(bench.taken(post(), vec![b'x'; 1000]).await.payload().len(), 1000);
    assert_eq!(bench.binding.metrics.publish_failed.get(), 1);
}

#[tokio::test]
async fn what_the_broker_does_not_take_is_not_accepted() {
    let bench = Bench::new(json!({}));
    bench.answer.send(Err(ErrorKind::Unreachable)).unwrap();
    let refusal = bench.send(post(), "x").await.unwrap_err();
    assert_eq!((refusal.status.as_u16(), refusal.code), (503, "broker.unreachable"));
}

#[tokio::test]
async fn a_record_key_comes_from_a_header_or_from_the_body() {
    let by_header = Bench::new(json!({ "key": { "header": "X-Shop" } }));
    assert_eq!(by_header.taken(post().header("x-shop", "a"), "x").await.key().unwrap(), "a");
    assert_eq!(by_header.taken(post(), "x").await.key(), None);
    let by_path = Bench::new(json!({ "key": { "jsonPath": "$.order['id']" } }));
    for (body, key) in [
        (r#"{"order":{"id":"a"}}"#, Some("a")),
        (r#"{"order":{"id":17}}"#, Some("17")),
        (r#"{"order":{"id":true}}"#, Some("true")),
        (r#"{"order":{"id":null}}"#, None),
        (r#"{"order":{"id":""}}"#, None),
        (r#"{"order":{"id":[1]}}"#, None),
        ("no json", None),
        ("", None),
    ] {
        let message = by_path.taken(post(), body).await;
        assert_eq!(
            (message.key().map(|key| &**key), message.payload()),
            (key.map(str::as_bytes), body.as_bytes())
        );
    }
}

#[tokio::test]
async fn a_compressed_body_that_has_to_be_read_is_refused() {
    let in_body = json!({ "jsonPath": "$.id" });
    for settings in
        [json!({ "key": in_body }), json!({ "deliveryId": in_body }), json!({ "cloudEvents": "accept" })]
    {
        let bench = Bench::new(settings);
        let request = post().header("content-type", "application/cloudevents+json");
        let compressed = request.header("content-encoding", "gzip");
        assert_eq!(bench.refused(compressed, "x").await, (415, "webhook.content-encoding"));
    }
    let bench = Bench::new(json!({ "key": in_body }));
    let message = bench.taken(post().header("content-encoding", "identity"), r#"{"id":1}"#).await;
    assert_eq!(message.key().unwrap(), "1");
}
