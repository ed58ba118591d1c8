//! What publishers tell a hub, and what operators see and do: news, discovery, and the subscriptions of our own contract.

use reqwest::Method;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::harness::{
    CALLS_HERE, Gateway, Starting, Subscriber, hub_api, kafka, kafka_of_channels, kafka_records, kafka_topic,
    succeeded, until, webbroker_api, websub_api, within,
};

const BASE: &str = "/orders/v1.0";

async fn with_hub() -> Gateway {
    let gateway = Starting::run().config(CALLS_HERE).start().await;
    gateway.make(&websub_api("orders", "/orders", &json!({ "created": {}, "paid": {} }))).await;
    gateway
}

/// The only subscription, as our own contract lists it.
async fn only(gateway: &Gateway) -> Value {
    let page = gateway.shown("/apis/orders/subscriptions").await;
    let data = page["data"].as_array().unwrap();
    assert_eq!(data.len(), 1, "{page}");
    data[0].clone()
}

/// A call on that subscription.
async fn call(gateway: &Gateway, method: Method, id: &Value, rest: &str) -> u16 {
    let path = format!("/apis/orders/subscriptions/{}{rest}", id.as_str().unwrap());
    gateway.native(method, &path).send().await.unwrap().status().as_u16()
}

#[tokio::test]
async fn a_publisher_tells_the_hub_and_sends_the_content_along() {
    let gateway = with_hub().await;
    let mut subscriber = Subscriber::start().await;
    subscriber.subscribe(&gateway, BASE, "paid", &[]).await;
    let query = "hub.mode=publish&hub.topic=paid";
    let post = gateway.client().post(gateway.url(&format!("{BASE}/hub?{query}"))).body("<a/>");
    let answer = post.header("Content-Type", "application/atom+xml").send().await.unwrap();
    assert_eq!((answer.status().as_u16(), answer.text().await.unwrap()), (202, String::new()));
    let delivery = subscriber.delivery().await;
    assert_eq!(
        (delivery.header("content-type"), &*delivery.body),
        (Some("application/atom+xml"), &b"<a/>"[..])
    );

    let nothing = [("hub.mode", "publish"), ("hub.topic", "paid")];
    assert_eq!(gateway.hub(BASE, &nothing).await.status(), 400, "there is nothing to publish");
    let unknown = gateway.client().post(gateway.url(&format!("{BASE}/hub?hub.mode=publish&hub.topic=other")));
    assert_eq!(unknown.header("Content-Type", "text/plain").body("x").send().await.unwrap().status(), 404);
}

#[tokio::test]
async fn a_publisher_tells_the_hub_and_the_content_is_fetched_from_where_it_stands() {
    let (asked, mut requests) = mpsc::unbounded_channel();
    let feed = axum::Router::new().fallback(move |request: axum::extract::Request| {
        asked.send(request.uri().to_string()).unwrap();
        async { ([("content-type", "application/rss+xml")], "<rss/>") }
    });
    let socket = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    let serving = tokio::spawn(async move { axum::serve(socket, feed).await.unwrap() });
    let mut api = hub_api("Feed", "/feed", &json!({ "type": "log" }), &["c"]);
    api["channels"]["c"]["contentUrl"] = json!(format!("http://{address}/feed?a=b"));
    let gateway = Starting::run().config(CALLS_HERE).api(&api).start().await;
    let mut subscriber = Subscriber::start().await;
    subscriber.subscribe(&gateway, "/feed", "c", &[]).await;
    // As older publishers write it, and by the URL of the topic.
    let topic = gateway.url("/feed/c");
    for name in ["hub.topic", "hub.url"] {
        gateway.ask_hub("/feed", &[("hub.mode", "publish"), (name, &topic)]).await;
        assert_eq!(within("the content to be fetched", requests.recv()).await.unwrap(), "/feed?a=b");
        let delivery = subscriber.delivery().await;
        assert_eq!(
            (delivery.header("content-type"), &*delivery.body),
            (Some("application/rss+xml"), &b"<rss/>"[..])
        );
    }
    let post = gateway.client().post(gateway.url("/feed/hub?hub.mode=publish&hub.topic=c"));
    let sent = post.header("Content-Type", "text/plain").body("x").send().await.unwrap();
    assert_eq!(sent.status(), 400, "content that nobody asked for");
    serving.abort();
}

