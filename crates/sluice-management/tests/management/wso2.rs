//! The contract of `WebSubApi` and `WebBrokerApi` resources: what becomes of them, and what is answered.

use serde_json::{Value, json};
use sluice_api::{ApiId, BrokerConfig, EventApi, HttpPath, PlanId, Qos, ReceiverConfig};
use sluice_gateway::GatewayOptions;
use sluice_management::{Expected, ManagementOptions, read_definition};
use sluice_websub::{HubRequest, Mode};

use crate::{
    hub::request,
    support::{Answer, PASSWORD, Server, api, gateway, send},
};

pub(crate) const BASE: &str = "/api/management/v1";

pub(crate) async fn call(server: &Server, method: &str, path: &str, body: Option<&Value>) -> Answer {
    let request = server.anonymous(method, &format!("{BASE}/{path}")).basic_auth("admin", Some(PASSWORD));
    send(match body {
        Some(body) => request.json(body),
        None => request,
    })
    .await
}

/// The refusal of an answer: its message, and its faults by field.
pub(crate) fn refused(answer: &Answer, status: u16) -> (String, Vec<(String, String)>) {
    let body = answer.json();
    assert_eq!((answer.status.as_u16(), &body["status"]), (status, &json!("error")), "{}", answer.text);
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let errors = body["errors"].as_array().into_iter().flatten();
    let errors = errors.map(|error| (text(&error["field"]), text(&error["message"])));
    (text(&body["message"]), errors.collect())
}

/// The only field that is at fault.
pub(crate) fn at_fault(answer: &Answer, status: u16) -> String {
    let (_, errors) = refused(answer, status);
    assert_eq!(errors.len(), 1, "{}", answer.text);
    errors[0].0.clone()
}

pub(crate) fn websub() -> Value {
    json!({
        "apiVersion": "gateway.api-platform.wso2.com/v1",
        "kind": "WebSubApi",
        "metadata": { "name": "orders-v1-0", "labels": { "team": "shop" } },
        "spec": {
            "displayName": "orders",
            "version": "v1.0",
            "context": "/orders",
            "allChannels": { "on_message_received": { "policies": [
                { "name": "websub-hmac-auth", "version": "v1", "params": { "algorithm": "sha256" } }
            ] } },
            "channels": {
                "created": {},
                "paid": { "on_subscription": { "policies": [
                    { "name": "api-key-auth", "version": "v1", "params": { "key": "X-API-Key", "in": "header" } }
                ] } }
            }
        }
    })
}

pub(crate) fn webbroker() -> Value {
    json!({
        "apiVersion": "gateway.api-platform.wso2.com/v1",
        "kind": "WebBrokerApi",
        "metadata": { "name": "ticks-v1.0" },
        "spec": {
            "displayName": "ticks",
            "version": "v1.0",
            "context": "/ticks/v1.0",
            "receiver": { "name": "ws", "type": "websocket" },
            "broker": { "name": "k", "type": "kafka", "properties": { "brokers": ["kafka:29092"] } },
            "channels": {
                "prices": { "produceTo": { "topic": "in.prices" }, "consumeFrom": { "topic": "out.prices" } },
                "echo": {}
            }
        }
    })
}

pub(crate) fn draft(server: &Server, id: &str) -> EventApi {
    server.registry.get(&ApiId(id.to_owned())).unwrap().record.draft.clone()
}

pub(crate) async fn created(resource: &Value) -> (Server, EventApi) {
    let server = Server::start().await;
    let path = if resource["kind"] == "WebSubApi" { "websub-apis" } else { "webbroker-apis" };
    let answer = call(&server, "POST", path, Some(resource)).await;
    assert_eq!(answer.status, 201, "{}", answer.text);
    let draft = draft(&server, resource["metadata"]["name"].as_str().unwrap());
    (server, draft)
}

