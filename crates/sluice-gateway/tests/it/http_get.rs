//! The `http-get` receiver: what one answer holds, and where the next one goes on.

use serde_json::{Value, json};
use sluice_api::ApiId;

use crate::support::{Running, on_log, serving};

/// An API that takes posts and hands them out, with this delivery promise and time for an answer.
async fn polled(qos: &str, duration_ms: u64) -> Running {
    let settings = json!({ "messagesLimitDurationMs": duration_ms });
    let receivers = json!([
        { "type": "http-post" },
        { "type": "http-get", "qos": qos, "configuration": settings },
    ]);
    serving(on_log(receivers)).await
}

async fn post(running: &Running, content: &str) {
    let answer = reqwest::Client::new().post(running.url("")).body(content.to_owned()).send().await.unwrap();
    assert_eq!(answer.status(), 202);
}

async fn ask(running: &Running, query: &str, accept: &str) -> reqwest::Response {
    let request = reqwest::Client::new().get(running.url(query)).header("Accept", accept);
    request.send().await.unwrap()
}

async fn get(running: &Running, query: &str) -> Value {
    let answer = ask(running, query, "application/json").await;
    assert_eq!(
        (answer.status().as_u16(), &answer.headers()["content-type"]),
        (200, &"application/json".parse().unwrap())
    );
    answer.json().await.unwrap()
}

fn contents(answer: &Value) -> Vec<&str> {
    answer["items"].as_array().unwrap().iter().map(|item| item["content"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn an_answer_without_messages_has_no_items() {
    let running = polled("auto", 20).await;
    assert_eq!(get(&running, "").await, json!({ "items": [] }));
}

#[tokio::test]
async fn with_auto_a_client_goes_on_where_its_last_answer_ended() {
    let running = polled("auto", 300).await;
    let named = "?X-Gravitee-Client-Identifier=me";
    get(&running, named).await;
    for content in ["a", "b", "c"] {
        post(&running, content).await;
    }
    let first = get(&running, &format!("{named}&limit=2")).await;
    assert_eq!(first, json!({ "items": [{ "content": "a" }, { "content": "b" }] }));
    assert_eq!(contents(&get(&running, &format!("{named}&limit=1")).await), ["c"]);
    assert_eq!(contents(&get(&running, named).await), [""; 0]);
}

#[tokio::test]
async fn an_answer_that_nobody_took_is_given_again() {
    let running = polled("auto", 20_000).await;
    let named = "?X-Gravitee-Client-Identifier=me&limit=1";
    let mut first = ask(&running, named, "application/json").await;
    post(&running, "a").await;
    assert_eq!(first.chunk().await.unwrap().unwrap(), r#"{"items":["#);
    let rest = first.text().await.unwrap();
    assert!(rest.ends_with("]}"), "{rest}");

    let mut lost = ask(&running, "?X-Gravitee-Client-Identifier=me", "application/json").await;
    assert_eq!(lost.chunk().await.unwrap().unwrap(), r#"{"items":["#);
    post(&running, "b").await;
    assert_eq!(lost.chunk().await.unwrap().unwrap(), r#"{"content":"b"}"#);
    drop(lost);
    assert_eq!(contents(&get(&running, named).await), ["b"]);
}

#[tokio::test]
async fn a_cursor_resumes_behind_it_as_often_as_it_is_brought() {
    for qos in ["at-least-once", "at-most-once"] {
        let running = polled(qos, 300).await;
        let cursor = |answer: &Value| {
            answer["pagination"]["nextCursor"].as_str().unwrap().replace('+', "%2B").replace('=', "%3D")
        };
        let empty = get(&running, "").await;
        for content in ["a", "b", "c"] {
            post(&running, content).await;
        }
        // What is given out where there is nothing at all yet.
        assert_eq!(contents(&get(&running, "?limit=3&cursor=").await), ["a", "b", "c"]);
        for _ in 0..2 {
            let page = get(&running, &format!("?limit=2&cursor={}", cursor(&empty))).await;
            assert_eq!(contents(&page), ["a", "b"]);
            assert_eq!(page["pagination"]["limit"], 2);
            assert_eq!(page["items"][1]["id"], page["pagination"]["nextCursor"]);
            let next = get(&running, &format!("?limit=1&cursor={}", cursor(&page))).await;
            assert_eq!(contents(&next), ["c"]);
            let end = get(&running, &format!("?cursor={}", cursor(&next))).await;
            assert_eq!((contents(&end).len(), cursor(&end)), (0, cursor(&next)));
        }
    }
}

#[tokio::test]
async fn what_is_asked_for_wrongly_is_refused() {
    let running = polled("at-least-once", 20).await;
    // `other@0#1` in base64.
    for query in
        ["?cursor=b3RoZXJAMCMx", "?cursor=nonsense", "?limit=0", "?X-Gravitee-Client-Identifier=a%20b"]
    {
        assert_eq!(ask(&running, query, "application/json").await.status(), 400, "{query}");
    }
    let answer = ask(&running, "", "image/png").await;
    assert_eq!(answer.status(), 400);
    assert_eq!(answer.text().await.unwrap(), "Unsupported accept header: [image/png]");
}

#[tokio::test]
async fn the_form_is_the_clients_choice() {
    let running = polled("auto", 20).await;
    let answer = ask(&running, "", "application/json;q=0.1, application/xml").await;
    assert_eq!(answer.text().await.unwrap(), "<response><items></items></response>");
    let answer = reqwest::get(running.url("")).await.unwrap();
    assert_eq!(answer.headers()["content-type"], "application/json");
    let answer = ask(&running, "", "text/plain").await;
    assert_eq!(answer.text().await.unwrap(), "items\n");
}

#[tokio::test]
async fn an_api_that_stops_ends_its_answers_well() {
    let running = polled("auto", 60_000).await;
    let mut answer = ask(&running, "", "application/json").await;
    assert_eq!(answer.chunk().await.unwrap().unwrap(), r#"{"items":["#);
    running.gateway.undeploy(&ApiId("a".to_owned()));
    assert_eq!(answer.text().await.unwrap(), "]}");
}
