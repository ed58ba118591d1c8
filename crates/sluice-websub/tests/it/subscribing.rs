//! What is agreed on with a subscriber, and what keeps the hub from taking a request.

use std::{sync::Arc, time::Duration};

use futures_util::{FutureExt, future::BoxFuture};
use http::Request;
use http_body_util::Full;
use serde_json::json;
use sluice_broker::{
    Bounds, BrokerDriver, Capabilities, ConsumeSpec, Consumer, DriverError, ErrorKind, Receipt,
};
use sluice_message::{Message, Position, Topic};
use sluice_websub::{Desk, Hub, HubOptions, Mode};
use tokio::sync::Semaphore;

use crate::{
    bench::{Bench, PATIENCE},
    callback::{Callback, Reply},
};

#[tokio::test]
async fn a_request_is_accepted_once_it_is_durable_whatever_the_callback_will_say() {
    let (bench, mut callback) = (Bench::new().await, Callback::start().await);
    let held = Arc::new(Semaphore::new(0));
    callback.answers([Reply::Held(Arc::clone(&held))]);
    bench.subscribe(&callback.url("/in")).await.accepted();
    let kept = bench.desk.papers();
    assert_eq!((kept.requests.len(), kept.subscriptions.len()), (1, 0), "kept, and nothing more yet");
    assert_eq!((kept.requests[0].mode, &*kept.requests[0].plan.0), (Mode::Subscribe, "open"));
    callback.call().await;
    held.add_permits(1);
    let papers = bench.desk.settled(1).await;
    assert_eq!((papers.requests.len(), papers.subscriptions.len()), (0, 1));
    let nobody = format!("http://{}/", Callback::nobody());
    bench.subscribe(&nobody).await.accepted();
    assert_eq!(bench.desk.settled(2).await.done, ["subscribe", "dropped"]);
}

#[tokio::test]
async fn a_request_is_not_answered_before_it_is_durable() {
    let (bench, callback) = (Bench::new().await, Callback::start().await);
    let all = bench.desk.keeping.forget_permits(Semaphore::MAX_PERMITS);
    let url = callback.url("/in");
    let answer = bench.subscribe(&url);
    tokio::pin!(answer);
    assert!(tokio::time::timeout(Duration::from_millis(50), &mut answer).await.is_err());
    assert!(!callback.has_call(), "nothing happens before");
    bench.desk.keeping.add_permits(all);
    answer.await.accepted();
}

#[tokio::test]
async fn a_request_whose_client_goes_away_is_whole_or_not_there() {
    let (bench, mut callback) = (Bench::new().await, Callback::start().await);
    let all = bench.desk.keeping.forget_permits(Semaphore::MAX_PERMITS);
    let url = callback.url("/in");
    let answer = tokio::time::timeout(Duration::from_millis(50), bench.subscribe(&url)).await;
    assert!(answer.is_err(), "the client gave up");
    bench.desk.keeping.add_permits(all);
    callback.call().await;
    assert_eq!(bench.desk.settled(1).await.subscriptions.len(), 1);
}

#[tokio::test]
async fn a_subscription_begins_at_the_position_of_its_answer() {
    let (bench, callback) = (Bench::new().await, Callback::start().await);
    let held = Arc::new(Semaphore::new(0));
    callback.answers([Reply::Held(Arc::clone(&held))]);
    for _ in 0..3 {
        bench.publish("paid", "before").await;
    }
    bench.subscribe(&callback.url("/in")).await.accepted();
    bench.publish("paid", "between the answer and the verification").await;
    held.add_permits(1);
    let papers = bench.desk.settled(1).await;
    let begins = papers.subscriptions.values().next().unwrap().begins.clone().unwrap();
    assert_eq!(begins.broker, bench.log.identity().await.unwrap());
    let position: Position = begins.position.parse().unwrap();
    let topics: Vec<_> =
        position.nexts().map(|(topic, _, next)| (topic.as_str().to_owned(), next.0)).collect();
    assert_eq!(topics, [("paid".to_owned(), 3)], "the fourth message is still to come");
}