#[tokio::test]
async fn a_topic_says_where_its_hub_is_also_where_a_stream_is_served_at_its_address() {
    let mut api = hub_api("Both", "/both", &json!({ "type": "log" }), &["c"]);
    api["receivers"].as_array_mut().unwrap().push(json!({ "type": "sse" }));
    let gateway = Starting::run().config(CALLS_HERE).api(&api).start().await;
    gateway.make(&websub_api("orders", "/orders", &json!({ "paid": {} }))).await;
    gateway.make(&webbroker_api("ticks", "/ticks", &json!({ "c": {} }))).await;
    for (base, channel, accept) in
        [(BASE, "paid", "*/*"), ("/both", "c", "*/*"), ("/both", "c", "text/event-stream")]
    {
        let url = gateway.url(&format!("{base}/{channel}"));
        for method in [Method::GET, Method::HEAD] {
            if method == Method::HEAD && accept != "*/*" {
                continue;
            }
            let request = gateway.client().request(method.clone(), &url).header("Accept", accept);
            let answer = request.send().await.unwrap();
            let links: Vec<_> =
                answer.headers().get_all("link").iter().map(|it| it.to_str().unwrap()).collect();
            let links = links.join(", ");
            let hub = gateway.url(&format!("{base}/hub"));
            assert_eq!(answer.status(), 200, "{method} {url}");
            assert_eq!(links, format!("<{hub}>; rel=\"hub\", <{url}>; rel=\"self\""), "{method} {accept}");
        }
    }
    let other = gateway.client().get(gateway.url("/orders/v1.0/other")).send().await.unwrap();
    assert_eq!((other.status().as_u16(), other.headers().contains_key("link")), (404, false));
    assert_eq!(other.json::<Value>().await.unwrap()["code"], "channel.unknown");
    let no_hub = gateway.client().get(gateway.url("/ticks/c")).send().await.unwrap();
    assert!(!no_hub.headers().contains_key("link"));
}

#[tokio::test]
async fn a_subscription_shows_its_lease_position_lag_last_status_and_next_attempt() {
    let gateway = with_hub().await;
    let mut subscriber = Subscriber::start().await;
    let secret = ("hub.secret", "s");
    subscriber.subscribe(&gateway, BASE, "paid", &[("hub.lease_seconds", "1000"), secret]).await;
    gateway.pushed(BASE, "paid", "one").await;
    subscriber.delivery().await;
    until("the delivery to show", async || only(&gateway).await["delivery"]["delivered"] == 1).await;
    let shown = only(&gateway).await;
    let names = ["status", "consumerStatus", "channel", "callbackUrl"].map(|name| shown[name].clone());
    assert_eq!(names, [json!("accepted"), json!("started"), json!("paid"), json!(subscriber.url("/"))]);
    let expected = json!({ "topic": "paid", "leaseSeconds": 1000, "signature": "sha256" });
    for (name, value) in expected.as_object().unwrap() {
        assert_eq!(&shown["hub"][name], value, "{shown}");
    }
    assert!(
        shown["hub"]["expiresAt"].is_string() && shown["endingAt"] == shown["hub"]["expiresAt"],
        "{shown}"
    );
    let delivery = &shown["delivery"];
    assert_eq!(
        (&delivery["lastStatus"], &delivery["lag"], &delivery["phase"]),
        (&json!(200), &json!(0), &json!("delivering"))
    );
    assert!(delivery["position"].as_str().unwrap().contains("#0"), "{delivery}");

    subscriber.take(Some(503));
    for message in ["two", "three"] {
        gateway.pushed(BASE, "paid", message).await;
    }
    let failed = async || {
        let delivery = only(&gateway).await["delivery"].clone();
        delivery["lastStatus"] == 503 && delivery["retrying"]["nextAt"].is_string() && delivery["lag"] == 2
    };
    until("the failure to show", failed).await;
    let id = &only(&gateway).await["id"];
    let one = gateway.shown(&format!("/apis/orders/subscriptions/{}", id.as_str().unwrap())).await;
    assert_eq!(one["hub"]["topic"], "paid");
    for filter in ["channel=paid", "status=accepted"] {
        let page = gateway.shown(&format!("/apis/orders/subscriptions?{filter}")).await;
        assert_eq!(page["data"].as_array().unwrap().len(), 1, "{filter}");
    }
    let page = gateway.shown("/apis/orders/subscriptions?channel=created").await;
    assert_eq!(page["data"], json!([]));
}

