//! What resources look like that are refused, and how requests and refusals of their contract look.

use serde_json::{Value, json};

use crate::{
    support::{PASSWORD, Server, send},
    wso2::{BASE, at_fault, call, refused, webbroker, websub},
};

/// What is said at which fields of a resource.
async fn faults(resource: &Value, path: &str) -> Vec<(String, String)> {
    let server = Server::start().await;
    refused(&call(&server, "POST", path, Some(resource)).await, 400).1
}

fn is_told(faults: &[(String, String)], field: &str, instead: &str) {
    let told = faults.iter().any(|(at, message)| at == field && message.contains(instead));
    assert!(told, "{field} {instead}: {faults:?}");
}

#[tokio::test]
async fn flat_lists_of_policies_are_refused() {
    let mut resource = websub();
    resource["spec"]["policies"] = json!([{ "name": "api-key-auth", "version": "v1" }]);
    resource["spec"]["channels"]["paid"] = json!({ "policies": { "on_subscription": [] } });
    resource["spec"]["channels"]["created"] = json!({ "on_message_received": [] });
    let faults = faults(&resource, "websub-apis").await;
    is_told(&faults, "spec.policies", "spec.allChannels.<hook>");
    is_told(&faults, "spec.channels.paid.policies", "spec.channels.paid.<hook>");
    is_told(&faults, "spec.channels.created.on_message_received", "policies");
}

#[tokio::test]
async fn blocks_for_hub_receiver_and_delivery_are_refused() {
    let mut resource = websub();
    resource["apiVersion"] = json!("wso2.com/v1");
    resource["spec"]["hub"] = json!({});
    resource["spec"]["receiver"] = json!({ "type": "websub" });
    resource["spec"]["delivery"] = json!({});
    resource["spec"]["broker-driver"] = json!({ "type": "kafka" });
    let found = faults(&resource, "websub-apis").await;
    is_told(&found, "apiVersion", "gateway.api-platform.wso2.com/v1");
    for field in ["hub", "receiver", "delivery", "broker-driver"] {
        is_told(&found, &format!("spec.{field}"), "leave it out");
    }
    let mut resource = webbroker();
    resource["spec"]["broker-driver"] = json!({ "type": "kafka" });
    resource["spec"]["channels"]["prices"]["on_connection_init"] = json!({ "request": [], "response": [] });
    resource["spec"]["channels"]["echo"]["on_produce"] = json!({ "policies": [{ "name": "map-topic" }] });
    let found = faults(&resource, "webbroker-apis").await;
    is_told(&found, "spec.broker-driver", "spec.broker");
    is_told(&found, "spec.channels.prices.on_connection_init.request", "one list");
    is_told(&found, "spec.channels.echo.on_produce.policies[0].name", "produceTo");
}

#[tokio::test]
async fn lists_of_channels_are_refused() {
    let mut resource = websub();
    resource["spec"]["channels"] = json!([{ "name": "issues", "method": "SUB" }]);
    is_told(&faults(&resource, "websub-apis").await, "spec.channels", "map");
}

#[tokio::test]
async fn policies_apart_from_channels_are_refused() {
    let mut resource = websub();
    resource["spec"]["allChannelPolicies"] = json!({ "on_subscription": [] });
    resource["spec"]["channelPolicies"] = json!({ "paid": {} });
    let faults = faults(&resource, "websub-apis").await;
    is_told(&faults, "spec.allChannelPolicies", "spec.allChannels");
    is_told(&faults, "spec.channelPolicies", "spec.channels.<channel>");
}

#[tokio::test]
async fn a_receiver_beside_a_hub_is_refused() {
    let mut resource = websub();
    resource["spec"]["receiver"] = json!({ "name": "r" });
    resource["spec"]["hub"] = json!({ "name": "h" });
    let found = faults(&resource, "websub-apis").await;
    is_told(&found, "spec.receiver", "leave it out");
    is_told(&found, "spec.hub", "leave it out");
    let mut resource = webbroker();
    resource["spec"]["hub"] = json!({});
    is_told(&faults(&resource, "webbroker-apis").await, "spec.hub", "WebSubApi");
}

#[tokio::test]
async fn the_names_of_a_discussion_are_refused() {
    let mut resource = webbroker();
    resource["spec"]["brokerDriver"] = json!({ "type": "kafka" });
    resource["spec"]["policies"] = json!({});
    let faults = faults(&resource, "webbroker-apis").await;
    is_told(&faults, "spec.brokerDriver", "spec.broker");
    is_told(&faults, "spec.policies", "spec.allChannels");
}

