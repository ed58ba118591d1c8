//! Webhooks on the real binary: what happens between a publisher and a subscriber when either the gateway or the
//! subscriber is away.

use std::collections::HashSet;

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{Gateway, Listener, Starting, gravitee_api, kafka, kafka_topic, plan, until};

/// Lets the gateway call listeners of the test.
const ALLOW: &str = "webhooks: { allow: ['127.0.0.0/8', '::1/128'] }";

async fn made(gateway: &Gateway, path: &str, body: &Value) -> String {
    let answer = gateway.manage(Method::POST, path).json(body).send().await.unwrap();
    assert!(answer.status().is_success(), "{path}: {:?}", answer.text().await);
    let answer: Value = answer.json().await.unwrap();
    answer["id"].as_str().unwrap().to_owned()
}

/// A started API with a webhook and a subscriber to it. Gives the ids of the API and the subscription.
async fn subscribed(
    gateway: &Gateway,
    endpoint: &str,
    configuration: &Value,
    consumer: &Value,
) -> (String, String) {
    let mut api = gravitee_api("Hooks", "/hooks", endpoint, configuration);
    let listener = json!({ "type": "subscription", "entrypoints": [{ "type": "webhook" }] });
    api["listeners"].as_array_mut().unwrap().push(listener);
    subscribed_to(gateway, &api, consumer).await
}

async fn subscribed_to(gateway: &Gateway, api: &Value, consumer: &Value) -> (String, String) {
    let api = made(gateway, "/v4/apis", api).await;
    made(gateway, &format!("/v4/apis/{api}/plans"), &plan()).await;
    let mut push = plan();
    push["security"] = json!({ "type": "subscription" });
    let push = made(gateway, &format!("/v4/apis/{api}/plans"), &push).await;
    let started = gateway.manage(Method::POST, &format!("/v4/apis/{api}?action=start")).send().await.unwrap();
    assert_eq!(started.status(), 204);
    let application = json!({ "name": "App", "description": "d" });
    let application = made(gateway, "/applications", &application).await;
    let path = format!("/v4/apis/{api}/subscriptions?application={application}&plan={push}");
    let subscription = made(gateway, &path, &json!({ "configuration": consumer })).await;
    (api, subscription)
}

fn consumer(listener: &Listener) -> Value {
    json!({ "entrypointId": "webhook", "callbackUrl": listener.url() })
}

fn body(request: &Value) -> String {
    request["body"].as_str().unwrap().to_owned()
}

async fn survives_kills(endpoint: &str, configuration: Value) {
    let listener = Listener::start(&[]);
    let mut gateway = Starting::run().config(ALLOW).start().await;
    subscribed(&gateway, endpoint, &configuration, &consumer(&listener)).await;
    let mut expected = Vec::new();
    for round in 0..3 {
        for number in 0..50 {
            let message = format!("{round}-{number}");
            gateway.publish("/hooks", &message).await;
            expected.push(message);
        }
        // Some calls are done, some not, and some positions are not yet on the disk.
        gateway = gateway.kill().config(ALLOW).start().await;
    }
    gateway.publish("/hooks", "last").await;
    expected.push("last".to_owned());
    let mut seen = HashSet::new();
    let mut order = Vec::new();
    while order.last().is_none_or(|last| last != "last") {
        let message = body(&listener.next());
        if seen.insert(message.clone()) {
            order.push(message);
        }
    }
    assert_eq!(order, expected, "nothing is lost, and what is new comes in order");
}

#[tokio::test]
async fn a_subscriber_gets_everything_in_order_although_the_gateway_is_killed_on_the_embedded_log() {
    survives_kills("log", json!({ "topics": ["hooks"] })).await;
}

#[tokio::test]
async fn a_subscriber_gets_everything_in_order_although_the_gateway_is_killed_on_kafka() {
    let topic = kafka_topic("hooks", 1).await;
    survives_kills("kafka", json!({ "bootstrapServers": kafka(), "topics": [topic] })).await;
}

