//! Calls of a hub: what they carry, and how they begin, are renewed and end.

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use hmac::{Hmac, KeyInit, Mac};
use serde_json::json;
use sha2::{Sha256, Sha512};
use sluice_api::{Callback, HubSignature, HubTerms, Secret, Subscription};
use sluice_broker::BrokerDriver;
use sluice_delivery::Phase;
use sluice_message::{Headers, Message, Topic};
use tokio::sync::Semaphore;

use crate::{
    bench::{Bench, Offer, PATIENCE, patient, subscription, until, with},
    channels::{in_channel, of},
    receiver::{Call, Receiver, Reply},
};

fn offer() -> Offer {
    of(&[("paid", "orders.paid"), ("sent", "orders.sent")])
}

/// A subscription that was made at a hub.
fn hub(id: &str, channel: &str, callback: Callback, secret: Option<&str>) -> Subscription {
    let terms = HubTerms {
        topic: channel.to_owned(),
        hub_url: "https://hub.example/orders/hub".to_owned(),
        self_url: format!("https://hub.example/orders/{channel}"),
        lease_seconds: 3600,
        secret: secret.map(Secret::new),
        signature: HubSignature::Sha256,
    };
    Subscription { hub: Some(terms), ..in_channel(id, channel, callback) }
}

/// The same with another secret, ending in so long.
fn renewed(mut subscription: Subscription, secret: &str, lease: Duration) -> Subscription {
    if let Some(terms) = &mut subscription.hub {
        terms.secret = Some(Secret::new(secret));
        terms.lease_seconds = lease.as_secs();
    }
    let end = SystemTime::now().duration_since(UNIX_EPOCH).unwrap() + lease;
    Subscription { ending_at: Some(i64::try_from(end.as_millis()).unwrap()), ..subscription }
}

async fn publish(bench: &Bench, text: &str, headers: &[(&'static str, &'static str)]) {
    let headers: Headers = headers.iter().copied().collect();
    let message = Message::builder().payload(text.to_owned()).headers(headers).build();
    bench.log.publish(&Topic::from("orders.paid"), message).await.unwrap();
}

async fn paid(bench: &Bench, text: &str) {
    bench.publish_in("orders.paid", text).await;
}

fn signed_by(call: &Call, secret: &str) -> bool {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    mac.update(&call.body);
    let hex: String = mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    call.header("x-hub-signature") == format!("sha256={hex}")
}

fn links(call: &Call) -> Vec<&str> {
    call.headers.get_all("link").iter().map(|value| value.to_str().unwrap()).collect()
}

fn numbers(count: usize) -> Vec<String> {
    (0..count).map(|number| number.to_string()).collect()
}

#[tokio::test]
async fn a_call_names_the_hub_and_the_topic_and_keeps_the_content_type() {
    let (bench, mut receiver) = (Bench::new(), Receiver::start().await);
    bench.offer(&offer());
    bench.put(hub("s", "paid", patient(receiver.url("/in?x=1"), 3), None)).await;
    let feed = "application/atom+xml; charset=utf-8";
    publish(&bench, "<feed/>", &[("content-type", feed), ("x-kind", "a")]).await;
    let call = receiver.call().await;
    assert_eq!((&*call.path, call.text(), call.header("content-type")), ("/in?x=1", "<feed/>", feed));
    let expected =
        ["<https://hub.example/orders/hub>; rel=\"hub\"", "<https://hub.example/orders/paid>; rel=\"self\""];
    assert_eq!((links(&call), call.header("x-kind")), (expected.to_vec(), "a"));
    assert!(call.headers.keys().all(|name| !name.as_str().starts_with("webhook-")));
    // Nobody says that it is JSON.
    publish(&bench, "{\"a\": 1}", &[]).await;
    let call = receiver.call().await;
    assert_eq!((call.text(), call.header("content-type")), ("{\"a\": 1}", "application/octet-stream"));
    assert_eq!(links(&call), expected);
}

#[tokio::test]
async fn a_message_says_nothing_that_is_the_hubs_to_say() {
    let (bench, mut receiver) = (Bench::new(), Receiver::start().await);
    bench.offer(&offer());
    bench.put(hub("s", "paid", patient(receiver.url("/"), 3), None)).await;
    let forged = [
        ("Link", "<https://evil.example/>; rel=\"hub\""),
        ("X-Hub-Signature", "sha1=0000"),
        ("x-hub-signature-256", "sha256=0000"),
    ];
    publish(&bench, "one", &forged).await;
    let call = receiver.call().await;
    assert!(call.headers.keys().all(|name| !name.as_str().starts_with("x-hub-signature")), "{call:?}");
    assert!(links(&call).len() == 2 && links(&call).iter().all(|link| !link.contains("evil")));
    assert_eq!(bench.metrics.headers_left_out.get(), 3);
}

