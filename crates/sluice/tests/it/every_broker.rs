//! What users are promised whatever broker is behind: the same tests in front of each of them.

use std::{collections::HashSet, net::TcpListener};

use serde_json::{Value, json};

use crate::harness::{
    CALLS_HERE, Gateway, Socket, Sse, Starting, Subscriber, artemis_broker, kafka_broker, kafka_topic,
    log_broker, mqtt_broker, rabbitmq_broker, unique, until,
};

/// Each fact for each broker.
macro_rules! on_every_broker {
    ($($fact:ident),+ $(,)?) => {
        mod log {
            $(#[tokio::test] async fn $fact() { super::$fact(&super::log_broker("t")).await; })+
        }
        mod kafka {
            $(#[tokio::test] async fn $fact() {
                let topic = super::kafka_topic(stringify!($fact), 1).await;
                super::$fact(&super::kafka_broker(&topic)).await;
            })+
        }
        mod mqtt {
            $(#[tokio::test] async fn $fact() {
                super::$fact(&super::mqtt_broker(&super::unique(stringify!($fact)))).await;
            })+
        }
        mod rabbitmq {
            $(#[tokio::test] async fn $fact() {
                super::$fact(&super::rabbitmq_broker(&super::unique(stringify!($fact)))).await;
            })+
        }
        mod artemis {
            $(#[tokio::test] async fn $fact() {
                super::$fact(&super::artemis_broker(&super::unique(stringify!($fact)))).await;
            })+
        }
    };
}

on_every_broker!(
    what_is_posted_reaches_streams_and_sockets_in_order,
    a_polling_client_misses_nothing_between_two_polls,
    a_stream_goes_on_behind_its_last_event_although_the_gateway_was_killed,
    subscribers_get_everything_although_the_gateway_is_killed,
    headers_and_content_type_come_back,
    two_apis_on_one_topic_both_see_all,
);

/// An API with these receivers.
fn api(name: &str, receivers: &Value, broker: &Value) -> Value {
    json!({
        "name": name,
        "paths": [{ "path": format!("/{name}") }],
        "receivers": receivers,
        "brokers": [broker],
        "plans": [{ "name": "Open", "security": { "type": "key-less" } }],
    })
}

fn numbered(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("m{number}")).collect()
}

async fn publish_all(gateway: &Gateway, path: &str, messages: &[String]) {
    for message in messages {
        gateway.publish(path, message).await;
    }
}

/// Waits until the broker of an API answers, so that a slow start of a connection is not taken for a loss.
async fn is_up(gateway: &Gateway, api: &str) {
    until("the broker to be up", || async {
        gateway.shown(&format!("/apis/{api}")).await["brokers"][0]["state"] == "up"
    })
    .await;
}

async fn what_is_posted_reaches_streams_and_sockets_in_order(broker: &Value) {
    let receivers = json!([
        { "type": "http-post" }, { "type": "sse" }, { "type": "websocket", "configuration": { "frames": "text" } },
    ]);
    let gateway = Starting::run().api(&api("live", &receivers, broker)).start().await;
    let mut streams = [Sse::open(&gateway, "/live").await, Sse::open(&gateway, "/live").await];
    let mut socket = Socket::open(&gateway, "/live").await;
    let sent = numbered(50);
    publish_all(&gateway, "/live", &sent).await;
    socket.send("by socket").await;
    for stream in &mut streams {
        assert_eq!(stream.messages(50).await, sent);
        assert_eq!(stream.message().await, "by socket");
    }
    for message in &sent {
        assert_eq!(socket.text().await, *message);
    }
    assert_eq!(gateway.metric("sluice_hub_consumers").await, 1.0, "all share one reader");
}

/// What a poll hands out, and the cursor behind it.
async fn poll(gateway: &Gateway, path: &str, cursor: Option<&str>) -> (Vec<String>, String) {
    let url = match cursor {
        Some(cursor) => gateway.url(&format!("{path}?cursor={cursor}")),
        None => gateway.url(path),
    };
    let answer = gateway.client().get(url).header("accept", "application/json").send().await.unwrap();
    assert_eq!(answer.status(), 200);
    let page: Value = answer.json().await.unwrap();
    let items = page["items"].as_array().unwrap().iter();
    let contents = items.map(|item| item["content"].as_str().unwrap().to_owned()).collect();
    (contents, page["pagination"]["nextCursor"].as_str().unwrap().to_owned())
}

