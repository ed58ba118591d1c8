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
    let api = made(gateway, "/v4/apis", &api).await;
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