#[tokio::test]
async fn the_notation_of_static_files_is_refused() {
    let file = json!({ "channels": [{ "kind": "WebBrokerApi", "name": "a", "context": "/a" }] });
    is_told(&faults(&file, "webbroker-apis").await, "channels", "one resource for each API");
    let mut resource = webbroker();
    resource["spec"]["inbound"] = json!([]);
    resource["spec"]["allChannels"] = json!({ "subscribe": [] });
    resource["spec"]["channels"]["prices"] = json!({ "produce_to": "a", "consume_from": "b" });
    let found = faults(&resource, "webbroker-apis").await;
    is_told(&found, "spec.inbound", "on_produce");
    is_told(&found, "spec.allChannels.subscribe", "on_connection_init");
    is_told(&found, "spec.channels.prices.produce_to", "produceTo");
    is_told(&found, "spec.channels.prices.consume_from", "consumeFrom");
}

#[tokio::test]
async fn a_field_that_is_not_known_missing_or_wrong_is_told_by_its_path() {
    let server = Server::start().await;
    for (pointer, value, field) in [
        ("/more", json!(1), "more"),
        ("/metadata/owner", json!("me"), "metadata.owner"),
        ("/spec/upstream", json!({}), "spec.upstream"),
        ("/spec/channels/created/on_message", json!({}), "spec.channels.created.on_message"),
        ("/spec/allChannels/on_produce", json!({}), "spec.allChannels.on_produce"),
        ("/spec/version", json!(1.0), "spec.version"),
        ("/spec/version", json!("1.0-beta"), "spec.version"),
        ("/spec/displayName", json!("a/b"), "spec.displayName"),
        ("/spec/displayName", json!("x".repeat(101)), "spec.displayName"),
        ("/spec/context", json!("orders"), "spec.context"),
        ("/spec/context", json!("/orders/"), "spec.context"),
        ("/spec/context", json!(format!("/{}", "x".repeat(200))), "spec.context"),
        ("/spec/context", json!("/a?b"), "spec.context"),
        ("/spec/channels", json!({}), "spec.channels"),
        ("/spec/channels", json!({ "hub": {} }), "spec.channels.hub"),
        ("/spec/channels", json!({ "{x}": {} }), "spec.channels.{x}"),
        ("/spec/deploymentState", json!("paused"), "spec.deploymentState"),
        ("/metadata/name", json!("a b"), "metadata.name"),
        ("/metadata/name", json!("x".repeat(65)), "metadata.name"),
        ("/metadata/labels", json!({ "a b": "c" }), "metadata.labels.a b"),
        ("/kind", json!("WebBrokerApi"), "kind"),
        ("/apiVersion", json!("gateway.api-platform.wso2.com/v1alpha1"), "apiVersion"),
    ] {
        let mut resource = websub();
        let (outer, name) = pointer.rsplit_once('/').unwrap();
        resource.pointer_mut(outer).unwrap()[name] = value;
        let answer = call(&server, "POST", "websub-apis", Some(&resource)).await;
        assert_eq!(at_fault(&answer, 400), field, "{}", answer.text);
    }
    for pointer in ["apiVersion", "kind", "metadata", "spec"] {
        let mut resource = websub();
        resource.as_object_mut().unwrap().remove(pointer);
        let (message, _) = refused(&call(&server, "POST", "websub-apis", Some(&resource)).await, 400);
        assert!(message.contains(pointer), "{message}");
    }
    for other in [json!([]), json!("x"), json!(null)] {
        refused(&call(&server, "POST", "websub-apis", Some(&other)).await, 400);
    }
    assert_eq!(call(&server, "POST", "websub-apis", Some(&websub())).await.status, 201);
}

#[tokio::test]
async fn a_policy_that_can_not_be_is_told_where_it_stands() {
    let server = Server::start().await;
    let policy = |value: Value| json!({ "policies": [value] });
    let at = "spec.channels.paid.on_subscription.policies[0]";
    for (hook, value, field) in [
        (
            "on_subscription",
            json!({ "name": "json-schema-validator", "version": "v1" }),
            format!("{at}.name"),
        ),
        ("on_subscription", json!({ "name": "message-filtering", "version": "v1" }), format!("{at}.name")),
        ("on_subscription", json!({ "name": "api-key-auth", "version": "v1.0.3" }), format!("{at}.version")),
        ("on_subscription", json!({ "name": "api-key-auth", "version": "v2" }), format!("{at}.version")),
        (
            "on_subscription",
            json!({ "name": "api-key-auth", "version": "v1", "params": { "key": "K", "in": "header", "name": "x" } }),
            format!("{at}.params.name"),
        ),
        (
            "on_subscription",
            json!({
                "name": "api-key-auth", "version": "v1", "executionCondition": "1 +",
                "params": { "key": "K", "in": "header" }
            }),
            format!("{at}.executionCondition"),
        ),
        (
            "on_subscription",
            json!({ "name": "api-key-auth", "version": "v1", "when": "x" }),
            format!("{at}.when"),
        ),
        ("on_subscription", json!({ "name": "api-key-auth" }), at.to_owned()),
    ] {
        let mut resource = websub();
        resource["spec"]["channels"]["paid"] = json!({ hook: policy(value) });
        let answer = call(&server, "POST", "websub-apis", Some(&resource)).await;
        assert_eq!(at_fault(&answer, 400), field, "{}", answer.text);
    }
}

