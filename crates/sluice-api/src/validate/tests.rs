//! Each rule, broken.

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
    let beat = json!({ "heartbeatIntervalInMs": 1999 });
    let path = "receivers[1].configuration.heartbeatIntervalInMs";
    refused("/receivers/1/configuration", beat, path, "listeners.entrypoints.configuration.invalid");
    refused("/brokers", json!([]), "brokers", "endpoints.count");
    for limit in [0, (64 << 20) + 1] {
        refused("/limits", json!({ "maxBodyBytes": limit }), "limits.maxBodyBytes", "limits.range");
    }
    assert!(with("/limits", json!({ "maxBodyBytes": 64 << 20 })).is_empty());
    for limit in [0, 1001] {
        refused("/limits", json!({ "clientConnections": limit }), "limits.clientConnections", "limits.range");
    }
    assert!(with("/limits", json!({ "clientConnections": 1000 })).is_empty());
    for window in [999, 86_400_001] {
        let guarantees = json!({ "idempotencyWindowMs": window });
        refused("/guarantees", guarantees, "guarantees.idempotencyWindowMs", "guarantees.range");
    }
    for bytes in [(1 << 20) - 1, (1_u64 << 40) + 1] {
        let guarantees = json!({ "spool": { "maxBytes": bytes } });
        refused("/guarantees", guarantees, "guarantees.spool.maxBytes", "guarantees.range");
    }
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
    refused(
        &format!("{broker}/consumer"),
        json!({ "encodeMessageId": false }),
        "brokers[0].configuration.consumer.encodeMessageId",
        invalid,
    );
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
fn the_bounds_of_each_receiver_are_kept_at_their_edges() {
    let invalid = "listeners.entrypoints.configuration.invalid";
    let receiver = |kind: &str, settings: Value| json!({ "type": kind, "configuration": settings });
    let edges = [
        ("http-get", "messagesLimitCount", vec![1, 10_000], vec![0, 10_001]),
        ("http-get", "messagesLimitDurationMs", vec![1, 60_000], vec![0, 60_001]),
        ("websocket", "pingIntervalMs", vec![1000], vec![999, 3_600_001]),
        ("websocket", "idleTimeoutMs", vec![30_001, 86_400_000], vec![30_000, 86_400_001]),
        ("websocket", "maxFrameBytes", vec![125, 64 << 20], vec![124, (64 << 20) + 1]),
        ("websocket", "maxConnections", vec![1, 1_000_000], vec![0, 1_000_001]),
        ("sse", "maxConnections", vec![1, 1_000_000], vec![0, 1_000_001]),
    ];
    for (kind, field, inside, outside) in edges {
        for value in inside {
            let problems = with("/receivers/1", receiver(kind, json!({ field: value })));
            assert!(problems.is_empty(), "{field} {value}: {problems:?}");
        }
        for value in outside {
            let path = format!("receivers[1].configuration.{field}");
            refused("/receivers/1", receiver(kind, json!({ field: value })), &path, invalid);
        }
    }
    let deaf = json!({ "publisher": { "enabled": false }, "subscriber": { "enabled": false } });
    refused("/receivers/1", receiver("websocket", deaf), "receivers[1].configuration.publisher", invalid);
    for (field, value) in [("subprotocols", "a b"), ("allowedOrigins", "app.example")] {
        let path = format!("receivers[1].configuration.{field}[0]");
        refused("/receivers/1", receiver("websocket", json!({ field: [value] })), &path, invalid);
    }
}

#[test]
fn acknowledgements_stand_where_no_message_can_look_like_one_and_messages_are_taken() {
    let websocket = |settings: Value| json!({ "type": "websocket", "configuration": settings });
    let invalid = "listeners.entrypoints.configuration.invalid";
    let acknowledge = "receivers[1].configuration.publisher.acknowledge";
    let (told, deaf) = (json!({ "acknowledge": true }), json!({ "enabled": false }));
    for frames in ["text", "auto"] {
        let settings = json!({ "frames": frames, "publisher": told });
        refused("/receivers/1", websocket(settings), acknowledge, invalid);
        let settings = json!({ "frames": frames, "publisher": told, "subscriber": deaf });
        assert!(with("/receivers/1", websocket(settings)).is_empty(), "{frames}");
    }
    for frames in ["json", "binary"] {
        let settings = json!({ "frames": frames, "publisher": told });
        assert!(with("/receivers/1", websocket(settings)).is_empty(), "{frames}");
    }
    for field in ["envelope", "acknowledge"] {
        let settings = json!({ "publisher": { "enabled": false, field: true } });
        let path = format!("receivers[1].configuration.publisher.{field}");
        refused("/receivers/1", websocket(settings), &path, invalid);
    }
}

