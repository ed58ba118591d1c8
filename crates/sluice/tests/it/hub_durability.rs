//! What a hub promises through the end of its process, through the absence of its subscribers, and through changes of its
//! API: subscriptions stay, and messages are neither lost nor brought out of order.

use std::collections::HashSet;

use serde_json::{Value, json};

use crate::harness::{
    Answer, CALLS_HERE, Gateway, Starting, Subscriber, hub_api, kafka_of_channels, kafka_topic, policies,
    until, websub_api, within,
};

/// The base path of the API of most tests.
const BASE: &str = "/orders/v1.0";

fn resource() -> Value {
    websub_api("orders", "/orders", &json!({ "created": {}, "paid": {} }))
}

async fn with_hub() -> Gateway {
    let gateway = Starting::run().config(CALLS_HERE).start().await;
    gateway.make(&resource()).await;
    gateway
}

fn numbers(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|number| number.to_string()).collect()
}

/// An API with one channel of this topic, at `/open`.
fn open_api(broker: &Value, topic: &str) -> Value {
    let mut api = hub_api("Open", "/open", broker, &["c"]);
    api["channels"]["c"] = json!({ "produceTo": topic, "consumeFrom": topic });
    api
}

async fn is_verified_after_a_kill(broker: Value, topic: &str) {
    let api = open_api(&broker, topic);
    let gateway = Starting::run().config(CALLS_HERE).api(&api).start().await;
    let mut subscriber = Subscriber::start().await;
    subscriber.answer(Answer::Never);
    let callback = subscriber.url("/");
    gateway
        .ask_hub("/open", &[("hub.mode", "subscribe"), ("hub.topic", "c"), ("hub.callback", &callback)])
        .await;
    subscriber.question().await;
    gateway.pushed("/open", "c", "before the kill").await;
    let gateway = gateway.kill().config(CALLS_HERE).start().await;
    gateway.pushed("/open", "c", "after the kill").await;
    subscriber.answer(Answer::Confirm);
    assert_eq!(subscriber.question().await.parameter("hub.mode"), Some("subscribe"), "it is asked again");
    assert_eq!(subscriber.contents(2).await, ["before the kill", "after the kill"]);
}

#[tokio::test]
async fn what_was_answered_and_not_verified_is_verified_after_a_kill_and_misses_nothing_on_the_embedded_log()
{
    is_verified_after_a_kill(json!({ "type": "log" }), "t").await;
}

#[tokio::test]
async fn what_was_answered_and_not_verified_is_verified_after_a_kill_and_misses_nothing_on_kafka() {
    is_verified_after_a_kill(kafka_of_channels(), &kafka_topic("verified", 1).await).await;
}

async fn survives_kills(broker: Value, topic: &str) {
    let api = open_api(&broker, topic);
    let mut gateway = Starting::run().config(CALLS_HERE).api(&api).start().await;
    let mut subscriber = Subscriber::start().await;
    subscriber.subscribe(&gateway, "/open", "c", &[("hub.secret", "kept")]).await;
    let expected = numbers(0..150);
    for round in expected.chunks(50) {
        for number in round {
            gateway.pushed("/open", "c", number).await;
        }
        // Some calls are done, some not, and some positions are not yet on the disk.
        gateway = gateway.kill().config(CALLS_HERE).start().await;
    }
    let (mut seen, mut order) = (HashSet::new(), Vec::new());
    while order.len() < expected.len() {
        let delivery = subscriber.delivery().await;
        assert!(delivery.header("x-hub-signature").is_some(), "the secret is kept, too");
        let content = delivery.text();
        if seen.insert(content.clone()) {
            order.push(content);
        }
    }
    assert_eq!(order, expected, "nothing is lost, and what is new comes in order");
}

#[tokio::test]
async fn a_gateway_that_is_killed_under_load_loses_neither_subscription_nor_message_on_the_embedded_log() {
    survives_kills(json!({ "type": "log" }), "t").await;
}

#[tokio::test]
async fn a_gateway_that_is_killed_under_load_loses_neither_subscription_nor_message_on_kafka() {
    survives_kills(kafka_of_channels(), &kafka_topic("killed", 1).await).await;
}

#[tokio::test]
async fn a_change_of_the_api_keeps_its_subscriptions_and_all_messages() {
    const MESSAGES: usize = 1000;
    let gateway = with_hub().await;
    let mut subscriber = Subscriber::start().await;
    subscriber.subscribe(&gateway, BASE, "paid", &[]).await;
    let publishing = async {
        for number in numbers(0..MESSAGES) {
            gateway.pushed(BASE, "paid", &number).await;
        }
    };
    let changing = async {
        for version in 0..5 {
            let mut resource = resource();
            resource["spec"]["displayName"] = json!(format!("Version {version}"));
            let header =
                json!({ "request": { "headers": [{ "name": "X-Version", "value": version.to_string() }] } });
            resource["spec"]["allChannels"] =
                json!({ "on_message_delivery": policies("set-headers", &header) });
            gateway.change(&resource).await;
            tokio::task::yield_now().await;
        }
    };
    let (_, _, contents) = tokio::join!(publishing, changing, subscriber.contents(MESSAGES));
    assert_eq!(contents, numbers(0..MESSAGES), "each once, and in order");
    gateway.pushed(BASE, "paid", "last").await;
    let last = subscriber.delivery().await;
    assert_eq!((last.header("x-version"), &*last.body), (Some("4"), &b"last"[..]));
}

