//! APIs that get another broker.

use std::{sync::Arc, time::Duration};

use sluice_broker::BrokerDriver;
use sluice_delivery::DeliveryOptions;
use sluice_message::{Message, Topic};
use tokio::sync::Semaphore;

use crate::{
    bench::{Bench, Offer, broker, patient, until},
    receiver::{Receiver, Reply},
};

async fn publish(log: &sluice_broker::Log, text: &str) {
    let message = Message::builder().payload(text.to_owned()).build();
    log.publish(&Topic::from("t"), message).await.unwrap();
}

fn draining(drain_timeout: Duration) -> Bench {
    Bench::bounded(DeliveryOptions { drain_timeout, ..DeliveryOptions::default() })
}

#[tokio::test]
async fn the_old_broker_is_drained_first_and_the_new_one_misses_nothing() {
    let (bench, mut receiver) = (Bench::new(), Receiver::start().await);
    let (_dir, new) = broker();
    publish(&new, "long ago").await;
    bench.offer(&Offer::default());
    bench.subscribe("s", patient(receiver.url("/"), 3)).await;
    let gate = Arc::new(Semaphore::new(0));
    receiver.answers([Reply::Held(Arc::clone(&gate), 200)]);
    for text in ["one", "two", "three"] {
        bench.publish(text).await;
    }
    assert_eq!(receiver.texts(1).await, ["one"]);
    bench.offer_from(&new, "new", &Offer::default());
    gate.add_permits(1);
    assert_eq!(receiver.texts(2).await, ["two", "three"]);
    until(async || bench.notes.read("broker:s").await.unwrap().is_some_and(|note| note.contains("new")))
        .await;
    publish(&new, "four").await;
    assert_eq!(receiver.texts(1).await, ["four"]);
    until(async || bench.next_of("s").await == 2).await;
    assert!(!receiver.has_call());
}

#[tokio::test]
async fn a_position_is_never_applied_at_another_broker() {
    let (bench, mut receiver) = (Bench::new(), Receiver::start().await);
    bench.offer(&Offer::default());
    let subscription = bench.subscribe("s", patient(receiver.url("/"), 3)).await;
    bench.publish("one").await;
    assert_eq!(receiver.texts(1).await, ["one"]);
    until(async || bench.next_of("s").await == 1).await;
    let bench = bench.restarted().await;
    let (_dir, new) = broker();
    for text in ["old", "older", "oldest"] {
        publish(&new, text).await;
    }
    bench.offer_from(&new, "new", &Offer::default());
    bench.put(subscription).await;
    until(async || bench.next_of("s").await == 3).await;
    publish(&new, "two").await;
    assert_eq!(receiver.texts(1).await, ["two"]);
}

#[tokio::test]
async fn what_cannot_be_brought_in_time_is_left_behind() {
    let (bench, mut receiver) = (draining(Duration::from_millis(300)), Receiver::start().await);
    let (_dir, new) = broker();
    bench.offer(&Offer::default());
    bench.subscribe("s", patient(receiver.url("/"), 100_000)).await;
    receiver.poison("never", Some(500));
    bench.publish("never").await;
    until(async || bench.metrics.failed_calls.get() > 0).await;
    bench.offer_from(&new, "new", &Offer::default());
    publish(&new, "one").await;
    while receiver.call().await.text() != "one" {}
    until(async || bench.state("s").retrying.is_none() && bench.next_of("s").await == 1).await;
}

#[tokio::test]
async fn a_move_that_a_crash_cut_off_misses_nothing_of_the_new_broker() {
    let (bench, mut receiver) = (draining(Duration::from_secs(3600)), Receiver::start().await);
    let (_dir, new) = broker();
    publish(&new, "long ago").await;
    bench.offer(&Offer::default());
    let subscription = bench.subscribe("s", patient(receiver.url("/"), 100_000)).await;
    receiver.poison("never", Some(500));
    bench.publish("never").await;
    until(async || bench.metrics.failed_calls.get() > 0).await;
    bench.offer_from(&new, "new", &Offer::default());
    until(async || bench.notes.read("broker:s").await.unwrap().is_some_and(|note| note.contains("new")))
        .await;
    let bench = bench.restarted().await;
    publish(&new, "one").await;
    bench.offer_from(&new, "new", &Offer::default());
    bench.put(subscription).await;
    while receiver.call().await.text() != "one" {}
    until(async || bench.next_of("s").await == 2).await;
}

#[tokio::test]
async fn another_connection_to_the_same_broker_keeps_the_position() {
    let (bench, mut receiver) = (Bench::new(), Receiver::start().await);
    bench.offer(&Offer::default());
    bench.subscribe("s", patient(receiver.url("/"), 3)).await;
    bench.publish("one").await;
    assert_eq!(receiver.texts(1).await, ["one"]);
    until(async || bench.next_of("s").await == 1).await;
    bench.withdraw();
    bench.publish("two").await;
    bench.offer(&Offer::default());
    assert_eq!(receiver.texts(1).await, ["two"]);
}
