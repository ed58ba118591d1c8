//! The v2 contract: the webhook run as it is known, both contracts on one API, pages, errors.

use serde_json::{Value, json};

use crate::support::{Answer, PASSWORD, Server, send};

const V2: &str = "/management/v2/environments/DEFAULT";

async fn call(server: &Server, method: &str, path: &str, body: Option<&Value>) -> Answer {
    let request = server.anonymous(method, &format!("{V2}/{path}")).basic_auth("admin", Some(PASSWORD));
    send(match body {
        Some(body) => request.json(body),
        None => request,
    })
    .await
}

/// The body of a call that succeeds.
async fn done(server: &Server, method: &str, path: &str, body: Option<&Value>, status: u16) -> Value {
    let answer = call(server, method, path, body).await;
    assert_eq!(answer.status, status, "{method} {path}: {}", answer.text);
    if answer.text.is_empty() { Value::Null } else { answer.json() }
}

fn id(body: &Value) -> String {
    body["id"].as_str().unwrap().to_owned()
}

fn webhook() -> Value {
    json!({
        "name": "webhook-mock", "apiVersion": "1.0", "description": "webhook + mock", "definitionVersion": "V4",
        "type": "MESSAGE",
        "listeners": [{ "type": "SUBSCRIPTION", "entrypoints": [{ "type": "webhook" }] }],
        "endpointGroups": [{
            "name": "default-group", "type": "mock",
            "endpoints": [{ "name": "default", "type": "mock", "configuration": { "messageInterval": 0 } }]
        }]
    })
}

fn plan(mode: &str, security: &Value) -> Value {
    json!({
        "name": "plan", "description": "plan", "definitionVersion": "V4", "validation": "AUTO",
        "security": security, "mode": mode, "type": "API", "status": "STAGING", "order": 1,
        "characteristics": [], "flows": []
    })
}

/// An API with everything that the two contracts write in different ways.
fn rich() -> Value {
    json!({
        "name": "Rich", "apiVersion": "2", "definitionVersion": "V4", "type": "MESSAGE", "visibility": "PUBLIC",
        "listeners": [
            {
                "type": "HTTP", "paths": [{ "path": "/rich", "host": "a.example" }], "pathMappings": ["/:x"],
                "cors": { "enabled": true, "allowOrigin": ["https://app.example"], "maxAge": 60 },
                "entrypoints": [
                    { "type": "http-get", "qos": "AT_LEAST_ONCE", "configuration": { "messagesLimitCount": 7 } },
                    { "type": "sse", "qos": "AUTO" }
                ]
            },
            { "type": "SUBSCRIPTION", "entrypoints": [
                { "type": "webhook", "qos": "AT_LEAST_ONCE", "dlq": { "endpoint": "dead" } }
            ] }
        ],
        "endpointGroups": [{
            "name": "group", "type": "kafka", "loadBalancer": { "type": "WEIGHTED_RANDOM" },
            "endpoints": [{
                "name": "main", "type": "kafka", "weight": 3, "tenants": ["blue"],
                "configuration": { "bootstrapServers": "kafka:9092" },
                "sharedConfigurationOverride": {
                    "security": { "protocol": "SASL_PLAINTEXT", "sasl": {
                        "saslMechanism": "PLAIN", "username": "u", "password": "hidden" } },
                    "producer": { "enabled": true, "topics": ["orders"] },
                    "consumer": { "enabled": true, "topics": ["orders"], "autoOffsetReset": "earliest" }
                }
            }]
        }, {
            "name": "letters", "type": "kafka",
            "endpoints": [{ "name": "dead", "type": "kafka", "configuration": {
                "bootstrapServers": "kafka:9092", "topics": ["letters"] } }]
        }],
        "flows": [{
            "name": "filter", "enabled": true,
            "selectors": [
                { "type": "CHANNEL", "channel": "/", "channelOperator": "EQUALS", "operations": ["SUBSCRIBE"],
                  "entrypoints": ["sse"] },
                { "type": "CONDITION", "condition": "{#request.method == 'GET'}" }
            ],
            "subscribe": [{
                "name": "f", "enabled": true, "policy": "message-filtering", "messageCondition": "{#message.content != ''}",
                "configuration": { "filter": "{#message.content == 'a'}" }
            }]
        }],
        "properties": [{ "key": "open", "value": "seen" }, { "key": "closed", "value": "unseen", "encrypted": true }],
        "responseTemplates": { "DEFAULT": { "*/*": { "statusCode": 418, "body": "no" } } },
        "labels": ["l"], "tags": ["t"], "categories": ["c"]
    })
}

