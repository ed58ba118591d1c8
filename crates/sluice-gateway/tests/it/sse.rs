//! The `sse` receiver over connections: what a client brings, and what becomes of it when its API changes.

use serde_json::{Value, json};
use sluice_api::{ApiId, from_value};

use crate::support::{Running, api, serving};

/// An API that takes posts and streams them, with this promise, on two topics of the embedded log.
fn definition(qos: &str) -> Value {
    let broker = json!({ "type": "log", "configuration": { "topics": ["t", "u"] } });
    api(json!([{ "type": "http-post" }, { "type": "sse", "qos": qos }]), broker)
}

/// The same with these parts in place of its own.
fn changed(qos: &str, parts: &Value) -> Value {
    let mut changed = definition(qos);
    changed.as_object_mut().unwrap().extend(parts.as_object().unwrap().clone());
    changed
}

async fn post(running: &Running, path: &str, content: &str) {
    let url = format!("http://{}{path}", running.address);
    let answer = reqwest::Client::new().post(url).body(content.to_owned()).send().await.unwrap();
    assert_eq!(answer.status(), 202);
}

/// A stream that is read line by line.
struct Stream {
    answer: reqwest::Response,
    read: String,
}

impl Stream {
    async fn open(running: &Running, headers: &[(&str, &str)]) -> Self {
        let answer = ask(running, headers).await;
        assert_eq!(answer.status(), 200);
        Self { answer, read: String::new() }
    }

    /// The next line that begins so; what it says behind that. `None` when the stream ends before.
    async fn line(&mut self, name: &str) -> Option<String> {
        loop {
            while let Some((line, rest)) = self.read.split_once('\n') {
                let found = line.strip_prefix(name).map(str::to_owned);
                self.read = rest.to_owned();
                if found.is_some() {
                    return found;
                }
            }
            let chunk = self.answer.chunk();
            let chunk =
                tokio::time::timeout(std::time::Duration::from_secs(30), chunk).await.unwrap().unwrap();
            self.read.push_str(std::str::from_utf8(&chunk?).unwrap());
        }
    }

    /// The next message, which comes twice, as there are two topics; the id behind it.
    async fn message(&mut self, content: &str) -> String {
        let mut id = String::new();
        for _ in 0..2 {
            id = self.line("id: ").await.unwrap();
            assert_eq!(self.line("data: ").await.as_deref(), Some(content));
        }
        id
    }

    /// The stream says goodbye and ends.
    async fn goodbye(&mut self) {
        assert_eq!(self.line("event: ").await.as_deref(), Some("goaway"));
        assert_eq!(self.line("id: ").await, None);
    }
}

async fn ask(running: &Running, headers: &[(&str, &str)]) -> reqwest::Response {
    let mut request = reqwest::Client::new().get(running.url("")).header("Accept", "text/event-stream");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.send().await.unwrap()
}

#[tokio::test]
async fn a_client_resumes_behind_its_last_event() {
    let running = serving(definition("at-least-once")).await;
    let mut stream = Stream::open(&running, &[]).await;
    post(&running, "/a", "0").await;
    let id = stream.message("0").await;
    drop(stream);
    for content in ["1", "2"] {
        post(&running, "/a", content).await;
    }
    for _ in 0..2 {
        let mut stream = Stream::open(&running, &[("Last-Event-ID", &id)]).await;
        for content in ["1", "2"] {
            stream.message(content).await;
        }
    }
}

#[tokio::test]
async fn an_event_that_is_none_of_this_api_is_refused_in_plain_words() {
    let running = serving(definition("at-least-once")).await;
    // `other@0#1`, and `t@0#1` which does not exist yet.
    for id in ["b3RoZXJAMCMx", "dEAwIzE=", "nonsense"] {
        let answer = ask(&running, &[("Last-Event-ID", id)]).await;
        assert_eq!(answer.status(), 400, "{id}");
        assert!(answer.text().await.unwrap().starts_with("The position to resume from "), "{id}");
    }
}

#[tokio::test]
async fn a_stream_goes_on_when_its_api_is_deployed_anew_with_other_words_paths_and_policies() {
    let running = serving(definition("at-least-once")).await;
    let mut stream = Stream::open(&running, &[]).await;
    let filter = json!({ "filter": "{#message.content != 'kept back'}" });
    let filter = json!([{ "deliver": [{ "policy": "message-filtering", "configuration": filter }] }]);
    let plan = |id: &str| json!({ "id": id, "name": id, "security": { "type": "key-less" }, "status": "deprecated" });
    for (number, parts) in [
        json!({ "description": "New." }),
        json!({ "paths": [{ "path": "/elsewhere" }] }),
        json!({ "flows": filter }),
        json!({ "plans": [plan("open")] }),
        json!({}),
    ]
    .iter()
    .enumerate()
    {
        running.gateway.deploy(from_value(changed("at-least-once", parts)).unwrap()).unwrap();
        let path = parts["paths"][0]["path"].as_str().unwrap_or("/a");
        if parts.get("flows").is_some() {
            post(&running, path, "kept back").await;
        }
        post(&running, path, &number.to_string()).await;
        stream.message(&number.to_string()).await;
    }
    running.metric("sluice_open_streams{api=\"a\"} 1").await;
    running.gateway.undeploy(&ApiId("a".to_owned()));
    stream.goodbye().await;
    running.stop().await;
}

#[tokio::test]
async fn a_stream_says_goodbye_when_its_broker_or_its_plan_is_no_longer_there() {
    let broker = json!({ "name": "b", "type": "log", "configuration": { "topics": ["t"] } });
    let plan = json!({ "id": "open", "name": "o", "security": { "type": "key-less" }, "status": "closed" });
    for parts in [json!({ "brokers": [broker] }), json!({ "plans": [plan] })] {
        let running = serving(definition("at-least-once")).await;
        let mut stream = Stream::open(&running, &[]).await;
        post(&running, "/a", "0").await;
        stream.message("0").await;
        running.gateway.deploy(from_value(changed("at-least-once", &parts)).unwrap()).unwrap();
        stream.goodbye().await;
        running.stop().await;
    }
}

#[tokio::test]
async fn a_client_is_known_by_its_name() {
    let running = serving(definition("auto")).await;
    let name = [("X-Gravitee-Client-Identifier", "me")];
    let stream = Stream::open(&running, &name).await;
    let identifier = stream.answer.headers()["x-gravitee-client-identifier"].to_str().unwrap();
    assert!(identifier.starts_with("me-"), "{identifier}");
    drop(stream);
    running.metric("sluice_open_streams{api=\"a\"} 0").await;
    post(&running, "/a", "0").await;
    let mut again = Stream::open(&running, &name).await;
    assert_eq!(again.line("data: ").await.as_deref(), Some("0"));
}
