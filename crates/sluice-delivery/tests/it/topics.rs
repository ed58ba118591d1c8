//! APIs whose topics change at the same broker.

use std::{sync::Arc, time::Duration};

use sluice_delivery::DeliveryOptions;
use sluice_message::Topic;
use sluice_stream::subscription_reader;
use tokio::sync::Semaphore;

use crate::{
    bench::{Bench, Offer, patient, until},
    receiver::{Receiver, Reply},
};

fn of(topics: &[&'static str]) -> Offer {
    Offer { topics: topics.to_vec(), ..Offer::default() }
}

/// The topics in which a subscription has a position.
async fn read(bench: &Bench) -> Vec<Topic> {
    let position = bench.positions.load(&subscription_reader("s")).await.unwrap().unwrap();
    position.nexts().map(|(topic, ..)| topic.clone()).collect()
}

#[tokio::test]
async fn a_dropped_topic_is_brought_first_and_the_others_keep_their_position() {
    let (bench, mut receiver) = (Bench::new(), Receiver::start().await);
    for topic in ["t", "u", "v"] {
        bench.publish_in(topic, "long ago").await;
    }
    bench.offer(&of(&["t", "u"]));
    bench.subscribe("s", patient(receiver.url("/"), 3)).await;
    let gate = Arc::new(Semaphore::new(0));
    receiver.answers([Reply::Held(Arc::clone(&gate), 200)]);
    for (topic, text) in [("t", "one"), ("u", "two"), ("u", "three")] {
        bench.publish_in(topic, text).await;
    }
    let mut texts = receiver.texts(1).await;
    bench.offer(&of(&["t", "v"]));
    gate.add_permits(1);
    texts.extend(receiver.texts(2).await);
    texts.sort();
    assert_eq!(texts, ["one", "three", "two"]);
    until(async || read(&bench).await == ["t", "v"].map(Topic::from)).await;
    bench.publish_in("u", "for nobody").await;
    for (topic, text) in [("t", "four"), ("v", "five")] {
        bench.publish_in(topic, text).await;
        assert_eq!(receiver.texts(1).await, [text]);
    }
    assert_eq!(bench.metrics.lost.get(), 0);
}

#[tokio::test]
async fn what_is_left_of_a_dropped_topic_is_counted() {
    let options = DeliveryOptions { drain_timeout: Duration::from_millis(300), ..DeliveryOptions::default() };
    let (bench, mut receiver) = (Bench::bounded(options), Receiver::start().await);
    bench.offer(&of(&["t", "u"]));
    bench.subscribe("s", patient(receiver.url("/"), 100_000)).await;
    receiver.poison("never", Some(500));
    bench.publish_in("u", "never").await;
    until(async || bench.metrics.failed_calls.get() > 0).await;
    bench.publish_in("u", "neither").await;
    bench.publish_in("t", "one").await;
    bench.offer(&of(&["t"]));
    while receiver.call().await.text() != "one" {}
    until(async || bench.next_of("s").await == 1).await;
    assert_eq!(bench.metrics.lost.get(), 2);
}

#[tokio::test]
async fn what_was_dropped_while_the_gateway_was_down_is_counted() {
    let (bench, mut receiver) = (Bench::new(), Receiver::start().await);
    bench.publish_in("u", "long ago").await;
    bench.offer(&of(&["t", "u"]));
    let subscription = bench.subscribe("s", patient(receiver.url("/"), 3)).await;
    let bench = bench.restarted().await;
    bench.publish_in("u", "one").await;
    bench.offer(&of(&["t"]));
    bench.put(subscription).await;
    until(async || bench.metrics.lost.get() == 1).await;
    bench.publish("two").await;
    assert_eq!(receiver.texts(1).await, ["two"]);
}