/// An API without what changes with each call.
fn lasting(mut api: Value) -> Value {
    for field in ["updatedAt", "deployedAt", "deploymentState", "_links", "state", "id", "createdAt"] {
        api.as_object_mut().unwrap().remove(field);
    }
    api
}

#[tokio::test]
async fn the_webhook_run_is_answered_as_it_is_known() {
    let server = Server::start().await;
    let api = done(&server, "POST", "apis", Some(&webhook()), 201).await;
    assert_eq!((&api["definitionVersion"], &api["state"]), (&json!("V4"), &json!("STOPPED")));
    assert_eq!(api["deploymentState"], "NEED_REDEPLOY");
    let configuration = &api["endpointGroups"][0]["endpoints"][0]["configuration"];
    assert_eq!(configuration, &json!({ "messageInterval": 0, "messageContent": "mock message" }));
    let at = format!("apis/{}", id(&api));
    let key_less = plan("STANDARD", &json!({ "type": "KEY_LESS" }));
    done(&server, "POST", &format!("{at}/plans"), Some(&key_less), 201).await;
    let push = done(&server, "POST", &format!("{at}/plans"), Some(&plan("PUSH", &Value::Null)), 201).await;
    assert_eq!((&push["mode"], push.get("security"), &push["order"]), (&json!("PUSH"), None, &json!(1)));
    let push = id(&push);
    let published = done(&server, "POST", &format!("{at}/plans/{push}/_publish"), None, 200).await;
    assert_eq!(published["status"], "PUBLISHED");
    done(&server, "POST", &format!("{at}/_start"), None, 204).await;
    let application =
        json!({ "name": "app", "description": "application", "settings": { "app": { "type": "test" } } });
    let application = server.call("POST", "applications", Some(&application)).await.json();
    let subscription = json!({
        "applicationId": id(&application), "planId": push,
        "consumerConfiguration": {
            "entrypointId": "webhook",
            "entrypointConfiguration": { "callbackUrl": "https://example.com/hook/subscription_0" }
        },
        "metadata": { "consumerGroup": "subscription_0" }
    });
    let made = done(&server, "POST", &format!("{at}/subscriptions"), Some(&subscription), 201).await;
    assert_eq!((&made["status"], &made["consumerStatus"]), (&json!("ACCEPTED"), &json!("STARTED")));
    assert_eq!(made["consumerConfiguration"]["entrypointId"], "webhook");
    assert_eq!(made["metadata"], subscription["metadata"]);
    let read = done(&server, "GET", &at, None, 200).await;
    assert_eq!((&read["state"], &read["deploymentState"]), (&json!("STARTED"), &json!("DEPLOYED")));
    done(&server, "POST", &format!("{at}/_stop"), None, 204).await;
    done(&server, "DELETE", &format!("{at}?closePlans=true"), None, 204).await;
    assert_eq!(call(&server, "GET", &at, None).await.status, 404);
}

#[tokio::test]
async fn an_api_of_one_contract_is_an_api_of_the_other() {
    let server = Server::start().await;
    let made = done(&server, "POST", "apis", Some(&rich()), 201).await;
    let at = format!("apis/{}", id(&made));
    assert_eq!(made["visibility"], "PUBLIC");
    assert_eq!(made["properties"][1]["value"], "********");
    assert!(!made.to_string().contains("hidden"));
    // Read by the other contract, and written back as it was read.
    let other = server.call("GET", &format!("v4/{at}"), None).await.json();
    assert_eq!(other["listeners"][0]["entrypoints"][0]["qos"], "at-least-once");
    let mut body = other.clone();
    body["description"] = json!("From the other side");
    let written = server.call("PUT", &format!("v4/{at}"), Some(&body)).await;
    assert_eq!(written.status, 200, "{}", written.text);
    let mut expected = lasting(made);
    expected["description"] = json!("From the other side");
    let read = done(&server, "GET", &at, None, 200).await;
    assert_eq!(lasting(read.clone()), expected);
    // And by this contract itself.
    let again = done(&server, "PUT", &at, Some(&read), 200).await;
    assert_eq!(lasting(again), expected);
    let other_again = server.call("GET", &format!("v4/{at}"), None).await.json();
    assert_eq!(other_again["endpointGroups"], other["endpointGroups"]);
    assert_eq!(other_again["flows"], other["flows"]);
}

