//! Posts that are repeated with the same key.

use serde_json::json;
use sluice_api::from_value;

use crate::support::{Running, on_log, serving};

async fn post(running: &Running, key: &str, content: &str) -> reqwest::Response {
    let request = reqwest::Client::new().post(running.url("")).header("Idempotency-Key", key);
    request.body(content.to_owned()).send().await.unwrap()
}

#[tokio::test]
async fn a_post_that_is_repeated_is_published_once_also_when_the_api_was_deployed_anew() {
    let get = json!({ "messagesLimitDurationMs": 300 });
    let receivers = json!([{ "type": "http-post" }, { "type": "http-get", "qos": "at-least-once", "configuration": get }]);
    let running = serving(on_log(receivers.clone())).await;
    for (key, content, is_replayed) in [("\"k\"", "x", false), ("k", "x", true), ("other", "y", false)] {
        let answer = post(&running, key, content).await;
        assert_eq!(answer.status(), 202);
        let replayed = answer.headers().get("idempotency-replayed").map(|value| value.to_str().unwrap());
        assert_eq!(replayed, is_replayed.then_some("true"), "{key}");
    }
    let mut changed = on_log(receivers);
    changed["description"] = "New.".into();
    running.gateway.deploy(from_value(changed).unwrap()).unwrap();
    assert_eq!(post(&running, "k", "x").await.headers()["idempotency-replayed"], "true");

    let reused = post(&running, "k", "y").await;
    assert_eq!(reused.status(), 422);
    assert!(reused.text().await.unwrap().contains("\"idempotency.reused\""));
    assert_eq!(post(&running, "two words", "x").await.status(), 400);
    let posted =
        reqwest::get(running.url("?cursor=")).await.unwrap().json::<serde_json::Value>().await.unwrap();
    let contents: Vec<_> = posted["items"].as_array().unwrap().iter().map(|item| &item["content"]).collect();
    assert_eq!(contents, ["x", "y"]);
    running.metric("sluice_replayed_publishes_total{api=\"a\"} 2").await;
}
