//! Cases about reading: where a reader starts, how much it gets, what it must never lose.

use std::{
    future::poll_fn,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::Poll,
};

use sluice_message::{Message, Offset, Partition, Place, Position, Topic};

use super::{
    ROOMY, Subject, assert_rising, behind, message, numbered, open, open_driver, payload_of, publish,
    publish_message, publish_numbered, refuses, restart, step, topic, try_open,
};
use crate::{BatchLimit, ErrorKind, StartAt, StopAt};

pub async fn a_reader_at_latest_sees_what_is_acknowledged_from_then_on(subject: &dyn Subject) {
    let driver = open_driver(subject).await;
    let topic = topic(subject, "latest").await;
    publish_numbered(&*driver, &topic, 0..3).await;
    let mut reader = open(&*driver, &[&topic], StartAt::Latest).await;
    publish_numbered(&*driver, &topic, 3..6).await;
    assert_eq!(reader.payloads(3).await, numbered(3..6));
}

pub async fn a_reader_at_latest_misses_nothing_under_load(subject: &dyn Subject) {
    let driver = open_driver(subject).await;
    let topic = topic(subject, "latest-under-load").await;
    let (acknowledged, stop) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
    let publisher = tokio::spawn({
        let (driver, topic) = (driver.clone(), topic.clone());
        let (acknowledged, stop) = (acknowledged.clone(), stop.clone());
        async move {
            while !stop.load(Ordering::SeqCst) {
                let number = acknowledged.load(Ordering::SeqCst);
                publish(&*driver, &topic, &number.to_string()).await;
                acknowledged.store(number + 1, Ordering::SeqCst);
            }
        }
    });
    for _ in 0..3 {
        let mut reader = open(&*driver, &[&topic], StartAt::Latest).await;
        // The message of this number may have been acknowledged before `consume` resolved, without the
        // publisher having noted it. Every later one was published after.
        let under_way = acknowledged.load(Ordering::SeqCst);
        let numbers: Vec<usize> =
            reader.payloads(10).await.iter().map(|payload| payload.parse().expect("a number")).collect();
        assert!(numbers[0] <= under_way + 1, "read {numbers:?} after {under_way} were acknowledged");
        assert!(numbers.windows(2).all(|pair| pair[1] == pair[0] + 1), "{numbers:?}");
    }
    stop.store(true, Ordering::SeqCst);
    step("publisher ends", publisher).await.expect("the publisher does not fail");
}

pub async fn a_reader_at_earliest_sees_all(subject: &dyn Subject) {
    let driver = open_driver(subject).await;
    let topic = topic(subject, "earliest").await;
    if !driver.capabilities().replay {
        return;
    }
    publish_numbered(&*driver, &topic, 0..5).await;
    let mut reader = open(&*driver, &[&topic], StartAt::Earliest).await;
    assert_eq!(reader.payloads(5).await, numbered(0..5));
    publish_numbered(&*driver, &topic, 5..8).await;
    assert_eq!(reader.payloads(3).await, numbered(5..8));
    drop(reader);
    let driver = restart(subject, driver).await;
    let mut reader = open(&*driver, &[&topic], StartAt::Earliest).await;
    assert_eq!(reader.payloads(8).await, numbered(0..8));
}

pub async fn a_reader_after_a_position_starts_right_behind_it(subject: &dyn Subject) {
    let driver = open_driver(subject).await;
    let topic = topic(subject, "after").await;
    if !driver.capabilities().replay {
        return;
    }
    publish_numbered(&*driver, &topic, 0..10).await;
    let read = open(&*driver, &[&topic], StartAt::Earliest).await.messages(10).await;
    let mut reader = open(&*driver, &[&topic], StartAt::After(behind(&read[3]))).await;
    assert_eq!(reader.payloads(6).await, numbered(4..10));
    let mut at_end = open(&*driver, &[&topic], StartAt::After(behind(&read[9]))).await;
    let mut from_nothing = open(&*driver, &[&topic], StartAt::After(Position::new())).await;
    assert_eq!(from_nothing.payloads(10).await, numbered(0..10));
    publish_numbered(&*driver, &topic, 10..11).await;
    assert_eq!(at_end.payloads(1).await, numbered(10..11));
    drop((reader, at_end, from_nothing));
    let driver = restart(subject, driver).await;
    let mut reader = open(&*driver, &[&topic], StartAt::After(behind(&read[6]))).await;
    assert_eq!(reader.payloads(4).await, numbered(7..11));
}

