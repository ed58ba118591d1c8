//! The life of a subscription at a hub: asked for, verified, called, renewed, ended; for APIs that were made by a call
//! and for those that stand in files.

use std::collections::HashMap;

use hmac::{Hmac, KeyInit, Mac};
use reqwest::Method;
use serde_json::{Value, json};
use sha1::Sha1;
use sha2::{Sha256, Sha384, Sha512};

use crate::harness::{
    Answer, CALLS_HERE, Delivery, Gateway, Starting, Subscriber, hub_api, kafka_of_channels, kafka_topic,
    succeeded, until, websub_api,
};

/// The base path of the API of most tests.
const BASE: &str = "/orders/v1.0";

fn log() -> Value {
    json!({ "type": "log" })
}

/// A gateway with a hub for the channels `created` and `paid`, made by a call.
async fn with_hub() -> Gateway {
    let gateway = Starting::run().config(CALLS_HERE).start().await;
    gateway.make(&websub_api("orders", "/orders", &json!({ "created": {}, "paid": {} }))).await;
    gateway
}

/// What a signature has to be, by code that is not the gateway's.
fn signature(method: &str, secret: &str, body: &[u8]) -> String {
    fn mac<M: Mac + KeyInit>(secret: &str, body: &[u8]) -> Vec<u8> {
        let mut mac = <M as KeyInit>::new_from_slice(secret.as_bytes()).unwrap();
        mac.update(body);
        mac.finalize().into_bytes().to_vec()
    }
    let digest = match method {
        "sha1" => mac::<Hmac<Sha1>>(secret, body),
        "sha256" => mac::<Hmac<Sha256>>(secret, body),
        "sha384" => mac::<Hmac<Sha384>>(secret, body),
        _ => mac::<Hmac<Sha512>>(secret, body),
    };
    let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{method}={hex}")
}

/// Whether a delivery is signed with this secret, as hubs do by default.
fn is_signed(delivery: &Delivery, secret: &str) -> bool {
    delivery.header("x-hub-signature") == Some(&signature("sha256", secret, &delivery.body))
}

/// The target of each relation in the `Link` headers.
fn links(headers: &http::HeaderMap) -> HashMap<String, String> {
    let values = headers.get_all("link").iter().map(|value| value.to_str().unwrap());
    let links = values.flat_map(|value| value.split(", ")).map(|link| {
        let (target, relation) = link.strip_prefix('<').unwrap().split_once(">; rel=\"").unwrap();
        (relation.strip_suffix('"').unwrap().to_owned(), target.to_owned())
    });
    links.collect()
}

fn hub_and_self(base: &str, topic: &str) -> HashMap<String, String> {
    [("hub", "hub"), ("self", topic)].map(|(name, below)| (name.to_owned(), format!("{base}/{below}"))).into()
}

/// The subscriptions to an API, as our own contract lists them.
async fn listed(gateway: &Gateway, api: &str) -> Vec<Value> {
    let page = gateway.shown(&format!("/apis/{api}/subscriptions")).await;
    page["data"].as_array().unwrap().clone()
}

#[tokio::test]
async fn a_request_is_answered_at_once_and_its_callback_asked_with_its_own_query_kept() {
    let gateway = with_hub().await;
    let mut subscriber = Subscriber::start().await;
    subscriber.answer(Answer::Never);
    let callback = subscriber.url("/cb?own=1&x=a%20b");
    let lease = ("hub.lease_seconds", "300");
    let form = [("hub.mode", "subscribe"), ("hub.topic", "created"), ("hub.callback", &callback), lease];
    gateway.ask_hub(BASE, &form).await;

    let question = subscriber.question().await;
    assert!(question.target.starts_with("/cb?own=1&x=a%20b&hub."), "{question:?}");
    for (name, value) in [("hub.mode", "subscribe"), ("hub.topic", "created"), lease] {
        assert_eq!(question.parameter(name), Some(value), "{question:?}");
    }
    assert!(question.parameter("hub.challenge").unwrap().len() >= 32, "{question:?}");

    // Nothing that is published before the answer of the callback is missed.
    let push =
        gateway.push(BASE, "created", "{\"n\": 1}").header("Content-Type", "application/json; charset=utf-8");
    assert_eq!(push.send().await.unwrap().status(), 202);
    subscriber.answer(Answer::Confirm);
    let delivery = subscriber.delivery().await;
    assert_eq!((&*delivery.target, &*delivery.body), ("/cb?own=1&x=a%20b", &b"{\"n\": 1}"[..]));
    assert_eq!(delivery.header("content-type"), Some("application/json; charset=utf-8"));
    assert_eq!(links(&delivery.headers), hub_and_self(&gateway.url(BASE), "created"));
    assert_eq!(delivery.header("x-hub-signature"), None, "it has no secret");
}