#[tokio::test]
async fn what_is_carried_away_can_be_brought_in() {
    let server = Server::start().await;
    let mut api = webhook();
    api["crossId"] = json!("same-everywhere");
    let made = done(&server, "POST", "apis", Some(&api), 201).await;
    let at = format!("apis/{}", id(&made));
    let push = done(&server, "POST", &format!("{at}/plans"), Some(&plan("PUSH", &Value::Null)), 201).await;
    done(&server, "POST", &format!("{at}/plans/{}/_publish", id(&push)), None, 200).await;
    let answer = call(&server, "GET", &format!("{at}/_export/definition"), None).await;
    assert!(answer.header("content-disposition").contains("api-definition.json"));
    let exported = answer.json();
    let imported = done(&server, "POST", "apis/_import/definition", Some(&exported), 201).await;
    assert_ne!(imported["id"], made["id"]);
    assert_eq!(lasting(imported.clone()), lasting(made));
    let path = format!("apis/{}/plans", id(&imported));
    let plans = done(&server, "GET", &path, None, 200).await;
    assert_eq!((&plans["data"][0]["status"], &plans["data"][0]["order"]), (&json!("PUBLISHED"), &json!(1)));
    assert_ne!(plans["data"][0]["id"], push["id"]);
    let nothing = call(&server, "POST", "apis/_import/definition", Some(&json!({ "plans": [] }))).await;
    assert_eq!((nothing.status.as_u16(), &nothing.json()["details"][0]["location"]), (400, &json!("api")));
}

#[tokio::test]
async fn a_patch_changes_what_it_names() {
    let server = Server::start().await;
    let made = done(&server, "POST", "apis", Some(&rich()), 201).await;
    let at = format!("apis/{}", id(&made));
    let merged =
        done(&server, "PATCH", &at, Some(&json!({ "description": "New", "labels": null })), 200).await;
    assert_eq!((&merged["description"], &merged["labels"]), (&json!("New"), &json!([])));
    let patch = |media: &'static str, body: Value| {
        let request = server.anonymous("PATCH", &format!("{V2}/{at}")).basic_auth("admin", Some(PASSWORD));
        send(request.header("content-type", media).body(body.to_string()))
    };
    let operations = json!([
        { "op": "test", "path": "/state", "value": "STOPPED" },
        { "op": "replace", "path": "/listeners/0/entrypoints/0/configuration/messagesLimitCount", "value": 8 },
        { "op": "add", "path": "/tags/-", "value": "u" }
    ]);
    let answer = patch("application/json-patch+json", operations).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    assert_eq!(answer.json()["tags"], json!(["t", "u"]));
    let mut expected = lasting(made);
    expected["description"] = json!("New");
    expected["labels"] = json!([]);
    expected["tags"] = json!(["t", "u"]);
    expected["listeners"][0]["entrypoints"][0]["configuration"]["messagesLimitCount"] = json!(8);
    assert_eq!(lasting(done(&server, "GET", &at, None, 200).await), expected);
    let json_patch = "application/json-patch+json";
    let doubling: Vec<_> =
        (0..64).map(|_| json!({ "op": "copy", "from": "/flows", "path": "/flows/-" })).collect();
    for (media, body, status, code) in [
        ("text/plain", json!({}), 415, "body.mediaType"),
        ("application/json", json!([]), 400, "patch.invalid"),
        ("application/merge-patch+json", json!({ "state": "STARTED" }), 400, "feature.unsupported"),
        (json_patch, json!([{ "op": "remove", "path": "/id" }]), 400, "feature.unsupported"),
        (json_patch, json!([{ "op": "copy", "from": "/name", "path": "/id" }]), 400, "feature.unsupported"),
        (json_patch, json!([{ "op": "test", "path": "/name", "value": "x" }]), 400, "patch.invalid"),
        (json_patch, json!([{ "op": "explode", "path": "/name" }]), 400, "document.field"),
        (json_patch, json!(doubling), 400, "patch.invalid"),
        (
            json_patch,
            json!([{ "op": "replace", "path": "/properties/1/encrypted", "value": false }]),
            400,
            "secret.masked",
        ),
        (json_patch, json!(vec![json!({ "op": "test", "path": "", "value": 1 }); 257]), 400, "patch.invalid"),
    ] {
        let answer = patch(media, body).await;
        assert_eq!(answer.status, status, "{}", answer.text);
        let told = &answer.json()["technicalCode"];
        assert!(told == code || told == "invalidValue" && code == "document.field", "{code}: {told}");
    }
    let tried = call(&server, "PATCH", &format!("{at}?dryRun=true"), Some(&json!({}))).await;
    assert_eq!(tried.status, 400, "{}", tried.text);
}