pub async fn a_position_beyond_the_end_is_lost(subject: &dyn Subject) {
    let driver = open_driver(subject).await;
    if !driver.capabilities().replay {
        return;
    }
    let topic = topic(subject, "beyond").await;
    publish_numbered(&*driver, &topic, 0..2).await;
    let read = open(&*driver, &[&topic], StartAt::Earliest).await.messages(2).await;
    let last = read[1].place().expect("a message that was read has a place");
    let beyond = Place { offset: last.offset.next(), ..last.clone() };
    for offset in [beyond.offset, Offset(beyond.offset.0 + 1_000_000)] {
        let position = Position::from_iter([&Place { offset, ..beyond.clone() }]);
        refuses(&*driver, &topic, StartAt::After(position), ErrorKind::PositionLost).await;
    }
}

pub async fn one_reader_reads_two_topics(subject: &dyn Subject) {
    let driver = open_driver(subject).await;
    let (one, two) = (topic(subject, "one").await, topic(subject, "two").await);
    let mut reader = open(&*driver, &[&one, &two], StartAt::Latest).await;
    for number in 0..10 {
        publish(&*driver, if number % 2 == 0 { &one } else { &two }, &format!("m{number}")).await;
    }
    let messages = reader.messages(10).await;
    for (topic, remainder) in [(&one, 0), (&two, 1)] {
        let of_topic: Vec<_> = messages
            .iter()
            .filter(|message| message.place().is_some_and(|place| place.topic == *topic))
            .map(payload_of)
            .collect();
        let expected: Vec<_> = numbered(0..10).into_iter().skip(remainder).step_by(2).collect();
        assert_eq!(of_topic, expected);
    }
    if driver.capabilities().replay {
        let of_one = open(&*driver, &[&one], StartAt::Earliest).await.messages(5).await;
        let mut reader = open(&*driver, &[&one, &two], StartAt::After(behind(&of_one[4]))).await;
        assert_eq!(
            reader.payloads(5).await,
            ["m1", "m3", "m5", "m7", "m9"],
            "a topic without a position starts at its first"
        );
    }
}

pub async fn two_readers_of_one_topic_both_see_all(subject: &dyn Subject) {
    let driver = open_driver(subject).await;
    let topic = topic(subject, "two-readers").await;
    let mut one = open(&*driver, &[&topic], StartAt::Latest).await;
    let mut two = open(&*driver, &[&topic], StartAt::Latest).await;
    publish_numbered(&*driver, &topic, 0..5).await;
    assert_eq!(one.payloads(5).await, numbered(0..5));
    drop(one);
    publish_numbered(&*driver, &topic, 5..7).await;
    assert_eq!(two.payloads(7).await, numbered(0..7));
}

pub async fn a_batch_stays_within_its_limit(subject: &dyn Subject) {
    let driver = open_driver(subject).await;
    let topic = topic(subject, "limit").await;
    let mut reader = open(&*driver, &[&topic], StartAt::Latest).await;
    publish_numbered(&*driver, &topic, 0..10).await;
    let mut found = Vec::new();
    while found.len() < 10 {
        let batch = reader.batch(BatchLimit { messages: 3, bytes: 1 << 20 }).await;
        assert!(batch.len() <= 3, "{} messages with a limit of 3", batch.len());
        found.extend(batch.iter().map(payload_of));
    }
    assert_eq!(found, numbered(0..10));
    let payload = |number: usize| format!("{number:<1000}");
    for number in 0..10 {
        publish(&*driver, &topic, &payload(number)).await;
    }
    let mut found = Vec::new();
    while found.len() < 10 {
        let batch = reader.batch(BatchLimit { messages: 1000, bytes: 3000 }).await;
        let bytes: usize = batch.iter().map(Message::size).sum();
        assert!(bytes <= 3000, "{bytes} bytes with a limit of 3000");
        found.extend(batch.iter().map(payload_of));
    }
    assert_eq!(found, (0..10).map(payload).collect::<Vec<_>>());
}

