//! What a resource needs and does not show: the credentials of its broker, masked secrets, templates.

use std::sync::Arc;

use serde_json::json;
use sluice_api::{EventApi, MASK};
use sluice_gateway::GatewayOptions;
use sluice_management::ManagementOptions;
use sluice_policy::Environment;

use crate::{
    support::{Server, gateway},
    wso2::{at_fault, call, created, draft, refused, webbroker},
};

#[tokio::test]
async fn credentials_of_a_broker_are_the_apis_own_or_none() {
    let server = Server::start().await;
    for (properties, field) in [
        (json!({}), "brokers"),
        (json!({ "brokers": [] }), "brokers"),
        (json!({ "brokers": ["kafka"] }), "brokers"),
        (json!({ "brokers": ["k:1"], "sasl_mechanism": "plain" }), "sasl_mechanism"),
        (json!({ "brokers": ["k:1"], "sasl_mechanism": "plain", "sasl_username": "u" }), "sasl_mechanism"),
        (json!({ "brokers": ["k:1"], "sasl_username": "u", "sasl_password": "p" }), "sasl_mechanism"),
        (json!({ "brokers": ["k:1"], "sasl_mechanism": "gssapi" }), "sasl_mechanism"),
        (json!({ "brokers": ["k:1"], "tls_ca_file": "ca.pem" }), "tls_ca_file"),
        (json!({ "brokers": ["k:1"], "tls": true, "tls_cert_file": "c.pem" }), "tls_key_file"),
        (json!({ "brokers": ["k:1"], "tls": true, "tls_key_file": "c.pem" }), "tls_cert_file"),
        (json!({ "brokers": ["k:1"], "tls": true, "tls_server_name": "k" }), "tls_server_name"),
        (json!({ "brokers": ["k:1"], "client_id": "x" }), "client_id"),
    ] {
        let mut resource = webbroker();
        resource["spec"]["broker"]["properties"] = properties;
        let answer = call(&server, "POST", "webbroker-apis", Some(&resource)).await;
        let fault = at_fault(&answer, 400);
        let expected = format!("spec.broker.properties.{field}");
        assert!(fault == expected || fault == "spec.broker.properties", "{fault} {expected} {}", answer.text);
    }
    let mut resource = webbroker();
    resource["spec"]["broker"]["type"] = json!("mock");
    resource["spec"]["broker"]["properties"] = json!({});
    let answer = call(&server, "POST", "webbroker-apis", Some(&resource)).await;
    assert_eq!(at_fault(&answer, 400), "spec.broker.properties");
    resource["spec"]["broker"]["type"] = json!("pigeon");
    assert_eq!(
        at_fault(&call(&server, "POST", "webbroker-apis", Some(&resource)).await, 400),
        "spec.broker.type"
    );
    resource["spec"]["broker"]["type"] = json!("log");
    assert_eq!(call(&server, "POST", "webbroker-apis", Some(&resource)).await.status, 201);
}

#[tokio::test]
async fn a_secret_is_masked_and_the_mask_keeps_it() {
    let mut resource = webbroker();
    let properties = json!({
        "brokers": ["k:1"], "tls": true, "tls_ca_file": "ca.pem", "tls_cert_file": "c.pem", "tls_key_file": "k.pem",
        "sasl_mechanism": "scram-sha-512", "sasl_username": "u", "sasl_password": "hunter2"
    });
    resource["spec"]["broker"]["properties"] = properties;
    resource["spec"]["allChannels"]["on_connection_init"] = json!({ "policies": [
        { "name": "basic-auth", "version": "v1", "params": { "username": "me", "password": "hunter3" } }
    ] });
    let (server, api) = created(&resource).await;
    let secrets = |mut api: EventApi| -> Vec<_> {
        api.secrets_mut().into_iter().map(|(_, secret)| secret.expose().to_owned()).collect()
    };
    assert_eq!(secrets(api), ["hunter2", "hunter3"]);
    let path = "webbroker-apis/ticks-v1.0";
    let shown = call(&server, "GET", path, None).await;
    assert!(!shown.text.contains("hunter"), "{}", shown.text);
    let mut shown = shown.json();
    assert_eq!(shown["spec"]["broker"]["properties"]["sasl_password"], MASK);
    shown["spec"]["displayName"] = json!("renamed");
    assert_eq!(call(&server, "PUT", path, Some(&shown)).await.status, 200);
    assert_eq!(secrets(draft(&server, "ticks-v1.0")), ["hunter2", "hunter3"]);
    // Not to another address.
    shown["spec"]["broker"]["properties"]["brokers"] = json!(["elsewhere:1"]);
    let answer = call(&server, "PUT", path, Some(&shown)).await;
    assert_eq!(at_fault(&answer, 400), "spec.broker.properties.sasl_password");
    shown["metadata"]["name"] = json!("new");
    shown["spec"]["context"] = json!("/new");
    shown["spec"]["displayName"] = json!("new");
    let answer = call(&server, "POST", "webbroker-apis", Some(&shown)).await;
    let (_, errors) = refused(&answer, 400);
    let fields: Vec<_> = errors.iter().map(|(field, _)| &**field).collect();
    let password = "spec.allChannels.on_connection_init.policies[0].params.password";
    assert_eq!(fields, ["spec.broker.properties.sasl_password", password]);
}

#[tokio::test]
async fn templates_are_filled_in_and_answered_as_they_were_written() {
    let environment = Environment {
        secrets: [("kafka".to_owned(), "hunter2".to_owned())].into(),
        ..Environment::default()
    };
    let options = ManagementOptions {
        environment: Arc::new(environment),
        template_variables: [("BROKER".to_owned(), "k:1".to_owned())].into(),
        ..ManagementOptions::default()
    };
    let directory = tempfile::tempdir().unwrap();
    let server = Server::with(directory, &gateway(GatewayOptions::default()), options).await;
    let mut resource = webbroker();
    resource["spec"]["context"] = json!("{{ env \"CONTEXT\" | default \"/ticks\" }}");
    resource["spec"]["broker"]["properties"] = json!({
        "brokers": ["{{ env \"BROKER\" }}"], "sasl_mechanism": "plain", "sasl_username": "u",
        "sasl_password": "{{ secret \"kafka\" }}"
    });
    let answer = call(&server, "POST", "webbroker-apis", Some(&resource)).await;
    assert_eq!(answer.status, 201, "{}", answer.text);
    let mut api = draft(&server, "ticks-v1.0");
    assert_eq!(api.paths[0].path, "/ticks");
    assert_eq!(api.secrets_mut()[0].1.expose(), "hunter2");
    let shown = call(&server, "GET", "webbroker-apis/ticks-v1.0", None).await.json();
    assert_eq!(shown["spec"], resource["spec"]);
    // Neither the process's environment nor, where it would be shown, a secret can be read.
    for (pointer, template) in [
        ("/spec/displayName", "{{ env \"PATH\" }}"),
        ("/spec/displayName", "{{ secret \"kafka\" }}"),
        ("/spec/broker/name", "{{ secret \"kafka\" }}"),
    ] {
        let mut other = resource.clone();
        *other.pointer_mut(pointer).unwrap() = json!(template);
        let answer = call(&server, "PUT", "webbroker-apis/ticks-v1.0", Some(&other)).await;
        assert_eq!(at_fault(&answer, 400), pointer.trim_start_matches('/').replace('/', "."));
        assert!(!answer.text.contains("hunter2"));
    }
}