#[tokio::test]
async fn what_is_ours_is_shown_in_both_contracts_and_changed_only_by_who_names_it() {
    let server = Server::start().await;
    let mut body = rich();
    body["limits"] = json!({ "maxBodyBytes": 2048 });
    body["guarantees"] = json!({ "slowClients": "disconnect", "unknownPosition": "latest" });
    body["listeners"][1]["entrypoints"][0]["configuration"] = json!({ "circuitBreaker": { "failures": 3 } });
    let created = done(&server, "POST", "apis", Some(&body), 201).await;
    let guarantees = json!({
        "slowClients": "disconnect", "unknownPosition": "latest", "idempotencyWindowMs": 600_000
    });
    assert_eq!(created["guarantees"], guarantees);
    let breaker = json!({ "failures": 3, "firstWaitMs": 5000, "longestWaitMs": 300_000 });
    assert_eq!(created["listeners"][1]["entrypoints"][0]["configuration"]["circuitBreaker"], breaker);
    let at = format!("apis/{}", id(&created));
    let earlier = server.call("GET", &format!("v4/{at}"), None).await.json();
    assert_eq!((&earlier["guarantees"], &earlier["limits"]), (&guarantees, &created["limits"]));
    let shown = &earlier["listeners"][1]["entrypoints"][0]["configuration"];
    assert_eq!(shown["circuitBreaker"], breaker);

    let mut unaware = created.clone();
    for field in ["limits", "guarantees"] {
        unaware.as_object_mut().unwrap().remove(field);
    }
    let updated = done(&server, "PUT", &at, Some(&unaware), 200).await;
    assert_eq!((&updated["guarantees"], &updated["limits"]), (&guarantees, &created["limits"]));
    let patch = json!({ "guarantees": { "slowClients": "hold" }, "limits": null });
    let patched = done(&server, "PATCH", &at, Some(&patch), 200).await;
    assert_eq!(patched["guarantees"]["slowClients"], "hold");
    assert_eq!((&patched["guarantees"]["unknownPosition"], patched.get("limits")), (&json!("latest"), None));
    let taken_away = json!({ "guarantees": null });
    assert_eq!(done(&server, "PATCH", &at, Some(&taken_away), 200).await.get("guarantees"), None);
}

#[tokio::test]
async fn no_patch_is_lost_among_others() {
    let server = Server::start().await;
    let at = format!("apis/{}", id(&done(&server, "POST", "apis", Some(&webhook()), 201).await));
    let patches = (0..20).map(|number| {
        let body = json!([{ "op": "add", "path": "/tags/-", "value": number.to_string() }]).to_string();
        let request = server.anonymous("PATCH", &format!("{V2}/{at}")).basic_auth("admin", Some(PASSWORD));
        send(request.header("content-type", "application/json-patch+json").body(body))
    });
    for answer in futures_util::future::join_all(patches).await {
        assert_eq!(answer.status, 200, "{}", answer.text);
    }
    let tags = done(&server, "GET", &at, None, 200).await["tags"].clone();
    assert_eq!(tags.as_array().unwrap().len(), 20, "{tags}");
}

#[tokio::test]
async fn a_patch_copies_no_more_than_it_may() {
    let server = Server::start().await;
    let mut api = webhook();
    api["description"] = json!("x".repeat(700_000));
    let at = format!("apis/{}", id(&done(&server, "POST", "apis", Some(&api), 201).await));
    let copy = json!({ "op": "copy", "from": "/description", "path": "/name" });
    for (times, told) in [(1, false), (2, true)] {
        let request = server.anonymous("PATCH", &format!("{V2}/{at}")).basic_auth("admin", Some(PASSWORD));
        let request = request.header("content-type", "application/json-patch+json");
        let answer = send(request.body(json!(vec![copy.clone(); times]).to_string())).await;
        assert_eq!(answer.text.contains("copy more than"), told, "{times}");
    }
}

