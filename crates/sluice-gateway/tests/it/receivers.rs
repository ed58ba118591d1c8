//! Which receiver a request is for.

use serde_json::json;

use crate::{
    client::{BINARY, Client},
    support::{on_log, serving},
};

#[tokio::test]
async fn one_path_takes_posts_gets_streams_and_websockets() {
    let get = json!({ "messagesLimitCount": 1, "messagesLimitDurationMs": 20_000 });
    let receivers = json!([
        { "type": "http-post" },
        { "type": "http-get", "configuration": get },
        { "type": "sse" },
        { "type": "websocket" },
    ]);
    let running = serving(on_log(receivers)).await;
    let http = reqwest::Client::new();
    let mut socket = Client::connect(running.address).await;
    let stream = http.get(running.url("")).header("Accept", "text/html, text/event-stream;q=0.5");
    let mut stream = stream.send().await.unwrap();
    let mut polled = http.get(running.url("")).header("Accept", "application/json").send().await.unwrap();
    assert_eq!(polled.chunk().await.unwrap().unwrap(), "{\"items\":[");

    assert_eq!(http.post(running.url("")).body("x").send().await.unwrap().status(), 202);
    assert_eq!(socket.receive().await, (BINARY, b"x".to_vec()));
    assert_eq!(polled.text().await.unwrap(), r#"{"content":"x"}]}"#);
    let mut read = String::new();
    while !read.contains("data: x") {
        read.push_str(std::str::from_utf8(&stream.chunk().await.unwrap().unwrap()).unwrap());
    }
    assert_eq!(http.delete(running.url("")).send().await.unwrap().status(), 404);
}
