//! API keys and webhook secrets of resources, as their contract has them.

use serde_json::{Value, json};

use crate::{
    support::Server,
    wso2::{at_fault, call, refused, webbroker, websub},
};

async fn server() -> Server {
    let server = Server::start().await;
    assert_eq!(call(&server, "POST", "websub-apis", Some(&websub())).await.status, 201);
    assert_eq!(call(&server, "POST", "webbroker-apis", Some(&webbroker())).await.status, 201);
    server
}

#[tokio::test]
async fn a_key_is_made_once_shown_and_then_masked() {
    let server = server().await;
    for api in ["websub-apis/orders-v1-0", "webbroker-apis/ticks-v1.0"] {
        let keys = format!("{api}/api-keys");
        let made = call(&server, "POST", &keys, Some(&json!({ "name": "my-key" }))).await;
        assert_eq!(made.status, 201, "{}", made.text);
        let made = made.json();
        let text = made["apiKey"]["apiKey"].as_str().unwrap();
        assert!(text.starts_with("apip_") && text.len() == 69, "{text}");
        assert_eq!((&made["status"], &made["remainingApiKeyQuota"]), (&json!("success"), &json!(9)));
        assert_eq!(made["message"], "API key generated successfully");
        let key = &made["apiKey"];
        let id = api.split_once('/').unwrap().1;
        for (field, value) in [
            ("name", json!("my-key")),
            ("apiId", json!(id)),
            ("status", json!("active")),
            ("createdBy", json!("admin")),
            ("expiresAt", Value::Null),
            ("source", json!("local")),
        ] {
            assert_eq!(key[field], value, "{field}");
        }
        let list = call(&server, "GET", &keys, None).await;
        assert!(!list.text.contains(text));
        let list = list.json();
        assert_eq!((&list["status"], &list["totalCount"]), (&json!("success"), &json!(1)));
        assert_eq!(list["apiKeys"][0]["name"], "my-key");
    }
}

#[tokio::test]
async fn a_key_from_elsewhere_is_taken_and_never_shown() {
    let server = server().await;
    let keys = "websub-apis/orders-v1-0/api-keys";
    let text = "x".repeat(36);
    let body = json!({
        "name": "theirs", "apiKey": text, "maskedApiKey": "xx****", "externalRefId": "ref-1", "issuer": "portal",
        "roles": ["reader"], "expiresIn": { "unit": "months", "duration": 1 }
    });
    let made = call(&server, "POST", keys, Some(&body)).await;
    assert_eq!(made.status, 201, "{}", made.text);
    assert!(!made.text.contains(&text));
    let key = &made.json()["apiKey"];
    assert_eq!((&key["source"], &key["externalRefId"]), (&json!("external"), &json!("ref-1")));
    assert!(key["expiresAt"].is_string());
    let same = call(&server, "POST", keys, Some(&json!({ "name": "again", "apiKey": text }))).await;
    assert_eq!(at_fault(&same, 409), "apiKey");
    let other = json!({ "apiKey": "y".repeat(36) });
    let replaced = call(&server, "PUT", &format!("{keys}/theirs"), Some(&other)).await;
    assert_eq!(
        (replaced.status.as_u16(), &replaced.json()["message"]),
        (200, &json!("API key updated successfully"))
    );
    let missing = call(&server, "PUT", &format!("{keys}/theirs"), Some(&json!({}))).await;
    assert_eq!(at_fault(&missing, 400), "apiKey");
}

#[tokio::test]
async fn what_can_not_be_a_key_is_told_by_field() {
    let server = server().await;
    let keys = "websub-apis/orders-v1-0/api-keys";
    for (body, field) in [
        (json!({ "name": "No" }), "name"),
        (json!({ "name": "x".repeat(64) }), "name"),
        (json!({ "apiKey": "x".repeat(35) }), "apiKey"),
        (json!({ "expiresIn": { "unit": "years", "duration": 1 } }), "expiresIn.unit"),
        (json!({ "expiresIn": { "unit": "days", "duration": 0 } }), "expiresIn.duration"),
        (json!({ "expiresIn": { "unit": "months", "duration": i64::MAX } }), "expiresIn.duration"),
        (json!({ "expiresAt": "tomorrow" }), "expiresAt"),
        (json!({ "displayName": "x" }), "displayName"),
    ] {
        let answer = call(&server, "POST", keys, Some(&body)).await;
        assert_eq!(at_fault(&answer, 400), field, "{}", answer.text);
    }
    refused(&call(&server, "POST", "websub-apis/none/api-keys", Some(&json!({}))).await, 404);
    refused(&call(&server, "POST", "websub-apis/ticks-v1.0/api-keys", Some(&json!({}))).await, 404);
}

#[tokio::test]
async fn there_are_no_more_keys_than_the_quota() {
    let server = server().await;
    let keys = "webbroker-apis/ticks-v1.0/api-keys";
    for left in (0..10).rev() {
        let made = call(&server, "POST", keys, None).await;
        assert_eq!((made.status.as_u16(), &made.json()["remainingApiKeyQuota"]), (201, &json!(left)));
    }
    let (message, _) = refused(&call(&server, "POST", keys, None).await, 409);
    assert!(message.contains("10"), "{message}");
}

