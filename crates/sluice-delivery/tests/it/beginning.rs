//! Subscriptions that begin where their topics stood at an earlier moment.

use std::sync::Arc;

use sluice_api::{Qos, SubscriptionId};
use sluice_broker::{BrokerDriver, Log};
use sluice_message::{Position, Topic};

use crate::{
    bench::{Bench, Offer, broker, patient, subscription, until},
    receiver::Receiver,
};

/// Behind everything that the topic of a broker has now.
async fn now(log: &Log) -> Position {
    let mut position = Position::new();
    for ((topic, partition), kept) in log.bounds(&[Topic::from("t")]).await.unwrap() {
        position.set_next(&topic, partition, kept.end);
    }
    position
}

/// Notes that the subscription begins here and now.
async fn begin(bench: &Bench, log: &Log) {
    let (id, broker) = (SubscriptionId("s".to_owned()), log.identity().await.unwrap());
    bench.deliveries.begin_at(&id, &broker, &now(log).await).await.unwrap();
}

#[tokio::test]
async fn what_was_published_before_it_is_served_comes_once_with_every_qos() {
    for qos in [Qos::Auto, Qos::AtLeastOnce, Qos::AtMostOnce, Qos::None] {
        for before in [0, 3] {
            let (bench, mut receiver) = (Bench::new(), Receiver::start().await);
            let offer = Offer { qos, ..Offer::default() };
            for _ in 0..before {
                bench.publish("before").await;
            }
            begin(&bench, &bench.log).await;
            bench.publish("one").await;
            let bench = bench.restarted().await;
            bench.publish("two").await;
            bench.offer(&offer);
            let subscription = subscription("s", patient(receiver.url("/"), 3));
            bench.deliveries.put(subscription.clone());
            assert_eq!(receiver.texts(2).await, ["one", "two"], "{qos:?}");
            bench.publish("three").await;
            assert_eq!(receiver.texts(1).await, ["three"], "{qos:?}");
            until(async || bench.metrics.delivered.get() == 3).await;

            let bench = bench.restarted().await;
            bench.offer(&offer);
            bench.deliveries.put(subscription.clone());
            bench.deliveries.placed(&subscription.id).await;
            bench.publish("four").await;
            assert_eq!(receiver.texts(1).await, ["four"], "{qos:?}: it begins there once");
        }
    }
}

#[tokio::test]
async fn at_another_broker_it_begins_where_the_api_says() {
    for qos in [Qos::Auto, Qos::None] {
        let (bench, mut receiver) = (Bench::new(), Receiver::start().await);
        let (_dir, other) = broker();
        begin(&bench, &other).await;
        bench.publish("before").await;
        bench.offer(&Offer { qos, ..Offer::default() });
        let subscription = subscription("s", patient(receiver.url("/"), 3));
        bench.deliveries.put(subscription.clone());
        bench.deliveries.placed(&subscription.id).await;
        bench.publish("one").await;
        assert_eq!(receiver.texts(1).await, ["one"], "{qos:?}");
    }
}

#[tokio::test]
async fn a_topic_that_was_made_anew_since_is_read_from_its_first_message() {
    for qos in [Qos::Auto, Qos::None] {
        let (bench, mut receiver) = (Bench::new(), Receiver::start().await);
        let (id, broker) = (SubscriptionId("s".to_owned()), bench.log.identity().await.unwrap());
        // Beyond what is there.
        bench.deliveries.begin_at(&id, &broker, &"t@0#9".parse().unwrap()).await.unwrap();
        bench.publish("one").await;
        bench.offer_by(|| Arc::new(bench.log.clone()), &Offer { qos, ..Offer::default() });
        bench.deliveries.put(subscription("s", patient(receiver.url("/"), 3)));
        assert_eq!(receiver.texts(1).await, ["one"], "{qos:?}");
    }
}

#[tokio::test]
async fn one_that_is_closed_before_it_was_served_leaves_nothing() {
    let bench = Bench::new();
    begin(&bench, &bench.log).await;
    assert!(bench.notes.read("broker:s").await.unwrap().is_some());
    bench.deliveries.remove(&SubscriptionId("s".to_owned()), true);
    until(async || {
        bench.notes.read("broker:s").await.unwrap().is_none()
            && bench.positions.load("subscription-next:s").await.unwrap().is_none()
    })
    .await;
}
