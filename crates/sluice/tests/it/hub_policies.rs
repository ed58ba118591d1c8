//! Policies at the hooks of resources: at both levels, in their order, before anything comes of a request; with the API
//! keys that are made and revoked by calls.

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{
    CALLS_HERE, Gateway, Socket, Sse, Starting, Subscriber, policies, succeeded, until, webbroker_api,
    websub_api,
};

const BASE: &str = "/orders/v1.0";

/// A gateway with a hub for the channels `created` and `paid`, and these hooks of all channels and of `paid`.
async fn with_hooks(all: Value, paid: Value) -> Gateway {
    let gateway = Starting::run().config(CALLS_HERE).start().await;
    let mut resource = websub_api("orders", "/orders", &json!({ "created": {}, "paid": paid }));
    resource["spec"]["allChannels"] = all;
    gateway.make(&resource).await;
    gateway
}

fn set(name: &str, value: &str) -> Value {
    policies("set-headers", &json!({ "request": { "headers": [{ "name": name, "value": value }] } }))
}

/// A new key of an API, with what else there is to say of it.
async fn key(gateway: &Gateway, keys: &str, wanted: &Value) -> String {
    let answer = gateway.resource(Method::POST, keys).json(wanted).send().await.unwrap();
    let made = succeeded(answer, 201).await;
    let text = made["apiKey"]["apiKey"].as_str().unwrap().to_owned();
    assert!(text.starts_with("apip_") && text.len() == 69, "{made}");
    text
}

/// The status of a request to the hub with this key.
async fn asked(gateway: &Gateway, mode: &str, channel: &str, callback: &str, key: &str) -> u16 {
    let form = [("hub.mode", mode), ("hub.topic", channel), ("hub.callback", callback)];
    let request = gateway.client().post(gateway.url(&format!("{BASE}/hub"))).header("API-Key", key);
    request.form(&form).send().await.unwrap().status().as_u16()
}

#[tokio::test]
async fn policies_of_all_channels_run_before_those_of_the_channel_on_the_way_in_and_out() {
    let all =
        json!({ "on_message_received": set("X-In", "all"), "on_message_delivery": set("X-Out", "all") });
    let paid =
        json!({ "on_message_received": set("X-In", "paid"), "on_message_delivery": set("X-Out", "paid") });
    let gateway = with_hooks(all, paid).await;
    let mut subscriber = Subscriber::start().await;
    for (channel, expected) in [("paid", "paid"), ("created", "all")] {
        subscriber.subscribe(&gateway, BASE, channel, &[]).await;
        gateway.pushed(BASE, channel, "x").await;
        let delivery = subscriber.delivery().await;
        assert_eq!((delivery.header("x-in"), delivery.header("x-out")), (Some(expected), Some(expected)));
    }
}

#[tokio::test]
async fn headers_that_are_removed_are_gone_however_their_names_are_written() {
    let remove =
        policies("remove-headers", &json!({ "request": { "headers": [{ "name": "x-GITHUB-event" }] } }));
    let gateway = with_hooks(json!({ "on_message_received": remove }), json!({})).await;
    let mut subscriber = Subscriber::start().await;
    subscriber.subscribe(&gateway, BASE, "paid", &[]).await;
    let push =
        gateway.push(BASE, "paid", "x").header("X-GitHub-Event", "push").header("X-GitHub-Delivery", "1");
    assert_eq!(push.send().await.unwrap().status(), 202);
    let delivery = subscriber.delivery().await;
    assert_eq!((delivery.header("x-github-event"), delivery.header("x-github-delivery")), (None, Some("1")));
}

#[tokio::test]
async fn a_condition_decides_for_which_messages_a_policy_runs() {
    let mut marked = set("X-Large", "yes");
    marked["policies"][0]["executionCondition"] = json!("channel == 'paid' && message.json.amount > 100");
    let gateway = with_hooks(json!({ "on_message_delivery": marked }), json!({})).await;
    let mut subscriber = Subscriber::start().await;
    for channel in ["created", "paid"] {
        subscriber.subscribe(&gateway, BASE, channel, &[]).await;
        for (amount, is_marked) in [(99, false), (101, channel == "paid")] {
            gateway.pushed(BASE, channel, &json!({ "amount": amount }).to_string()).await;
            let delivery = subscriber.delivery().await;
            assert_eq!(delivery.header("x-large").is_some(), is_marked, "{channel} {amount}");
        }
    }
    let mut resource =
        websub_api("other", "/other", &json!({ "c": { "on_message_delivery": set("X", "y") } }));
    resource["spec"]["channels"]["c"]["on_message_delivery"]["policies"][0]["executionCondition"] =
        json!("1 +");
    let answer = gateway.resource(Method::POST, "/websub-apis").json(&resource).send().await.unwrap();
    let told = succeeded(answer, 400).await;
    assert!(told["errors"].to_string().contains("executionCondition"), "{told}");
}

