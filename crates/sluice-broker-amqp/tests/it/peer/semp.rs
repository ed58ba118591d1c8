//! The peer's management, as far as queues and subscriptions go: SEMP v2 over HTTP/1.1, one request a connection.

use std::sync::Arc;

use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use super::State;

/// The password of the user `admin`.
pub(crate) const PASSWORD: &str = "semp-password";
/// `admin:semp-password`.
const AUTHORIZATION: &str = "Basic YWRtaW46c2VtcC1wYXNzd29yZA==";

pub(crate) async fn start(state: Arc<State>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
    let url = format!("http://{}", listener.local_addr().expect("it listens"));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(answer(stream, state.clone()));
        }
    });
    url
}

async fn answer(mut stream: TcpStream, state: Arc<State>) {
    let mut read = Vec::new();
    let (head, body) = loop {
        if stream.read_buf(&mut read).await.unwrap_or_default() == 0 {
            return;
        }
        let text = String::from_utf8_lossy(&read).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = header(head, "content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
        if body.len() >= length {
            break (head.to_owned(), body.to_owned());
        }
    };
    let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
    let (status, error) = if header(&head, "authorization").as_deref() != Some(AUTHORIZATION) {
        (401, Some(("UNAUTHORIZED", "wrong user or password")))
    } else {
        judge(&path, &serde_json::from_str(&body).unwrap_or_default(), &state)
    };
    let meta = match error {
        None => json!({"responseCode": status}),
        Some((name, text)) => {
            json!({"responseCode": status, "error": {"code": 1, "status": name, "description": text}})
        }
    };
    let body = json!({ "meta": meta }).to_string();
    let length = body.len();
    let response = format!(
        "HTTP/1.1 {status} Answer\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\
         connection: close\r\n\r\n{body}"
    );
    let _ = stream.write_all(response.as_bytes()).await;
}

fn judge(path: &str, body: &Value, state: &State) -> (u16, Option<(&'static str, &'static str)>) {
    let Some(rest) = path.strip_prefix("/SEMP/v2/config/msgVpns/tests/queues") else {
        return (400, Some(("NOT_FOUND", "no such VPN")));
    };
    let text = |name: &str| body[name].as_str().unwrap_or_default().to_owned();
    let is_new = match rest.strip_suffix("/subscriptions") {
        None => state.make(&text("queueName"), text("accessType") == "exclusive"),
        Some(queue) => {
            let name = queue.trim_start_matches('/').replace("%2F", "/").replace("%25", "%");
            match state.subscribe(&name, &text("subscriptionTopic")) {
                Some(is_new) => is_new,
                None => return (400, Some(("NOT_FOUND", "no such queue"))),
            }
        }
    };
    if is_new { (200, None) } else { (400, Some(("ALREADY_EXISTS", "it is there already"))) }
}

fn header(head: &str, name: &str) -> Option<String> {
    let lines = head.lines().filter_map(|line| line.split_once(':'));
    lines
        .filter(|(known, _)| known.eq_ignore_ascii_case(name))
        .map(|(_, value)| value.trim().to_owned())
        .next()
}
