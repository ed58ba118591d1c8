//! The event APIs that are tested, two for each broker: `stream` with every receiver, made and deployed anew by the
//! management API, and `spool`, which takes messages before the broker has them, from a file.

use reqwest::{Client, Method};
use serde_json::{Value, json};
use tokio::fs;

use crate::{gateway::Gateway, management::Management, publisher::PUBLISHER};

/// A broker that is tested.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Broker {
    /// The log in the gateway.
    Log,
    /// Kafka, at this address.
    Kafka(String),
}

impl Broker {
    pub(crate) const fn kind(&self) -> &'static str {
        match self {
            Self::Log => "log",
            Self::Kafka(_) => "kafka",
        }
    }

    /// The settings of an API. Nobody may miss what was published before it came.
    fn configuration(&self, topic: &str) -> Value {
        let consumer = json!({ "autoOffsetReset": "earliest" });
        match self {
            Self::Log => json!({ "topics": [topic], "consumer": consumer }),
            Self::Kafka(address) => {
                json!({ "bootstrapServers": address, "topics": [topic], "consumer": consumer })
            }
        }
    }

    /// The step that makes the publisher the record key, so that its messages stay in one partition.
    fn keyed(&self) -> Value {
        let name = format!("gravitee.attribute.{}.recordKey", self.kind());
        let value = format!("{{#request.headers['{PUBLISHER}'][0]}}");
        json!({
            "policy": "assign-attributes",
            "configuration": { "attributes": [{ "name": name, "value": value }] },
        })
    }
}

/// The topic of each of the two APIs.
pub(crate) const TOPICS: [&str; 2] = ["stream", "spool"];

/// The two APIs of one broker.
pub(crate) struct Apis {
    broker: Broker,
    /// The id of `stream`, once it is made.
    stream: String,
    /// How often they were deployed anew.
    version: u64,
}

/// One subscription to `stream`.
pub(crate) struct Subscription<'a> {
    /// `all` or `key`.
    pub(crate) order: &'a str,
    pub(crate) url: String,
}

impl Apis {
    /// Writes the file of `spool`, for a gateway that is yet to be started.
    pub(crate) async fn new(broker: Broker, gateway: &Gateway) -> Result<Self, String> {
        let apis = Self { broker, stream: String::new(), version: 0 };
        apis.write_spool(gateway).await?;
        Ok(apis)
    }

    /// Makes `stream` and the subscriptions to it.
    pub(crate) async fn make_stream(
        &mut self,
        gateway: &Gateway,
        client: &Client,
        subscriptions: &[Subscription<'_>],
    ) -> Result<(), String> {
        let management = management(gateway, client)?;
        let api = management.make("v4/apis", &stream(&self.broker, 0)).await?;
        management.plan(&api, "key-less").await?;
        let plan = management.plan(&api, "subscription").await?;
        management.call(Method::POST, &format!("v4/apis/{api}?action=start"), None).await?;
        for subscription in subscriptions {
            let application = json!({ "name": subscription.order, "description": "Chaos" });
            let application = management.make("applications", &application).await?;
            let path = format!("v4/apis/{api}/subscriptions?application={application}&plan={plan}");
            management.make(&path, &json!({ "configuration": callback(subscription) })).await?;
        }
        self.stream = api;
        Ok(())
    }

    /// The kind of their broker.
    pub(crate) const fn kind(&self) -> &'static str {
        self.broker.kind()
    }

    /// Deploys both anew, each time with something else changed: the description, a policy, a path.
    pub(crate) async fn redeploy(&mut self, gateway: &Gateway, client: &Client) -> Result<(), String> {
        self.version += 1;
        let management = management(gateway, client)?;
        let path = format!("v4/apis/{}", self.stream);
        management.call(Method::PUT, &path, Some(&stream(&self.broker, self.version))).await?;
        management.call(Method::POST, &format!("{path}/deploy"), None).await?;
        self.write_spool(gateway).await
    }

