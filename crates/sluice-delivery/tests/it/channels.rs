//! APIs with channels: each subscription reads the topics of its own.

use std::{sync::Arc, time::Duration};

use sluice_api::{Callback, Subscription};
use sluice_delivery::{LastFailure, Phase, Replay, ReplayError};
use tokio::sync::Semaphore;

use crate::{
    bench::{Bench, Offer, patient, subscription, until},
    receiver::{Receiver, Reply},
};

pub(crate) fn of(channels: &[(&'static str, &'static str)]) -> Offer {
    Offer { topics: Vec::new(), channels: channels.to_vec(), ..Offer::default() }
}

pub(crate) fn in_channel(id: &str, channel: &str, callback: Callback) -> Subscription {
    Subscription { channel: Some(channel.to_owned()), ..subscription(id, callback) }
}

#[tokio::test]
async fn a_subscription_gets_what_its_channel_has() {
    let (bench, mut receiver) = (Bench::new(), Receiver::start().await);
    bench.offer(&of(&[("paid", "orders.paid"), ("eu/sent", "orders.sent")]));
    bench.put(in_channel("a", "paid", patient(receiver.url("/a"), 3))).await;
    bench.put(in_channel("b", "/paid", patient(receiver.url("/b"), 3))).await;
    bench.put(in_channel("c", "eu/sent", patient(receiver.url("/c"), 3))).await;
    bench.publish_in("orders.sent", "sent").await;
    let call = receiver.call().await;
    assert_eq!((&*call.path, call.text()), ("/c", "sent"));
    bench.publish_in("orders.paid", "paid").await;
    let mut paths = [receiver.call().await, receiver.call().await].map(|call| call.path);
    paths.sort();
    assert_eq!(paths, ["/a", "/b"]);
    until(async || bench.metrics.delivered.get() == 3).await;
    assert!(!receiver.has_call());
    assert_eq!(bench.stream.hub_consumers.get(), 2);
}

#[tokio::test]
async fn one_whose_channel_is_not_there_waits_and_no_other_does() {
    let (bench, mut receiver) = (Bench::new(), Receiver::start().await);
    bench.offer(&of(&[("paid", "orders.paid")]));
    bench.put(in_channel("good", "paid", patient(receiver.url("/"), 3))).await;
    for channel in ["lost", "", "PAID", "paid/more"] {
        bench.deliveries.put(in_channel("bad", channel, patient(receiver.url("/"), 3)));
        until(async || {
            let state = bench.state("bad");
            let says = |failure: &LastFailure| {
                failure.code == "delivery.channel.unknown"
                    && failure.message.contains(&format!("'{channel}'"))
            };
            state.phase == Phase::Blocked && state.last_failure.as_ref().is_some_and(says)
        })
        .await;
    }
    bench.publish_in("orders.paid", "one").await;
    assert_eq!(receiver.texts(1).await, ["one"]);
}

#[tokio::test]
async fn one_whose_channel_was_gone_for_a_while_goes_on_where_it_stopped() {
    let (bench, mut receiver) = (Bench::new(), Receiver::start().await);
    bench.offer(&of(&[("paid", "p"), ("sent", "s")]));
    bench.put(in_channel("s", "paid", patient(receiver.url("/"), 3))).await;
    bench.publish_in("p", "one").await;
    assert_eq!(receiver.texts(1).await, ["one"]);
    until(async || bench.next_of("s").await == 1).await;
    bench.offer(&of(&[("sent", "s")]));
    until(async || bench.state("s").phase == Phase::Blocked).await;
    bench.publish_in("p", "two").await;
    bench.offer(&of(&[("paid", "p")]));
    assert_eq!(receiver.texts(1).await, ["two"]);
}

#[tokio::test]
async fn a_channel_that_gets_another_topic_is_brought_to_its_end_first() {
    let (bench, mut receiver) = (Bench::new(), Receiver::start().await);
    bench.publish_in("new", "long ago").await;
    bench.offer(&of(&[("paid", "old"), ("sent", "new")]));
    bench.put(in_channel("s", "paid", patient(receiver.url("/"), 3))).await;
    let gate = Arc::new(Semaphore::new(0));
    receiver.answers([Reply::Held(Arc::clone(&gate), 200)]);
    for text in ["one", "two"] {
        bench.publish_in("old", text).await;
    }
    assert_eq!(receiver.texts(1).await, ["one"]);
    // The topics of all channels together are the same as before.
    bench.offer(&of(&[("paid", "new"), ("sent", "old")]));
    gate.add_permits(1);
    assert_eq!(receiver.texts(1).await, ["two"]);
    until(async || {
        let reader = sluice_stream::subscription_reader("s");
        let position = bench.positions.load(&reader).await.unwrap().unwrap();
        position.nexts().all(|(topic, ..)| topic.as_str() == "new")
    })
    .await;
    bench.publish_in("old", "for nobody").await;
    bench.publish_in("new", "three").await;
    assert_eq!(receiver.texts(1).await, ["three"]);
    assert_eq!(bench.metrics.lost.get(), 0);
}

#[tokio::test]
async fn only_what_its_channel_had_is_brought_again() {
    let (bench, mut receiver) = (Bench::new(), Receiver::start().await);
    bench.offer(&of(&[("paid", "p"), ("sent", "s")]));
    bench.put(in_channel("s", "paid", patient(receiver.url("/"), 3))).await;
    for (topic, text) in [("p", "one"), ("s", "other"), ("p", "two")] {
        bench.publish_in(topic, text).await;
    }
    assert_eq!(receiver.texts(2).await, ["one", "two"]);
    bench.replay("s", Replay::After("p@0#0".parse().unwrap())).await.unwrap();
    assert_eq!(receiver.texts(1).await, ["two"]);
    bench.replay("s", Replay::Since(0)).await.unwrap();
    assert_eq!(receiver.texts(2).await, ["one", "two"]);
    let other = bench.replay("s", Replay::After("s@0#0".parse().unwrap())).await.unwrap_err();
    assert!(matches!(other, ReplayError::UnknownPosition(_)), "{other}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_subscriptions_of_one_channel_have_one_consumer() {
    const MANY: usize = 1000;
    let (bench, mut receiver) = (Bench::new(), Receiver::start().await);
    bench.offer(&of(&[("paid", "orders.paid"), ("sent", "orders.sent")]));
    for number in 0..MANY {
        let callback = patient(receiver.url(&format!("/{number}")), 3);
        bench.put(in_channel(&number.to_string(), "paid", callback)).await;
    }
    for text in ["one", "two"] {
        bench.publish_in("orders.paid", text).await;
    }
    let mut seen = vec![Vec::new(); MANY];
    for _ in 0..2 * MANY {
        let call = receiver.call().await;
        let number: usize = call.path[1..].parse().unwrap();
        seen[number].push(call.text().to_owned());
    }
    assert!(seen.iter().all(|texts| *texts == ["one", "two"]));
    assert_eq!(bench.stream.hub_consumers.get(), 1);
    assert!(bench.deliveries.shut_down(Duration::from_secs(30)).await);
    assert!(!receiver.has_call());
}
