//! The management API on the real binary: the walk that the 3.20 contract describes, with the traffic that
//! it makes possible.

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{Gateway, Sse, Starting, gravitee_api, kafka, kafka_topic, plan, until};

/// Creates, opens and starts an API; gives its id and its plan's.
pub(crate) async fn create_and_start(gateway: &Gateway, api: &Value) -> (String, String) {
    let created = gateway.manage(Method::POST, "/v4/apis").json(api).send().await.unwrap();
    assert_eq!(created.status(), 201, "{:?}", created.text().await);
    let location = created.headers()["location"].to_str().unwrap().to_owned();
    let created: Value = created.json().await.unwrap();
    let id = created["id"].as_str().unwrap().to_owned();
    assert!(location.ends_with(&format!("/v4/apis/{id}")), "{location}");
    assert_eq!(created["state"], "STOPPED");

    let path = format!("/v4/apis/{id}/plans");
    let planned = gateway.manage(Method::POST, &path).json(&plan()).send().await.unwrap();
    assert_eq!(planned.status(), 201);
    let planned: Value = planned.json().await.unwrap();

    let started = gateway.manage(Method::POST, &format!("/v4/apis/{id}?action=start")).send().await.unwrap();
    assert_eq!(started.status(), 204);
    (id, planned["id"].as_str().unwrap().to_owned())
}

/// Rows 1-4 and 7-11 of the contract, in order.
async fn walks_the_contract(endpoint: &str, configuration: Value) {
    let gateway = Starting::run().start().await;
    let mut api = gravitee_api("Walk", "/walk", endpoint, &configuration);
    let (id, plan) = create_and_start(&gateway, &api).await;
    let path = format!("/v4/apis/{id}");

    let application = json!({ "name": "App", "description": "d", "settings": { "app": { "type": "demo" } } });
    let made = gateway.manage(Method::POST, "/applications").json(&application).send().await.unwrap();
    assert_eq!(made.status(), 201);

    let mut stream = Sse::open(&gateway, "/walk").await;
    gateway.publish("/walk", "first").await;
    assert_eq!(stream.message().await, "first");

    api["id"] = json!(id);
    api["visibility"] = json!("PUBLIC");
    api["validation"] = json!("AUTO");
    api["listeners"][0]["paths"][0]["path"] = json!("/moved");
    let updated = gateway.manage(Method::PUT, &path).json(&api).send().await.unwrap();
    assert_eq!(updated.status(), 200);
    assert!(updated.headers().contains_key("etag"));
    let updated: Value = updated.json().await.unwrap();
    assert_eq!(updated["listeners"][0]["paths"][0]["path"], "/moved/");
    gateway.publish("/walk", "before the deployment").await;
    assert_eq!(stream.message().await, "before the deployment");

    let deployed = gateway.manage(Method::POST, &format!("{path}/deploy")).send().await.unwrap();
    assert_eq!(deployed.status(), 200);
    gateway.publish("/moved", "after").await;
    assert_eq!(stream.message().await, "after", "a stream lives through a change of the path");
    assert_eq!(gateway.post("/walk", "x").await.status(), 404);

    let delete = || gateway.manage(Method::DELETE, &path);
    assert_eq!(delete().send().await.unwrap().status(), 400, "it is running");
    let stopped = gateway.manage(Method::POST, &format!("{path}?action=stop")).send().await.unwrap();
    assert_eq!(stopped.status(), 204);
    assert_eq!(stream.event().await.unwrap().event.as_deref(), Some("goaway"));
    assert_eq!(gateway.post("/moved", "x").await.status(), 404);
    assert_eq!(delete().send().await.unwrap().status(), 400, "it has an open plan");
    let closed = gateway.manage(Method::POST, &format!("{path}/plans/{plan}/_close")).send().await.unwrap();
    assert_eq!(closed.status(), 200);
    assert_eq!(closed.json::<Value>().await.unwrap()["status"], "closed");
    assert_eq!(delete().send().await.unwrap().status(), 204);
    let gone = gateway.manage(Method::GET, &path).send().await.unwrap();
    assert_eq!(gone.status(), 404);
    assert_eq!(gone.json::<Value>().await.unwrap()["technicalCode"], "api.notFound");
}

#[tokio::test]
async fn the_walk_of_the_contract_works_on_the_embedded_log() {
    walks_the_contract("log", json!({ "topics": ["walk"] })).await;
}

#[tokio::test]
async fn the_walk_of_the_contract_works_on_kafka() {
    let topic = kafka_topic("walk", 1).await;
    walks_the_contract("kafka", json!({ "bootstrapServers": kafka(), "topics": [topic] })).await;
}