#[tokio::test]
async fn lists_come_in_pages() {
    let server = Server::start().await;
    for number in 0..12 {
        let mut api = webhook();
        api["name"] = json!(format!("api-{number:02}"));
        done(&server, "POST", "apis", Some(&api), 201).await;
    }
    let first = done(&server, "GET", "apis", None, 200).await;
    assert_eq!(
        first["pagination"],
        json!({ "page": 1, "perPage": 10, "pageCount": 2, "pageItemsCount": 10, "totalCount": 12 })
    );
    assert!(first["links"]["next"].as_str().unwrap().ends_with("/apis?page=2"), "{}", first["links"]);
    let last = done(&server, "GET", "apis?page=2", None, 200).await;
    assert_eq!(last["data"].as_array().unwrap().len(), 2);
    assert_eq!(last["links"].get("next"), None);
    let beyond = done(&server, "GET", "apis?page=3&perPage=10", None, 200).await;
    assert_eq!((&beyond["data"], &beyond["pagination"]["pageItemsCount"]), (&json!([]), &json!(0)));
    for wrong in ["page=0", "perPage=0", "perPage=10001", "page=x"] {
        let answer = call(&server, "GET", &format!("apis?{wrong}"), None).await;
        assert_eq!((answer.status.as_u16(), &answer.json()["message"]), (400, &json!("Validation error")));
    }
    let wanted = json!({ "query": "API-0", "statuses": ["stopped"], "definitionVersions": ["V4"] });
    let found = done(&server, "POST", "apis/_search?sortBy=-name&perPage=3", Some(&wanted), 200).await;
    let names: Vec<_> = found["data"].as_array().unwrap().iter().map(|api| &api["name"]).collect();
    assert_eq!(names, ["api-09", "api-08", "api-07"]);
    assert_eq!(found["pagination"]["totalCount"], 10);
    let none = done(&server, "POST", "apis/_search", Some(&json!({ "tags": ["no"] })), 200).await;
    assert_eq!(none["pagination"]["totalCount"], 0);
    for (query, body) in [("sortBy=colour", json!({})), ("", json!([null, null]))] {
        assert_eq!(call(&server, "POST", &format!("apis/_search?{query}"), Some(&body)).await.status, 400);
    }
}

#[tokio::test]
async fn errors_have_the_form_of_the_contract() {
    let server = Server::start().await;
    let missing = call(&server, "GET", "apis/none", None).await;
    assert_eq!(
        missing.json(),
        json!({
            "httpStatus": 404, "message": "Api [none] can not be found.", "technicalCode": "api.notFound",
            "parameters": { "api": "none" }
        })
    );
    for (method, path, status, code) in [
        ("GET", "nothing/here", 404, "route.notFound"),
        ("DELETE", "apis", 405, "route.method"),
        ("GET", "apis/%ff", 400, "request.invalid"),
    ] {
        let answer = call(&server, method, path, None).await;
        let body = answer.json();
        assert_eq!((&body["httpStatus"], &body["technicalCode"]), (&json!(status), &json!(code)));
        assert_eq!(body.get("http_status"), None);
    }
    let large = call(&server, "POST", "apis", Some(&json!({ "name": "x".repeat(1 << 20) }))).await;
    assert_eq!((large.status.as_u16(), &large.json()["httpStatus"]), (413, &json!(413)));
    let anonymous = send(server.anonymous("GET", &format!("{V2}/apis"))).await;
    assert_eq!((anonymous.status.as_u16(), &anonymous.json()["httpStatus"]), (401, &json!(401)));
    assert!(anonymous.header("www-authenticate").starts_with("Basic"));
    let mut wrong = webhook();
    wrong["listeners"][0]["entrypoints"][0]["qos"] = json!("SOMETIMES");
    let word = call(&server, "POST", "apis", Some(&wrong)).await.json();
    assert_eq!(word["technicalCode"], "invalidValue");
    assert_eq!(word["details"][0]["location"], "listeners[0].entrypoints[0].qos");
    assert_eq!(word["details"][0]["invalidValue"], "SOMETIMES");
    let mut kind = webhook();
    kind["name"] = json!(5);
    let kind = call(&server, "POST", "apis", Some(&kind)).await.json();
    assert_eq!(
        (&kind["message"], &kind["details"][0]["invalidValue"]),
        (&json!("Validation error"), &json!(5))
    );
    let answer =
        call(&server, "POST", "apis", Some(&json!({ "name": "n", "plans": [{ "name": "p" }] }))).await;
    assert_eq!(answer.status, 400, "{}", answer.text);
    let broken = server.anonymous("POST", &format!("{V2}/apis")).basic_auth("admin", Some(PASSWORD));
    assert_eq!(send(broken.body("{")).await.json()["technicalCode"], "document.syntax");
}

