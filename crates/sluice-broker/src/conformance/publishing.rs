//! Cases about publishing: what an acknowledgement means, what survives, what is refused.

use std::{collections::BTreeMap, future::poll_fn, task::Poll};

use futures_util::future::{join, join_all};
use sluice_message::{Headers, Message};
use tokio::task::JoinSet;

use super::{
    Subject, assert_rising, message, numbered, open, open_driver, payload_of, publish, publish_message,
    restart, step, topic, try_open,
};
use crate::{ErrorKind, StartAt, StopAt};

pub async fn a_publish_names_the_place_where_a_reader_finds_the_message(subject: &dyn Subject) {
    let driver = open_driver(subject).await;
    let topic = topic(subject, "place").await;
    let mut reader = open(&*driver, &[&topic], StartAt::Latest).await;
    for payload in ["first", "second"] {
        let place = publish(&*driver, &topic, payload).await;
        let found = reader.messages(1).await.remove(0);
        assert_eq!(payload_of(&found), payload);
        let found = found.place().expect("a message that was read has a place");
        assert_eq!(found.topic, topic);
        assert!(place.is_none_or(|place| place == *found), "acknowledged somewhere else than at {found:?}");
    }
}

pub async fn every_part_of_a_message_survives_the_round_trip(subject: &dyn Subject) {
    let driver = open_driver(subject).await;
    let topic = topic(subject, "round-trip").await;
    let every_byte: Vec<u8> = (0..=255).collect();
    let headers: Headers = [
        ("trace", every_byte.clone()),
        ("Accept", b"one".to_vec()),
        ("accept", Vec::new()),
        ("trace", b"again".to_vec()),
    ]
    .into_iter()
    .collect();
    let sent = [
        Message::builder().payload(every_byte.clone()).build(),
        Message::builder().payload("").build(),
        Message::builder().payload("keyed").key(every_byte).build(),
        Message::builder().payload("key of no bytes").key("").build(),
        Message::builder().payload("with headers").headers(headers).timestamp_ms(1_700_000_000_123).build(),
        Message::builder().key("deleted").build(),
    ];
    let mut reader = open(&*driver, &[&topic], StartAt::Latest).await;
    for message in &sent {
        publish_message(&*driver, &topic, message.clone()).await;
    }
    let capabilities = driver.capabilities();
    for (sent, found) in sent.iter().zip(reader.messages(sent.len()).await) {
        assert_eq!(found.payload(), sent.payload());
        if capabilities.keys {
            assert_eq!(found.key(), sent.key());
            assert_eq!(found.payload_bytes(), sent.payload_bytes(), "a tombstone is not an empty payload");
        }
        if capabilities.headers {
            assert_eq!(found.headers(), sent.headers());
        }
    }
}

pub async fn each_publisher_keeps_its_order_among_others(subject: &dyn Subject) {
    const PUBLISHERS: usize = 8;
    const EACH: usize = 40;
    let driver = open_driver(subject).await;
    let topic = topic(subject, "order").await;
    let mut reader = open(&*driver, &[&topic], StartAt::Latest).await;
    let mut publishers = JoinSet::new();
    for publisher in 0..PUBLISHERS {
        let (driver, topic) = (driver.clone(), topic.clone());
        publishers.spawn(async move {
            for number in 0..EACH {
                publish(&*driver, &topic, &format!("{publisher} {number}")).await;
            }
        });
    }
    let messages = reader.messages(PUBLISHERS * EACH).await;
    step("publishers end", publishers.join_all()).await;
    assert_rising(&messages);
    let mut seen: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for payload in messages.iter().map(payload_of) {
        let (publisher, number) = payload.split_once(' ').expect("what was published");
        seen.entry(publisher.to_owned()).or_default().push(number.to_owned());
    }
    let expected: Vec<_> = (0..EACH).map(|number| number.to_string()).collect();
    assert_eq!(seen.len(), PUBLISHERS);
    for numbers in seen.values() {
        assert_eq!(*numbers, expected);
    }
}