#[tokio::test]
async fn a_subscription_that_pauses_is_not_called_and_gets_everything_when_it_goes_on() {
    let gateway = with_hub().await;
    let (mut subscriber, mut witness) = (Subscriber::start().await, Subscriber::start().await);
    subscriber.subscribe(&gateway, BASE, "paid", &[]).await;
    let id = only(&gateway).await["id"].clone();
    witness.subscribe(&gateway, BASE, "paid", &[]).await;
    assert_eq!(call(&gateway, Method::POST, &id, "/_pause").await, 200);
    for message in ["one", "two"] {
        gateway.pushed(BASE, "paid", message).await;
    }
    assert_eq!(witness.contents(2).await, ["one", "two"]);
    assert_eq!(subscriber.unread(), [] as [&str; 0]);
    // Who pauses does so through a renewal and a restart.
    subscriber.subscribe(&gateway, BASE, "paid", &[]).await;
    let gateway = gateway.kill().config(CALLS_HERE).start().await;
    gateway.pushed(BASE, "paid", "three").await;
    while witness.delivery().await.text() != "three" {}
    assert_eq!(subscriber.unread(), [] as [&str; 0]);
    assert_eq!(call(&gateway, Method::POST, &id, "/_resume").await, 200);
    assert_eq!(subscriber.contents(3).await, ["one", "two", "three"]);
}

#[tokio::test]
async fn a_subscription_that_rests_says_how_far_it_has_come() {
    let gateway = with_hub().await;
    let mut subscriber = Subscriber::start().await;
    subscriber.subscribe(&gateway, BASE, "paid", &[]).await;
    gateway.pushed(BASE, "paid", "zero").await;
    assert_eq!(subscriber.contents(1).await, ["zero"]);
    let id = only(&gateway).await["id"].clone();
    assert_eq!(call(&gateway, Method::POST, &id, "/_pause").await, 200);
    for message in ["one", "two"] {
        gateway.pushed(BASE, "paid", message).await;
    }
    // What is stored of it follows its last call.
    let rests = || async {
        let delivery = only(&gateway).await["delivery"].clone();
        assert_eq!(delivery["phase"], "resting", "{delivery}");
        delivery["lag"] == 2 && delivery["position"].as_str().is_some_and(|position| position.ends_with("#0"))
    };
    until("the subscription says that two messages wait", rests).await;
}

#[tokio::test]
async fn what_is_posted_to_an_api_with_a_hub_reaches_subscribers_with_its_type() {
    let channels = json!({ "name": "News", "paths": [{ "path": "/news" }], "channels": { "all": {} },
        "receivers": [{ "type": "http-post" }, { "type": "websub", "qos": "at-least-once" }],
        "brokers": [{ "type": "log" }], "plans": [{ "name": "Open", "security": { "type": "key-less" } }] });
    let gateway = Starting::run().config(CALLS_HERE).api(&channels).start().await;
    let mut subscriber = Subscriber::start().await;
    subscriber.subscribe(&gateway, "/news", "all", &[]).await;
    let post = gateway.client().post(gateway.url("/news/all")).header("content-type", "text/csv").body("a,b");
    assert_eq!(post.send().await.unwrap().status(), 202);
    let delivery = subscriber.delivery().await;
    assert_eq!(delivery.header("content-type"), Some("text/csv"));
    assert_eq!(delivery.text(), "a,b");
}

#[tokio::test]
async fn a_subscriber_whose_subscription_an_operator_ends_is_told_by_a_denial() {
    let gateway = with_hub().await;
    let (mut subscriber, mut witness) = (Subscriber::start().await, Subscriber::start().await);
    let callback = subscriber.url("/cb?own=1");
    gateway
        .ask_hub(BASE, &[("hub.mode", "subscribe"), ("hub.topic", "paid"), ("hub.callback", &callback)])
        .await;
    subscriber.question().await;
    gateway.has_verified(1.0).await;
    let id = only(&gateway).await["id"].clone();
    assert_eq!(call(&gateway, Method::DELETE, &id, "").await, 204);
    let told = subscriber.question().await;
    assert!(told.target.starts_with("/cb?own=1&hub."), "{told:?}");
    assert_eq!((told.parameter("hub.mode"), told.parameter("hub.topic")), (Some("denied"), Some("paid")));
    assert!(!told.parameter("hub.reason").unwrap().is_empty(), "{told:?}");
    witness.subscribe(&gateway, BASE, "paid", &[]).await;
    gateway.pushed(BASE, "paid", "x").await;
    assert_eq!(witness.delivery().await.text(), "x");
    assert_eq!(subscriber.unread(), [] as [&str; 0]);
    let closed = gateway.shown("/apis/orders/subscriptions?status=closed").await;
    assert_eq!(closed["data"][0]["id"], id);
}

