//! Headers and properties, there and back.

use futures_util::StreamExt;
use lapin::{
    BasicProperties,
    options::{BasicConsumeOptions, BasicPublishOptions, QueueBindOptions, QueueDeclareOptions},
    types::{AMQPValue, FieldTable},
};
use sluice_broker::{BrokerDriver, StartAt};
use sluice_message::{Attributes, Headers, Message, Topic};

use tokio::{io::AsyncWriteExt, net::TcpStream};

use crate::support::{
    consume, metadata, next, open, other_client, payloads, plain, publish, step, unused, variable,
};

#[tokio::test(flavor = "multi_thread")]
async fn properties_and_headers_of_other_clients_are_told() {
    let rabbitmq = open(&plain());
    let topic = unused("told");
    let mut reader = consume(&rabbitmq, &[&topic], StartAt::Latest).await;
    let mut headers = FieldTable::default();
    headers.insert("flag".into(), AMQPValue::Boolean(true));
    headers.insert("count".into(), AMQPValue::LongInt(-5));
    headers.insert("name".into(), AMQPValue::LongString("text".into()));
    let properties = BasicProperties::default()
        .with_content_type("application/json".into())
        .with_content_encoding("gzip".into())
        .with_headers(headers)
        .with_delivery_mode(2)
        .with_priority(3)
        .with_correlation_id("c".into())
        .with_reply_to("r".into())
        .with_expiration("60000".into())
        .with_message_id("m".into())
        .with_timestamp(1_700_000_000)
        .with_type("t".into())
        .with_app_id("a".into());
    let (_connection, channel) = other_client().await;
    let options = BasicPublishOptions::default();
    let sent = channel.basic_publish("amq.topic".into(), topic.as_str().into(), options, b"{}", properties);
    step("publish", sent).await.expect("sent");
    let message = next(&mut reader).await.expect("a message");
    for (name, value) in [
        ("content-type", "application/json"),
        ("content-encoding", "gzip"),
        ("flag", "true"),
        ("count", "-5"),
        ("name", "text"),
    ] {
        assert_eq!(message.headers().get(name).expect(name), value);
    }
    for (name, value) in [
        ("topic", topic.as_str()),
        ("exchange", "amq.topic"),
        ("redelivered", "false"),
        ("contentType", "application/json"),
        ("deliveryMode", "2"),
        ("priority", "3"),
        ("correlationId", "c"),
        ("replyTo", "r"),
        ("expiration", "60000"),
        ("messageId", "m"),
        ("type", "t"),
        ("appId", "a"),
        ("sourceTimestamp", "1700000000000"),
    ] {
        assert_eq!(metadata(&message, name).as_deref(), Some(value), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn other_clients_find_headers_and_properties_and_the_message_is_persistent() {
    let rabbitmq = open(&plain());
    let topic = unused("found");
    let (_connection, channel) = other_client().await;
    let none = FieldTable::default;
    let declared = channel.queue_declare("".into(), QueueDeclareOptions::exclusive(), none());
    let queue = step("declare", declared).await.expect("a queue").name().clone();
    let key = topic.as_str();
    let bound = channel.queue_bind(
        queue.clone(),
        "amq.topic".into(),
        key.into(),
        QueueBindOptions::default(),
        none(),
    );
    step("bind", bound).await.expect("bound");
    let consumed = channel.basic_consume(queue, "".into(), BasicConsumeOptions::default(), none());
    let mut consumer = step("consume", consumed).await.expect("a consumer");
    let headers: Headers =
        [("Content-Type", "text/plain"), ("x-trace", "1"), ("X-Trace", "2")].into_iter().collect();
    let mut attributes = Attributes::default();
    for (name, value) in [
        ("rabbitmq.correlationId", "c"),
        ("rabbitmq.replyTo", "r"),
        ("rabbitmq.messageId", "m"),
        ("rabbitmq.type", "t"),
        ("rabbitmq.expiration", "60000"),
        ("other", "stays here"),
    ] {
        attributes.set(name, value.into());
    }
    attributes.set("rabbitmq.priority", 7.into());
    let message = Message::builder()
        .payload("x")
        .headers(headers)
        .attributes(attributes)
        .timestamp_ms(1_700_000_000_123);
    step("publish", rabbitmq.publish(&topic, message.build()))
        .await
        .unwrap_or_else(|error| panic!("{error}"));
    let found = step("read", consumer.next()).await.expect("a delivery").expect("a delivery");
    let mut table = FieldTable::default();
    table.insert("x-trace".into(), AMQPValue::LongString("1, 2".into()));
    let expected = BasicProperties::default()
        .with_content_type("text/plain".into())
        .with_headers(table)
        .with_delivery_mode(2)
        .with_priority(7)
        .with_correlation_id("c".into())
        .with_reply_to("r".into())
        .with_expiration("60000".into())
        .with_message_id("m".into())
        .with_timestamp(1_700_000_000)
        .with_type("t".into());
    assert_eq!(found.properties, expected);
    assert_eq!((&*found.data, found.routing_key.as_str()), (&b"x"[..], key));
}

/// Publishes a message whose header holds arrays in each other, by a connection of its own: no client would write it.
async fn publish_nested(topic: &Topic, depth: usize) -> TcpStream {
    let short = |text: &str| [&[u8::try_from(text.len()).expect("it is short")], text.as_bytes()].concat();
    let long = |bytes: &[u8]| {
        let length = u32::try_from(bytes.len()).expect("it is short");
        [&length.to_be_bytes(), bytes].concat()
    };
    let frame =
        |kind: u8, channel: u8, payload: &[u8]| [&[kind, 0, channel], &long(payload)[..], &[0xce]].concat();
    let response =
        format!("\0{}\0{}", variable("SLUICE_TEST_RABBITMQ_USER"), variable("SLUICE_TEST_RABBITMQ_PASSWORD"));
    let login = [long(b""), short("PLAIN"), long(response.as_bytes()), short("en_US")].concat();
    let mut arrays = Vec::with_capacity(5 * depth);
    for inner in (0..depth).rev() {
        arrays.push(b'A');
        arrays.extend(u32::try_from(5 * inner).expect("it is short").to_be_bytes());
    }
    let headers = long(&[&short("deep"), &arrays[..]].concat());
    let sent = [
        b"AMQP\0\0\x09\x01".to_vec(),
        frame(1, 0, &[&[0, 10, 0, 11], &login[..]].concat()),
        // One channel, frames of 128 KiB, no heartbeat.
        frame(1, 0, &[0, 10, 0, 31, 0, 1, 0, 2, 0, 0, 0, 0]),
        frame(1, 0, &[&[0, 10, 0, 40], &short("/")[..], &[0, 0]].concat()),
        frame(1, 1, &[0, 20, 0, 10, 0]),
        frame(1, 1, &[&[0, 60, 0, 40, 0, 0], &short("amq.topic")[..], &short(topic.as_str()), &[0]].concat()),
        frame(2, 1, &[&[0, 60, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0x20, 0], &headers[..]].concat()),
        frame(3, 1, b"x"),
    ];
    let mut stream = TcpStream::connect(variable("SLUICE_TEST_RABBITMQ")).await.expect("RabbitMQ is there");
    stream.write_all(&sent.concat()).await.expect("it takes all of it");
    stream
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_in_each_other_beyond_all_reason_harm_nobody() {
    let rabbitmq = open(&plain());
    let topic = unused("deep");
    let mut reader = consume(&rabbitmq, &[&topic], StartAt::Latest).await;
    let _connection = publish_nested(&topic, 20_000).await;
    let message = next(&mut reader).await.expect("a message");
    assert_eq!(message.payload(), b"x");
    assert!(message.headers().get("deep").is_some_and(|value| value.starts_with(b"[[[[")));
    publish(&rabbitmq, &topic, "and others come").await;
    assert_eq!(payloads(&mut reader, 1).await, ["and others come"]);
}