pub async fn a_missing_topic_is_made_or_refused(subject: &dyn Subject) {
    let driver = open_driver(subject).await;
    let missing = subject.missing_topic();
    if subject.makes_topics() {
        let mut reader = open(&*driver, &[&missing], StartAt::Earliest).await;
        publish(&*driver, &missing, "first").await;
        assert_eq!(reader.payloads(1).await, ["first"]);
        return;
    }
    let consumed = try_open(&*driver, &[&missing], StartAt::Earliest, StopAt::Never).await.err();
    let published = step("publish to a missing topic", driver.publish(&missing, message("lost"))).await.err();
    let bounds = step("ask for bounds", driver.bounds(&[missing])).await.err();
    for error in [consumed, published, bounds] {
        assert_eq!(error.map(|error| error.kind), Some(ErrorKind::NoTopic));
    }
}

pub async fn a_message_over_the_limit_is_refused_and_harms_no_other(subject: &dyn Subject) {
    let driver = open_driver(subject).await;
    let topic = topic(subject, "large").await;
    let mut reader = open(&*driver, &[&topic], StartAt::Latest).await;
    let large = Message::builder().payload(vec![b'x'; subject.too_large()]).build();
    let together =
        [message("before"), large, message("after")].map(|message| driver.publish(&topic, message));
    let results = step("publish a small, a large, a small message", join_all(together)).await;
    assert!(results[0].is_ok() && results[2].is_ok(), "{results:?}");
    assert_eq!(results[1].as_ref().err().map(|error| error.kind), Some(ErrorKind::TooLarge));
    publish(&*driver, &topic, "last").await;
    let mut found = reader.payloads(3).await;
    // The two small ones were under way at the same time: a broker may take either first.
    found[..2].sort();
    assert_eq!(found, ["after", "before", "last"]);
}

pub async fn publishing_after_close_fails_as_closed(subject: &dyn Subject) {
    let driver = open_driver(subject).await;
    let topic = topic(subject, "closed").await;
    publish(&*driver, &topic, "in time").await;
    step("close", driver.close()).await;
    step("close once more", driver.close()).await;
    let published = step("publish after close", driver.publish(&topic, message("late"))).await.err();
    let consumed = try_open(&*driver, &[&topic], StartAt::Latest, StopAt::Never).await.err();
    let bounds = step("ask for bounds after close", driver.bounds(&[topic])).await.err();
    for error in [published, consumed, bounds] {
        assert_eq!(error.map(|error| error.kind), Some(ErrorKind::Closed));
    }
}

pub async fn closing_waits_for_what_is_in_flight(subject: &dyn Subject) {
    const COUNT: usize = 50;
    let driver = open_driver(subject).await;
    let topic = topic(subject, "in-flight").await;
    publish(&*driver, &topic, "before").await;
    let payloads = numbered(0..COUNT);
    let mut settled = Vec::new();
    for payload in &payloads {
        let mut publish = driver.publish(&topic, message(payload));
        // One poll hands the message over; only then does close have to wait for it.
        let first = poll_fn(|context| Poll::Ready(publish.as_mut().poll(context))).await;
        settled.push(async move {
            match first {
                Poll::Ready(result) => result,
                Poll::Pending => publish.await,
            }
        });
    }
    let (results, ()) = step("close with messages in flight", join(join_all(settled), driver.close())).await;
    for result in results {
        result.unwrap_or_else(|error| panic!("a message handed over before close was not settled: {error}"));
    }
    let replay = driver.capabilities().replay;
    let driver = restart(subject, driver).await;
    if replay {
        let mut found = open(&*driver, &[&topic], StartAt::Earliest).await.payloads(COUNT + 1).await;
        found.remove(0);
        found.sort_by_key(|payload| payload[1..].parse::<usize>().ok());
        assert_eq!(found, payloads);
    }
}
