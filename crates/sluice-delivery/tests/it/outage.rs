//! Subscribers that are away.

use serde_json::json;
use sluice_broker::BrokerDriver;
use sluice_delivery::{DeliveryOptions, Phase};

use crate::{
    bench::{Bench, Offer, broker, patient, subscription, until},
    receiver::Receiver,
};

#[tokio::test]
async fn a_subscriber_that_was_down_gets_everything_in_order() {
    let (bench, address) = (Bench::new(), Receiver::nobody());
    bench.offer(&Offer::default());
    let subscription = bench.subscribe("s", patient(format!("http://{address}/"), 100_000)).await;
    let all: Vec<_> = (0..200).map(|number| number.to_string()).collect();
    for text in &all[..100] {
        bench.publish(text).await;
    }
    until(async || bench.metrics.failed_calls.get() > 2).await;
    assert_eq!(bench.state("s").last_failure.unwrap().code, "delivery.unreachable");
    until(async || bench.state("s").lag == 100).await;
    let bench = bench.restarted().await;
    for text in &all[100..] {
        bench.publish(text).await;
    }
    bench.offer(&Offer::default());
    bench.put(subscription).await;
    let mut receiver = Receiver::start_at(address).await;
    assert_eq!(receiver.texts(200).await, all);
    until(async || bench.next_of("s").await == 200).await;
    assert!(!receiver.has_call());
}

#[tokio::test]
async fn endless_retry_holds_up_no_other_subscription() {
    // One call at a time in all: whoever held it while waiting would hold up everybody.
    let bench = Bench::bounded(DeliveryOptions { max_calls: 1, ..DeliveryOptions::default() });
    let (mut bad, mut good) = (Receiver::start().await, Receiver::start().await);
    let webhook = json!({ "circuitBreaker": { "failures": 2, "firstWaitMs": 200 } });
    bench.offer(&Offer { webhook, ..Offer::default() });
    for number in 0..20 {
        bench.put(subscription(&format!("bad{number}"), patient(bad.url("/"), 100_000))).await;
    }
    bad.poison("0", Some(500));
    bench.subscribe("good", patient(good.url("/"), 3)).await;
    let all: Vec<_> = (0..50).map(|number| number.to_string()).collect();
    for text in &all {
        bench.publish(text).await;
    }
    assert_eq!(good.texts(50).await, all);
    assert_eq!(bench.state("good").last_failure, None);
    assert!(bad.texts(20).await.iter().all(|text| text == "0"));
}

#[tokio::test]
async fn what_will_not_pass_by_itself_is_told_and_what_has_not_begun_too() {
    let (bench, receiver) = (Bench::new(), Receiver::start().await);
    let mut later = subscription("later", patient(receiver.url("/"), 3));
    later.starting_at = Some(i64::MAX);
    bench.deliveries.put(later);
    bench.deliveries.put(subscription("s", patient(receiver.url("/"), 3)));
    until(async || bench.state("s").phase == Phase::NoRoute).await;
    let (_dir, closed) = broker();
    closed.close().await;
    bench.offer_from(&closed, &Offer::default());
    until(async || bench.state("s").phase == Phase::Blocked).await;
    assert_eq!(bench.state("s").last_failure.unwrap().code, "broker.closed");
    until(async || matches!(bench.state("later").phase, Phase::Waiting { .. })).await;
    bench.offer(&Offer::default());
    until(async || bench.state("s").phase == Phase::Delivering).await;
}
