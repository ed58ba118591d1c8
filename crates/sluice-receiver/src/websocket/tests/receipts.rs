//! What a client sends in documents, and what it hears of its messages.

use tokio::io::split;

use super::*;
use crate::testing::Gated;

/// Settings of a client that only sends, and hears what becomes of it; without pings to be reckoned with.
fn told() -> Value {
    json!({
        "publisher": { "acknowledge": true },
        "subscriber": { "enabled": false },
        "pingIntervalMs": 3_600_000,
        "idleTimeoutMs": 3_600_001,
    })
}

/// The same for one that sends documents.
fn told_of_documents() -> Value {
    let mut settings = told();
    settings["publisher"]["envelope"] = json!(true);
    settings
}

async fn connected(binding: &Arc<Binding>, settings: Value, pipe: usize) -> (DuplexStream, JoinHandle<()>) {
    run(opened(binding, settings, Qos::None, "/a").await.unwrap(), pipe)
}

/// A bench whose only topic is `t`.
fn bench() -> Bench {
    Bench::new(
        100,
        &json!({ "brokers": [{ "name": "b", "type": "log", "configuration": { "topics": ["t"] } }] }),
    )
}

#[tokio::test]
async fn text_stays_text_and_binary_stays_binary() {
    let bench = bench();
    let (mut client, _running) = connected(&bench.binding, json!({ "frames": "auto" }), 10_000).await;
    // All of it is text by its bytes.
    for first in [0x81, 0x82, 0x81] {
        client.write_all(&frame(first, b"\"x\"")).await.unwrap();
        assert_eq!(next(&mut client).await, (first, b"\"x\"".to_vec()));
    }
    // A record of somebody else, who says nothing about its content.
    bench.publish("t", "plain").await;
    assert_eq!(next(&mut client).await, (0x81, b"plain".to_vec()));
    let bytes = sluice_message::Message::builder().payload(&b"\xff"[..]).build();
    bench.binding.publisher.publish(&"t".into(), bytes).await.unwrap();
    assert_eq!(next(&mut client).await, (0x82, b"\xff".to_vec()));
}

#[tokio::test]
async fn what_one_client_sends_in_a_document_another_receives_in_one() {
    let bench = bench();
    let settings = || {
        let mut settings = json_frames();
        settings["publisher"] = json!({ "envelope": true, "acknowledge": true });
        settings
    };
    let (mut receiver, _running) = connected(&bench.binding, settings(), 10_000).await;
    let mut mute = settings();
    mute["subscriber"] = json!({ "enabled": false });
    let (mut sender, _running) = connected(&bench.binding, mute, 10_000).await;
    let sent = json!({
        "id": "mine", "key": "k", "content": "ä", "headers": { "X-A": ["1", "2"], "x-b": ["3"] },
    });
    sender.write_all(&frame(0x81, sent.to_string().as_bytes())).await.unwrap();
    assert_eq!(document(&mut sender).await, json!({ "ack": { "id": "mine", "sequence": 1 } }));
    let received = document(&mut receiver).await;
    for member in ["key", "content", "headers"] {
        assert_eq!(received[member], sent[member], "{received}");
    }
    assert!(received.get("id").is_none(), "a client's own name for a message is nobody else's business");
}

#[tokio::test]
async fn a_message_is_acknowledged_once_the_broker_has_it_and_in_order() {
    let (broker, answers) = Gated::new();
    let binding = Binding { publisher: Arc::clone(&broker) as _, ..testing::binding(&json!({}), &json!([])) };
    let binding = Arc::new(binding);
    let (mut client, _running) = connected(&binding, told(), 10_000).await;
    for content in [b"a", b"b"] {
        client.write_all(&frame(0x81, content)).await.unwrap();
    }
    client.write_all(&frame(0x89, b"?")).await.unwrap();
    for sequence in 1..=2 {
        broker.come.acquire().await.unwrap().forget();
        assert_eq!(broker.taken().len(), sequence - 1, "one at a time");
        answers.send(Ok(())).unwrap();
        assert_eq!(document(&mut client).await, json!({ "ack": { "sequence": sequence } }));
        assert_eq!(broker.taken().len(), sequence);
    }
    assert_eq!(next(&mut client).await, (0x8a, b"?".to_vec()), "it was asked behind both");
}

