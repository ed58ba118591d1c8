//! Streams over an embedded log, read event by event: a client that is not asked reads nothing.

use std::{collections::VecDeque, pin::Pin, time::Duration};

use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use http::{HeaderMap, HeaderName};
use serde_json::{Value, json};
use sluice_broker::{DriverError, ErrorKind};
use sluice_message::Position;
use tokio::time::timeout;

use super::*;
use crate::testing::{self, Bench};

/// One event as a browser reads it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Event {
    retry: Option<u64>,
    id: Option<String>,
    event: Option<String>,
    data: String,
}

impl Event {
    fn kind(&self) -> &str {
        self.event.as_deref().unwrap_or_default()
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.data).unwrap()
    }

    fn id(&self) -> &str {
        self.id.as_deref().unwrap()
    }
}

/// A stream and what was read of it.
struct Reader {
    headers: HeaderMap,
    frames: Pin<Box<dyn Stream<Item = Bytes> + Send>>,
    events: VecDeque<Event>,
}

impl Reader {
    /// The next event behind heartbeats; `None` at the end.
    async fn event(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.events.pop_front() {
                return Some(event);
            }
            let frame = timeout(Duration::from_secs(30), self.frames.next()).await.expect("this hangs")?;
            let text = std::str::from_utf8(&frame).unwrap();
            let blocks = text.split_terminator("\n\n").filter(|block| *block != ":");
            self.events.extend(blocks.map(|block| {
                let mut event = Event::default();
                for line in block.lines() {
                    let (name, value) = line.split_once(": ").unwrap();
                    match name {
                        "retry" => event.retry = Some(value.parse().unwrap()),
                        "id" => event.id = Some(value.to_owned()),
                        "event" => event.event = Some(value.to_owned()),
                        _ => event.data.push_str(value),
                    }
                }
                event
            }));
        }
    }

    /// The next event, which is this message.
    async fn message(&mut self, content: &str) -> Event {
        let event = self.event().await.unwrap();
        assert_eq!((event.kind(), &*event.data), ("message", content));
        event
    }

    /// The next events, which say goodbye and are the last.
    async fn goodbye(&mut self) {
        let delay = self.event().await.unwrap().retry.unwrap();
        assert!((1000..=30_000).contains(&delay), "{delay}");
        assert_eq!(self.event().await.unwrap().kind(), "goaway");
        assert_eq!(self.event().await, None);
    }
}