#[tokio::test]
async fn what_publishers_show_to_others_is_not_told_unless_a_policy_says_so() {
    let (bench, mut receiver) = (Bench::new(), Receiver::start().await);
    let shown = [("Authorization", "Bearer secret"), ("Cookie", "session=1"), ("X-API-Key", "k")];
    for (policy, told) in
        [(json!([]), ""), (json!([{ "name": "Authorization", "value": "Bearer own" }]), "Bearer own")]
    {
        let flows = json!([{ "deliver": [{ "policy": "transform-headers", "configuration": { "addHeaders": policy } }] }]);
        bench.offer(&Offer { flows, ..offer() });
        bench.put(hub("s", "paid", patient(receiver.url("/"), 3), None)).await;
        publish(&bench, "one", &shown).await;
        let call = receiver.call().await;
        assert_eq!(
            (call.header("authorization"), call.header("cookie"), call.header("x-api-key")),
            (told, "", "")
        );
    }
}

#[tokio::test]
async fn calls_are_signed_as_agreed_on_and_each_try_alike() {
    let (bench, mut receiver) = (Bench::new(), Receiver::start().await);
    bench.offer(&offer());
    let mut subscription = hub("s", "paid", patient(receiver.url("/"), 3), Some("s3cret"));
    bench.put(subscription.clone()).await;
    receiver.answers([Reply::Status(500)]);
    publish(&bench, "one", &[("x-hub-signature", "sha256=forged")]).await;
    for _ in 0..2 {
        let call = receiver.call().await;
        assert!(signed_by(&call, "s3cret"), "{call:?}");
        assert_eq!(call.headers.get_all("x-hub-signature").iter().count(), 1);
    }
    if let Some(terms) = &mut subscription.hub {
        terms.signature = HubSignature::Sha512;
    }
    bench.put(subscription).await;
    paid(&bench, "two").await;
    let call = receiver.call().await;
    let mut mac = Hmac::<Sha512>::new_from_slice(b"s3cret").unwrap();
    mac.update(b"two");
    let hex: String = mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(call.header("x-hub-signature"), format!("sha512={hex}"));
}

/// Weakness 12b: secrets of several topics get mixed up.
#[tokio::test]
async fn two_topics_of_one_callback_have_two_secrets_also_after_one_is_ended() {
    let (bench, mut receiver) = (Bench::new(), Receiver::start().await);
    bench.offer(&offer());
    let callback = patient(receiver.url("/"), 3);
    let first = hub("a", "paid", callback.clone(), Some("one secret"));
    bench.put(first.clone()).await;
    bench.put(hub("b", "sent", callback, Some("another"))).await;
    bench.publish_in("orders.paid", "paid").await;
    assert!(signed_by(&receiver.call().await, "one secret"));
    bench.publish_in("orders.sent", "sent").await;
    assert!(signed_by(&receiver.call().await, "another"));
    bench.deliveries.remove(&first.id, true);
    until(async || bench.deliveries.state(&first.id).is_none()).await;
    bench.publish_in("orders.paid", "for nobody").await;
    bench.publish_in("orders.sent", "sent again").await;
    let call = receiver.call().await;
    assert!(call.text() == "sent again" && signed_by(&call, "another"));
}

/// Weakness 12b: a renewal with another secret is ignored.
#[tokio::test]
async fn a_renewal_takes_the_new_secret_at_once_and_repeats_and_misses_nothing() {
    let (bench, mut receiver) = (Bench::new(), Receiver::start().await);
    bench.offer(&offer());
    let subscription = hub("s", "paid", patient(receiver.url("/"), 3), Some("former"));
    bench.put(subscription.clone()).await;
    let gate = Arc::new(Semaphore::new(0));
    receiver.answers([Reply::Held(Arc::clone(&gate), 200)]);
    paid(&bench, "one").await;
    let call = receiver.call().await;
    assert!(call.text() == "one" && signed_by(&call, "former"));
    paid(&bench, "two").await;
    bench.deliveries.put(renewed(subscription, "latter", Duration::from_secs(3600)));
    // The worker has taken note of it before the answer comes.
    tokio::task::yield_now().await;
    gate.add_permits(1);
    paid(&bench, "three").await;
    for text in ["two", "three"] {
        let call = receiver.call().await;
        assert!(call.text() == text && signed_by(&call, "latter"), "{call:?}");
    }
    until(async || bench.next_of("s").await == 3).await;
    assert!(!receiver.has_call());
}

