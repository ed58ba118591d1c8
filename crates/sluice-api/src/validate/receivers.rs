//! The rules of receivers.

use std::{collections::HashSet, ops::RangeInclusive};

use crate::{
    Broker, EventApi, FrameFormat, HttpGetConfig, Limits, Problem, Qos, Receiver, ReceiverConfig,
    SlowClients, WebsocketConfig, receiver::MAX_CONNECTIONS,
};

const MAX_NAMES: usize = 64;

pub(super) fn check(api: &EventApi, problems: &mut Vec<Problem>) {
    if api.receivers.is_empty() {
        let message = "At least one receiver is needed, for example http-post or sse.";
        problems.push(Problem::new("receivers", "listeners.entrypoints.missing", message));
    }
    let mut kinds = HashSet::new();
    for (index, receiver) in api.receivers.iter().enumerate() {
        let mut found = Vec::new();
        let kind = receiver.configuration.kind();
        if !kinds.insert(kind) {
            let message = format!("There is more than one receiver '{kind}'.");
            found.push(Problem::new("type", "api.listeners.entrypoints.type.duplicated", message));
        }
        check_dead_letter(api, receiver, &mut found);
        found.extend(unsupported_slowness(api, receiver));
        check_settings(&receiver.configuration, &mut found);
        found.extend(untold_positions(receiver));
        let path = format!("receivers[{index}]");
        problems.extend(found.into_iter().map(|problem| problem.within(&path)));
    }
}

/// The promises that cannot be kept with the API's broker.
pub(super) fn unkept(api: &EventApi) -> Vec<Problem> {
    let Some(broker) = api.brokers.first() else { return Vec::new() };
    let receivers = api.receivers.iter().enumerate();
    let unkept = receivers.filter_map(|(index, receiver)| {
        let offered = receiver.configuration.offered_qos(&broker.configuration);
        (!offered.contains(&receiver.qos)).then(|| {
            let names = offered.iter().map(|qos| qos.as_str()).collect::<Vec<_>>().join(", ");
            let message =
                format!("The receiver '{}' with this broker offers qos {names}.", receiver.connector);
            Problem::new(format!("receivers[{index}].qos"), "listeners.entrypoints.qos.unsupported", message)
        })
    });
    unkept.collect()
}

/// A client that messages are skipped for has not seen every message.
fn unsupported_slowness(api: &EventApi, receiver: &Receiver) -> Option<Problem> {
    let skips = receiver.qos == Qos::AtLeastOnce && api.guarantees.slow_clients == Some(SlowClients::Skip);
    (skips && receiver.configuration.delivers()).then(|| {
        let message = "At-least-once promises every message, so slow clients cannot be skipped over: set \
                       guarantees.slowClients to hold or disconnect.";
        Problem::new("qos", "listeners.entrypoints.qos.unsupported", message)
    })
}

/// A WebSocket frame of plain content has no room for the position that its client is to resume from.
fn untold_positions(receiver: &Receiver) -> Option<Problem> {
    let ReceiverConfig::Websocket(settings) = &receiver.configuration else { return None };
    let untold =
        receiver.qos.tells_positions() && settings.subscriber.enabled && settings.frames != FrameFormat::Json;
    untold.then(|| {
        let message =
            "With this qos clients resume by position, which only frames of the format 'json' carry.";
        invalid("frames", message.to_owned())
    })
}

fn check_dead_letter(api: &EventApi, receiver: &Receiver, problems: &mut Vec<Problem>) {
    let Some(dead_letter) = &receiver.dlq else { return };
    if !receiver.configuration.calls_clients() {
        let message = "Only a receiver that calls its clients has messages that they do not take.";
        problems.push(Problem::new("dlq", "listeners.entrypoints.dlq.unsupported", message));
        return;
    }
    let name = &dead_letter.endpoint;
    let invalid =
        |message: String| Problem::new("dlq.endpoint", "listeners.entrypoints.dlq.invalid", message);
    match api.dead_letter_broker(name) {
        None => problems.push(invalid(format!("There is no broker and no group named '{name}'."))),
        Some(broker) if broker.configuration.publish_topics().is_none_or(|topics| topics.is_empty()) => {
            problems
                .push(invalid(format!("'{name}' does not publish: switch its producer on, with a topic.")));
        }
        Some(broker) => {
            let connection = broker.configuration.connection();
            let is_read = |(_, read): &(usize, &Broker)| read.configuration.connection() == connection;
            let read = api.serving().find(is_read).and_then(|(_, read)| read.configuration.deliver_topics());
            let read = read.unwrap_or_default();
            let written = broker.configuration.publish_topics().unwrap_or_default();
            if let Some(topic) = written.iter().find(|topic| read.contains(topic)) {
                problems.push(invalid(format!(
                    "Dead letters would go to '{topic}', which subscribers are sent: a message that nobody takes \
                     would come back for ever. Name a broker with another topic."
                )));
            }
        }
    }
}

