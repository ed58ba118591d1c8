//! Exchanges, bindings and queues.

use std::time::Duration;

use lapin::{
    BasicProperties, ExchangeKind,
    options::{BasicPublishOptions, ExchangeDeclareOptions, QueueDeclareOptions, QueueDeleteOptions},
    types::{AMQPValue, FieldArray, FieldTable},
};
use serde_json::json;
use sluice_broker::{BrokerDriver, ErrorKind, StartAt};
use sluice_message::Topic;
use tokio::time::timeout;

use crate::support::{
    commit, consume, group, metadata, next, open, other_client, payloads, plain, publish, step, text,
    try_consume, unused, with,
};

#[tokio::test(flavor = "multi_thread")]
async fn wildcards_bind_and_the_concrete_key_is_told() {
    let rabbitmq = open(&plain());
    let root = unused("wild");
    let [one, any, deep]: [Topic; 3] =
        ["*.temp", "#.all", "a.temp"].map(|end| format!("{root}.{end}").into());
    let mut reader = consume(&rabbitmq, &[&one, &any], StartAt::Latest).await;
    for key in ["a.temp", "a.b.temp", "all", "x.y.all", "b.temp"] {
        publish(&rabbitmq, &format!("{root}.{key}").into(), key).await;
    }
    let mut found = Vec::new();
    for _ in 0..4 {
        let message = next(&mut reader).await.expect("a message");
        assert_eq!(metadata(&message, "topic"), Some(format!("{root}.{}", text(&message))));
        found.push((text(&message), message.place().expect("a place").topic.clone()));
    }
    let expected = [("a.temp", &one), ("all", &any), ("x.y.all", &any), ("b.temp", &one)];
    assert_eq!(found, expected.map(|(key, topic)| (key.to_owned(), topic.clone())));
    assert!(!rabbitmq.covers(&one, &deep), "places are in the topic that was asked for");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_type_of_exchange_is_published_to_and_read() {
    for kind in ["topic", "direct", "fanout", "headers"] {
        let name = unused(kind);
        let exchange =
            json!({"exchange": {"name": name.as_str(), "type": kind, "durable": false, "autoDelete": true}});
        let rabbitmq = open(&with(json!({"consumer": exchange.clone(), "producer": exchange})));
        let topic = unused("key");
        let mut reader = consume(&rabbitmq, &[&topic], StartAt::Latest).await;
        let mut member = consume(&rabbitmq, &[&topic], group(&topic, true)).await;
        publish(&rabbitmq, &topic, kind).await;
        assert_eq!(payloads(&mut reader, 1).await, [kind]);
        let message = next(&mut member).await.expect("a message");
        assert_eq!(
            (text(&message), metadata(&message, "exchange")),
            (kind.to_owned(), Some(name.to_string()))
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exchange_declared_otherwise_is_a_mistake_in_the_settings() {
    let (_connection, channel) = other_client().await;
    let name = unused("conflict");
    let options = ExchangeDeclareOptions { auto_delete: false, ..ExchangeDeclareOptions::default() };
    let declared =
        channel.exchange_declare(name.as_str().into(), ExchangeKind::Fanout, options, FieldTable::default());
    step("declare", declared).await.expect("it is new");
    let exchange = json!({"exchange": {"name": name.as_str(), "type": "direct"}});
    let rabbitmq = open(&with(json!({"consumer": exchange.clone(), "producer": exchange})));
    let topic = unused("conflict-key");
    let published = step("publish", rabbitmq.publish(&topic, crate::support::message("x"))).await.err();
    let consumed = try_consume(&rabbitmq, &[&topic], StartAt::Latest).await.err();
    let checked = step("check", rabbitmq.check(&[])).await.err();
    for error in [published, consumed, checked] {
        let error = error.expect("another type");
        assert_eq!(error.kind, ErrorKind::Configuration);
        assert!(error.message.contains("inequivalent arg 'type'"), "{error}");
    }
    let of_that_type = |durable: bool| {
        let exchange = json!({"exchange": {"name": name.as_str(), "type": "fanout", "durable": durable}});
        open(&with(json!({"consumer": exchange})))
    };
    let error = step("check", of_that_type(true).check(&[])).await.expect_err("it is not durable");
    assert_eq!(error.kind, ErrorKind::Configuration);
    assert!(error.message.contains("inequivalent arg 'durable'"), "{error}");
    step("check", of_that_type(false).check(&[])).await.expect("that is how it was declared");
    channel.exchange_delete(name.as_str().into(), Default::default()).await.expect("it is there");
    // A check makes nothing.
    step("check", of_that_type(false).check(&[])).await.expect("it will be made when it is used");
    let passive = ExchangeDeclareOptions { passive: true, ..ExchangeDeclareOptions::default() };
    let found =
        channel.exchange_declare(name.as_str().into(), ExchangeKind::Fanout, passive, FieldTable::default());
    assert!(step("look for it", found).await.is_err(), "a check has made the exchange");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_apis_with_one_key_have_queues_of_their_own() {
    let rabbitmq = open(&plain());
    let topic = unused("shared-key");
    let names = ["api-one", "api-two"].map(|api| Topic::from(format!("{api}-{topic}")));
    let mut one = consume(&rabbitmq, &[&topic], group(&names[0], true)).await;
    let mut two = consume(&rabbitmq, &[&topic], group(&names[1], true)).await;
    publish(&rabbitmq, &topic, "m").await;
    for reader in [&mut one, &mut two] {
        assert_eq!(payloads(reader, 1).await, ["m"]);
    }
    let (_connection, channel) = other_client().await;
    for name in names {
        let passive = QueueDeclareOptions::durable().passive();
        let queue = channel.queue_declare(format!("sluice/{name}").into(), passive, FieldTable::default());
        assert_eq!(step("look", queue).await.expect("its name is known").consumer_count(), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sole_reader_keeps_others_out_until_it_goes() {
    let rabbitmq = open(&plain());
    let topic = unused("sole");
    let mut first = consume(&rabbitmq, &[&topic], group(&topic, true)).await;
    let error = try_consume(&rabbitmq, &[&topic], group(&topic, true)).await.err().expect("it has a reader");
    assert_eq!(error.kind, ErrorKind::Refused);
    publish(&rabbitmq, &topic, "m").await;
    assert_eq!(payloads(&mut first, 1).await, ["m"]);
    drop(first);
    let mut second = consume(&rabbitmq, &[&topic], group(&topic, true)).await;
    let again = next(&mut second).await.expect("what was not committed");
    assert_eq!((text(&again), metadata(&again, "redelivered")), ("m".to_owned(), Some("true".to_owned())));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quorum_queue_with_bounds_works_and_cannot_be_declared_otherwise() {
    let topic = unused("quorum");
    let quorum = json!({"type": "quorum", "expiresSeconds": 600, "maxLength": 2});
    let rabbitmq = open(&with(json!({"consumer": {"durableQueue": quorum}})));
    let reader = consume(&rabbitmq, &[&topic], group(&topic, true)).await;
    drop(reader);
    let error =
        try_consume(&open(&plain()), &[&topic], group(&topic, true)).await.err().expect("another type");
    assert_eq!(error.kind, ErrorKind::Configuration, "{error}");
    for payload in ["oldest", "older", "newest"] {
        publish(&rabbitmq, &topic, payload).await;
    }
    let mut reader = consume(&rabbitmq, &[&topic], group(&topic, true)).await;
    let first = next(&mut reader).await.expect("a message");
    assert_eq!(text(&first), "older", "the oldest went");
    commit(&mut reader, &first).await;
    assert_eq!(payloads(&mut reader, 1).await, ["newest"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_that_are_no_longer_read_are_left_out_and_do_not_stop_the_reader() {
    let rabbitmq = open(&with(json!({"consumer": {"prefetch": 2}})));
    let (old, new) = (unused("old-key"), unused("new-key"));
    drop(consume(&rabbitmq, &[&old, &new], group(&new, true)).await);
    for (topic, payload) in [(&old, "1"), (&old, "2"), (&old, "3"), (&new, "4"), (&old, "5"), (&new, "6")] {
        publish(&rabbitmq, topic, payload).await;
    }
    let mut reader = consume(&rabbitmq, &[&new], group(&new, true)).await;
    for payload in ["4", "6"] {
        let message = next(&mut reader).await.expect("a message");
        assert_eq!(text(&message), payload);
        commit(&mut reader, &message).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_came_by_a_further_key_of_its_publisher_is_read() {
    let rabbitmq = open(&plain());
    let [named, wanted] = ["named", "wanted"].map(unused);
    let mut reader = consume(&rabbitmq, &[&wanted], group(&wanted, true)).await;
    let further = FieldArray::from(vec![AMQPValue::LongString(wanted.as_str().into())]);
    let mut headers = FieldTable::default();
    headers.insert("CC".into(), AMQPValue::FieldArray(further));
    let properties = BasicProperties::default().with_headers(headers);
    let (_connection, channel) = other_client().await;
    let (exchange, key) = ("amq.topic".into(), named.as_str().into());
    let sent = channel.basic_publish(exchange, key, BasicPublishOptions::default(), b"copy", properties);
    step("publish", sent).await.expect("sent");
    let message = next(&mut reader).await.expect("a message");
    assert_eq!((text(&message), metadata(&message, "topic")), ("copy".to_owned(), Some(named.to_string())));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_that_is_there_already_is_read_as_it_is() {
    let (_connection, channel) = other_client().await;
    let name = unused("jobs");
    let rabbitmq = open(&with(json!({"consumer": {"queue": name.as_str()}})));
    assert_eq!(rabbitmq.check(&[]).await.err().map(|error| error.kind), Some(ErrorKind::NoTopic));
    let missing = try_consume(&rabbitmq, &[&name], group(&name, true)).await.err();
    assert_eq!(missing.map(|error| error.kind), Some(ErrorKind::NoTopic));
    let declared =
        channel.queue_declare(name.as_str().into(), QueueDeclareOptions::durable(), FieldTable::default());
    step("declare", declared).await.expect("it is new");
    let payload = b"job";
    let sent = channel.basic_publish(
        "".into(),
        name.as_str().into(),
        BasicPublishOptions::default(),
        payload,
        Default::default(),
    );
    step("publish", sent).await.expect("sent");
    rabbitmq.check(&[]).await.unwrap_or_else(|error| panic!("{error}"));
    let shared = try_consume(&rabbitmq, &[&name], group(&name, false)).await.err();
    assert_eq!(shared.map(|error| error.kind), Some(ErrorKind::Unsupported));
    let mut reader = consume(&rabbitmq, &[&name], group(&name, true)).await;
    let message = next(&mut reader).await.expect("a message");
    assert_eq!((text(&message), &message.place().expect("a place").topic), ("job".to_owned(), &name));
    let second = try_consume(&rabbitmq, &[&name], StartAt::Latest).await.err().expect("it has a reader");
    assert_eq!(second.kind, ErrorKind::Refused, "nobody takes another's messages");
    commit(&mut reader, &message).await;
    drop(reader);
    // Waits until the reader has gone.
    drop(consume(&rabbitmq, &[&name], StartAt::Latest).await);
    channel.queue_delete(name.as_str().into(), QueueDeleteOptions::default()).await.expect("it is there");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_deleted_under_its_reader_is_told_and_made_anew() {
    let rabbitmq = open(&plain());
    let topic = unused("deleted");
    let mut reader = consume(&rabbitmq, &[&topic], group(&topic, true)).await;
    let (_connection, channel) = other_client().await;
    let queue = format!("sluice/{topic}");
    step("delete", channel.queue_delete(queue.into(), QueueDeleteOptions::default()))
        .await
        .expect("it is there");
    let error = next(&mut reader).await.expect_err("the queue has gone");
    assert!(error.kind == ErrorKind::NoTopic && error.retryable(), "{error}");
    let mut reading = tokio::spawn(async move { payloads(&mut reader, 1).await });
    // What comes before the queue is there again is lost to it.
    loop {
        publish(&rabbitmq, &topic, "after").await;
        if let Ok(read) = timeout(Duration::from_millis(100), &mut reading).await {
            assert_eq!(read.expect("the reader goes on"), ["after"]);
            return;
        }
    }
}
