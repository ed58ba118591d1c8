//! The `websocket` receiver, frame by frame.

use std::time::Duration;

use serde_json::{Value, json};
use sluice_api::{ApiId, from_value};
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

/// An API on two topics whose WebSocket sends documents with positions.
fn resumable() -> Value {
    let websocket =
        json!({ "type": "websocket", "qos": "at-least-once", "configuration": { "frames": "json" } });
    let broker = json!({ "type": "log", "configuration": { "topics": ["t", "u"] } });
    api(json!([websocket]), broker)
}

/// Topic and content of the next document, and its position.
async fn next(client: &mut Client) -> ((String, String), String) {
    let document = client.document().await;
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    ((text(&document["metadata"]["topic"]), text(&document["content"])), text(&document["id"]))
}

#[tokio::test]
async fn a_client_resumes_behind_any_position_in_its_address_or_its_first_frame() {
    let running = serving(resumable()).await;
    let mut client = Client::connect(running.address).await;
    let (mut seen, mut positions) = (Vec::new(), Vec::new());
    for number in 0..5 {
        client.send(TEXT, number.to_string().as_bytes()).await;
    }
    for _ in 0..10 {
        let (message, position) = next(&mut client).await;
        seen.push(message);
        positions.push(position);
    }
    for topic in ["t", "u"] {
        let of_topic = seen.iter().filter(|(of, _)| of == topic).map(|(_, content)| content.as_str());
        assert!(of_topic.eq(["0", "1", "2", "3", "4"]), "{seen:?}");
    }
    for (got, position) in positions.iter().enumerate() {
        let (mut by_address, _) = Client::connect_to(running.address, &format!("?cursor={position}")).await;
        let (mut by_frame, _) = Client::connect_to(running.address, "?resume=frame").await;
        by_frame.send(TEXT, json!({ "resume": position }).to_string().as_bytes()).await;
        for client in [&mut by_address, &mut by_frame] {
            let mut rest = Vec::new();
            for _ in got + 1..seen.len() {
                rest.push(next(client).await.0);
            }
            for topic in ["t", "u"] {
                let of_topic = |seen: &[(String, String)]| -> Vec<String> {
                    let own = seen.iter().filter(|(of, _)| of == topic);
                    own.map(|(_, content)| content.clone()).collect()
                };
                assert_eq!(of_topic(&rest), of_topic(&seen[got + 1..]), "behind {position}");
            }
        }
        // What comes later is the next thing that both of them see.
        client.send(TEXT, format!("after {got}").as_bytes()).await;
        for client in [&mut client, &mut by_address, &mut by_frame] {
            for _ in 0..2 {
                assert_eq!(next(client).await.0.1, format!("after {got}"));
            }
        }
        // Who comes next gets these, too.
        for topic in ["t", "u"] {
            seen.push((topic.to_owned(), format!("after {got}")));
        }
    }
}

#[tokio::test]
async fn a_client_that_has_nothing_to_resume_begins_with_its_first_frame() {
    let running = serving(resumable()).await;
    let (mut client, _) = Client::connect_to(running.address, "?resume=frame").await;
    client.send(PING, b"?").await;
    assert_eq!(client.receive().await, message(PONG, "?"));
    client.send(TEXT, b"{\"resume\": null}").await;
    // The same once more is a message, as it is for a client that has not asked to begin so.
    client.send(TEXT, b"{\"resume\": null}").await;
    let mut other = Client::connect(running.address).await;
    other.send(TEXT, b"{\"resume\": 1}").await;
    let mut contents = Vec::new();
    while contents.iter().filter(|content| *content == "{\"resume\": 1}").count() < 2 {
        contents.push(next(&mut client).await.0.1);
    }
    // Whether its own came before it was placed is open, as it is for every new client.
    assert!(contents.iter().all(|content| content.starts_with("{\"resume\":")), "{contents:?}");
}

#[tokio::test]
async fn a_position_of_another_api_is_refused_before_and_after_the_handshake() {
    let running = serving(resumable()).await;
    // other@0#1
    let foreign = "b3RoZXJAMCMx";
    let head = format!("GET /a?cursor={foreign} HTTP/1.1\r\n{GOOD}");
    let (answer, _) = request(running.address, &head).await;
    assert!(answer.starts_with("http/1.1 400 "), "{answer}");
    let (mut client, _) = Client::connect_to(running.address, "?resume=frame").await;
    client.send(TEXT, json!({ "resume": foreign }).to_string().as_bytes()).await;
    let (code, reason) = client.closed().await;
    assert!(code == 1008 && reason.contains("does not belong to its topics"), "{code} {reason}");
}

#[tokio::test]
async fn with_auto_a_client_that_names_itself_goes_on_where_it_was() {
    let running = websocket(json!({})).await;
    let mut publisher = Client::connect(running.address).await;
    let named = "?X-Gravitee-Client-Identifier=me";
    let (mut client, answer) = Client::connect_to(running.address, named).await;
    assert!(answer.contains("\r\nx-gravitee-client-identifier: me-"), "{answer}");
    for content in ["a", "b"] {
        publisher.send(TEXT, content.as_bytes()).await;
        assert_eq!(client.receive().await, message(BINARY, content));
    }
    client.send(CLOSE, &[0x03, 0xe8]).await;
    client.closed().await;
    publisher.send(TEXT, b"c").await;
    for content in ["a", "b", "c"] {
        assert_eq!(publisher.receive().await, message(BINARY, content));
    }
    let (mut client, _) = Client::connect_to(running.address, named).await;
    assert_eq!(client.receive().await, message(BINARY, "c"));
}

#[tokio::test]
async fn a_client_does_not_notice_that_a_policy_has_changed() {
    let definition = on_log(json!([{ "type": "websocket" }]));
    let running = serving(definition.clone()).await;
    let mut client = Client::connect(running.address).await;
    client.send(TEXT, b"a").await;
    assert_eq!(client.receive().await, message(BINARY, "a"));
    let filter = |wanted: &str| {
        let filter = format!("{{#message.content != '{wanted}'}}");
        json!({ "policy": "message-filtering", "configuration": { "filter": filter } })
    };
    let flow = json!({ "name": "f", "publish": [filter("b")], "deliver": [filter("c")] });
    let changed = Value::from_iter(
        definition.as_object().unwrap().clone().into_iter().chain([("flows".to_owned(), json!([flow]))]),
    );
    running.gateway.deploy(from_value(changed).unwrap()).unwrap();
    for content in ["b", "c", "d"] {
        client.send(TEXT, content.as_bytes()).await;
    }
    assert_eq!(client.receive().await, message(BINARY, "d"));
    running.metric("sluice_policy_dropped_messages_total{api=\"a\"} 2").await;
}

#[tokio::test]
async fn a_client_of_a_changed_broker_is_to_come_again() {
    let running = websocket(json!({})).await;
    let client = Client::connect(running.address).await;
    let broker = json!({ "type": "log", "configuration": { "topics": ["other"] } });
    running.gateway.deploy(from_value(api(json!([{ "type": "websocket" }]), broker)).unwrap()).unwrap();
    assert_eq!(client.closed().await, (1012, "Service Restart".to_owned()));
}
