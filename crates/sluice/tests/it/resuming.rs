//! Clients that are cut off and come back: what they are told they missed, and that they have missed nothing else.

use std::collections::HashMap;

use base64::prelude::*;
use serde_json::{Value, json};

use crate::harness::{
    Gateway, Socket, Sse, Starting, kafka_broker, kafka_topic, log_broker, native_api, until,
};

/// Says which record key a message has, and so in which partition it is.
const KEY: &str = "x-key";

/// How a client brings the position behind which it goes on.
const WAYS: [Way; 4] = [Way::LastEventId, Way::Cursor, Way::FirstFrame, Way::HttpGet];

#[derive(Debug, Clone, Copy)]
enum Way {
    LastEventId,
    Cursor,
    FirstFrame,
    HttpGet,
}

/// An API that every client can resume at. One that brings nothing begins with the first message.
fn resumable(mut broker: Value) -> Value {
    let attribute = format!("gravitee.attribute.{}.recordKey", broker["type"].as_str().unwrap());
    broker["configuration"]["consumer"] = json!({ "autoOffsetReset": "earliest" });
    let mut api = native_api("Resumable", "/r", &broker);
    api["receivers"] = json!([
        { "type": "http-post" },
        { "type": "sse", "qos": "at-least-once" },
        { "type": "websocket", "qos": "at-least-once", "configuration": { "frames": "json" } },
        { "type": "http-get", "qos": "at-least-once" },
    ]);
    let value = format!("{{#request.headers['{KEY}'][0]}}");
    let step = json!({
        "policy": "assign-attributes",
        "configuration": { "attributes": [{ "name": attribute, "value": value }] },
    });
    api["flows"] = json!([{ "name": "Key", "publish": [step] }]);
    api
}

/// Publishes as many numbers, each with one of seven keys.
async fn publish(gateway: &Gateway, numbers: std::ops::Range<usize>) {
    for number in numbers {
        let request = gateway.client().post(gateway.url("/r")).header(KEY, (number % 7).to_string());
        assert_eq!(request.body(number.to_string()).send().await.unwrap().status(), 202);
    }
}

/// What one connection brings, up to so many messages, before it is cut off.
struct Seen {
    contents: Vec<String>,
    position: Option<String>,
}

impl Seen {
    async fn read(&mut self, gateway: &Gateway, way: Way, count: usize) {
        let cursor = self.position.as_deref().map(escaped).map(|it| format!("cursor={it}"));
        match way {
            Way::LastEventId => {
                let mut stream = match &self.position {
                    Some(position) => Sse::resume(gateway, "/r", position).await,
                    None => Sse::open(gateway, "/r").await,
                };
                for _ in 0..count {
                    let event = stream.event().await.unwrap();
                    assert_eq!(event.event.as_deref(), Some("message"), "{event:?}");
                    self.add(event.data.unwrap(), event.id.unwrap());
                }
            }
            Way::Cursor | Way::FirstFrame => {
                let is_frame = matches!(way, Way::FirstFrame);
                let query = if is_frame { "resume=frame" } else { cursor.as_deref().unwrap_or_default() };
                let mut socket = Socket::open(gateway, &format!("/r?{query}")).await;
                if is_frame {
                    socket.send(&json!({ "resume": self.position }).to_string()).await;
                }
                if self.position.is_some() {
                    assert_eq!(socket.next().await.unwrap()["begin"]["position"], json!(self.position));
                }
                for _ in 0..count {
                    self.add_item(&socket.next().await.unwrap());
                }
            }
            Way::HttpGet => {
                let query = format!("/r?limit={count}&{}", cursor.unwrap_or_default());
                let answer = gateway.client().get(gateway.url(&query)).header("Accept", "application/json");
                let answer: Value = answer.send().await.unwrap().json().await.unwrap();
                let items = answer["items"].as_array().unwrap();
                assert_eq!(items.len(), count, "{answer}");
                items.iter().for_each(|item| self.add_item(item));
            }
        }
    }

