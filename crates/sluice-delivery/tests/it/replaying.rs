//! Messages that are brought again because somebody asks for it.

use std::sync::Arc;

use serde_json::json;
use sluice_api::Qos;
use sluice_broker::BrokerDriver;
use sluice_delivery::Replay;
use sluice_message::{Offset, Partition, Position, Topic};
use tokio::sync::Semaphore;

use crate::{
    bench::{Bench, Offer, patient, until, with},
    receiver::{Receiver, Reply},
};

fn at(topic: &str, next: u64) -> Position {
    let mut position = Position::new();
    position.set_next(&Topic::from(topic), Partition(0), Offset(next));
    position
}

#[tokio::test]
async fn a_replay_by_position_goes_on_there_after_the_call_under_way() {
    let (bench, mut receiver) = (Bench::new(), Receiver::start().await);
    bench.offer(&Offer::default());
    bench.subscribe("s", patient(receiver.url("/"), 3)).await;
    let gate = Arc::new(Semaphore::new(0));
    receiver.answers([Reply::Status(200), Reply::Status(200), Reply::Held(Arc::clone(&gate), 200)]);
    for text in ["one", "two", "three"] {
        bench.publish(text).await;
    }
    assert_eq!(receiver.texts(3).await, ["one", "two", "three"]);
    let asked = bench.replay("s", Replay::After(at("t", 1)));
    let answered = async {
        tokio::task::yield_now().await;
        gate.add_permits(1);
    };
    let (asked, ()) = tokio::join!(asked, answered);
    asked.unwrap();
    assert_eq!(receiver.texts(2).await, ["two", "three"]);
    until(async || bench.next_of("s").await == 3).await;
    assert!(!receiver.has_call());
}

#[tokio::test]
async fn a_replay_by_time_begins_with_what_was_published_then() {
    let (bench, mut receiver) = (Bench::new(), Receiver::start().await);
    bench.offer(&Offer::default());
    bench.subscribe("s", patient(receiver.url("/"), 3)).await;
    bench.publish("one").await;
    assert_eq!(receiver.texts(1).await, ["one"]);
    until(async || bench.next_of("s").await == 1).await;
    bench.replay("s", Replay::Since(0)).await.unwrap();
    assert_eq!(receiver.texts(1).await, ["one"]);
    bench.replay("s", Replay::Since(i64::MAX)).await.unwrap();
    bench.publish("two").await;
    assert_eq!(receiver.texts(1).await, ["two"]);
}

#[tokio::test]
async fn a_replay_never_passes_over_what_is_not_delivered() {
    let (bench, mut receiver) = (Bench::new(), Receiver::start().await);
    bench.offer(&Offer::default());
    bench.subscribe("s", patient(receiver.url("/"), 100_000)).await;
    receiver.poison("one", Some(500));
    bench.publish("one").await;
    bench.publish("two").await;
    until(async || bench.state("s").retrying.is_some()).await;
    bench.replay("s", Replay::Since(i64::MAX)).await.unwrap();
    bench.replay("s", Replay::After(at("t", 2))).await.unwrap();
    assert_eq!(bench.next_of("s").await, 0);
    receiver.poison("one", None);
    while receiver.call().await.text() != "two" {}
    until(async || bench.next_of("s").await == 2).await;
    assert_eq!(bench.metrics.delivered.get(), 2);
}

