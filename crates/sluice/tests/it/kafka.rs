//! The gateway in front of a real Apache Kafka.

use std::{fs, net::TcpListener};

use serde_json::{Value, json};

use crate::harness::{
    Sse, Starting, kafka, kafka_broker, kafka_records, kafka_topic, log_broker, native_api, until,
};

#[tokio::test]
async fn what_is_posted_comes_back_through_kafka_in_order() {
    let topic = kafka_topic("round-trip", 1).await;
    let gateway = Starting::run().api(&native_api("Open", "/open", &kafka_broker(&topic))).start().await;
    let mut stream = Sse::open(&gateway, "/open").await;
    let sent: Vec<String> = (0..50).map(|number| number.to_string()).collect();
    for message in &sent {
        gateway.publish("/open", message).await;
    }
    assert_eq!(stream.messages(50).await, sent);
}

/// TCP connections of a process to a port of this machine.
fn connections_to(pid: u32, port: u16) -> usize {
    let sockets: Vec<String> = fs::read_dir(format!("/proc/{pid}/fd"))
        .unwrap()
        .filter_map(|entry| fs::read_link(entry.ok()?.path()).ok()?.to_str().map(str::to_owned))
        .filter_map(|link| Some(link.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned()))
        .collect();
    let remote = format!(":{port:04X}");
    let tables = ["tcp", "tcp6"].map(|table| fs::read_to_string(format!("/proc/{pid}/net/{table}")).unwrap());
    let lines = tables.iter().flat_map(|table| table.lines());
    let fields = lines.map(|line| line.split_whitespace().collect::<Vec<_>>());
    // Columns: local, remote, state (01 is established), ..., inode in the tenth.
    fields
        .filter(|fields| {
            fields.len() > 9
                && fields[2].ends_with(&remote)
                && fields[3] == "01"
                && sockets.iter().any(|socket| socket == fields[9])
        })
        .count()
}

#[tokio::test]
async fn two_hundred_clients_on_one_topic_are_one_kafka_consumer() {
    let topic = kafka_topic("shared", 3).await;
    let gateway = Starting::run().api(&native_api("Open", "/open", &kafka_broker(&topic))).start().await;
    let port = kafka().split(',').next().unwrap().rsplit(':').next().unwrap().parse().unwrap();
    gateway.publish("/open", "wakes the producer").await;
    let mut streams = vec![Sse::open(&gateway, "/open").await];
    gateway.publish("/open", "first").await;
    streams[0].message().await;
    let with_one = connections_to(gateway.pid(), port);
    assert!(with_one > 0);

    while streams.len() < 200 {
        streams.push(Sse::open(&gateway, "/open").await);
    }
    assert_eq!(gateway.metric("sluice_hub_consumers").await, 1.0);
    gateway.publish("/open", "to all").await;
    for stream in &mut streams {
        assert_eq!(stream.message().await, "to all");
    }
    assert_eq!(connections_to(gateway.pid(), port), with_one, "seen from outside, nothing was added");
}

#[tokio::test]
async fn a_kafka_that_is_away_at_start_stops_neither_the_start_nor_other_apis() {
    // A port that was free a moment ago, with nothing behind it.
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let away = json!({
        "type": "kafka",
        "configuration": { "bootstrapServers": nobody.to_string(), "topics": ["t"] },
    });
    let gateway = Starting::run()
        .config("limits: { publishTimeoutMs: 2000, openTimeoutMs: 2000 }")
        .api(&native_api("Away", "/away", &away))
        .api(&native_api("Here", "/here", &log_broker("t")))
        .start()
        .await;
    gateway.publish("/here", "x").await;

    let refused = gateway.post("/away", "x").await;
    assert_eq!(refused.status(), 503);
    assert!(refused.headers().contains_key("retry-after"));
    let told: Value = refused.json().await.unwrap();
    assert_eq!(told["code"], "broker.unreachable");
    assert!(!told.to_string().contains(&nobody.to_string()), "addresses are not for clients: {told}");
    assert!(gateway.log().contains(&nobody.to_string()), "but for the operator: {}", gateway.log());
    assert!(gateway.log().contains("api=away"), "{}", gateway.log());

    let refused = Sse::request(&gateway, "/away").await;
    assert_eq!(refused.status(), 503);
    assert!(refused.headers().contains_key("retry-after"));
    gateway.publish("/here", "x").await;
}

