//! The broker that `sluice dev --broker URL` puts behind the example event APIs, in place of the embedded log.
//!
//! A URL says where it is and who connects; everything else has the defaults of its kind, so that this is for trying
//! out: what an API can say beyond stands in docs/brokers.

use std::str::FromStr;

use serde_json::{Map, Value, json};
use sluice_api::{AutoOffsetReset, Broker, BrokerConfig, EventApi};
use url::Url;

/// What may stand before `://`, with the kind of broker, whether the connection is encrypted, and the usual port.
const SCHEMES: [(&str, Kind, bool, u16); 10] = [
    ("kafka", Kind::Kafka, false, 9092),
    ("kafkas", Kind::Kafka, true, 9093),
    ("mqtt", Kind::Mqtt, false, 1883),
    ("mqtts", Kind::Mqtt, true, 8883),
    ("rabbitmq", Kind::Rabbitmq, false, 5672),
    ("rabbitmqs", Kind::Rabbitmq, true, 5671),
    ("amqp", Kind::Amqp, false, 5672),
    ("amqps", Kind::Amqp, true, 5671),
    ("solace", Kind::Solace, false, 5672),
    ("solaces", Kind::Solace, true, 5671),
];

/// A broker, named by a URL.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct DevBroker {
    kind: Kind,
    encrypted: bool,
    /// `host:port`; of Kafka several, separated by commas.
    address: String,
    user: Option<(String, String)>,
    /// What stands behind the address: the virtual host or message VPN.
    part: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Kafka,
    Mqtt,
    Rabbitmq,
    Amqp,
    Solace,
}

impl FromStr for DevBroker {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (scheme, rest) = text.split_once("://").unwrap_or((text, ""));
        let Some(&(_, kind, encrypted, port)) = SCHEMES.iter().find(|(known, ..)| *known == scheme) else {
            let known: Vec<_> = SCHEMES.iter().map(|(known, ..)| format!("{known}://")).collect();
            return Err(format!("a broker is named by a URL that begins with one of {}", known.join(", ")));
        };
        // Several servers are no URL: all but the last are put aside.
        let authority_end = rest.find('/').unwrap_or(rest.len());
        let before = rest[..authority_end].rfind(',').map_or(0, |comma| comma + 1);
        let user_end = rest[..authority_end].rfind('@').map_or(0, |at| at + 1);
        if before > 0 && kind != Kind::Kafka {
            return Err("only Kafka has several addresses".to_owned());
        }
        let (user, others) = (&rest[..user_end], rest.get(user_end..before).unwrap_or_default());
        let last = &rest[before.max(user_end)..];
        // With a scheme of its own, so that the default port is never left out.
        let url = Url::parse(&format!("broker://{user}{last}"));
        let url = url.map_err(|error| format!("this is no URL: {error}"))?;
        let host = url.host_str().filter(|host| !host.is_empty()).ok_or("a host is needed, as localhost")?;
        let address = format!("{others}{host}:{}", url.port().unwrap_or(port));
        let user = match (url.username(), url.password()) {
            ("", _) => None,
            (name, password) => Some((decoded(name)?, decoded(password.unwrap_or_default())?)),
        };
        let part = url.path().trim_start_matches('/');
        let part = if part.is_empty() { None } else { Some(decoded(part)?) };
        if part.is_some() && !matches!(kind, Kind::Rabbitmq | Kind::Solace) {
            return Err("nothing may stand behind the address of this kind of broker".to_owned());
        }
        Ok(Self { kind, encrypted, address, user, part })
    }
}

/// Undoes percent-encoding (RFC 3986 section 2.1).
fn decoded(text: &str) -> Result<String, String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        let escaped = match (first, after) {
            (b'%', [high, low, ..]) => {
                let digit = |digit: &u8| char::from(*digit).to_digit(16);
                digit(high).zip(digit(low)).and_then(|(high, low)| u8::try_from(high * 16 + low).ok())
            }
            _ => None,
        };
        bytes.push(escaped.unwrap_or(*first));
        rest = if escaped.is_some() { &after[2..] } else { after };
    }
    String::from_utf8(bytes).map_err(|_| "what is percent-encoded is no UTF-8".to_owned())
}

impl std::fmt::Display for DevBroker {
    /// For people, without credentials.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let name = match self.kind {
            Kind::Kafka => "Kafka",
            Kind::Mqtt => "MQTT",
            Kind::Rabbitmq => "RabbitMQ",
            Kind::Amqp => "AMQP 1.0",
            Kind::Solace => "Solace",
        };
        write!(f, "{name} at {}", self.address)
    }
}

impl DevBroker {
    /// Puts this broker in place of each embedded log of an API.
    ///
    /// # Errors
    /// What is wrong with the settings that came of it.
    pub(crate) fn stand_in(&self, api: &mut EventApi) -> Result<(), String> {
        for broker in &mut api.brokers {
            let BrokerConfig::Log(log) = &broker.configuration else { continue };
            let earliest = log.consumer.auto_offset_reset == AutoOffsetReset::Earliest;
            let (kind, settings) = self.settings(&log.topics, earliest);
            let made = Broker::parse(&broker.name, kind, Some(settings));
            *broker = made.map_err(|problem| format!("--broker: {problem}"))?;
        }
        match api.validate() {
            problems if problems.is_empty() => Ok(()),
            problems => {
                let lines: Vec<_> = problems.iter().map(|problem| format!("--broker: {problem}")).collect();
                Err(lines.join("\n"))
            }
        }
    }

