//! Calls of the contract, replayed in order: every field of the recorded answers, ids and times apart.

use serde::Deserialize;
use serde_json::Value;

use crate::support::{Server, send};

#[derive(Deserialize)]
struct Step {
    name: String,
    method: String,
    path: String,
    body: Option<Value>,
    status: u16,
    headers: Vec<String>,
    answer: Option<Value>,
}

const KAFKA_AND_SSE: &str = include_str!("data/kafka-and-sse.json");
const KAFKA_AND_WEBHOOKS: &str = include_str!("data/kafka-and-webhooks.json");
const KAFKA_AND_HTTP: &str = include_str!("data/kafka-and-http.json");
const MQTT_AND_HTTP: &str = include_str!("data/mqtt-and-http.json");
const DELETE_API: &str = include_str!("data/delete-api.json");
const APPLICATION: &str = include_str!("data/application.json");
const DATA_INGESTION: &str = include_str!("data/data-ingestion.json");

/// What differs from one server to the next.
const OWN: [&str; 12] = [
    "id",
    "processed_at",
    "processed_by",
    "starting_at",
    "apiId",
    "createdAt",
    "updatedAt",
    "deployedAt",
    "publishedAt",
    "closedAt",
    "created_at",
    "updated_at",
];

/// Both sides with their own values replaced, so that only presence counts for them.
fn comparable(mut value: Value) -> Value {
    match &mut value {
        Value::Object(fields) => {
            for (name, field) in fields {
                let own = OWN.contains(&name.as_str()) || name.ends_with("Url");
                *field = if own { "own".into() } else { comparable(field.take()) };
            }
        }
        Value::Array(items) => {
            items.iter_mut().for_each(|item| *item = comparable(item.take()));
            // A set, in the order of its hashes.
            if items.iter().any(|item| item == "OPTIONS") {
                items.sort_by_key(ToString::to_string);
            }
        }
        _ => {}
    }
    value
}

#[derive(Default)]
struct Replay {
    api: String,
    plan: String,
    subplan: String,
    application: String,
    subscription: String,
}

impl Replay {
    async fn run(&mut self, server: &Server, recording: &str) {
        let steps: Vec<Step> = serde_json::from_str(recording).unwrap();
        for step in steps {
            let filled = |text: &str| self.filled(text);
            let mut request = server.request(&step.method, &filled(&step.path));
            if let Some(body) = &step.body {
                request = request.body(filled(&body.to_string()));
            }
            let answer = send(request).await;
            assert_eq!(answer.status, step.status, "{}: {}", step.name, answer.text);
            for header in &step.headers {
                assert!(answer.headers.contains_key(header), "{}: no {header}", step.name);
            }
            let Some(recorded) = step.answer else { continue };
            let body = answer.json();
            assert_eq!(comparable(body.clone()), comparable(recorded), "{}", step.name);
            let id = body["id"].as_str().unwrap().to_owned();
            if step.method == "POST" && step.path.trim_end_matches('/') == "v4/apis" {
                assert_eq!(answer.header("location"), format!("{}/v4/apis/{id}", server.base()));
                self.api = id;
            } else if step.path.ends_with("/plans") {
                let push = body["security"]["type"] == "subscription";
                *(if push { &mut self.subplan } else { &mut self.plan }) = id;
            } else if step.path == "applications" {
                self.application = id;
            } else if step.path.contains("/subscriptions") {
                let location = format!("{}/v4/apis/{}/subscriptions/{id}", server.base(), self.api);
                assert_eq!(answer.header("location"), location);
                self.subscription = id;
            }
        }
    }

    fn filled(&self, text: &str) -> String {
        let own = [
            ("{{api}}", &*self.api),
            ("{{plan}}", &self.plan),
            ("{{subplan}}", &self.subplan),
            ("{{application}}", &self.application),
            ("{{callback-url}}", "https://hooks.example/demo"),
        ];
        own.iter().fold(text.to_owned(), |text, (name, value)| text.replace(name, value))
    }
}

#[tokio::test]
async fn kafka_and_sse_and_its_end_are_answered_as_recorded() {
    let (server, mut replay) = (Server::start().await, Replay::default());
    replay.run(&server, KAFKA_AND_SSE).await;
    replay.run(&server, DELETE_API).await;
    let gone = server.call("GET", &format!("v4/apis/{}", replay.api), None).await;
    gone.refused(404, "api.notFound");
    assert_eq!(gone.json()["message"], format!("Api [{}] can not be found.", replay.api));
    assert_eq!(gone.json()["parameters"]["api"], replay.api);
}

