//! Whether a callback means what was asked in its name.

use std::sync::Arc;

use serde_json::json;
use tokio::sync::Semaphore;

use crate::{
    bench::{Bench, until},
    callback::{Callback, Reply},
};

#[tokio::test]
async fn the_callback_is_asked_with_its_own_query_kept() {
    let (bench, mut callback) = (Bench::new().await, Callback::start().await);
    let url = callback.url("/in?token=a%2Fb+c&hub.mode=other&k");
    bench.subscribe(&url).await.accepted();
    let call = callback.call().await;
    assert!(
        call.uri.to_string().starts_with("/in?token=a%2Fb+c&hub.mode=other&k&hub.mode=subscribe&"),
        "{call:?}"
    );
    let parameters = call.parameters();
    assert_eq!((&*parameters["hub.mode"], &*parameters["hub.topic"]), ("subscribe", "paid"));
    assert_eq!(parameters["hub.lease_seconds"], "864000");
    let challenge = &parameters["hub.challenge"];
    assert!(challenge.len() == 64 && challenge.bytes().all(|byte| byte.is_ascii_hexdigit()), "{challenge}");
    bench.desk.settled(1).await;
    bench.unsubscribe(&url).await.accepted();
    let again = callback.call().await.parameters();
    assert_eq!((&*again["hub.mode"], &*again["hub.topic"]), ("unsubscribe", "paid"));
    assert!(!again.contains_key("hub.lease_seconds"), "{again:?}");
    assert_ne!(again["hub.challenge"], *challenge, "nobody can know it beforehand");
    let papers = bench.desk.settled(2).await;
    assert_eq!((papers.done, papers.subscriptions.len()), (vec!["subscribe", "unsubscribe"], 0));
    assert_eq!(bench.hub.metrics().verified.get(), 2);
}

#[tokio::test]
async fn any_2xx_with_the_challenge_confirms() {
    let (bench, callback) = (Bench::new().await, Callback::start().await);
    callback.answers([200, 201, 202].map(Reply::Status));
    for count in 1..=3 {
        bench.subscribe(&callback.url(&format!("/{count}"))).await.accepted();
        assert_eq!(bench.desk.settled(count).await.subscriptions.len(), count);
    }
}

#[tokio::test]
async fn an_answer_that_is_not_the_challenge_with_2xx_confirms_nothing() {
    let (bench, mut callback) = (Bench::new().await, Callback::start().await);
    let elsewhere = Callback::start().await;
    let replies = [
        Reply::Status(404),
        Reply::Status(400),
        Reply::Status(500),
        Reply::Status(503),
        Reply::Status(304),
        Reply::With(302, "location", elsewhere.url("/")),
        Reply::With(307, "location", elsewhere.url("/")),
        Reply::Text("something else".to_owned()),
        Reply::Text(String::new()),
        Reply::Text("0".repeat(64)),
        Reply::Text("x".repeat(5000)),
        Reply::Text("x".repeat(1 << 20)),
    ];
    let count = replies.len();
    callback.answers(replies);
    for asked in 1..=count {
        bench.subscribe(&callback.url("/in")).await.accepted();
        callback.call().await;
        let papers = bench.desk.settled(asked).await;
        assert!(papers.requests.is_empty() && papers.subscriptions.is_empty(), "answer {asked}: {papers:?}");
    }
    assert!(!callback.has_call(), "what was answered is not asked again");
    assert!(!elsewhere.has_call(), "redirects are not followed");
    assert_eq!(bench.hub.metrics().not_verified.get(), count as u64);
}

#[tokio::test]
async fn an_answer_that_does_not_come_in_time_confirms_nothing() {
    let bench = Bench::with(&json!({ "verificationTimeoutMs": 100 }), &json!({})).await;
    let callback = Callback::start().await;
    callback.answers(vec![Reply::Held(Arc::new(Semaphore::new(0))); 3]);
    bench.subscribe(&callback.url("/in")).await.accepted();
    assert_eq!(bench.desk.settled(1).await.done, ["dropped"]);
}

#[tokio::test]
async fn a_callback_that_cannot_be_reached_is_asked_three_times() {
    let (bench, mut callback) = (Bench::new().await, Callback::start().await);
    callback.answers([Reply::Break, Reply::Break]);
    bench.subscribe(&callback.url("/in")).await.accepted();
    let mut challenges = Vec::new();
    for _ in 0..3 {
        challenges.push(callback.call().await.says("hub.challenge"));
    }
    assert_eq!(bench.desk.settled(1).await.done, ["subscribe"]);
    challenges.sort();
    challenges.dedup();
    assert_eq!(challenges.len(), 3, "each time with another challenge");
    callback.answers(vec![Reply::Break; 3]);
    bench.unsubscribe(&callback.url("/in")).await.accepted();
    let papers = bench.desk.settled(2).await;
    assert_eq!((papers.done, papers.subscriptions.len()), (vec!["subscribe", "dropped"], 1));
}