#[tokio::test]
async fn a_subscription_that_failed_shows_why_and_goes_on_when_it_is_resumed() {
    let listener = Listener::start(&["--status", "410,200"]);
    let gateway = Starting::run().config(ALLOW).start().await;
    let topics = json!({ "topics": ["hooks"] });
    let (api, subscription) = subscribed(&gateway, "log", &topics, &consumer(&listener)).await;
    gateway.publish("/hooks", "one").await;
    assert_eq!(body(&listener.next()), "one");
    let base = gateway.management_url("/management/v2/environments/DEFAULT");
    let path = format!("{base}/apis/{api}/subscriptions/{subscription}");
    let get = async || -> Value {
        let request = gateway.client().get(&path).basic_auth("admin", Some("admin"));
        request.send().await.unwrap().json().await.unwrap()
    };
    until("the failure to show", async || get().await["consumerStatus"] == "FAILURE").await;
    let cause = get().await["failureCause"].as_str().unwrap().to_owned();
    assert!(cause.contains("410"), "{cause}");
    gateway.publish("/hooks", "two").await;
    let resume = gateway.client().post(format!("{path}/_resumeFailure")).basic_auth("admin", Some("admin"));
    assert_eq!(resume.send().await.unwrap().status(), 200);
    assert_eq!([body(&listener.next()), body(&listener.next())], ["one", "two"]);
    assert_eq!(get().await["consumerStatus"], "STARTED");
}

#[tokio::test]
async fn a_callback_into_a_private_network_is_refused_with_its_field() {
    let gateway = Starting::run().start().await;
    let mut api = gravitee_api("Hooks", "/hooks", "log", &json!({ "topics": ["hooks"] }));
    api["listeners"] = json!([{ "type": "subscription", "entrypoints": [{ "type": "webhook" }] }]);
    let api = made(&gateway, "/v4/apis", &api).await;
    let mut push = plan();
    push["security"] = json!({ "type": "subscription" });
    let push = made(&gateway, &format!("/v4/apis/{api}/plans"), &push).await;
    let application = made(&gateway, "/applications", &json!({ "name": "a", "description": "d" })).await;
    let path = format!("/v4/apis/{api}/subscriptions?application={application}&plan={push}");
    for address in ["http://127.0.0.1/", "http://localhost/", "http://10.1.2.3/", "http://[::1]/", "ftp://a/"]
    {
        let consumer = json!({ "configuration": { "entrypointId": "webhook", "callbackUrl": address } });
        let refused = gateway.manage(Method::POST, &path).json(&consumer).send().await.unwrap();
        assert_eq!(refused.status(), 400, "{address}");
        let refused: Value = refused.json().await.unwrap();
        assert_eq!(refused["parameters"]["path"], "configuration.callbackUrl", "{refused}");
    }
}

/// The subscription as our own contract shows it.
async fn shown(gateway: &Gateway, (api, subscription): &(String, String)) -> Value {
    gateway.shown(&format!("/apis/{api}/subscriptions/{subscription}")).await
}

#[tokio::test]
async fn messages_are_brought_again_from_a_position_a_time_and_the_dead_letters_by_every_contract() {
    // The delay puts a time between the first message and its failure.
    let listener = Listener::start(&["--status", "400,200", "--delay", "20ms"]);
    let gateway = Starting::run().config(ALLOW).start().await;
    let mut api = gravitee_api("Hooks", "/hooks", "log", &json!({ "topics": ["hooks"] }));
    let webhook = json!({ "type": "webhook", "dlq": { "endpoint": "dead" } });
    let listeners = api["listeners"].as_array_mut().unwrap();
    listeners.push(json!({ "type": "subscription", "entrypoints": [webhook] }));
    let dead = json!({ "name": "dead", "type": "log", "configuration": { "topics": ["dead"] } });
    let groups = api["endpointGroups"].as_array_mut().unwrap();
    groups.push(json!({ "name": "dead-letters", "type": "log", "endpoints": [dead] }));
    let ids = subscribed_to(&gateway, &api, &consumer(&listener)).await;

    gateway.publish("/hooks", "one").await;
    assert_eq!(body(&listener.next()), "one");
    let put_there = || async { gateway.metric("sluice_dead_letters_total").await == 1.0 };
    until("the dead letter", put_there).await;
    let failed_at = shown(&gateway, &ids).await["delivery"]["lastFailure"]["at"].as_str().unwrap().to_owned();
    for content in ["two", "three"] {
        gateway.publish("/hooks", content).await;
        assert_eq!(body(&listener.next()), content);
    }

    let (api, subscription) = &ids;
    let call = format!("/apis/{api}/subscriptions/{subscription}/_replay");
    let bases = [
        "/api/v1",
        "/management/v2/environments/DEFAULT",
        "/management/organizations/DEFAULT/environments/DEFAULT/v4",
    ];
    let choices = [
        (json!({ "deadLetters": true }), &["one"][..]),
        (json!({ "position": "hooks@0#0" }), &["two", "three"]),
        (json!({ "since": failed_at }), &["two", "three"]),
    ];
    for (base, (wanted, expected)) in bases.iter().zip(&choices) {
        let post = gateway.client().post(gateway.management_url(&format!("{base}{call}"))).json(wanted);
        let answer = post.basic_auth("admin", Some("admin")).send().await.unwrap();
        assert_eq!(answer.status(), 202, "{:?}", answer.text().await);
        for content in *expected {
            assert_eq!(body(&listener.next()), *content, "{wanted}");
        }
    }
    gateway.publish("/hooks", "end").await;
    assert_eq!(body(&listener.next()), "end", "and nothing besides");
}