#[tokio::test]
async fn a_change_of_another_version_is_refused() {
    let server = Server::start().await;
    let made = done(&server, "POST", "apis", Some(&webhook()), 201).await;
    let at = format!("apis/{}", id(&made));
    let tag = call(&server, "GET", &at, None).await.header("etag").to_owned();
    let put = |tag: &str| {
        let request = server.anonymous("PUT", &format!("{V2}/{at}")).basic_auth("admin", Some(PASSWORD));
        send(request.header("if-match", tag).json(&made))
    };
    let changed = put(&tag).await;
    assert_eq!(changed.status, 200, "{}", changed.text);
    assert_ne!(changed.header("etag"), tag);
    assert_eq!(put(&tag).await.json()["technicalCode"], "api.outdated");
}

#[tokio::test]
async fn paths_are_judged_before_they_are_wanted() {
    let server = Server::start().await;
    let made = done(&server, "POST", "apis", Some(&rich()), 201).await;
    let verify = async |body: Value| done(&server, "POST", "apis/_verify/paths", Some(&body), 200).await;
    let rich_path = json!([{ "host": "a.example", "path": "/rich/below" }]);
    assert_eq!(verify(json!({ "paths": rich_path })).await["ok"], false);
    assert_eq!(verify(json!({ "paths": rich_path, "apiId": made["id"] })).await, json!({ "ok": true }));
    assert_eq!(verify(json!({ "paths": [{ "path": "/other" }] })).await, json!({ "ok": true }));
    assert!(verify(json!({ "paths": [{ "path": "no slash" }] })).await["reason"].is_string());
}

#[tokio::test]
async fn both_bases_lead_to_the_same_calls() {
    let server = Server::start().await;
    done(&server, "POST", "apis", Some(&webhook()), 201).await;
    for base in ["/management/v2", "/management/v2/organizations/DEFAULT"] {
        for slash in ["", "/"] {
            let path = format!("{base}/environments/DEFAULT/apis{slash}");
            let answer = send(server.anonymous("GET", &path).basic_auth("admin", Some(PASSWORD))).await;
            assert_eq!(answer.json()["pagination"]["totalCount"], 1, "{path}: {}", answer.text);
        }
    }
}

