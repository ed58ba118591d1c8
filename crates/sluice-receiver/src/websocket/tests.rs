//! A session over a pipe, with a clock that the test moves.

mod receipts;

use std::{sync::Arc, time::Duration};

use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;
use serde_json::{Value, json};
use sluice_api::{Qos, WebsocketConfig};
use sluice_message::MAX_POSITION_BYTES;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream},
    sync::Semaphore,
    task::JoinHandle,
    time::Instant,
};

use super::{Session, Upgrade, open};
use crate::{
    Binding, Refusal,
    testing::{self, Bench},
};

/// A binding to a mock, with room for so many bytes of messages.
fn binding(room: usize) -> Arc<Binding> {
    Arc::new(Binding {
        body_bytes: Arc::new(Semaphore::new(room)),
        ..testing::binding(&json!({}), &json!([]))
    })
}

/// A session of a client that has asked for this path, before it runs.
async fn opened(
    binding: &Arc<Binding>,
    settings: Value,
    qos: Qos,
    path: &str,
) -> Result<Box<Session>, Refusal> {
    let settings: WebsocketConfig = serde_json::from_value(settings).unwrap();
    let request = http::Request::get(path)
        .header("connection", "upgrade")
        .header("upgrade", "websocket")
        .header("sec-websocket-version", "13")
        .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");
    let (request, ()) = request.body(()).unwrap().into_parts();
    let (caller, client) = (testing::caller(binding, "websocket"), testing::request().1);
    let answer = open(binding, &settings, qos, caller, &request, None, &client).await?;
    Ok(answer.extensions().get::<Upgrade>().unwrap().take().unwrap())
}

/// Runs a session; the client's end of its connection.
fn run(session: Box<Session>, pipe: usize) -> (DuplexStream, JoinHandle<()>) {
    let (mut near, far) = tokio::io::duplex(pipe);
    (far, tokio::spawn(async move { session.run(&mut near, Bytes::new()).await }))
}

/// A session that only takes messages, and the client's end of its connection.
async fn session(binding: &Arc<Binding>, pipe: usize) -> (DuplexStream, JoinHandle<()>) {
    let settings = json!({
        "subscriber": { "enabled": false }, "pingIntervalMs": 1000, "idleTimeoutMs": 2500,
    });
    run(opened(binding, settings, Qos::None, "/a").await.unwrap(), pipe)
}

/// A client's frame whose mask is nothing.
fn frame(first: u8, content: &[u8]) -> Vec<u8> {
    let length = match content.len() {
        length @ 0..=125 => vec![0x80 | length as u8],
        length @ 126..=0xffff => [&[0x80 | 126][..], &(length as u16).to_be_bytes()].concat(),
        length => [&[0x80 | 127][..], &(length as u64).to_be_bytes()].concat(),
    };
    [&[first][..], &length, &[0; 4], content].concat()
}

/// The next frame of the server.
async fn next(client: &mut DuplexStream) -> (u8, Vec<u8>) {
    let (first, length) = (client.read_u8().await.unwrap(), client.read_u8().await.unwrap());
    let length = if length == 126 { client.read_u16().await.unwrap() } else { length.into() };
    let mut content = vec![0; usize::from(length)];
    client.read_exact(&mut content).await.unwrap();
    (first, content)
}

/// The document in the next frame of the server, the first one left out that says where the client begins.
async fn document(client: &mut DuplexStream) -> Value {
    let document = any_document(client).await;
    if document.get("begin").is_none() { document } else { any_document(client).await }
}

async fn any_document(client: &mut DuplexStream) -> Value {
    let (first, content) = next(client).await;
    assert_eq!(first, 0x81, "{content:?}");
    serde_json::from_slice(&content).unwrap()
}

/// The code and the reason of the close that comes next.
async fn closed(client: &mut DuplexStream) -> (u16, String) {
    let (first, content) = next(client).await;
    assert_eq!(first, 0x88, "{content:?}");
    (u16::from_be_bytes([content[0], content[1]]), String::from_utf8(content[2..].to_vec()).unwrap())
}

