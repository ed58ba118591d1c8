//! Entrypoints and endpoints: our receivers and broker drivers.

use schemars::JsonSchema;
use serde_json::Value;
use sluice_api::{
    AmqpConfig, Callback, HttpGetConfig, HttpPostConfig, KafkaConfig, LogConfig, MockConfig, MqttConfig, Qos,
    RabbitmqConfig, ReceiverConfig, SolaceConfig, SseConfig, WebhookConfig, WebsocketConfig, offered,
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
    vec![
        Plugin {
            description: "An Apache Kafka cluster.",
            features: vec!["resume"],
            ..endpoint::<KafkaConfig>("kafka", "Kafka")
        },
        Plugin {
            description: "An MQTT broker, of version 5 or 3.1.1.",
            ..endpoint::<MqttConfig>("mqtt5", "MQTT")
        },
        Plugin { description: "A Solace event broker.", ..endpoint::<SolaceConfig>("solace", "Solace") },
        Plugin {
            description: "A RabbitMQ, by AMQP 0-9-1.",
            ..endpoint::<RabbitmqConfig>("rabbitmq", "RabbitMQ")
        },
        Plugin {
            description: "A broker that speaks AMQP 1.0, as ActiveMQ Artemis.",
            ..endpoint::<AmqpConfig>("amqp", "AMQP 1.0")
        },
        Plugin {
            description: "The log embedded in the gateway.",
            features: vec!["resume"],
            ..endpoint::<LogConfig>("log", "Embedded log")
        },
        Plugin {
            description: "A source of made-up messages, for trying out and for tests.",
            ..endpoint::<MockConfig>("mock", "Mock")
        },
    ]
}

fn endpoint<T: JsonSchema>(id: &'static str, name: &'static str) -> Plugin {
    // By a receiver that takes whatever a broker can promise.
    Plugin { modes: vec!["publish", "subscribe"], ..connector::<T>(id, name, offered("webhook", id)) }
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
        "mqtt5" => &["mqtt", "mqtt5-advanced"],
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
