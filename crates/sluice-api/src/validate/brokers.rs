//! The rules of brokers: topics, addresses, credentials.

use std::collections::HashSet;

use super::required;
use crate::{
    AutoOffsetReset, Broker, BrokerConfig, EventApi, KafkaConfig, KafkaSecurity, Problem, StoreType,
};

/// Bounds on what a definition may hold. Topic names have room in the file names of the embedded log; Kafka
/// would take nine more characters.
const MAX_BROKERS: usize = 16;
const MAX_TOPICS: usize = 64;
const MAX_TOPIC_LENGTH: usize = 240;

pub(super) fn check(api: &EventApi, problems: &mut Vec<Problem>) {
    let Some((first, others)) = api.brokers.split_first() else {
        problems.push(Problem::new("brokers", "endpoints.count", "A broker is needed."));
        return;
    };
    if api.brokers.len() > MAX_BROKERS {
        let message = format!("At most {MAX_BROKERS} brokers are allowed.");
        problems.push(Problem::new("brokers", "endpoints.count", message));
    }
    check_serving(api, first, problems);
    check_settings("brokers[0]", first, problems);
    for (index, broker) in (1..).zip(others) {
        let path = format!("brokers[{index}]");
        let named = |receiver: &crate::Receiver| {
            receiver.dlq.as_ref().and_then(|dlq| api.dead_letter_broker(&dlq.endpoint)) == Some(broker)
        };
        if !api.receivers.iter().any(named) {
            let message = "Only the first broker serves receivers for now; another one is for dead letters, and a \
                           receiver must name it under 'dlq'.";
            problems.push(Problem::new(&*path, "endpoints.count", message));
        }
        if api.brokers[..index].iter().any(|earlier| earlier.name == broker.name) {
            let message = format!("There is more than one broker '{}'.", broker.name);
            problems.push(Problem::new(format!("{path}.name"), "endpoint.name.invalid", message));
        }
        if broker.configuration.publish_topics().is_some() {
            let path = format!("{path}.configuration");
            check_topics(&path, "producer", broker.configuration.publish_topics(), problems);
        }
        check_settings(&path, broker, problems);
    }
}

/// Ids are shown in one form only. Asking for the other one is told, not passed over.
fn check_ids(path: &str, broker: &Broker, problems: &mut Vec<Problem>) {
    let encoded = match &broker.configuration {
        BrokerConfig::Log(log) => log.consumer.encode_message_id,
        BrokerConfig::Kafka(kafka) => kafka.consumer.encode_message_id,
        BrokerConfig::Mock(_) => true,
    };
    if !encoded {
        let path = format!("{path}.configuration.consumer.encodeMessageId");
        let message = "Ids and cursors are always encoded in base64; leave it true.";
        problems.push(Problem::new(path, "endpoints.configuration.invalid", message));
    }
}

/// What the receivers need of the broker behind them.
fn check_serving(api: &EventApi, broker: &Broker, problems: &mut Vec<Problem>) {
    let path = "brokers[0].configuration";
    if !api.channels.is_empty() {
        channels_have_the_topics(path, broker, problems);
    } else if api.receivers.iter().any(|receiver| receiver.configuration.publishes()) {
        check_topics(path, "producer", broker.configuration.publish_topics(), problems);
    }
    if api.receivers.iter().any(|receiver| receiver.configuration.delivers()) {
        if api.channels.is_empty() {
            check_topics(path, "consumer", broker.configuration.deliver_topics(), problems);
        }
        if broker.configuration.auto_offset_reset() == AutoOffsetReset::None {
            problems.push(Problem::new(
                format!("{path}.consumer.autoOffsetReset"),
                "endpoints.configuration.invalid",
                "'none' refuses every client that brings no position, and receivers of this API take none; use \
                 latest or earliest.",
            ));
        }
    }
}

/// Topics in two places would leave open which of them count.
fn channels_have_the_topics(path: &str, broker: &Broker, problems: &mut Vec<Problem>) {
    let configuration = &broker.configuration;
    let topics = [configuration.publish_topics(), configuration.deliver_topics()];
    if let BrokerConfig::Mock(_) = configuration {
        let message = "The mock has one topic only; an API with channels needs a broker with several.";
        problems.push(Problem::new(path, "channels.invalid", message));
    } else if topics.iter().flatten().any(|topics| !topics.is_empty()) {
        let message =
            "The channels of this API have the topics (produceTo, consumeFrom); leave them out here.";
        problems.push(Problem::new(format!("{path}.topics"), "channels.invalid", message));
    }
}

fn check_settings(path: &str, broker: &Broker, problems: &mut Vec<Problem>) {
    required(&format!("{path}.name"), &broker.name, problems);
    check_ids(path, broker, problems);
    if let BrokerConfig::Kafka(kafka) = &broker.configuration {
        check_kafka(&format!("{path}.configuration"), kafka, problems);
    }
}