async fn a_polling_client_misses_nothing_between_two_polls(broker: &Value) {
    let receivers = json!([
        { "type": "http-post" },
        { "type": "http-get", "qos": "at-least-once", "configuration": { "messagesLimitDurationMs": 500 } },
    ]);
    let gateway = Starting::run().api(&api("polled", &receivers, broker)).start().await;
    is_up(&gateway, "polled").await;
    let (nothing, mut cursor) = poll(&gateway, "/polled", None).await;
    assert!(nothing.is_empty());
    let sent = numbered(20);
    let mut found = Vec::new();
    for half in sent.chunks(10) {
        publish_all(&gateway, "/polled", half).await;
        let wanted = found.len() + half.len();
        while found.len() < wanted {
            let (more, next) = poll(&gateway, "/polled", Some(&cursor)).await;
            found.extend(more);
            cursor = next;
        }
    }
    assert_eq!(found, sent);
}

async fn a_stream_goes_on_behind_its_last_event_although_the_gateway_was_killed(broker: &Value) {
    let receivers = json!([{ "type": "http-post" }, { "type": "sse", "qos": "at-least-once" }]);
    let gateway = Starting::run().api(&api("resumed", &receivers, broker)).start().await;
    let mut stream = Sse::open(&gateway, "/resumed").await;
    let sent = numbered(30);
    publish_all(&gateway, "/resumed", &sent[..10]).await;
    let mut last = String::new();
    for wanted in &sent[..10] {
        let event = stream.event().await.unwrap();
        assert_eq!(event.data.as_ref(), Some(wanted));
        last = event.id.unwrap();
    }
    drop(stream);
    publish_all(&gateway, "/resumed", &sent[10..20]).await;
    let gateway = gateway.kill().start().await;
    publish_all(&gateway, "/resumed", &sent[20..]).await;
    let mut stream = Sse::resume(&gateway, "/resumed", &last).await;
    // A broker brings again what was not acknowledged when the gateway was killed.
    let (mut found, mut seen) = (Vec::new(), HashSet::new());
    while found.len() < 20 {
        let message = stream.message().await;
        if seen.insert(message.clone()) {
            found.push(message);
        }
    }
    assert_eq!(found, sent[10..]);
}

async fn subscribers_get_everything_although_the_gateway_is_killed(broker: &Value) {
    let mut broker = broker.clone();
    let (topic, settings) = take_topic(&mut broker);
    let hub = json!({
        "name": "hub",
        "paths": [{ "path": "/hub" }],
        "receivers": [{ "type": "websub", "qos": "at-least-once" }, { "type": "http-post" }],
        "channels": { "news": { "produceTo": topic, "consumeFrom": topic } },
        "brokers": [settings],
        "plans": [{ "name": "Open", "security": { "type": "key-less" } }],
    });
    let mut gateway = Starting::run().config(CALLS_HERE).api(&hub).start().await;
    let mut subscriber = Subscriber::start().await;
    is_up(&gateway, "hub").await;
    subscriber.subscribe(&gateway, "/hub", "news", &[]).await;
    let mut expected = HashSet::new();
    for round in 0..3 {
        for number in 0..30 {
            let message = format!("{round}-{number}");
            gateway.publish("/hub/news", &message).await;
            expected.insert(message);
        }
        gateway = gateway.kill().config(CALLS_HERE).start().await;
    }
    let mut found = HashSet::new();
    while found != expected {
        let message = subscriber.delivery().await.text();
        assert!(expected.contains(&message), "{message} was never sent");
        found.insert(message);
    }
}

/// The topic of a broker section, which is left without one: an API with channels has its topics there.
fn take_topic(broker: &mut Value) -> (String, Value) {
    let settings = broker["configuration"].as_object_mut().unwrap();
    let one = |value: Value| match value {
        Value::Array(several) => several[0].as_str().unwrap().to_owned(),
        one => one.as_str().unwrap().to_owned(),
    };
    let shared = ["topic", "topics"].iter().find_map(|name| settings.remove(*name)).map(one);
    let mut own = Vec::new();
    for side in ["consumer", "producer"] {
        if let Some(side) = settings.get_mut(side).and_then(Value::as_object_mut) {
            own.extend(["topics", "routingKey"].iter().find_map(|name| side.remove(*name)).map(one));
        }
    }
    (shared.or_else(|| own.pop()).unwrap(), broker.clone())
}