#[tokio::test]
async fn who_has_no_key_may_neither_subscribe_nor_unsubscribe_where_the_channel_asks_for_one() {
    let auth = policies("api-key-auth", &json!({ "key": "API-Key", "in": "header" }));
    let paid = json!({ "on_subscription": auth, "on_unsubscription": auth });
    let gateway = with_hooks(json!({}), paid).await;
    let keys = "/websub-apis/orders/api-keys";
    let text = key(&gateway, keys, &json!({ "name": "partner-one" })).await;
    let mut subscriber = Subscriber::start().await;
    let callback = subscriber.url("/");

    for bad in ["", "apip_unknown"] {
        assert_eq!(asked(&gateway, "subscribe", "paid", &callback, bad).await, 401, "{bad}");
    }
    assert_eq!(asked(&gateway, "subscribe", "created", &callback, "").await, 202, "another channel");
    assert_eq!(subscriber.question().await.parameter("hub.topic"), Some("created"));
    assert_eq!(asked(&gateway, "subscribe", "paid", &callback, &text).await, 202);
    assert_eq!(subscriber.question().await.parameter("hub.topic"), Some("paid"));
    gateway.has_verified(2.0).await;
    assert_eq!(asked(&gateway, "unsubscribe", "paid", &callback, "").await, 401);
    gateway.pushed(BASE, "paid", "x").await;
    let delivery = subscriber.delivery().await;
    assert!(!format!("{delivery:?}").contains(&text), "a key goes nowhere");

    let list = succeeded(gateway.resource(Method::GET, keys).send().await.unwrap(), 200).await;
    assert!(list["totalCount"] == 1 && !list.to_string().contains(&text), "{list}");
    let regenerate =
        gateway.resource(Method::POST, &format!("{keys}/partner-one/regenerate")).send().await.unwrap();
    let new = succeeded(regenerate, 200).await["apiKey"]["apiKey"].as_str().unwrap().to_owned();
    assert_eq!(asked(&gateway, "unsubscribe", "paid", &callback, &text).await, 401, "the former text");
    let revoked = gateway.resource(Method::DELETE, &format!("{keys}/partner-one")).send().await.unwrap();
    assert_eq!(revoked.status(), 200);
    assert_eq!(asked(&gateway, "unsubscribe", "paid", &callback, &new).await, 401, "refused at once");
    let other = key(&gateway, keys, &json!({ "name": "other" })).await;
    assert_eq!(asked(&gateway, "unsubscribe", "paid", &callback, &other).await, 202);
}

#[tokio::test]
async fn a_key_that_has_expired_is_refused_and_the_quota_of_keys_is_told() {
    let auth = policies("api-key-auth", &json!({}));
    let gateway = with_hooks(json!({ "on_subscription": auth }), json!({})).await;
    let keys = "/websub-apis/orders/api-keys";
    let short = json!({ "expiresIn": { "unit": "seconds", "duration": 1 } });
    let text = key(&gateway, keys, &short).await;
    let subscriber = Subscriber::start().await;
    let callback = subscriber.url("/");
    let is_over = || async { asked(&gateway, "subscribe", "paid", &callback, &text).await == 401 };
    until("the key to expire", is_over).await;
    let mut statuses = Vec::new();
    for _ in 0..11 {
        let made = gateway.resource(Method::POST, keys).json(&json!({})).send().await.unwrap();
        statuses.push(made.status().as_u16());
    }
    assert_eq!(statuses.iter().filter(|status| **status == 201).count(), 10, "{statuses:?}");
    assert!((400..500).contains(&statuses[10]), "{statuses:?}");
}