#[tokio::test]
async fn a_message_that_a_policy_refuses_is_an_error_and_the_next_one_is_taken() {
    let only = |policy: Value, when: &str| {
        let mut step = policy;
        step["messageCondition"] = json!(format!("{{#message.content == '{when}'}}"));
        step
    };
    let reject =
        json!({ "policy": "policy-interrupt", "configuration": { "errorKey": "NO", "message": "Never." } });
    let drop =
        json!({ "policy": "message-filtering", "configuration": { "filter": "{#message.content == 'x'}" } });
    let flows = json!([{ "publish": [only(reject, "bad"), only(drop, "odd")] }]);
    let binding = Arc::new(testing::binding(&json!({}), &flows));
    let (mut client, _running) = connected(&binding, told(), 10_000).await;
    for content in ["bad", "odd", "good"] {
        client.write_all(&frame(0x81, content.as_bytes())).await.unwrap();
    }
    let refused = document(&mut client).await;
    let expected = json!({ "sequence": 1, "code": "policy.interrupted", "message": "Never." });
    assert_eq!(refused, json!({ "error": expected }));
    let kept_back = &document(&mut client).await["error"];
    assert_eq!((&kept_back["sequence"], &kept_back["code"]), (&json!(2), &json!("policy.dropped")));
    assert_eq!(document(&mut client).await, json!({ "ack": { "sequence": 3 } }));
    assert_eq!((binding.metrics.published.get(), binding.metrics.publish_failed.get()), (1, 1));
}

#[tokio::test]
async fn nothing_overtakes_a_message_that_the_broker_did_not_take() {
    let (broker, answers) = Gated::new();
    let binding = Binding { publisher: Arc::clone(&broker) as _, ..testing::binding(&json!({}), &json!([])) };
    let (mut client, running) = connected(&Arc::new(binding), told(), 10_000).await;
    for content in [b"a", b"b", b"c"] {
        client.write_all(&frame(0x81, content)).await.unwrap();
    }
    answers.send(Ok(())).unwrap();
    answers.send(Err(sluice_broker::ErrorKind::Unreachable)).unwrap();
    assert_eq!(document(&mut client).await, json!({ "ack": { "sequence": 1 } }));
    let failed = document(&mut client).await;
    assert_eq!(
        (&failed["error"]["sequence"], &failed["error"]["code"]),
        (&json!(2), &json!("broker.unreachable"))
    );
    assert_eq!(closed(&mut client).await.0, 1013);
    client.write_all(&frame(0x88, b"")).await.unwrap();
    running.await.unwrap();
    assert_eq!((broker.taken(), broker.come.available_permits()), (vec!["a".to_owned()], 2));
}

#[tokio::test]
async fn a_message_that_is_too_large_for_the_broker_alone_does_not_end_the_connection() {
    let (broker, answers) = Gated::new();
    let binding = Binding { publisher: Arc::clone(&broker) as _, ..testing::binding(&json!({}), &json!([])) };
    let (mut client, _running) = connected(&Arc::new(binding), told(), 10_000).await;
    for answer in [Err(sluice_broker::ErrorKind::TooLarge), Ok(())] {
        client.write_all(&frame(0x82, b"x")).await.unwrap();
        answers.send(answer).unwrap();
    }
    assert_eq!(document(&mut client).await["error"]["code"], "broker.message.too-large");
    assert_eq!(document(&mut client).await, json!({ "ack": { "sequence": 2 } }));
}