#[test]
fn a_receiver_promises_what_its_broker_can_keep() {
    let qos = "listeners.entrypoints.qos.unsupported";
    for kind in ["http-get", "sse", "webhook"] {
        for level in ["none", "auto", "at-most-once", "at-least-once"] {
            assert!(with("/receivers/1", json!({ "type": kind, "qos": level })).is_empty(), "{kind} {level}");
        }
    }
    let mut mock = api();
    mock["receivers"] = json!([{ "type": "http-post", "qos": "at-least-once" }]);
    mock["brokers"][0] =
        json!({ "type": "mock", "configuration": { "messageInterval": 1, "messageContent": "x" } });
    let problems = EventApi::from_document(mock).unwrap_err();
    assert_eq!((&*problems[0].path, problems[0].code), ("receivers[0].qos", qos));
}

#[test]
fn a_promise_to_keep_every_message_is_not_made_with_skipping_or_where_no_position_can_be_told() {
    let mut document = api();
    document["receivers"][1] = json!({ "type": "sse", "qos": "at-least-once" });
    document["guarantees"] = json!({ "slowClients": "skip" });
    let problems = EventApi::from_document(document.clone()).unwrap_err();
    assert_eq!(problems[0].path, "receivers[1].qos");
    for other in ["hold", "disconnect"] {
        document["guarantees"]["slowClients"] = json!(other);
        assert!(EventApi::from_document(document.clone()).is_ok());
    }
    let mut websocket = json!({ "type": "websocket", "qos": "at-least-once", "configuration": {} });
    let frames = "receivers[1].configuration.frames";
    refused("/receivers/1", websocket.clone(), frames, "listeners.entrypoints.configuration.invalid");
    websocket["configuration"]["frames"] = json!("json");
    assert!(with("/receivers/1", websocket).is_empty());
}

#[test]
fn an_api_whose_clients_are_called_needs_no_path() {
    let mut document = api();
    document["receivers"] = json!([{ "type": "webhook" }]);
    document.as_object_mut().unwrap().remove("paths");
    assert!(EventApi::from_document(document.clone()).is_ok());
    document["receivers"] = json!([{ "type": "webhook" }, { "type": "sse" }]);
    assert!(EventApi::from_document(document).is_err());
}

#[test]
fn dead_letters_go_to_a_broker_that_publishes() {
    let with_brokers = |endpoint: &str, producer: bool| {
        let mut document = api();
        document["receivers"][1] = json!({ "type": "webhook", "dlq": { "endpoint": endpoint } });
        let letters = json!({
            "name": "letters",
            "group": "dead",
            "type": "log",
            "configuration": { "topics": ["dead"], "producer": { "enabled": producer } },
        });
        document["brokers"].as_array_mut().unwrap().push(letters);
        EventApi::from_document(document).err().unwrap_or_default()
    };
    assert!(with_brokers("letters", true).is_empty() && with_brokers("dead", true).is_empty());
    let off = with_brokers("letters", false);
    assert_eq!((&*off[0].path, off.len()), ("receivers[1].dlq.endpoint", 1));
    let unknown = with_brokers("nowhere", true);
    assert!(unknown.iter().any(|problem| problem.path == "receivers[1].dlq.endpoint"));
    let own = json!({ "type": "webhook", "dlq": { "endpoint": "default" } });
    refused("/receivers/1", own, "receivers[1].dlq.endpoint", "listeners.entrypoints.dlq.invalid");
    let of_sse = json!({ "type": "sse", "dlq": { "endpoint": "default" } });
    refused("/receivers/1", of_sse, "receivers[1].dlq", "listeners.entrypoints.dlq.unsupported");
}

/// The problems of an API with these brokers of one group, beside the usual one of another.
fn grouped(brokers: &[Value]) -> Vec<Problem> {
    let mut document = api();
    let own = document["brokers"][0].take();
    let mut all = brokers.to_vec();
    all.push(own);
    document["brokers"] = all.into();
    EventApi::from_document(document).err().unwrap_or_default()
}