#[tokio::test]
async fn an_undeployed_api_keeps_its_subscriptions_until_it_is_deployed_again() {
    let gateway = with_hub().await;
    let mut subscriber = Subscriber::start().await;
    subscriber.subscribe(&gateway, BASE, "paid", &[]).await;
    let mut undeployed = resource();
    undeployed["spec"]["deploymentState"] = json!("undeployed");
    assert_eq!(gateway.change(&undeployed).await["status"]["state"], "undeployed");
    assert_eq!(gateway.push(BASE, "paid", "x").send().await.unwrap().status(), 404);
    assert_eq!(gateway.hub(BASE, &[("hub.mode", "subscribe"), ("hub.topic", "paid")]).await.status(), 404);
    assert_eq!(gateway.change(&resource()).await["status"]["state"], "deployed");
    gateway.pushed(BASE, "paid", "x").await;
    assert_eq!(subscriber.delivery().await.text(), "x");
}

#[tokio::test]
async fn a_subscriber_that_was_away_gets_everything_in_order_when_it_is_back() {
    let api = open_api(&json!({ "type": "log" }), "t");
    let gateway = Starting::run().config(CALLS_HERE).api(&api).start().await;
    let (mut subscriber, mut witness) = (Subscriber::start().await, Subscriber::start().await);
    for one in [&mut subscriber, &mut witness] {
        one.subscribe(&gateway, "/open", "c", &[]).await;
    }
    gateway.pushed("/open", "c", "0").await;
    assert_eq!(subscriber.delivery().await.text(), "0");
    let address = subscriber.address();
    drop(subscriber);
    for number in numbers(1..200) {
        gateway.pushed("/open", "c", &number).await;
    }
    assert_eq!(witness.contents(200).await, numbers(0..200), "it delays no other");
    let behind = async || {
        let page = gateway.shown("/apis/open/subscriptions").await;
        let delivery = |it: &Value| it["callbackUrl"].as_str().unwrap().contains(&address.to_string());
        let away =
            page["data"].as_array().unwrap().iter().find(|it| delivery(it)).unwrap()["delivery"].clone();
        away["lag"] == 199 && away["lastFailure"]["code"].is_string()
    };
    until("it to show how far behind it is", behind).await;
    let mut back = Subscriber::at(address).await;
    assert_eq!(back.contents(199).await, numbers(1..200));
}

#[tokio::test]
async fn two_apis_with_one_callback_have_nothing_to_do_with_each_other() {
    let gateway = with_hub().await;
    gateway.make(&websub_api("stock", "/stock", &json!({ "paid": {} }))).await;
    let mut subscriber = Subscriber::start().await;
    subscriber.subscribe(&gateway, BASE, "paid", &[]).await;
    subscriber.subscribe(&gateway, "/stock/v1.0", "paid", &[]).await;
    subscriber.unsubscribe(&gateway, BASE, "paid").await;
    gateway.pushed(BASE, "paid", "orders").await;
    gateway.pushed("/stock/v1.0", "paid", "stock").await;
    assert_eq!(subscriber.delivery().await.text(), "stock");
    let deleted = gateway.resource(reqwest::Method::DELETE, "/websub-apis/orders").send().await.unwrap();
    assert_eq!(deleted.status(), 200);
    gateway.pushed("/stock/v1.0", "paid", "still").await;
    assert_eq!(subscriber.delivery().await.text(), "still");
}

#[tokio::test]
async fn two_hundred_callbacks_of_a_channel_are_one_consumer_and_one_that_hangs_delays_no_other() {
    let api = open_api(&json!({ "type": "log" }), "t");
    let gateway = Starting::run().config(CALLS_HERE).api(&api).start().await;
    let mut subscriber = Subscriber::start().await;
    for number in 0..200 {
        let callback = subscriber.url(&format!("/{number}"));
        gateway
            .ask_hub("/open", &[("hub.mode", "subscribe"), ("hub.topic", "c"), ("hub.callback", &callback)])
            .await;
    }
    gateway.has_verified(200.0).await;
    subscriber.take_at("/7", None);
    for message in ["one", "two"] {
        gateway.pushed("/open", "c", message).await;
    }
    let mut brought = HashSet::new();
    let all_others = async {
        // One of the two messages for the one that hangs.
        while brought.len() < 2 * 199 + 1 {
            let delivery = subscriber.delivery().await;
            brought.insert((delivery.target.clone(), delivery.text()));
        }
    };
    within("all others to have everything", all_others).await;
    assert!(!brought.contains(&("/7".to_owned(), "two".to_owned())), "it waits for the answer to the first");
    assert_eq!(gateway.metric("sluice_hub_consumers").await, 1.0);
    subscriber.take_at("/7", Some(200));
    let last = subscriber.delivery().await;
    assert_eq!((&*last.target, &*last.body), ("/7", &b"two"[..]));
}