/// Frames of JSON, and no pings to be reckoned with.
fn json_frames() -> Value {
    json!({ "frames": "json", "pingIntervalMs": 3_600_000, "idleTimeoutMs": 3_600_001 })
}

#[tokio::test(start_paused = true)]
async fn a_silent_client_is_asked_and_then_given_up() {
    let binding = binding(1000);
    let (mut client, running) = session(&binding, 1000).await;
    let begin = Instant::now();
    for second in 1..=2 {
        assert_eq!(next(&mut client).await, (0x89, Vec::new()));
        assert_eq!(begin.elapsed(), Duration::from_secs(second));
    }
    let (first, content) = next(&mut client).await;
    assert_eq!((first, &content[..2]), (0x88, &1001_u16.to_be_bytes()[..]));
    assert_eq!(begin.elapsed(), Duration::from_millis(2500));
    // It does not answer the close either.
    running.await.unwrap();
    assert_eq!(begin.elapsed(), Duration::from_millis(7500));
    assert_eq!((binding.metrics.streams.get(), binding.in_flight.len()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_client_that_answers_is_kept() {
    let binding = binding(1000);
    let (mut client, _running) = session(&binding, 1000).await;
    for _ in 0..100 {
        assert_eq!(next(&mut client).await, (0x89, Vec::new()));
        client.write_all(&frame(0x8a, b"")).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_asks_faster_than_it_takes_answers_has_to_wait() {
    let binding = binding(1000);
    let (client, _running) = session(&binding, 64).await;
    let (mut answers, mut questions) = tokio::io::split(client);
    let asking = async {
        for number in 0..2000_u16 {
            let question = frame(0x89, &number.to_be_bytes());
            let sent = questions.write_all(&question);
            if tokio::time::timeout(Duration::from_millis(500), sent).await.is_err() {
                return number;
            }
        }
        2000
    };
    let asked = asking.await;
    // What is in the pipe and in the last read comes to this; the rest is not taken.
    assert!((128..2000).contains(&asked), "{asked}");
    for number in 0..asked {
        let mut answer = [0; 4];
        answers.read_exact(&mut answer).await.unwrap();
        assert_eq!(answer, [&[0x8a, 2][..], &number.to_be_bytes()].concat()[..]);
    }
}

#[tokio::test(start_paused = true)]
async fn messages_take_room_only_until_the_broker_has_them() {
    let binding = binding(10);
    let (mut client, _running) = session(&binding, 1000).await;
    for _ in 0..3 {
        client.write_all(&frame(0x82, b"ten bytes.")).await.unwrap();
    }
    client.write_all(&frame(0x89, b"")).await.unwrap();
    assert_eq!(next(&mut client).await, (0x8a, Vec::new()));
    assert_eq!((binding.metrics.published.get(), binding.body_bytes.available_permits()), (3, 10));
    client.write_all(&frame(0x82, b"eleven byte")).await.unwrap();
    let (first, content) = next(&mut client).await;
    assert_eq!((first, &content[..2]), (0x88, &1013_u16.to_be_bytes()[..]));
}

#[tokio::test(start_paused = true)]
async fn a_message_that_does_not_come_to_its_end_gives_its_room_back() {
    let binding = binding(1000);
    let (mut client, running) = session(&binding, 1000).await;
    let begin = Instant::now();
    client.write_all(&frame(0x02, b"the begin")).await.unwrap();
    let mut last = next(&mut client).await;
    while last.0 == 0x89 {
        assert_ne!(binding.body_bytes.available_permits(), 1000);
        client.write_all(&[frame(0x8a, b""), frame(0x00, b".")].concat()).await.unwrap();
        last = next(&mut client).await;
    }
    assert_eq!((last.0, &last.1[..2]), (0x88, &1008_u16.to_be_bytes()[..]));
    assert_eq!(begin.elapsed(), binding.body_timeout);
    client.write_all(&frame(0x88, b"")).await.unwrap();
    running.await.unwrap();
    assert_eq!(binding.body_bytes.available_permits(), 1000);
}

#[tokio::test(start_paused = true)]
async fn the_time_of_a_message_begins_with_it() {
    let binding = binding(1000);
    let (mut client, _running) = session(&binding, 1000).await;
    let (begin, mut last) = (Instant::now(), (0x89, Vec::new()));
    while begin.elapsed() < binding.body_timeout * 2 {
        assert_eq!(last.0, 0x89);
        client.write_all(&[frame(0x02, b"one "), frame(0x80, b"message")].concat()).await.unwrap();
        last = next(&mut client).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_say_its_place_in_time_is_told_how() {
    let binding = binding(1000);
    let waiting = opened(&binding, json_frames(), Qos::AtLeastOnce, "/a?resume=frame").await.unwrap();
    let (mut client, _running) = run(waiting, 1000);
    let begin = Instant::now();
    client.write_all(&frame(0x89, b"?")).await.unwrap();
    assert_eq!(next(&mut client).await, (0x8a, b"?".to_vec()));
    let text = "Send {\"resume\": \"<position>\"} or {\"resume\": null} as the first frame, within 10 s.";
    assert_eq!(closed(&mut client).await, (1008, text.to_owned()));
    assert_eq!(begin.elapsed(), Duration::from_secs(10));
}

#[tokio::test(start_paused = true)]
async fn a_first_frame_may_hold_the_longest_position_whatever_messages_may() {
    let binding = binding(8 << 20);
    let (begin, end) = ("{\"resume\":\"", "\"}");
    let of_length = |length: usize| format!("{begin}{}{end}", "A".repeat(length - begin.len() - end.len()));
    let unknown = "The position to resume from is none of this API.";
    let wrong = "The first frame must be";
    for (first, content, code, reason) in [
        (0x81, of_length(MAX_POSITION_BYTES + 64), 1008, unknown),
        (0x81, of_length(MAX_POSITION_BYTES + 65), 1009, "the message is too big"),
        (0x81, of_length(100), 1008, unknown),
        (0x81, "{\"resume\":1}".to_owned(), 1008, wrong),
        (0x81, "hello".to_owned(), 1008, wrong),
        (0x82, "{\"resume\":null}".to_owned(), 1008, wrong),
    ] {
        let waiting = opened(&binding, json_frames(), Qos::AtLeastOnce, "/a?resume=frame").await.unwrap();
        let (mut client, _running) = run(waiting, 4 << 20);
        client.write_all(&frame(first, content.as_bytes())).await.unwrap();
        let told = closed(&mut client).await;
        assert!(told.0 == code && told.1.starts_with(reason), "{told:?}");
    }
    let waiting = opened(&binding, json_frames(), Qos::AtLeastOnce, "/a?resume=frame").await.unwrap();
    let (mut client, _running) = run(waiting, 4 << 20);
    client.write_all(&frame(0x81, b"{\"resume\":null}")).await.unwrap();
    client.write_all(&frame(0x82, &[0; 1001])).await.unwrap();
    let mut last = next(&mut client).await;
    while last.0 == 0x81 {
        last = next(&mut client).await;
    }
    assert_eq!(
        (last.0, &last.1[..2]),
        (0x88, &1009_u16.to_be_bytes()[..]),
        "the bound of messages holds again"
    );
}

#[tokio::test]
async fn a_position_is_refused_where_it_would_be_ignored() {
    let binding = binding(1000);
    let off = json!({ "subscriber": { "enabled": false } });
    for (settings, qos, query) in [
        (json!({}), Qos::Auto, "cursor=cA=="),
        (json!({}), Qos::None, "resume=frame"),
        (json!({}), Qos::AtLeastOnce, "resume=always"),
        (json!({}), Qos::AtMostOnce, "resume=frame&cursor=cA=="),
        (json!({}), Qos::AtMostOnce, "cursor=cA=="),
        (off, Qos::AtLeastOnce, "cursor="),
    ] {
        let refused = opened(&binding, settings, qos, &format!("/a?{query}")).await.err().unwrap();
        assert_eq!((refused.status.as_u16(), refused.code), (400, "position.unknown"), "{query}");
    }
}

#[tokio::test]
async fn a_client_that_is_too_slow_is_told_where_it_can_resume() {
    let bench = Bench::new(4, &json!({ "guarantees": { "slowClients": "disconnect" } }));
    let slow = opened(&bench.binding, json_frames(), Qos::AtLeastOnce, "/a").await.unwrap();
    for number in 0..10 {
        bench.publish("t", number.to_string()).await;
    }
    bench.read_by_hub(10).await;
    let (mut client, _running) = run(slow, 10_000);
    let told = document(&mut client).await;
    let end = &told["disconnected"];
    assert!(end["reason"] == "slow" && end["messages"].as_u64().unwrap() > 0, "{told}");
    let (code, reason) = closed(&mut client).await;
    assert!(code == 1008 && reason.starts_with("Too slow: "), "{reason}");
    assert_eq!(bench.binding.metrics.overrun.get(), 1);
    let path = format!("/a?cursor={}", end["position"].as_str().unwrap());
    // Nothing was handed out, so that everything is still to come; more than the ring holds comes from the log.
    let again = opened(&bench.successor(&json!({})), json_frames(), Qos::AtLeastOnce, &path).await.unwrap();
    let (mut client, _running) = run(again, 10_000);
    for number in 0..10 {
        assert_eq!(document(&mut client).await["content"], number.to_string());
    }
}

#[tokio::test]
async fn a_client_that_was_sent_nothing_can_resume_all_the_same() {
    let bench = Bench::new(100, &json!({}));
    let quiet = opened(&bench.binding, json_frames(), Qos::AtLeastOnce, "/a").await.unwrap();
    let (mut client, running) = run(quiet, 10_000);
    let told = any_document(&mut client).await;
    drop(client);
    running.await.unwrap();
    bench.publish("t", "meanwhile").await;
    let path = format!("/a?cursor={}", told["begin"]["position"].as_str().unwrap());
    let again = opened(&bench.binding, json_frames(), Qos::AtLeastOnce, &path).await.unwrap();
    let (mut client, _running) = run(again, 10_000);
    assert_eq!(document(&mut client).await["content"], "meanwhile");
}

#[tokio::test]
async fn frames_without_documents_say_in_the_close_how_far_a_client_is_behind() {
    let bench = Bench::new(4, &json!({ "guarantees": { "slowClients": "disconnect" } }));
    let slow = opened(&bench.binding, json!({}), Qos::None, "/a").await.unwrap();
    for number in 0..10 {
        bench.publish("t", number.to_string()).await;
    }
    bench.read_by_hub(10).await;
    let (mut client, _running) = run(slow, 10_000);
    assert_eq!(closed(&mut client).await.0, 1008);
}

#[tokio::test]
async fn what_a_slow_client_has_missed_is_told_between_the_messages() {
    let bench = Bench::new(4, &json!({}));
    let slow = opened(&bench.binding, json_frames(), Qos::None, "/a").await.unwrap();
    for number in 0..10 {
        bench.publish("t", number.to_string()).await;
    }
    bench.read_by_hub(10).await;
    let (mut client, _running) = run(slow, 10_000);
    let skipped = document(&mut client).await["skipped"]["messages"].as_u64().unwrap();
    let next = document(&mut client).await;
    assert_eq!(next["content"], skipped.to_string());
    assert!(next.get("id").is_none(), "no positions are told");
}

#[tokio::test]
async fn a_client_with_an_unknown_position_is_told_of_the_gap_once() {
    let bench = Bench::new(4, &json!({ "guarantees": { "unknownPosition": "latest" } }));
    bench.publish("t", "before").await;
    let path = format!("/a?cursor={}", BASE64_STANDARD.encode("t@0#99"));
    let lost = opened(&bench.binding, json_frames(), Qos::AtLeastOnce, &path).await.unwrap();
    let (mut client, _running) = run(lost, 10_000);
    let told = document(&mut client).await;
    assert_eq!(told["gap"]["messages"], Value::Null);
    let resumed = format!("/a?cursor={}", told["gap"]["position"].as_str().unwrap());
    bench.publish("t", "after").await;
    assert_eq!(document(&mut client).await["content"], "after");
    let again = opened(&bench.binding, json_frames(), Qos::AtLeastOnce, &resumed).await.unwrap();
    let (mut client, _running) = run(again, 10_000);
    assert_eq!(document(&mut client).await["content"], "after");
}

#[tokio::test]
async fn messages_that_the_broker_has_dropped_are_counted_in_the_gap() {
    let broker = json!({ "name": "b", "type": "log", "configuration": { "topics": ["t"] } });
    let bench = Bench::new(4, &json!({ "brokers": [broker] }));
    for number in 0..10 {
        bench.publish("t", number.to_string()).await;
    }
    bench.log.drop_before(6);
    let path = format!("/a?cursor={}", BASE64_STANDARD.encode("t@0#1"));
    let behind = opened(&bench.binding, json_frames(), Qos::AtLeastOnce, &path).await.unwrap();
    let (mut client, _running) = run(behind, 10_000);
    assert_eq!(document(&mut client).await["gap"]["messages"], 4);
    for number in 6..10 {
        assert_eq!(document(&mut client).await["content"], number.to_string());
    }
    assert_eq!(bench.binding.metrics.lost.get(), 4);
}

#[tokio::test]
async fn a_client_moves_on_with_what_was_delayed_for_it() {
    let flows =
        |policy| json!({ "flows": [{ "deliver": [policy] }], "receivers": [{ "type": "websocket" }] });
    let latency =
        json!({ "policy": "latency", "configuration": { "time": 200, "timeUnit": "MILLISECONDS" } });
    let filter =
        json!({ "policy": "message-filtering", "configuration": { "filter": "{#message.content != '9'}" } });
    let bench = Bench::new(100, &flows(latency));
    let moving = opened(&bench.binding, json_frames(), Qos::AtLeastOnce, "/a").await.unwrap();
    for number in 0..3 {
        bench.publish("t", number.to_string()).await;
    }
    bench.read_by_hub(3).await;
    let (mut client, _running) = run(moving, 10_000);
    assert_eq!(document(&mut client).await["content"], "0");
    let successor = bench.successor(&flows(filter));
    bench.binding.succession.set(Arc::clone(&successor));
    for content in ["9", "3"] {
        bench.publish("t", content).await;
    }
    for content in ["1", "2", "3"] {
        assert_eq!(document(&mut client).await["content"], content);
    }
    assert_eq!((bench.binding.in_flight.len(), successor.in_flight.len()), (0, 1));
    client.write_all(&frame(0x81, b"x")).await.unwrap();
    for topic in ["t", "u"] {
        assert_eq!(document(&mut client).await["metadata"]["topic"], topic);
    }
}

#[tokio::test]
async fn a_client_that_cannot_move_on_is_to_come_again() {
    let bench = Bench::new(100, &json!({ "receivers": [{ "type": "websocket" }] }));
    let staying = opened(&bench.binding, json_frames(), Qos::None, "/a").await.unwrap();
    let (mut client, _running) = run(staying, 10_000);
    bench.binding.succession.set(bench.successor(&json!({ "receivers": [{ "type": "sse" }] })));
    bench.binding.drain.cancel();
    let told = document(&mut client).await;
    assert!((1000..30_000).contains(&told["goaway"]["reconnectAfterMs"].as_u64().unwrap()), "{told}");
    assert_eq!(closed(&mut client).await, (1012, "Service Restart".to_owned()));
}

#[tokio::test]
async fn what_has_not_left_is_not_remembered_as_got() {
    let bench = Bench::new(100, &json!({}));
    let path = "/a?X-Gravitee-Client-Identifier=me";
    let mute = opened(&bench.binding, json!({}), Qos::Auto, path).await.unwrap();
    for content in ["a", "b"] {
        bench.publish("t", content.repeat(100)).await;
    }
    bench.read_by_hub(2).await;
    let (client, running) = run(mute, 10);
    while bench.binding.metrics.delivered.get() < 2 {
        tokio::task::yield_now().await;
    }
    drop(client);
    running.await.unwrap();
    let again = opened(&bench.binding, json!({}), Qos::Auto, path).await.unwrap();
    let (mut client, _running) = run(again, 10_000);
    for content in ["a", "b"] {
        assert_eq!(next(&mut client).await, (0x82, content.repeat(100).into_bytes()));
    }
}