#[tokio::test]
async fn what_ran_runs_again_after_a_restart_and_what_was_stopped_stays_stopped() {
    let gateway = Starting::run().start().await;
    let topics = json!({ "topics": ["t"] });
    create_and_start(&gateway, &gravitee_api("Runs", "/runs", "log", &topics)).await;
    let (stopped, _) = create_and_start(&gateway, &gravitee_api("Stopped", "/stopped", "log", &topics)).await;
    let (edited, _) = create_and_start(&gateway, &gravitee_api("Edited", "/edited", "log", &topics)).await;
    let stop = gateway.manage(Method::POST, &format!("/v4/apis/{stopped}?action=stop"));
    assert_eq!(stop.send().await.unwrap().status(), 204);
    let mut draft = gravitee_api("Edited", "/edited-later", "log", &topics);
    draft["visibility"] = json!("PRIVATE");
    let put = gateway.manage(Method::PUT, &format!("/v4/apis/{edited}")).json(&draft).send().await.unwrap();
    assert_eq!(put.status(), 200);

    let gateway = gateway.stop().await.start().await;
    let gateway = gateway.kill().start().await;
    gateway.publish("/runs", "x").await;
    gateway.publish("/edited", "the deployed version, not the draft").await;
    assert_eq!(gateway.post("/stopped", "x").await.status(), 404);
    assert_eq!(gateway.post("/edited-later", "x").await.status(), 404);
    let start = gateway.manage(Method::POST, &format!("/v4/apis/{stopped}?action=start"));
    assert_eq!(start.send().await.unwrap().status(), 204);
    gateway.publish("/stopped", "x").await;
}

#[tokio::test]
async fn bad_definitions_are_refused_with_the_place_and_the_code() {
    let gateway = Starting::run().start().await;
    let create = |body: String| {
        let request = gateway.manage(Method::POST, "/v4/apis").header("Content-Type", "application/json");
        async move {
            let answer = request.body(body).send().await.unwrap();
            (answer.status().as_u16(), answer.json::<Value>().await.unwrap())
        }
    };
    let topics = json!({ "topics": ["t"] });

    let (status, broken) = create("{\n  \"name\": nonsense\n}".to_owned()).await;
    assert_eq!(status, 400);
    let message = broken["message"].as_str().unwrap();
    assert!(message.contains("line 2") && message.contains("column"), "{message}");

    let (status, unknown) = create(gravitee_api("A", "/a", "pulsar", &topics).to_string()).await;
    assert_eq!((status, &unknown["technicalCode"]), (400, &json!("connector.unknown")), "{unknown}");

    create_and_start(&gateway, &gravitee_api("A", "/a", "log", &topics)).await;
    let (status, taken) = create(gravitee_api("B", "/a/b", "log", &topics).to_string()).await;
    assert_eq!((status, &taken["technicalCode"]), (400, &json!("api.listener.paths.path.exists")), "{taken}");
    assert_eq!(taken["http_status"], 400);

    let deep = format!("{{\"name\": {}1{}}}", "[".repeat(10_000), "]".repeat(10_000));
    assert_eq!(create(deep).await.0, 400);
    let huge = format!("{{\"name\": \"{}\"}}", "x".repeat(5 << 20));
    let request = gateway.manage(Method::POST, "/v4/apis").header("Content-Type", "application/json");
    assert_eq!(request.body(huge).send().await.unwrap().status(), 413);
}

#[tokio::test]
async fn nobody_manages_without_the_password() {
    let gateway = Starting::run().variable("SLUICE_ADMIN_PASSWORD", "s3cret").start().await;
    let url = gateway.management_url("/management/organizations/DEFAULT/environments/DEFAULT/v4/apis");
    for (user, password, expected) in
        [("admin", "s3cret", 200), ("admin", "admin", 401), ("admin", "", 401), ("root", "s3cret", 401)]
    {
        let answer = gateway.client().get(&url).basic_auth(user, Some(password)).send().await.unwrap();
        assert_eq!(answer.status(), expected, "{user} {password}");
    }
    assert_eq!(gateway.client().get(&url).send().await.unwrap().status(), 401);
}

#[tokio::test]
async fn a_closed_plan_admits_nobody_from_then_on() {
    let gateway = Starting::run().start().await;
    let (id, plan) =
        create_and_start(&gateway, &gravitee_api("A", "/a", "log", &json!({ "topics": ["t"] }))).await;
    gateway.publish("/a", "x").await;
    let close = gateway.manage(Method::POST, &format!("/v4/apis/{id}/plans/{plan}/_close"));
    assert_eq!(close.send().await.unwrap().status(), 200);
    until("the plan to be closed", || async { gateway.post("/a", "x").await.status() == 401 }).await;
}
