//! Properties that are handed to the client library as they are, and those that are not: what would break a promise
//! of the gateway, or has a setting of its own, is refused with the reason.

use std::{collections::BTreeMap, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{self, Visitor},
};

use crate::Problem;

/// As many properties as a definition may have.
const MAX_PROPERTIES: usize = 64;
/// The longest name and value, in bytes.
const MAX_LENGTH: usize = 1024;

/// Names that are refused, with the reason; a name that ends with `*` stands for all that begin so.
const REFUSED: [(&str, &str); 49] = [
    ("bootstrap.servers", "'bootstrapServers' names the brokers"),
    ("metadata.broker.list", "'bootstrapServers' names the brokers"),
    ("client.id", "'clientId' is the setting for it"),
    ("group.*", "groups are the gateway's; 'groupPrefix' is what can be set of their names"),
    ("partition.assignment.strategy", "groups are the gateway's, which takes and gives back whole shares"),
    ("consumer.group.protocol", "groups are the gateway's"),
    ("enable.auto.commit", "a position is committed only after its delivery"),
    ("auto.commit.*", "a position is committed only after its delivery"),
    ("enable.auto.offset.store", "a position is committed only after its delivery"),
    ("offset.store.*", "a position is committed only after its delivery"),
    ("auto.offset.reset", "'consumer.autoOffsetReset' is the setting for it"),
    ("enable.partition.eof", "the gateway tells by it where older messages end"),
    ("isolation.level", "'consumer.isolationLevel' is the setting for it"),
    ("acks", "a 202 means that all replicas have the message"),
    ("request.required.acks", "a 202 means that all replicas have the message"),
    ("delivery.report.only.error", "a 202 means that Kafka has acknowledged the message"),
    ("enable.idempotence", "without it a retry could write a message twice or out of order"),
    ("enable.gapless.guarantee", "one message that fails must not fail those of others"),
    ("max.in.flight*", "more would break the order, and the producer is idempotent"),
    ("retries", "a message is tried again until the publish timeout of the gateway"),
    ("message.send.max.retries", "a message is tried again until the publish timeout of the gateway"),
    ("message.timeout.ms", "the publish timeout of the gateway is the setting for it"),
    ("delivery.timeout.ms", "the publish timeout of the gateway is the setting for it"),
    ("transaction*", "each message stands for itself; there is nobody to end a transaction"),
    ("message.max.bytes", "the topic says how large a message may be"),
    ("queue.buffering.max.messages", "what the gateway holds is bounded by the gateway"),
    ("queue.buffering.max.kbytes", "what the gateway holds is bounded by the gateway"),
    ("queued.max.messages.kbytes", "what the gateway holds is bounded by the gateway"),
    ("compression.type", "'producer.compressionType' is the setting for it"),
    ("compression.codec", "'producer.compressionType' is the setting for it"),
    ("allow.auto.create.topics", "'autoCreate' is the setting for it"),
    ("topic.metadata.refresh.interval.ms", "the gateway goes by it to find new partitions and topics"),
    ("security.protocol", "'security.protocol' of the settings is for it"),
    ("sasl.*", "'security.sasl' is the setting for it, and keeps secrets"),
    ("enable.sasl.*", "'security.sasl' is the setting for it"),
    ("https.ca.*", "'security.sasl.oauth.trustStore' is the setting for it"),
    (
        "enable.ssl.certificate.verification",
        "a broker that nobody verifies may be anyone; give a trust store",
    ),
    ("ssl.engine*", "it would load code from a file"),
    ("ssl.provider*", "it would load code from a file"),
    ("plugin.library.paths", "it would load code from a file"),
    ("interceptors", "it is for programs, not for settings"),
    ("opaque", "it is for programs, not for settings"),
    ("default_topic_conf", "it is for programs, not for settings"),
    ("enabled_events", "it is for programs, not for settings"),
    ("statistics.interval.ms", "nobody would read them; the gateway has metrics of its own"),
    ("log*", "the log is the gateway's"),
    ("debug", "the log is the gateway's, and has no room for what could hold secrets"),
    ("test.*", "it would put a pretended cluster in the place of this one"),
    ("ut_*", "it is for tests of the client library"),
];

