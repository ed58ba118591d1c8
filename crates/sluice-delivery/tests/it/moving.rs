//! APIs that get another broker.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures_util::future::BoxFuture;
use serde_json::json;
use sluice_api::SubscriptionId;
use sluice_broker::{
    Bounds, BrokerDriver, Capabilities, ConsumeSpec, Consumer, DriverError, ErrorKind, Log, Receipt,
};
use sluice_delivery::{DeliveryOptions, Phase};
use sluice_message::{Message, Position, Topic};
use tokio::sync::Semaphore;

use crate::{
    bench::{Bench, Offer, broker, patient, until},
    receiver::{Receiver, Reply},
};

async fn publish(log: &Log, text: &str) {
    let message = Message::builder().payload(text.to_owned()).build();
    log.publish(&Topic::from("t"), message).await.unwrap();
}

/// Waits until it is noted that the subscription is at this broker, or will be.
async fn noted(bench: &Bench, broker: &Log) {
    let name = broker.identity().await.unwrap();
    until(async || bench.notes.read("broker:s").await.unwrap().is_some_and(|note| note.contains(&name)))
        .await;
}

/// A connection to a log that does not say to which, until it is told to.
struct Shy {
    log: Log,
    tells: Arc<AtomicBool>,
}

impl BrokerDriver for Shy {
    fn capabilities(&self) -> Capabilities {
        self.log.capabilities()
    }

    fn identity(&self) -> BoxFuture<'_, Result<String, DriverError>> {
        if self.tells.load(Ordering::SeqCst) {
            return self.log.identity();
        }
        Box::pin(async { Err(DriverError::new(ErrorKind::Unreachable, "Not known yet.")) })
    }

    fn publish<'a>(
        &'a self,
        topic: &'a Topic,
        message: Message,
    ) -> BoxFuture<'a, Result<Receipt, DriverError>> {
        self.log.publish(topic, message)
    }

    fn consume(&self, spec: ConsumeSpec) -> BoxFuture<'_, Result<Box<dyn Consumer>, DriverError>> {
        self.log.consume(spec)
    }

    fn bounds<'a>(&'a self, topics: &'a [Topic]) -> BoxFuture<'a, Result<Bounds, DriverError>> {
        self.log.bounds(topics)
    }

    fn position_at<'a>(
        &'a self,
        topics: &'a [Topic],
        timestamp_ms: i64,
    ) -> BoxFuture<'a, Result<Position, DriverError>> {
        self.log.position_at(topics, timestamp_ms)
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        self.log.close()
    }
}

/// Offers the broker by a connection that says which one it is when it is told to.
fn offer_shy(bench: &Bench, log: &Log) -> Arc<AtomicBool> {
    let tells = Arc::new(AtomicBool::new(false));
    bench.offer_by(|| Arc::new(Shy { log: log.clone(), tells: Arc::clone(&tells) }), &Offer::default());
    tells
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
    bench.offer_from(&new, &Offer::default());
    gate.add_permits(1);
    assert_eq!(receiver.texts(2).await, ["two", "three"]);
    noted(&bench, &new).await;
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
    bench.offer_from(&new, &Offer::default());
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
    bench.offer_from(&new, &Offer::default());
    publish(&new, "one").await;
    while receiver.call().await.text() != "one" {}
    until(async || bench.state("s").retrying.is_none() && bench.next_of("s").await == 1).await;
    assert_eq!(bench.metrics.lost.get(), 1);
}

#[tokio::test]
async fn deliveries_go_on_at_the_old_broker_while_the_new_one_does_not_answer() {
    let (bench, mut receiver) = (draining(Duration::from_secs(3600)), Receiver::start().await);
    let (_dir, new) = broker();
    bench.offer(&Offer::default());
    bench.subscribe("s", patient(receiver.url("/"), 3)).await;
    let tells = offer_shy(&bench, &new);
    for text in ["one", "two"] {
        bench.publish(text).await;
        assert_eq!(receiver.texts(1).await, [text]);
    }
    publish(&new, "before it answers").await;
    tells.store(true, Ordering::SeqCst);
    noted(&bench, &new).await;
    publish(&new, "three").await;
    assert_eq!(receiver.texts(2).await, ["before it answers", "three"]);
    assert_eq!(bench.metrics.lost.get(), 0);
}

