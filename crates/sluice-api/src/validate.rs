//! The rules that every event API obeys, whichever way it came in.

use std::collections::HashSet;

use crate::{
    AutoOffsetReset, BrokerConfig, EventApi, HttpPath, KafkaConfig, KafkaSecurity, Limits, Problem, Qos,
    ReceiverConfig, StoreType,
};

/// Bounds on what a definition may hold, so that no definition is a load by itself. Topic names have room in the
/// file names of the embedded log; Kafka would take nine more characters.
const MAX_PATHS: usize = 64;
const MAX_PATH_LENGTH: usize = 1024;
const MAX_TOPICS: usize = 64;
const MAX_TOPIC_LENGTH: usize = 240;
const MAX_FLOWS: usize = 64;
const MAX_STEPS: usize = 64;

impl EventApi {
    /// Every rule that this definition breaks; nothing when it may be deployed. What depends on other APIs
    /// (a path already taken) or on the policies at hand is judged where those are known.
    pub fn validate(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        check_id("id", &self.id.0, &mut problems);
        required("name", &self.name, &mut problems);
        required("version", &self.version, &mut problems);
        check_paths(&self.paths, &mut problems);
        self.check_receivers(&mut problems);
        self.check_brokers(&mut problems);
        self.check_flows(&mut problems);
        for (index, plan) in self.plans.iter().enumerate() {
            check_id(&format!("plans[{index}].id"), &plan.id.0, &mut problems);
            required(&format!("plans[{index}].name"), &plan.name, &mut problems);
        }
        if !(1..=Limits::MAX_BODY_BYTES).contains(&self.limits.max_body_bytes) {
            let message = format!("Must be from 1 to {} bytes.", Limits::MAX_BODY_BYTES);
            problems.push(Problem::new("limits.maxBodyBytes", "limits.range", message));
        }
        problems
    }

    fn check_receivers(&self, problems: &mut Vec<Problem>) {
        if self.receivers.is_empty() {
            let message = "At least one receiver is needed, for example http-post or sse.";
            problems.push(Problem::new("receivers", "listeners.entrypoints.missing", message));
        }
        let mut kinds = HashSet::new();
        for (index, receiver) in self.receivers.iter().enumerate() {
            let path = format!("receivers[{index}]");
            if !kinds.insert(receiver.configuration.kind()) {
                let message = format!("There is more than one receiver '{}'.", receiver.configuration.kind());
                problems.push(Problem::new(
                    format!("{path}.type"),
                    "api.listeners.entrypoints.type.duplicated",
                    message,
                ));
            }
            if !matches!(receiver.qos, Qos::None | Qos::Auto) {
                let message = format!("The receiver '{}' offers qos none and auto.", receiver.connector);
                problems.push(Problem::new(
                    format!("{path}.qos"),
                    "listeners.entrypoints.qos.unsupported",
                    message,
                ));
            }
            if let ReceiverConfig::Sse(sse) = &receiver.configuration
                && !(2000..=3_600_000).contains(&sse.heartbeat_interval_in_ms)
            {
                problems.push(Problem::new(
                    format!("{path}.configuration.heartbeatIntervalInMs"),
                    "listeners.entrypoints.configuration.invalid",
                    "Must be from 2000 to 3600000 milliseconds.",
                ));
            }
        }
    }

    fn check_brokers(&self, problems: &mut Vec<Problem>) {
        let [broker] = &*self.brokers else {
            let message = format!("Exactly one broker is needed; there are {}.", self.brokers.len());
            problems.push(Problem::new("brokers", "endpoints.count", message));
            return;
        };
        required("brokers[0].name", &broker.name, problems);
        let path = "brokers[0].configuration";
        let publishes = self.receivers.iter().any(|receiver| receiver.configuration.publishes());
        let delivers = self.receivers.iter().any(|receiver| receiver.configuration.delivers());
        if publishes {
            check_topics(path, "producer", broker.configuration.publish_topics(), problems);
        }
        if delivers {
            check_topics(path, "consumer", broker.configuration.deliver_topics(), problems);
            if broker.configuration.auto_offset_reset() == AutoOffsetReset::None {
                problems.push(Problem::new(
                    format!("{path}.consumer.autoOffsetReset"),
                    "endpoints.configuration.invalid",
                    "'none' refuses every client that brings no position, and receivers of this API take \
                     none; use latest or earliest.",
                ));
            }
        }
        match &broker.configuration {
            BrokerConfig::Kafka(kafka) => check_kafka(path, kafka, problems),
            BrokerConfig::Mock(mock) if mock.message_interval == 0 => problems.push(Problem::new(
                format!("{path}.messageInterval"),
                "endpoints.configuration.invalid",
                "Must be at least 1 millisecond.",
            )),
            BrokerConfig::Log(_) | BrokerConfig::Mock(_) => {}
        }
    }