/// Whether a broker can have a topic of this name: 1 to 240 letters, digits, `.`, `_` or `-`, other than `.` and
/// `..`.
pub fn is_topic_name(topic: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    (1..=MAX_TOPIC_LENGTH).contains(&topic.len())
        && !matches!(topic, "." | "..")
        && topic.bytes().all(allowed)
}

fn check_topics(path: &str, side: &str, topics: Option<Vec<&str>>, problems: &mut Vec<Problem>) {
    let Some(topics) = topics else {
        let message = format!("A receiver of this API needs the {side}, but it is switched off.");
        problems.push(Problem::new(format!("{path}.{side}.enabled"), "endpoints.mode.disabled", message));
        return;
    };
    if topics.is_empty() || topics.len() > MAX_TOPICS {
        let message = format!("From 1 to {MAX_TOPICS} topics are needed.");
        problems.push(Problem::new(format!("{path}.topics"), "endpoints.configuration.invalid", message));
    }
    let mut seen = HashSet::new();
    for topic in topics {
        if !is_topic_name(topic) || !seen.insert(topic) {
            let message = format!(
                "The topic '{topic}' is no topic name (1 to {MAX_TOPIC_LENGTH} letters, digits, '.', '_' or '-') \
                 or stands there twice."
            );
            problems.push(Problem::new(format!("{path}.topics"), "endpoints.configuration.invalid", message));
        }
    }
}

fn check_kafka(path: &str, kafka: &KafkaConfig, problems: &mut Vec<Problem>) {
    // Nothing else may stand there: the text goes to the client library and into log lines.
    let in_host =
        |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'[' | b']' | b':');
    let is_address = |address: &str| {
        let parts = address.trim_matches(' ').rsplit_once(':');
        parts.is_some_and(|(host, port)| {
            !host.is_empty() && host.bytes().all(in_host) && port.parse::<u16>().is_ok()
        })
    };
    if !kafka.bootstrap_servers.split(',').all(is_address) {
        problems.push(Problem::new(
            format!("{path}.bootstrapServers"),
            "endpoints.configuration.invalid",
            format!("{:?} is not a list of host:port separated by commas.", kafka.bootstrap_servers),
        ));
    }
    if let Some(security) = &kafka.security {
        check_kafka_security(&format!("{path}.security"), security, problems);
    }
}

fn check_kafka_security(path: &str, security: &KafkaSecurity, problems: &mut Vec<Problem>) {
    let mut refuse = |field: &str, message: &str| {
        problems.push(Problem::new(format!("{path}.{field}"), "endpoints.security.invalid", message));
    };
    match (&security.sasl, security.protocol.uses_sasl()) {
        (None, true) => refuse("sasl", "This protocol needs credentials."),
        (Some(_), false) => {
            refuse("protocol", "Credentials are given, but this protocol does not send them.");
        }
        (Some(sasl), true) if sasl.credentials().is_none() => {
            refuse("sasl", "Give username and password, or a saslJaasConfig that has both in quotes.");
        }
        _ => {}
    }
    let Some(tls) = &security.ssl else { return };
    if !security.protocol.uses_tls() {
        refuse("protocol", "Certificates are given, but this protocol does not encrypt.");
    }
    if let Some(store) = &tls.trust_store {
        match store.kind {
            StoreType::None => {}
            StoreType::Pem if store.location.is_some() != store.certificates.is_some() => {}
            StoreType::Pem => refuse("ssl.trustStore", "Give either location or certificates."),
            StoreType::Pkcs12 | StoreType::Jks => {
                refuse("ssl.trustStore.type", "Only PEM can be read; convert it with keytool and openssl.");
            }
        }
    }
    if let Some(store) = &tls.key_store {
        if store.key_location.is_some() && (store.kind != StoreType::Pem || store.location.is_none()) {
            refuse(
                "ssl.keyStore.keyLocation",
                "Only a PEM chain in another file (location) has its key apart.",
            );
        }
        match store.kind {
            StoreType::None => {}
            StoreType::Pem if store.location.is_some() => {}
            StoreType::Pem if store.key.is_some() && store.certificate_chain.is_some() => {}
            StoreType::Pem => refuse("ssl.keyStore", "Give either location, or key and certificateChain."),
            StoreType::Pkcs12 if store.location.is_some() => {}
            StoreType::Pkcs12 => refuse("ssl.keyStore.location", "Name the PKCS#12 file."),
            StoreType::Jks => {
                refuse("ssl.keyStore.type", "Only PEM and PKCS12 can be read; convert it with keytool.");
            }
        }
    }
}