#[tokio::test]
async fn a_topic_is_named_by_its_channel_or_its_url_also_in_an_api_that_was_made_by_yaml() {
    let gateway = Starting::run().config(CALLS_HERE).start().await;
    let text = "apiVersion: gateway.api-platform.wso2.com/v1\nkind: WebSubApi\nmetadata: {name: orders}\n\
                spec: {displayName: orders, version: v1.0, context: /orders, channels: {created: {}, eu/paid: {}}}\n";
    let request = gateway.resource(Method::POST, "/websub-apis").header("Content-Type", "application/yaml");
    let made = succeeded(request.body(text).send().await.unwrap(), 201).await;
    assert_eq!(
        (&made["status"]["id"], &made["status"]["state"]),
        (&json!("orders"), &json!("deployed")),
        "{made}"
    );

    let mut subscriber = Subscriber::start().await;
    let callback = subscriber.url("/");
    let url = gateway.url("/orders/v1.0/eu/paid");
    for topic in ["created", "eu/paid", &url] {
        let form = [("hub.mode", "subscribe"), ("hub.topic", topic), ("hub.callback", &callback)];
        gateway.ask_hub(BASE, &form).await;
        assert_eq!(subscriber.question().await.parameter("hub.topic"), Some(topic), "as it was written");
    }
    gateway.has_verified(3.0).await;
    assert_eq!(listed(&gateway, "orders").await.len(), 2, "the URL is the channel's");
    gateway.pushed(BASE, "eu/paid", "x").await;
    assert_eq!(subscriber.delivery().await.text(), "x");
}

#[tokio::test]
async fn calls_are_signed_by_the_method_of_the_api() {
    let methods = ["sha1", "sha256", "sha384", "sha512"];
    let mut starting = Starting::run().config(CALLS_HERE);
    for method in methods {
        let mut api = hub_api(method, &format!("/{method}"), &log(), &["c"]);
        api["receivers"][0]["configuration"]["signature"] = json!(method);
        starting = starting.api(&api);
    }
    let gateway = starting.start().await;
    let mut subscriber = Subscriber::start().await;
    for method in methods {
        let base = format!("/{method}");
        subscriber.subscribe(&gateway, &base, "c", &[("hub.secret", "s€cret")]).await;
        gateway.pushed(&base, "c", "content").await;
        let delivery = subscriber.delivery().await;
        assert_eq!(delivery.header("x-hub-signature"), Some(&*signature(method, "s€cret", b"content")));
    }
}

#[tokio::test]
async fn subscribers_are_told_the_public_address_of_the_gateway() {
    let public = "https://events.example/edge";
    let starting = Starting::run().config(CALLS_HERE).argument("--public-url").argument(public);
    let gateway = starting.api(&hub_api("Open", "/open", &log(), &["c"])).start().await;
    let mut subscriber = Subscriber::start().await;
    subscriber.subscribe(&gateway, "/open", &format!("{public}/open/c"), &[]).await;
    gateway.pushed("/open", "c", "x").await;
    let expected = hub_and_self(&format!("{public}/open"), "c");
    assert_eq!(links(&subscriber.delivery().await.headers), expected);
    let topic = gateway.client().get(gateway.url("/open/c")).send().await.unwrap();
    assert_eq!((topic.status().as_u16(), links(topic.headers())), (200, expected), "discovery");
}

async fn misses_nothing(broker: Value, topic: &str) {
    let mut api = hub_api("Open", "/open", &broker, &["c"]);
    api["channels"]["c"] = json!({ "produceTo": topic, "consumeFrom": topic });
    let gateway = Starting::run().config(CALLS_HERE).api(&api).start().await;
    let mut subscriber = Subscriber::start().await;
    let mut first = HashMap::new();
    for round in 0..100 {
        let target = format!("/{round}");
        let callback = subscriber.url(&target);
        gateway
            .ask_hub("/open", &[("hub.mode", "subscribe"), ("hub.topic", "c"), ("hub.callback", &callback)])
            .await;
        gateway.pushed("/open", "c", &round.to_string()).await;
        while !first.contains_key(&target) {
            let delivery = subscriber.delivery().await;
            first.entry(delivery.target.clone()).or_insert_with(|| delivery.text());
        }
        assert_eq!(first[&target], round.to_string(), "the first that it gets");
    }
}

#[tokio::test]
async fn what_is_published_right_after_the_answer_is_delivered_a_hundred_times_on_the_embedded_log() {
    misses_nothing(log(), "t").await;
}

#[tokio::test]
async fn what_is_published_right_after_the_answer_is_delivered_a_hundred_times_on_kafka() {
    misses_nothing(kafka_of_channels(), &kafka_topic("hub", 1).await).await;
}