async fn headers_and_content_type_come_back(broker: &Value) {
    let receivers = json!([
        { "type": "http-post", "configuration": { "requestHeadersToMessage": true } },
        { "type": "sse", "configuration": { "headersAsComment": true } },
    ]);
    let gateway = Starting::run().api(&api("headed", &receivers, broker)).start().await;
    let mut stream = Sse::open(&gateway, "/headed").await;
    let request = gateway.client().post(gateway.url("/headed")).header("x-trace", "abc");
    let answer = request.header("content-type", "application/json").body("{}").send().await.unwrap();
    assert_eq!(answer.status(), 202);
    let event = stream.event().await.unwrap();
    assert_eq!(event.data.as_deref(), Some("{}"));
    for wanted in ["x-trace: abc", "content-type: application/json"] {
        assert!(
            event.comments.iter().any(|it| it.contains(wanted)),
            "{wanted} is not in {:?}",
            event.comments
        );
    }
}

async fn two_apis_on_one_topic_both_see_all(broker: &Value) {
    let receivers = json!([{ "type": "http-post" }, { "type": "sse", "qos": "at-least-once" }]);
    let gateway = Starting::run()
        .api(&api("one", &receivers, broker))
        .api(&api("two", &receivers, broker))
        .start()
        .await;
    is_up(&gateway, "one").await;
    is_up(&gateway, "two").await;
    let mut streams = [Sse::open(&gateway, "/one").await, Sse::open(&gateway, "/two").await];
    let sent = numbered(20);
    publish_all(&gateway, "/one", &sent).await;
    for stream in &mut streams {
        assert_eq!(stream.messages(20).await, sent);
    }
}

/// Settings that lead nowhere, with the code that says why.
async fn is_told(name: &str, broker: &Value, codes: &[&str]) {
    let receivers = json!([{ "type": "http-post" }, { "type": "sse" }]);
    let gateway = Starting::run()
        .config("limits: { publishTimeoutMs: 3000, openTimeoutMs: 3000 }")
        .api(&api("bad", &receivers, broker))
        .api(&api("good", &receivers, &log_broker("t")))
        .start()
        .await;
    let shown = async || gateway.shown("/apis/bad").await["brokers"][0].clone();
    until("the state of the broker", || async { shown().await["state"] == "down" }).await;
    let shown = shown().await;
    let code = shown["error"]["code"].as_str().unwrap();
    assert!(codes.contains(&code), "{name}: {shown}");
    let answer = gateway.post("/bad", "x").await;
    assert_eq!(answer.status(), 503, "{name}: {:?}", answer.text().await);
    gateway.publish("/good", "x").await;
    let log = gateway.log();
    let lines = log.lines().filter(|line| line.contains("A broker cannot be used.")).count();
    assert_eq!(lines, 1, "{name}: {log}");
}

/// The broker section with another address.
fn elsewhere(mut broker: Value, port: u16) -> Value {
    let settings = &mut broker["configuration"];
    if settings["url"].is_string() {
        settings["url"] = format!("amqp://127.0.0.1:{port}").into();
    } else if settings["bootstrapServers"].is_string() {
        settings["bootstrapServers"] = format!("127.0.0.1:{port}").into();
    } else {
        settings["serverHost"] = "127.0.0.1".into();
        settings["serverPort"] = port.into();
    }
    broker
}

fn every_kind() -> Vec<(&'static str, Value)> {
    vec![
        ("kafka", kafka_broker("t")),
        ("mqtt", mqtt_broker("t")),
        ("rabbitmq", rabbitmq_broker("t")),
        ("amqp", artemis_broker("t")),
    ]
}

#[tokio::test]
async fn a_port_where_nobody_listens_is_told() {
    // It was free a moment ago.
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    for (name, broker) in every_kind() {
        is_told(name, &elsewhere(broker, nobody), &["broker.unreachable"]).await;
    }
}

#[tokio::test]
async fn a_port_where_another_protocol_is_spoken_is_told() {
    let other = Starting::run().start().await;
    let port = other.url("").rsplit(':').next().unwrap().parse().unwrap();
    for (name, broker) in every_kind() {
        is_told(name, &elsewhere(broker, port), &["broker.unreachable", "broker.configuration"]).await;
    }
}

#[tokio::test]
async fn wrong_credentials_are_told() {
    for (name, mut broker) in every_kind() {
        if name == "kafka" {
            broker["configuration"]["bootstrapServers"] =
                crate::harness::given("SLUICE_TEST_KAFKA_SASL").into();
            broker["configuration"]["security"] = json!({
                "protocol": "SASL_PLAINTEXT",
                "sasl": { "saslMechanism": "PLAIN", "username": "sluice", "password": "wrong" },
            });
        } else {
            broker["configuration"]["security"]["auth"]["password"] = "wrong".into();
        }
        is_told(name, &broker, &["broker.refused"]).await;
    }
}

