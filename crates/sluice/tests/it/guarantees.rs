//! What an API promises beyond the level of each receiver: to clients that are slow, and to publishers that repeat
//! themselves; and what becomes of promises that nobody can keep.

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{Gateway, Sse, Starting, gravitee_api, log_broker, native_api, until};

/// Messages that are more than the sockets between can hold.
const MANY: usize = 200;

fn numbered(number: usize) -> String {
    format!("{number} {}", "x".repeat(200_000))
}

/// An API with this choice for slow clients.
fn patient(choice: &str) -> Value {
    let mut api = native_api("Patient", "/patient", &log_broker("t"));
    api["receivers"][1]["qos"] = json!("at-least-once");
    api["guarantees"] = json!({ "slowClients": choice });
    api
}

/// The one client that was too slow, as it is shown.
async fn only_slow_client(gateway: &Gateway) -> Value {
    let shown = gateway.shown("/apis/patient/slow-clients").await;
    let slow = shown["data"].as_array().unwrap();
    assert_eq!(slow.len(), 1, "{shown}");
    slow[0].clone()
}

/// The log names it by its address and plan.
fn is_named(gateway: &Gateway, slow: &Value, line: &str) {
    let log = gateway.log();
    let line = log.lines().find(|it| it.contains(line)).unwrap_or_else(|| panic!("{line} is not in\n{log}"));
    for part in [
        format!("client={}", slow["client"].as_str().unwrap()),
        format!("plan=\"{}\"", slow["plan"].as_str().unwrap()),
        format!("behind={}", slow["behind"]),
    ] {
        assert!(line.contains(&part), "{part} is not in {line}");
    }
}

