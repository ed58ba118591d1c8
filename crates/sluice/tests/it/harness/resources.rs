//! Resources of `/api/management/v1`, and native definitions with channels, that tests begin from.

use reqwest::{Method, RequestBuilder, Response};
use serde_json::{Value, json};

use super::{Gateway, within};

/// Lets the gateway call subscribers of the test.
pub(crate) const CALLS_HERE: &str = "webhooks: { allow: ['127.0.0.0/8', '::1/128'] }";

/// A `WebSubApi` with these channels. It is reached at its context with `/v1.0` behind it.
pub(crate) fn websub_api(name: &str, context: &str, channels: &Value) -> Value {
    json!({
        "apiVersion": "gateway.api-platform.wso2.com/v1",
        "kind": "WebSubApi",
        "metadata": { "name": name },
        "spec": { "displayName": name, "version": "v1.0", "context": context, "channels": channels },
    })
}

/// A `WebBrokerApi` with these channels on the embedded log, by WebSocket and SSE. It is reached at its context.
pub(crate) fn webbroker_api(name: &str, context: &str, channels: &Value) -> Value {
    json!({
        "apiVersion": "gateway.api-platform.wso2.com/v1",
        "kind": "WebBrokerApi",
        "metadata": { "name": name },
        "spec": {
            "displayName": name,
            "version": "v1.0",
            "context": context,
            "receiver": [{ "name": "ws", "type": "websocket" }, { "name": "sse", "type": "sse" }],
            "broker": { "name": "b", "type": "log" },
            "channels": channels,
        },
    })
}

/// One policy at a hook.
pub(crate) fn policies(name: &str, params: &Value) -> Value {
    json!({ "policies": [{ "name": name, "version": "v1", "params": params }] })
}

/// A native API with a hub and a webhook receiver, and a topic of its own for each of these channels. What subscribers do
/// not take is tried again at once, and as many of them may be on one host as a test likes.
pub(crate) fn hub_api(name: &str, path: &str, broker: &Value, channels: &[&str]) -> Value {
    let topic = |channel: &&str| {
        let topic = format!("{}-{channel}", path.trim_matches('/'));
        (channel.to_string(), json!({ "produceTo": topic, "consumeFrom": topic }))
    };
    json!({
        "name": name,
        "paths": [{ "path": path }],
        "channels": channels.iter().map(topic).collect::<serde_json::Map<_, _>>(),
        "receivers": [
            {
                "type": "websub",
                "qos": "at-least-once",
                "configuration": {
                    "requestsPerHost": 1_000_000,
                    "retry": { "maxAttempts": 100_000, "initialDelaySeconds": 0, "maxDelaySeconds": 1 },
                },
            },
            { "type": "webhook-receiver" },
        ],
        "brokers": [broker],
        "plans": [{ "name": "Open", "security": { "type": "key-less" } }],
    })
}

impl Gateway {
    /// A request as the admin, path below `/api/management/v1`.
    pub(crate) fn resource(&self, method: Method, path: &str) -> RequestBuilder {
        let url = self.management_url(&format!("/api/management/v1{path}"));
        self.client().request(method, url).basic_auth("admin", Some("admin"))
    }

    /// Makes a resource, which must be taken.
    pub(crate) async fn make(&self, resource: &Value) -> Value {
        let request = self.resource(Method::POST, collection(resource)).json(resource);
        let answer = within("a resource to be made", request.send()).await.unwrap();
        succeeded(answer, 201).await
    }

    /// Writes a resource anew, which must be taken.
    pub(crate) async fn change(&self, resource: &Value) -> Value {
        let name = resource["metadata"]["name"].as_str().unwrap();
        let request = self.resource(Method::PUT, &format!("{}/{name}", collection(resource))).json(resource);
        succeeded(within("a resource to be changed", request.send()).await.unwrap(), 200).await
    }

    /// A call of our own management contract as the admin, path below its base.
    pub(crate) fn native(&self, method: Method, path: &str) -> RequestBuilder {
        let url = self.management_url(&format!("/api/v1{path}"));
        self.client().request(method, url).basic_auth("admin", Some("admin"))
    }

    /// Pushes to the webhook receiver of a channel.
    pub(crate) fn push(&self, base: &str, channel: &str, body: impl Into<reqwest::Body>) -> RequestBuilder {
        let url = self.url(&format!("{base}/webhook-receiver?topic={channel}"));
        self.client().post(url).body(body)
    }

    /// The same, which must be acknowledged.
    pub(crate) async fn pushed(&self, base: &str, channel: &str, body: &str) {
        let request = self.push(base, channel, body.to_owned());
        let answer = within("the answer to a push", request.send()).await.unwrap();
        let status = answer.status();
        assert_eq!((status.as_u16(), answer.text().await.unwrap()), (202, String::new()));
    }
}

/// The document of an answer, which must have this status.
pub(crate) async fn succeeded(answer: Response, status: u16) -> Value {
    let found = answer.status();
    let text = answer.text().await.unwrap();
    assert_eq!(found.as_u16(), status, "{text}");
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

fn collection(resource: &Value) -> &'static str {
    if resource["kind"] == "WebSubApi" { "/websub-apis" } else { "/webbroker-apis" }
}