#[tokio::test]
async fn a_message_over_the_limit_of_the_broker_is_refused_once_and_the_next_one_passes() {
    let receivers = json!([{ "type": "http-post" }, { "type": "sse" }]);
    for (name, broker) in [
        ("mqtt", mqtt_broker(&unique("large"))),
        ("rabbitmq", rabbitmq_broker(&unique("large"))),
        ("kafka", kafka_broker(&kafka_topic("large", 1).await)),
    ] {
        let mut large = api("large", &receivers, &broker);
        large["limits"] = json!({ "maxBodyBytes": 8 << 20 });
        let gateway = Starting::run().api(&large).start().await;
        let mut stream = Sse::open(&gateway, "/large").await;
        let answer = gateway.post("/large", vec![b'x'; 6 << 20]).await;
        assert!([413, 502].contains(&answer.status().as_u16()), "{name}: {:?}", answer.text().await);
        gateway.publish("/large", "small").await;
        assert_eq!(stream.message().await, "small", "{name}");
    }
}

#[tokio::test]
async fn what_the_broker_does_not_permit_is_503_and_harms_no_other_api() {
    let receivers = json!([{ "type": "http-post" }]);
    // Permissions of RabbitMQ are on exchanges and queues.
    let mut exchange = rabbitmq_broker("t");
    exchange["configuration"]["producer"]["exchange"] = json!({ "name": "forbidden", "type": "topic" });
    for (name, forbidden, allowed) in [
        ("mqtt", mqtt_broker("forbidden/t"), mqtt_broker(&unique("allowed"))),
        ("rabbitmq", exchange, rabbitmq_broker(&unique("allowed"))),
        ("amqp", artemis_broker("forbidden.t"), artemis_broker(&unique("allowed"))),
    ] {
        let gateway = Starting::run()
            .api(&api("forbidden", &receivers, &forbidden))
            .api(&api("allowed", &receivers, &allowed))
            .start()
            .await;
        is_up(&gateway, "allowed").await;
        for _ in 0..5 {
            let answer = gateway.post("/forbidden", "x").await;
            assert_eq!(answer.status(), 503, "{name}: {:?}", answer.text().await);
            gateway.publish("/allowed", "x").await;
        }
        let shown = gateway.shown("/apis/forbidden").await;
        assert_eq!(shown["publishFailure"]["code"], "broker.refused", "{name}: {shown}");
        assert_eq!(gateway.shown("/apis/allowed").await["publishFailure"], Value::Null, "{name}");
    }
}

#[tokio::test]
async fn a_wildcard_backs_one_stream_and_each_message_says_its_topic() {
    let base = unique("sensors");
    let mut broker = mqtt_broker("unused");
    let settings = broker["configuration"].as_object_mut().unwrap();
    settings.remove("topic");
    settings.insert("consumer".to_owned(), json!({ "topic": format!("{base}/+/temp") }));
    settings.insert("producer".to_owned(), json!({ "enabled": false }));
    let receivers = json!([{ "type": "sse", "configuration": { "metadataAsComment": true } }]);
    let publishing = |room: &str| {
        let name = format!("room-{room}");
        api(&name, &json!([{ "type": "http-post" }]), &mqtt_broker(&format!("{base}/{room}/temp")))
    };
    let gateway = Starting::run()
        .api(&api("temps", &receivers, &broker))
        .api(&publishing("kitchen"))
        .api(&publishing("attic"))
        .start()
        .await;
    let mut stream = Sse::open(&gateway, "/temps").await;
    for room in ["kitchen", "attic"] {
        gateway.publish(&format!("/room-{room}"), room).await;
        let event = stream.event().await.unwrap();
        assert_eq!(event.data.as_deref(), Some(room));
        let topic = format!("{base}/{room}/temp");
        assert!(
            event.comments.iter().any(|it| it.contains(&topic)),
            "{topic} is not in {:?}",
            event.comments
        );
    }
}

#[tokio::test]
async fn dev_points_the_examples_at_a_broker() {
    let (host, port) = crate::harness::address("SLUICE_TEST_MQTT");
    let user = crate::harness::given("SLUICE_TEST_MQTT_USER");
    let password = crate::harness::given("SLUICE_TEST_MQTT_PASSWORD");
    let url = format!("mqtt://{user}:{password}@{host}:{port}");
    let gateway = Starting::dev().argument("--broker").argument(&url).start().await;
    let mut stream = Sse::open(&gateway, "/demo/sse").await;
    gateway.publish("/data/ingestion", "through MQTT").await;
    while stream.message().await != "through MQTT" {}
    assert!(gateway.printed().contains(&format!("MQTT at {host}:{port}")), "{}", gateway.printed());
    assert!(!gateway.printed().contains(&password));
}
