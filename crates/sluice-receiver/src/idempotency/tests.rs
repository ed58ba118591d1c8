//! Posts with keys, over a broker that answers when a test says so.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::{FutureExt, future::BoxFuture};
use http::{HeaderValue, Request, Response};
use http_body_util::Full;
use prometheus_client::metrics::counter::Counter;
use proptest::prelude::*;
use serde_json::json;
use sluice_api::HttpPostConfig;
use sluice_broker::ErrorKind;
use sluice_stream::Notes;
use tokio::sync::{Semaphore, mpsc::UnboundedSender};

use super::*;
use crate::{Body, http_post, testing, testing::Gated};

/// An API over a broker that answers as it is told, with one topic.
struct Bench {
    binding: Arc<Binding>,
    broker: Arc<Gated>,
    answer: UnboundedSender<Result<(), ErrorKind>>,
}

impl Bench {
    fn new() -> Self {
        Self::with(|_| {})
    }

    fn with(change: impl FnOnce(&mut Binding)) -> Self {
        let (broker, answer) = Gated::new();
        let mut binding = testing::binding_of(&json!({}));
        binding.publisher = Arc::clone(&broker) as _;
        binding.publish_topics.truncate(1);
        change(&mut binding);
        Self { binding: Arc::new(binding), broker, answer }
    }

    async fn send(&self, request: http::request::Builder, content: &str) -> Result<Response<Body>, Refusal> {
        let request = request.body(Full::new(Bytes::from(content.to_owned()))).unwrap();
        let settings = HttpPostConfig { request_headers_to_message: true };
        http_post::serve(&self.binding, &settings, &testing::caller(&self.binding, "http-post"), request)
            .await
    }

    async fn post(&self, key: &str, content: &str) -> Result<Response<Body>, Refusal> {
        self.send(Request::post("/a").header(KEY, key), content).await
    }

    fn answer(&self, answer: Result<(), ErrorKind>) {
        self.answer.send(answer).unwrap();
    }

    fn counted(&self) -> [u64; 4] {
        let metrics = &self.binding.metrics;
        [&metrics.published, &metrics.replayed, &metrics.publish_failed, &metrics.unnoted].map(Counter::get)
    }
}

fn is_replayed(answer: &Response<Body>) -> bool {
    assert_eq!(answer.status(), StatusCode::ACCEPTED);
    answer.headers().get(REPLAYED).is_some_and(|value| value == "true")
}

#[tokio::test]
async fn a_repeat_is_answered_alike_and_publishes_nothing() {
    let bench = Bench::new();
    bench.answer(Ok(()));
    assert!(!is_replayed(&bench.post("\"k\"", "x").await.unwrap()));
    for key in ["\"k\"", "k"] {
        assert!(is_replayed(&bench.post(key, "x").await.unwrap()));
    }
    bench.answer(Ok(()));
    assert!(!is_replayed(&bench.post("other", "x").await.unwrap()));
    assert_eq!((bench.broker.taken(), bench.counted()), (vec!["x".to_owned(); 2], [2, 2, 0, 0]));
}

#[tokio::test]
async fn a_repeat_is_known_to_the_deployment_that_comes_next() {
    let bench = Bench::new();
    bench.answer(Ok(()));
    bench.post("k", "x").await.unwrap();
    let notes = Arc::clone(&bench.binding.notes);
    let next = Bench::with(|binding| binding.notes = notes);
    assert!(is_replayed(&next.post("k", "x").await.unwrap()));
}

#[tokio::test]
async fn a_repeat_while_the_first_is_under_way_is_told_to_wait() {
    let bench = Bench::new();
    let later = async {
        bench.broker.come.acquire().await.unwrap().forget();
        let refusal = bench.post("k", "x").await.unwrap_err();
        assert_eq!(refusal.code, "idempotency.in-flight");
        let answer = refusal.into_response(true);
        assert_eq!(
            (answer.status().as_u16(), &answer.headers()["retry-after"]),
            (409, &HeaderValue::from(1))
        );
        bench.answer(Ok(()));
    };
    let (first, ()) = tokio::join!(bench.post("k", "x"), later);
    assert!(!is_replayed(&first.unwrap()));
    assert!(is_replayed(&bench.post("k", "x").await.unwrap()));
    assert_eq!(bench.broker.taken().len(), 1);
}

