//! Definitions that tests begin from, in both forms.

use serde_json::{Value, json};

use super::kafka;

/// The broker section of a native definition for the embedded log.
pub(crate) fn log_broker(topic: &str) -> Value {
    json!({ "type": "log", "configuration": { "topics": [topic] } })
}

/// The broker section of a native definition for the Kafka of the tests.
pub(crate) fn kafka_broker(topic: &str) -> Value {
    json!({ "type": "kafka", "configuration": { "bootstrapServers": kafka(), "topics": [topic] } })
}

/// The same for an API whose channels name its topics.
pub(crate) fn kafka_of_channels() -> Value {
    json!({ "type": "kafka", "configuration": { "bootstrapServers": kafka() } })
}

/// An event API in our own form, POST and SSE on one path, open to all.
pub(crate) fn native_api(name: &str, path: &str, broker: &Value) -> Value {
    json!({
        "name": name,
        "paths": [{ "path": path }],
        "receivers": [{ "type": "http-post" }, { "type": "sse" }],
        "brokers": [broker],
        "plans": [{ "name": "Open", "security": { "type": "key-less" } }],
    })
}

/// The body that creates an event API in the 3.20 contract; `endpoint` is the type and the configuration.
pub(crate) fn gravitee_api(name: &str, path: &str, endpoint: &str, configuration: &Value) -> Value {
    json!({
        "name": name,
        "apiVersion": "1.0",
        "definitionVersion": "4.0.0",
        "type": "async",
        "description": name,
        "listeners": [{
            "type": "http",
            "paths": [{ "path": path }],
            "entrypoints": [
                { "type": "http-post", "configuration": { "requestHeadersToMessage": true } },
                { "type": "sse", "configuration": { "heartbeatIntervalInMs": 5000 } },
            ],
        }],
        "endpointGroups": [{
            "name": "default",
            "type": endpoint,
            "endpoints": [{
                "name": "default",
                "type": endpoint,
                "weight": 1,
                "inheritConfiguration": false,
                "configuration": configuration,
            }],
        }],
    })
}

/// The body that creates an open plan.
pub(crate) fn plan() -> Value {
    json!({
        "name": "Open",
        "description": "For everybody",
        "status": "PUBLISHED",
        "characteristics": [],
        "security": { "type": "key-less" },
    })
}
