//! Deploying and stopping while clients are connected: who stays, who is to come again, and when.

use std::{
    collections::HashSet,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    harness::{Gateway, Socket, Sse, Starting, gravitee_api, log_broker, native_api, plan},
    management::create_and_start,
};

/// Messages that are published while the API is deployed anew again and again.
const MESSAGES: usize = 500;

/// Each version has another description, and every other one another policy and one more path.
fn version(number: usize, topic: &str) -> Value {
    let mut api = gravitee_api("Stays", "/stays", "log", &json!({ "topics": [topic] }));
    api["description"] = json!(format!("Version {number}"));
    api["visibility"] = json!("PRIVATE");
    api["listeners"][0]["entrypoints"] = json!([
        { "type": "http-post" },
        { "type": "sse" },
        { "type": "websocket", "configuration": { "frames": "json" } },
    ]);
    if number % 2 == 1 {
        let note = json!({ "attributes": [{ "name": "version", "value": number.to_string() }] });
        let step = json!({ "policy": "assign-attributes", "configuration": note });
        api["flows"] = json!([{ "name": "Note", "publish": [step] }]);
        api["listeners"][0]["paths"] = json!([{ "path": "/stays" }, { "path": "/moved" }]);
    }
    api
}

async fn deploy(gateway: &Gateway, id: &str, api: &Value) {
    let path = format!("/v4/apis/{id}");
    let updated = gateway.manage(Method::PUT, &path).json(api).send().await.unwrap();
    assert_eq!(updated.status(), 200, "{:?}", updated.text().await);
    let deployed = gateway.manage(Method::POST, &format!("{path}/deploy")).send().await.unwrap();
    assert_eq!(deployed.status(), 200, "{:?}", deployed.text().await);
}

/// The code by which a client is sent away, when it was told for how long.
async fn goodbye(socket: &mut Socket) -> u16 {
    let told = socket.next().await.unwrap();
    let wait = told["goaway"]["reconnectAfterMs"].as_u64().unwrap_or_else(|| panic!("{told}"));
    assert!((1000..30_000).contains(&wait), "{wait}");
    socket.next().await.unwrap_err()
}

#[tokio::test]
async fn an_api_that_is_deployed_anew_again_and_again_under_load_ends_no_stream_and_loses_no_message() {
    let gateway = Starting::run().start().await;
    let (id, _) = create_and_start(&gateway, &version(0, "t")).await;
    let mut stream = Sse::open(&gateway, "/stays").await;
    let mut socket = Socket::open(&gateway, "/stays").await;

    let is_published = AtomicBool::new(false);
    let publishing = async {
        for number in 0..MESSAGES {
            gateway.publish("/stays", &number.to_string()).await;
        }
        is_published.store(true, Ordering::Relaxed);
    };
    let deploying = async {
        for number in 1.. {
            deploy(&gateway, &id, &version(number, "t")).await;
            if number == 2 {
                let mut push = plan();
                push["security"] = json!({ "type": "subscription" });
                let added = gateway.manage(Method::POST, &format!("/v4/apis/{id}/plans")).json(&push);
                assert_eq!(added.send().await.unwrap().status(), 201);
            }
            if number > 4 && is_published.load(Ordering::Relaxed) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let reading = async {
        for number in 0..MESSAGES {
            assert_eq!(stream.message().await, number.to_string());
            assert_eq!(socket.next().await.unwrap()["content"], number.to_string());
        }
    };
    tokio::join!(publishing, deploying, reading);
    assert_eq!(gateway.metric("sluice_open_streams").await, 2.0);

    deploy(&gateway, &id, &version(0, "another")).await;
    let retry = stream.retry().await;
    assert!((1000..30_000).contains(&retry), "{retry}");
    assert_eq!(stream.event().await.unwrap().event.as_deref(), Some("goaway"));
    assert_eq!(stream.block().await, None);
    assert_eq!(goodbye(&mut socket).await, 1012);
}

#[tokio::test]
async fn a_gateway_that_stops_sends_its_clients_away_each_for_another_time() {
    let mut api = native_api("Open", "/open", &log_broker("t"));
    let websocket = json!({ "type": "websocket", "configuration": { "frames": "json" } });
    api["receivers"].as_array_mut().unwrap().push(websocket);
    let mut gateway = Starting::run().api(&api).start().await;
    let mut streams = Vec::new();
    for _ in 0..8 {
        let mut stream = Sse::open(&gateway, "/open").await;
        stream.retry().await;
        streams.push(stream);
    }
    let mut socket = Socket::open(&gateway, "/open").await;
    gateway.signal("-TERM");
    let mut waits = HashSet::new();
    for stream in &mut streams {
        let retry = stream.retry().await;
        assert!((1000..30_000).contains(&retry), "{retry}");
        waits.insert(retry / 100);
        assert_eq!(stream.event().await.unwrap().event.as_deref(), Some("goaway"));
        assert_eq!(stream.block().await, None);
    }
    assert!(waits.len() > 4, "they are spread over half a minute: {waits:?}");
    assert_eq!(goodbye(&mut socket).await, 1013);
    assert_eq!(gateway.ended().await.code(), Some(0));
}