#[tokio::test]
async fn another_message_with_the_same_key_is_refused() {
    let bench = Bench::new();
    bench.answer(Ok(()));
    let asked = || Request::post("/a").header(KEY, "k").header("x-a", "1").header("x-b", "2");
    bench.send(asked(), "x").await.unwrap();
    for (request, content) in [(asked(), "y"), (asked().header("x-c", "3"), "x"), (asked(), "")] {
        let refusal = bench.send(request, content).await.unwrap_err();
        assert_eq!((refusal.status.as_u16(), refusal.code), (422, "idempotency.reused"));
    }
    let reordered = Request::post("/a").header("x-b", "2").header(KEY, "\"k\"").header("x-a", "1");
    assert!(is_replayed(&bench.send(reordered, "x").await.unwrap()));
    assert_eq!(bench.counted(), [1, 1, 3, 0]);
}

/// A bench of the same API, that knows what this one knows, with this publish policy.
fn with_policy(bench: &Bench, policy: &str, configuration: &serde_json::Value) -> Bench {
    let step = json!({ "policy": policy, "configuration": configuration });
    let changed = testing::binding_of(&json!({ "flows": [{ "publish": [step] }] }));
    let notes = Arc::clone(&bench.binding.notes);
    Bench::with(|binding| (binding.chains, binding.notes) = (changed.chains, notes))
}

#[tokio::test]
async fn the_same_message_for_another_topic_or_with_another_record_key_is_refused() {
    let bench = Bench::new();
    bench.answer(Ok(()));
    bench.post("k", "x").await.unwrap();
    let choosing = |setting: &str, value: &str| {
        let name = format!("gravitee.attribute.log.{setting}");
        let chosen = json!({ "attributes": [{ "name": name, "value": value }] });
        with_policy(&bench, "assign-attributes", &chosen)
    };
    for (setting, value) in [("topics", "u"), ("topics", "t,u"), ("recordKey", "a"), ("recordKey", "")] {
        let choosing = choosing(setting, value);
        let refusal = choosing.post("k", "x").await.unwrap_err();
        assert_eq!((refusal.status.as_u16(), refusal.code), (422, "idempotency.reused"), "{setting} {value}");
        assert_eq!(choosing.broker.taken().len(), 0);
    }
    let (topic, key) = (choosing("topics", "t"), choosing("recordKey", "a"));
    assert!(is_replayed(&topic.post("k", "x").await.unwrap()), "the topic that it went to");
    key.answer(Ok(()));
    for expected in [false, true] {
        assert_eq!(is_replayed(&key.post("other", "x").await.unwrap()), expected);
    }
}

#[tokio::test]
async fn what_policies_change_differently_each_time_makes_no_other_message() {
    let stamp = json!({ "addHeaders": [{ "name": "x-id", "value": "{(T(java.util.UUID).randomUUID())}" }] });
    let bench = with_policy(&Bench::new(), "transform-headers", &stamp);
    bench.answer(Ok(()));
    for expected in [false, true, true] {
        assert_eq!(is_replayed(&bench.post("k", "x").await.unwrap()), expected);
    }
    assert_eq!(bench.broker.taken().len(), 1);
}

#[tokio::test]
async fn a_publish_that_fails_leaves_nothing_behind() {
    let bench = Bench::new();
    for kind in [ErrorKind::Unreachable, ErrorKind::TooLarge] {
        bench.answer(Err(kind));
        assert_eq!(bench.post("k", "x").await.unwrap_err().code, kind.code());
    }
    bench.answer(Ok(()));
    assert!(!is_replayed(&bench.post("k", "another").await.unwrap()));
    assert_eq!((bench.broker.taken(), bench.counted()), (vec!["another".to_owned()], [1, 0, 2, 0]));
}

