//! Clients that connect to the broker as who they are, over real brokers that judge it.

use serde_json::{Value, json};

use crate::harness::{Gateway, Sse, Starting, given, kafka_topic, rabbitmq_broker, unique, until};

/// An API at `/own` that takes posts and streams, with these connection policies.
fn api(broker: &Value, connect: &Value) -> Value {
    json!({
        "name": "own",
        "paths": [{ "path": "/own" }],
        "receivers": [{ "type": "http-post" }, { "type": "sse" }],
        "brokers": [broker],
        "flows": [{ "connect": connect }],
        "plans": [{ "name": "Open", "security": { "type": "key-less" } }],
    })
}

/// Posts with these headers; status and body of the answer.
async fn post(gateway: &Gateway, headers: &[(&str, &str)]) -> (u16, String) {
    let mut request = gateway.client().post(gateway.url("/own")).header("accept", "application/json");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let answer = request.body("x").send().await.unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap())
}

/// Who logs in is settled by the broker: the gateway takes each client's word there, and no other client suffers.
async fn clients_log_in_as_who_they_are(broker: &Value, user: &str, password: &str) {
    let gateway = Starting::run().api(&api(broker, &json!([]))).start().await;
    let state = gateway.shown("/apis/own").await["brokers"][0]["state"].clone();
    assert_eq!(state, "ofClients");
    let right = [("x-user", user), ("x-password", password)];
    assert_eq!(post(&gateway, &right).await.0, 202);
    let (status, body) = post(&gateway, &[("x-user", user), ("x-password", "wrong")]).await;
    assert_eq!(status, 503, "{body}");
    assert!(body.contains("broker.refused"), "{body}");
    assert!(!body.contains("wrong") && !gateway.log().contains("wrong\""), "{body}");
    assert_eq!(post(&gateway, &right).await.0, 202, "the other one's refusal is nothing to this client");
    let (status, body) = post(&gateway, &[("x-user", user)]).await;
    assert_eq!(status, 500, "{body}");
    assert!(body.contains("Invalid configuration"), "{body}");
    assert_eq!(gateway.metric("sluice_client_connections").await, 2.0);
}

#[tokio::test]
async fn clients_log_in_at_kafka_as_who_they_are() {
    let topic = kafka_topic("own", 1).await;
    let broker = json!({ "type": "kafka", "configuration": {
        "bootstrapServers": given("SLUICE_TEST_KAFKA_SASL"), "topics": [topic],
        "security": { "protocol": "SASL_PLAINTEXT", "sasl": { "saslMechanism": "PLAIN",
            "username": "{#request.headers['x-user'][0]}",
            "password": "{#request.headers['x-password']?.[0]}" } },
    } });
    let (user, password) = (given("SLUICE_TEST_KAFKA_USER"), given("SLUICE_TEST_KAFKA_PASSWORD"));
    clients_log_in_as_who_they_are(&broker, &user, &password).await;
}

#[tokio::test]
async fn clients_log_in_at_mosquitto_as_who_they_are() {
    let address = given("SLUICE_TEST_MQTT_LOGIN");
    let (host, port) = address.rsplit_once(':').unwrap();
    let broker = json!({ "type": "mqtt5", "configuration": {
        "serverHost": host, "serverPort": port, "topic": unique("own"),
        "security": { "auth": { "username": "{#request.headers['x-user'][0]}",
            "password": "{#request.headers['x-password']?.[0]}" } },
    } });
    let (user, password) = (given("SLUICE_TEST_MQTT_USER"), given("SLUICE_TEST_MQTT_PASSWORD"));
    clients_log_in_as_who_they_are(&broker, &user, &password).await;
}

#[tokio::test]
async fn clients_log_in_at_rabbitmq_as_who_they_are() {
    let mut broker = rabbitmq_broker(&unique("own"));
    broker["configuration"]["security"] = json!({ "auth": {
        "username": "{#request.headers['x-user'][0]}", "password": "{#request.headers['x-password']?.[0]}" } });
    let (user, password) = (given("SLUICE_TEST_RABBITMQ_USER"), given("SLUICE_TEST_RABBITMQ_PASSWORD"));
    clients_log_in_as_who_they_are(&broker, &user, &password).await;
}

#[tokio::test]
async fn clients_log_in_at_artemis_as_who_they_are() {
    let topic = format!("topic://{}", unique("own"));
    let broker = json!({ "type": "amqp", "configuration": {
        "url": format!("amqp://{}", given("SLUICE_TEST_ARTEMIS_AMQP")),
        "consumer": { "topics": [topic] }, "producer": { "topics": [topic] },
        "security": { "auth": { "username": "{#request.headers['x-user'][0]}",
            "password": "{#request.headers['x-password']?.[0]}" } },
    } });
    let (user, password) = (given("SLUICE_TEST_ARTEMIS_USER"), given("SLUICE_TEST_ARTEMIS_PASSWORD"));
    clients_log_in_as_who_they_are(&broker, &user, &password).await;
}

#[tokio::test]
async fn a_policy_gives_each_client_an_exchange_of_its_own() {
    let mut broker = rabbitmq_broker("k");
    let exchange = json!({ "name": unique("all"), "type": "direct", "autoDelete": true });
    for side in ["producer", "consumer"] {
        broker["configuration"][side]["exchange"] = exchange.clone();
    }
    let prefix = unique("of");
    let assign = json!([{ "policy": "policy-assign-attributes", "configuration": { "attributes": [{
        "name": "gravitee.attribute.rabbitmq.exchange",
        "value": format!("{{#request.headers['x-tenant'] != null ? '{prefix}-' + #request.headers['x-tenant'][0] : null}}"),
    }] } }]);
    let gateway = Starting::run().api(&api(&broker, &assign)).start().await;
    until("the broker to be up", || async {
        gateway.shown("/apis/own").await["brokers"][0]["state"] == "up"
    })
    .await;
    let tenants = ["one", "two"].map(|tenant| ("x-tenant", tenant));
    let mut streams = Vec::new();
    for tenant in tenants {
        streams.push(Sse::with(&gateway, "/own", tenant).await);
    }
    let mut common = Sse::open(&gateway, "/own").await;
    for headers in [&tenants[..1], &tenants[1..], &[]] {
        let (status, body) = post(&gateway, headers).await;
        assert_eq!(status, 202, "{body}");
    }
    gateway.publish("/own", "last of all").await;
    assert_eq!(common.messages(2).await, ["x", "last of all"], "what tenants have is theirs alone");
    for (stream, tenant) in streams.iter_mut().zip(tenants) {
        assert_eq!(post(&gateway, &[tenant]).await.0, 202);
        assert_eq!(stream.messages(2).await, ["x", "x"]);
    }
    assert_eq!(gateway.metric("sluice_client_connections").await, 2.0);
    let (status, body) = post(&gateway, &[("x-tenant", "a/b")]).await;
    assert_eq!(status, 500, "{body}");
}
