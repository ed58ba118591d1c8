//! Each rule, broken, and which headers go on.

use serde_json::{Value, json};

use super::*;

fn read(settings: Value) -> WebhookReceiverConfig {
    crate::from_value(settings).unwrap()
}

fn broken(settings: Value) -> Vec<String> {
    read(settings).problems().into_iter().map(|problem| problem.path).collect()
}

#[test]
fn settings_read_back_as_they_were_written_with_secrets_masked() {
    let written = json!({
        "sender": { "provider": "hmac", "secrets": ["s"], "header": "X-Sig", "algorithm": "sha512",
                    "encoding": "base64", "prefix": "v=" },
        "headers": ["x-*"],
        "deliveryId": { "header": "X-Id" },
        "replayWindowSeconds": 60,
        "key": { "jsonPath": "$.order.id" },
        "cloudEvents": "accept",
        "handshake": { "allowedOrigins": ["*"], "allowedRate": 10 },
    });
    let mut settings = read(written.clone());
    assert_eq!(settings.problems(), []);
    let mut masked = written;
    masked["sender"]["secrets"][0] = crate::MASK.into();
    assert_eq!(serde_json::to_value(&settings).unwrap(), masked);
    let secrets: Vec<_> = settings.secrets_mut().into_iter().map(|(path, _)| path).collect();
    assert_eq!(secrets, ["sender.secrets[0]"]);
}

#[test]
fn without_settings_nobody_signs_and_every_delivery_is_published() {
    let settings = read(json!({}));
    assert_eq!(settings, WebhookReceiverConfig::default());
    assert_eq!((settings.problems(), settings.replay_window_seconds()), (vec![], None));
}

#[test]
fn what_is_not_understood_is_refused_where_it_stands() {
    let path = |settings: Value| crate::from_value::<WebhookReceiverConfig>(settings).unwrap_err().path;
    assert_eq!(path(json!({ "sender": { "provider": "gitlab" } })), "sender.provider");
    assert_eq!(path(json!({ "sender": { "provider": "github", "secret": "s" } })), "sender.secret");
    assert!(path(json!({ "key": { "jsonPath": "$.*" } })).starts_with("key"));
    assert!(path(json!({ "key": { "query": "q" } })).starts_with("key"));
    assert_eq!(path(json!({ "cloudEvents": "on" })), "cloudEvents");
}

#[test]
fn svix_is_another_name_of_standard_webhooks() {
    let sender = read(json!({ "sender": { "provider": "svix" } })).sender.unwrap();
    assert_eq!(sender.provider, WebhookProvider::StandardWebhooks);
}

#[test]
fn a_fixed_scheme_takes_no_settings_and_a_free_one_needs_a_header() {
    let broken = |sender: Value| broken(json!({ "sender": sender }));
    for field in [json!({ "header": "x" }), json!({ "encoding": "hex" }), json!({ "prefix": "" })] {
        let (name, value) = field.as_object().unwrap().iter().next().unwrap();
        let mut sender = json!({ "provider": "shopify" });
        sender[name] = value.clone();
        assert_eq!(broken(sender), [format!("sender.{name}")]);
    }
    let with =
        |provider: &str, algorithm: &str| broken(json!({ "provider": provider, "algorithm": algorithm }));
    assert_eq!(with("slack", "sha256"), ["sender.algorithm"]);
    assert_eq!(with("github", "sha512"), ["sender.algorithm"]);
    assert!(with("github", "sha1").is_empty() && with("github", "sha256").is_empty());
    assert_eq!(broken(json!({ "provider": "hmac" })), ["sender.header"]);
    assert_eq!(broken(json!({ "provider": "hmac", "header": "a b" })), ["sender.header"]);
    let prefixed =
        |bytes: usize| broken(json!({ "provider": "hmac", "header": "x", "prefix": "p".repeat(bytes) }));
    assert!(prefixed(64).is_empty());
    assert_eq!(prefixed(65), ["sender.prefix"]);
}

#[test]
fn a_tolerance_is_bounded_and_only_where_the_time_is_signed() {
    let tolerating = |provider: &str, seconds: u32| {
        broken(json!({ "sender": { "provider": provider, "toleranceSeconds": seconds } }))
    };
    for provider in ["stripe", "slack", "standard-webhooks"] {
        assert!(tolerating(provider, 1).is_empty() && tolerating(provider, 86_400).is_empty());
        for seconds in [0, 86_401] {
            assert_eq!(tolerating(provider, seconds), ["sender.toleranceSeconds"]);
        }
    }
    assert_eq!(tolerating("github", 300), ["sender.toleranceSeconds"]);
}