#[tokio::test]
async fn a_poisoned_key_holds_up_no_other_and_its_wait_shows_and_survives_a_restart() {
    let listener = Listener::start(&["--status", "503,200"]);
    let gateway = Starting::run().config(ALLOW).start().await;
    let mut api = gravitee_api("Hooks", "/hooks", "log", &json!({ "topics": ["hooks"] }));
    let listeners = api["listeners"].as_array_mut().unwrap();
    listeners.push(json!({ "type": "subscription", "entrypoints": [{ "type": "webhook" }] }));
    let value = "{#request.headers['x-key'][0]}";
    let key = json!({ "attributes": [{ "name": "gravitee.attribute.log.recordKey", "value": value }] });
    let step = json!({ "policy": "assign-attributes", "configuration": key });
    api["flows"] = json!([{ "name": "Key", "publish": [step] }]);
    let mut consumer = consumer(&listener);
    consumer["order"] = json!("key");
    consumer["retry"] = json!({ "initialDelaySeconds": 3600, "maxDelaySeconds": 3600 });
    let ids = subscribed_to(&gateway, &api, &consumer).await;
    let publish = async |key: &str, content: &str| {
        let request = gateway.client().post(gateway.url("/hooks")).header("x-key", key);
        assert_eq!(request.body(content.to_owned()).send().await.unwrap().status(), 202);
        content.to_owned()
    };

    assert_eq!(publish("poisoned", "first").await, body(&listener.next()));
    let waits = || async { shown(&gateway, &ids).await["delivery"]["retrying"]["attempts"] == 1 };
    until("the wait to show", waits).await;
    publish("poisoned", "second").await;
    for number in 0..3 {
        let content = publish("good", &number.to_string()).await;
        assert_eq!(body(&listener.next()), content, "other keys go on");
    }
    let delivery = shown(&gateway, &ids).await["delivery"].clone();
    assert_eq!((&delivery["phase"], &delivery["lastFailure"]["status"]), (&json!("retrying"), &json!(503)));
    let next_at = delivery["retrying"]["nextAt"].clone();
    assert!(next_at.is_string() && delivery["lag"].is_u64(), "{delivery}");

    let gateway = gateway.stop().await.config(ALLOW).start().await;
    until("it to be served again", || async {
        let delivery = shown(&gateway, &ids).await["delivery"].clone();
        assert!(delivery["retrying"].is_null() || delivery["retrying"]["nextAt"] == next_at, "{delivery}");
        delivery["phase"] == "retrying" && delivery["retrying"]["attempts"] == 1
    })
    .await;

    // Who changes how it is called wants it to be called.
    let (api, subscription) = &ids;
    consumer["retry"] = json!({ "initialDelaySeconds": 0 });
    let change = gateway.manage(Method::PUT, &format!("/v4/apis/{api}/subscriptions/{subscription}"));
    let changed = change.json(&json!({ "configuration": consumer })).send().await.unwrap();
    assert_eq!(changed.status(), 200, "{:?}", changed.text().await);
    let mut contents = Vec::new();
    while contents.last().is_none_or(|last| last != "second") {
        contents.push(body(&listener.next()));
    }
    let poisoned: Vec<_> = contents.iter().filter(|content| content.parse::<u32>().is_err()).collect();
    assert_eq!(poisoned, ["first", "second"], "its own order is kept");
}
