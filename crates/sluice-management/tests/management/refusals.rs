//! What the contract refuses, with code and field.

use serde_json::{Value, json};

use crate::support::{Server, api, send};

fn body(path: &str) -> Value {
    json!({
        "name": "Orders", "apiVersion": "1", "description": "Orders", "type": "ASYNC",
        "listeners": [{"type": "HTTP", "paths": [{"path": path}], "entrypoints": [
            {"type": "http-post", "qos": "AUTO"}, {"type": "sse"}
        ]}],
        "endpointGroups": [{"name": "g", "type": "log", "endpoints": [
            {"name": "e", "type": "log", "configuration": {"topics": ["orders"]}}
        ]}]
    })
}

/// The body with one value put in at a JSON pointer.
fn with(pointer: &str, value: Value) -> Value {
    let mut body = body("/orders");
    let (parent, field) = pointer.rsplit_once('/').unwrap();
    body.pointer_mut(parent).unwrap()[field] = value;
    body
}

fn plan(status: &str) -> Value {
    json!({"name": "Open", "description": "Open", "status": status, "security": {"type": "key-less"}})
}

#[tokio::test]
async fn what_can_not_be_honoured_is_refused_with_its_field() {
    const LISTENER: &str = "/listeners/0";
    const ENDPOINT: &str = "/endpointGroups/0/endpoints/0";
    let step = json!([{"policy": "smoke-signal"}]);
    let channels = json!([{"type": "channel"}, {"type": "channel"}]);
    let flow = |field: &str, value: Value| json!([{ field: value }]);
    let at = |root: &str, field: &str| format!("{root}/{field}");
    let cases = [
        (at("", "type"), json!("sync"), "apiType.notAllowed", "type"),
        (at("", "name"), json!(" "), "field.required", "name"),
        (at("", "flowMode"), json!("BEST_MATCH"), "feature.unsupported", "flowMode"),
        (at("", "flows"), flow("request", step), "policy.unknown", "flows[0].request[0].policy"),
        (
            at("", "flows"),
            flow("selectors", channels),
            "flow.selectors.type.invalid",
            "flows[0].selectors[1].type",
        ),
        (
            at("", "flows"),
            flow("selectors", json!([{"type": "condition"}])),
            "field.required",
            "flows[0].selectors[0].condition",
        ),
        (at("", "failover"), json!({"enabled": true}), "feature.unsupported", "failover"),
        (at("", "resources"), json!([{"name": "r"}]), "feature.unsupported", "resources"),
        (
            at("", "responseTemplates"),
            json!({"DEFAULT": {"*/*": {"body": "no"}}}),
            "field.required",
            "responseTemplates.DEFAULT.*/*.status",
        ),
        (
            at("", "services"),
            json!({"dynamicProperty": {}}),
            "feature.unsupported",
            "services.dynamicProperty",
        ),
        (at("", "listeners"), json!([]), "listeners.missing", "listeners"),
        (at("", "endpointGroups"), json!([]), "endpoints.count", "endpointGroups"),
        (at("/endpointGroups/0", "endpoints"), json!([]), "endpoints.count", "endpointGroups[0].endpoints"),
        (at(LISTENER, "type"), json!("tcp"), "feature.unsupported", "listeners[0].type"),
        (
            at(LISTENER, "type"),
            json!("subscription"),
            "listeners.entrypoints.type.invalid",
            "listeners[0].entrypoints[0].type",
        ),
        (
            at(LISTENER, "entrypoints"),
            json!([{"type": "webhook"}]),
            "listeners.entrypoints.type.invalid",
            "listeners[0].entrypoints[0].type",
        ),
        (at(LISTENER, "paths"), json!([]), "listeners.http.paths.missing", "listeners[0].paths"),
        (at(LISTENER, "entrypoints"), json!([]), "listeners.entrypoints.missing", "listeners[0].entrypoints"),
        (
            at(LISTENER, "cors"),
            json!({"enabled": true, "runPolicies": true}),
            "feature.unsupported",
            "listeners[0].cors.runPolicies",
        ),
        (
            at(LISTENER, "cors"),
            json!({"enabled": true, "allowOrigin": ["*", "nonsense"]}),
            "cors.invalid",
            "listeners[0].cors.allowOrigin[1]",
        ),
        (
            at(LISTENER, "entrypoints"),
            json!([{"type": "smoke-signal"}]),
            "connector.unknown",
            "listeners[0].entrypoints[0].type",
        ),
        (
            at(LISTENER, "entrypoints"),
            json!([{"type": "http-post", "qos": "AT_LEAST_ONCE"}]),
            "listeners.entrypoints.qos.unsupported",
            "listeners[0].entrypoints[0].qos",
        ),
        (
            at(LISTENER, "entrypoints"),
            json!([{"type": "sse", "qos": "perhaps"}]),
            "listeners.entrypoints.qos.invalid",
            "listeners[0].entrypoints[0].qos",
        ),
        (
            at(LISTENER, "entrypoints"),
            json!([{"type": "sse", "dlq": {"endpoint": "d"}}]),
            "listeners.entrypoints.dlq.unsupported",
            "listeners[0].entrypoints[0].dlq",
        ),
        (
            at(ENDPOINT, "secondary"),
            json!(true),
            "endpoints.secondary.invalid",
            "endpointGroups[0].endpoints[0].secondary",
        ),
        (
            at(ENDPOINT, "weight"),
            json!(0),
            "endpoints.weight.invalid",
            "endpointGroups[0].endpoints[0].weight",
        ),
        (
            at("/endpointGroups/0", "loadBalancer"),
            json!({ "type": "by-moon" }),
            "endpoints.loadBalancer.invalid",
            "endpointGroups[0].loadBalancer.type",
        ),
        (
            at(ENDPOINT, "type"),
            json!("kafka"),
            "api.endpointsGroup.type.invalid",
            "endpointGroups[0].endpoints[0].type",
        ),
        (
            at(ENDPOINT, "configuration"),
            json!({"topics": ["t"], "topik": 1}),
            "document.field",
            "endpointGroups[0].endpoints[0].configuration.topik",
        ),
        (at("", "limits"), json!({"maxBodyBytes": 0}), "limits.range", "limits.maxBodyBytes"),
        (
            at("", "guarantees"),
            json!({"idempotencyWindowMs": 1}),
            "guarantees.range",
            "guarantees.idempotencyWindowMs",
        ),
        (at("", "guarantees"), json!({"slow": "skip"}), "document.field", "guarantees.slow"),
    ];
    let server = Server::start().await;
    for (pointer, value, code, path) in cases {
        let answer = server.call("POST", "v4/apis", Some(&with(&pointer, value))).await;
        assert_eq!(answer.refused(400, code).json()["parameters"]["path"], path, "{}", answer.text);
    }
    assert!(server.registry.list().is_empty());
}