#[test]
fn secrets_are_bounded_and_keys_of_standard_webhooks_are_base64() {
    let with = |provider: &str, secrets: Vec<String>| {
        broken(json!({ "sender": { "provider": provider, "secrets": secrets } }))
    };
    assert!(with("github", vec!["s".to_owned(); 16]).is_empty());
    assert_eq!(with("github", vec!["s".to_owned(); 17]), ["sender.secrets"]);
    assert!(with("github", vec!["s".repeat(1024)]).is_empty());
    for secret in [String::new(), "s".repeat(1025)] {
        assert_eq!(with("github", vec![secret]), ["sender.secrets[0]"]);
    }
    for (secret, is_good) in
        [("whsec_c2VjcmV0", true), ("c2VjcmV0", true), ("whsec_", false), ("not base64", false)]
    {
        assert_eq!(with("standard-webhooks", vec![secret.to_owned()]).is_empty(), is_good, "{secret}");
    }
}

#[test]
fn credentials_and_signatures_cannot_be_listed() {
    let hmac = json!({ "provider": "hmac", "header": "x-proof" });
    for name in [
        "Authorization",
        "cookie",
        "x-api-key",
        "X-Hub-Signature-256",
        "x-shopify-hmac-sha256",
        "x-auth-*",
        "webhook-*",
        "connection",
        "X-Proof",
        "",
        "a b",
        "a*b",
        "**",
    ] {
        assert_eq!(broken(json!({ "sender": hmac, "headers": [name] })), ["headers[0]"], "{name}");
    }
    for name in ["*", "x-*", "X-Event", "content-type", "content-encoding"] {
        assert_eq!(broken(json!({ "sender": hmac, "headers": [name] })), Vec::<String>::new(), "{name}");
    }
    assert!(broken(json!({ "headers": vec!["a"; 64] })).is_empty());
    assert_eq!(broken(json!({ "headers": vec!["a"; 65] })), ["headers"]);
}

#[test]
fn what_is_listed_is_carried_but_no_credential_and_no_signature() {
    let every = read(json!({ "headers": ["*"], "sender": { "provider": "hmac", "header": "x-proof" } }));
    for name in ["x-event", "content-type", "content-encoding", "ce-id"] {
        assert!(every.carries(name), "{name}");
    }
    for name in ["authorization", "x-slack-signature", "x-shopify-hmac-sha256", "x-proof", "webhook-id", "te"]
    {
        assert!(!every.carries(name), "{name}");
    }
    let some = read(json!({ "headers": ["X-Event", "X-Shop-*"] }));
    assert!(some.carries("x-event") && some.carries("x-shop-id") && some.carries("content-type"));
    assert!(!some.carries("x-events") && !some.carries("x-shop") && !some.carries("ce-id"));
}

#[test]
fn a_replay_window_is_bounded_and_needs_an_id() {
    let github = json!({ "provider": "github" });
    let window = |settings: Value| read(settings).replay_window_seconds();
    assert_eq!(window(json!({ "sender": github })), Some(86_400));
    assert_eq!(window(json!({ "sender": github, "replayWindowSeconds": 0 })), None);
    assert_eq!(window(json!({ "sender": { "provider": "hmac", "header": "x" } })), None);
    assert_eq!(window(json!({ "deliveryId": { "header": "x" } })), Some(86_400));
    assert_eq!(broken(json!({ "sender": github, "replayWindowSeconds": 604_800 })), Vec::<String>::new());
    for (settings, path) in [
        (json!({ "sender": github, "replayWindowSeconds": 604_801 }), "replayWindowSeconds"),
        (json!({ "replayWindowSeconds": 1 }), "replayWindowSeconds"),
        (json!({ "deliveryId": { "header": "x" }, "replayWindowSeconds": 0 }), "deliveryId"),
        (json!({ "deliveryId": { "header": "a b" } }), "deliveryId.header"),
    ] {
        assert_eq!(broken(settings), [path]);
    }
}

#[test]
fn a_record_key_is_no_credential() {
    for name in ["Authorization", "x-hub-signature", "a b"] {
        assert_eq!(broken(json!({ "key": { "header": name } })), ["key.header"], "{name}");
    }
    assert!(broken(json!({ "key": { "header": "ce-partitionkey" } })).is_empty());
}

#[test]
fn a_handshake_names_origins_and_a_rate() {
    let broken = |handshake: Value| broken(json!({ "handshake": handshake }));
    assert!(broken(json!({ "allowedOrigins": ["a.example", "*"], "allowedRate": 1 })).is_empty());
    assert!(broken(json!({ "allowedOrigins": vec!["a"; 64], "allowedRate": 1_000_000 })).is_empty());
    assert_eq!(broken(json!({ "allowedOrigins": [] })), ["handshake.allowedOrigins"]);
    assert_eq!(broken(json!({ "allowedOrigins": vec!["a"; 65] })), ["handshake.allowedOrigins"]);
    for origin in ["", "https://a", "*.a", "a b"] {
        assert_eq!(
            broken(json!({ "allowedOrigins": [origin] })),
            ["handshake.allowedOrigins[0]"],
            "{origin}"
        );
    }
    for rate in [0, 1_000_001] {
        assert_eq!(
            broken(json!({ "allowedOrigins": ["*"], "allowedRate": rate })),
            ["handshake.allowedRate"]
        );
    }
}