    fn add_item(&mut self, item: &Value) {
        let text = |name: &str| item[name].as_str().unwrap_or_else(|| panic!("{item}")).to_owned();
        self.add(text("content"), text("id"));
    }

    fn add(&mut self, content: String, position: String) {
        self.contents.push(content);
        self.position = Some(position);
    }

    fn check(&self, way: Way, count: usize) {
        let mut last = HashMap::new();
        for content in &self.contents {
            let number: usize = content.parse().unwrap();
            let before = last.insert(number % 7, number);
            assert!(before.is_none_or(|before| before < number), "{way:?}: {number} came after {before:?}");
        }
        assert_eq!(self.contents.len(), count, "{way:?}: nothing twice, so this is everything");
    }
}

/// What of base64 has a meaning of its own in a query, written so that it has not.
fn escaped(position: &str) -> String {
    position.replace('+', "%2B").replace('/', "%2F").replace('=', "%3D")
}

async fn everything_comes_once(broker: Value) {
    let mut gateway = Starting::run().api(&resumable(broker)).start().await;
    let mut clients = WAYS.map(|way| (way, Seen { contents: Vec::new(), position: None }));
    for round in 0..4 {
        publish(&gateway, round * 30..(round + 1) * 30).await;
        for (way, seen) in &mut clients {
            seen.read(&gateway, *way, 20).await;
        }
        if round % 2 == 1 {
            gateway = gateway.kill().start().await;
        }
    }
    for (way, seen) in &mut clients {
        seen.read(&gateway, *way, 40).await;
        seen.check(*way, 120);
    }
    let mut streams = Vec::new();
    for (_, seen) in &clients {
        streams.push(Sse::resume(&gateway, "/r", seen.position.as_deref().unwrap()).await);
    }
    publish(&gateway, 120..121).await;
    for stream in &mut streams {
        assert_eq!(stream.message().await, "120", "a position is good at every receiver");
    }
    let readers = || async { gateway.metric("sluice_client_readers").await == 0.0 };
    until("those who have caught up to have no reader of their own", readers).await;
    assert_eq!(gateway.metric("sluice_hub_consumers").await, 1.0);
}

#[tokio::test]
async fn clients_that_are_cut_off_again_and_again_have_everything_once_in_order_on_the_embedded_log() {
    everything_comes_once(log_broker("r")).await;
}

#[tokio::test]
async fn clients_that_are_cut_off_again_and_again_have_everything_once_in_order_on_kafka() {
    everything_comes_once(kafka_broker(&kafka_topic("resumable", 3).await)).await;
}

#[tokio::test]
async fn a_client_that_was_cut_off_before_it_was_sent_anything_misses_nothing() {
    let mut api = resumable(kafka_broker(&kafka_topic("resumable", 3).await));
    api["brokers"][0]["configuration"]["consumer"] = json!({ "autoOffsetReset": "latest" });
    let gateway = Starting::run().api(&api).start().await;
    publish(&gateway, 0..14).await;
    let begin = Sse::open(&gateway, "/r").await.block().await.unwrap();
    let frame = Socket::open(&gateway, "/r").await.next().await.unwrap();
    publish(&gateway, 14..28).await;
    let gateway = gateway.kill().start().await;
    publish(&gateway, 28..42).await;
    let position = begin.id.expect("where the stream begins");
    assert_eq!(frame["begin"]["position"], position);
    for way in WAYS {
        let mut seen = Seen { contents: Vec::new(), position: Some(position.clone()) };
        seen.read(&gateway, way, 28).await;
        seen.check(way, 28);
        assert!(
            seen.contents.iter().all(|number| number.parse::<u32>().unwrap() >= 14),
            "{:?}",
            seen.contents
        );
    }
}

