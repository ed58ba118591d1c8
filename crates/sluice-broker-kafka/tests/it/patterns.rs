//! Topics that are read by a pattern.

use std::time::Duration;

use sluice_broker::{BrokerDriver, Consumer, ErrorKind, StartAt};
use sluice_broker_kafka::{Kafka, KafkaOptions};
use sluice_message::{Message, Partition, Position, Topic};

use crate::support::{
    admin, consume, make_topic, message, new_topic, next, open_with, payloads, plain, publish, step,
    try_consume, until, unused_name,
};

/// Looks for topics all the time.
fn watching() -> Kafka {
    open_with(&plain(), KafkaOptions { topic_refresh: Duration::from_millis(50), ..KafkaOptions::default() })
}

/// A topic that no other test has, and the pattern of all whose names begin like it.
async fn family() -> (Topic, Topic) {
    let first = unused_name("family");
    make_topic(&admin(), &first, 1).await;
    let pattern = format!("^{}.*", first.as_str().replace('.', r"\."));
    (first, pattern.into())
}

async fn member(of: &Topic, name: &str) -> Topic {
    let topic = Topic::from(format!("{of}.{name}"));
    make_topic(&admin(), &topic, 1).await;
    topic
}

async fn delete(topic: &Topic) {
    let deleted = admin().delete_topics(&[topic.as_str()], &rdkafka::admin::AdminOptions::new()).await;
    deleted.expect("Kafka answers").remove(0).expect("it was there");
}

async fn found(reader: &mut Box<dyn Consumer>) -> (String, String) {
    let message = next(reader).await.unwrap_or_else(|error| panic!("{error}"));
    let place = message.place().expect("Kafka tells places").clone();
    (place.topic.as_str().to_owned(), String::from_utf8_lossy(message.payload()).into_owned())
}

fn expected(topic: &Topic, payload: &str) -> (String, String) {
    (topic.as_str().to_owned(), payload.to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn every_topic_that_matches_is_read_and_named_and_no_other() {
    let (first, pattern) = family().await;
    let (second, other) = (member(&first, "b").await, new_topic("other", 1).await);
    let kafka = watching();
    let mut reader = consume(&kafka, &pattern, StartAt::Latest).await;
    publish(&kafka, &other, "not wanted").await;
    publish(&kafka, &first, "one").await;
    assert_eq!(found(&mut reader).await, expected(&first, "one"));
    publish(&kafka, &second, "two").await;
    assert_eq!(found(&mut reader).await, expected(&second, "two"));
    assert!(
        kafka.covers(&pattern, &first) && kafka.covers(&pattern, &second) && !kafka.covers(&pattern, &other)
    );

    let bounds = step("bounds", kafka.bounds(&[pattern])).await.expect("Kafka is there");
    let topics: Vec<_> = bounds.into_keys().map(|(topic, _)| topic).collect();
    assert_eq!(topics, [first, second]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_made_later_joins_from_its_first_message_and_one_that_is_deleted_leaves() {
    let (first, pattern) = family().await;
    let kafka = watching();
    let mut reader = consume(&kafka, &pattern, StartAt::Latest).await;
    let later = member(&first, "later").await;
    publish(&kafka, &later, "at once").await;
    assert_eq!(found(&mut reader).await, expected(&later, "at once"));

    delete(&later).await;
    let bounds = async || {
        let bounds = kafka.bounds(std::slice::from_ref(&pattern)).await.ok()?;
        (bounds.len() == 1).then_some(())
    };
    until("the topic is gone", bounds).await;
    publish(&kafka, &first, "still read").await;
    assert_eq!(found(&mut reader).await, expected(&first, "still read"));

    let again = member(&first, "later").await;
    publish(&kafka, &again, "made anew").await;
    assert_eq!(found(&mut reader).await, expected(&again, "made anew"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pattern_that_matches_nothing_yet_is_read_from_the_first_message_of_the_first_topic() {
    let kafka = watching();
    for group in [false, true] {
        let first = unused_name("first");
        let pattern = Topic::from(format!("^{first}"));
        let name = first.as_str().into();
        let start = match group {
            true => StartAt::Group { name, from_earliest: false, sole: false },
            false => StartAt::Latest,
        };
        let mut reader = consume(&kafka, &pattern, start).await;
        make_topic(&admin(), &first, 1).await;
        publish(&kafka, &first, "the first").await;
        assert_eq!(found(&mut reader).await, expected(&first, "the first"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_position_goes_on_in_the_topics_it_names_and_starts_others_at_their_first_message() {
    let (first, pattern) = family().await;
    let kafka = watching();
    publish(&kafka, &first, "read").await;
    let mut reader = consume(&kafka, &pattern, StartAt::Earliest).await;
    let position = Position::from_iter(next(&mut reader).await.expect("Kafka is there").place());
    drop(reader);
    let gone = member(&first, "gone").await;
    let mut position_with_gone = position.clone();
    position_with_gone.set_next(&gone, Partition(0), sluice_message::Offset(0));
    delete(&gone).await;
    let later = member(&first, "later").await;
    publish(&kafka, &later, "new").await;
    for position in [position, position_with_gone] {
        let mut reader = consume(&kafka, &pattern, StartAt::After(position)).await;
        assert_eq!(found(&mut reader).await, expected(&later, "new"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_reads_topics_made_while_nobody_was_there_from_their_first_message() {
    let (first, pattern) = family().await;
    let kafka = watching();
    let start = StartAt::Group { name: first.as_str().into(), from_earliest: false, sole: false };
    let mut reader = consume(&kafka, &pattern, start.clone()).await;
    publish(&kafka, &first, "one").await;
    let read: Message = next(&mut reader).await.expect("Kafka is there");
    step("commit", reader.commit(&Position::from_iter(read.place()))).await.expect("Kafka is there");
    drop(reader);
    let later = member(&first, "later").await;
    publish(&kafka, &later, "two").await;
    let mut reader = consume(&kafka, &pattern, start).await;
    assert_eq!(payloads(&mut reader, 1).await, ["two"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_that_is_reading_takes_up_topics_made_later() {
    let (first, pattern) = family().await;
    let kafka = watching();
    let start = StartAt::Group { name: first.as_str().into(), from_earliest: false, sole: false };
    let mut reader = consume(&kafka, &pattern, start).await;
    let later = member(&first, "later").await;
    publish(&kafka, &later, "two").await;
    assert_eq!(payloads(&mut reader, 1).await, ["two"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn topics_that_match_are_bounded_and_a_pattern_is_not_published_to() {
    let (first, pattern) = family().await;
    let options = KafkaOptions { pattern_topics: 1, ..KafkaOptions::default() };
    let kafka = open_with(&plain(), options);
    drop(consume(&kafka, &pattern, StartAt::Latest).await);
    member(&first, "one-more").await;
    let error = try_consume(&kafka, &pattern, StartAt::Latest).await.err().expect("they are too many");
    assert!(error.kind == ErrorKind::NoTopic && error.message.contains("More than 1 topics"), "{error}");
    let error = step("publish", kafka.publish(&pattern, message("lost"))).await.expect_err("it is no topic");
    assert_eq!(error.kind, ErrorKind::NoTopic, "{error}");
}