#[tokio::test]
async fn a_key_is_regenerated_and_revoked() {
    let server = server().await;
    let keys = "websub-apis/orders-v1-0/api-keys";
    let made = call(&server, "POST", keys, Some(&json!({ "name": "my-key" }))).await.json();
    let again = call(&server, "POST", keys, Some(&json!({ "name": "my-key" }))).await;
    assert_eq!(at_fault(&again, 409), "name");
    let body = json!({ "expiresAt": "2099-01-01T00:00:00Z" });
    let other = call(&server, "POST", &format!("{keys}/my-key/regenerate"), Some(&body)).await;
    assert_eq!(other.status, 200, "{}", other.text);
    let other = other.json();
    assert_ne!(other["apiKey"]["apiKey"], made["apiKey"]["apiKey"]);
    assert!(other["apiKey"]["apiKey"].as_str().unwrap().starts_with("apip_"));
    assert_eq!(other["apiKey"]["expiresAt"], "2099-01-01T00:00:00.000Z");
    let empty = call(&server, "POST", &format!("{keys}/my-key/regenerate"), None).await;
    assert_eq!(empty.json()["apiKey"]["expiresAt"], "2099-01-01T00:00:00.000Z");
    let revoked = call(&server, "DELETE", &format!("{keys}/my-key"), None).await;
    let body = json!({ "status": "success", "message": "API key revoked successfully" });
    assert_eq!((revoked.status.as_u16(), revoked.json()), (200, body));
    assert_eq!(call(&server, "GET", keys, None).await.json()["apiKeys"][0]["status"], "revoked");
    refused(&call(&server, "DELETE", &format!("{keys}/none"), None).await, 404);
    refused(&call(&server, "POST", &format!("{keys}/none/regenerate"), None).await, 404);
}

#[tokio::test]
async fn a_webhook_secret_is_shown_once_and_regenerated() {
    let server = server().await;
    let secrets = "websub-apis/orders-v1-0/secrets";
    let made = call(&server, "POST", secrets, Some(&json!({ "displayName": "GitHub Webhook" }))).await;
    assert_eq!(made.status, 201, "{}", made.text);
    let made = made.json();
    let text = made["secret"].as_str().unwrap();
    assert!(text.starts_with("whsec_") && text.len() == 70, "{text}");
    assert_eq!(made["message"], "Webhook secret generated successfully");
    let secret = &made["webhookSecret"];
    assert_eq!(
        (&secret["name"], &secret["displayName"]),
        (&json!("github-webhook"), &json!("GitHub Webhook"))
    );
    assert_eq!(secret["status"], "active");
    let list = call(&server, "GET", secrets, None).await;
    assert!(!list.text.contains(text));
    assert_eq!((&list.json()["totalCount"], &list.json()["secrets"][0]), (&json!(1), secret));
    let twice = call(&server, "POST", secrets, Some(&json!({ "displayName": "github_webhook" }))).await;
    assert_eq!(at_fault(&twice, 409), "displayName");
    let other = call(&server, "POST", &format!("{secrets}/github-webhook/regenerate"), None).await;
    assert_eq!((other.status.as_u16(), &other.json()["status"]), (200, &json!("success")));
    assert_ne!(other.json()["secret"], text);
    assert!(other.json()["webhookSecret"]["formerUntil"].is_string(), "{}", other.text);
    let now = json!({ "gracePeriodSeconds": 0 });
    let other = call(&server, "POST", &format!("{secrets}/github-webhook/regenerate"), Some(&now)).await;
    assert_eq!(other.json()["webhookSecret"].get("formerUntil"), None);
    let gone = call(&server, "DELETE", &format!("{secrets}/github-webhook"), None).await;
    assert_eq!((gone.status.as_u16(), &*gone.text), (204, ""));
    refused(&call(&server, "DELETE", &format!("{secrets}/github-webhook"), None).await, 404);
    refused(&call(&server, "POST", &format!("{secrets}/github-webhook/regenerate"), None).await, 404);
}

#[tokio::test]
async fn a_secret_of_another_api_is_not_there_and_a_web_broker_api_has_none() {
    let server = server().await;
    let mut other = websub();
    other["metadata"]["name"] = json!("other");
    other["spec"]["displayName"] = json!("other");
    other["spec"]["context"] = json!("/other");
    assert_eq!(call(&server, "POST", "websub-apis", Some(&other)).await.status, 201);
    let body = json!({ "displayName": "mine" });
    assert_eq!(call(&server, "POST", "websub-apis/other/secrets", Some(&body)).await.status, 201);
    refused(&call(&server, "POST", "websub-apis/orders-v1-0/secrets/mine/regenerate", None).await, 404);
    refused(&call(&server, "DELETE", "websub-apis/orders-v1-0/secrets/mine", None).await, 404);
    refused(&call(&server, "POST", "webbroker-apis/ticks-v1.0/secrets", Some(&body)).await, 404);
    for body in [json!({}), json!({ "displayName": "" }), json!({ "displayName": "x".repeat(101) })] {
        refused(&call(&server, "POST", "websub-apis/orders-v1-0/secrets", Some(&body)).await, 400);
    }
}