#[tokio::test]
async fn a_resource_is_answered_as_it_was_written_with_its_status() {
    let (server, _) = created(&websub()).await;
    let mut shown = call(&server, "GET", "websub-apis/orders-v1-0", None).await.json();
    let status = shown.as_object_mut().unwrap().remove("status").unwrap();
    assert_eq!(shown, websub());
    assert_eq!((&status["id"], &status["state"]), (&json!("orders-v1-0"), &json!("deployed")));
    for time in ["createdAt", "updatedAt", "deployedAt"] {
        assert!(status[time].as_str().unwrap().ends_with('Z'), "{status}");
    }
    assert_eq!(status.get("note"), None);
    let list = call(&server, "GET", "websub-apis", None).await.json();
    assert_eq!((&list["status"], &list["count"]), (&json!("success"), &json!(1)));
    assert_eq!(list["websubApis"][0]["metadata"], websub()["metadata"]);
    let none = call(&server, "GET", "webbroker-apis", None).await.json();
    assert_eq!(none, json!({ "status": "success", "count": 0, "webBrokerApis": [] }));
}

#[tokio::test]
async fn a_websub_api_is_a_hub_with_a_topic_of_its_own_for_each_channel() {
    let (_, api) = created(&websub()).await;
    assert_eq!(api.paths, [HttpPath { host: None, path: "/orders/v1.0".to_owned() }]);
    let kinds: Vec<_> = api.receivers.iter().map(|it| (it.configuration.kind(), it.qos)).collect();
    assert_eq!(kinds, [("websub", Qos::AtLeastOnce), ("webhook-receiver", Qos::Auto)]);
    assert!(matches!(api.brokers[0].configuration, BrokerConfig::Log(_)));
    let topic = Some("orders-v1-0.v1_2e0.created".to_owned());
    assert_eq!(
        (&api.channels["created"].produce_to, &api.channels["created"].consume_from),
        (&topic, &topic)
    );
    let [all, paid] = &api.flows[..] else { panic!("{:?}", api.flows) };
    assert_eq!((all.channel.is_none(), &*all.publish[0].policy), (true, "websub-hmac-auth"));
    let channel = paid.channel.as_ref().unwrap();
    assert_eq!((&*channel.channel, &*paid.subscribe[0].policy), ("/paid", "api-key-auth"));
}

#[tokio::test]
async fn the_broker_of_a_hub_is_the_one_that_the_operator_names() {
    let settings = json!({ "bootstrapServers": "hubs:9092" });
    let hub_broker = sluice_api::Broker::parse("hubs", "kafka", Some(settings)).unwrap();
    let options = ManagementOptions { hub_broker: hub_broker.clone(), ..ManagementOptions::default() };
    let directory = tempfile::tempdir().unwrap();
    let server = Server::with(directory, &gateway(GatewayOptions::default()), options).await;
    assert_eq!(call(&server, "POST", "websub-apis", Some(&websub())).await.status, 201);
    assert_eq!(draft(&server, "orders-v1-0").brokers, [hub_broker]);
    // A WebBrokerApi brings its own.
    assert_eq!(call(&server, "POST", "webbroker-apis", Some(&webbroker())).await.status, 201);
    assert_eq!(draft(&server, "ticks-v1.0").brokers[0].configuration.address(), "kafka kafka:29092");
}

#[tokio::test]
async fn policies_for_all_channels_run_before_those_of_a_channel() {
    let set = |value: &str| {
        json!({ "policies": [{
            "name": "set-headers", "version": "v1", "executionCondition": "1 == 1",
            "params": { "request": { "headers": [{ "name": "x-a", "value": value }] } }
        }] })
    };
    let mut resource = webbroker();
    // The order in which they are written says nothing.
    resource["spec"]["channels"]["prices"]["on_produce"] = set("channel");
    for hook in ["on_produce", "on_consume"] {
        resource["spec"]["allChannels"][hook] = set("all");
    }
    let (_, api) = created(&resource).await;
    let [all, prices] = &api.flows[..] else { panic!("{:?}", api.flows) };
    assert_eq!((all.publish.len(), all.deliver.len(), all.channel.is_none()), (1, 1, true));
    assert_eq!((prices.publish.len(), &*prices.channel.as_ref().unwrap().channel), (1, "/prices"));
    assert_eq!(all.publish[0].execution_condition.as_deref(), Some("1 == 1"));
}

