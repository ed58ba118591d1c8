//! Subscribers that are left alone.

use serde_json::{Value, json};
use sluice_delivery::{Phase, Replay};

use crate::{
    bench::{Bench, Offer, until, with},
    receiver::{Receiver, Reply},
};

fn breaker(failures: u32, first_wait_ms: u64) -> Offer {
    let breaker = json!({ "failures": failures, "firstWaitMs": first_wait_ms, "longestWaitMs": 86_400_000 });
    Offer { webhook: json!({ "circuitBreaker": breaker }), ..Offer::default() }
}

fn open(bench: &Bench) -> bool {
    matches!(bench.state("s").phase, Phase::CircuitOpen { .. })
}

#[tokio::test]
async fn one_call_tries_and_the_others_follow_when_it_succeeds() {
    let (bench, mut receiver) = (Bench::new(), Receiver::start().await);
    bench.offer(&breaker(2, 500));
    // Two attempts only: what is answered while the circuit is open must not count.
    bench.subscribe("s", with(receiver.url("/"), 2, json!({ "order": "none" }))).await;
    receiver.answers((0..3).map(|_| Reply::Status(503)));
    bench.publish("one").await;
    assert_eq!(receiver.texts(2).await, ["one", "one"]);
    until(async || open(&bench)).await;
    assert_eq!(bench.metrics.open_circuits.get(), 1);
    bench.publish("two").await;
    bench.publish("three").await;
    // The first that tries fails; the second succeeds, and then all others follow.
    receiver.texts(1).await;
    until(async || bench.metrics.failed_calls.get() == 3).await;
    let mut texts = receiver.texts(3).await;
    texts.sort();
    assert_eq!(texts, ["one", "three", "two"]);
    until(async || bench.next_of("s").await == 3).await;
    assert_eq!((bench.metrics.open_circuits.get(), bench.metrics.dead_lettered.get()), (0, 0));
}

#[tokio::test]
async fn an_answer_that_says_nothing_about_the_subscriber_counts_while_it_is_left_alone() {
    let (mut bench, receiver) = (Bench::new(), Receiver::start().await);
    bench.offer(&breaker(1, 100));
    bench.subscribe("s", with(receiver.url("/"), 2, json!({}))).await;
    receiver.answers([Reply::Status(503), Reply::Status(500), Reply::Status(500)]);
    bench.publish("one").await;
    assert_eq!(bench.failure().await.cause.status, Some(500));
    assert_eq!(bench.metrics.failed_calls.get(), 3);
}

#[tokio::test]
async fn all_that_is_not_delivered_is_lag_and_the_next_try_is_the_one_call_that_tries() {
    let (bench, mut receiver) = (Bench::new(), Receiver::start().await);
    bench.offer(&breaker(1, 3_600_000));
    bench.subscribe("s", with(receiver.url("/"), 3, json!({ "order": "key" }))).await;
    receiver.answers([Reply::Status(503)]);
    for text in ["one", "two", "three"] {
        bench.publish_of("k", text).await;
    }
    assert_eq!(receiver.texts(1).await, ["one"]);
    until(async || open(&bench) && bench.state("s").lag == 3).await;
    let state = bench.state("s");
    let Phase::CircuitOpen { until_ms } = state.phase else { panic!("not open") };
    assert_eq!(state.retrying.unwrap().next_ms, until_ms);
    bench.replay("s", Replay::Since(0)).await.unwrap();
    until(async || open(&bench) && bench.state("s").lag == 3).await;
    assert!(!receiver.has_call(), "a replay does not close the circuit");
}

#[tokio::test]
async fn a_circuit_stays_open_over_a_restart() {
    let (bench, mut receiver) = (Bench::new(), Receiver::start().await);
    bench.offer(&breaker(1, 3_600_000));
    let subscription = bench.subscribe("s", with(receiver.url("/"), 3, json!({}))).await;
    receiver.answers([Reply::Status(503)]);
    bench.publish("one").await;
    assert_eq!(receiver.texts(1).await, ["one"]);
    until(async || open(&bench)).await;
    let Phase::CircuitOpen { until_ms: former } = bench.state("s").phase else { panic!("not open") };
    let bench = bench.restarted().await;
    assert_eq!(bench.metrics.open_circuits.get(), 0);
    bench.offer(&breaker(1, 3_600_000));
    bench.put(subscription.clone()).await;
    until(async || open(&bench)).await;
    assert_eq!(bench.state("s").phase, Phase::CircuitOpen { until_ms: former });
    assert_eq!(bench.metrics.open_circuits.get(), 1);
    // A deployment without a breaker calls again.
    bench.offer(&Offer { webhook: Value::Object(serde_json::Map::new()), ..Offer::default() });
    assert_eq!(receiver.texts(1).await, ["one"]);
    until(async || bench.notes.read("retry:s").await.unwrap().is_none()).await;
}
