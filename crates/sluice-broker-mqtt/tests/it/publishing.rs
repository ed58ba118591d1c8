//! Publishing: what a message carries, what a broker refuses.

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use serde_json::json;
use sluice_broker::{BrokerDriver, ErrorKind, StartAt};
use sluice_message::{Headers, Message};

use crate::support::{
    at, consume, message, next, open, payloads, plain, publish, publish_message, step, told, unused,
    variable, with,
};

fn with_headers(payload: &str, headers: &[(&str, &str)]) -> Message {
    let headers: Headers = headers.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
    Message::builder().payload(payload.to_owned()).headers(headers).build()
}

#[tokio::test]
async fn headers_and_content_type_go_both_ways() {
    let (mqtt, topic) = (plain(), unused("headers"));
    let mut reader = consume(&mqtt, &[topic.as_str()], StartAt::Latest).await;
    let headers = [("content-type", "text/plain"), ("trace", "a"), ("other", "ü"), ("trace", "b")];
    publish_message(&mqtt, topic, with_headers("m", &headers)).await;
    let found = next(&mut reader).await;
    let found_headers = found.headers().iter().map(|header| (&*header.name, &*header.value));
    assert_eq!(found_headers.collect::<Vec<_>>(), headers.map(|(name, value)| (name, value.as_bytes())));
    assert_eq!(told(&found, "contentType").as_deref(), Some("text/plain"));
}