#[tokio::test]
async fn a_path_belongs_to_one_api() {
    let server = Server::start().await;
    server.create(&body("/data")).await;
    for path in ["/data", "/data/", "/data/deeper", "/", "//data"] {
        let answer = server.call("POST", "v4/apis", Some(&body(path))).await;
        answer.refused(400, "api.listener.paths.path.exists");
        assert_eq!(answer.json()["parameters"]["path"], "listeners[0].paths[0].path");
    }
    server.create(&body("/database")).await;
}

#[tokio::test]
async fn plans_of_other_kinds_and_a_second_key_less_one_are_refused() {
    let server = Server::start().await;
    let plans = format!("v4/apis/{}/plans", server.create(&body("/a")).await);
    let mut other = plan("PUBLISHED");
    other["security"]["type"] = json!("API_KEY");
    let answer = server.call("POST", &plans, Some(&other)).await;
    assert_eq!(
        answer.refused(400, "plan.security.unsupported").json()["parameters"]["path"],
        "security.type"
    );
    let mut moded = plan("PUBLISHED");
    moded["mode"] = json!("SIDEWAYS");
    server.call("POST", &plans, Some(&moded)).await.refused(400, "plan.mode.invalid");

    assert_eq!(server.call("POST", &plans, Some(&plan("PUBLISHED"))).await.status, 201);
    server.call("POST", &plans, Some(&plan("PUBLISHED"))).await.refused(400, "plan.keyless.exists");
    let staging = server.call("POST", &plans, Some(&plan("STAGING"))).await;
    let second = format!("{plans}/{}", staging.json()["id"].as_str().unwrap());
    server.call("POST", &format!("{second}/_publish"), None).await.refused(400, "plan.keyless.exists");
    let published = server.call("GET", &plans, None).await.json();
    let first = format!("{plans}/{}", published[0]["id"].as_str().unwrap());
    assert_eq!(server.call("POST", &format!("{first}/_close"), None).await.status, 200);
    let published = server.call("POST", &format!("{second}/_publish"), None).await;
    assert_eq!((published.status.as_u16(), &published.json()["status"]), (200, &json!("published")));
    server.call("POST", &format!("{first}/_close"), None).await.refused(400, "plan.closed");
    server.call("POST", &format!("{plans}/none/_close"), None).await.refused(404, "plan.notFound");
    let listed = server.call("GET", &format!("{plans}?status=closed,PUBLISHED"), None).await.json();
    assert_eq!(listed.as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn a_plan_is_changed_in_place_until_it_is_closed() {
    let server = Server::start().await;
    let plans = format!("v4/apis/{}/plans", server.create(&body("/a")).await);
    let created = server.call("POST", &plans, Some(&plan("PUBLISHED"))).await;
    let path = format!("{plans}/{}", created.json()["id"].as_str().unwrap());
    let update = json!({"name": "Renamed", "description": "d", "validation": "auto", "order": 3});
    let changed = server.call("PUT", &path, Some(&update)).await.json();
    assert_eq!((&changed["name"], &changed["order"]), (&json!("Renamed"), &json!(3)));
    assert_eq!(changed["status"], "published");
    assert_eq!(server.call("GET", &path, None).await.json(), changed);
    let other = json!({"id": "other", "name": "n"});
    server.call("PUT", &path, Some(&other)).await.refused(400, "id.mismatch");
    assert_eq!(server.call("POST", &format!("{path}/_close"), None).await.status, 200);
    server.call("PUT", &path, Some(&update)).await.refused(400, "plan.closed");
}

#[tokio::test]
async fn a_plan_goes_from_staging_to_published_to_deprecated_to_closed_and_not_back() {
    let server = Server::start().await;
    let plans = format!("v4/apis/{}/plans", server.create(&body("/a")).await);
    let created = server.call("POST", &plans, Some(&plan("STAGING"))).await;
    let path = format!("{plans}/{}", created.json()["id"].as_str().unwrap());
    let step = async |step: &str| server.call("POST", &format!("{path}/{step}"), None).await;
    step("_deprecate").await.refused(400, "plan.staging");
    assert_eq!(step("_publish").await.json()["status"], "published");
    server.call("DELETE", &path, None).await.refused(400, "plan.notDeletable");
    assert_eq!(step("_depreciate").await.json()["status"], "deprecated");
    step("_publish").await.refused(400, "plan.deprecated");
    // Who has it keeps it, so a second one is still in the way.
    server.call("POST", &plans, Some(&plan("PUBLISHED"))).await.refused(400, "plan.keyless.exists");
    assert_eq!(step("_close").await.json()["status"], "closed");
    step("_deprecate").await.refused(400, "plan.closed");
    assert_eq!(server.call("DELETE", &path, None).await.status, 204);
    server.call("GET", &path, None).await.refused(404, "plan.notFound");
}

#[tokio::test]
async fn what_an_api_says_beside_its_connections_is_kept_and_shown() {
    let server = Server::start().await;
    let mut update = body("/a");
    let path = format!("v4/apis/{}", server.create(&update).await);
    let added = json!({
        "visibility": "PRIVATE",
        "properties": [
            {"key": "region", "value": "eu", "encrypted": false},
            {"key": "token", "value": "hunter2", "encrypted": true}
        ],
        "responseTemplates": {"DEFAULT": {"*/*": {"status": 451, "headers": {"X-A": "b"}, "body": "no"}}},
        "analytics": {"enabled": false},
        "flows": [{
            "name": "f", "enabled": true, "tags": [],
            "selectors": [
                {"type": "channel", "channel": "/", "channelOperator": "EQUALS", "entrypoints": ["sse"]},
                {"type": "http", "path": "/in", "pathOperator": "STARTS_WITH", "methods": ["POST"]},
                {"type": "condition", "condition": "{#request.headers['x'] != null}"}
            ],
            "request": [], "response": [], "publish": [], "subscribe": [{
                "enabled": true, "policy": "message-filtering", "configuration": {"filter": "{#message.error}"},
                "condition": "{#request.method == 'GET'}"
            }]
        }]
    });
    for (field, value) in added.as_object().unwrap() {
        update[field] = value.clone();
    }
    let changed = server.call("PUT", &path, Some(&update)).await;
    assert_eq!(changed.status, 200, "{}", changed.text);
    let read = server.call("GET", &path, None).await.json();
    for field in ["responseTemplates", "analytics", "flows"] {
        assert_eq!(read[field], added[field], "{field}");
    }
    assert_eq!(read["properties"][0]["value"], "eu");
    assert_eq!(read["properties"][1]["value"], sluice_api::MASK);
    // The mask stands for what it was, also when the properties change places.
    let mut swapped = read;
    swapped["properties"].as_array_mut().unwrap().reverse();
    assert_eq!(server.call("PUT", &path, Some(&swapped)).await.status, 200);
    let id = sluice_api::ApiId(path.rsplit('/').next().unwrap().to_owned());
    assert_eq!(server.registry.get(&id).unwrap().record.draft.properties[0].value.expose(), "hunter2");
    swapped["properties"][0]["encrypted"] = json!(false);
    server.call("PUT", &path, Some(&swapped)).await.refused(400, "secret.masked");
}

#[tokio::test]
async fn other_groups_take_dead_letters_or_wait_to_be_chosen() {
    let server = Server::start().await;
    let mut api = body("/a");
    let group = |name: &str| {
        json!({"name": name, "type": "log", "endpoints": [
            {"name": format!("{name}-endpoint"), "type": "log", "configuration": {"topics": [name]}}
        ]})
    };
    api["endpointGroups"] = json!([group("main"), group("dead")]);
    let mut mixed = group("main");
    mixed["endpoints"].as_array_mut().unwrap().push(group("other")["endpoints"][0].clone());
    api["endpointGroups"][0] = mixed;
    let refused = server.call("POST", "v4/apis", Some(&api)).await;
    refused.refused(400, "endpoints.configuration.invalid");
    assert_eq!(refused.json()["parameters"]["path"], "endpointGroups[0].endpoints[1].configuration.topics");
    api["endpointGroups"][0] = group("main");
    let webhook = json!({"type": "subscription", "entrypoints": [
        {"type": "webhook", "qos": "at-least-once", "dlq": {"endpoint": "dead"}}
    ]});
    api["listeners"].as_array_mut().unwrap().push(webhook.clone());
    let created = server.call("POST", "v4/apis", Some(&api)).await;
    assert_eq!(created.status, 201, "{}", created.text);
    let created = created.json();
    assert_eq!(created["listeners"][1], webhook);
    assert_eq!(created["endpointGroups"][1]["endpoints"][0]["name"], "dead-endpoint");
}

#[tokio::test]
async fn steps_out_of_turn_are_refused() {
    let server = Server::start().await;
    let api = format!("v4/apis/{}", server.create(&body("/a")).await);
    assert_eq!(server.call("POST", &format!("{api}/plans"), Some(&plan("PUBLISHED"))).await.status, 201);
    server.call("POST", &format!("{api}?action=stop"), None).await.refused(400, "api.stopped");
    server.call("POST", &format!("{api}?action=dance"), None).await.refused(400, "action.invalid");
    server.call("POST", &api, None).await.refused(400, "action.invalid");
    assert_eq!(server.call("POST", &format!("{api}?action=start"), None).await.status, 204);
    server.call("POST", &format!("{api}?action=start"), None).await.refused(400, "api.started");
    server.call("DELETE", &format!("{api}?closePlans=true"), None).await.refused(400, "api.running");
    assert_eq!(server.call("POST", &format!("{api}?action=stop"), None).await.status, 204);
    server.call("DELETE", &api, None).await.refused(400, "api.notDeletable");
    assert_eq!(server.call("DELETE", &format!("{api}?closePlans=true"), None).await.status, 204);
    server.call("DELETE", &api, None).await.refused(404, "api.notFound");
}

#[tokio::test]
async fn a_change_of_an_outdated_version_is_refused() {
    let server = Server::start().await;
    let mut update = body("/a");
    let path = format!("v4/apis/{}", server.create(&update).await);
    update["visibility"] = json!("PRIVATE");
    let read = server.call("GET", &path, None).await;
    let put = |tag: &str| server.request("PUT", &path).header("If-Match", tag).json(&update);
    let tag = read.header("etag").to_owned();
    assert_eq!(send(put(&tag)).await.status, 200);
    send(put(&tag)).await.refused(412, "api.outdated");
    send(put("\"nonsense\"")).await.refused(412, "api.outdated");
    assert_eq!(send(put("*")).await.status, 200);
}

#[tokio::test]
async fn an_api_from_a_file_is_changed_in_its_file_only() {
    let server = Server::start().await;
    let files = vec![("orders.yaml".into(), Ok(api("orders", "/orders")))];
    assert_eq!(server.registry.sync_files(files).await.unwrap(), []);
    let shown = server.call("GET", "v4/apis/orders", None).await.json();
    assert_eq!((&shown["state"], &shown["plans"][0]["status"]), (&json!("STARTED"), &json!("published")));
    let answer = server.call("POST", "v4/apis/orders?action=stop", None).await;
    answer.refused(400, "api.managed.by.file");
    assert_eq!(answer.json()["parameters"]["file"], "orders.yaml");
    server.call("DELETE", "v4/apis/orders", None).await.refused(400, "api.managed.by.file");
    let plans = "v4/apis/orders/plans";
    server.call("POST", plans, Some(&plan("STAGING"))).await.refused(400, "api.managed.by.file");
}

#[tokio::test]
async fn an_update_says_who_may_see_the_api_and_means_the_one_at_its_address() {
    let server = Server::start().await;
    let mut update = body("/a");
    let path = format!("v4/apis/{}", server.create(&update).await);
    server.call("PUT", &path, Some(&update)).await.refused(400, "field.required");
    update["visibility"] = json!("public");
    update["labels"] = json!(["new"]);
    update["limits"] = json!({"maxBodyBytes": 2048});
    let answer = server.call("PUT", &path, Some(&update)).await.json();
    assert_eq!((&answer["visibility"], &answer["labels"]), (&json!("PUBLIC"), &json!(["new"])));
    assert_eq!(answer["limits"], json!({"maxBodyBytes": 2048, "clientConnections": 100}));
    update.as_object_mut().unwrap().remove("limits");
    update["guarantees"] = json!({"slowClients": "disconnect", "spool": {}});
    let answer = server.call("PUT", &path, Some(&update)).await.json();
    let guarantees = json!({
        "slowClients": "disconnect", "unknownPosition": "refuse", "idempotencyWindowMs": 600_000,
        "spool": {"maxBytes": 1_u64 << 30}
    });
    assert_eq!(answer["limits"]["maxBodyBytes"], 2048, "what is left out stays");
    assert_eq!(answer["guarantees"], guarantees);
    update.as_object_mut().unwrap().remove("guarantees");
    assert_eq!(server.call("PUT", &path, Some(&update)).await.json()["guarantees"], guarantees);
    update["guarantees"] = json!({});
    assert_eq!(server.call("PUT", &path, Some(&update)).await.json().get("guarantees"), None);
    update["id"] = json!("another");
    server.call("PUT", &path, Some(&update)).await.refused(400, "id.mismatch");
}
