//! What a subscription gets after it was away.

use std::sync::Arc;

use serde_json::json;
use sluice_api::{Qos, Subscription};
use sluice_broker::BrokerDriver;
use tokio::sync::Semaphore;

use crate::{
    bench::{Bench, Offer, patient, until},
    receiver::{Receiver, Reply},
};

#[tokio::test]
async fn a_restart_continues_behind_what_was_taken() {
    let (bench, mut receiver) = (Bench::new(), Receiver::start().await);
    bench.offer(&Offer::default());
    let subscription = bench.subscribe("s", patient(receiver.url("/"), 3)).await;
    bench.publish("one").await;
    assert_eq!(receiver.texts(1).await, ["one"]);
    until(async || bench.next_of("s").await == 1).await;
    let bench = bench.restarted().await;
    bench.publish("two").await;
    bench.publish("three").await;
    bench.offer(&Offer::default());
    bench.put(subscription).await;
    assert_eq!(receiver.texts(2).await, ["two", "three"]);
    assert!(!receiver.has_call());
}

#[tokio::test]
async fn what_is_published_while_a_subscription_rests_comes_when_it_is_resumed() {
    let (bench, mut receiver) = (Bench::new(), Receiver::start().await);
    bench.offer(&Offer::default());
    let subscription = bench.subscribe("s", patient(receiver.url("/"), 3)).await;
    bench.deliveries.remove(&subscription.id, false);
    bench.publish("one").await;
    bench.deliveries.put(subscription.clone());
    assert_eq!(receiver.texts(1).await, ["one"]);
    bench.withdraw();
    bench.publish("two").await;
    bench.offer(&Offer::default());
    assert_eq!(receiver.texts(1).await, ["two"]);
}

#[tokio::test]
async fn a_closed_subscription_is_forgotten_and_may_begin_anew() {
    let (bench, mut receiver) = (Bench::new(), Receiver::start().await);
    bench.offer(&Offer::default());
    let subscription = bench.subscribe("s", patient(receiver.url("/"), 3)).await;
    bench.deliveries.remove(&subscription.id, true);
    let reader = sluice_stream::subscription_reader("s");
    until(async || bench.positions.load(&reader).await.unwrap().is_none()).await;
    bench.put(subscription).await;
    bench.publish("seen").await;
    assert_eq!(receiver.texts(1).await, ["seen"]);
}

#[tokio::test]
async fn a_redeployment_in_the_middle_of_a_call_repeats_and_loses_nothing() {
    let (bench, mut receiver) = (Bench::new(), Receiver::start().await);
    // Deployments of a gateway have the connection in common.
    let driver: Arc<dyn BrokerDriver> = Arc::new(bench.log.clone());
    let connection = || Arc::clone(&driver);
    bench.offer_by(connection, &Offer::default());
    bench.subscribe("s", patient(receiver.url("/"), 3)).await;
    let gate = Arc::new(Semaphore::new(0));
    receiver.answers([Reply::Held(Arc::clone(&gate), 200)]);
    bench.publish("one").await;
    assert_eq!(receiver.texts(1).await, ["one"]);
    let flows = json!([{ "deliver": [{
        "policy": "transform-headers",
        "configuration": { "addHeaders": [{ "name": "X-New", "value": "yes" }] },
    }] }]);
    bench.offer_by(connection, &Offer { flows, ..Offer::default() });
    bench.publish("two").await;
    gate.add_permits(1);
    let call = receiver.call().await;
    assert_eq!((call.text(), call.headers.get("x-new").is_some()), ("two", true));
}

#[tokio::test]
async fn at_most_once_a_message_is_not_sent_again_after_a_call_that_was_cut_off() {
    let (bench, mut receiver) = (Bench::new(), Receiver::start().await);
    let once = Offer { qos: Qos::AtMostOnce, ..Offer::default() };
    bench.offer(&once);
    let subscription = bench.subscribe("s", patient(receiver.url("/"), 3)).await;
    let never = Arc::new(Semaphore::new(0));
    receiver.answers([Reply::Held(never, 200)]);
    bench.publish("one").await;
    assert_eq!(receiver.texts(1).await, ["one"]);
    assert_eq!(bench.next_of("s").await, 1, "the position is stored before the call");
    // The gateway is killed: nothing is finished.
    assert!(!bench.deliveries.shut_down(std::time::Duration::from_millis(50)).await);
    let bench = bench.reborn();
    bench.offer(&once);
    bench.put(subscription).await;
    bench.publish("two").await;
    assert_eq!(receiver.texts(1).await, ["two"]);
}

#[tokio::test]
async fn a_changed_subscription_is_served_by_its_new_settings_from_the_next_message_on() {
    let (bench, mut former) = (Bench::new(), Receiver::start().await);
    let mut latter = Receiver::start().await;
    bench.offer(&Offer::default());
    let subscription = bench.subscribe("s", patient(former.url("/"), 3)).await;
    bench.publish("one").await;
    assert_eq!(former.texts(1).await, ["one"]);
    until(async || bench.next_of("s").await == 1).await;
    bench.put(Subscription { callback: patient(latter.url("/"), 3), ..subscription }).await;
    bench.publish("two").await;
    assert_eq!(latter.texts(1).await, ["two"]);
    assert!(!former.has_call());
}

#[tokio::test]
async fn a_change_that_came_before_a_failure_is_served() {
    let (mut bench, mut former) = (Bench::new(), Receiver::start().await);
    let mut latter = Receiver::start().await;
    bench.offer(&Offer::default());
    let subscription = bench.subscribe("s", patient(former.url("/"), 3)).await;
    let gate = Arc::new(Semaphore::new(0));
    former.answers([Reply::Held(Arc::clone(&gate), 410)]);
    bench.publish("one").await;
    assert_eq!(former.texts(1).await, ["one"]);
    bench.deliveries.put(Subscription { callback: patient(latter.url("/"), 3), ..subscription });
    // The worker has taken note of the change before the answer comes.
    tokio::task::yield_now().await;
    gate.add_permits(1);
    assert_eq!(latter.texts(1).await, ["one"]);
    assert!(bench.failures.try_recv().is_err());
}

#[tokio::test]
async fn at_most_once_a_message_that_was_surely_not_taken_survives_a_change() {
    let (bench, mut receiver) = (Bench::new(), Receiver::start().await);
    let once = Offer { qos: Qos::AtMostOnce, ..Offer::default() };
    bench.offer(&once);
    let mut callback = patient(receiver.url("/"), 3);
    (callback.retry.initial_delay_seconds, callback.retry.max_delay_seconds) = (3600, 3600);
    let subscription = bench.subscribe("s", callback).await;
    receiver.answers([Reply::Status(503)]);
    bench.publish("one").await;
    assert_eq!(receiver.texts(1).await, ["one"]);
    bench.deliveries.put(Subscription { callback: patient(receiver.url("/"), 3), ..subscription });
    assert_eq!(receiver.texts(1).await, ["one"]);
}
