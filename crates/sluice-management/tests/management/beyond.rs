//! APIs with parts that the Gravitee contracts have no words for: shown there, and not changed there.

use serde_json::{Value, json};
use sluice_api::{ApiId, EventApi, PlanId};
use sluice_management::Expected;
use sluice_store::Catalogue;

use crate::{
    hub::news,
    support::{Answer, PASSWORD, Server, api, send},
};

const V2: &str = "/management/v2/environments/DEFAULT";

async fn v2(server: &Server, method: &str, path: &str, body: Option<&Value>) -> Answer {
    let request = server.anonymous(method, &format!("{V2}/{path}")).basic_auth("admin", Some(PASSWORD));
    send(match body {
        Some(body) => request.json(body),
        None => request,
    })
    .await
}

async fn create(server: &Server, api: EventApi) -> ApiId {
    let id = api.id.clone();
    server.registry.create(api, Catalogue::new()).await.unwrap();
    server.registry.start(&id, Expected::Any).await.unwrap();
    id
}

#[tokio::test]
async fn an_api_with_a_hub_is_shown_and_not_edited() {
    let server = Server::start().await;
    let id = create(&server, news(&json!({}))).await;
    let shown = server.call("GET", &format!("v4/apis/{id}"), None).await.json();
    assert_eq!(shown["listeners"][0]["type"], "http");
    assert_eq!(shown["listeners"][0]["entrypoints"][0]["type"], "websub");
    let later = v2(&server, "GET", &format!("apis/{id}"), None).await.json();
    assert_eq!(later["listeners"][0]["entrypoints"][0]["type"], "websub");
    let before = server.registry.get(&id).unwrap().record.clone();

    let put = server.call("PUT", &format!("v4/apis/{id}"), Some(&shown)).await;
    let message = put.refused(409, "definition.beyond").json()["message"].as_str().unwrap().to_owned();
    assert!(message.contains("channels, receivers[0] (websub)"), "{message}");
    assert!(message.contains("/api/management/v1"), "{message}");
    for answer in [
        v2(&server, "PUT", &format!("apis/{id}"), Some(&later)).await,
        v2(&server, "PATCH", &format!("apis/{id}"), Some(&json!({"name": "other"}))).await,
        v2(&server, "GET", &format!("apis/{id}/_export/definition"), None).await,
    ] {
        assert_eq!(
            (answer.status.as_u16(), &answer.json()["technicalCode"]),
            (409, &json!("definition.beyond"))
        );
    }
    assert_eq!(server.registry.get(&id).unwrap().record, before);
    // What replaces nothing is done there as ever.
    let stopped = server.call("POST", &format!("v4/apis/{id}?action=stop"), None).await;
    assert_eq!(stopped.status, 204, "{}", stopped.text);
}

#[tokio::test]
async fn conditions_and_steps_at_the_hub_are_not_lost() {
    let server = Server::start().await;
    let mut orders = api("orders", "/orders");
    let step = json!({"policy": "latency", "configuration": {"time": 1}, "executionCondition": "true"});
    orders.flows = sluice_api::from_value(json!([{"deliver": [step]}])).unwrap();
    let mut plan = orders.plans[0].clone();
    plan.flows = orders.flows.clone();
    orders.flows[0].deliver.clear();
    orders.flows[0].publish = plan.flows[0].deliver.clone();
    orders.plans[0] = plan;
    let id = create(&server, orders).await;
    let shown = server.call("GET", &format!("v4/apis/{id}"), None).await.json();
    let put = server.call("PUT", &format!("v4/apis/{id}"), Some(&shown)).await;
    let message = put.refused(409, "definition.beyond").json()["message"].as_str().unwrap().to_owned();
    assert!(message.contains("flows[0].publish[0].executionCondition"), "{message}");
    let plan = PlanId(shown["plans"][0]["id"].as_str().unwrap().to_owned());
    let path = format!("apis/{id}/plans/{plan}");
    let shown = server.call("GET", &format!("v4/{path}"), None).await.json();
    server.call("PUT", &format!("v4/{path}"), Some(&shown)).await.refused(409, "definition.beyond");
    let shown = v2(&server, "GET", &path, None).await.json();
    let put = v2(&server, "PUT", &path, Some(&shown)).await;
    assert_eq!((put.status.as_u16(), &put.json()["technicalCode"]), (409, &json!("definition.beyond")));
}

#[tokio::test]
async fn a_hub_can_not_be_made_with_words_that_do_not_describe_it() {
    let server = Server::start().await;
    let body = json!({
        "name": "Orders", "apiVersion": "1", "description": "Orders", "type": "async",
        "listeners": [{"type": "http", "paths": [{"path": "/x"}], "entrypoints": [{"type": "websub"}]}],
        "endpointGroups": [{"name": "g", "type": "log", "endpoints": [
            {"name": "e", "type": "log", "configuration": {"topics": ["orders"]}}
        ]}]
    });
    server.call("POST", "v4/apis", Some(&body)).await.refused(400, "channels.invalid");
}

#[tokio::test]
async fn a_path_is_taken_whatever_kind_of_api_has_it() {
    let server = Server::start().await;
    create(&server, news(&json!({}))).await;
    let taken = server.registry.create(api("orders", "/news"), Catalogue::new()).await;
    let Err(sluice_management::RegistryError::Invalid(problems)) = taken else {
        panic!("it was not refused")
    };
    assert_eq!(problems[0].code, "api.listener.paths.path.exists");
}
