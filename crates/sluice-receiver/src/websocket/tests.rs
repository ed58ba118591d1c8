//! A session over a pipe, with a clock that the test moves.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use serde_json::json;
use sluice_api::{EventApi, WebsocketConfig, from_value};
use sluice_broker::Mock;
use sluice_message::Topic;
use sluice_policy::{Caller, Chains, ChosenBy};
use sluice_stream::{Begin, HubOptions, Hubs, MemoryPositions, StreamMetrics};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream},
    sync::Semaphore,
    task::JoinHandle,
    time::Instant,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{Upgrade, open};
use crate::{ApiMetrics, Binding, FailureLog};

/// A binding to a mock, with room for so many bytes of messages.
fn binding(room: usize) -> Arc<Binding> {
    let api: EventApi = from_value(json!({
        "id": "a",
        "name": "a",
        "paths": [{ "path": "/a" }],
        "receivers": [{ "type": "websocket" }],
        "brokers": [{
            "name": "b",
            "type": "mock",
            "configuration": { "messageInterval": 1000, "messageContent": "x" }
        }],
    }))
    .unwrap();
    let chains = Chains::compile(&api, &Arc::default()).unwrap();
    let sluice_api::BrokerConfig::Mock(mock) = &api.brokers[0].configuration else { panic!("not a mock") };
    Arc::new(Binding {
        api: api.id.clone(),
        driver: Arc::new(Mock::new(mock.clone())),
        publish_topics: vec![Topic::from("t")],
        deliver_topics: vec![Topic::from("t")],
        chosen_by: ChosenBy::new("mock"),
        begin: Begin::Latest,
        hubs: Hubs::new(HubOptions::default(), Arc::new(StreamMetrics::default())),
        positions: Arc::new(MemoryPositions::default()),
        chains,
        max_body_bytes: 1000,
        body_bytes: Arc::new(Semaphore::new(room)),
        drain: CancellationToken::new(),
        metrics: ApiMetrics::default(),
        failures: FailureLog::default(),
        in_flight: TaskTracker::new(),
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