#[tokio::test]
async fn a_web_broker_api_has_the_context_as_it_is_and_the_topics_that_it_names() {
    let (_, api) = created(&webbroker()).await;
    assert_eq!(api.paths, [HttpPath { host: None, path: "/ticks/v1.0".to_owned() }]);
    let prices = &api.channels["prices"];
    assert_eq!(
        (prices.produce_to.as_deref(), prices.consume_from.as_deref()),
        (Some("in.prices"), Some("out.prices"))
    );
    assert_eq!(api.channels["echo"].consume_from.as_deref(), Some("echo"));
    let BrokerConfig::Kafka(kafka) = &api.brokers[0].configuration else { panic!("{:?}", api.brokers) };
    assert_eq!((&*kafka.bootstrap_servers, &kafka.security), ("kafka:29092", &None));
    let ReceiverConfig::Websocket(websocket) = &api.receivers[0].configuration else { panic!("websocket") };
    assert_eq!(websocket.frames, sluice_api::FrameFormat::Auto);
}

#[tokio::test]
async fn a_channel_without_topics_has_its_normalized_name() {
    let mut resource = webbroker();
    resource["spec"]["channels"] = json!({ "a_b/c": {} });
    let (_, api) = created(&resource).await;
    let topic = Some("a__b_2f_c".to_owned());
    assert_eq!((&api.channels["a_b/c"].produce_to, &api.channels["a_b/c"].consume_from), (&topic, &topic));
}

#[tokio::test]
async fn receiver_properties_take_effect_and_unknown_ones_are_refused() {
    let mut resource = webbroker();
    resource["spec"]["receiver"] = json!([
        { "name": "ws", "type": "websocket", "properties": {
            "maxConnections": 10, "pingInterval": "20s", "maxMessageSize": 4096, "frames": "json",
            "qos": "at-least-once", "allowedOrigins": ["https://app.example"]
        } },
        { "name": "events", "type": "sse", "properties": { "pingInterval": 10 } }
    ]);
    let (server, api) = created(&resource).await;
    let ReceiverConfig::Websocket(websocket) = &api.receivers[0].configuration else { panic!("websocket") };
    assert_eq!((websocket.ping_interval_ms, websocket.max_connections), (20_000, Some(10)));
    assert_eq!((api.receivers[0].qos, api.limits.max_body_bytes), (Qos::AtLeastOnce, 4096));
    let ReceiverConfig::Sse(sse) = &api.receivers[1].configuration else { panic!("sse") };
    assert_eq!(sse.heartbeat_interval_in_ms, 10_000);
    for (receiver, field) in [
        (
            json!({ "name": "a", "type": "websocket", "properties": { "pings": 1 } }),
            "spec.receiver.properties.pings",
        ),
        (
            json!({ "name": "a", "type": "websocket", "properties": { "pingInterval": "soon" } }),
            "spec.receiver.properties.pingInterval",
        ),
        (
            json!({ "name": "a", "type": "websocket", "properties": { "maxMessageSize": 0 } }),
            "spec.receiver.properties.maxMessageSize",
        ),
        (
            json!({ "name": "a", "type": "sse", "properties": { "maxMessageSize": 10 } }),
            "spec.receiver.properties.maxMessageSize",
        ),
        (json!({ "name": "a", "type": "grpc" }), "spec.receiver.type"),
        (json!([{ "name": "a", "type": "sse" }, { "name": "b", "type": "mqtt" }]), "spec.receiver[1].type"),
        (json!([{ "name": "a", "type": "sse" }, { "name": "b", "type": "sse" }]), "spec.receiver[1].type"),
        (json!([]), "spec.receiver"),
    ] {
        let mut other = webbroker();
        other["spec"]["receiver"] = receiver;
        let answer = call(&server, "POST", "webbroker-apis", Some(&other)).await;
        assert_eq!(at_fault(&answer, 400), field, "{}", answer.text);
    }
}