#[tokio::test]
async fn with_auto_a_client_that_names_itself_goes_on_behind_a_restart() {
    let gateway = Starting::run().api(&native_api("Auto", "/auto", &log_broker("t"))).start().await;
    let mut stream = Sse::named(&gateway, "/auto", "me").await;
    gateway.publish("/auto", "seen").await;
    assert_eq!(stream.message().await, "seen");
    drop(stream);
    until("the end of the stream", || async { gateway.metric("sluice_open_streams").await == 0.0 }).await;
    gateway.publish("/auto", "while it was away").await;
    let gateway = gateway.stop().await.start().await;
    let mut stream = Sse::named(&gateway, "/auto", "me").await;
    let mut other = Sse::named(&gateway, "/auto", "another").await;
    gateway.publish("/auto", "new").await;
    assert_eq!(stream.messages(2).await, ["while it was away", "new"]);
    assert_eq!(other.message().await, "new");
}

#[tokio::test]
async fn a_position_that_is_none_of_this_api_is_refused_or_told_as_a_gap_as_the_api_wants_it() {
    let mut lenient = resumable(log_broker("r"));
    lenient["name"] = json!("Lenient");
    lenient["paths"] = json!([{ "path": "/lenient" }]);
    lenient["guarantees"] = json!({ "unknownPosition": "latest" });
    let gateway = Starting::run().api(&resumable(log_broker("r"))).api(&lenient).start().await;
    publish(&gateway, 0..3).await;
    for position in ["garbage!", "other@0#0", "r@0#1000", "r@7#0"] {
        let position =
            if position.contains('@') { BASE64_STANDARD.encode(position) } else { position.into() };
        let refused = Sse::asked(&gateway, "/r", ("Last-Event-ID", &position)).await;
        assert_eq!(refused.status(), 400, "{position}");
        let cursor = format!("/r?cursor={}", escaped(&position));
        assert_eq!(Socket::try_open(&gateway, &cursor).await.err(), Some(400), "{position}");
        let get = gateway.client().get(gateway.url(&cursor)).header("Accept", "application/json");
        let refused = get.send().await.unwrap();
        assert_eq!(refused.status(), 400, "{position}");
        let refused: Value = refused.json().await.unwrap();
        assert_eq!(refused["code"], "position.unknown", "{refused}");

        let mut stream = Sse::resume(&gateway, "/lenient", &position).await;
        let gap = stream.event().await.unwrap();
        assert_eq!(gap.event.as_deref(), Some("gap"), "{position}");
        let told: Value = serde_json::from_str(&gap.data.unwrap()).unwrap();
        assert!(told["messages"].is_null(), "nobody knows how many: {told}");
        gateway.publish("/lenient", "new").await;
        assert_eq!(stream.message().await, "new");
    }
}

#[tokio::test]
async fn a_client_whose_messages_the_broker_has_dropped_is_told_how_many() {
    let config = "embeddedLog: { retentionBytes: 1048576 }\nlimits: { ringMessages: 1 }";
    let gateway = Starting::run().config(config).api(&resumable(log_broker("r"))).start().await;
    let mut client = Seen { contents: Vec::new(), position: None };
    publish(&gateway, 0..1).await;
    client.read(&gateway, Way::LastEventId, 1).await;
    let filler = "x".repeat(100_000);
    for number in 1..60 {
        gateway.publish("/r", &format!("{number} {filler}")).await;
    }
    let mut stream = Sse::resume(&gateway, "/r", client.position.as_deref().unwrap()).await;
    let (mut missed, mut next) = (0, 1);
    while next < 60 {
        let event = stream.event().await.unwrap();
        let data = event.data.unwrap();
        match event.event.as_deref() {
            Some("gap") => {
                let told: Value = serde_json::from_str(&data).unwrap();
                let messages = told["messages"].as_u64().unwrap();
                assert!(told["position"].is_string(), "{told}");
                (missed, next) = (missed + messages, next + messages);
            }
            _ => {
                assert!(data.starts_with(&format!("{next} ")), "a message is missing before {data:.5}");
                next += 1;
            }
        }
    }
    assert!(missed > 0, "the log keeps one MiB and was given six");
    assert_eq!(gateway.metric("sluice_lost_messages_total").await, missed as f64);
    assert!(gateway.log().contains("it is told of the gap"), "{}", gateway.log());
}