/// Opens a stream by a request with these headers.
async fn open(binding: &Arc<Binding>, qos: Qos, headers: &[(&'static str, &str)]) -> Result<Reader, Refusal> {
    let (mut request, client) = testing::request();
    for (name, value) in headers {
        request.headers.insert(HeaderName::from_static(name), HeaderValue::from_str(value).unwrap());
    }
    let caller = testing::caller(binding, "sse");
    let answer = serve(binding, &SseConfig::default(), qos, caller, &request, &client).await?;
    let (head, Body::Stream(frames)) = answer.into_parts() else { panic!("no stream") };
    let mut reader = Reader { headers: head.headers, frames, events: VecDeque::new() };
    let first = reader.event().await.unwrap();
    assert!(first.retry.is_some_and(|delay| (1000..=30_000).contains(&delay)), "{first:?}");
    Ok(reader)
}

async fn resume(bench: &Bench, id: &str) -> Result<Reader, Refusal> {
    open(&bench.binding, Qos::AtLeastOnce, &[("last-event-id", id)]).await
}

const NAMED: [(&str, &str); 1] = [("x-gravitee-client-identifier", "me")];

#[tokio::test(start_paused = true)]
async fn a_stream_that_fails_does_not_say_the_brokers_own_words() {
    let binding = Arc::new(testing::binding_of(&json!({})));
    let mut reader = open(&binding, Qos::None, &[]).await.unwrap();
    binding.driver.close().await;
    let told = Refusal::from(DriverError::new(ErrorKind::Closed, "10.0.0.1 is closed.")).message;
    assert!(!told.contains("10.0.0.1"));
    let last = reader.event().await.unwrap();
    assert_eq!((last.kind(), &*last.data), ("error", &*told));
    assert_eq!(reader.event().await, None);
}

#[tokio::test]
async fn as_many_streams_begin_as_the_api_allows() {
    let binding = Arc::new(testing::binding_of(&json!({})));
    let settings = SseConfig { max_connections: Some(2), ..SseConfig::default() };
    let begin = async || {
        let ((request, client), caller) = (testing::request(), testing::caller(&binding, "sse"));
        serve(&binding, &settings, Qos::None, caller, &request, &client).await
    };
    let (first, _second) = (begin().await.unwrap(), begin().await.unwrap());
    let refused = begin().await.err().unwrap();
    assert_eq!((refused.status.as_u16(), refused.code), (503, "receiver.full"));
    drop(first);
    assert!(begin().await.is_ok());
}

#[tokio::test]
async fn a_client_that_comes_back_has_seen_everything_once_and_in_order() {
    let bench = Bench::new(8, &json!({}));
    let mut reader = open(&bench.binding, Qos::AtLeastOnce, &[]).await.unwrap();
    let (mut published, mut seen, mut id) = ([0, 0], [0, 0], None);
    for round in 0..12 {
        for number in 0..10 {
            let topic = (round + number) % 3 % 2;
            bench.publish(["t", "u"][topic], format!("{topic} {}", published[topic])).await;
            published[topic] += 1;
        }
        // It never reads all that there is, and is away for a while.
        for _ in 0..round + 3 {
            if seen == published {
                break;
            }
            let event = reader.event().await.unwrap();
            let topic = usize::from(event.data.starts_with('1'));
            assert_eq!(event.data, format!("{topic} {}", seen[topic]));
            seen[topic] += 1;
            id = Some(event.id().to_owned());
        }
        reader = resume(&bench, id.as_deref().unwrap()).await.unwrap();
    }
    while seen != published {
        let event = reader.event().await.unwrap();
        let topic = usize::from(event.data.starts_with('1'));
        assert_eq!(event.data, format!("{topic} {}", seen[topic]));
        seen[topic] += 1;
    }
}

#[tokio::test]
async fn a_position_that_is_none_of_this_api_is_refused() {
    let bench = Bench::new(8, &json!({}));
    bench.publish("t", "0").await;
    let text = |plain: &str| plain.parse::<Position>().unwrap().encode();
    for id in
        ["nonsense", "eA==", &text("other@0#0"), &text("t@0#0;other@0#0"), &text("t@0#1"), &text("t@1#0")]
    {
        let refusal = resume(&bench, id).await.err().unwrap();
        assert_eq!((refusal.status.as_u16(), refusal.code), (400, "position.unknown"), "{id}");
        assert!(!refusal.message.contains("other"), "{}", refusal.message);
        // Where no positions are told, none are read.
        for qos in [Qos::None, Qos::Auto] {
            open(&bench.binding, qos, &[("last-event-id", id)]).await.unwrap();
        }
    }
    let mut reader = resume(&bench, &text("t@0#-1")).await.unwrap();
    reader.message("0").await;
    let mut reader = resume(&bench, "").await.unwrap();
    bench.publish("t", "1").await;
    reader.message("1").await;
}

#[tokio::test]
async fn a_position_that_is_none_of_this_api_may_be_a_gap_in_front_of_what_comes() {
    let bench = Bench::new(8, &json!({ "guarantees": { "unknownPosition": "latest" } }));
    bench.publish("t", "0").await;
    for id in ["nonsense".to_owned(), "t@0#7".parse::<Position>().unwrap().encode()] {
        let mut reader = resume(&bench, &id).await.unwrap();
        let gap = reader.event().await.unwrap();
        assert_eq!((gap.kind(), gap.json()), ("gap", json!({ "messages": null, "position": gap.id() })));
        bench.publish("t", "next").await;
        reader.message("next").await;
        resume(&bench, gap.id()).await.unwrap().message("next").await;
    }
}

#[tokio::test]
async fn messages_that_the_broker_has_dropped_are_a_gap_of_which_a_client_hears_once() {
    let bench = Bench::new(2, &json!({}));
    let mut reader = open(&bench.binding, Qos::AtLeastOnce, &[]).await.unwrap();
    bench.publish("t", "0").await;
    let id = reader.message("0").await.id.unwrap();
    drop(reader);
    for number in 1..10 {
        bench.publish("t", number.to_string()).await;
    }
    bench.log.drop_before(6);
    bench.read_by_hub(10).await;
    let mut reader = resume(&bench, &id).await.unwrap();
    let gap = reader.event().await.unwrap();
    assert_eq!((gap.kind(), gap.json()), ("gap", json!({ "messages": 5, "position": gap.id() })));
    assert_eq!(bench.binding.metrics.lost.get(), 5);
    for mut reader in [reader, resume(&bench, gap.id()).await.unwrap()] {
        for number in 6..10 {
            reader.message(&number.to_string()).await;
        }
    }
}

#[tokio::test]
async fn a_slow_client_is_disconnected_and_resumes_where_it_was() {
    let bench = Bench::new(4, &json!({ "guarantees": { "slowClients": "disconnect" } }));
    let mut reader = open(&bench.binding, Qos::AtLeastOnce, &[]).await.unwrap();
    bench.publish("t", "0").await;
    reader.message("0").await;
    for number in 1..50 {
        bench.publish("t", number.to_string()).await;
    }
    bench.read_by_hub(50).await;
    let last = reader.event().await.unwrap();
    let position = last.json()["position"].as_str().unwrap().to_owned();
    let told = json!({ "reason": "slow", "messages": last.json()["messages"], "position": position });
    assert_eq!((last.kind(), last.json()), ("disconnected", told));
    assert!(last.json()["messages"].as_u64() >= Some(45), "{last:?}");
    assert_eq!(reader.event().await, None);
    let slow = bench.binding.streams.slow_clients(&bench.binding.api);
    assert_eq!((slow.len(), slow[0].end.as_str()), (1, "disconnected"));
    let mut reader = resume(&bench, &position).await.unwrap();
    for number in 1..50 {
        reader.message(&number.to_string()).await;
    }
}

#[tokio::test]
async fn a_slow_client_that_is_skipped_for_hears_of_how_many() {
    let bench = Bench::new(4, &json!({}));
    let mut reader = open(&bench.binding, Qos::AtMostOnce, &[]).await.unwrap();
    for number in 0..50 {
        bench.publish("t", number.to_string()).await;
    }
    bench.read_by_hub(50).await;
    let skipped = reader.event().await.unwrap();
    assert_eq!((skipped.kind(), skipped.json()), ("skipped", json!({ "messages": 46 })));
    reader.message("46").await;
}

#[tokio::test]
async fn what_a_client_does_not_read_is_not_rendered() {
    let bench = Bench::new(100, &json!({}));
    let mut reader = open(&bench.binding, Qos::None, &[]).await.unwrap();
    for number in 0..50 {
        bench.publish("t", number.to_string()).await;
    }
    bench.read_by_hub(50).await;
    for read in 0..3 {
        assert_eq!(bench.binding.metrics.delivered.get(), read);
        reader.message(&read.to_string()).await;
    }
}

#[tokio::test]
async fn a_client_with_a_name_goes_on_where_it_was() {
    let bench = Bench::new(8, &json!({}));
    let mut reader = open(&bench.binding, Qos::Auto, &NAMED).await.unwrap();
    let identifier = reader.headers["x-gravitee-client-identifier"].to_str().unwrap().to_owned();
    assert!(identifier.starts_with("me-"));
    for number in 0..5 {
        bench.publish("t", number.to_string()).await;
    }
    bench.read_by_hub(5).await;
    for number in 0..3 {
        assert_eq!(reader.message(&number.to_string()).await.id, None);
    }
    drop(reader);
    // Nobody has asked for what follows the last one, so that it may not have been sent.
    let again = [("x-gravitee-client-identifier", &*identifier)];
    let mut reader = open(&bench.binding, Qos::Auto, &again).await.unwrap();
    assert_eq!(reader.headers["x-gravitee-client-identifier"], identifier);
    for number in 2..5 {
        reader.message(&number.to_string()).await;
    }
    // That it waits says that it has taken the rest.
    assert!(timeout(Duration::from_millis(10), reader.event()).await.is_err());
    drop(reader);
    bench.publish("t", "5").await;
    open(&bench.binding, Qos::Auto, &again).await.unwrap().message("5").await;
}

#[tokio::test]
async fn a_client_with_a_name_that_never_got_anything_has_its_place() {
    let bench = Bench::new(8, &json!({}));
    drop(open(&bench.binding, Qos::Auto, &NAMED).await.unwrap());
    bench.publish("t", "0").await;
    open(&bench.binding, Qos::Auto, &NAMED).await.unwrap().message("0").await;
    let unnamed = open(&bench.binding, Qos::Auto, &[]).await.unwrap();
    assert!(!unnamed.headers.contains_key("x-gravitee-client-identifier"));
    let bad = open(&bench.binding, Qos::None, &[("x-gravitee-client-identifier", "a b")]).await;
    assert_eq!(bad.err().unwrap().code, "client.identifier");
}

fn filtering(content: &str) -> Value {
    let filter = format!("{{#message.content != '{content}'}}");
    let filter = json!({ "policy": "message-filtering", "configuration": { "filter": filter } });
    json!({ "description": "New.", "flows": [{ "deliver": [filter] }] })
}

#[tokio::test]
async fn a_stream_goes_on_under_the_deployment_that_comes_next() {
    let bench = Bench::new(100, &json!({}));
    let mut reader = open(&bench.binding, Qos::AtLeastOnce, &[]).await.unwrap();
    for number in 0..4 {
        bench.publish("t", number.to_string()).await;
    }
    bench.read_by_hub(4).await;
    reader.message("0").await;
    let (one, two) = (bench.successor(&filtering("5")), bench.successor(&filtering("6")));
    bench.binding.succession.set(Arc::clone(&one));
    one.succession.set(Arc::clone(&two));
    for number in 4..8 {
        bench.publish("t", number.to_string()).await;
    }
    bench.read_by_hub(8).await;
    for number in [1, 2, 3, 4, 5, 7] {
        reader.message(&number.to_string()).await;
    }
    let in_flight = |binding: &Binding| binding.in_flight.len();
    assert_eq!((in_flight(&bench.binding), in_flight(&one), in_flight(&two)), (0, 0, 1));
    assert_eq!(bench.binding.metrics.streams.get(), 1);
    // Its former deployments are no longer its own.
    bench.binding.drain.cancel();
    one.drain.cancel();
    bench.publish("t", "8").await;
    reader.message("8").await;
    two.drain.cancel();
    reader.goodbye().await;
}

#[tokio::test]
async fn a_message_that_waits_for_its_time_is_sent_under_the_next_deployment() {
    let latency = json!({ "policy": "latency", "configuration": { "time": 1, "timeUnit": "SECONDS" } });
    let bench = Bench::new(100, &json!({ "flows": [{ "deliver": [latency] }] }));
    let mut reader = open(&bench.binding, Qos::AtLeastOnce, &[]).await.unwrap();
    bench.publish("t", "0").await;
    bench.publish("t", "1").await;
    // Until it has to wait.
    assert!(timeout(Duration::from_millis(200), reader.event()).await.is_err());
    bench.binding.succession.set(bench.successor(&json!({})));
    reader.message("0").await;
    reader.message("1").await;
}

#[tokio::test]
async fn a_stream_that_cannot_go_on_says_goodbye() {
    let bench = Bench::new(100, &json!({}));
    let mut reader = open(&bench.binding, Qos::AtLeastOnce, &[]).await.unwrap();
    let closed =
        json!([{ "id": "open", "name": "Open", "security": { "type": "key-less" }, "status": "closed" }]);
    bench.binding.succession.set(bench.successor(&json!({ "plans": closed })));
    reader.goodbye().await;
}

/// An API whose clients are all in one group, with these parts.
fn shared(parts: &Value) -> Bench {
    let settings = json!({ "topics": ["t", "u"], "consumer": { "groupId": "workers" } });
    let mut all = json!({ "brokers": [{ "name": "b", "type": "log", "configuration": settings }] });
    all.as_object_mut().unwrap().extend(parts.as_object().unwrap().clone());
    Bench::new(8, &all)
}

#[tokio::test]
async fn what_a_member_was_not_sent_for_good_goes_to_another_one_of_its_group() {
    let bench = shared(&json!({}));
    let mut one = open(&bench.binding, Qos::Auto, &[]).await.unwrap();
    let mut other = open(&bench.binding, Qos::Auto, &[]).await.unwrap();
    for content in ["a", "b", "c"] {
        bench.publish("t", content).await;
    }
    assert_eq!(one.message("a").await.id, None, "its position says nothing to it");
    drop(one);
    for content in ["a", "b", "c"] {
        other.message(content).await;
    }
    let shown = bench.binding.streams.of_api(&bench.binding.api, 9);
    assert_eq!(shown.iter().map(|stream| stream.group()).collect::<Vec<_>>(), [Some("workers")]);
}

#[tokio::test]
async fn what_a_client_says_of_its_place_does_not_count_in_a_group() {
    let bench = shared(&json!({}));
    let headers = [("last-event-id", "nonsense"), NAMED[0]];
    let mut one = open(&bench.binding, Qos::Auto, &headers).await.unwrap();
    bench.publish("t", "a").await;
    one.message("a").await;
}

#[tokio::test]
async fn a_message_that_a_policy_refuses_ends_one_member_and_not_the_next() {
    let refused = json!({ "policy": "policy-interrupt", "configuration": { "errorKey": "NO" },
        "messageCondition": "{#message.content == 'bad'}" });
    let bench = shared(&json!({ "flows": [{ "deliver": [refused] }] }));
    let mut one = open(&bench.binding, Qos::Auto, &[]).await.unwrap();
    bench.publish("t", "bad").await;
    assert_eq!(one.event().await.unwrap().kind(), "error");
    let mut other = open(&bench.binding, Qos::Auto, &[]).await.unwrap();
    bench.publish("t", "good").await;
    other.message("good").await;
}

#[tokio::test]
async fn a_client_that_cannot_be_in_a_group_is_told_so() {
    let refused = async |binding: Binding, qos| {
        let refusal = open(&Arc::new(binding), qos, &[]).await.err().unwrap();
        (refusal.status.as_u16(), refusal.code)
    };
    let group = json!({ "topics": ["t"], "consumer": { "groupId": "workers" } });
    let parts = json!({ "brokers": [{ "name": "b", "type": "log", "configuration": group }] });
    let bench = shared(&json!({}));
    let on_log =
        |hubs| Binding { driver: Arc::clone(&bench.binding.driver), hubs, ..testing::binding_of(&parts) };
    let hubs = &bench.binding.hubs;
    assert_eq!(refused(on_log(Arc::clone(hubs)), Qos::AtLeastOnce).await, (400, "qos.incompatible"));
    let full = sluice_stream::HubOptions { max_groups: 0, ..Default::default() };
    let full = sluice_stream::Hubs::new(full, Arc::default());
    assert_eq!(refused(on_log(full), Qos::Auto).await, (503, "group.full"));
    let on_mock = testing::binding_of(&parts);
    assert_eq!(refused(on_mock, Qos::None).await, (400, "group.unsupported"));
}