#[tokio::test]
async fn positions_that_are_none_of_the_api_are_refused() {
    let (bench, receiver) = (Bench::new(), Receiver::start().await);
    bench.offer(&Offer::default());
    let code = async |replay| bench.replay("s", replay).await.unwrap_err().code();
    assert_eq!(code(Replay::Since(0)).await, "replay.not-served");
    let subscription = bench.subscribe("s", patient(receiver.url("/"), 3)).await;
    bench.publish("one").await;
    for position in [at("other", 0), at("t", 2), Position::new()] {
        assert_eq!(code(Replay::After(position)).await, "replay.position.unknown");
    }
    bench.replay("s", Replay::After(at("t", 1))).await.unwrap();
    assert_eq!(code(Replay::DeadLetters).await, "replay.no-dead-letters");
    bench.offer(&Offer { qos: Qos::None, ..Offer::default() });
    assert_eq!(code(Replay::Since(0)).await, "replay.unsupported");
    bench.withdraw();
    assert_eq!(code(Replay::Since(0)).await, "replay.not-served");
    bench.deliveries.remove(&subscription.id, false);
    assert_eq!(code(Replay::Since(0)).await, "replay.not-served");
}

#[tokio::test]
async fn dead_letters_come_again_as_they_were_and_only_once() {
    let (bench, mut receiver) = (Bench::new(), Receiver::start().await);
    let flows = json!([{ "deliver": [{
        "policy": "transform-headers",
        "configuration": { "addHeaders": [{ "name": "X-Seen", "value": "yes" }] },
    }] }]);
    bench.offer(&Offer { dead_letters: true, flows, ..Offer::default() });
    bench.subscribe("s", with(receiver.url("/s"), 1, json!({ "order": "key" }))).await;
    bench.subscribe("other", patient(receiver.url("/other"), 1)).await;
    receiver.poison("bad", Some(422));
    receiver.poison("worse", Some(422));
    bench.publish_of("k", "bad").await;
    bench.publish_of("k", "worse").await;
    receiver.texts(4).await;
    until(async || bench.metrics.dead_lettered.get() == 4).await;
    let letter = bench.dead_letter().await;
    assert!(letter.headers().get("x-seen").is_none(), "the message is as the broker gave it");

    receiver.poison("bad", None);
    bench.replay("s", Replay::DeadLetters).await.unwrap();
    let (first, second) = (receiver.call().await, receiver.call().await);
    assert_eq!((first.text(), second.text(), &*first.path), ("bad", "worse", "/s"));
    assert!(
        first.header("x-seen") == "yes"
            && !first.headers.keys().any(|name| name.as_str().starts_with("sluice-"))
    );
    until(async || bench.metrics.replayed.get() == 2).await;
    assert_eq!(bench.metrics.dead_lettered.get(), 5, "the one that fails again is put there again");

    receiver.poison("worse", None);
    bench.replay("s", Replay::DeadLetters).await.unwrap();
    assert_eq!(receiver.texts(1).await, ["worse"]);
    until(async || bench.metrics.replayed.get() == 3).await;
    bench.publish("usual").await;
    let mut texts = receiver.texts(2).await;
    texts.dedup();
    assert_eq!(texts, ["usual"]);
}

#[tokio::test]
async fn a_replay_of_dead_letters_goes_on_after_a_restart_and_holds_up_no_other_key() {
    let (bench, mut receiver) = (Bench::new(), Receiver::start().await);
    let offer = Offer { dead_letters: true, ..Offer::default() };
    bench.offer(&offer);
    let subscription =
        bench.subscribe("s", with(receiver.url("/"), 100_000, json!({ "order": "key" }))).await;
    receiver.poison("bad", Some(422));
    bench.publish_of("k", "bad").await;
    until(async || bench.metrics.dead_lettered.get() == 1).await;
    receiver.poison("bad", Some(500));
    bench.replay("s", Replay::DeadLetters).await.unwrap();
    until(async || bench.state("s").retrying.is_some()).await;
    bench.publish_of("other", "good").await;
    until(async || bench.metrics.delivered.get() == 1).await;
    let bench = bench.restarted().await;
    receiver.poison("bad", None);
    bench.offer(&offer);
    bench.put(subscription).await;
    until(async || bench.metrics.replayed.get() == 1).await;
    let ends = bench.log.bounds(&[Topic::from("dead")]).await.unwrap();
    assert_eq!(ends.values().map(|kept| kept.end.0).sum::<u64>(), 1);
    while receiver.call().await.text() != "good" {}
}
