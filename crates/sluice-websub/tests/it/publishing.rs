//! What publishers tell the hub.

use std::sync::Arc;

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use crate::{
    bench::{Answer, BASE, Bench, until},
    callback::{Callback, Reply},
};

/// A hub whose channel `paid` has its content there, and which takes bodies of 1000 bytes.
async fn fetching(from: &Callback) -> Bench {
    fetching_with(from, json!([])).await
}

/// The same with these flows.
async fn fetching_with(from: &Callback, flows: Value) -> Bench {
    let parts: Value = json!({
        "flows": flows,
        "channels": { "paid": { "contentUrl": from.url("/feed?hub.challenge=the+news") }, "orders/new": { "produceTo": "new", "consumeFrom": "new" } },
        "limits": { "maxBodyBytes": 1000 },
    });
    Bench::with(&json!({}), &parts).await
}

async fn post(bench: &Bench, query: &str, kind: Option<&str>, body: &'static str) -> Answer {
    let mut request = Request::post(format!("/shop/hub?{query}"));
    if let Some(kind) = kind {
        request = request.header("content-type", kind);
    }
    bench.send(request.body(Full::from(Bytes::from(body))).unwrap()).await
}

#[tokio::test]
async fn content_that_comes_along_is_published_as_it_is_with_its_content_type() {
    let bench = Bench::new().await;
    let query = "hub.mode=publish&hub.topic=orders/new";
    post(&bench, query, Some("application/atom+xml; charset=utf-8"), "<feed/>").await.accepted();
    post(&bench, query, None, "raw").await.accepted();
    let messages = bench.messages("new", 2).await;
    assert_eq!(messages[0].payload(), b"<feed/>");
    assert_eq!(messages[0].headers().get("content-type").unwrap(), "application/atom+xml; charset=utf-8");
    assert_eq!((messages[1].payload(), messages[1].headers().len()), (&b"raw"[..], 0));
}

#[tokio::test]
async fn content_stands_where_the_api_says_and_is_fetched_from_there() {
    let mut source = Callback::start().await;
    let bench = fetching(&source).await;
    source.answers([Reply::With(200, "content-type", "application/rss+xml".to_owned())]);
    bench.form("hub.mode=publish&hub.topic=paid").await.accepted();
    source.call().await;
    let messages = bench.messages("paid", 1).await;
    assert_eq!(messages[0].payload(), b"the news");
    assert_eq!(messages[0].headers().get("content-type").unwrap(), "application/rss+xml");
    bench.form("hub.mode=publish&hub.url=paid").await.accepted();
    bench
        .ask(&[("hub.mode", "publish"), ("hub.url", &format!("{BASE}/paid")), ("hub.topic", "paid")])
        .await
        .accepted();
    source.call().await;
}

#[tokio::test]
async fn content_is_fetched_once_for_all_who_tell_of_it_meanwhile() {
    let mut source = Callback::start().await;
    let (bench, held) = (fetching(&source).await, Arc::new(Semaphore::new(0)));
    source.answers([Reply::Held(Arc::clone(&held))]);
    bench.form("hub.mode=publish&hub.topic=paid").await.accepted();
    source.call().await;
    for _ in 0..10 {
        bench.form("hub.mode=publish&hub.topic=paid").await.accepted();
    }
    assert!(!source.has_call());
    held.add_permits(1);
    source.call().await;
    assert_eq!(bench.messages("paid", 2).await.len(), 2);
    assert!(!source.has_call());
}