#[tokio::test]
async fn at_a_new_broker_that_answers_too_late_it_begins_where_the_api_says() {
    let (bench, mut receiver) = (draining(Duration::from_millis(300)), Receiver::start().await);
    let (_dir, new) = broker();
    publish(&new, "long ago").await;
    bench.offer(&Offer::default());
    bench.subscribe("s", patient(receiver.url("/"), 100_000)).await;
    receiver.poison("never", Some(500));
    bench.publish("never").await;
    until(async || bench.metrics.failed_calls.get() > 0).await;
    let tells = offer_shy(&bench, &new);
    let unknown =
        async || bench.state("s").last_failure.is_some_and(|last| last.code == "broker.unreachable");
    until(unknown).await;
    assert_eq!(bench.metrics.lost.get(), 0, "it may be the same broker");
    tells.store(true, Ordering::SeqCst);
    noted(&bench, &new).await;
    until(async || bench.metrics.lost.get() == 1).await;
    bench.deliveries.placed(&SubscriptionId("s".to_owned())).await;
    until(async || bench.state("s").phase == Phase::Delivering).await;
    publish(&new, "one").await;
    while receiver.call().await.text() != "one" {}
    until(async || bench.next_of("s").await == 2).await;
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
    bench.offer_from(&new, &Offer::default());
    noted(&bench, &new).await;
    let bench = bench.restarted().await;
    publish(&new, "one").await;
    bench.offer_from(&new, &Offer::default());
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

#[tokio::test]
async fn a_running_subscription_goes_on_by_another_connection_to_the_same_broker() {
    let (bench, receiver) = (draining(Duration::from_secs(3600)), Receiver::start().await);
    bench.offer(&Offer::default());
    bench.subscribe("s", patient(receiver.url("/"), 100_000)).await;
    receiver.poison("one", Some(500));
    bench.publish("one").await;
    until(async || bench.metrics.failed_calls.get() > 0).await;
    let noted = bench.notes.read("broker:s").await.unwrap();
    let none =
        json!({ "policy": "message-filtering", "configuration": { "filter": "{#message.content == ''}" } });
    bench.offer(&Offer { flows: json!([{ "deliver": [none] }]), ..Offer::default() });
    // Nothing is drained: what the old connection could not bring is met by the new policies.
    until(async || bench.next_of("s").await == 1).await;
    assert_eq!(bench.notes.read("broker:s").await.unwrap(), noted);
}

#[tokio::test]
async fn after_a_restart_it_waits_until_its_broker_says_who_it_is() {
    let (bench, mut receiver) = (Bench::new(), Receiver::start().await);
    bench.offer(&Offer::default());
    let subscription = bench.subscribe("s", patient(receiver.url("/"), 3)).await;
    let bench = bench.restarted().await;
    bench.publish("one").await;
    let tells = offer_shy(&bench, &bench.log);
    bench.put(subscription).await;
    until(async || bench.state("s").last_failure.is_some()).await;
    assert!(!receiver.has_call());
    tells.store(true, Ordering::SeqCst);
    assert_eq!(receiver.texts(1).await, ["one"]);
}

#[tokio::test]
async fn a_connection_that_says_late_that_it_leads_to_the_same_broker_loses_nothing() {
    let (bench, mut receiver) = (draining(Duration::from_millis(100)), Receiver::start().await);
    bench.offer(&Offer::default());
    bench.subscribe("s", patient(receiver.url("/"), 3)).await;
    let tells = offer_shy(&bench, &bench.log);
    until(async || bench.state("s").last_failure.is_some()).await;
    bench.publish("one").await;
    assert!(!receiver.has_call(), "what is there is not known to be the same");
    tells.store(true, Ordering::SeqCst);
    assert_eq!(receiver.texts(1).await, ["one"]);
}