#[tokio::test]
async fn a_slow_client_is_disconnected_by_name_and_resumes_without_a_loss() {
    let starting = Starting::run().config("limits: { ringMessages: 16 }").api(&patient("disconnect"));
    let gateway = starting.start().await;
    let mut slow = Sse::open(&gateway, "/patient").await;
    let mut quick = Sse::open(&gateway, "/patient").await;
    for number in 0..MANY {
        gateway.publish("/patient", &numbered(number)).await;
        assert!(quick.message().await.starts_with(&format!("{number} ")));
    }
    let streams = gateway.shown("/apis/patient/streams").await;
    assert_eq!(streams["summary"]["open"], 2, "{streams}");
    let farthest = &streams["data"][0];
    assert!(farthest["behind"].as_u64().unwrap() > 16 && farthest["receiver"] == "sse", "{streams}");
    assert_eq!(farthest["behind"], streams["summary"]["farthestBehind"]);
    assert_eq!(streams["data"][1]["behind"], 0, "{streams}");

    let (mut next, mut told) = (0, Value::Null);
    while let Some(event) = slow.event().await {
        let data = event.data.unwrap();
        match event.event.as_deref() {
            Some("message") => {
                assert!(data.starts_with(&format!("{next} ")), "{data:.5} in place of {next}");
                next += 1;
            }
            Some("disconnected") => told = serde_json::from_str(&data).unwrap(),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((&told["reason"], &told["messages"]), (&json!("slow"), &json!(MANY - next)), "{told}");
    let mut again = Sse::resume(&gateway, "/patient", told["position"].as_str().unwrap()).await;
    for number in next..MANY {
        assert!(again.message().await.starts_with(&format!("{number} ")), "resumed at another place");
    }

    let named = only_slow_client(&gateway).await;
    assert_eq!((&named["end"], &named["behind"]), (&json!("disconnected"), &json!(MANY - next)), "{named}");
    assert_eq!(named["client"], farthest["client"]);
    is_named(&gateway, &named, "A client was too slow and is disconnected");
    assert_eq!(gateway.metric("sluice_slow_disconnects_total").await, 1.0);
}

#[tokio::test]
async fn a_client_that_takes_nothing_at_all_is_cut_off_by_name_although_it_may_be_slow() {
    let config = "limits: { ringMessages: 16, writeTimeoutMs: 1000 }";
    let gateway = Starting::run().config(config).api(&patient("hold")).start().await;
    let _silent = Sse::open(&gateway, "/patient").await;
    for number in 0..MANY {
        gateway.publish("/patient", &numbered(number)).await;
    }
    let cut = || async { gateway.metric("sluice_slow_disconnects_total").await == 1.0 };
    until("the client to be cut off", cut).await;
    let named = only_slow_client(&gateway).await;
    assert_eq!(named["end"], "stalled", "{named}");
    is_named(&gateway, &named, "its connection was cut");
    until("its stream to be gone", || async { gateway.metric("sluice_open_streams").await == 0.0 }).await;
}

#[tokio::test]
async fn a_post_that_is_repeated_with_its_key_is_published_once_also_behind_a_kill() {
    let mut api = native_api("Once", "/once", &log_broker("t"));
    api["brokers"][0]["configuration"]["consumer"] = json!({ "autoOffsetReset": "earliest" });
    let mut gateway = Starting::run().api(&api).start().await;
    for is_repeated in [false, true, true] {
        let post = gateway.client().post(gateway.url("/once")).header("Idempotency-Key", "\"one\"").body("x");
        let answer = post.send().await.unwrap();
        assert_eq!(answer.status(), 202);
        let replayed = answer.headers().get("Idempotency-Replayed").map(|value| value.to_str().unwrap());
        assert_eq!(replayed, is_repeated.then_some("true"));
        if is_repeated {
            assert_eq!(gateway.metric("sluice_replayed_publishes_total").await, 1.0);
        }
        gateway = gateway.kill().start().await;
    }
    let post = gateway.client().post(gateway.url("/once")).header("Idempotency-Key", "\"one\"").body("y");
    assert_eq!(post.send().await.unwrap().status(), 422, "another message has another key");
    gateway.publish("/once", "end").await;
    assert_eq!(Sse::open(&gateway, "/once").await.messages(2).await, ["x", "end"]);
}

#[tokio::test]
async fn a_promise_that_nobody_can_keep_is_refused_with_its_field() {
    let settings = json!({ "messageInterval": 60_000, "messageContent": "m" });
    let mut native = native_api("Native", "/native", &json!({ "type": "mock", "configuration": settings }));
    native["receivers"][0]["qos"] = json!("at-least-once");
    let gateway = Starting::run().api(&native).start().await;
    assert_eq!(gateway.post("/native", "x").await.status(), 404);
    let log = gateway.log();
    for part in ["receivers[0].qos", "listeners.entrypoints.qos.unsupported"] {
        assert!(log.contains(part), "{part} is not in\n{log}");
    }

    let mut api = gravitee_api("Foreign", "/foreign", "log", &json!({ "topics": ["t"] }));
    api["listeners"][0]["entrypoints"][0]["qos"] = json!("AT_LEAST_ONCE");
    let refused = gateway.manage(Method::POST, "/v4/apis").json(&api).send().await.unwrap();
    assert_eq!(
        refused.status(),
        400,
        "the contract has no such promise of this entrypoint, whatever the broker"
    );
    let refused: Value = refused.json().await.unwrap();
    assert_eq!(refused["technicalCode"], "listeners.entrypoints.qos.unsupported", "{refused}");
    assert_eq!(refused["parameters"]["path"], "listeners[0].entrypoints[0].qos", "{refused}");

    let table = gateway.shown("/qos").await;
    let offers = table["data"].as_array().unwrap();
    let offer = offers.iter().find(|offer| offer["receiver"] == "http-post" && offer["broker"] == "mock");
    assert_eq!(offer.unwrap()["qos"], json!(["none", "auto"]));
}

#[tokio::test]
async fn messages_that_nobody_stores_can_be_resumed_as_they_are_made_anew() {
    let settings = json!({ "messageInterval": 1, "messageContent": "m" });
    let mut api = native_api("Mock", "/mock", &json!({ "type": "mock", "configuration": settings }));
    api["receivers"] = json!([{ "type": "sse", "qos": "at-least-once" }]);
    let gateway = Starting::run().api(&api).start().await;
    let mut stream = Sse::open(&gateway, "/mock").await;
    stream.message().await;
    let last = stream.event().await.unwrap();
    let expected = stream.message().await;
    let gateway = gateway.kill().start().await;
    let mut again = Sse::resume(&gateway, "/mock", last.id.as_deref().unwrap()).await;
    assert_eq!(again.message().await, expected);
}