#[tokio::test]
async fn subscriptions_go_through_their_life() {
    let server = Server::start().await;
    let api = done(&server, "POST", "apis", Some(&webhook()), 201).await;
    let at = format!("apis/{}", id(&api));
    let mut manual = plan("PUSH", &Value::Null);
    (manual["validation"], manual["status"]) = (json!("MANUAL"), json!("PUBLISHED"));
    let mut plans = Vec::new();
    for name in ["one", "two"] {
        manual["name"] = json!(name);
        plans.push(id(&done(&server, "POST", &format!("{at}/plans"), Some(&manual), 201).await));
    }
    let application = json!({ "name": "app", "description": "application" });
    let application = id(&server.call("POST", "applications", Some(&application)).await.json());
    let consumer = json!({ "entrypointId": "webhook", "callbackUrl": "https://example.com/hook" });
    // A consumer asks by the other contract.
    let path = format!("applications/{application}/subscriptions?plan={}", plans[0]);
    let asked = server.call("POST", &path, Some(&json!({ "configuration": consumer }))).await;
    assert_eq!(asked.status, 201, "{}", asked.text);
    let one = format!("{at}/subscriptions/{}", id(&asked.json()));
    let pending = done(&server, "GET", &format!("{at}/subscriptions?statuses=PENDING"), None, 200).await;
    assert_eq!(pending["pagination"]["totalCount"], 1);
    let dates = json!({ "reason": "Yes", "endingAt": "2999-12-31T22:00:00.5+02:00" });
    let accepted = done(&server, "POST", &format!("{one}/_accept"), Some(&dates), 200).await;
    assert_eq!(accepted["status"], "ACCEPTED");
    assert_eq!(
        (&accepted["publisherMessage"], &accepted["endingAt"]),
        (&json!("Yes"), &json!("2999-12-31T20:00:00.500Z"))
    );
    for (step, status, consumer) in [
        ("_pause", "PAUSED", "STARTED"),
        ("_resume", "ACCEPTED", "STARTED"),
        ("_changeConsumerStatus?status=stopped", "ACCEPTED", "STOPPED"),
        ("_changeConsumerStatus?status=STARTED", "ACCEPTED", "STARTED"),
    ] {
        let body = done(&server, "POST", &format!("{one}/{step}"), None, 200).await;
        assert_eq!((&body["status"], &body["consumerStatus"]), (&json!(status), &json!(consumer)), "{step}");
    }
    let change = json!({ "metadata": { "a": "b" }, "endingAt": null });
    let changed = done(&server, "PUT", &one, Some(&change), 200).await;
    assert_eq!((&changed["metadata"], changed.get("endingAt")), (&json!({ "a": "b" }), None));
    assert_eq!(changed["startingAt"], accepted["startingAt"]);
    let to = json!({ "planId": plans[1] });
    let moved = done(&server, "POST", &format!("{one}/_transfer"), Some(&to), 200).await;
    assert_eq!(moved["plan"]["name"], "two");
    let keys = done(&server, "GET", &format!("{one}/api-keys"), None, 200).await;
    assert_eq!(keys["data"], json!([]));
    let refused = call(&server, "POST", &format!("{one}/_resumeFailure"), None).await;
    assert_eq!(refused.json()["technicalCode"], "subscription.notFailed");
    done(&server, "POST", &format!("{one}/_close"), None, 200).await;
    let filter = format!("planIds={}&applicationIds={application}&statuses=CLOSED,PAUSED", plans[1]);
    let closed = done(&server, "GET", &format!("{at}/subscriptions?{filter}"), None, 200).await;
    assert_eq!(closed["data"][0]["status"], "CLOSED");
    let wrong = call(&server, "GET", &format!("{at}/subscriptions?statuses=GONE"), None).await;
    assert_eq!(wrong.json()["technicalCode"], "invalidValue");
    let date = json!({ "startingAt": "tomorrow" });
    let answer = call(&server, "PUT", &one, Some(&date)).await;
    assert_eq!(answer.json()["details"][0]["invalidValue"], "tomorrow");
    let key = json!({ "applicationId": application, "apiKey": "k" });
    assert_eq!(
        done(&server, "POST", &format!("{at}/subscriptions/_verify"), Some(&key), 200).await["ok"],
        false
    );
}

