//! What each answer of a subscriber leads to.

use serde_json::json;
use sluice_api::Callback;

use crate::{
    bench::{Bench, Offer, patient, subscription, until},
    receiver::{Receiver, Reply},
};

#[tokio::test]
async fn messages_arrive_in_order_as_they_are_with_the_subscribers_headers() {
    let (bench, mut receiver) = (Bench::new(), Receiver::start().await);
    bench.offer(&Offer::default());
    let mut callback = Callback::to(receiver.url("/hook?x=1"));
    callback.headers = sluice_api::from_value(json!([{ "name": "X-Own", "value": "v" }])).unwrap();
    bench.subscribe("s", callback).await;
    for number in 0..20 {
        bench.publish(&format!("message {number}")).await;
    }
    let first = receiver.call().await;
    assert_eq!(
        (first.text(), &*first.path, &first.headers["x-own"]),
        ("message 0", "/hook?x=1", &"v".parse().unwrap())
    );
    let expected: Vec<_> = (1..20).map(|number| format!("message {number}")).collect();
    assert_eq!(receiver.texts(19).await, expected);
    until(async || bench.next_of("s").await == 20).await;
    assert_eq!(bench.metrics.delivered.get(), 20);
}

#[tokio::test]
async fn a_server_error_is_tried_again_and_nothing_overtakes_it() {
    let (bench, mut receiver) = (Bench::new(), Receiver::start().await);
    bench.offer(&Offer::default());
    bench.subscribe("s", patient(receiver.url("/"), 3)).await;
    receiver.answers([Reply::Status(500), Reply::Status(503)]);
    bench.publish("one").await;
    bench.publish("two").await;
    assert_eq!(receiver.texts(4).await, ["one", "one", "one", "two"]);
    until(async || bench.metrics.delivered.get() == 2).await;
    assert_eq!(bench.metrics.failed_calls.get(), 2);
}

#[tokio::test]
async fn after_the_last_try_the_subscription_fails_and_goes_on_with_the_same_message() {
    let (mut bench, mut receiver) = (Bench::new(), Receiver::start().await);
    bench.offer(&Offer::default());
    let subscription = bench.subscribe("s", patient(receiver.url("/"), 2)).await;
    receiver.answers([Reply::Status(500), Reply::Status(500)]);
    bench.publish("one").await;
    let failed = bench.failure().await;
    assert_eq!((failed.cause.code, failed.cause.status), ("delivery.status", Some(500)));
    assert_eq!(receiver.texts(2).await, ["one", "one"]);
    // The worker leaves right after its report.
    until(async || {
        bench.deliveries.put(subscription.clone());
        bench.metrics.delivered.get() == 1
    })
    .await;
    assert_eq!(receiver.texts(1).await, ["one"]);
}

#[tokio::test]
async fn a_message_that_is_refused_goes_to_the_dead_letters_with_the_reason() {
    let (bench, mut receiver) = (Bench::new(), Receiver::start().await);
    bench.offer(&Offer { dead_letters: true, ..Offer::default() });
    bench.subscribe("s", patient(receiver.url("/"), 3)).await;
    receiver.answers([Reply::Status(422)]);
    bench.publish("bad").await;
    bench.publish("good").await;
    assert_eq!(receiver.texts(2).await, ["bad", "good"]);
    let letter = bench.dead_letter().await;
    let header = |name: &str| String::from_utf8_lossy(letter.headers().get(name).unwrap()).into_owned();
    assert_eq!(letter.payload(), b"bad");
    assert_eq!((header("sluice-dlq-status"), header("sluice-dlq-attempts")), ("422".into(), "1".into()));
    assert_eq!((header("sluice-dlq-topic"), header("sluice-dlq-offset")), ("t".into(), "0".into()));
    assert_eq!(
        (header("sluice-dlq-subscription"), header("sluice-dlq-code")),
        ("s".into(), "delivery.refused".into())
    );
    until(async || bench.next_of("s").await == 2).await;
}

#[tokio::test]
async fn a_message_that_is_refused_without_dead_letters_stops_the_subscription() {
    let (mut bench, receiver) = (Bench::new(), Receiver::start().await);
    bench.offer(&Offer::default());
    bench.subscribe("s", patient(receiver.url("/"), 3)).await;
    receiver.answers([Reply::Status(404)]);
    bench.publish("bad").await;
    assert_eq!(bench.failure().await.cause.status, Some(404));
    assert_eq!(bench.next_of("s").await, 0);
}

#[tokio::test]
async fn a_subscriber_that_is_gone_is_not_tried_again_even_with_dead_letters() {
    let (mut bench, mut receiver) = (Bench::new(), Receiver::start().await);
    bench.offer(&Offer { dead_letters: true, ..Offer::default() });
    bench.subscribe("s", patient(receiver.url("/"), 9)).await;
    receiver.answers([Reply::Status(410)]);
    bench.publish("one").await;
    let failed = bench.failure().await;
    assert_eq!(failed.cause.code, "delivery.gone");
    assert!(receiver.call().await.text() == "one" && !receiver.has_call());
    assert_eq!(bench.next_of("s").await, 0);
}

#[tokio::test]
async fn a_server_that_asks_for_a_pause_gets_it() {
    let (bench, mut receiver) = (Bench::new(), Receiver::start().await);
    bench.offer(&Offer::default());
    let mut callback = patient(receiver.url("/"), 2);
    callback.retry.initial_delay_seconds = 3600;
    callback.retry.max_delay_seconds = 3600;
    bench.subscribe("s", callback).await;
    receiver.answers([Reply::With(429, "retry-after", "0".to_owned())]);
    bench.publish("one").await;
    // Not an hour later.
    assert_eq!(receiver.texts(2).await, ["one", "one"]);
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let (mut bench, mut receiver) = (Bench::new(), Receiver::start().await);
    bench.offer(&Offer::default());
    bench.subscribe("s", patient(receiver.url("/"), 3)).await;
    receiver.answers([Reply::With(302, "location", receiver.url("/elsewhere"))]);
    bench.publish("one").await;
    assert_eq!(bench.failure().await.cause.code, "delivery.redirect");
    assert!(receiver.call().await.path == "/" && !receiver.has_call());
}

#[tokio::test]
async fn a_server_that_never_answers_times_out_and_may_be_given_up() {
    let (bench, mut receiver) = (Bench::new(), Receiver::start().await);
    let webhook = json!({
        "http": { "connectTimeout": 1, "readTimeout": 100 }, "interruptConsumptionOnException": false,
    });
    bench.offer(&Offer { webhook, ..Offer::default() });
    bench.subscribe("s", patient(receiver.url("/"), 2)).await;
    let never = std::sync::Arc::new(tokio::sync::Semaphore::new(0));
    receiver.answers([Reply::Held(never.clone(), 200), Reply::Held(never, 200)]);
    bench.publish("one").await;
    bench.publish("two").await;
    assert_eq!(receiver.texts(3).await, ["one", "one", "two"]);
    until(async || bench.metrics.given_up.get() == 1).await;
}

#[tokio::test]
async fn an_address_that_is_not_to_be_called_fails_at_once() {
    let mut bench = Bench::new();
    bench.offer(&Offer::default());
    bench.deliveries.put(subscription("s", patient("http://169.254.169.254/latest".to_owned(), 3)));
    let failed = bench.failure().await;
    assert!(failed.cause.message.contains("169.254.169.254"), "{failed:?}");
}