    fn check_flows(&self, problems: &mut Vec<Problem>) {
        let own = std::iter::once((String::new(), &self.flows));
        let plans = self.plans.iter().enumerate();
        let plans = plans.map(|(index, plan)| (format!("plans[{index}]."), &plan.flows));
        for (prefix, flows) in own.chain(plans) {
            if flows.len() > MAX_FLOWS {
                let message = format!("At most {MAX_FLOWS} flows are allowed.");
                problems.push(Problem::new(format!("{prefix}flows"), "flows.count", message));
            }
            for (index, flow) in flows.iter().enumerate() {
                if flow.publish.len() > MAX_STEPS || flow.deliver.len() > MAX_STEPS {
                    let message = format!("At most {MAX_STEPS} policies are allowed on either way.");
                    problems.push(Problem::new(format!("{prefix}flows[{index}]"), "flows.count", message));
                }
            }
        }
    }
}

fn required(path: &str, text: &str, problems: &mut Vec<Problem>) {
    if text.trim().is_empty() {
        problems.push(Problem::new(path, "field.required", "Must not be empty."));
    }
}

fn check_id(path: &str, id: &str, problems: &mut Vec<Problem>) {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    if id.is_empty() || id.len() > 64 || !id.bytes().all(allowed) {
        let message =
            "An id has 1 to 64 letters, digits, '-', '_' or '.'; give the id or a name it can be made from.";
        problems.push(Problem::new(path, "id.invalid", message));
    }
}

fn check_paths(paths: &[HttpPath], problems: &mut Vec<Problem>) {
    if paths.is_empty() || paths.len() > MAX_PATHS {
        let message = format!("From 1 to {MAX_PATHS} paths are needed.");
        problems.push(Problem::new("paths", "listeners.http.paths.missing", message));
    }
    for (index, path) in paths.iter().enumerate() {
        let allowed = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'?' | b'#' | b'%' | b'\\');
        let bad_segment = path.path.split('/').any(|segment| matches!(segment, "." | ".."));
        if !path.path.starts_with('/')
            || path.path.len() > MAX_PATH_LENGTH
            || !path.path.bytes().all(allowed)
            || bad_segment
        {
            let message = format!(
                "A path begins with '/', has at most {MAX_PATH_LENGTH} visible ASCII characters without ?, #, \
                 %, \\ and no segment '.' or '..'."
            );
            problems.push(Problem::new(format!("paths[{index}].path"), "path.invalid", message));
        }
        if path.host.as_deref().is_some_and(|host| !is_host(host)) {
            let message = "A host has letters, digits, '-' and '.', without a port.";
            problems.push(Problem::new(format!("paths[{index}].host"), "path.host.invalid", message));
        }
        if paths[..index].iter().any(|earlier| earlier.conflicts_with(path)) {
            let message = format!("The path [{}] is already covered by another path of this API.", path.path);
            problems.push(Problem::new(
                format!("paths[{index}].path"),
                "api.listener.paths.path.exists",
                message,
            ));
        }
    }
}