#[tokio::test]
async fn vhosts_are_the_hosts_of_the_path() {
    let mut resource = websub();
    resource["spec"]["vhosts"] = json!({ "main": "api.example.com", "sandbox": "try.example.com" });
    let (server, api) = created(&resource).await;
    let hosts: Vec<_> = api.paths.iter().map(|path| path.host.as_deref().unwrap()).collect();
    assert_eq!(hosts, ["api.example.com", "try.example.com"]);
    for (vhosts, field) in [
        (json!({ "main": "a b" }), "spec.vhosts.main"),
        (json!({ "main": "a", "sandbox": "b/c" }), "spec.vhosts.sandbox"),
        (json!({ "main": "a", "test": "b" }), "spec.vhosts.test"),
        (json!({ "main": "same", "sandbox": "same" }), "spec.context"),
    ] {
        let mut other = websub();
        other["metadata"]["name"] = json!("other");
        other["spec"]["vhosts"] = vhosts;
        let answer = call(&server, "POST", "websub-apis", Some(&other)).await;
        assert_eq!(at_fault(&answer, 400), field);
    }
}

#[tokio::test]
async fn the_deployment_state_is_honoured_when_it_is_created_and_when_it_is_changed() {
    let mut resource = websub();
    resource["spec"]["deploymentState"] = json!("undeployed");
    let (server, _) = created(&resource).await;
    let state = async |server: &Server| {
        let shown = call(server, "GET", "websub-apis/orders-v1-0", None).await.json();
        let started = server.registry.get(&ApiId("orders-v1-0".to_owned())).unwrap().record.started;
        (
            shown["status"]["state"].as_str().unwrap().to_owned(),
            shown["status"]["deployedAt"].is_string(),
            started,
        )
    };
    assert_eq!(state(&server).await, ("undeployed".to_owned(), false, false));
    for (wanted, deployed) in [("deployed", true), ("undeployed", false), ("deployed", true)] {
        resource["spec"]["deploymentState"] = json!(wanted);
        let answer = call(&server, "PUT", "websub-apis/orders-v1-0", Some(&resource)).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        assert_eq!(state(&server).await, (wanted.to_owned(), deployed, deployed));
    }
}

#[tokio::test]
async fn an_update_replaces_what_is_served_and_keeps_plan_and_position() {
    let (server, _) = created(&webbroker()).await;
    let id = ApiId("ticks-v1.0".to_owned());
    let before = server.registry.get(&id).unwrap();
    let mut resource = call(&server, "GET", "webbroker-apis/ticks-v1.0", None).await.json();
    resource["spec"]["displayName"] = json!("more ticks");
    let answer = call(&server, "PUT", "webbroker-apis/ticks-v1.0", Some(&resource)).await;
    assert_eq!((answer.status.as_u16(), &answer.json()["spec"]), (200, &resource["spec"]));
    let after = server.registry.get(&id).unwrap();
    assert_eq!(after.record.deployed.as_ref().unwrap().name, "more ticks");
    assert_eq!((&after.record.plans, after.record.started), (&before.record.plans, true));
    assert_eq!(after.record.created_at, before.record.created_at);
    resource["metadata"]["name"] = json!("another");
    let answer = call(&server, "PUT", "webbroker-apis/ticks-v1.0", Some(&resource)).await;
    assert_eq!(at_fault(&answer, 400), "metadata.name");
    // What is refused leaves what runs as it is.
    resource["metadata"]["name"] = json!("ticks-v1.0");
    resource["spec"]["allChannels"] =
        json!({ "on_produce": { "policies": [{ "name": "none", "version": "v1" }] } });
    let answer = call(&server, "PUT", "webbroker-apis/ticks-v1.0", Some(&resource)).await;
    assert_eq!(at_fault(&answer, 400), "spec.allChannels.on_produce.policies[0].name");
    assert_eq!(server.registry.get(&id).unwrap().record, after.record);
}