pub async fn a_message_larger_than_the_limit_comes_alone(subject: &dyn Subject) {
    let driver = open_driver(subject).await;
    let topic = topic(subject, "alone").await;
    let mut reader = open(&*driver, &[&topic], StartAt::Latest).await;
    publish(&*driver, &topic, "small").await;
    let large = Message::builder().payload(vec![b'x'; 20_000]).build();
    publish_message(&*driver, &topic, large).await;
    publish(&*driver, &topic, "small again").await;
    let limit = BatchLimit { messages: 1000, bytes: 10_000 };
    let mut sizes = Vec::new();
    for _ in 0..3 {
        let batch = reader.batch(limit).await;
        assert_eq!(batch.len(), 1);
        sizes.push(batch[0].payload().len());
    }
    assert_eq!(sizes, ["small".len(), 20_000, "small again".len()]);
}

pub async fn a_dropped_fetch_loses_nothing(subject: &dyn Subject) {
    const COUNT: usize = 30;
    let driver = open_driver(subject).await;
    let topic = topic(subject, "dropped").await;
    let mut reader = open(&*driver, &[&topic], StartAt::Latest).await;
    let mut batch = Vec::new();
    let limit = BatchLimit { messages: 2, ..ROOMY };
    for payload in numbered(0..COUNT) {
        for _ in 0..3 {
            let mut fetch = reader.consumer.fetch(&mut batch, limit);
            let polled = poll_fn(|context| Poll::Ready(fetch.as_mut().poll(context))).await;
            if let Poll::Ready(Err(error)) = polled {
                panic!("fetch: {error}");
            }
            drop(fetch);
            tokio::task::yield_now().await;
        }
        step("publish", driver.publish(&topic, message(&payload))).await.expect("the broker is there");
    }
    let rest = reader.messages(COUNT - batch.len()).await;
    batch.extend(rest);
    assert_rising(&batch);
    assert_eq!(batch.iter().map(payload_of).collect::<Vec<_>>(), numbered(0..COUNT));
}

pub async fn a_reader_that_stops_at_the_end_sees_all_and_ends(subject: &dyn Subject) {
    let driver = open_driver(subject).await;
    if !driver.capabilities().replay {
        return;
    }
    let (one, two) = (topic(subject, "stop-one").await, topic(subject, "stop-two").await);
    publish_numbered(&*driver, &one, 0..10).await;
    publish_numbered(&*driver, &two, 10..12).await;
    let stopping = async |topics: &[&Topic], start| {
        let opened = try_open(&*driver, topics, start, StopAt::End).await;
        opened.expect("a driver that replays can stop at the end")
    };
    let read = open(&*driver, &[&one], StartAt::Earliest).await.messages(10).await;
    let mut after = stopping(&[&one], StartAt::After(behind(&read[6]))).await;
    assert_eq!(after.until_the_end().await, numbered(7..10));
    let mut both = stopping(&[&one, &two], StartAt::Earliest).await;
    // What comes after `consume` resolved may or may not be seen.
    publish(&*driver, &one, "late").await;
    let mut found = both.until_the_end().await;
    found.retain(|payload| payload != "late");
    found.sort_by_key(|payload| payload[1..].parse::<usize>().ok());
    assert_eq!(found, numbered(0..12));
    assert!(both.until_the_end().await.is_empty(), "a reader that has ended stays at its end");
}