#[tokio::test]
async fn plans_are_listed_in_their_order_and_live_their_life() {
    let server = Server::start().await;
    let api = done(&server, "POST", "apis", Some(&webhook()), 201).await;
    let at = format!("apis/{}/plans", id(&api));
    let mut made = Vec::new();
    for order in [2, 1] {
        let mut body = plan("PUSH", &Value::Null);
        (body["name"], body["order"]) = (json!(format!("plan {order}")), json!(order));
        made.push(done(&server, "POST", &at, Some(&body), 201).await);
    }
    let names = async |query: &str| {
        let plans = done(&server, "GET", &format!("{at}?{query}"), None, 200).await;
        let plans = plans["data"].as_array().unwrap().clone();
        plans.iter().map(|plan| plan["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(names("").await, [""; 0]);
    assert_eq!(names("statuses=STAGING,PUBLISHED&mode=PUSH").await, ["plan 1", "plan 2"]);
    assert_eq!(names("statuses=STAGING&securities=KEY_LESS").await, [""; 0]);
    let mut last = made[1].clone();
    last["order"] = json!(3);
    let path = format!("{at}/{}", id(&last));
    done(&server, "PUT", &path, Some(&last), 200).await;
    assert_eq!(names("statuses=staging").await, ["plan 2", "plan 1"]);
    for (step, status) in [("_publish", "PUBLISHED"), ("_deprecate", "DEPRECATED"), ("_close", "CLOSED")] {
        assert_eq!(done(&server, "POST", &format!("{path}/{step}"), None, 200).await["status"], status);
    }
    done(&server, "DELETE", &format!("{at}/{}", id(&made[0])), None, 204).await;
    assert_eq!(
        call(&server, "GET", &format!("{at}/{}", id(&made[0])), None).await.json()["technicalCode"],
        "plan.notFound"
    );
}

#[tokio::test]
async fn groups_of_several_endpoints_go_through_both_contracts_as_they_were_written() {
    let server = Server::start().await;
    let shared = json!({
        "security": { "protocol": "SASL_PLAINTEXT", "sasl": {
            "saslMechanism": "PLAIN", "username": "u", "password": "hidden" } },
        "producer": { "enabled": true, "topics": ["orders"] },
        "consumer": { "enabled": true, "topics": ["orders"] },
    });
    let mut own = shared.clone();
    own["security"]["sasl"]["username"] = json!("other");
    let endpoint = |name: &str| json!({ "name": name, "type": "kafka", "configuration": { "bootstrapServers": format!("{name}:9092") } });
    let mut endpoints = ["east", "west", "spare"].map(endpoint);
    endpoints[0]["inheritConfiguration"] = json!(true);
    endpoints[0]["weight"] = json!(3);
    endpoints[1]["inheritConfiguration"] = json!(true);
    endpoints[2]["secondary"] = json!(true);
    endpoints[2]["sharedConfigurationOverride"] = own;
    let mut document = rich();
    document["name"] = json!("Balanced");
    document["endpointGroups"][0] = json!({
        "name": "group", "type": "kafka", "loadBalancer": { "type": "WEIGHTED_ROUND_ROBIN" },
        "sharedConfiguration": shared, "endpoints": endpoints,
    });
    document["listeners"][0]["paths"][0]["path"] = json!("/balanced");
    let made = done(&server, "POST", "apis", Some(&document), 201).await;
    let at = format!("apis/{}", id(&made));
    let group = &made["endpointGroups"][0];
    assert_eq!(group["loadBalancer"]["type"], "WEIGHTED_ROUND_ROBIN");
    assert_eq!(group["sharedConfiguration"]["security"]["sasl"]["password"], "********");
    let told = |field: &str| [0, 1, 2].map(|at: usize| group["endpoints"][at][field].clone());
    assert_eq!(told("inheritConfiguration"), [json!(true), json!(true), json!(false)]);
    assert_eq!(told("secondary"), [json!(false), json!(false), json!(true)]);
    assert_eq!(told("weight"), [json!(3), json!(1), json!(1)]);
    let over = told("sharedConfigurationOverride");
    assert_eq!((&over[0], &over[1]), (&Value::Null, &Value::Null));
    assert_eq!(over[2]["security"]["sasl"]["username"], "other");
    // What is answered can be sent back, masks and all.
    let kept = done(&server, "PUT", &at, Some(&made), 200).await;
    assert_eq!(lasting(kept), lasting(made.clone()));
    let path = format!("/management/organizations/DEFAULT/environments/DEFAULT/v4/{at}");
    let older = send(server.anonymous("GET", &path).basic_auth("admin", Some(PASSWORD))).await.json();
    let older = &older["endpointGroups"][0];
    assert_eq!(older["loadBalancer"]["type"], "weighted-round-robin");
    assert_eq!(older["endpoints"][2]["secondary"], true);
    assert_eq!(older["endpoints"][1]["configuration"]["security"]["sasl"]["username"], "u");
}

#[tokio::test]
async fn where_a_broker_is_stands_apart_from_how_it_is_used() {
    let server = Server::start().await;
    for (kind, connection) in [
        ("mqtt5", json!({ "serverHost": "broker", "serverPort": 1883 })),
        ("solace", json!({ "url": "tcp://broker:55555", "vpnName": "default" })),
        ("rabbitmq", json!({ "serverHost": "broker", "serverPort": 5672, "virtualHost": "/" })),
        ("amqp", json!({ "url": "amqp://broker:5672" })),
    ] {
        let shared = match kind {
            "mqtt5" => json!({ "producer": { "topic": "t" }, "consumer": { "topic": "t" } }),
            "rabbitmq" => {
                let route = json!({ "routingKey": "t", "exchange": { "name": "e", "type": "topic" } });
                json!({ "producer": route, "consumer": route })
            }
            _ => json!({ "producer": { "topics": ["topic://t"] }, "consumer": { "topics": ["topic://t"] } }),
        };
        let mut document = webhook();
        document["name"] = json!(kind);
        document["endpointGroups"][0] = json!({
            "name": "group", "type": kind, "endpoints": [{
                "name": "default", "type": kind, "configuration": connection,
                "sharedConfigurationOverride": shared,
            }],
        });
        let made = done(&server, "POST", "apis", Some(&document), 201).await;
        let told = &made["endpointGroups"][0]["endpoints"][0];
        assert_eq!(told["configuration"], connection, "{kind}");
        assert!(told["sharedConfigurationOverride"]["producer"].is_object(), "{kind}: {told}");
        let kept = done(&server, "PUT", &format!("apis/{}", id(&made)), Some(&made), 200).await;
        assert_eq!(lasting(kept), lasting(made), "{kind}");
    }
}
