//! What is told to programs: the documents of the contracts, the schemas of settings. They are kept beside the
//! tests; after a change that is meant, `UPDATE_GOLDEN=1` writes them anew.

use std::{fs, path::Path};

use serde_json::{Value, json};

use crate::support::{BASE, PASSWORD, Server, send};

const V2: &str = "/management/v2";

async fn read(server: &Server, path: &str) -> Value {
    let answer = send(server.anonymous("GET", path).basic_auth("admin", Some(PASSWORD))).await;
    assert_eq!(answer.status, 200, "{path}: {}", answer.text);
    answer.json()
}

/// Compares with the kept document, or writes it.
fn is_as_kept(name: &str, document: &Value) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/schemas").join(name);
    let text = format!("{}\n", serde_json::to_string_pretty(document).unwrap());
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, &text).unwrap();
    }
    let kept = fs::read_to_string(&path).unwrap_or_default();
    assert!(kept == text, "{name} is another one now; if that is meant, run the tests with UPDATE_GOLDEN=1.");
}

#[tokio::test]
async fn the_documents_of_the_contracts_are_as_kept() {
    let server = Server::start().await;
    for (name, at) in [
        ("openapi-3.20", "/management/openapi"),
        ("openapi-v2", "/management/v2/openapi"),
        ("openapi-portal", "/portal/openapi"),
        ("openapi-native", "/api/v1/openapi"),
        ("openapi-resources", "/api/management/v1/openapi"),
    ] {
        let document = read(&server, &format!("{at}.json")).await;
        is_as_kept(&format!("{name}.json"), &document);
        let yaml = server.anonymous("GET", &format!("{at}.yaml")).basic_auth("admin", Some(PASSWORD));
        let yaml = sluice_api::parse_document(&send(yaml).await.text, sluice_api::Format::Yaml).unwrap();
        assert_eq!(yaml, document);
    }
    let listed = read(&server, "/management").await;
    assert_eq!(
        listed["contracts"][1]["openapi"],
        json!(["/management/v2/openapi.json", "/management/v2/openapi.yaml"])
    );
}

#[tokio::test]
async fn the_schemas_of_plugins_are_as_kept_in_both_contracts() {
    let server = Server::start().await;
    for (kind, at) in
        [("entrypoints", "v4/entrypoints"), ("endpoints", "v4/endpoints"), ("policies", "policies")]
    {
        let later = format!("{V2}/plugins/{kind}");
        let listed = read(&server, &later).await;
        is_as_kept(&format!("{kind}.json"), &listed);
        for plugin in listed.as_array().unwrap() {
            let id = plugin["id"].as_str().unwrap();
            assert_eq!(read(&server, &format!("{later}/{id}")).await, *plugin);
            let schema = read(&server, &format!("{later}/{id}/schema")).await;
            is_as_kept(&format!("{kind}/{id}.json"), &schema);
            assert_eq!(read(&server, &format!("{BASE}/{at}/{id}/schema")).await, schema);
            let page = server.call("GET", &format!("{at}/{id}/documentation"), None).await;
            assert!(page.text.starts_with("# "), "{}", page.text);
        }
    }
    let subscription = read(&server, &format!("{V2}/plugins/entrypoints/webhook/subscription-schema")).await;
    is_as_kept("entrypoints/webhook-subscription.json", &subscription);
    let other = read(&server, &format!("{BASE}/v4/entrypoints/webhook-advanced/subscriptionSchema")).await;
    assert_eq!(other, subscription);
    server.call("GET", "v4/entrypoints/sse/subscriptionSchema", None).await.refused(404, "plugin.notFound");
    server.call("GET", "policies/none/schema", None).await.refused(404, "plugin.notFound");
}

#[tokio::test]
async fn every_setting_that_clients_know_is_there_with_its_type_and_default() {
    let server = Server::start().await;
    let known: Value = serde_json::from_str(include_str!("data/connector-settings.json")).unwrap();
    for (at, settings) in known.as_object().unwrap() {
        let schema = read(&server, &format!("{V2}/plugins/{at}")).await;
        for (pointer, setting) in settings.as_object().unwrap() {
            let ours = schema.pointer(pointer).unwrap_or_else(|| panic!("{at} has no {pointer}"));
            assert_eq!(ours["type"], setting["type"], "{at} {pointer}");
            assert!(setting["default"].is_null() || ours["default"] == setting["default"], "{at} {pointer}");
            let words = |schema: &Value| schema["enum"].as_array().cloned().unwrap_or_default();
            assert!(words(setting).iter().all(|word| words(ours).contains(word)), "{at} {pointer}");
        }
    }
}