    async fn write_spool(&self, gateway: &Gateway) -> Result<(), String> {
        let file = gateway.api_file(&format!("{}.json", self.broker.kind()));
        let draft = file.with_extension("draft");
        let failed = |error| format!("{}: {error}.", file.display());
        fs::write(&draft, spool(&self.broker, self.version).to_string()).await.map_err(failed)?;
        fs::rename(&draft, &file).await.map_err(failed)
    }
}

fn management<'a>(gateway: &Gateway, client: &'a Client) -> Result<Management<'a>, String> {
    let address = gateway.management.ok_or("The gateway has not been started.")?;
    Ok(Management { client, address })
}

/// What changes from version to version.
struct Changes {
    description: String,
    /// A step that does nothing to a message.
    step: Option<Value>,
    /// A path beside the one that everybody uses.
    second_path: bool,
}

impl Changes {
    fn of(version: u64) -> Self {
        let note = json!({ "attributes": [{ "name": "version", "value": version.to_string() }] });
        Self {
            description: format!("Version {version}"),
            step: (version % 2 == 1).then(|| json!({ "policy": "assign-attributes", "configuration": note })),
            second_path: version % 4 >= 2,
        }
    }

    fn paths(&self, broker: &Broker, name: &str) -> Value {
        let kind = broker.kind();
        let mut paths = vec![json!({ "path": format!("/{kind}/{name}") })];
        paths.extend(self.second_path.then(|| json!({ "path": format!("/{kind}/other-{name}") })));
        Value::Array(paths)
    }

    fn steps(&self, broker: &Broker) -> Vec<Value> {
        std::iter::once(broker.keyed()).chain(self.step.clone()).collect()
    }
}

/// In the 3.20 contract.
fn stream(broker: &Broker, version: u64) -> Value {
    let changes = Changes::of(version);
    let name = format!("{} stream", broker.kind());
    let qos = "at-least-once";
    json!({
        "name": name, "apiVersion": "1.0", "definitionVersion": "4.0.0", "type": "async", "visibility": "PRIVATE",
        "description": changes.description,
        "listeners": [
            { "type": "http", "paths": changes.paths(broker, "stream"), "entrypoints": [
                { "type": "http-post" },
                { "type": "sse", "qos": qos },
                { "type": "websocket", "qos": qos, "configuration": { "frames": "json" } },
                { "type": "http-get", "qos": qos,
                  "configuration": { "metadataInPayload": true, "messagesLimitDurationMs": 1000 } },
            ] },
            { "type": "subscription", "entrypoints": [{ "type": "webhook", "qos": qos, "configuration": {
                "http": { "readTimeout": 2000 },
                "circuitBreaker": { "failures": 5, "firstWaitMs": 200, "longestWaitMs": 1000 },
            } }] },
        ],
        "endpointGroups": [{ "name": "default", "type": broker.kind(), "endpoints": [{
            "name": "default", "type": broker.kind(), "configuration": broker.configuration(TOPICS[0]),
        }] }],
        "flows": [{ "name": "Key", "publish": changes.steps(broker) }],
    })
}

/// In the form of files.
fn spool(broker: &Broker, version: u64) -> Value {
    let changes = Changes::of(version);
    let configuration = json!({ "metadataInPayload": true, "messagesLimitDurationMs": 1000 });
    json!({
        "name": format!("{} spool", broker.kind()),
        "description": changes.description,
        "paths": changes.paths(broker, "spool"),
        "receivers": [
            { "type": "http-post" },
            { "type": "http-get", "qos": "at-least-once", "configuration": configuration },
        ],
        "brokers": [{ "type": broker.kind(), "configuration": broker.configuration(TOPICS[1]) }],
        "flows": [{ "name": "Key", "publish": changes.steps(broker) }],
        "plans": [{ "name": "Open", "security": { "type": "key-less" } }],
        "guarantees": { "spool": {} },
    })
}

/// A subscriber that is never given up.
fn callback(subscription: &Subscription<'_>) -> Value {
    json!({
        "entrypointId": "webhook",
        "callbackUrl": subscription.url,
        "order": subscription.order,
        "retry": { "maxAttempts": 100_000, "initialDelaySeconds": 0, "maxDelaySeconds": 1 },
    })
}
