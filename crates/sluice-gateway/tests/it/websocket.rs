//! The `websocket` receiver, frame by frame.

use std::time::Duration;

use serde_json::{Value, json};
use sluice_api::ApiId;
use sluice_gateway::ListenOptions;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::{
    client::{BINARY, CLOSE, Client, GOOD, PING, PONG, TEXT, request},
    support::{Running, api, on_log, serving, serving_within},
};

/// An API with a WebSocket of these settings, on the embedded log.
async fn websocket(settings: Value) -> Running {
    serving(on_log(json!([{ "type": "websocket", "configuration": settings }]))).await
}

fn message(kind: u8, content: &str) -> (u8, Vec<u8>) {
    (kind, content.as_bytes().to_vec())
}

#[tokio::test]
async fn what_one_client_sends_every_client_sees_in_order() {
    let running = websocket(json!({})).await;
    let (mut one, mut other) =
        (Client::connect(running.address).await, Client::connect(running.address).await);
    for content in ["a", "b", ""] {
        one.send(TEXT, content.as_bytes()).await;
    }
    for client in [&mut one, &mut other] {
        for content in ["a", "b", ""] {
            assert_eq!(client.receive().await, message(BINARY, content));
        }
    }
    other.send(BINARY, b"back").await;
    assert_eq!(one.receive().await, message(BINARY, "back"));
}

#[tokio::test]
async fn frames_are_text_where_the_api_says_so() {
    let running = websocket(json!({ "frames": "text" })).await;
    let mut client = Client::connect(running.address).await;
    client.send(BINARY, b"x").await;
    assert_eq!(client.receive().await, message(TEXT, "x"));
    client.send(BINARY, b"\xff").await;
    assert_eq!(client.receive().await, (BINARY, vec![0xff]));
}

#[tokio::test]
async fn with_auto_a_message_comes_back_as_what_it_was() {
    let running = websocket(json!({ "frames": "auto" })).await;
    let mut client = Client::connect(running.address).await;
    for kind in [TEXT, BINARY] {
        client.send(kind, b"x").await;
        assert_eq!(client.receive().await, message(kind, "x"));
    }
}

#[tokio::test]
async fn fragments_are_one_message_and_a_ping_between_them_is_answered() {
    let running = websocket(json!({})).await;
    let mut client = Client::connect(running.address).await;
    client.send(0x01, b"a").await;
    client.send(PING, b"?").await;
    assert_eq!(client.receive().await, message(PONG, "?"));
    client.send(0x80, b"b").await;
    assert_eq!(client.receive().await, message(BINARY, "ab"));
}

#[tokio::test]
async fn a_frame_that_comes_with_the_handshake_is_read() {
    let running = websocket(json!({})).await;
    let mut eager = format!("GET /a HTTP/1.1\r\n{GOOD}\r\n").into_bytes();
    eager.extend([PING, 0x81, 0, 0, 0, 0, b'?']);
    let mut stream = tokio::net::TcpStream::connect(running.address).await.unwrap();
    stream.write_all(&eager).await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        answer.push(stream.read_u8().await.unwrap());
    }
    assert_eq!(Client(stream).receive().await, message(PONG, "?"));
}

#[tokio::test]
async fn a_close_is_answered_with_its_code() {
    let running = websocket(json!({})).await;
    let mut client = Client::connect(running.address).await;
    client.send(CLOSE, &[0x0f, 0xa0, b'!']).await;
    assert_eq!(client.closed().await, (4000, String::new()));
    running.metric("sluice_open_streams{api=\"a\"} 0").await;
}

#[tokio::test]
async fn what_is_not_allowed_ends_with_the_code_that_says_so() {
    let running = websocket(json!({})).await;
    for (first, content, code) in
        [(BINARY, &[b'x'; 1001][..], 1009), (TEXT, b"\xff", 1007), (0xf1, b"", 1002), (0x80, b"", 1002)]
    {
        let mut client = Client::connect(running.address).await;
        client.send(first, content).await;
        assert_eq!(client.closed().await.0, code);
    }
    let mut client = Client::connect(running.address).await;
    client.send(BINARY, &[b'x'; 1000]).await;
    assert_eq!(client.receive().await.1.len(), 1000);
}

#[tokio::test]
async fn a_frame_may_be_bounded_below_the_message() {
    let running = websocket(json!({ "maxFrameBytes": 200 })).await;
    let mut client = Client::connect(running.address).await;
    client.send(0x02, &[b'x'; 200]).await;
    client.send(0x80, &[b'x'; 200]).await;
    assert_eq!(client.receive().await.1.len(), 400);
    client.send(BINARY, &[b'x'; 201]).await;
    assert_eq!(client.closed().await.0, 1009);
}

#[tokio::test]
async fn a_direction_that_is_off_takes_nothing() {
    let running = websocket(json!({ "publisher": { "enabled": false } })).await;
    let mut client = Client::connect(running.address).await;
    client.send(TEXT, b"x").await;
    assert_eq!(client.closed().await, (1008, "This API takes no messages of its clients.".to_owned()));
}