#[tokio::test]
async fn the_lease_is_what_was_asked_for_within_the_bounds_of_the_api_and_is_told() {
    let settings = json!({ "defaultLeaseSeconds": 500, "minLeaseSeconds": 100, "maxLeaseSeconds": 1000 });
    let (bench, mut callback) = (Bench::with(&settings, &json!({})).await, Callback::start().await);
    let beyond = "9".repeat(40);
    let asked = [None, Some("600"), Some("1000"), Some("1001"), Some(&*beyond), Some("1")];
    for (count, (asked, granted)) in asked.into_iter().zip([500, 600, 1000, 1000, 1000, 100]).enumerate() {
        let url = callback.url("/in");
        let mut parameters = vec![("hub.mode", "subscribe"), ("hub.topic", "paid"), ("hub.callback", &*url)];
        parameters.extend(asked.map(|lease| ("hub.lease_seconds", lease)));
        bench.ask(&parameters).await.accepted();
        assert_eq!(callback.call().await.says("hub.lease_seconds"), granted.to_string(), "{asked:?}");
        let papers = bench.desk.settled(count + 1).await;
        assert_eq!(papers.subscriptions.values().next().unwrap().terms.lease_seconds, granted);
    }
    let free = Bench::new().await;
    let url = callback.url("/in");
    let least = [
        ("hub.mode", "subscribe"),
        ("hub.topic", "paid"),
        ("hub.callback", &*url),
        ("hub.lease_seconds", "1"),
    ];
    free.ask(&least).await.accepted();
    assert_eq!(callback.call().await.says("hub.lease_seconds"), "1", "no least lease unless one is set");
}

#[tokio::test]
async fn a_renewal_replaces_lease_and_secret() {
    let (bench, callback) = (Bench::new().await, Callback::start().await);
    let url = callback.url("/in");
    for (secret, lease) in [("first", "100"), ("second", "200")] {
        let asked = [
            ("hub.mode", "subscribe"),
            ("hub.topic", "paid"),
            ("hub.callback", &*url),
            ("hub.secret", secret),
            ("hub.lease_seconds", lease),
        ];
        bench.ask(&asked).await.accepted();
    }
    let papers = bench.desk.settled(2).await;
    assert_eq!(papers.subscriptions.len(), 1);
    let terms = &papers.subscriptions.values().next().unwrap().terms;
    assert_eq!((terms.lease_seconds, terms.secret.as_ref().unwrap().expose()), (200, "second"));
}

#[tokio::test]
async fn two_topics_of_one_callback_have_terms_of_their_own() {
    let (bench, callback) = (Bench::new().await, Callback::start().await);
    let url = callback.url("/in");
    for (topic, secret) in [("paid", "one"), ("orders/new", "two")] {
        let asked = [
            ("hub.mode", "subscribe"),
            ("hub.topic", topic),
            ("hub.callback", &*url),
            ("hub.secret", secret),
        ];
        bench.ask(&asked).await.accepted();
    }
    bench.desk.settled(2).await;
    bench.unsubscribe(&url).await.accepted();
    let papers = bench.desk.settled(3).await;
    let left: Vec<_> = papers.subscriptions.values().collect();
    assert_eq!((left.len(), left[0].terms.secret.as_ref().unwrap().expose()), (1, "two"));
}

#[tokio::test]
async fn what_policies_note_of_a_subscriber_is_kept_for_filters() {
    let note = |value: &str| {
        let attributes = json!([{ "name": "kind", "value": value }]);
        let step =
            json!({ "policy": "policy-assign-attributes", "configuration": { "attributes": attributes } });
        json!({ "flows": [{ "subscribe": [step] }] })
    };
    let (bench, callback) = (Bench::with(&json!({}), &note("push")).await, Callback::start().await);
    bench.subscribe(&callback.url("/in")).await.accepted();
    let papers = bench.desk.settled(1).await;
    let metadata = &papers.subscriptions.values().next().unwrap().metadata;
    assert_eq!(metadata.iter().collect::<Vec<_>>(), [(&"kind".to_owned(), &"push".to_owned())]);
    let longest = Bench::with(&json!({}), &note(&"x".repeat(4096))).await;
    longest.subscribe(&callback.url("/in")).await.accepted();
    let longer = Bench::with(&json!({}), &note(&"x".repeat(4097))).await;
    longer.subscribe(&callback.url("/in")).await.refused(400, "hub.metadata");
}

#[tokio::test]
async fn unsubscribing_of_what_is_not_there_is_404_without_a_call() {
    let (bench, callback) = (Bench::new().await, Callback::start().await);
    for _ in 0..100 {
        bench.unsubscribe(&callback.url("/in")).await.refused(404, "hub.subscription.unknown");
    }
    assert!(!callback.has_call() && bench.desk.papers().requests.is_empty());
}

