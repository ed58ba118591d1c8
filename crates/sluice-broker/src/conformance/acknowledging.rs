//! Cases about what a commit settles, what comes again, and how withheld commits hold a broker back.

use std::{future::poll_fn, task::Poll};

use sluice_message::{Message, Offset, Place, Position};

use super::{
    ROOMY, Subject, assert_rising, group, message, numbered, open, open_driver, payload_of, publish,
    publish_numbered, restart, shared, step, topic,
};
use crate::StartAt;

pub async fn a_group_keeps_what_came_while_its_reader_was_away(subject: &dyn Subject) {
    let driver = open_driver(subject).await;
    if !driver.capabilities().groups {
        return;
    }
    let topic = topic(subject, "away").await;
    let start = group(&topic, "away", true);
    drop(open(&*driver, &[&topic], start.clone()).await);
    publish_numbered(&*driver, &topic, 0..3).await;
    let driver = restart(subject, driver).await;
    publish_numbered(&*driver, &topic, 3..5).await;
    let mut reader = open(&*driver, &[&topic], start).await;
    assert_eq!(reader.payloads(5).await, numbered(0..5));
}

pub async fn a_group_gets_its_messages_in_order_with_rising_offsets(subject: &dyn Subject) {
    const COUNT: usize = 100;
    let driver = open_driver(subject).await;
    if !driver.capabilities().groups {
        return;
    }
    let topic = topic(subject, "group-order").await;
    let mut reader = open(&*driver, &[&topic], group(&topic, "group-order", true)).await;
    publish_numbered(&*driver, &topic, 0..COUNT).await;
    let mut read: Vec<Message> = Vec::new();
    while read.len() < COUNT {
        read.extend(reader.messages(1).await);
        if let Some(last) = read.last() {
            assert_eq!(last.place().map(|place| &place.topic), Some(&topic));
            reader.commit(last).await;
        }
    }
    assert_rising(&read);
    assert_eq!(read.iter().map(payload_of).collect::<Vec<_>>(), numbered(0..COUNT));
}

pub async fn what_is_not_committed_comes_again_to_the_next_reader(subject: &dyn Subject) {
    let driver = open_driver(subject).await;
    let capabilities = driver.capabilities();
    if !capabilities.groups {
        return;
    }
    let topic = topic(subject, "again").await;
    let sole = group(&topic, "sole", true);
    let starts = [Some(sole), capabilities.sharing.then(|| shared(group(&topic, "shared", true)))];
    for start in starts.into_iter().flatten() {
        let mut reader = open(&*driver, &[&topic], start.clone()).await;
        publish_numbered(&*driver, &topic, 0..6).await;
        let read = reader.messages(6).await;
        reader.commit(&read[2]).await;
        drop(reader);
        let mut next = open(&*driver, &[&topic], start).await;
        let again = next.messages(3).await;
        assert_eq!(again.iter().map(payload_of).collect::<Vec<_>>(), numbered(3..6));
        next.commit(&again[2]).await;
        publish(&*driver, &topic, "new").await;
        // A broker may repeat what was under way when the first reader left, but nothing that was settled then.
        loop {
            let payload = next.committed(1).await.remove(0);
            if payload == "new" {
                break;
            }
            assert!(numbered(3..6).contains(&payload), "{payload} was committed before the reader left");
        }
    }
}

pub async fn a_commit_of_one_topic_leaves_the_other(subject: &dyn Subject) {
    let driver = open_driver(subject).await;
    if !driver.capabilities().groups {
        return;
    }
    let (one, two) = (topic(subject, "done").await, topic(subject, "undone").await);
    let start = group(&one, "two-topics", true);
    let mut reader = open(&*driver, &[&one, &two], start.clone()).await;
    for (topic, payload) in [(&one, "one 0"), (&two, "two 0"), (&one, "one 1"), (&two, "two 1")] {
        publish(&*driver, topic, payload).await;
    }
    let read = reader.messages(4).await;
    let done = read.iter().rfind(|message| payload_of(message) == "one 1").expect("all were read");
    reader.commit(done).await;
    drop(reader);
    let mut reader = open(&*driver, &[&one, &two], start).await;
    let mut again = Vec::new();
    // A broker that acknowledges in the order of receipt brings back some of the other, too.
    while again.len() < 2 {
        again.extend(reader.payloads(1).await.into_iter().filter(|payload| payload.starts_with("two")));
    }
    assert_eq!(again, ["two 0", "two 1"]);
}

pub async fn a_commit_of_a_former_reader_does_no_harm(subject: &dyn Subject) {
    let driver = open_driver(subject).await;
    if !driver.capabilities().groups || driver.capabilities().replay {
        return;
    }
    let topic = topic(subject, "former").await;
    let start = group(&topic, "former", true);
    let mut former = open(&*driver, &[&topic], start.clone()).await;
    publish_numbered(&*driver, &topic, 0..4).await;
    let last = former.messages(4).await.remove(3);
    drop(former);
    // Neither that number nor one that nobody handed out acknowledges what this reader has not handed out.
    let mut reader = open(&*driver, &[&topic], start.clone()).await;
    reader.commit(&last).await;
    let nobodys =
        last.place().map(|place| Place { offset: Offset(place.offset.0 + 1_000_000), ..place.clone() });
    let nobodys = Position::from_iter(nobodys.as_ref());
    step("commit what nobody handed out", reader.consumer.commit(&nobodys)).await.expect("it is no error");
    drop(reader);
    let mut next = open(&*driver, &[&topic], start).await;
    assert_eq!(next.payloads(4).await, numbered(0..4));
}

pub async fn a_reader_that_is_not_committed_to_stops_and_goes_on_after_a_commit(subject: &dyn Subject) {
    const MORE: usize = 5;
    let driver = open_driver(subject).await;
    let Some(window) = subject.window().filter(|_| driver.capabilities().groups) else { return };
    let topic = topic(subject, "window").await;
    let mut reader = open(&*driver, &[&topic], group(&topic, "window", true)).await;
    let mut other = open(&*driver, &[&topic], StartAt::Latest).await;
    publish_numbered(&*driver, &topic, 0..window + MORE).await;
    let read = reader.messages(window).await;
    // The other one sees that the broker has given out all that it will.
    assert_eq!(other.payloads(window + MORE).await, numbered(0..window + MORE));
    assert_eq!(reader.ahead.len(), 0, "more than {window} messages came without a commit");
    let mut batch = Vec::new();
    let mut fetch = reader.consumer.fetch(&mut batch, ROOMY);
    let polled = poll_fn(|context| Poll::Ready(fetch.as_mut().poll(context))).await;
    assert!(polled.is_pending(), "after {window} messages without a commit: {polled:?}");
    drop(fetch);
    step("publish while a reader stands", driver.publish(&topic, message("last")))
        .await
        .expect("it is taken");
    reader.commit(&read[window - 1]).await;
    let rest = reader.messages(MORE).await;
    reader.commit(&rest[MORE - 1]).await;
    let mut found: Vec<_> = read.iter().chain(&rest).map(payload_of).collect();
    found.extend(reader.payloads(1).await);
    let mut expected = numbered(0..window + MORE);
    expected.push("last".to_owned());
    assert_eq!(found, expected);
}