#[tokio::test]
async fn a_publisher_learns_that_the_broker_is_away_but_not_where() {
    let off = json!({ "subscriber": { "enabled": false } });
    let broker =
        json!({ "type": "kafka", "configuration": { "bootstrapServers": "10.1.2.3:9092", "topics": ["t"] } });
    let running = serving(api(json!([{ "type": "websocket", "configuration": off }]), broker)).await;
    let mut client = Client::connect(running.address).await;
    client.send(TEXT, b"x").await;
    let (code, reason) = client.closed().await;
    assert_eq!(code, 1013);
    assert!(reason.contains("did not answer") && !reason.contains("10.1.2.3"), "{reason}");
    running.metric("sluice_publish_failures_total{api=\"a\"} 1").await;
}

#[tokio::test]
async fn a_message_that_a_policy_keeps_back_is_no_fault() {
    let mut definition = on_log(json!([{ "type": "websocket" }]));
    let filter =
        json!({ "policy": "message-filtering", "configuration": { "filter": "{#message.content == 'b'}" } });
    definition["flows"] = json!([{ "name": "f", "publish": [filter] }]);
    let running = serving(definition).await;
    let mut client = Client::connect(running.address).await;
    client.send(TEXT, b"a").await;
    client.send(TEXT, b"b").await;
    assert_eq!(client.receive().await, message(BINARY, "b"));
    running.metric("sluice_policy_dropped_messages_total{api=\"a\"} 1").await;
    running.metric("sluice_publish_failures_total{api=\"a\"} 0").await;
}

#[tokio::test]
async fn a_source_that_ends_says_goodbye() {
    let mock = json!({ "messageInterval": 1, "messageContent": "m", "messageCount": 2 });
    let broker = json!({ "type": "mock", "configuration": mock });
    let running = serving(api(json!([{ "type": "websocket" }]), broker)).await;
    let mut client = Client::connect(running.address).await;
    for number in ["m0", "m1"] {
        assert!(client.receive().await.1.starts_with(&number.as_bytes()[..1]));
    }
    assert_eq!(client.closed().await, (1000, "Bye".to_owned()));
}

#[tokio::test]
async fn an_api_that_stops_asks_its_clients_to_come_back() {
    let running = websocket(json!({})).await;
    let client = Client::connect(running.address).await;
    running.gateway.undeploy(&ApiId("a".to_owned()));
    assert_eq!(client.closed().await, (1013, "Try Again Later".to_owned()));
    let client = serving(on_log(json!([{ "type": "websocket" }]))).await;
    let other = Client::connect(client.address).await;
    let (closed, ()) = tokio::join!(other.closed(), client.stop());
    assert_eq!(closed.0, 1013);
}

#[tokio::test]
async fn a_connection_keeps_its_place_and_gives_it_back() {
    let options = ListenOptions { max_connections: 1, ..ListenOptions::default() };
    let running = serving_within(on_log(json!([{ "type": "websocket" }])), options).await;
    let mut client = Client::connect(running.address).await;
    let (refused, _) = request(running.address, &format!("GET /a HTTP/1.1\r\n{GOOD}")).await;
    assert!(refused.starts_with("http/1.1 503"), "{refused}");
    client.send(TEXT, b"x").await;
    assert_eq!(client.receive().await, message(BINARY, "x"));
    client.send(CLOSE, &[0x03, 0xe8]).await;
    client.closed().await;
    let again = async {
        while !request(running.address, &format!("GET /a HTTP/1.1\r\n{GOOD}")).await.0.contains(" 101 ") {}
    };
    tokio::time::timeout(Duration::from_secs(30), again).await.unwrap();
}

#[tokio::test]
async fn a_client_that_takes_nothing_is_cut_off() {
    let options = ListenOptions { write_timeout: Duration::from_millis(50), ..ListenOptions::default() };
    let mock = json!({ "messageInterval": 1, "messageContent": "x".repeat(1 << 20) });
    let broker = json!({ "type": "mock", "configuration": mock });
    let running = serving_within(api(json!([{ "type": "websocket" }]), broker), options).await;
    let _mute = Client::connect(running.address).await;
    running.metric("sluice_open_streams{api=\"a\"} 0").await;
}

#[tokio::test]
async fn a_request_that_asks_badly_is_never_answered_101() {
    let running = websocket(json!({})).await;
    let changed = |from: &str, to: &str| format!("GET /a HTTP/1.1\r\n{}", GOOD.replace(from, to));
    for (head, status) in [
        ("GET /a HTTP/1.1\r\nHost: h\r\n".to_owned(), "426"),
        (changed("Upgrade: websocket\r\n", ""), "426"),
        (changed("Version: 13", "Version: 12"), "426"),
        (changed("keep-alive, Upgrade", "keep-alive"), "400"),
        (changed("dGhl", ""), "400"),
        (changed("Host: h", "Origin: http://elsewhere.example\r\nHost: h"), "403"),
        (format!("GET /a HTTP/1.0\r\n{GOOD}"), "400"),
        (format!("POST /a HTTP/1.1\r\n{GOOD}"), "404"),
        (format!("GET /a HTTP/1.1\r\nContent-Length: 1\r\n{GOOD}"), "400"),
    ] {
        let (answer, _) = request(running.address, &head).await;
        assert_eq!(answer.split(' ').nth(1), Some(status), "{head}\n{answer}");
        assert_eq!(answer.contains("\r\nsec-websocket-version: 13\r\n"), status == "426", "{answer}");
    }
}
