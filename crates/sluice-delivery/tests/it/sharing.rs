//! Many subscriptions at once.

use std::{collections::BTreeMap, sync::Arc};

use serde_json::json;
use sluice_api::ApiId;
use sluice_delivery::SubscriptionLag;
use tokio::sync::Semaphore;

use crate::{
    bench::{Bench, Offer, patient, subscription, until},
    receiver::{Receiver, Reply},
};

const FILTER: &str = "{#jsonPath(#message.content, '$.feature') == #subscription.metadata.feature}";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_subscriptions_get_their_own_messages_from_one_consumer() {
    const MANY: usize = 1000;
    let (bench, mut receiver) = (Bench::new(), Receiver::start().await);
    let flows =
        json!([{ "deliver": [{ "policy": "message-filtering", "configuration": { "filter": FILTER } }] }]);
    // A call that is answered too late is repeated, as it must be; a busy machine may well be so slow.
    let webhook = json!({ "http": { "connectTimeout": 60_000, "readTimeout": 300_000 } });
    bench.offer(&Offer { flows, webhook, ..Offer::default() });
    for number in 0..MANY {
        let mut subscription =
            subscription(&number.to_string(), patient(receiver.url(&format!("/{number}")), 3));
        subscription.metadata = BTreeMap::from([("feature".to_owned(), format!("f{number}"))]);
        bench.put(subscription).await;
    }
    for number in 0..MANY {
        bench.publish(&json!({ "feature": format!("f{number}") }).to_string()).await;
    }
    bench.publish("this is no JSON").await;
    let mut seen = vec![0; MANY];
    for _ in 0..MANY {
        let call = receiver.call().await;
        let number: usize = call.path[1..].parse().unwrap();
        assert_eq!(call.text(), json!({ "feature": format!("f{number}") }).to_string());
        seen[number] += 1;
    }
    assert_eq!(bench.metrics.failed_calls.get(), 0);
    assert!(seen.iter().all(|count| *count == 1));
    until(async || bench.metrics.dropped_by_policy.get() == (MANY * MANY) as u64).await;
    assert!(!receiver.has_call());
    assert_eq!(bench.stream.hub_consumers.get(), 1);
}

#[tokio::test]
async fn a_subscriber_that_does_not_answer_holds_up_no_other() {
    let (bench, mut slow, mut quick) = (Bench::new(), Receiver::start().await, Receiver::start().await);
    bench.offer(&Offer::default());
    bench.subscribe("slow", patient(slow.url("/"), 3)).await;
    bench.subscribe("quick", patient(quick.url("/"), 3)).await;
    let gate = Arc::new(Semaphore::new(0));
    slow.answers([Reply::Held(Arc::clone(&gate), 200)]);
    for number in 0..50 {
        bench.publish(&number.to_string()).await;
    }
    let all: Vec<_> = (0..50).map(|number| number.to_string()).collect();
    assert_eq!(quick.texts(50).await, all);
    gate.add_permits(1);
    assert_eq!(slow.texts(50).await, all);
}

#[tokio::test]
async fn the_lag_of_an_api_is_that_of_all_subscriptions_and_of_the_farthest_behind() {
    let (bench, mut early, mut late) = (Bench::new(), Receiver::start().await, Receiver::start().await);
    let webhook = json!({ "http": { "maxConcurrentConnections": 1 } });
    bench.offer(&Offer { webhook, ..Offer::default() });
    let gate = Arc::new(Semaphore::new(0));
    early.answers([Reply::Held(Arc::clone(&gate), 200)]);
    late.answers([Reply::Held(Arc::clone(&gate), 200)]);
    let api = ApiId("a".to_owned());
    assert_eq!(bench.deliveries.lag(&api), SubscriptionLag::default());
    bench.subscribe("early", patient(early.url("/"), 3)).await;
    for number in 0..5 {
        bench.publish(&number.to_string()).await;
    }
    until(async || bench.deliveries.lag(&api) == SubscriptionLag { total: 5, largest: 5 }).await;
    bench.subscribe("late", patient(late.url("/"), 3)).await;
    for number in 5..8 {
        bench.publish(&number.to_string()).await;
    }
    until(async || bench.deliveries.lag(&api) == SubscriptionLag { total: 11, largest: 8 }).await;
    gate.add_permits(2);
    early.texts(8).await;
    late.texts(3).await;
    until(async || bench.deliveries.lag(&api) == SubscriptionLag::default()).await;
}
