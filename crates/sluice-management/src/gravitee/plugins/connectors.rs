//! Entrypoints and endpoints: our receivers and broker drivers.

use schemars::JsonSchema;
use serde_json::Value;
use sluice_api::{
    BrokerConfig, Callback, HttpGetConfig, HttpPostConfig, KafkaConfig, LogConfig, MockConfig, Qos, ReceiverConfig,
    SseConfig, WebhookConfig, WebsocketConfig,
};

use super::Plugin;
use crate::schema::of_settings;

/// Every entrypoint, by id.
pub(in crate::gravitee) fn entrypoints() -> Vec<Plugin> {
    vec![
        entrypoint::<HttpGetConfig>("HTTP GET", ReceiverConfig::HttpGet(HttpGetConfig::default()), &["limit", "resume", "cors"]),
        entrypoint::<HttpPostConfig>("HTTP POST", ReceiverConfig::HttpPost(HttpPostConfig::default()), &["cors"]),
        entrypoint::<SseConfig>("Server-Sent Events", ReceiverConfig::Sse(SseConfig::default()), &["resume", "cors"]),
        Plugin {
            subscription_schema: Some(of_settings::<Callback>()),
            ..entrypoint::<WebhookConfig>("Webhook", ReceiverConfig::Webhook(WebhookConfig::default()), &["dlq"])
        },
        entrypoint::<WebsocketConfig>("WebSocket", ReceiverConfig::Websocket(WebsocketConfig::default()), &[]),
    ]
}

fn entrypoint<T: JsonSchema>(
    name: &'static str,
    settings: ReceiverConfig,
    features: &[&'static str],
) -> Plugin {
    // What a broker can do that keeps its messages is the most that the receiver can promise.
    let qos = settings.offered_qos(&BrokerConfig::Log(LogConfig::default()));
    let listener = if settings.calls_clients() { "subscription" } else { "http" };
    let modes = [(settings.publishes(), "publish"), (settings.delivers(), "subscribe")];
    Plugin {
        modes: modes.into_iter().filter_map(|(has, mode)| has.then_some(mode)).collect(),
        listener: Some(listener),
        features: features.to_vec(),
        ..connector::<T>(settings.kind(), name, qos)
    }
}

/// Every endpoint, by id.
pub(in crate::gravitee) fn endpoints() -> Vec<Plugin> {
    // The receiver that asks most of a broker.
    let webhook = ReceiverConfig::Webhook(WebhookConfig::default());
    let keeping = webhook.offered_qos(&BrokerConfig::Log(LogConfig::default()));
    let made_up = webhook.offered_qos(&BrokerConfig::Mock(MockConfig::default()));
    let both = vec!["publish", "subscribe"];
    vec![
        Plugin { modes: both.clone(), features: vec!["resume"], ..connector::<KafkaConfig>("kafka", "Kafka", keeping) },
        Plugin { modes: both.clone(), features: vec!["resume"], ..connector::<LogConfig>("log", "Embedded log", keeping) },
        Plugin { modes: both, features: Vec::new(), ..connector::<MockConfig>("mock", "Mock", made_up) },
    ]
}

fn connector<T: JsonSchema>(id: &'static str, name: &'static str, qos: &[Qos]) -> Plugin {
    let schema = of_settings::<T>();
    let description = schema["description"].as_str().unwrap_or_default().to_owned();
    Plugin {
        id,
        name,
        description,
        modes: Vec::new(),
        qos: qos.iter().map(|qos| qos.as_str()).collect(),
        listener: None,
        features: Vec::new(),
        schema: titled(schema, name),
        subscription_schema: None,
    }
}

/// With the name for people in place of that of a type.
fn titled(mut schema: Value, name: &str) -> Value {
    schema["title"] = name.into();
    schema
}