#[tokio::test]
async fn a_resource_that_is_deleted_is_gone_from_everywhere_and_its_handle_is_free() {
    let gateway = with_hub().await;
    let mut subscriber = Subscriber::start().await;
    subscriber.subscribe(&gateway, BASE, "paid", &[]).await;
    let delete = gateway.resource(Method::DELETE, "/websub-apis/orders").send().await.unwrap();
    assert_eq!(succeeded(delete, 200).await["id"], "orders");
    let again = gateway.resource(Method::DELETE, "/websub-apis/orders").send().await.unwrap();
    assert_eq!(again.status(), 404);
    assert_eq!(gateway.push(BASE, "paid", "x").send().await.unwrap().status(), 404);
    assert_eq!(gateway.native(Method::GET, "/apis/orders").send().await.unwrap().status(), 404);
    gateway.make(&websub_api("orders", "/orders", &json!({ "paid": {} }))).await;
    gateway.pushed(BASE, "paid", "x").await;
    assert_eq!(gateway.shown("/apis/orders/subscriptions").await["data"], json!([]), "nobody comes back");
    assert_eq!(subscriber.unread(), [] as [&str; 0]);
}

#[tokio::test]
async fn the_hubs_of_resources_are_in_front_of_the_broker_that_the_operator_names() {
    let topic = kafka_topic("orders.v1_2e0.paid", 1).await;
    let channel = topic.rsplit_once('.').unwrap().1.to_owned();
    let config = format!("{CALLS_HERE}\nwebsub: {{ broker: {} }}", kafka_of_channels());
    let gateway = Starting::run().config(&config).start().await;
    let mut channels = json!({});
    channels[&channel] = json!({});
    let made = gateway.make(&websub_api("orders", "/orders", &channels)).await;
    assert!(!made.to_string().contains(&kafka()), "it is not for those who write resources: {made}");
    let mut subscriber = Subscriber::start().await;
    subscriber.subscribe(&gateway, BASE, &channel, &[]).await;
    gateway.pushed(BASE, &channel, "x").await;
    assert_eq!(subscriber.delivery().await.text(), "x");
    assert_eq!(kafka_records(&topic, 1).await[0].payload, b"x");
}

#[tokio::test]
async fn a_hub_whose_broker_is_away_takes_no_subscription_that_would_miss_something() {
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let broker = json!({ "type": "kafka", "configuration": { "bootstrapServers": nobody.to_string() } });
    let gateway =
        Starting::run().config(CALLS_HERE).api(&hub_api("Away", "/away", &broker, &["c"])).start().await;
    let mut subscriber = Subscriber::start().await;
    let callback = subscriber.url("/");
    let form = [("hub.mode", "subscribe"), ("hub.topic", "c"), ("hub.callback", &*callback)];
    let answer = gateway.hub("/away", &form).await;
    assert_eq!((answer.status().as_u16(), answer.headers().contains_key("retry-after")), (503, true));
    let text = answer.text().await.unwrap();
    assert!(!text.contains(&nobody.to_string()), "addresses are not for clients: {text}");
    assert!(subscriber.has_heard_nothing());
    // What was subscribed to before can be ended all the same: that needs no broker, only a subscription.
    let form = [("hub.mode", "unsubscribe"), ("hub.topic", "c"), ("hub.callback", &*callback)];
    assert_eq!(gateway.hub("/away", &form).await.status(), 404);
}

#[tokio::test]
async fn resources_are_seen_by_every_contract() {
    let gateway = with_hub().await;
    gateway.make(&webbroker_api("ticks", "/ticks", &json!({ "prices": {} }))).await;
    for name in ["orders", "ticks"] {
        assert_eq!(gateway.shown(&format!("/apis/{name}")).await["id"], name);
    }
    let unknown = gateway.resource(Method::GET, "/websub-apis/ticks").send().await.unwrap();
    assert_eq!(unknown.status(), 404, "it is of the other kind");
    let anonymous =
        gateway.client().get(gateway.management_url("/api/management/v1/websub-apis")).send().await.unwrap();
    assert_eq!(anonymous.status(), 401);
}