#[tokio::test]
async fn a_message_that_a_policy_keeps_back_leaves_nothing_behind() {
    let filter =
        json!({ "policy": "message-filtering", "configuration": { "filter": "{#message.content == 'y'}" } });
    let filtering = testing::binding_of(&json!({ "flows": [{ "publish": [filter] }] }));
    let bench = Bench::with(|binding| binding.chains = filtering.chains);
    assert_eq!(bench.post("k", "x").await.unwrap_err().code, "policy.dropped");
    bench.answer(Ok(()));
    assert!(!is_replayed(&bench.post("k", "y").await.unwrap()));
}

#[tokio::test]
async fn when_the_window_is_over_a_key_is_new() {
    let bench = Bench::with(|binding| {
        let mut definition = (*binding.definition).clone();
        definition.guarantees.idempotency_window_ms = 0;
        binding.definition = Arc::new(definition);
    });
    for _ in 0..2 {
        bench.answer(Ok(()));
        assert!(!is_replayed(&bench.post("k", "x").await.unwrap()));
    }
    assert_eq!(bench.broker.taken().len(), 2);
}

#[tokio::test]
async fn a_publish_whose_client_goes_away_goes_on_and_is_not_repeated() {
    let bench = Bench::new();
    tokio::select! {
        _ = bench.post("k", "x") => panic!("nobody has answered"),
        _come = bench.broker.come.acquire() => {}
    }
    assert_eq!(bench.post("k", "x").await.unwrap_err().code, "idempotency.in-flight");
    bench.answer(Ok(()));
    bench.binding.in_flight.close();
    bench.binding.in_flight.wait().await;
    assert!(is_replayed(&bench.post("k", "x").await.unwrap()));
    assert_eq!((bench.broker.taken().len(), bench.counted()), (1, [1, 1, 1, 0]));
    assert_eq!(bench.binding.body_bytes.available_permits(), 100_000);
    assert!(bench.binding.keys_in_use.lock().is_empty());
}

#[tokio::test]
async fn a_publish_with_a_key_takes_room_beside_its_body() {
    let bench = Bench::with(|binding| binding.body_bytes = Arc::new(Semaphore::new(1024)));
    assert_eq!(bench.post("k", "x").await.unwrap_err().code, "request.overloaded");
    for _ in 0..2 {
        bench.answer(Ok(()));
    }
    bench.post("k", "").await.unwrap();
    bench.send(Request::post("/a"), &"x".repeat(1000)).await.unwrap();
}

#[tokio::test]
async fn without_a_key_nothing_is_remembered() {
    let bench = Bench::new();
    for _ in 0..2 {
        bench.answer(Ok(()));
        assert!(!is_replayed(&bench.send(Request::post("/a"), "x").await.unwrap()));
    }
    assert_eq!(bench.broker.taken().len(), 2);
}

/// A store that cannot do what it is asked for.
struct Broken {
    can_read: bool,
}

fn broken<'a, T: Send + 'a>() -> BoxFuture<'a, Result<T, NotesError>> {
    async { Err(NotesError::Store("The disk is full.".to_owned())) }.boxed()
}

impl Notes for Broken {
    fn read<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<Option<String>, NotesError>> {
        if self.can_read { async { Ok(None) }.boxed() } else { broken() }
    }

    fn write<'a>(
        &'a self,
        _: &'a str,
        _: String,
        _: Option<Duration>,
    ) -> BoxFuture<'a, Result<(), NotesError>> {
        // Until somebody loses patience.
        std::future::pending().boxed()
    }

    fn write_soon(&self, _: &str, _: Option<String>) -> Result<(), NotesError> {
        Err(NotesError::Closed)
    }

    fn forget_prefix<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<(), NotesError>> {
        broken()
    }

    fn flush(&self) -> BoxFuture<'_, Result<(), NotesError>> {
        broken()
    }
}