#[tokio::test]
async fn a_renewal_in_the_middle_of_retries_keeps_attempts_and_waits() {
    let (bench, mut receiver) = (Bench::new(), Receiver::start().await);
    bench.offer(&offer());
    let mut callback = with(receiver.url("/"), 5, json!({}));
    (callback.retry.initial_delay_seconds, callback.retry.max_delay_seconds) = (3600, 3600);
    let subscription = hub("s", "paid", callback, Some("former"));
    bench.put(subscription.clone()).await;
    receiver.answers([Reply::Status(500)]);
    paid(&bench, "one").await;
    assert_eq!(receiver.texts(1).await, ["one"]);
    until(async || bench.state("s").retrying.is_some()).await;
    let retrying = bench.state("s").retrying;
    let restarted = bench.metrics.subscriptions.get();
    bench.deliveries.put(renewed(subscription, "latter", Duration::from_secs(3600)));
    until(async || {
        bench.state("s").phase == Phase::Retrying && bench.metrics.subscriptions.get() == restarted
    })
    .await;
    assert_eq!((bench.state("s").retrying, receiver.has_call()), (retrying, false));
}

/// Weakness 2: leases are never enforced.
#[tokio::test]
async fn a_lease_that_ends_ends_retries_too_and_a_renewal_goes_on_where_it_stopped() {
    let (bench, mut receiver) = (Bench::new(), Receiver::start().await);
    bench.offer(&offer());
    let subscription = hub("s", "paid", patient(receiver.url("/"), 100_000), Some("former"));
    bench.put(renewed(subscription.clone(), "former", Duration::from_secs(1))).await;
    paid(&bench, "one").await;
    assert_eq!(receiver.texts(1).await, ["one"]);
    receiver.poison("two", Some(500));
    paid(&bench, "two").await;
    assert_eq!(receiver.texts(1).await, ["two"]);
    until(async || bench.state("s").phase == Phase::Over).await;
    while receiver.has_call() {
        assert_eq!(receiver.texts(1).await, ["two"]);
    }
    let failed = bench.metrics.failed_calls.get();
    receiver.poison("two", None);
    paid(&bench, "three").await;

    // Also for who comes back later.
    let bench = bench.restarted().await;
    bench.offer(&offer());
    bench.deliveries.put(renewed(subscription.clone(), "former", Duration::ZERO));
    until(async || bench.state("s").phase == Phase::Over).await;
    assert!(!receiver.has_call() && bench.metrics.failed_calls.get() == failed);

    bench.deliveries.put(renewed(subscription, "latter", Duration::from_secs(3600)));
    for text in ["two", "three"] {
        let call = receiver.call().await;
        assert!(call.text() == text && signed_by(&call, "latter"), "{call:?}");
    }
}

#[tokio::test]
async fn a_lease_that_ends_while_the_subscriber_is_left_alone_ends_that_too() {
    let (bench, mut receiver) = (Bench::new(), Receiver::start().await);
    let webhook =
        json!({ "circuitBreaker": { "failures": 1, "firstWaitMs": 3_600_000, "longestWaitMs": 3_600_000 } });
    bench.offer(&Offer { webhook, ..offer() });
    let subscription = hub("s", "paid", patient(receiver.url("/"), 100_000), None);
    bench.put(renewed(subscription, "s", Duration::from_secs(1))).await;
    receiver.answers([Reply::Status(503)]);
    paid(&bench, "one").await;
    assert_eq!(receiver.texts(1).await, ["one"]);
    until(async || bench.state("s").phase == Phase::Over).await;
    assert!(!receiver.has_call());
}

#[tokio::test]
async fn one_that_answers_410_is_ended_and_the_others_go_on() {
    let (mut bench, mut receiver) = (Bench::new(), Receiver::start().await);
    let mut other = Receiver::start().await;
    bench.offer(&Offer { dead_letters: true, ..offer() });
    bench.put(hub("gone", "paid", patient(receiver.url("/"), 9), None)).await;
    bench.put(hub("there", "paid", patient(other.url("/"), 9), None)).await;
    receiver.answers([Reply::Status(410)]);
    paid(&bench, "one").await;
    let failed = bench.failure().await;
    assert_eq!((failed.cause.code, failed.cause.status), ("delivery.gone", Some(410)));
    assert!(failed.served.id.0 == "gone" && failed.served.hub.is_some());
    paid(&bench, "two").await;
    assert_eq!(other.texts(2).await, ["one", "two"]);
    assert!(receiver.texts(1).await == ["one"] && !receiver.has_call());
}

