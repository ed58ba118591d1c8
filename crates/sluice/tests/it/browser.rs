//! What pages in a real browser see: EventSource and WebSocket of Chromium.

use serde_json::{Value, json};

use crate::harness::{Gateway, Leash, Starting, log_broker, native_api, node, tool};

/// A page of this origin in a new browser.
fn page(origin: &str) -> Leash {
    Leash::start(node("browser.cjs").arg(tool("SLUICE_TEST_CHROMIUM")).arg(origin))
}

fn act(page: &mut Leash, what: &Value) {
    page.tell(&what.to_string());
}

fn socket_url(gateway: &Gateway, path: &str) -> String {
    gateway.url(path).replacen("http", "ws", 1)
}

#[tokio::test]
async fn event_source_and_websocket_work_against_dev() {
    let gateway = Starting::dev().start().await;
    gateway.publish("/data/ingestion", "before").await;
    let mut page = page(&gateway.url(""));

    act(&mut page, &json!({ "stream": "/demo/sse" }));
    assert_eq!(page.json(), json!({ "stream": "/demo/sse", "open": true }));
    assert_eq!(page.json(), json!({ "stream": "/demo/sse", "message": "before" }));
    gateway.publish("/data/ingestion", "one\ntwo").await;
    assert_eq!(page.json(), json!({ "stream": "/demo/sse", "message": "one\ntwo" }), "lines stay lines");

    let url = socket_url(&gateway, "/demo/ws");
    for name in ["one", "other"] {
        act(&mut page, &json!({ "socket": name, "url": url }));
        assert_eq!(page.json(), json!({ "socket": name, "open": "" }));
    }
    act(&mut page, &json!({ "socket": "one", "send": "typed" }));
    // The stream shows it too; in which order the three hear of it is not said.
    let mut seen: Vec<Value> = (0..3).map(|_| page.json()).collect();
    seen.sort_by_key(|event| event["socket"].to_string());
    let expected = [
        json!({ "socket": "one", "text": "typed" }),
        json!({ "socket": "other", "text": "typed" }),
        json!({ "stream": "/demo/sse", "message": "typed" }),
    ];
    assert_eq!(seen, expected);
    assert_eq!(page.rest(), [] as [&str; 0]);
}

#[tokio::test]
async fn pages_of_other_origins_hear_only_what_the_api_allows_them() {
    let friend = "http://localhost:18181";
    let mut api = native_api("Open", "/open", &log_broker("t"));
    api["cors"] = json!({ "allowOrigin": [friend] });
    let receivers = api["receivers"].as_array_mut().unwrap();
    receivers.push(json!({
        "type": "websocket",
        "configuration": { "frames": "text", "allowedOrigins": [friend] },
    }));
    let gateway = Starting::run().api(&api).start().await;
    let (stream, url) = (gateway.url("/open"), socket_url(&gateway, "/open"));
    let open = |origin: &str| {
        let mut page = page(origin);
        act(&mut page, &json!({ "socket": "s", "url": url }));
        let socket = page.json();
        act(&mut page, &json!({ "stream": stream }));
        (page, socket)
    };

    let (allowed, socket) = open(friend);
    assert_eq!(socket, json!({ "socket": "s", "open": "" }));
    assert_eq!(allowed.json(), json!({ "stream": stream, "open": true }));
    gateway.publish("/open", "hello").await;
    let mut seen = [allowed.json(), allowed.json()];
    seen.sort_by_key(|event| event["stream"].is_null());
    assert_eq!(seen[0]["message"], "hello", "{seen:?}");
    assert_eq!(seen[1]["text"], "hello", "{seen:?}");

    let (refused, socket) = open("http://localhost:18182");
    assert_eq!(socket, json!({ "socket": "s", "close": 1006 }));
    assert_eq!(refused.json(), json!({ "stream": stream, "error": 2 }), "closed for good");
}

#[tokio::test]
async fn an_event_source_that_lives_through_a_restart_of_the_gateway_misses_nothing() {
    let mut api = native_api("Open", "/open", &log_broker("t"));
    api["receivers"][1]["qos"] = json!("at-least-once");
    let gateway = Starting::run().api(&api).start().await;
    let address = gateway.gateway_addresses()[0].strip_prefix("http://").unwrap().to_owned();
    let mut page = page(&gateway.url(""));
    // Each is told another time to come again, up to half a minute; the first one will do.
    for number in 0..5 {
        act(&mut page, &json!({ "stream": format!("/open?{number}") }));
        assert_eq!(page.json()["open"], true);
    }
    gateway.publish("/open", "before").await;
    for _ in 0..5 {
        assert_eq!(page.json()["message"], "before");
    }

    let next = gateway.kill().argument("--gateway-listen").argument(&address);
    for _ in 0..5 {
        assert_eq!(page.json()["error"], 0, "it will come again by itself");
    }
    let gateway = next.start().await;
    gateway.publish("/open", "while it was away").await;
    let mut seen: Option<Value> = None;
    while seen.is_none() {
        seen = Some(page.json()).filter(|event| !event["message"].is_null());
    }
    assert_eq!(seen.unwrap()["message"], "while it was away");
}