#[tokio::test(start_paused = true)]
async fn a_message_that_the_broker_has_is_accepted_though_it_cannot_be_noted() {
    let bench = Bench::with(|binding| binding.notes = Arc::new(Broken { can_read: true }));
    bench.answer(Ok(()));
    assert!(!is_replayed(&bench.post("k", "x").await.unwrap()));
    assert_eq!(bench.counted(), [1, 0, 0, 1]);
}

#[tokio::test]
async fn where_nobody_can_tell_whether_it_was_published_nothing_is() {
    let bench = Bench::with(|binding| binding.notes = Arc::new(Broken { can_read: false }));
    let refusal = bench.post("k", "x").await.unwrap_err();
    assert_eq!((refusal.status.as_u16(), refusal.code), (503, "idempotency.unreadable"));
    assert!(!refusal.message.contains("disk"));
    assert_eq!(bench.counted(), [0, 0, 1, 0]);
}

#[test]
fn a_key_is_a_string_in_quotes_or_bare() {
    let read = |values: &[&[u8]]| {
        let values = values.iter().map(|value| (KEY, HeaderValue::from_bytes(value).unwrap()));
        let mut headers = HeaderMap::new();
        for (name, value) in values {
            headers.append(name, value);
        }
        key(&headers).map_err(|refusal| refusal.code)
    };
    let longest = "x".repeat(MAX_KEY);
    for (text, expected) in [
        ("8e03978e-40d5-43e8-bc93-6894a57f9324", "8e03978e-40d5-43e8-bc93-6894a57f9324"),
        ("\"a b\"", "a b"),
        (r#""a\"\\b""#, r#"a"\b"#),
        ("\"a,b;c\"", "a,b;c"),
        (&longest, &longest),
        (&format!("\"{longest}\""), &longest),
    ] {
        assert_eq!(read(&[text.as_bytes()]), Ok(Some(expected.to_owned())), "{text}");
    }
    assert_eq!(read(&[]), Ok(None));
    let too_long = "x".repeat(MAX_KEY + 1);
    let quoted_too_long = format!("\"{too_long}\"");
    for text in [
        "",
        "\"\"",
        "\"a",
        "a\"",
        "\"a\"b",
        r#""a\b""#,
        "a b",
        "a,b",
        "\"a\";p=1",
        &too_long,
        &quoted_too_long,
    ] {
        assert_eq!(read(&[text.as_bytes()]), Err("idempotency.key"), "{text}");
    }
    assert_eq!(read(&[b"\xff"]), Err("idempotency.key"));
    assert_eq!(read(&[b"a", b"a"]), Err("idempotency.key"));
}

#[test]
fn a_key_means_something_else_for_others() {
    let name = |id: &str, plan: &str, method: Method, key: &str| {
        let plan = json!({ "id": plan, "name": "p", "security": { "type": "key-less" } });
        let binding = testing::binding_of(&json!({ "id": id, "plans": [plan] }));
        note_name(&binding, &testing::caller(&binding, "http-post"), &method, key)
    };
    let one = name("a", "p", Method::POST, "k");
    assert!(one.starts_with("idempotency:a:") && one.len() == "idempotency:a:".len() + 64);
    assert_eq!(one, name("a", "p", Method::POST, "k"));
    for other in [
        name("b", "p", Method::POST, "k"),
        name("a", "q", Method::POST, "k"),
        name("a", "p", Method::PUT, "k"),
        name("a", "p", Method::POST, "K"),
    ] {
        assert_ne!(one, other);
    }
}

proptest! {
    #[test]
    fn any_header_is_a_bounded_key_or_refused(value in prop::collection::vec(any::<u8>(), 0..300)) {
        if let Ok(value) = HeaderValue::from_bytes(&value) {
            let headers = HeaderMap::from_iter([(KEY, value)]);
            match key(&headers) {
                Ok(key) => prop_assert!((1..=MAX_KEY).contains(&key.unwrap().len())),
                Err(refusal) => prop_assert_eq!(refusal.code, "idempotency.key"),
            }
        }
    }
}