#[tokio::test]
async fn kafka_and_webhooks_and_its_end_are_answered_as_recorded() {
    let (server, mut replay) = (Server::start().await, Replay::default());
    replay.run(&server, KAFKA_AND_WEBHOOKS).await;
    let path = format!("v4/apis/{}/subscriptions/{}", replay.api, replay.subscription);
    let read = server.call("GET", &path, None).await.json();
    assert_eq!(read["configuration"]["callbackUrl"], "https://hooks.example/demo");
    assert_eq!(read["configuration"]["headers"][0]["name"], "demoHeader");
    assert_eq!(read["consumerStatus"], "STARTED");
    // Its second plan is closed with it.
    let api = format!("v4/apis/{}", replay.api);
    assert_eq!(server.call("POST", &format!("{api}?action=stop"), None).await.status, 204);
    server.call("DELETE", &api, None).await.refused(400, "api.notDeletable");
    assert_eq!(server.call("DELETE", &format!("{api}?closePlans=true"), None).await.status, 204);
    let of_application = format!("applications/{}/subscriptions/{}", replay.application, replay.subscription);
    server.call("GET", &of_application, None).await.refused(404, "subscription.notFound");
}

#[tokio::test]
async fn kafka_and_http_is_answered_as_recorded() {
    let server = Server::start().await;
    Replay::default().run(&server, KAFKA_AND_HTTP).await;
}

#[tokio::test]
async fn a_broker_of_a_kind_that_is_not_there_is_refused_and_the_rest_is_answered_as_recorded() {
    let server = Server::start().await;
    let mut steps: Value = serde_json::from_str(MQTT_AND_HTTP).unwrap();
    let mut unknown = steps[0]["body"].clone();
    unknown["endpointGroups"][0]["type"] = "pigeon".into();
    unknown["endpointGroups"][0]["endpoints"][0]["type"] = "pigeon".into();
    let refused = server.call("POST", "v4/apis", Some(&unknown)).await;
    refused.refused(400, "connector.unknown");
    assert_eq!(refused.json()["parameters"]["path"], "endpointGroups[0].endpoints[0].type");
    for step in steps.as_array_mut().unwrap() {
        for part in ["body", "answer"] {
            if step[part]["endpointGroups"].is_array() {
                step[part]["endpointGroups"] = on_the_embedded_log();
            }
        }
        if step["answer"].is_null() {
            step.as_object_mut().unwrap().remove("answer");
        }
    }
    Replay::default().run(&server, &steps.to_string()).await;
}

fn on_the_embedded_log() -> Value {
    serde_json::json!([{"name": "default", "type": "log", "endpoints": [{
        "name": "Log", "type": "log", "secondary": false, "weight": 1, "inheritConfiguration": false,
        "configuration": {
            "topics": ["demo"], "producer": {"enabled": true},
            "consumer": {"enabled": true, "encodeMessageId": true, "autoOffsetReset": "latest"}
        }
    }]}])
}

#[tokio::test]
async fn an_application_is_answered_as_recorded() {
    let server = Server::start().await;
    Replay::default().run(&server, APPLICATION).await;
    let listed = server.call("GET", "applications", None).await.json();
    let id = listed[0]["id"].as_str().unwrap();
    assert_eq!(server.call("GET", &format!("applications/{id}"), None).await.json(), listed[0]);
}

#[tokio::test]
async fn the_first_body_of_the_user_guide_is_taken() {
    let server = Server::start().await;
    let body: Value = serde_json::from_str(DATA_INGESTION).unwrap();
    let answer = server.call("POST", "v4/apis/", Some(&body)).await;
    assert_eq!(answer.status, 201, "{}", answer.text);
    let created = answer.json();
    assert_eq!(created["listeners"][0]["paths"][0]["path"], "/data/ingestion/kafka/");
    let id = created["id"].as_str().unwrap();
    let plan = serde_json::json!({
        "name": "Keyless", "description": "Keyless", "status": "PUBLISHED", "characteristics": [],
        "security": {"type": "KEY_LESS"}
    });
    assert_eq!(server.call("POST", &format!("v4/apis/{id}/plans/"), Some(&plan)).await.status, 201);
    assert_eq!(server.call("POST", &format!("v4/apis/{id}/?action=START"), None).await.status, 204);
    assert_eq!(server.call("GET", &format!("v4/apis/{id}"), None).await.json()["state"], "STARTED");
}

#[tokio::test]
async fn what_was_read_can_be_written_back() {
    let (server, mut replay) = (Server::start().await, Replay::default());
    replay.run(&server, KAFKA_AND_SSE).await;
    let path = format!("v4/apis/{}", replay.api);
    let read = server.call("GET", &path, None).await;
    let written = server.call("PUT", &path, Some(&read.json())).await;
    assert_eq!(written.status, 200, "{}", written.text);
    assert_eq!(comparable(written.json()), comparable(read.json()));
}
