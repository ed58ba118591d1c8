//! A session over a pipe, with a clock that the test moves.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use serde_json::json;
use sluice_api::WebsocketConfig;
use sluice_policy::Caller;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream},
    sync::Semaphore,
    task::JoinHandle,
    time::Instant,
};

use super::{Upgrade, open};
use crate::{Binding, testing};

/// A binding to a mock, with room for so many bytes of messages.
fn binding(room: usize) -> Arc<Binding> {
    Arc::new(Binding {
        body_bytes: Arc::new(Semaphore::new(room)),
        ..testing::binding(&json!({}), &json!([]))
    })
}

/// A session that only takes messages, and the client's end of its connection.
async fn session(binding: &Arc<Binding>, pipe: usize) -> (DuplexStream, JoinHandle<()>) {
    let settings = json!({
        "subscriber": { "enabled": false }, "pingIntervalMs": 1000, "idleTimeoutMs": 2500,
    });
    let settings: WebsocketConfig = serde_json::from_value(settings).unwrap();
    let request = http::Request::get("/a")
        .header("connection", "upgrade")
        .header("upgrade", "websocket")
        .header("sec-websocket-version", "13")
        .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");
    let (request, ()) = request.body(()).unwrap().into_parts();
    let caller = Arc::new(Caller::new(&binding.chains, "websocket", ""));
    let answer = open(binding, &settings, caller, &request, None, "c".to_owned()).await.unwrap();
    let session = answer.extensions().get::<Upgrade>().unwrap().take().unwrap();
    let (mut near, far) = tokio::io::duplex(pipe);
    (far, tokio::spawn(async move { session.run(&mut near, Bytes::new()).await }))
}

/// A client's frame whose mask is nothing.
fn frame(first: u8, content: &[u8]) -> Vec<u8> {
    [&[first, 0x80 | content.len() as u8, 0, 0, 0, 0], content].concat()
}

/// The next short frame of the server.
async fn next(client: &mut DuplexStream) -> (u8, Vec<u8>) {
    let (first, length) = (client.read_u8().await.unwrap(), client.read_u8().await.unwrap());
    let mut content = vec![0; usize::from(length)];
    client.read_exact(&mut content).await.unwrap();
    (first, content)
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