#[tokio::test]
async fn who_may_not_publish_takes_no_news_away_and_only_so_many_wait() {
    let mut source = Callback::start().await;
    let (bench, held) = (fetching(&source).await, Arc::new(Semaphore::new(0)));
    let no = json!({ "policy": "policy-interrupt", "configuration": { "errorKey": "NO", "message": "No." } });
    let strict = fetching_with(&source, json!([{ "publish": [no] }])).await;
    let of_stranger = strict.binding_to("paid", Arc::new(bench.log.clone()));
    let stranger = async || {
        let request =
            Request::post("/shop/hub?hub.mode=publish&hub.topic=paid").body(Full::default()).unwrap();
        bench.send_through(request, |_| Arc::clone(&of_stranger)).await
    };
    source.answers([Reply::Held(Arc::clone(&held))]);
    stranger().await.accepted();
    source.call().await;
    bench.form("hub.mode=publish&hub.topic=paid").await.accepted();
    for _ in 1..64 {
        stranger().await.accepted();
    }
    let answer = stranger().await;
    answer.refused(503, "hub.full");
    assert!(answer.retry_after.is_some());
    held.add_permits(1);
    source.call().await;
    assert_eq!(bench.messages("paid", 1).await[0].payload(), b"the news");
    assert_eq!(bench.hub.metrics().fetches_failed.get(), 1, "that of the stranger who told first");
}

#[tokio::test]
async fn content_that_cannot_be_fetched_is_counted_and_publishes_nothing() {
    let mut source = Callback::start().await;
    let bench = fetching(&source).await;
    let replies = [
        Reply::Status(404),
        Reply::Status(500),
        Reply::With(302, "location", source.url("/other")),
        Reply::Break,
        Reply::Text("x".repeat(1001)),
        Reply::Text("x".repeat(1000)),
    ];
    source.answers(replies);
    for failed in 1..=5 {
        bench.form("hub.mode=publish&hub.topic=paid").await.accepted();
        source.call().await;
        until(|| bench.hub.metrics().fetches_failed.get() == failed).await;
    }
    // A telling that comes before the channel is done is one for a second fetch.
    bench.form("hub.mode=publish&hub.topic=paid").await.accepted();
    assert_eq!(bench.messages("paid", 1).await[0].payload().len(), 1000);
}

#[tokio::test]
async fn news_without_content_and_content_that_is_not_asked_for_are_400() {
    let source = Callback::start().await;
    let bench = fetching(&source).await;
    let nothing = bench.form("hub.mode=publish&hub.topic=orders/new").await;
    nothing.refused(400, "hub.content.missing");
    assert!(nothing.message.contains("contentUrl"), "{nothing:?}");
    post(&bench, "hub.mode=publish&hub.topic=paid", Some("text/plain"), "x")
        .await
        .refused(400, "hub.content.unwanted");
    assert!(!source.has_call());
}

#[tokio::test]
async fn content_gets_past_no_webhook_receiver_that_verifies_it() {
    let receivers = |receiver: Value| {
        let receiver = json!({ "type": "webhook-receiver", "configuration": receiver });
        json!({ "receivers": [{ "type": "websub" }, receiver] })
    };
    let query = "hub.mode=publish&hub.topic=paid";
    let sender = json!({ "sender": { "provider": "github", "secrets": ["s"] } });
    let bench = Bench::with(&json!({}), &receivers(sender)).await;
    post(&bench, query, Some("text/plain"), "x").await.refused(403, "hub.content.unverified");
    let bench = Bench::with(&json!({}), &receivers(json!({}))).await;
    post(&bench, query, Some("text/plain"), "x").await.accepted();
}

#[tokio::test]
async fn news_about_two_topics_at_once_is_400() {
    let bench = Bench::new().await;
    bench
        .form("hub.mode=publish&hub.topic=paid&hub.url=orders/new")
        .await
        .refused(400, "hub.parameter.invalid");
    bench
        .form("hub.mode=publish&hub.url=paid&hub.url=orders/new")
        .await
        .refused(400, "hub.parameter.repeated");
}

#[tokio::test]
async fn content_that_a_policy_keeps_back_is_no_success() {
    let interrupt =
        json!({ "policy": "policy-interrupt", "configuration": { "errorKey": "NO", "message": "No." } });
    let bench = Bench::with(&json!({}), &json!({ "flows": [{ "publish": [interrupt] }] })).await;
    let answer = post(&bench, "hub.mode=publish&hub.topic=paid", Some("text/plain"), "x").await;
    answer.refused(500, "policy.interrupted");
}