#[tokio::test]
async fn a_sender_needs_the_password_and_the_role_that_the_channel_asks_for() {
    let user = json!({ "username": "sender", "password": "s3cret", "roles": ["writer"] });
    let group = |role: &str| {
        json!({ "policies": [
            { "name": "basic-auth", "version": "v1", "params": user },
            { "name": "rbac", "version": "v1", "params": { "allowedRoles": [role] } },
        ] })
    };
    let all =
        json!({ "on_message_received": policies("log-message", &json!({ "request": { "headers": true } })) });
    let gateway = with_hooks(all, json!({ "on_message_received": group("writer") })).await;
    let push = async |user: Option<(&str, &str)>| {
        let push = gateway.push(BASE, "paid", "x");
        let push = match user {
            Some((name, password)) => push.basic_auth(name, Some(password)),
            None => push,
        };
        let answer = push.send().await.unwrap();
        (answer.status().as_u16(), answer.headers().contains_key("www-authenticate"))
    };
    assert_eq!(push(None).await, (401, true));
    assert_eq!(push(Some(("sender", "other"))).await, (401, true));
    assert_eq!(push(Some(("sender", "s3cret"))).await, (202, false));
    let mut resource =
        websub_api("orders", "/orders", &json!({ "paid": { "on_message_received": group("admin") } }));
    resource["spec"]["channels"]["created"] = json!({});
    let changed = gateway.change(&resource).await;
    assert!(!changed.to_string().contains("s3cret"), "{changed}");
    assert_eq!(push(Some(("sender", "s3cret"))).await, (403, false));
    let log = gateway.log();
    assert!(log.contains("A message came by.") && !log.contains("s3cret"), "{log}");
}

#[tokio::test]
async fn a_client_is_turned_away_before_it_is_a_websocket_at_either_level() {
    let gateway = Starting::run().start().await;
    let auth = policies("api-key-auth", &json!({ "key": "key", "in": "query" }));
    for (name, all) in [("all", true), ("own", false)] {
        let mut resource = webbroker_api(name, &format!("/{name}"), &json!({ "prices": {}, "free": {} }));
        let place = if all { "/spec/allChannels" } else { "/spec/channels/prices" };
        if all {
            resource["spec"]["allChannels"] = json!({});
        }
        resource.pointer_mut(place).unwrap()["on_connection_init"] = auth.clone();
        gateway.make(&resource).await;
        let keys = format!("/webbroker-apis/{name}/api-keys");
        let text = key(&gateway, &keys, &json!({ "name": "partner" })).await;
        let (path, right) = (format!("/{name}/prices"), format!("/{name}/prices?key={text}"));
        assert_eq!(Socket::try_open(&gateway, &path).await.err(), Some(401), "{name}");
        assert_eq!(Sse::request(&gateway, &path).await.status(), 401, "{name}");
        let free = Socket::try_open(&gateway, &format!("/{name}/free")).await.err();
        assert_eq!(free, all.then_some(401), "{name}");
        let mut socket = Socket::open(&gateway, &right).await;
        socket.send("x").await;
        assert_eq!(socket.text().await, "x");
        Sse::open(&gateway, &right).await;
        let revoked = gateway.resource(Method::DELETE, &format!("{keys}/partner")).send().await.unwrap();
        assert_eq!(revoked.status(), 200);
        assert_eq!(Socket::try_open(&gateway, &right).await.err(), Some(401), "{name}: refused at once");
    }
}

#[tokio::test]
async fn all_three_hooks_of_a_web_broker_run_at_both_levels_in_their_order() {
    let gateway = Starting::run().start().await;
    let mut resource = webbroker_api("ticks", "/ticks", &json!({ "prices": {}, "other": {} }));
    resource["spec"]["receiver"][0]["properties"] = json!({ "frames": "json" });
    let answer = json!({ "response": { "headers": [{ "name": "X-Met", "value": "all" }] } });
    resource["spec"]["allChannels"] = json!({
        "on_connection_init": policies("set-headers", &answer),
        "on_produce": set("X-In", "all"),
        "on_consume": set("X-Out", "all"),
    });
    resource["spec"]["channels"]["prices"] =
        json!({ "on_produce": set("X-In", "own"), "on_consume": set("X-Out", "own") });
    gateway.make(&resource).await;
    for (channel, expected) in [("prices", "own"), ("other", "all")] {
        let mut socket = Socket::open(&gateway, &format!("/ticks/{channel}")).await;
        socket.send("x").await;
        let headers = socket.next().await.unwrap()["headers"].clone();
        assert_eq!(
            (&headers["X-In"], &headers["X-Out"]),
            (&json!([expected]), &json!([expected])),
            "{headers}"
        );
        let stream = Sse::request(&gateway, &format!("/ticks/{channel}")).await;
        assert_eq!(stream.headers()["x-met"], "all");
    }
}
