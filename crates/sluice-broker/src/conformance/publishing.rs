//! Cases about publishing: what an acknowledgement means, what is refused.

use std::{collections::BTreeMap, future::poll_fn, task::Poll};

use futures_util::future::{join, join_all};
use sluice_message::Message;
use tokio::task::JoinSet;

use super::{
    Subject, assert_rising, group, message, numbered, open, open_driver, payload_of, publish, restart, step,
    topic, try_open,
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
        let mut reader = open(&*driver, &[&missing], StartAt::Latest).await;
        publish(&*driver, &missing, "first").await;
        assert_eq!(reader.payloads(1).await, ["first"]);
        return;
    }
    let consumed = try_open(&*driver, &[&missing], StartAt::Latest, StopAt::Never).await.err();
    let published = step("publish to a missing topic", driver.publish(&missing, message("lost"))).await.err();
    let checked = step("check a missing topic", driver.check(std::slice::from_ref(&missing))).await.err();
    let mut errors = vec![consumed, published, checked];
    if driver.capabilities().replay {
        errors.push(try_open(&*driver, &[&missing], StartAt::Earliest, StopAt::Never).await.err());
        errors.push(step("ask for bounds", driver.bounds(&[missing])).await.err());
    }
    for error in errors {
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
    let refused = results[1].as_ref().err().map(|error| error.kind);
    // A broker that does not tell its limit beforehand refuses for good all the same.
    assert!(matches!(refused, Some(ErrorKind::TooLarge | ErrorKind::Rejected)), "{results:?}");
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
    let mut errors = vec![published, consumed];
    if driver.capabilities().replay {
        errors.push(step("ask for bounds after close", driver.bounds(&[topic])).await.err());
    }
    for error in errors {
        assert_eq!(error.map(|error| error.kind), Some(ErrorKind::Closed));
    }
}

pub async fn closing_waits_for_what_is_in_flight(subject: &dyn Subject) {
    const COUNT: usize = 50;
    let driver = open_driver(subject).await;
    let topic = topic(subject, "in-flight").await;
    // It shows afterwards what the broker has: from its first message, or from here on.
    let start = match driver.capabilities() {
        capabilities if capabilities.replay => StartAt::Earliest,
        capabilities if capabilities.groups => group(&topic, "in-flight", true),
        _ => return,
    };
    drop(open(&*driver, &[&topic], start.clone()).await);
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
    let driver = restart(subject, driver).await;
    let mut reader = open(&*driver, &[&topic], start.clone()).await;
    let mut found = match start {
        StartAt::Group { .. } => reader.committed(COUNT + 1).await,
        _ => reader.payloads(COUNT + 1).await,
    };
    found.remove(0);
    found.sort_by_key(|payload| payload[1..].parse::<usize>().ok());
    assert_eq!(found, payloads);
}