#[tokio::test]
async fn deliveries_end_with_the_lease() {
    let gateway = with_hub().await;
    let (mut subscriber, mut witness) = (Subscriber::start().await, Subscriber::start().await);
    witness.subscribe(&gateway, BASE, "paid", &[]).await;
    subscriber.subscribe(&gateway, BASE, "paid", &[("hub.lease_seconds", "2")]).await;
    gateway.pushed(BASE, "paid", "within").await;
    assert_eq!(subscriber.delivery().await.text(), "within");
    let is_over = || async {
        let page = gateway.shown("/apis/orders/subscriptions?status=closed").await;
        page["data"].as_array().unwrap().iter().any(|it| it["callbackUrl"] == subscriber.url("/"))
    };
    until("the lease to be over", is_over).await;
    gateway.pushed(BASE, "paid", "behind").await;
    assert_eq!(witness.contents(2).await, ["within", "behind"]);
    assert_eq!(subscriber.unread(), [] as [&str; 0]);
}

#[tokio::test]
async fn a_lease_is_what_was_asked_for_up_to_the_maximum_and_the_default_otherwise() {
    let mut api = hub_api("Open", "/open", &log(), &["c"]);
    let settings = api["receivers"][0]["configuration"].as_object_mut().unwrap();
    settings.extend([
        ("defaultLeaseSeconds".to_owned(), json!(500)),
        ("maxLeaseSeconds".to_owned(), json!(1000)),
    ]);
    let gateway = Starting::run().config(CALLS_HERE).api(&api).start().await;
    let mut subscriber = Subscriber::start().await;
    let callback = subscriber.url("/");
    for (asked, granted) in
        [(None, "500"), (Some("1"), "1"), (Some("1000"), "1000"), (Some("99999999999"), "1000")]
    {
        let mut form = vec![("hub.mode", "subscribe"), ("hub.topic", "c"), ("hub.callback", &callback)];
        form.extend(asked.map(|asked| ("hub.lease_seconds", asked)));
        gateway.ask_hub("/open", &form).await;
        assert_eq!(subscriber.question().await.parameter("hub.lease_seconds"), Some(granted), "{asked:?}");
    }
}

#[tokio::test]
async fn a_renewal_replaces_secret_and_lease_and_neither_loses_nor_repeats_a_message() {
    let gateway = with_hub().await;
    let mut subscriber = Subscriber::start().await;
    subscriber
        .subscribe(&gateway, BASE, "paid", &[("hub.secret", "old"), ("hub.lease_seconds", "1000")])
        .await;
    gateway.pushed(BASE, "paid", "one").await;
    let before = listed(&gateway, "orders").await;
    assert!(is_signed(&subscriber.delivery().await, "old"));

    subscriber
        .subscribe(&gateway, BASE, "paid", &[("hub.secret", "new"), ("hub.lease_seconds", "2000")])
        .await;
    gateway.pushed(BASE, "paid", "two").await;
    let delivery = subscriber.delivery().await;
    assert!(is_signed(&delivery, "new") && delivery.body == b"two", "{delivery:?}");
    let after = listed(&gateway, "orders").await;
    assert_eq!((before.len(), after.len(), &before[0]["id"]), (1, 1, &after[0]["id"]));
    assert!(before[0]["endingAt"].as_str().unwrap() < after[0]["endingAt"].as_str().unwrap(), "{after:?}");
}

#[tokio::test]
async fn a_renewal_that_is_not_confirmed_leaves_the_subscription_as_it_was() {
    let gateway = with_hub().await;
    let mut subscriber = Subscriber::start().await;
    subscriber.subscribe(&gateway, BASE, "paid", &[("hub.secret", "old")]).await;
    let before = listed(&gateway, "orders").await;
    subscriber.answer(Answer::Other(http::StatusCode::NOT_FOUND, Vec::new(), Vec::new()));
    for mode in ["subscribe", "unsubscribe"] {
        let callback = subscriber.url("/");
        let secret = ("hub.secret", "new");
        let form = [("hub.mode", mode), ("hub.topic", "paid"), ("hub.callback", &callback), secret];
        gateway.ask_hub(BASE, &form).await;
        assert_eq!(subscriber.question().await.parameter("hub.mode"), Some(mode));
    }
    gateway.has_given_up(2.0).await;
    gateway.pushed(BASE, "paid", "x").await;
    assert!(is_signed(&subscriber.delivery().await, "old"));
    let after = listed(&gateway, "orders").await;
    assert_eq!((&after[0]["id"], &after[0]["endingAt"]), (&before[0]["id"], &before[0]["endingAt"]));
}