#[tokio::test]
async fn who_unsubscribes_has_neither_lease_nor_secret() {
    let (bench, callback) = (Bench::new().await, Callback::start().await);
    let url = callback.url("/in");
    bench.subscribe(&url).await.accepted();
    bench.desk.settled(1).await;
    let held = Arc::new(Semaphore::new(0));
    callback.answers([Reply::Held(Arc::clone(&held))]);
    let secret = "s".repeat(300);
    let asked = [
        ("hub.mode", "unsubscribe"),
        ("hub.topic", "paid"),
        ("hub.callback", &*url),
        ("hub.lease_seconds", "-1"),
        ("hub.secret", &*secret),
    ];
    bench.ask(&asked).await.accepted();
    let kept = bench.desk.papers().requests.remove(0);
    assert_eq!((kept.terms.secret, kept.begins), (None, None));
    held.add_permits(1);
    assert!(bench.desk.settled(2).await.subscriptions.is_empty());
}

#[tokio::test]
async fn requests_of_one_callback_are_settled_in_their_order() {
    let (bench, mut callback) = (Bench::new().await, Callback::start().await);
    let held = Arc::new(Semaphore::new(0));
    callback.answers([Reply::Held(Arc::clone(&held))]);
    let url = callback.url("/in");
    bench.subscribe(&url).await.accepted();
    bench.unsubscribe(&url).await.accepted();
    bench.subscribe(&url).await.accepted();
    assert_eq!(callback.call().await.says("hub.mode"), "subscribe");
    assert!(!callback.has_call());
    held.add_permits(1);
    assert_eq!(callback.call().await.says("hub.mode"), "unsubscribe");
    let papers = bench.desk.settled(3).await;
    assert_eq!((papers.done, papers.subscriptions.len()), (vec!["subscribe", "unsubscribe", "subscribe"], 1));
}

#[tokio::test]
async fn a_hub_without_a_desk_asks_to_come_again() {
    let (bench, callback) = (Bench::closed(&json!({}), &json!({})), Callback::start().await);
    let answer = bench.subscribe(&callback.url("/in")).await;
    answer.refused(503, "hub.unavailable");
    assert!(answer.retry_after.is_some());
    bench.hub.open(Arc::clone(&bench.desk) as _).await.unwrap();
    bench.subscribe(&callback.url("/in")).await.accepted();
    assert!(bench.hub.open(Arc::clone(&bench.desk) as _).await.is_err(), "once is enough");
}

#[tokio::test]
async fn what_cannot_be_kept_is_not_accepted() {
    let (bench, callback) = (Bench::new().await, Callback::start().await);
    bench.desk.change(|papers| papers.failing = 1);
    bench.subscribe(&callback.url("/in")).await.refused(503, "hub.unavailable");
    bench.subscribe(&callback.url("/in")).await.accepted();
    assert_eq!(bench.desk.settled(1).await.subscriptions.len(), 1);
}

#[tokio::test]
async fn a_full_queue_asks_to_come_again() {
    let bench = Bench::closed(&json!({}), &json!({}));
    let callback = Callback::start().await;
    let options = HubOptions { queue: 2, ..bench.options.clone() };
    let bench = bench.restarted(options).await;
    let held = Arc::new(Semaphore::new(0));
    callback.answers(vec![Reply::Held(Arc::clone(&held)); 2]);
    for path in ["/1", "/2"] {
        bench.subscribe(&callback.url(path)).await.accepted();
    }
    let answer = bench.subscribe(&callback.url("/3")).await;
    answer.refused(503, "hub.full");
    assert!(answer.retry_after.is_some());
    assert_eq!(bench.hub.metrics().unsettled.get(), 2);
    held.add_permits(2);
    bench.desk.settled(2).await;
    crate::bench::until(|| bench.hub.metrics().unsettled.get() == 0).await;
    bench.subscribe(&callback.url("/3")).await.accepted();
}

#[tokio::test]
async fn the_callbacks_of_one_host_cannot_be_flooded() {
    let (bench, callback) =
        (Bench::with(&json!({ "requestsPerHost": 2 }), &json!({})).await, Callback::start().await);
    bench.subscribe(&callback.url("/1")).await.accepted();
    bench.subscribe(&callback.url("/2")).await.accepted();
    let port = callback.address.port();
    for url in
        [callback.url("/3"), format!("http://0x7f000001:{port}/4"), "http://[::ffff:127.0.0.1]/".to_owned()]
    {
        let answer = bench.subscribe(&url).await;
        answer.refused(429, "hub.host.limited");
        assert!((1..=61).contains(&answer.retry_after.unwrap()), "{answer:?}");
    }
    bench.subscribe("http://127.0.0.2:9/").await.accepted();
    bench.desk.settled(2).await;
    bench.unsubscribe(&callback.url("/1")).await.refused(429, "hub.host.limited");
    assert_eq!(bench.hub.metrics().rate_limited.get(), 4);
}

