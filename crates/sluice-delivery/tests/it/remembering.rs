//! What is known of retries after a restart.

use serde_json::{Value, json};
use sluice_delivery::Retrying;

use crate::{
    bench::{Bench, Offer, until, with},
    receiver::{Receiver, Reply},
};

fn slow(receiver: &Receiver, attempts: u32) -> sluice_api::Callback {
    let mut callback = with(receiver.url("/"), attempts, json!({}));
    (callback.retry.initial_delay_seconds, callback.retry.max_delay_seconds) = (3600, 3600);
    callback
}

async fn retrying(bench: &Bench) -> Retrying {
    until(async || bench.state("s").retrying.is_some()).await;
    bench.state("s").retrying.unwrap()
}

/// Has the wait of the message in retry come to its end.
async fn let_pass(bench: &Bench) {
    let note = bench.notes.read("retry:s").await.unwrap().unwrap();
    let mut note: Value = serde_json::from_str(&note).unwrap();
    note["messages"][0]["next"] = json!(1);
    bench.notes.write("retry:s", note.to_string(), None).await.unwrap();
}

#[tokio::test]
async fn a_restart_keeps_the_wait_and_goes_on_counting() {
    let (bench, mut receiver) = (Bench::new(), Receiver::start().await);
    bench.offer(&Offer::default());
    let subscription = bench.subscribe("s", slow(&receiver, 2)).await;
    receiver.answers([Reply::Status(503), Reply::Status(503)]);
    bench.publish("one").await;
    assert_eq!(receiver.texts(1).await, ["one"]);
    let former = retrying(&bench).await;
    assert_eq!(former.attempts, 1);

    let bench = bench.restarted().await;
    bench.offer(&Offer::default());
    bench.put(subscription.clone()).await;
    until(async || bench.state("s").position.is_some()).await;
    assert_eq!(retrying(&bench).await, former, "an hour is not over");
    assert!(!receiver.has_call());

    let mut bench = bench.restarted().await;
    let_pass(&bench).await;
    bench.offer(&Offer::default());
    bench.put(subscription).await;
    assert_eq!(receiver.texts(1).await, ["one"]);
    assert_eq!(bench.failure().await.cause.status, Some(503), "the second of two tries was the last");
    until(async || bench.notes.read("retry:s").await.unwrap().is_none()).await;
}

#[tokio::test]
async fn a_redeployment_keeps_the_wait() {
    let (bench, mut receiver) = (Bench::new(), Receiver::start().await);
    bench.offer(&Offer::default());
    bench.subscribe("s", slow(&receiver, 3)).await;
    receiver.answers([Reply::Status(503)]);
    bench.publish("one").await;
    assert_eq!(receiver.texts(1).await, ["one"]);
    let former = retrying(&bench).await;
    bench.offer(&Offer { webhook: json!({ "http": { "readTimeout": 9999 } }), ..Offer::default() });
    until(async || bench.state("s").position.is_some() && bench.metrics.subscriptions.get() == 1).await;
    assert_eq!((retrying(&bench).await, receiver.has_call()), (former, false));
}

#[tokio::test]
async fn nothing_is_noted_of_a_subscription_that_is_well_or_closed() {
    let (bench, mut receiver) = (Bench::new(), Receiver::start().await);
    bench.offer(&Offer::default());
    let subscription = bench.subscribe("s", with(receiver.url("/"), 3, json!({}))).await;
    receiver.answers([Reply::Status(500)]);
    bench.publish("one").await;
    assert_eq!(receiver.texts(2).await, ["one", "one"]);
    until(async || bench.notes.read("retry:s").await.unwrap().is_none()).await;
    bench.deliveries.remove(&subscription.id, true);
    until(async || bench.notes.read("broker:s").await.unwrap().is_none()).await;
}