#[tokio::test]
async fn a_subscription_lives_through_updates_and_ends_with_the_api() {
    let (server, _) = created(&websub()).await;
    let request = HubRequest {
        api: ApiId("orders-v1-0".to_owned()),
        plan: PlanId("default".to_owned()),
        ..request("one", Mode::Subscribe, "https://hooks.example/in")
    };
    let desk = server.registry.desk();
    desk.keep(request.clone()).await.unwrap();
    let id = desk.fulfil(&request).await.unwrap().unwrap();
    let before = server.registry.subscription(&id).unwrap();
    let mut resource = websub();
    for state in ["deployed", "undeployed", "deployed"] {
        resource["spec"]["deploymentState"] = json!(state);
        resource["spec"]["allChannels"]["on_message_delivery"] = json!({ "policies": [{
            "name": "set-headers", "version": "v1",
            "params": { "request": { "headers": [{ "name": "x-state", "value": state }] } }
        }] });
        let answer = call(&server, "PUT", "websub-apis/orders-v1-0", Some(&resource)).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        let after = server.registry.subscription(&id).unwrap();
        assert_eq!((&after.consumer, after.status), (&before.consumer, before.status));
    }
    assert_eq!(call(&server, "DELETE", "websub-apis/orders-v1-0", None).await.status, 200);
    assert!(server.registry.subscription(&id).is_err());
}

#[tokio::test]
async fn what_is_deleted_is_gone_and_its_handle_is_free() {
    let (server, _) = created(&websub()).await;
    call(&server, "POST", "webbroker-apis", Some(&webbroker())).await;
    let deleted = call(&server, "DELETE", "websub-apis/orders-v1-0", None).await;
    let body =
        json!({ "status": "success", "message": "WebSubAPI deleted successfully", "id": "orders-v1-0" });
    assert_eq!((deleted.status.as_u16(), deleted.json()), (200, body));
    let deleted = call(&server, "DELETE", "webbroker-apis/ticks-v1.0", None).await;
    assert_eq!(
        deleted.json(),
        json!({ "status": "success", "message": "WebBrokerAPI deleted successfully" })
    );
    for method in ["GET", "DELETE"] {
        refused(&call(&server, method, "websub-apis/orders-v1-0", None).await, 404);
    }
    refused(&call(&server, "PUT", "websub-apis/orders-v1-0", Some(&websub())).await, 404);
    assert_eq!(call(&server, "POST", "websub-apis", Some(&websub())).await.status, 201);
}

#[tokio::test]
async fn an_api_of_another_kind_is_not_there() {
    let (server, _) = created(&websub()).await;
    server.registry.create(api("native", "/native"), sluice_store::Catalogue::new()).await.unwrap();
    for path in
        ["webbroker-apis/orders-v1-0", "websub-apis/native", "webbroker-apis/native", "websub-apis/none"]
    {
        refused(&call(&server, "GET", path, None).await, 404);
        refused(&call(&server, "DELETE", path, None).await, 404);
        refused(&call(&server, "GET", &format!("{path}/api-keys"), None).await, 404);
    }
    refused(&call(&server, "GET", "webbroker-apis/ticks/secrets", None).await, 404);
    assert_eq!(call(&server, "GET", "websub-apis", None).await.json()["count"], 1);
}

