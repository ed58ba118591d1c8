//! Which messages of one subscription wait for which.

use std::{collections::BTreeSet, sync::Arc};

use serde_json::json;
use sluice_api::{Callback, Qos};
use sluice_delivery::{DeliveryOptions, Phase};
use tokio::sync::Semaphore;

use crate::{
    bench::{Bench, Offer, until, with},
    receiver::{Receiver, Reply},
};

fn ordered(receiver: &Receiver, order: &str) -> Callback {
    with(receiver.url("/"), 100_000, json!({ "order": order }))
}

#[tokio::test]
async fn a_poisoned_key_keeps_its_order_and_holds_up_no_other_key() {
    let (bench, mut receiver) = (Bench::new(), Receiver::start().await);
    bench.offer(&Offer::default());
    bench.subscribe("s", ordered(&receiver, "key")).await;
    receiver.poison("a0", Some(500));
    for number in 0..20 {
        bench.publish_of("a", &format!("a{number}")).await;
        bench.publish_of("b", &format!("b{number}")).await;
    }
    let mut others = Vec::new();
    while others.len() < 20 {
        let text = receiver.call().await.text().to_owned();
        if text != "a0" {
            others.push(text);
        }
    }
    assert_eq!(others, (0..20).map(|number| format!("b{number}")).collect::<Vec<_>>());
    until(async || bench.state("s").phase == Phase::Retrying && bench.state("s").delivered == 20).await;
    assert_eq!(bench.next_of("s").await, 0, "nothing behind the poisoned message counts");
    until(async || bench.state("s").lag == 20).await;
    receiver.poison("a0", None);
    let mut of_key = Vec::new();
    while of_key.len() < 19 {
        let text = receiver.call().await.text().to_owned();
        if text != "a0" {
            of_key.push(text);
        }
    }
    assert_eq!(of_key, (1..20).map(|number| format!("a{number}")).collect::<Vec<_>>());
    until(async || bench.next_of("s").await == 40).await;
}

#[tokio::test]
async fn after_a_restart_each_key_is_in_order_and_nothing_is_missed() {
    let (bench, mut receiver) = (Bench::new(), Receiver::start().await);
    bench.offer(&Offer::default());
    let subscription = bench.subscribe("s", ordered(&receiver, "key")).await;
    receiver.poison("a0", Some(500));
    for text in ["a0", "b0", "a1", "b1"] {
        bench.publish_of(&text[..1], text).await;
    }
    until(async || bench.metrics.delivered.get() == 2).await;
    let bench = bench.restarted().await;
    receiver.poison("a0", None);
    while receiver.has_call() {
        receiver.call().await;
    }
    bench.offer(&Offer::default());
    bench.put(subscription).await;
    let mut texts = receiver.texts(4).await;
    texts.sort_by_key(|text| text[..1].to_owned());
    assert_eq!(texts, ["a0", "a1", "b0", "b1"]);
}

#[tokio::test]
async fn without_order_no_message_waits_for_another() {
    let (bench, mut receiver) = (Bench::new(), Receiver::start().await);
    bench.offer(&Offer::default());
    bench.subscribe("s", ordered(&receiver, "none")).await;
    receiver.poison("poison", Some(500));
    bench.publish("poison").await;
    for number in 0..10 {
        bench.publish(&number.to_string()).await;
    }
    until(async || bench.metrics.delivered.get() == 10).await;
    assert_eq!(bench.next_of("s").await, 0);
    receiver.poison("poison", None);
    until(async || bench.next_of("s").await == 11).await;
    assert!(receiver.texts(11).await.contains(&"poison".to_owned()));
}

#[tokio::test]
async fn so_many_calls_are_under_way_and_no_more() {
    let (bench, mut receiver) = (Bench::new(), Receiver::start().await);
    let webhook = json!({ "http": { "maxConcurrentConnections": 3 } });
    bench.offer(&Offer { webhook, ..Offer::default() });
    bench.subscribe("s", ordered(&receiver, "key")).await;
    let gate = Arc::new(Semaphore::new(0));
    receiver.answers((0..8).map(|_| Reply::Held(Arc::clone(&gate), 200)));
    for number in 0..8 {
        bench.publish_of(&number.to_string(), &number.to_string()).await;
    }
    receiver.texts(3).await;
    until(async || bench.state("s").lag == 8).await;
    assert!(bench.state("s").in_flight == 3 && !receiver.has_call());
    gate.add_permits(8);
    receiver.texts(5).await;
    until(async || bench.next_of("s").await == 8).await;
}

#[tokio::test]
async fn at_most_once_by_key_repeats_nothing_that_went_out_and_misses_nothing_that_did_not() {
    let (bench, mut receiver) = (Bench::new(), Receiver::start().await);
    let once = Offer { qos: Qos::AtMostOnce, ..Offer::default() };
    bench.offer(&once);
    let subscription = bench.subscribe("s", ordered(&receiver, "key")).await;
    let never = Arc::new(Semaphore::new(0));
    receiver.answers([Reply::Held(Arc::clone(&never), 200), Reply::Held(never, 200)]);
    for text in ["a0", "b0", "a1", "b1"] {
        bench.publish_of(&text[..1], text).await;
    }
    let mut texts = receiver.texts(2).await;
    texts.sort();
    assert_eq!(texts, ["a0", "b0"]);
    assert_eq!(bench.next_of("s").await, 2, "the position is behind what went out, and nothing else");
    assert!(!bench.deliveries.shut_down(std::time::Duration::from_millis(50)).await);
    let bench = bench.reborn();
    bench.offer(&once);
    bench.put(subscription).await;
    let mut texts = receiver.texts(2).await;
    texts.sort();
    assert_eq!(texts, ["a1", "b1"]);
    until(async || bench.next_of("s").await == 4).await;
    assert!(!receiver.has_call());
}

#[tokio::test]
async fn what_is_held_and_what_is_tried_again_is_bounded_and_then_reading_waits() {
    let webhook = json!({ "http": { "maxConcurrentConnections": 1 } });
    // One of a key, with two held behind it; or two that are tried again, and one call under way.
    for (order, called) in [("key", 1), ("none", 3)] {
        let options = DeliveryOptions { held_messages: 2, ..DeliveryOptions::default() };
        let (bench, mut receiver) = (Bench::bounded(options), Receiver::start().await);
        bench.offer(&Offer { webhook: webhook.clone(), ..Offer::default() });
        bench.subscribe("s", ordered(&receiver, order)).await;
        let all = ["a0", "a1", "a2", "a3", "b0"];
        all.iter().for_each(|text| receiver.poison(text, Some(500)));
        for text in all {
            bench.publish_of(&text[..1], text).await;
        }
        let mut seen = BTreeSet::new();
        until(async || bench.metrics.failed_calls.get() >= 10).await;
        while receiver.has_call() {
            seen.insert(receiver.call().await.text().to_owned());
        }
        assert!(seen.len() <= called && !seen.contains("b0"), "{order}: {seen:?}");
        all.iter().for_each(|text| receiver.poison(text, None));
        until(async || bench.next_of("s").await == 5).await;
    }
}