fn member(name: &str, more: &Value) -> Value {
    let mut member = json!({
        "name": name, "group": "g", "type": "kafka",
        "configuration": { "bootstrapServers": format!("{name}:9092"), "topics": ["t"] },
    });
    member.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    member
}

#[test]
fn brokers_of_a_group_are_used_as_one() {
    let configuration =
        |settings: Value| json!({ "configuration": settings, "weight": 1000, "secondary": true });
    let other = |settings: &Value| grouped(&[member("a", &json!({})), member("b", settings)]);
    assert_eq!(other(&json!({ "weight": 1000, "secondary": true })), []);
    for (settings, path) in [
        (json!({ "weight": 0 }), "brokers[1].weight"),
        (json!({ "weight": 1001 }), "brokers[1].weight"),
        (json!({ "name": "a" }), "brokers[1].name"),
        (json!({ "name": "default" }), "brokers[1].name"),
        (json!({ "name": "b:c" }), "brokers[1].name"),
        (json!({ "type": "log", "configuration": { "topics": ["t"] } }), "brokers[1].type"),
        (
            configuration(json!({ "bootstrapServers": "b:9092", "topics": ["u"] })),
            "brokers[1].configuration.topics",
        ),
        (
            configuration(
                json!({ "bootstrapServers": "b:9092", "topics": ["t"], "producer": { "enabled": false } }),
            ),
            "brokers[1].configuration.topics",
        ),
        (
            configuration(json!({
                "bootstrapServers": "b:9092", "topics": ["t"], "consumer": { "autoOffsetReset": "earliest" },
            })),
            "brokers[1].configuration.consumer.autoOffsetReset",
        ),
        (
            configuration(json!({
                "bootstrapServers": "b:9092", "topics": ["t"], "consumer": { "groupId": "g" },
            })),
            "brokers[1].configuration.consumer.groupId",
        ),
        (configuration(json!({ "bootstrapServers": "a:9092", "topics": ["t"] })), "brokers[1].configuration"),
    ] {
        let problems = other(&settings);
        assert!(problems.iter().any(|problem| problem.path == path), "{settings}: {problems:?}");
    }
    let secondary = json!({ "secondary": true });
    let none = grouped(&[member("a", &secondary), member("b", &secondary)]);
    assert_eq!(none.iter().map(|problem| &*problem.path).collect::<Vec<_>>(), ["brokers[0].secondary"]);
}

/// What is wrong with the groups of an API with this broker and these receivers, as messages.
fn group_problems(kind: &str, settings: &Value, receivers: &Value) -> Vec<String> {
    let mut api = api();
    api["receivers"] = receivers.clone();
    api["brokers"] = json!([{ "name": "b", "type": kind, "configuration": settings }]);
    let problems = EventApi::from_document(api).err().unwrap_or_default();
    let of_group = |problem: Problem| {
        assert_eq!(problem.path, "brokers[0].configuration.consumer.groupId", "{}", problem.message);
        problem.message
    };
    problems.into_iter().map(of_group).collect()
}

#[test]
fn a_group_has_a_name_of_bounded_length_or_an_expression() {
    for (group, sound) in [
        (json!("workers"), true),
        (json!("x".repeat(128)), true),
        (json!("{#request.headers['x-group'][0]}"), true),
        (json!("team {#request.headers['x-group'][0]}"), true),
        (json!(null), true),
        (json!(""), false),
        (json!("x".repeat(129)), false),
        (json!("a/b"), false),
        (json!("a~b"), false),
    ] {
        let settings = json!({ "topics": ["t"], "consumer": { "groupId": group } });
        assert_eq!(
            group_problems("log", &settings, &json!([{ "type": "sse" }])).is_empty(),
            sound,
            "{group}"
        );
    }
}

#[test]
fn only_streams_that_tell_no_positions_share_messages() {
    let told = |receivers: &Value| {
        let settings = json!({ "topics": ["t"], "consumer": { "groupId": "g" } });
        group_problems("log", &settings, receivers)
    };
    let frames = json!({ "frames": "json" });
    for (receiver, sound) in [
        (json!({ "type": "sse", "qos": "none" }), true),
        (json!({ "type": "sse", "qos": "auto" }), true),
        (json!({ "type": "sse", "qos": "at-least-once" }), false),
        (json!({ "type": "websocket", "qos": "auto" }), true),
        (json!({ "type": "websocket", "qos": "at-most-once", "configuration": frames }), false),
        (json!({ "type": "http-post", "qos": "at-least-once" }), true),
        (json!({ "type": "http-get" }), false),
        (json!({ "type": "webhook" }), false),
    ] {
        let problems = told(&json!([receiver]));
        assert_eq!(problems.is_empty(), sound, "{receiver}: {problems:?}");
        assert!(problems.iter().all(|message| message.contains("API of its own")));
    }
}