#[tokio::test]
async fn any_2xx_acknowledges_and_a_redirect_does_not() {
    let (mut bench, mut receiver) = (Bench::new(), Receiver::start().await);
    bench.offer(&offer());
    bench.put(hub("s", "paid", patient(receiver.url("/"), 3), None)).await;
    receiver.answers([200, 201, 202, 204, 226].map(Reply::Status));
    receiver.answers([Reply::With(307, "location", receiver.url("/elsewhere"))]);
    for text in numbers(6) {
        paid(&bench, &text).await;
    }
    assert_eq!(bench.failure().await.cause.code, "delivery.redirect");
    assert_eq!((receiver.texts(6).await, bench.next_of("s").await), (numbers(6), 5));
    assert!(!receiver.has_call());
}

#[tokio::test]
async fn policies_at_connect_are_met_at_the_hub_and_flows_know_the_receiver_and_the_channel() {
    let (bench, mut receiver) = (Bench::new(), Receiver::start().await);
    let header = |name: &str| {
        json!([{ "policy": "transform-headers",
                                       "configuration": { "addHeaders": [{ "name": name, "value": "yes" }] } }])
    };
    let flows = json!([
        { "connect": [{ "policy": "policy-interrupt", "configuration": { "errorKey": "NOT_HERE" } }] },
        { "channel": { "entrypoints": ["websub"] }, "deliver": header("x-websub") },
        { "channel": { "entrypoints": ["webhook"] }, "deliver": header("x-webhook") },
        { "channel": { "channel": "/paid", "channelOperator": "EQUALS" }, "deliver": header("x-paid") },
        { "channel": { "channel": "/sent", "channelOperator": "EQUALS" }, "deliver": header("x-sent") },
    ]);
    bench.offer(&Offer { flows, ..offer() });
    bench.put(hub("hub", "paid", patient(receiver.url("/"), 3), None)).await;
    bench.deliveries.put(in_channel("other", "paid", patient(receiver.url("/other"), 3)));
    until(async || bench.state("other").last_failure.is_some()).await;
    paid(&bench, "one").await;
    let call = receiver.call().await;
    let has = |name| call.headers.contains_key(name);
    assert!(!receiver.has_call());
    assert_eq!([has("x-websub"), has("x-webhook"), has("x-paid"), has("x-sent")], [true, false, true, false]);
}

/// Weakness 14: one slow subscriber holds up others.
#[tokio::test]
async fn a_slow_subscriber_of_a_channel_delays_no_other_and_misses_nothing() {
    let (bench, mut slow, mut quick) = (Bench::new(), Receiver::start().await, Receiver::start().await);
    bench.offer(&offer());
    bench.put(hub("slow", "paid", patient(slow.url("/"), 3), None)).await;
    bench.put(hub("quick", "paid", patient(quick.url("/"), 3), None)).await;
    // The same callback in another channel is not held up either.
    bench.put(hub("beside", "sent", patient(slow.url("/sent"), 3), None)).await;
    let gate = Arc::new(Semaphore::new(0));
    slow.answers([Reply::Held(Arc::clone(&gate), 200)]);
    for text in numbers(50) {
        paid(&bench, &text).await;
    }
    assert_eq!(quick.texts(50).await, numbers(50));
    assert_eq!(slow.texts(1).await, ["0"]);
    bench.publish_in("orders.sent", "sent").await;
    assert_eq!(slow.call().await.path, "/sent");
    gate.add_permits(1);
    assert_eq!(slow.texts(49).await, numbers(50)[1..]);
}

/// Weakness 3: what is published while a subscriber is down is lost.
#[tokio::test]
async fn a_subscriber_that_was_down_gets_everything_in_order_and_nothing_becomes_a_dead_letter() {
    let (bench, address) = (Bench::new(), Receiver::nobody());
    let webhook = json!({ "circuitBreaker": { "failures": 2, "firstWaitMs": 100, "longestWaitMs": 200 } });
    bench.offer(&Offer { webhook, dead_letters: true, ..offer() });
    bench.put(hub("s", "paid", patient(format!("http://{address}/"), 3), Some("secret"))).await;
    for text in numbers(600) {
        paid(&bench, &text).await;
    }
    until(async || bench.metrics.failed_calls.get() > 5).await;
    let mut receiver = Receiver::start_at(address).await;
    assert_eq!(receiver.texts(600).await, numbers(600));
    until(async || bench.next_of("s").await == 600).await;
    assert_eq!((bench.metrics.dead_lettered.get(), bench.metrics.given_up.get()), (0, 0));
}