#[tokio::test]
async fn who_has_unsubscribed_and_said_so_is_called_no_more_also_after_a_restart() {
    let gateway = with_hub().await;
    let (mut subscriber, mut witness) = (Subscriber::start().await, Subscriber::start().await);
    witness.subscribe(&gateway, BASE, "paid", &[]).await;
    subscriber.subscribe(&gateway, BASE, "paid", &[]).await;
    let callback = subscriber.url("/");
    gateway
        .ask_hub(BASE, &[("hub.mode", "unsubscribe"), ("hub.topic", "paid"), ("hub.callback", &callback)])
        .await;
    let question = subscriber.question().await;
    assert_eq!(question.parameter("hub.mode"), Some("unsubscribe"));
    assert_eq!(
        (question.parameter("hub.topic"), question.parameter("hub.lease_seconds")),
        (Some("paid"), None)
    );
    gateway.has_verified(3.0).await;
    gateway.pushed(BASE, "paid", "one").await;
    assert_eq!(witness.delivery().await.text(), "one");

    let gateway = gateway.kill().config(CALLS_HERE).start().await;
    gateway.pushed(BASE, "paid", "two").await;
    while witness.delivery().await.text() != "two" {}
    assert_eq!(subscriber.unread(), [] as [&str; 0]);
}

#[tokio::test]
async fn each_topic_of_a_callback_has_its_own_secret_and_keeps_it_when_the_other_goes() {
    let gateway = with_hub().await;
    let mut subscriber = Subscriber::start().await;
    for (channel, secret) in [("created", "one"), ("paid", "other")] {
        subscriber.subscribe(&gateway, BASE, channel, &[("hub.secret", secret)]).await;
    }
    for (channel, secret) in [("created", "one"), ("paid", "other")] {
        gateway.pushed(BASE, channel, channel).await;
        assert!(is_signed(&subscriber.delivery().await, secret), "{channel}");
    }
    subscriber.unsubscribe(&gateway, BASE, "paid").await;
    for channel in ["paid", "created"] {
        gateway.pushed(BASE, channel, channel).await;
    }
    let delivery = subscriber.delivery().await;
    assert!(is_signed(&delivery, "one") && delivery.body == b"created", "{delivery:?}");
}

#[tokio::test]
async fn a_subscriber_that_says_that_it_is_gone_is_called_no_more() {
    let gateway = with_hub().await;
    let (mut subscriber, mut witness) = (Subscriber::start().await, Subscriber::start().await);
    witness.subscribe(&gateway, BASE, "paid", &[]).await;
    subscriber.subscribe(&gateway, BASE, "paid", &[]).await;
    subscriber.take(Some(410));
    gateway.pushed(BASE, "paid", "one").await;
    assert_eq!(subscriber.delivery().await.text(), "one");
    let closed = || async { gateway.shown("/apis/orders/subscriptions?status=closed").await };
    until("the subscription to end", async || !closed().await["data"].as_array().unwrap().is_empty()).await;
    let ended = closed().await["data"][0].clone();
    assert_eq!(ended["callbackUrl"], subscriber.url("/"));
    gateway.pushed(BASE, "paid", "two").await;
    assert_eq!(witness.contents(2).await, ["one", "two"]);
    assert_eq!(subscriber.unread(), [] as [&str; 0]);

    // Whoever is back may subscribe again, and is called again.
    subscriber.take(Some(200));
    subscriber.subscribe(&gateway, BASE, "paid", &[]).await;
    gateway.pushed(BASE, "paid", "three").await;
    assert_eq!(subscriber.delivery().await.text(), "three");
}

#[tokio::test]
async fn a_redirect_is_a_failure_and_is_not_followed_until_the_subscriber_renews() {
    let gateway = with_hub().await;
    let mut subscriber = Subscriber::start().await;
    subscriber.subscribe(&gateway, BASE, "paid", &[]).await;
    subscriber.take(Some(307));
    gateway.pushed(BASE, "paid", "x").await;
    assert_eq!(subscriber.delivery().await.text(), "x");
    let failed = async || listed(&gateway, "orders").await[0]["consumerStatus"] == "failure";
    until("the failure to show", failed).await;
    let cause = listed(&gateway, "orders").await[0]["failureCause"].as_str().unwrap().to_owned();
    assert!(cause.contains("307"), "{cause}");
    subscriber.take(Some(204));
    subscriber.subscribe(&gateway, BASE, "paid", &[]).await;
    assert_eq!(subscriber.delivery().await.text(), "x", "it goes on where it stopped");
}

#[tokio::test]
async fn a_topic_that_hangs_holds_up_no_other_of_the_same_callback() {
    let gateway = with_hub().await;
    let mut subscriber = Subscriber::start().await;
    for channel in ["created", "paid"] {
        subscriber.subscribe(&gateway, BASE, channel, &[]).await;
    }
    subscriber.take(None);
    for channel in ["created", "paid"] {
        gateway.pushed(BASE, channel, channel).await;
        assert_eq!(subscriber.delivery().await.text(), channel, "it waits for nobody's answer");
    }
}