pub async fn a_reader_that_stops_at_the_end_ends_at_once_where_nothing_is(subject: &dyn Subject) {
    let driver = open_driver(subject).await;
    if !driver.capabilities().replay {
        return;
    }
    let topic = topic(subject, "stop-empty").await;
    for start in [StartAt::Earliest, StartAt::Latest] {
        let empty = try_open(&*driver, &[&topic], start, StopAt::End).await;
        assert!(empty.expect("the topic is there").until_the_end().await.is_empty());
    }
    publish_numbered(&*driver, &topic, 0..2).await;
    let read = open(&*driver, &[&topic], StartAt::Earliest).await.messages(2).await;
    for start in [StartAt::Latest, StartAt::After(behind(&read[1]))] {
        let at_end = try_open(&*driver, &[&topic], start, StopAt::End).await;
        assert!(at_end.expect("the position is there").until_the_end().await.is_empty());
    }
}

pub async fn bounds_tell_where_a_topic_starts_and_ends(subject: &dyn Subject) {
    let driver = open_driver(subject).await;
    let topics = [topic(subject, "bounds").await, topic(subject, "bounds-empty").await];
    if !driver.capabilities().replay {
        return;
    }
    publish_numbered(&*driver, &topics[0], 0..4).await;
    let read = open(&*driver, &[&topics[0]], StartAt::Earliest).await.messages(4).await;
    let bounds = step("ask for bounds", driver.bounds(&topics)).await.expect("the broker is there");
    let [full, empty] =
        topics.map(|topic| bounds.get(&(topic, Partition(0))).expect("a range for each").clone());
    assert!(empty.is_empty(), "{empty:?}");
    let offsets: Vec<_> = read.iter().filter_map(|message| Some(message.place()?.offset)).collect();
    assert_eq!(Some(&full.start), offsets.first());
    assert_eq!(Some(full.end), offsets.last().map(|last| last.next()));
    assert_eq!(bounds.len(), 2 * subject.partitions(), "those of both topics");
}

pub async fn a_position_at_a_time_lies_before_all_of_that_time_and_later(subject: &dyn Subject) {
    let driver = open_driver(subject).await;
    let topics = [topic(subject, "time").await, topic(subject, "time-empty").await];
    if !driver.capabilities().replay {
        return;
    }
    let mut reader = open(&*driver, &[&topics[0]], StartAt::Earliest).await;
    let mut read: Vec<Message> = Vec::new();
    // Until there are messages of three times.
    let mut times: Vec<i64> = Vec::new();
    while times.len() < 3 {
        publish(&*driver, &topics[0], &format!("m{}", read.len())).await;
        let message = reader.messages(1).await.remove(0);
        let time = message.timestamp_ms().expect("a driver that replays tells times");
        times.extend((times.last() != Some(&time)).then_some(time));
        read.push(message);
    }
    let position_at = async |time| {
        let position = step("ask for a time", driver.position_at(&topics, time)).await;
        let position = position.unwrap_or_else(|error| panic!("the position at {time}: {error}"));
        assert_eq!(position.next(&topics[1], Partition(0)), Some(Offset(0)), "the end of an empty topic");
        position
    };
    for time in [i64::MIN, 0, times[0], times[1], times[1] + 1, times[2], times[2] + 1, i64::MAX] {
        let start = StartAt::After(position_at(time).await);
        let reader = try_open(&*driver, &[&topics[0], &topics[1]], start, StopAt::End).await;
        let found = reader.expect("the position is there").until_the_end().await;
        let expected = read.iter().filter(|message| message.timestamp_ms().is_some_and(|made| made >= time));
        assert_eq!(found, expected.map(payload_of).collect::<Vec<_>>(), "from {time} of {times:?}");
    }
    // What comes after the answer lies behind it, whatever its time.
    let at_end = position_at(i64::MAX).await;
    publish(&*driver, &topics[0], "later").await;
    assert_eq!(open(&*driver, &[&topics[0]], StartAt::After(at_end)).await.payloads(1).await, ["later"]);
}