#[tokio::test]
async fn what_another_contract_changed_is_told() {
    let (server, mut api) = created(&websub()).await;
    let id = api.id.clone();
    api.description = "Changed elsewhere".to_owned();
    server.registry.update(&id, Expected::Any, api, sluice_store::Catalogue::new()).await.unwrap();
    let shown = call(&server, "GET", "websub-apis/orders-v1-0", None).await.json();
    assert!(shown["status"]["note"].as_str().unwrap().contains("another contract"), "{shown}");
    assert_eq!(shown["spec"], websub()["spec"]);
    let answer = call(&server, "PUT", "websub-apis/orders-v1-0", Some(&websub())).await.json();
    assert_eq!(
        (answer["status"].get("note"), draft(&server, "orders-v1-0").description),
        (None, String::new())
    );
}

#[tokio::test]
async fn a_resource_in_a_file_is_the_same_api() {
    let (_, created) = created(&websub()).await;
    let options = ManagementOptions::default();
    let read = read_definition(websub(), &options).unwrap();
    assert_eq!(EventApi { plans: Vec::new(), ..read.clone() }, created);
    assert_eq!(read.plans.len(), 1);
    for (pointer, value, path) in [
        ("/kind", json!("RestApi"), "kind"),
        ("/spec/version", json!("x"), "spec.version"),
        ("/spec/deploymentState", json!("undeployed"), "spec.deploymentState"),
    ] {
        let mut other = websub();
        other["spec"]["deploymentState"] = json!("deployed");
        *other.pointer_mut(pointer).unwrap() = value;
        assert_eq!(read_definition(other, &options).unwrap_err()[0].path, path);
    }
}

#[tokio::test]
async fn one_bad_api_hinders_no_other() {
    // No broker can be reached here, and the first resource names a policy that is not there.
    let server = Server::start().await;
    let mut bad = webbroker();
    bad["spec"]["channels"]["prices"]["on_consume"] =
        json!({ "policies": [{ "name": "none", "version": "v1" }] });
    let answer = call(&server, "POST", "webbroker-apis", Some(&bad)).await;
    assert_eq!(at_fault(&answer, 400), "spec.channels.prices.on_consume.policies[0].name");
    assert_eq!(call(&server, "POST", "webbroker-apis", Some(&webbroker())).await.status, 201);
    assert_eq!(call(&server, "POST", "websub-apis", Some(&websub())).await.status, 201);
}

#[tokio::test]
async fn brokers_of_other_kinds_have_the_settings_that_they_have_everywhere() {
    for (kind, properties, address) in [
        ("mqtt", json!({ "serverHost": "broker", "serverPort": 1883 }), "broker:1883"),
        ("solace", json!({ "url": "tcp://broker:55555", "vpnName": "default" }), "broker:55555"),
        ("rabbitmq", json!({ "serverHost": "broker", "serverPort": 5672 }), "broker:5672"),
    ] {
        let mut resource = webbroker();
        resource["spec"]["broker"] = json!({ "name": "b", "type": kind, "properties": properties });
        let (_, api) = created(&resource).await;
        let found = api.brokers[0].configuration.address();
        assert!(found.contains(address), "{kind}: {found}");
    }
}

#[tokio::test]
async fn problems_of_brokers_of_other_kinds_name_their_properties() {
    let server = Server::start().await;
    let pem = json!({ "type": "PEM" });
    for (properties, field) in [
        (json!({ "serverPort": 1883 }), "spec.broker.properties"),
        (json!({ "serverHost": "broker", "nonsense": 1 }), "spec.broker.properties"),
        (
            json!({ "serverHost": "broker", "serverPort": 1883, "security": { "ssl": { "trustStore": pem } } }),
            "spec.broker.properties.security.ssl.trustStore",
        ),
    ] {
        let mut resource = webbroker();
        resource["spec"]["broker"] = json!({ "name": "b", "type": "mqtt", "properties": properties });
        let answer = call(&server, "POST", "webbroker-apis", Some(&resource)).await;
        let told = at_fault(&answer, 400);
        assert!(told.starts_with(field), "{told}: {}", answer.text);
    }
}
