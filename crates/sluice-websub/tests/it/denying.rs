//! Who is told that it is not subscribed, and who is not.

use std::sync::Arc;

use serde_json::json;
use tokio::sync::Semaphore;

use crate::{
    bench::{Bench, until},
    callback::{Callback, Reply},
};

#[tokio::test]
async fn a_confirmed_subscriber_for_whom_there_is_no_room_is_told() {
    let bench = Bench::with(&json!({ "maxSubscriptions": 2 }), &json!({})).await;
    let (mut callback, held) = (Callback::start().await, Arc::new(Semaphore::new(0)));
    callback.answers(vec![Reply::Held(Arc::clone(&held)); 4]);
    for path in ["/1?k=v", "/2?k=v", "/3?k=v", "/4?k=v"] {
        bench.subscribe(&callback.url(path)).await.accepted();
        callback.call().await;
    }
    held.add_permits(4);
    for _ in 0..2 {
        let call = callback.call().await;
        assert!(
            call.uri.query().unwrap().starts_with("k=v&hub.mode=denied&hub.topic=paid&hub.reason="),
            "{call:?}"
        );
        assert_eq!(call.says("hub.reason"), "This API has as many subscriptions as it may.");
        assert!(!call.parameters().contains_key("hub.challenge"));
    }
    let papers = bench.desk.settled(4).await;
    assert_eq!(
        (papers.subscriptions.len(), papers.requests.len()),
        (2, 0),
        "exactly as many as there may be"
    );
    until(|| bench.hub.metrics().denied.get() == 2).await;
}

#[tokio::test]
async fn a_confirmed_subscriber_of_an_api_that_is_gone_is_told() {
    let (bench, mut callback) = (Bench::new().await, Callback::start().await);
    bench.desk.change(|papers| papers.is_gone = true);
    bench.subscribe(&callback.url("/in")).await.accepted();
    assert_eq!(callback.call().await.says("hub.mode"), "subscribe");
    let call = callback.call().await;
    assert_eq!(
        (&*call.says("hub.mode"), &*call.says("hub.reason")),
        ("denied", "This topic is no longer offered.")
    );
    let papers = bench.desk.settled(1).await;
    assert_eq!((papers.done, papers.requests.len()), (vec!["dropped"], 0));
}

#[tokio::test]
async fn a_callback_that_did_not_confirm_is_told_nothing() {
    let (bench, mut callback) = (Bench::new().await, Callback::start().await);
    callback.answers([Reply::Status(404)]);
    bench.desk.change(|papers| papers.is_gone = true);
    bench.subscribe(&callback.url("/in")).await.accepted();
    callback.call().await;
    bench.desk.settled(1).await;
    until(|| bench.hub.metrics().unsettled.get() == 0).await;
    assert!(!callback.has_call());
    assert_eq!(bench.hub.metrics().denied.get(), 0);
}

#[tokio::test]
async fn a_subscriber_whose_subscription_an_operator_ends_is_told_why() {
    let (bench, mut callback) = (Bench::new().await, Callback::start().await);
    bench.deploy();
    let reason = format!("Deleted & gone. {}", "x".repeat(1000));
    bench.hub.deny(bench.id(), &callback.url("/in?k=v"), "https://hub.example/shop/paid", &reason);
    let call = callback.call().await;
    assert_eq!(
        (&*call.says("hub.mode"), &*call.says("hub.topic")),
        ("denied", "https://hub.example/shop/paid")
    );
    assert_eq!((call.says("k"), call.says("hub.reason")), ("v".to_owned(), reason[..500].to_owned()));
    until(|| bench.hub.metrics().denied.get() == 1).await;
}

#[tokio::test]
async fn denials_cannot_flood_a_host_either() {
    let (bench, callback) =
        (Bench::with(&json!({ "requestsPerHost": 2 }), &json!({})).await, Callback::start().await);
    bench.deploy();
    for number in 0..5 {
        bench.hub.deny(bench.id(), &callback.url(&format!("/{number}")), "paid", "Deleted.");
    }
    until(|| bench.hub.metrics().denied.get() + bench.hub.metrics().denials_failed.get() == 5).await;
    assert_eq!((bench.hub.metrics().denied.get(), bench.hub.metrics().rate_limited.get()), (2, 3));
}

#[tokio::test]
async fn a_denial_that_nobody_takes_is_counted_and_not_tried_again() {
    let bench = Bench::new().await;
    bench.deploy();
    bench.hub.deny(bench.id(), &format!("http://{}/", Callback::nobody()), "paid", "Deleted.");
    bench.hub.deny(bench.id(), "http://10.0.0.1/", "paid", "Deleted.");
    until(|| bench.hub.metrics().denials_failed.get() == 2).await;
}