/// Settings of TLS that say how, not with whose keys.
const ALLOWED_TLS: [&str; 4] =
    ["ssl.cipher.suites", "ssl.curves.list", "ssl.sigalgs.list", "ssl.endpoint.identification.algorithm"];

/// Every property that may not be there; paths are relative to the settings.
pub(super) fn problems(properties: &BTreeMap<String, String>) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut refuse = |path: String, message: String| {
        problems.push(Problem::new(path, "endpoints.configuration.invalid", message));
    };
    if properties.len() > MAX_PROPERTIES {
        refuse("properties".to_owned(), format!("At most {MAX_PROPERTIES} properties are allowed."));
    }
    for (name, value) in properties {
        let path = format!("properties.{name}");
        if name.len().max(value.len()) > MAX_LENGTH || format!("{name}{value}").contains('\0') {
            let message = format!("Names and values have at most {MAX_LENGTH} bytes, none of them U+0000.");
            refuse("properties".to_owned(), message);
        } else if let Some(reason) = refused(name) {
            refuse(path, format!("This property cannot be set here: {reason}."));
        }
    }
    problems
}

/// Why a property cannot be set, if so.
fn refused(name: &str) -> Option<&'static str> {
    if ALLOWED_TLS.contains(&name) {
        return None;
    }
    if name.ends_with("_cb") {
        return Some("it is for programs, not for settings");
    }
    let is_meant = |pattern: &str| match pattern.strip_suffix('*') {
        Some(beginning) => name.starts_with(beginning),
        None => name == pattern,
    };
    let found = REFUSED.iter().find(|(pattern, _)| is_meant(pattern)).map(|(_, reason)| *reason);
    let is_tls = name.starts_with("ssl.") || name.starts_with("ssl_");
    found.or_else(|| is_tls.then_some("'security.ssl' is the setting for it, and keeps secrets"))
}

/// Takes values as text, numbers or true and false, as people write them.
pub(super) fn deserialize<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<BTreeMap<String, String>, D::Error> {
    let written = BTreeMap::<String, Value>::deserialize(deserializer)?;
    Ok(written.into_iter().map(|(name, Value(value))| (name, value)).collect())
}

struct Value(String);

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Scalar).map(Self)
    }
}

struct Scalar;

impl Visitor<'_> for Scalar {
    type Value = String;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("text, a number, true or false")
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<String, E> {
        Ok(value.to_owned())
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<String, E> {
        Ok(value.to_string())
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<String, E> {
        Ok(value.to_string())
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<String, E> {
        Ok(value.to_string())
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<String, E> {
        Ok(value.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_break_a_promise_or_has_a_setting_is_refused_with_the_reason() {
        for name in [
            "acks",
            "enable.idempotence",
            "enable.auto.commit",
            "group.id",
            "group.instance.id",
            "transactional.id",
            "max.in.flight.requests.per.connection",
            "security.protocol",
            "sasl.password",
            "ssl.key.password",
            "ssl.ca.location",
            "ssl_engine_callback_data",
            "plugin.library.paths",
            "rebalance_cb",
            "test.mock.num.brokers",
            "statistics.interval.ms",
            "debug",
        ] {
            let found = problems(&BTreeMap::from([(name.to_owned(), "x-ray".to_owned())]));
            assert_eq!(found.len(), 1, "{name}");
            assert_eq!(found[0].path, format!("properties.{name}"));
            assert!(!found[0].message.contains("x-ray"), "a value may be a secret");
        }
    }

    #[test]
    fn what_only_changes_how_is_allowed() {
        for name in ["linger.ms", "fetch.max.bytes", "socket.timeout.ms", "client.rack", "ssl.cipher.suites"]
        {
            assert_eq!(problems(&BTreeMap::from([(name.to_owned(), "1".to_owned())])), []);
        }
    }

    #[test]
    fn properties_are_bounded_in_number_and_length() {
        let many = |count: usize| (0..count).map(|n| (format!("p{n}"), String::new())).collect();
        assert_eq!(problems(&many(MAX_PROPERTIES)), []);
        assert_eq!(problems(&many(MAX_PROPERTIES + 1)).len(), 1);
        let long = |length| BTreeMap::from([("client.rack".to_owned(), "x".repeat(length))]);
        assert_eq!(problems(&long(MAX_LENGTH)), []);
        assert_eq!(problems(&long(MAX_LENGTH + 1)).len(), 1);
    }
}