#[test]
fn a_group_is_refused_where_its_broker_has_none() {
    let with = |mut settings: Value, more: Value| {
        settings.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        settings
    };
    let group = json!({ "topics": ["t"], "groupId": "g" });
    let mqtt =
        |more: Value| with(json!({ "serverHost": "h", "serverPort": 1, "producer": { "topic": "t" } }), more);
    let solace = |more: Value| with(json!({ "url": "tcp://h:1", "consumer": group }), more);
    let semp = json!({ "url": "http://h:8080", "username": "u", "password": "p" });
    let rabbitmq = |consumer: Value| json!({ "serverHost": "h", "serverPort": 1, "consumer": consumer });
    for (kind, settings, why) in [
        ("kafka", json!({ "bootstrapServers": "k:1", "consumer": group }), None),
        ("mqtt5", mqtt(json!({ "consumer": group })), None),
        ("mqtt5", mqtt(json!({ "consumer": group, "version": "3.1.1" })), Some("3.1.1")),
        ("mqtt5", mqtt(json!({ "consumer": with(group.clone(), json!({ "qos": 0 })) })), Some("qos 0")),
        ("mqtt5", mqtt(json!({ "consumer": with(group.clone(), json!({ "share": "s" })) })), Some("share")),
        ("amqp", json!({ "url": "amqp://h:1", "consumer": group }), None),
        (
            "amqp",
            json!({ "url": "amqp://h:1", "consumer": group, "addresses": "rabbitmq" }),
            Some("rabbitmq"),
        ),
        ("solace", solace(json!({})), Some("semp")),
        ("solace", solace(json!({ "semp": semp })), None),
        ("solace", solace(json!({ "transport": "mqtt" })), None),
        ("rabbitmq", rabbitmq(json!({ "routingKey": "t", "groupId": "g" })), None),
        ("rabbitmq", rabbitmq(json!({ "queue": "q", "groupId": "g" })), Some("consumer.queue")),
    ] {
        let problems = group_problems(kind, &settings, &json!([{ "type": "sse" }]));
        assert_eq!(problems.len(), usize::from(why.is_some()), "{kind} {settings}: {problems:?}");
        let told = problems.iter().zip(why);
        told.for_each(|(message, why)| assert!(message.contains(why), "{message}"));
    }
}

#[test]
fn balancing_is_of_groups_that_there_are() {
    let mut document = api();
    document["balancing"] = json!({ "default": "weighted-random" });
    let read = EventApi::from_document(document.clone()).unwrap();
    assert_eq!(serde_json::to_value(&read).unwrap()["balancing"], document["balancing"]);
    refused(
        "/balancing",
        json!({ "nowhere": "random" }),
        "balancing.nowhere",
        "endpoints.loadBalancer.invalid",
    );
    assert!(!with("/balancing", json!({ "default": "by-moon" })).is_empty());
}

#[test]
fn what_an_api_says_about_its_answers_can_be_sent() {
    let cors = |settings: Value| with("/cors", settings);
    assert!(cors(json!({ "allowOrigin": ["https://a.example"], "allowCredentials": true })).is_empty());
    assert!(!cors(json!({ "allowOrigin": ["*"], "allowCredentials": true })).is_empty());
    assert!(!cors(json!({ "allowOrigin": ["a.example"] })).is_empty());
    assert!(!cors(json!({ "allowOrigin": ["*"], "allowHeaders": ["a b"] })).is_empty());
    let template = |template: Value| with("/responseTemplates", json!({ "KEY": { "*/*": template } }));
    assert!(template(json!({ "status": 400, "headers": { "X-A": "b" }, "body": "c" })).is_empty());
    assert!(!template(json!({ "status": 200 })).is_empty());
    assert!(!template(json!({ "status": 400, "headers": { "X-A": "b\r\nX-C: d" } })).is_empty());
}

#[test]
fn a_property_has_one_value() {
    let twice = json!([{ "key": "a", "value": "1" }, { "key": "a", "value": "2" }]);
    refused("/properties", twice, "properties[1].key", "properties.invalid");
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