#[tokio::test]
async fn a_renewal_that_is_not_confirmed_leaves_the_subscription_as_it_was() {
    let (bench, callback) = (Bench::new().await, Callback::start().await);
    let url = callback.url("/in");
    bench.subscribe(&url).await.accepted();
    let before = bench.desk.settled(1).await.subscriptions;
    callback.answers([Reply::Status(404), Reply::Text("no".to_owned())]);
    for count in 2..=3 {
        bench.subscribe(&url).await.accepted();
        assert_eq!(bench.desk.settled(count).await.subscriptions, before);
    }
    bench.unsubscribe(&url).await.accepted();
    assert!(bench.desk.settled(4).await.subscriptions.is_empty(), "it can still be ended");
}

#[tokio::test]
async fn an_end_that_is_not_confirmed_leaves_the_subscription_as_it_was() {
    let (bench, callback) = (Bench::new().await, Callback::start().await);
    let url = callback.url("/in");
    bench.subscribe(&url).await.accepted();
    bench.desk.settled(1).await;
    callback.answers([Reply::Status(404)]);
    bench.unsubscribe(&url).await.accepted();
    let papers = bench.desk.settled(2).await;
    assert_eq!((papers.done, papers.subscriptions.len()), (vec!["subscribe", "dropped"], 1));
}

#[tokio::test]
async fn a_slow_callback_holds_up_no_other() {
    let (bench, slow, quick) = (Bench::new().await, Callback::start().await, Callback::start().await);
    let held = Arc::new(Semaphore::new(0));
    slow.answers([Reply::Held(Arc::clone(&held))]);
    bench.subscribe(&slow.url("/in")).await.accepted();
    bench.subscribe(&quick.url("/in")).await.accepted();
    let papers = bench.desk.settled(1).await;
    assert!(papers.subscriptions.contains_key(&("paid".to_owned(), quick.url("/in"))));
    held.add_permits(1);
    bench.desk.settled(2).await;
}

#[tokio::test]
async fn a_host_whose_callbacks_are_slow_holds_up_no_other_host() {
    let bench = Bench::new().await;
    let (mut slow, quick) = (Callback::start().await, Callback::start().await);
    let (held, at_once) = (Arc::new(Semaphore::new(0)), bench.options.verifications);
    slow.answers(vec![Reply::Held(Arc::clone(&held)); at_once]);
    for number in 0..at_once / 2 {
        bench.subscribe(&slow.url(&format!("/{number}"))).await.accepted();
    }
    // An API has a quarter of the turns, and a host a quarter of those.
    for _ in 0..at_once / 16 {
        slow.call().await;
    }
    let url = format!("http://localhost:{}/in", quick.address.port());
    bench.subscribe(&url).await.accepted();
    assert!(bench.desk.settled(1).await.subscriptions.contains_key(&("paid".to_owned(), url)));
    assert!(!slow.has_call());
    held.add_permits(at_once);
    bench.desk.settled(1 + at_once / 2).await;
}

#[tokio::test]
async fn only_so_many_callbacks_of_one_api_are_asked_at_once() {
    let bench = Bench::new().await;
    let (at_once, held) = (bench.options.verifications / 4, Arc::new(Semaphore::new(0)));
    let mut callbacks = Vec::new();
    // Each of a host of its own; some of them may share their turns.
    for host in 1..=200 {
        let callback = Callback::start_at(format!("127.0.1.{host}:0").parse().unwrap()).await;
        callback.answers([Reply::Held(Arc::clone(&held))]);
        bench.subscribe(&callback.url("/")).await.accepted();
        callbacks.push(callback);
    }
    let asked = || callbacks.iter().filter(|callback| callback.has_call()).count();
    until(|| asked() == at_once).await;
    assert_eq!(bench.hub.metrics().unsettled.get(), 200);
    held.add_permits(200);
    assert_eq!(bench.desk.settled(200).await.subscriptions.len(), 200);
    assert!(callbacks.iter().all(Callback::has_call));
}

#[tokio::test]
async fn what_is_confirmed_is_done_as_soon_as_the_desk_can_write() {
    let (bench, mut callback) = (Bench::new().await, Callback::start().await);
    let held = Arc::new(Semaphore::new(0));
    callback.answers([Reply::Held(Arc::clone(&held))]);
    bench.subscribe(&callback.url("/in")).await.accepted();
    callback.call().await;
    bench.desk.change(|papers| papers.failing = 1);
    held.add_permits(1);
    assert_eq!(bench.desk.settled(1).await.done, ["subscribe"]);
    until(|| bench.hub.metrics().unsettled.get() == 0).await;
    assert!(!callback.has_call(), "it is not asked a second time");
}
