//! Our own contract on hubs, keys and webhook secrets.

use serde_json::{Value, json};
use sluice_api::ApiId;
use sluice_management::Expected;
use sluice_store::Catalogue;
use sluice_websub::{Mode, Standing};

use crate::{
    hub::{news, request},
    native::{call, refused},
    support::{Server, api},
};

const CALLBACK: &str = "https://hooks.example/in?key=hunter3";

async fn server() -> Server {
    let server = Server::start().await;
    let news = news(&json!({}));
    let id = news.id.clone();
    server.registry.create(news, Catalogue::new()).await.unwrap();
    server.registry.start(&id, Expected::Any).await.unwrap();
    server
}

async fn get(server: &Server, path: &str) -> Value {
    let answer = call(server, "GET", path, None).await;
    assert_eq!(answer.status, 200, "{path}: {}", answer.text);
    answer.json()
}

#[tokio::test]
async fn a_subscription_at_the_hub_is_shown_without_its_secret_and_found_by_its_callback() {
    let server = server().await;
    let desk = server.registry.desk();
    for (id, callback) in [("one", CALLBACK), ("two", "https://other.example/")] {
        let mut asked = request(id, Mode::Subscribe, callback);
        asked.terms.secret = asked.terms.secret.filter(|_| id == "one");
        desk.fulfil(&asked).await.unwrap();
    }
    let shown = call(&server, "GET", "apis/news/subscriptions/one", None).await;
    assert!(!shown.text.contains("hunter"), "{}", shown.text);
    let shown = shown.json();
    assert_eq!(shown["hub"]["topic"], "https://news.example/news/paid");
    assert_eq!((&shown["hub"]["leaseSeconds"], &shown["hub"]["signature"]), (&json!(600), &json!("sha256")));
    assert_eq!(shown["hub"]["expiresAt"], shown["endingAt"]);
    assert_eq!((&shown["channel"], &shown["status"]), (&json!("paid"), &json!("accepted")));
    assert!(shown["delivery"].is_object(), "{shown}");
    assert_eq!(get(&server, "apis/news/subscriptions/two").await["hub"].get("signature"), None);

    let found = async |query: &str| {
        let page = get(&server, &format!("apis/news/subscriptions?{query}")).await;
        page["data"].as_array().unwrap().iter().map(|it| it["id"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(found("callback=https%3A%2F%2Fhooks.example%2Fin%3Fkey%3Dhunter3").await, ["one"]);
    assert_eq!(found("channel=paid").await.len(), 2);
    assert_eq!(found("channel=sent").await.len(), 0);
    let api = get(&server, "apis/news").await;
    assert_eq!(api["hubSubscriptions"], 2);
    let channels = json!([
        {"name": "paid", "publishTopic": "in.paid", "deliverTopic": "paid", "hubSubscriptions": 2},
        {"name": "sent", "publishTopic": "sent", "deliverTopic": "sent", "hubSubscriptions": 0}
    ]);
    assert_eq!(api["channels"], channels);
}

#[tokio::test]
async fn a_subscription_is_paused_resumed_and_closed() {
    let server = server().await;
    let desk = server.registry.desk();
    desk.fulfil(&request("one", Mode::Subscribe, CALLBACK)).await.unwrap();
    let at = |step: &str| format!("apis/news/subscriptions/one{step}");
    let paused = call(&server, "POST", &at("/_pause"), None).await;
    assert_eq!((paused.status.as_u16(), &paused.json()["status"]), (200, &json!("paused")));
    refused(&call(&server, "POST", &at("/_pause"), None).await, 400, "subscription.notAccepted");
    let resumed = call(&server, "POST", &at("/_resume"), None).await;
    assert_eq!((resumed.status.as_u16(), &resumed.json()["status"]), (200, &json!("accepted")));
    refused(&call(&server, "POST", &at("/_resume"), None).await, 400, "subscription.notPaused");
    assert_eq!(call(&server, "DELETE", &at(""), None).await.status, 204);
    refused(&call(&server, "DELETE", &at(""), None).await, 400, "subscription.closed");
    assert_eq!(desk.standing(&ApiId("news".to_owned()), "paid", CALLBACK), Standing::Unknown);
    let other = api("orders", "/orders");
    server.registry.create(other, Catalogue::new()).await.unwrap();
    for (method, step) in [("POST", "/_pause"), ("POST", "/_resume"), ("DELETE", "")] {
        let path = format!("apis/orders/subscriptions/one{step}");
        refused(&call(&server, method, &path, None).await, 404, "subscription.notFound");
    }
}

#[tokio::test]
async fn a_key_is_made_shown_masked_replaced_and_revoked() {
    let server = server().await;
    let wanted = json!({"name": "one", "roles": ["reader"], "expiresAt": "2999-01-01T00:00:00Z"});
    let made = call(&server, "POST", "apis/news/api-keys", Some(&wanted)).await;
    assert_eq!(made.status, 201, "{}", made.text);
    assert!(made.header("location").ends_with("/api/v1/apis/news/api-keys/one"));
    let made = made.json();
    assert!(made["text"].as_str().unwrap().starts_with("apip_"));
    let listed = get(&server, "apis/news/api-keys").await;
    assert_eq!(listed["remaining"], 9);
    let [shown] = &listed["data"].as_array().unwrap()[..] else { panic!("{listed}") };
    for (field, value) in [
        ("name", json!("one")),
        ("status", json!("active")),
        ("source", json!("local")),
        ("roles", json!(["reader"])),
        ("expiresAt", json!("2999-01-01T00:00:00.000Z")),
        ("text", Value::Null),
    ] {
        assert_eq!(shown[field], value, "{field}");
    }
    let again = call(&server, "POST", "apis/news/api-keys/one/_regenerate", None).await.json();
    assert_ne!(again["text"], made["text"]);
    refused(&call(&server, "POST", "apis/news/api-keys", Some(&wanted)).await, 409, "apiKey.exists");
    let replaced = json!({"text": "x".repeat(40), "externalRef": "abc"});
    let replaced = call(&server, "PUT", "apis/news/api-keys/one", Some(&replaced)).await.json();
    assert_eq!((&replaced["source"], &replaced["externalRef"]), (&json!("external"), &json!("abc")));
    let revoked = call(&server, "DELETE", "apis/news/api-keys/one", None).await.json();
    assert_eq!(revoked["status"], "revoked");
    let gone = call(&server, "POST", "apis/news/api-keys/one/_regenerate", None).await;
    refused(&gone, 409, "apiKey.revoked");
    refused(&call(&server, "DELETE", "apis/news/api-keys/two", None).await, 404, "apiKey.notFound");
    refused(&call(&server, "GET", "apis/none/api-keys", None).await, 404, "api.notFound");
    let unknown = call(&server, "POST", "apis/news/api-keys", Some(&json!({"apiKey": "x"}))).await;
    refused(&unknown, 400, "document.field");
    let late = call(&server, "POST", "apis/news/api-keys", Some(&json!({"expiresAt": "soon"}))).await;
    assert_eq!(refused(&late, 400, "document.field")["path"], "expiresAt");
}

#[tokio::test]
async fn a_webhook_secret_is_made_made_anew_and_deleted() {
    let server = server().await;
    let wanted = json!({"displayName": "My GitHub"});
    let made = call(&server, "POST", "apis/news/webhook-secrets", Some(&wanted)).await;
    assert_eq!(made.status, 201, "{}", made.text);
    let text = made.json()["text"].as_str().unwrap().to_owned();
    assert!(text.starts_with("whsec_"));
    refused(
        &call(&server, "POST", "apis/news/webhook-secrets", Some(&wanted)).await,
        409,
        "webhookSecret.exists",
    );
    let at = |step: &str| format!("apis/news/webhook-secrets/my-github{step}");
    let grace = json!({"gracePeriodSeconds": 60});
    let again = call(&server, "POST", &at("/_regenerate"), Some(&grace)).await.json();
    assert!(again["formerUntil"].is_string() && again["text"] != text.as_str(), "{again}");
    let listed = call(&server, "GET", "apis/news/webhook-secrets", None).await;
    assert!(!listed.text.contains("whsec_"), "{}", listed.text);
    assert_eq!(listed.json()["data"][0]["displayName"], "My GitHub");
    let none = call(&server, "POST", &at("/_regenerate"), Some(&json!({"gracePeriodSeconds": 0}))).await;
    assert_eq!(none.json().get("formerUntil"), None);
    let long =
        call(&server, "POST", &at("/_regenerate"), Some(&json!({"gracePeriodSeconds": 2_592_001}))).await;
    assert_eq!(refused(&long, 400, "webhookSecret.grace.invalid")["path"], "gracePeriodSeconds");
    assert_eq!(call(&server, "DELETE", &at(""), None).await.status, 204);
    refused(&call(&server, "DELETE", &at(""), None).await, 404, "webhookSecret.notFound");
}