/// Weakness 6: subscriptions with one callback disturb each other.
#[tokio::test]
async fn a_subscription_is_not_disturbed_by_another_of_the_same_callback() {
    let (bench, mut receiver) = (Bench::new(), Receiver::start().await);
    bench.offer(&offer());
    let callback = patient(receiver.url("/"), 3);
    bench.put(hub("steady", "paid", callback.clone(), Some("secret"))).await;
    let churning = hub("churning", "sent", callback, None);
    for text in numbers(50) {
        bench.deliveries.put(churning.clone());
        paid(&bench, &text).await;
        let call = receiver.call().await;
        assert!(call.text() == text && signed_by(&call, "secret"));
        bench.deliveries.remove(&churning.id, true);
    }
    assert_eq!(bench.metrics.failed_calls.get(), 0);
    assert!(!receiver.has_call());
}

/// Weakness 14: answers are not read, so that connections are not used again.
#[tokio::test]
async fn a_subscriber_that_answers_at_length_is_called_by_the_same_connections() {
    let (bench, mut receiver) = (Bench::new(), Receiver::start().await);
    bench.offer(&offer());
    bench.put(hub("s", "paid", patient(receiver.url("/"), 3), None)).await;
    receiver.answers((0..20).map(|_| Reply::Body(200, "x".repeat(60_000))));
    for text in numbers(20) {
        paid(&bench, &text).await;
    }
    assert_eq!(receiver.texts(20).await, numbers(20));
    // A call may go out while the connection of the one before it is still being put back.
    assert!(receiver.connections() < 10, "{} for 20 calls", receiver.connections());
}

/// Weakness 8d: a shutdown fails what is under way.
#[tokio::test]
async fn a_shutdown_finishes_the_call_that_is_under_way_and_nothing_comes_twice() {
    let (bench, mut receiver) = (Bench::new(), Receiver::start().await);
    bench.offer(&offer());
    let subscription = hub("s", "paid", patient(receiver.url("/"), 3), None);
    bench.put(subscription.clone()).await;
    let gate = Arc::new(Semaphore::new(0));
    receiver.answers([Reply::Held(Arc::clone(&gate), 200)]);
    for text in numbers(3) {
        paid(&bench, &text).await;
    }
    assert_eq!(receiver.texts(1).await, ["0"]);
    let (finished, ()) = tokio::join!(bench.deliveries.shut_down(PATIENCE), async { gate.add_permits(1) });
    assert!(finished && !receiver.has_call());
    let bench = bench.reborn();
    bench.offer(&offer());
    bench.put(subscription).await;
    assert_eq!(receiver.texts(2).await, ["1", "2"]);
    assert!(!receiver.has_call());
}

#[tokio::test]
async fn terms_that_no_header_can_carry_fail_their_subscription() {
    let (mut bench, receiver) = (Bench::new(), Receiver::start().await);
    bench.offer(&offer());
    let mut subscription = hub("s", "paid", patient(receiver.url("/"), 3), None);
    if let Some(terms) = &mut subscription.hub {
        terms.self_url = "https://hub.example/\r\nx-evil: 1".to_owned();
    }
    bench.deliveries.put(subscription);
    let cause = bench.failure().await.cause;
    assert_eq!(cause.code, "subscription.configuration.invalid");
    assert!(cause.message.starts_with("hub.selfUrl: "), "{cause}");
}

#[tokio::test]
async fn a_subscription_without_a_hub_gets_no_marks() {
    let (bench, mut receiver) = (Bench::new(), Receiver::start().await);
    bench.offer(&Offer::default());
    bench.put(subscription("s", patient(receiver.url("/"), 3))).await;
    let message = Message::builder().payload("{}").headers([("link", "<https://a>")].into_iter().collect());
    bench.log.publish(&Topic::from("t"), message.build()).await.unwrap();
    let call = receiver.call().await;
    assert_eq!((links(&call), call.header("content-type")), (vec!["<https://a>"], "application/json"));
    assert!(!call.headers.contains_key("x-hub-signature"));
}