#[tokio::test]
async fn a_topic_that_does_not_exist_is_503_and_named_in_the_log() {
    let topic = format!("{}-later", kafka_topic("missing", 1).await);
    let gateway = Starting::run()
        .config("limits: { publishTimeoutMs: 2000, openTimeoutMs: 2000 }")
        .api(&native_api("Open", "/open", &kafka_broker(&topic)))
        .start()
        .await;
    let refused = gateway.post("/open", "x").await;
    assert_eq!(refused.status(), 503);
    assert_eq!(refused.json::<Value>().await.unwrap()["code"], "broker.topic.missing");
    assert!(gateway.log().contains(&topic), "{}", gateway.log());
    assert_eq!(Sse::request(&gateway, "/open").await.status(), 503);
}

#[tokio::test]
async fn with_earliest_old_and_new_messages_of_all_partitions_come_each_once() {
    let topic = kafka_topic("earliest", 3).await;
    let mut api = native_api("Open", "/open", &kafka_broker(&topic));
    api["brokers"][0]["configuration"]["consumer"] = json!({ "autoOffsetReset": "earliest" });
    let gateway = Starting::run().api(&api).start().await;
    let numbers = |range: std::ops::Range<u32>| range.map(|number| number.to_string()).collect::<Vec<_>>();
    for number in numbers(0..100) {
        gateway.publish("/open", &number).await;
    }
    let publishing = async {
        for number in numbers(100..200) {
            gateway.publish("/open", &number).await;
        }
    };
    let listening = async {
        for _ in 0..5 {
            let mut seen = Sse::open(&gateway, "/open").await.messages(200).await;
            seen.sort_by_key(|number| number.parse::<u32>().unwrap());
            assert_eq!(seen, numbers(0..200));
        }
    };
    tokio::join!(publishing, listening);
    until("readers of single clients to be gone", || async {
        gateway.metric("sluice_client_readers").await == 0.0
    })
    .await;
}

#[tokio::test]
async fn a_message_that_kafka_finds_too_large_is_413_and_harms_no_other() {
    let topic = kafka_topic("large", 1).await;
    let mut api = native_api("Open", "/open", &kafka_broker(&topic));
    api["limits"] = json!({ "maxBodyBytes": 4 << 20 });
    let gateway = Starting::run().api(&api).start().await;
    let refused = gateway.post("/open", "x".repeat(3 << 20)).await;
    assert_eq!(refused.status(), 413);
    assert_eq!(refused.json::<Value>().await.unwrap()["code"], "broker.message.too-large");
    gateway.publish("/open", "small").await;
}

#[tokio::test]
async fn a_tombstone_is_one_to_kafka_and_to_clients_and_an_empty_message_is_none() {
    let topic = kafka_topic("tombstones", 1).await;
    let mut api = native_api("Open", "/open", &kafka_broker(&topic));
    api["receivers"] = json!([
        { "type": "http-post", "configuration": { "requestHeadersToMessage": true } },
        { "type": "sse" },
        { "type": "http-get" },
    ]);
    let settings = &mut api["brokers"][0]["configuration"];
    settings["producer"] = json!({ "key": "{#message.headers['x-customer'][0]}" });
    settings["consumer"] = json!({ "autoOffsetReset": "earliest" });
    let gateway = Starting::run().api(&api).start().await;
    let post = || gateway.client().post(gateway.url("/open")).header("x-customer", "7");
    for request in [post().header("sluice-tombstone", "true"), post()] {
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), 202, "{:?}", answer.text().await);
    }

    let [tombstone, empty] = &kafka_records(&topic, 2).await[..] else { panic!("there are two records") };
    assert_eq!((tombstone.key.as_deref(), empty.key.as_deref()), (Some(&b"7"[..]), Some(&b"7"[..])));
    assert!(tombstone.is_tombstone && !empty.is_tombstone, "{tombstone:?}, {empty:?}");

    let mut stream = Sse::open(&gateway, "/open").await;
    let event = stream.event().await.unwrap();
    assert_eq!((event.event.as_deref(), event.data.as_deref()), (Some("tombstone"), Some("")));
    assert_eq!(stream.message().await, "");

    let request = gateway.client().get(gateway.url("/open")).header("accept", "application/json");
    let page: Value = request.send().await.unwrap().json().await.unwrap();
    let contents: Vec<_> = page["items"].as_array().unwrap().iter().map(|item| &item["content"]).collect();
    assert_eq!(contents, [&Value::Null, &json!("")], "{page}");
}