#[tokio::test]
async fn what_is_no_document_is_an_error_for_those_who_hear_of_it_and_the_end_for_the_others() {
    let binding = binding(1000);
    let (mut client, _running) = connected(&binding, told_of_documents(), 10_000).await;
    for (first, content) in [(0x81, "x"), (0x82, r#"{"content":"x"}"#), (0x81, r#"{"content":"x","y":1}"#)] {
        client.write_all(&frame(first, content.as_bytes())).await.unwrap();
    }
    client.write_all(&frame(0x81, br#"{"content":"x","id":"last"}"#)).await.unwrap();
    for sequence in 1..=3 {
        let error = &document(&mut client).await["error"];
        assert_eq!((&error["sequence"], &error["code"]), (&json!(sequence), &json!("websocket.envelope")));
    }
    assert_eq!(document(&mut client).await, json!({ "ack": { "id": "last", "sequence": 4 } }));
    assert_eq!((binding.metrics.publish_failed.get(), binding.body_bytes.available_permits()), (3, 1000));
    let mut quiet = told_of_documents();
    quiet["publisher"]["acknowledge"] = json!(false);
    let (mut client, _running) = connected(&binding, quiet, 10_000).await;
    client.write_all(&frame(0x81, b"x")).await.unwrap();
    let (code, reason) = closed(&mut client).await;
    assert!(code == 1008 && reason.starts_with("The message is not in a document"), "{reason}");
}

#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_take_its_acknowledgements_has_to_wait() {
    let binding = binding(1000);
    let (client, _running) = connected(&binding, told(), 64).await;
    let (mut answers, mut messages) = split(client);
    let sending = async {
        for number in 0..2000 {
            let message = frame(0x81, b"x");
            let sent = messages.write_all(&message);
            if tokio::time::timeout(Duration::from_millis(500), sent).await.is_err() {
                return number;
            }
        }
        2000
    };
    let sent = sending.await;
    let published = binding.metrics.published.get();
    // What was read before is still taken, up to the frames that may wait; the rest is not.
    assert!((128..200).contains(&published) && sent < 2000, "{published} of {sent}");
    let mut answer = [0; 4];
    answers.read_exact(&mut answer).await.unwrap();
    assert_eq!(answer[0], 0x81);
}

#[tokio::test]
async fn as_many_clients_connect_as_the_api_allows_and_the_next_one_is_no_websocket_yet() {
    let binding = binding(1000);
    let settings = || json!({ "maxConnections": 2, "subscriber": { "enabled": false } });
    let (first, running) = connected(&binding, settings(), 1000).await;
    let _second = connected(&binding, settings(), 1000).await;
    let refused = opened(&binding, settings(), Qos::None, "/a").await.err().unwrap();
    assert_eq!((refused.status.as_u16(), refused.code), (503, "receiver.full"));
    assert!(refused.into_response(true).headers().contains_key("retry-after"));
    drop(first);
    running.await.unwrap();
    assert!(opened(&binding, settings(), Qos::None, "/a").await.is_ok());
    let badly = "/a?cursor=x";
    assert_eq!(opened(&binding, settings(), Qos::None, badly).await.err().unwrap().status, 400);
    assert_eq!(binding.metrics.streams.get(), 1, "those that are refused leave nothing behind");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_that_come_and_go_in_the_middle_of_everything_leave_nothing_behind() {
    let bench = bench();
    let settings = || {
        let mut settings = json_frames();
        settings["publisher"] = json!({ "acknowledge": true });
        settings
    };
    let room = bench.binding.body_bytes.available_permits();
    let mut clients = Vec::new();
    for number in 0..200_usize {
        let (mut client, running) = connected(&bench.binding, settings(), 64).await;
        clients.push(tokio::spawn(async move {
            let sent = [frame(0x81, b"whole"), frame(0x01, b"begun"), frame(0x88, b"")].concat();
            // Cut anywhere: within a frame, within a message, behind the close.
            let _cut = client.write_all(&sent[..number % sent.len()]).await;
            drop(client);
            running.await
        }));
    }
    for client in clients {
        client.await.unwrap().expect("no session panics");
    }
    assert_eq!((bench.binding.metrics.streams.get(), bench.binding.in_flight.len()), (0, 0));
    assert_eq!(bench.binding.body_bytes.available_permits(), room);
}