fn is_host(host: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.');
    !host.is_empty() && host.len() <= 253 && host.bytes().all(allowed)
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
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        if topic.is_empty()
            || topic.len() > MAX_TOPIC_LENGTH
            || matches!(topic, "." | "..")
            || !topic.bytes().all(allowed)
            || !seen.insert(topic)
        {
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use crate::{EventApi, Format, Problem, parse_document};

    fn api() -> Value {
        json!({
            "name": "An API",
            "paths": [{ "path": "/a" }],
            "receivers": [{ "type": "http-post" }, { "type": "sse" }],
            "brokers": [{
                "type": "kafka",
                "configuration": { "bootstrapServers": "a:9092,b:9092", "topics": ["t"] },
            }],
            "plans": [{ "name": "Open", "security": { "type": "key-less" } }],
        })
    }

    /// The problems after one value was put at a JSON pointer.
    fn with(pointer: &str, value: Value) -> Vec<Problem> {
        let mut api = api();
        let (parent, key) = pointer.rsplit_once('/').unwrap();
        match api.pointer_mut(parent).unwrap() {
            Value::Object(object) => drop(object.insert(key.to_owned(), value)),
            Value::Array(array) => array[key.parse::<usize>().unwrap()] = value,
            other => panic!("{other} has no fields"),
        }
        EventApi::from_document(api).err().unwrap_or_default()
    }

    #[track_caller]
    fn refused(pointer: &str, value: Value, path: &str, code: &str) {
        let problems = with(pointer, value);
        assert!(
            problems.iter().any(|problem| problem.path.starts_with(path) && problem.code == code),
            "expected {code} at {path}: {problems:?}"
        );
    }

    #[test]
    fn a_sound_definition_gets_its_ids_from_names_and_reads_back_as_it_was_written() {
        let api = EventApi::from_document(api()).unwrap();
        assert_eq!((api.id.0.as_str(), api.plans[0].id.0.as_str()), ("an-api", "an-api-open"));
        let again = EventApi::from_document(serde_json::to_value(&api).unwrap()).unwrap();
        assert_eq!(again, api);
    }

    #[test]
    fn every_rule_names_the_field_that_breaks_it() {
        refused("/name", json!(" "), "name", "field.required");
        refused("/id", json!("a/b"), "id", "id.invalid");
        refused("/paths", json!([]), "paths", "listeners.http.paths.missing");
        for path in ["a", "/a b", "/a?b", "/../a", "/%41", "/ä"] {
            refused("/paths/0/path", json!(path), "paths[0].path", "path.invalid");
        }
        refused("/paths/0/host", json!("a:80"), "paths[0].host", "path.host.invalid");
        let twice = json!([{ "path": "/a" }, { "path": "/a/b" }]);
        refused("/paths", twice, "paths[1].path", "api.listener.paths.path.exists");
        refused("/receivers", json!([]), "receivers", "listeners.entrypoints.missing");
        let twice = json!([{ "type": "sse" }, { "type": "sse-advanced" }]);
        refused("/receivers", twice, "receivers[1].type", "api.listeners.entrypoints.type.duplicated");
        let qos = "listeners.entrypoints.qos.unsupported";
        refused("/receivers/1/qos", json!("at-least-once"), "receivers[1].qos", qos);
        let beat = json!({ "heartbeatIntervalInMs": 1999 });
        let path = "receivers[1].configuration.heartbeatIntervalInMs";
        refused("/receivers/1/configuration", beat, path, "listeners.entrypoints.configuration.invalid");
        refused("/brokers", json!([]), "brokers", "endpoints.count");
        for limit in [0, (64 << 20) + 1] {
            refused("/limits", json!({ "maxBodyBytes": limit }), "limits.maxBodyBytes", "limits.range");
        }
        assert!(with("/limits", json!({ "maxBodyBytes": 64 << 20 })).is_empty());
    }

    #[test]
    fn an_unknown_field_or_connector_is_refused_with_its_place() {
        refused("/colour", json!("red"), "colour", "document.field");
        refused("/receivers/0/type", json!("carrier-pigeon"), "receivers[0].type", "connector.unknown");
        refused("/brokers/0/type", json!("pigeon-post"), "brokers[0].type", "connector.unknown");
        let field = "brokers[0].configuration.bootstrapServer";
        refused("/brokers/0/configuration/bootstrapServer", json!("x"), field, "document.field");
    }

    #[test]
    fn a_broker_must_serve_the_receivers_that_are_there() {
        let broker = "/brokers/0/configuration";
        let invalid = "endpoints.configuration.invalid";
        let off = json!({ "enabled": false });
        refused(
            &format!("{broker}/consumer"),
            off.clone(),
            "brokers[0].configuration.consumer.enabled",
            "endpoints.mode.disabled",
        );
        refused(
            &format!("{broker}/producer"),
            off,
            "brokers[0].configuration.producer.enabled",
            "endpoints.mode.disabled",
        );
        for topics in [json!([]), json!(["a b"]), json!(["a", "a"]), json!(["x".repeat(250)])] {
            refused(&format!("{broker}/topics"), topics, "brokers[0].configuration.topics", invalid);
        }
        let none = json!({ "autoOffsetReset": "none" });
        refused(
            &format!("{broker}/consumer"),
            none,
            "brokers[0].configuration.consumer.autoOffsetReset",
            invalid,
        );
        for servers in ["", "a", "a:b", "a:9092,", ":9092", "u:p@a:9092", "x://a:9092", "a\n:9092"] {
            refused(
                &format!("{broker}/bootstrapServers"),
                json!(servers),
                "brokers[0].configuration.bootstrapServers",
                invalid,
            );
        }
    }

    #[test]
    fn kafka_security_must_fit_together() {
        let check = |security: Value| with("/brokers/0/configuration/security", security);
        let sasl = json!({ "saslMechanism": "PLAIN", "username": "u", "password": "p" });
        assert!(check(json!({ "protocol": "SASL_SSL", "sasl": sasl })).is_empty());
        assert!(!check(json!({ "protocol": "SASL_SSL" })).is_empty());
        assert!(!check(json!({ "protocol": "SSL", "sasl": sasl })).is_empty());
        let trust = |store: Value| check(json!({ "protocol": "SSL", "ssl": { "trustStore": store } }));
        assert!(trust(json!({ "type": "PEM", "location": "/ca.pem" })).is_empty());
        assert!(!trust(json!({ "type": "PEM" })).is_empty());
        assert!(!trust(json!({ "type": "JKS", "location": "/ca.jks" })).is_empty());
        let unsupported = check(json!({ "protocol": "SASL_SSL", "sasl": { "saslMechanism": "GSSAPI" } }));
        assert!(unsupported[0].message.contains("GSSAPI"), "{unsupported:?}");
    }

    #[test]
    fn secrets_are_found_by_path_and_masked_when_written() {
        let mut document = api();
        document["brokers"][0]["configuration"]["security"] = json!({
            "protocol": "SASL_PLAINTEXT",
            "sasl": { "saslMechanism": "PLAIN", "username": "u", "password": "hunter2" },
        });
        let mut api = EventApi::from_document(document).unwrap();
        assert!(!serde_json::to_string(&api).unwrap().contains("hunter2"));
        let secrets = api.secrets_mut();
        assert_eq!(secrets[0].0, "brokers[0].configuration.security.sasl.password");
        assert_eq!(secrets[0].1.expose(), "hunter2");
    }

    #[test]
    fn apis_share_a_driver_when_addresses_credentials_and_compression_agree() {
        let connection = |servers: &str, password: &str, topic: &str| {
            let mut document = api();
            document["brokers"][0]["configuration"] = json!({
                "bootstrapServers": servers,
                "topics": [topic],
                "security": {
                    "protocol": "SASL_PLAINTEXT",
                    "sasl": { "saslMechanism": "PLAIN", "username": "u", "password": password },
                },
            });
            EventApi::from_document(document).unwrap().brokers[0].configuration.connection()
        };
        let one = connection("a:9092", "secret", "one");
        assert_eq!(one, connection("a:9092", "secret", "two"));
        assert_ne!(one, connection("b:9092", "secret", "one"));
        assert_ne!(one, connection("a:9092", "other", "one"));
    }

    #[test]
    fn broken_text_is_refused_with_line_and_column() {
        let json = parse_document("{\n  \"a\": x\n}", Format::Json).unwrap_err();
        assert!(json.message.contains("line 2, column 8"), "{json}");
        let yaml = parse_document("a: 1\n b: [\n", Format::Yaml).unwrap_err();
        assert!(yaml.message.contains("line 2"), "{yaml}");
    }

    #[test]
    fn text_made_to_exhaust_the_parser_is_refused() {
        let nested = format!("{}1{}", "[".repeat(10_000), "]".repeat(10_000));
        assert!(parse_document(&nested, Format::Json).is_err());
        assert!(parse_document(&nested, Format::Yaml).is_err());
        let mut bomb = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n".to_owned();
        for level in 1..12 {
            let before = format!("*a{}", level - 1);
            bomb += &format!("a{level}: &a{level} [{}]\n", [&*before; 10].join(","));
        }
        assert!(parse_document(&bomb, Format::Yaml).is_err());
    }

    proptest! {
        #[test]
        fn no_text_makes_the_reader_panic(text in "\\PC*") {
            for format in [Format::Json, Format::Yaml] {
                if let Ok(document) = parse_document(&text, format) {
                    let _read = EventApi::from_document(document);
                }
            }
        }
    }
}