#[tokio::test]
async fn bodies_are_json_or_yaml_whatever_they_are_called() {
    let yaml = "\
apiVersion: gateway.api-platform.wso2.com/v1
kind: WebSubApi
metadata: {name: NAME}
spec:
  displayName: NAME
  version: v1.0
  context: /NAME
  channels: {created: {}}
";
    let server = Server::start().await;
    let json = json!({
        "apiVersion": "gateway.api-platform.wso2.com/v1", "kind": "WebSubApi", "metadata": { "name": "NAME" },
        "spec": { "displayName": "NAME", "version": "v1.0", "context": "/NAME", "channels": { "created": {} } }
    })
    .to_string();
    let cases = [
        ("application/yaml", yaml),
        ("application/x-yaml", yaml),
        ("text/yaml; charset=utf-8", yaml),
        ("text/plain", yaml),
        ("", yaml),
        ("application/json", &json),
        ("text/plain", &json),
        ("", &json),
    ];
    for (index, (media, text)) in cases.into_iter().enumerate() {
        let text = text.replace("NAME", &format!("api-{index}"));
        let request =
            server.anonymous("POST", &format!("{BASE}/websub-apis")).basic_auth("admin", Some(PASSWORD));
        let request = if media.is_empty() { request } else { request.header("content-type", media) };
        let answer = send(request.body(text)).await;
        assert_eq!(answer.status, 201, "{media}: {}", answer.text);
        assert_eq!(answer.header("content-type"), "application/json");
    }
    for (media, text) in
        [("application/json", yaml), ("application/yaml", "a: ["), ("application/yaml", "\u{0}")]
    {
        let request =
            server.anonymous("POST", &format!("{BASE}/websub-apis")).basic_auth("admin", Some(PASSWORD));
        refused(&send(request.header("content-type", media).body(text)).await, 400);
    }
}

#[tokio::test]
async fn a_body_that_is_too_large_is_refused() {
    let server = Server::start().await;
    for (spare, status) in [(0, 413), (1, 400)] {
        let request =
            server.anonymous("POST", &format!("{BASE}/websub-apis")).basic_auth("admin", Some(PASSWORD));
        let body = "x".repeat((1 << 20) + 1 - spare);
        refused(&send(request.body(body)).await, status);
    }
}

#[tokio::test]
async fn who_is_not_let_in_is_told_in_words_of_the_contract() {
    let server = Server::start().await;
    for path in [&format!("{BASE}/websub-apis"), "/webbroker-apis"] {
        let answer = send(server.anonymous("GET", path)).await;
        let body = answer.json();
        assert_eq!((answer.status.as_u16(), &body["code"]), (401, &json!("authentication_failed")));
        assert!(answer.header("www-authenticate").starts_with("Basic"));
        let request = server.anonymous("GET", path).basic_auth("admin", Some("wrong"));
        assert_eq!(send(request).await.json()["code"], "authentication_failed");
        let request = server.anonymous("GET", path).basic_auth("admin", Some(PASSWORD));
        let answer = send(request.header("sec-fetch-site", "cross-site")).await;
        assert_eq!((answer.status.as_u16(), &answer.json()["code"]), (403, &json!("forbidden")));
    }
}

#[tokio::test]
async fn the_older_addresses_serve_the_same_and_name_the_newer() {
    let server = Server::start().await;
    let at = |method: &str, path: &str| server.anonymous(method, path).basic_auth("admin", Some(PASSWORD));
    let created = send(at("POST", "/websub-apis").json(&websub())).await;
    assert_eq!(created.status, 201, "{}", created.text);
    let shown = send(at("GET", "/websub-apis/orders-v1-0")).await;
    assert_eq!(shown.json(), call(&server, "GET", "websub-apis/orders-v1-0", None).await.json());
    for answer in [&created, &shown, &send(at("GET", "/webbroker-apis/none")).await] {
        assert_eq!(answer.header("deprecation"), "true");
        assert!(answer.header("link").ends_with("; rel=\"successor-version\""));
        assert!(answer.header("warning").starts_with("299 "));
    }
    assert_eq!(
        shown.header("link"),
        "</api/management/v1/websub-apis/orders-v1-0>; rel=\"successor-version\""
    );
    let newer = call(&server, "GET", "websub-apis/orders-v1-0", None).await;
    assert_eq!(newer.headers.get("deprecation"), None);
    refused(&call(&server, "GET", "nothing", None).await, 404);
    refused(&call(&server, "PATCH", "websub-apis/orders-v1-0", None).await, 405);
}
