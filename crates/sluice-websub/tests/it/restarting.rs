//! What a restart does to requests that were answered and not settled.

use std::{sync::Arc, time::Duration};

use sluice_websub::{DeskError, HubOptions};
use tokio::sync::Semaphore;

use crate::{
    bench::{Bench, until},
    callback::{Callback, Reply},
};

/// A bench that stopped while its callback had not answered yet, and the callback. Nothing waits for the answer.
async fn interrupted() -> (Bench, Callback) {
    let (bench, mut callback) = (Bench::new().await, Callback::start().await);
    callback.answers([Reply::Held(Arc::new(Semaphore::new(0)))]);
    bench.subscribe(&callback.url("/in")).await.accepted();
    bench.unsubscribe(&callback.url("/in")).await.accepted();
    callback.call().await;
    bench.hub.shut_down(Duration::ZERO).await;
    (bench, callback)
}

#[tokio::test]
async fn requests_are_taken_up_again_in_their_order() {
    let (bench, mut callback) = interrupted().await;
    let options = bench.options.clone();
    let bench = bench.restarted(options).await;
    bench.deploy();
    assert_eq!(callback.call().await.says("hub.mode"), "subscribe");
    assert_eq!(callback.call().await.says("hub.mode"), "unsubscribe");
    let papers = bench.desk.settled(2).await;
    assert_eq!((papers.done, papers.requests.len()), (vec!["subscribe", "unsubscribe"], 0));
}

#[tokio::test]
async fn requests_wait_until_their_api_is_deployed() {
    let (bench, mut callback) = interrupted().await;
    let options = bench.options.clone();
    let bench = bench.restarted(options).await;
    until(|| bench.hub.metrics().unsettled.get() == 2).await;
    assert!(tokio::time::timeout(Duration::from_millis(50), callback.call()).await.is_err());
    bench.deploy();
    bench.desk.settled(2).await;
}

#[tokio::test]
async fn requests_that_are_too_old_are_dropped_without_a_call() {
    let (bench, callback) = interrupted().await;
    bench.desk.change(|papers| papers.requests.iter_mut().for_each(|kept| kept.received_at_ms -= 3_600_001));
    assert_eq!(HubOptions::default().longest, Duration::from_secs(3600));
    let options = bench.options.clone();
    let bench = bench.restarted(options).await;
    bench.deploy();
    let papers = bench.desk.settled(2).await;
    assert_eq!((papers.done, papers.requests.len()), (vec!["dropped", "dropped"], 0));
    assert!(!callback.has_call());
}

#[tokio::test]
async fn requests_whose_api_never_comes_are_dropped_in_time() {
    let (bench, callback) = interrupted().await;
    let options = HubOptions { longest: Duration::from_millis(200), ..bench.options.clone() };
    let bench = bench.restarted(options).await;
    assert_eq!(bench.desk.settled(2).await.done, ["dropped", "dropped"]);
    assert!(!callback.has_call());
}

#[tokio::test]
async fn a_desk_that_cannot_be_read_does_not_open_the_hub() {
    let bench = Bench::closed(&serde_json::json!({}), &serde_json::json!({}));
    bench.desk.change(|papers| papers.failing = 1);
    let opened: Result<(), DeskError> = bench.hub.open(Arc::clone(&bench.desk) as _).await;
    assert!(opened.is_err());
    bench.hub.open(Arc::clone(&bench.desk) as _).await.unwrap();
}