fn check_settings(settings: &ReceiverConfig, problems: &mut Vec<Problem>) {
    let mut bounded = |field: &str, value: u64, allowed: RangeInclusive<u64>| {
        if !allowed.contains(&value) {
            let message = format!("Must be from {} to {}.", allowed.start(), allowed.end());
            problems.push(invalid(field, message));
        }
    };
    match settings {
        ReceiverConfig::HttpPost(_) => {}
        ReceiverConfig::HttpGet(get) => {
            let counts = 1..=u64::from(HttpGetConfig::MAX_COUNT);
            bounded("messagesLimitCount", u64::from(get.messages_limit_count), counts);
            let durations = 1..=HttpGetConfig::MAX_DURATION_MS;
            bounded("messagesLimitDurationMs", get.messages_limit_duration_ms, durations);
        }
        ReceiverConfig::Sse(sse) => {
            bounded("heartbeatIntervalInMs", sse.heartbeat_interval_in_ms, 2000..=3_600_000);
            if let Some(connections) = sse.max_connections {
                bounded("maxConnections", connections.into(), 1..=MAX_CONNECTIONS.into());
            }
        }
        ReceiverConfig::Websocket(websocket) => {
            bounded("pingIntervalMs", websocket.ping_interval_ms, 1000..=3_600_000);
            bounded("idleTimeoutMs", websocket.idle_timeout_ms, websocket.ping_interval_ms + 1..=86_400_000);
            if let Some(bytes) = websocket.max_frame_bytes {
                bounded("maxFrameBytes", bytes as u64, 125..=Limits::MAX_BODY_BYTES as u64);
            }
            if let Some(connections) = websocket.max_connections {
                bounded("maxConnections", connections.into(), 1..=MAX_CONNECTIONS.into());
            }
            check_websocket(websocket, problems);
        }
        ReceiverConfig::Webhook(webhook) => problems.extend(configured(webhook.problems())),
        ReceiverConfig::Websub(websub) => problems.extend(configured(websub.problems())),
        ReceiverConfig::WebhookReceiver(receiver) => problems.extend(configured(receiver.problems())),
    }
}

fn configured(problems: Vec<Problem>) -> impl Iterator<Item = Problem> {
    problems.into_iter().map(|problem| problem.within("configuration"))
}

fn check_websocket(settings: &WebsocketConfig, problems: &mut Vec<Problem>) {
    check_publisher(settings, problems);
    let (protocols, origins) = (&settings.subprotocols, &settings.allowed_origins);
    if protocols.len().max(origins.len()) > MAX_NAMES {
        let message = format!("At most {MAX_NAMES} subprotocols and {MAX_NAMES} origins are allowed.");
        problems.push(invalid("subprotocols", message));
    }
    for (index, protocol) in protocols.iter().enumerate().filter(|(_, protocol)| !is_token(protocol)) {
        let message =
            format!("'{protocol}' is no name of a subprotocol (letters, digits, '.', '-' and the like).");
        problems.push(invalid(&format!("subprotocols[{index}]"), message));
    }
    for (index, origin) in origins.iter().enumerate().filter(|(_, origin)| !is_origin(origin)) {
        let message = format!("'{origin}' is no origin; write it as https://app.example, or *.");
        problems.push(invalid(&format!("allowedOrigins[{index}]"), message));
    }
}

fn check_publisher(settings: &WebsocketConfig, problems: &mut Vec<Problem>) {
    let (publisher, subscriber) = (&settings.publisher, &settings.subscriber);
    if !publisher.enabled && !subscriber.enabled {
        problems.push(invalid("publisher.enabled", "One of publisher and subscriber is needed.".to_owned()));
    }
    for (field, set) in [("envelope", publisher.envelope), ("acknowledge", publisher.acknowledge)] {
        if set && !publisher.enabled {
            let message = "Says how messages of clients are taken, and publisher.enabled that none are.";
            problems.push(invalid(&format!("publisher.{field}"), message.to_owned()));
        }
    }
    let mingles = subscriber.enabled && matches!(settings.frames, FrameFormat::Text | FrameFormat::Auto);
    if publisher.acknowledge && mingles {
        let message =
            "A message in a text frame could pretend to be an acknowledgement: set frames to json or binary.";
        problems.push(invalid("publisher.acknowledge", message.to_owned()));
    }
}

fn invalid(field: &str, message: String) -> Problem {
    let path = format!("configuration.{field}");
    Problem::new(path, "listeners.entrypoints.configuration.invalid", message)
}

/// Whether it is a token as RFC 9110 section 5.6.2 has it: the names of headers, methods, subprotocols.
pub(crate) fn is_token(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.len() <= 128 && text.bytes().all(allowed)
}

/// Whether it is `*`, or a scheme, a host and a port as browsers send them, without a path.
pub(super) fn is_origin(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_graphic() && !b"/?#@,*\"".contains(&byte);
    let origin = text.split_once("://").is_some_and(|(scheme, host)| {
        scheme.bytes().all(|byte| byte.is_ascii_alphanumeric())
            && !host.is_empty()
            && host.bytes().all(allowed)
    });
    text == "*" || (origin && text.len() <= 512)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_has_a_scheme_and_a_host_and_no_path() {
        for origin in ["*", "https://app.example", "http://localhost:3000", "http://[::1]:80"] {
            assert!(is_origin(origin), "{origin}");
        }
        for other in
            ["", "app.example", "https://", "https://a/", "https://u@a", "https://*.a", "https://a b"]
        {
            assert!(!is_origin(other), "{other}");
        }
    }
}