    fn settings(&self, topics: &[String], earliest: bool) -> (&'static str, Value) {
        let mut settings = match self.kind {
            Kind::Kafka => {
                return ("kafka", self.kafka(topics, earliest));
            }
            Kind::Mqtt => self.with_host(json!({
                "consumer": { "topics": topics }, "producer": { "topics": topics },
            })),
            Kind::Rabbitmq => {
                let mut settings = self.with_host(json!({
                    "consumer": { "routingKey": topics.first() }, "producer": { "routingKey": topics.first() },
                }));
                if let Some(part) = &self.part {
                    settings.insert("virtualHost".to_owned(), part.as_str().into());
                }
                settings
            }
            Kind::Amqp | Kind::Solace => self.with_url(topics),
        };
        if self.user.is_some() || self.encrypted {
            let mut security = Map::new();
            if let Some((username, password)) = &self.user {
                security.insert("auth".to_owned(), json!({ "username": username, "password": password }));
            }
            if self.encrypted {
                security.insert("ssl".to_owned(), json!({}));
            }
            settings.insert("security".to_owned(), security.into());
        }
        let kind = match self.kind {
            Kind::Kafka => "kafka",
            Kind::Mqtt => "mqtt5",
            Kind::Rabbitmq => "rabbitmq",
            Kind::Amqp => "amqp",
            Kind::Solace => "solace",
        };
        (kind, settings.into())
    }

    fn with_host(&self, settings: Value) -> Map<String, Value> {
        let (host, port) = self.address.rsplit_once(':').unwrap_or((&self.address, ""));
        let host = host.trim_matches(['[', ']']);
        let mut settings = match settings {
            Value::Object(settings) => settings,
            _ => Map::new(),
        };
        settings.insert("serverHost".to_owned(), host.into());
        settings.insert("serverPort".to_owned(), port.parse::<u16>().unwrap_or_default().into());
        settings
    }

    fn with_url(&self, topics: &[String]) -> Map<String, Value> {
        let scheme = match (self.kind, self.encrypted) {
            (Kind::Solace, false) => "tcp",
            (Kind::Solace, true) => "tcps",
            (_, false) => "amqp",
            (_, true) => "amqps",
        };
        let topics: Vec<_> = topics.iter().map(|topic| format!("topic://{topic}")).collect();
        let mut settings = Map::new();
        settings.insert("url".to_owned(), format!("{scheme}://{}", self.address).into());
        settings.insert("consumer".to_owned(), json!({ "topics": topics }));
        settings.insert("producer".to_owned(), json!({ "topics": topics }));
        if let Some(part) = &self.part {
            settings.insert("vpnName".to_owned(), part.as_str().into());
        }
        settings
    }

    /// The topic is made where it is missing: a cluster to try things on rarely has it.
    fn kafka(&self, topics: &[String], earliest: bool) -> Value {
        let protocol = match (self.encrypted, self.user.is_some()) {
            (false, false) => "PLAINTEXT",
            (false, true) => "SASL_PLAINTEXT",
            (true, false) => "SSL",
            (true, true) => "SASL_SSL",
        };
        let sasl = self.user.as_ref().map(|(username, password)| {
            json!({ "saslMechanism": "PLAIN", "username": username, "password": password })
        });
        let mut security = json!({ "protocol": protocol });
        if let Some(sasl) = sasl {
            security["sasl"] = sasl;
        }
        json!({
            "bootstrapServers": self.address,
            "topics": topics,
            "consumer": { "autoOffsetReset": if earliest { "earliest" } else { "latest" } },
            "autoCreate": { "partitions": 1, "replicationFactor": 1 },
            "security": security,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> DevBroker {
        text.parse().unwrap()
    }

    #[test]
    fn every_scheme_stands_in_for_the_log_of_every_example() {
        for (scheme, kind, ..) in SCHEMES {
            let broker = parsed(&format!("{scheme}://u:p@localhost"));
            assert_eq!(broker.kind, kind);
            for (_, mut api) in crate::dev::examples().unwrap() {
                broker.stand_in(&mut api).unwrap();
                assert_ne!(api.brokers[0].configuration.kind(), "log", "{scheme}");
            }
        }
    }

    #[test]
    fn a_url_says_where_and_who() {
        let broker = parsed("mqtts://me:p%40ss@broker.example");
        assert_eq!(broker.address, "broker.example:8883");
        assert_eq!(broker.user, Some(("me".to_owned(), "p@ss".to_owned())));
        assert_eq!(broker.to_string(), "MQTT at broker.example:8883");
        let kafka = parsed("kafka://one:9092,two:9093,three");
        assert_eq!(kafka.address, "one:9092,two:9093,three:9092");
        assert_eq!(parsed("kafka://u:p@one:1,two:2").address, "one:1,two:2");
        assert_eq!(parsed("rabbitmq://localhost/test").part.as_deref(), Some("test"));
    }

    #[test]
    fn what_names_no_broker_is_refused_with_what_would() {
        for bad in
            ["localhost:1883", "http://h", "mqtt://", "mqtt://a:1,b:2", "mqtt://h/part", "mqtt://h:99999"]
        {
            assert!(bad.parse::<DevBroker>().is_err(), "{bad}");
        }
        assert!("nats://h".parse::<DevBroker>().unwrap_err().contains("mqtt://"));
    }
}