#[tokio::test]
async fn an_independent_client_sees_the_same() {
    let (mqtt, topic) = (with(json!({"producer": {"responseTopic": "answers"}})), unused("independent"));
    let address = variable("SLUICE_TEST_MQTT");
    let (host, port) = address.rsplit_once(':').expect("an address has a port");
    let mut sees = tokio::process::Command::new("mosquitto_sub");
    sees.args([
        "-h",
        host,
        "-p",
        port,
        "-V",
        "mqttv5",
        "-q",
        "1",
        "-C",
        "1",
        "-W",
        "50",
        "-t",
        topic.as_str(),
    ]);
    sees.args(["-F", "%t|%q|%C|%R|%D|%P|%p"]).stdout(std::process::Stdio::piped());
    let sees = sees.spawn().expect("mosquitto_sub is installed with the broker");
    // It says nothing once it listens: it is sent the message until it has it.
    let sending = async {
        loop {
            let message = with_headers("m", &[("content-type", "a/b"), ("x", "y")]).to_builder();
            let message = message.metadata("correlationData", BASE64.encode("request 7"));
            publish_message(&mqtt, topic.clone(), message.build()).await;
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    let output = tokio::select! {
        output = step("mosquitto_sub ends", sees.wait_with_output()) => output.expect("it runs"),
        () = sending => unreachable!("it is sent for ever"),
    };
    assert_eq!(
        String::from_utf8_lossy(&output.stdout).trim(),
        format!("{topic}|1|a/b|answers|request 7|x:y|m")
    );
}

#[tokio::test]
async fn expiry_and_response_topic_are_told_to_readers() {
    let producer = json!({"responseTopic": "answers/1", "messageExpiryInterval": 600});
    let (mqtt, topic) = (with(json!({"producer": producer})), unused("expiry"));
    let mut reader = consume(&mqtt, &[topic.as_str()], StartAt::Latest).await;
    publish(&mqtt, topic, "m").await;
    let found = next(&mut reader).await;
    assert_eq!(told(&found, "responseTopic").as_deref(), Some("answers/1"));
    let expiry: u32 = told(&found, "messageExpiryInterval").expect("it is told").parse().expect("a number");
    assert!((590..=600).contains(&expiry), "{expiry}");
}

#[tokio::test]
async fn what_a_message_says_of_its_answers_goes_both_ways_and_from_one_broker_to_another() {
    let (mqtt, topic) = (with(json!({"producer": {"responseTopic": "answers"}})), unused("answers"));
    let mut reader = consume(&mqtt, &[topic.as_str()], StartAt::Latest).await;
    let data = BASE64.encode([0, 255, b'\n', b'a']);
    let asking = Message::builder().payload("?").metadata("responseTopic", "mine/7");
    publish_message(&mqtt, topic.clone(), asking.metadata("correlationData", data.clone()).build()).await;
    for _ in 0..2 {
        let found = next(&mut reader).await;
        assert_eq!(told(&found, "responseTopic").as_deref(), Some("mine/7"), "before that of the settings");
        assert_eq!(told(&found, "correlationData").as_deref(), Some(&*data));
        // As a dead letter is published, say.
        publish_message(&mqtt, topic.clone(), found).await;
    }
}

#[tokio::test]
async fn correlation_data_of_an_independent_client_are_read() {
    let (mqtt, topic) = (plain(), unused("asked"));
    let mut reader = consume(&mqtt, &[topic.as_str()], StartAt::Latest).await;
    let address = variable("SLUICE_TEST_MQTT");
    let (host, port) = address.rsplit_once(':').expect("an address has a port");
    let mut asks = tokio::process::Command::new("mosquitto_pub");
    asks.args(["-h", host, "-p", port, "-V", "mqttv5", "-q", "1", "-t", topic.as_str(), "-m", "?"]);
    asks.args(["-D", "publish", "correlation-data", "request 7", "-D", "publish", "response-topic", "mine"]);
    assert!(step("mosquitto_pub", asks.status()).await.expect("it is installed").success());
    let found = next(&mut reader).await;
    assert_eq!(told(&found, "correlationData"), Some(BASE64.encode("request 7")));
    assert_eq!(told(&found, "responseTopic").as_deref(), Some("mine"));
}

#[tokio::test]
async fn qos_2_goes_through_once() {
    for version in ["5", "3.1.1"] {
        let settings = json!({"version": version, "producer": {"qos": 2}, "consumer": {"qos": 2}});
        let (mqtt, topic) = (with(settings), unused("qos-2"));
        let mut reader = consume(&mqtt, &[topic.as_str()], StartAt::Latest).await;
        for payload in ["one", "two", "three"] {
            publish(&mqtt, topic.clone(), payload).await;
        }
        for payload in ["one", "two", "three"] {
            let found = next(&mut reader).await;
            assert_eq!(found.payload(), payload.as_bytes());
            assert_eq!(told(&found, "qos").as_deref(), Some("2"));
        }
    }
}

#[tokio::test]
async fn a_retained_message_waits_for_whoever_subscribes() {
    let (mqtt, topic) = (with(json!({"producer": {"retained": true}})), unused("retained"));
    publish(&mqtt, topic.clone(), "kept").await;
    let mut reader = consume(&plain(), &[topic.as_str()], StartAt::Latest).await;
    let found = next(&mut reader).await;
    assert_eq!(found.payload(), b"kept");
    assert_eq!(told(&found, "retain").as_deref(), Some("true"));
    let mut uninterested =
        consume(&with(json!({"consumer": {"retained": "never"}})), &[topic.as_str()], StartAt::Latest).await;
    publish(&plain(), topic.clone(), "new").await;
    assert_eq!(payloads(&mut uninterested, 1).await, ["new"]);
    // An empty one takes it away.
    publish(&mqtt, topic, "").await;
}

#[tokio::test]
async fn a_message_over_a_limit_that_the_broker_told_is_refused_before_it_is_sent() {
    let (mqtt, topic) = (open(&at("SLUICE_TEST_MQTT_SMALL", json!({}))), unused("packet"));
    let large = Message::builder().payload(vec![b'x'; 70 << 10]).build();
    let error = step("publish", mqtt.publish(&topic, large)).await.expect_err("it is too large");
    assert_eq!(error.kind, ErrorKind::TooLarge, "{error}");
    publish(&mqtt, topic, "small").await;
}

#[tokio::test]
async fn a_message_over_a_limit_that_the_broker_keeps_to_itself_is_refused_for_good() {
    let (mqtt, topic) = (open(&at("SLUICE_TEST_MQTT_SMALL", json!({}))), unused("payload"));
    let large = Message::builder().payload(vec![b'x'; 40 << 10]).build();
    let error = step("publish", mqtt.publish(&topic, large)).await.expect_err("it is too large");
    assert!(!error.retryable(), "{error}");
    publish(&mqtt, topic, "small").await;
}

#[tokio::test]
async fn the_gateways_own_limit_holds_where_the_broker_tells_none() {
    let settings = json!({"version": "3.1.1", "maximumPacketSize": 2048});
    let (mqtt, topic) = (with(settings), unused("own-limit"));
    let large = Message::builder().payload(vec![b'x'; 2048]).build();
    let error = step("publish", mqtt.publish(&topic, large)).await.expect_err("it is too large");
    assert_eq!(error.kind, ErrorKind::TooLarge, "{error}");
    let edge = Message::builder().payload(vec![b'x'; 2048 - 60 - topic.as_str().len()]).build();
    publish_message(&mqtt, topic, edge).await;
}

#[tokio::test]
async fn what_is_no_topic_is_refused() {
    let mqtt = plain();
    for topic in ["", "a/+", "#", "a\0b"] {
        let error = step("publish", mqtt.publish(&topic.into(), message("m"))).await.expect_err("no topic");
        assert_eq!(error.kind, ErrorKind::NoTopic, "{topic:?}: {error}");
    }
    let error =
        step("publish", mqtt.publish(&"forbidden/x".into(), message("m"))).await.expect_err("forbidden");
    assert_eq!(error.kind, ErrorKind::Refused, "{error}");
    assert!(error.message.contains("forbidden/x"), "{error}");
}