#[tokio::test]
async fn an_api_with_all_its_subscriptions_takes_only_renewals() {
    let (bench, callback) =
        (Bench::with(&json!({ "maxSubscriptions": 1 }), &json!({})).await, Callback::start().await);
    bench.subscribe(&callback.url("/1")).await.accepted();
    bench.desk.settled(1).await;
    let answer = bench.subscribe(&callback.url("/2")).await;
    answer.refused(503, "hub.full");
    assert!(answer.retry_after.is_some());
    bench.subscribe(&callback.url("/1")).await.accepted();
    bench.desk.settled(2).await;
    bench.unsubscribe(&callback.url("/1")).await.accepted();
    bench.desk.settled(3).await;
    bench.subscribe(&callback.url("/2")).await.accepted();
}

/// A broker that is away: it fails, or does not answer at all.
struct Away(Option<ErrorKind>);

impl Away {
    fn answer<'a, T: Send + 'a>(&'a self) -> BoxFuture<'a, Result<T, DriverError>> {
        match self.0 {
            Some(kind) => async move { Err(DriverError::new(kind, "As the test wants it.")) }.boxed(),
            None => std::future::pending().boxed(),
        }
    }
}

impl BrokerDriver for Away {
    fn capabilities(&self) -> Capabilities {
        Capabilities { groups: false, sharing: false, ..Capabilities::ALL }
    }

    fn identity(&self) -> BoxFuture<'_, Result<String, DriverError>> {
        self.answer()
    }

    fn publish<'a>(&'a self, _: &'a Topic, _: Message) -> BoxFuture<'a, Result<Receipt, DriverError>> {
        self.answer()
    }

    fn consume(&self, _: ConsumeSpec) -> BoxFuture<'_, Result<Box<dyn Consumer>, DriverError>> {
        self.answer()
    }

    fn bounds<'a>(&'a self, _: &'a [Topic]) -> BoxFuture<'a, Result<Bounds, DriverError>> {
        self.answer()
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        async {}.boxed()
    }
}

#[tokio::test]
async fn a_request_is_not_accepted_while_nobody_knows_where_it_begins() {
    let bench = Bench::closed(&json!({}), &json!({}));
    let options = HubOptions { place_timeout: Duration::from_millis(20), ..bench.options.clone() };
    let bench = bench.restarted(options).await;
    let callback = Callback::start().await;
    let form = format!("hub.mode=subscribe&hub.topic=paid&hub.callback={}", callback.url("/in"));
    for (trouble, code) in [(Some(ErrorKind::Unreachable), "broker.unreachable"), (None, "hub.unavailable")] {
        let request = Request::post("/shop/hub").header("content-type", "application/x-www-form-urlencoded");
        let request = request.body(Full::from(form.clone())).unwrap();
        let away = |channel: &str| bench.binding_to(channel, Arc::new(Away(trouble)));
        let answer = bench.send_through(request, away).await;
        answer.refused(503, code);
        assert!(answer.retry_after.is_some());
    }
    assert!(bench.desk.papers().requests.is_empty() && !callback.has_call());
}

#[tokio::test]
async fn a_hub_that_stops_takes_nothing_more_and_keeps_what_is_not_settled() {
    let (bench, mut callback) = (Bench::new().await, Callback::start().await);
    let held = Arc::new(Semaphore::new(0));
    callback.answers([Reply::Held(Arc::clone(&held))]);
    let url = callback.url("/in");
    bench.subscribe(&url).await.accepted();
    bench.unsubscribe(&url).await.accepted();
    callback.call().await;
    let hub: Hub = bench.hub.clone();
    let stopping = tokio::spawn(async move { hub.shut_down(PATIENCE).await });
    // Once the other task has run, nothing more is taken.
    while bench.subscribe(&callback.url("/other")).await.status != 503 {
        tokio::task::yield_now().await;
    }
    held.add_permits(1);
    stopping.await.unwrap();
    let unsettled = bench.desk.unsettled().await.unwrap();
    assert!(unsettled.iter().any(|request| request.mode == Mode::Unsubscribe));
}
