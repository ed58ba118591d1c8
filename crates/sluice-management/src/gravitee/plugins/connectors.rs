//! Entrypoints and endpoints: our receivers and broker drivers.

use schemars::JsonSchema;
use serde_json::Value;
use sluice_api::{
    BrokerConfig, Callback, HttpGetConfig, HttpPostConfig, KafkaConfig, LogConfig, MockConfig, Qos,
    ReceiverConfig, SseConfig, WebhookConfig, WebsocketConfig,
};

use super::Plugin;
use crate::{gravitee::listeners::levels, schema::of_settings};

/// Every entrypoint, by id.
pub(in crate::gravitee) fn entrypoints() -> Vec<Plugin> {
    let (get, post) = (HttpGetConfig::default(), HttpPostConfig::default());
    let (webhook, websocket) = (WebhookConfig::default(), WebsocketConfig::default());
    vec![
        Plugin {
            description: "Hands messages out as the answer to one GET.",
            features: vec!["limit", "resume", "cors"],
            ..entrypoint::<HttpGetConfig>("HTTP GET", &ReceiverConfig::HttpGet(get))
        },
        Plugin {
            description: "Takes one message by each POST.",
            features: vec!["cors"],
            ..entrypoint::<HttpPostConfig>("HTTP POST", &ReceiverConfig::HttpPost(post))
        },
        Plugin {
            description: "Hands messages out as Server-Sent Events.",
            features: vec!["resume", "cors"],
            ..entrypoint::<SseConfig>("Server-Sent Events", &ReceiverConfig::Sse(SseConfig::default()))
        },
        Plugin {
            description: "Calls each subscriber with each message.",
            features: vec!["dlq"],
            subscription_schema: Some(of_settings::<Callback>()),
            ..entrypoint::<WebhookConfig>("Webhook", &ReceiverConfig::Webhook(webhook))
        },
        Plugin {
            description: "Takes and hands out messages on one connection.",
            ..entrypoint::<WebsocketConfig>("WebSocket", &ReceiverConfig::Websocket(websocket))
        },
    ]
}

fn entrypoint<T: JsonSchema>(name: &'static str, settings: &ReceiverConfig) -> Plugin {
    let listener = if settings.has_path() { "http" } else { "subscription" };
    let modes = [(settings.publishes(), "publish"), (settings.delivers(), "subscribe")];
    Plugin {
        modes: modes.into_iter().filter_map(|(has, mode)| has.then_some(mode)).collect(),
        listener: Some(listener),
        ..connector::<T>(settings.kind(), name, levels(settings))
    }
}

/// Every endpoint, by id.
pub(in crate::gravitee) fn endpoints() -> Vec<Plugin> {
    // The receiver that asks most of a broker.
    let webhook = ReceiverConfig::Webhook(WebhookConfig::default());
    let keeping = webhook.offered_qos(&BrokerConfig::Log(LogConfig::default()));
    let made_up = webhook.offered_qos(&BrokerConfig::Mock(MockConfig::default()));
    vec![
        Plugin {
            description: "An Apache Kafka cluster.",
            features: vec!["resume"],
            ..endpoint::<KafkaConfig>("kafka", "Kafka", keeping)
        },
        Plugin {
            description: "The log embedded in the gateway.",
            features: vec!["resume"],
            ..endpoint::<LogConfig>("log", "Embedded log", keeping)
        },
        Plugin {
            description: "A source of made-up messages, for trying out and for tests.",
            ..endpoint::<MockConfig>("mock", "Mock", made_up)
        },
    ]
}

fn endpoint<T: JsonSchema>(id: &'static str, name: &'static str, qos: &[Qos]) -> Plugin {
    Plugin { modes: vec!["publish", "subscribe"], ..connector::<T>(id, name, qos) }
}

fn connector<T: JsonSchema>(id: &'static str, name: &'static str, qos: &[Qos]) -> Plugin {
    Plugin {
        id,
        aliases: aliases(id),
        name,
        description: "",
        notes: "",
        modes: Vec::new(),
        qos: qos.iter().map(|qos| qos.as_str()).collect(),
        listener: None,
        features: Vec::new(),
        schema: titled(of_settings::<T>(), name),
        subscription_schema: None,
    }
}

/// What other editions of the contract call the same connector.
fn aliases(id: &str) -> &'static [&'static str] {
    match id {
        "kafka" => &["kafka-advanced"],
        "sse" => &["sse-advanced"],
        "webhook" => &["webhook-advanced"],
        _ => &[],
    }
}

/// With the name for people in place of that of a type.
fn titled(mut schema: Value, name: &str) -> Value {
    schema["title"] = name.into();
    schema
}
