//! Cases about durable groups: what they remember, how they share.

use std::{collections::BTreeSet, sync::Arc};

use sluice_message::Position;
use tokio::{sync::mpsc, task::JoinHandle};

use super::{
    Reader, Subject, behind, group, numbered, open, open_driver, payload_of, publish, publish_numbered,
    restart, shared, step, topic, try_open,
};
use crate::{BrokerDriver, ErrorKind, StartAt, StopAt};

pub async fn only_a_group_commits(subject: &dyn Subject) {
    let driver = open_driver(subject).await;
    let topic = topic(subject, "commit").await;
    let mut reader = open(&*driver, &[&topic], StartAt::Latest).await;
    publish(&*driver, &topic, "m").await;
    let position = reader.messages(1).await.first().map_or_else(Position::new, behind);
    let committed = step("commit without a group", reader.consumer.commit(&position)).await;
    assert_eq!(committed.err().map(|error| error.kind), Some(ErrorKind::Unsupported));
}

pub async fn a_group_never_stops_at_the_end(subject: &dyn Subject) {
    let driver = open_driver(subject).await;
    let topic = topic(subject, "group-stop").await;
    let opened = try_open(&*driver, &[&topic], group(&topic, "group", true), StopAt::End).await;
    assert_eq!(opened.err().map(|error| error.kind), Some(ErrorKind::Unsupported));
}

pub async fn a_group_continues_behind_its_commit_after_a_restart(subject: &dyn Subject) {
    let driver = open_driver(subject).await;
    if !driver.capabilities().groups {
        return;
    }
    let topic = topic(subject, "group").await;
    let mut reader = open(&*driver, &[&topic], group(&topic, "group", true)).await;
    publish_numbered(&*driver, &topic, 0..10).await;
    let read = reader.messages(6).await;
    reader.commit(&read[2]).await;
    reader.commit(&read[3]).await;
    drop(reader);
    let driver = restart(subject, driver).await;
    let mut reader = open(&*driver, &[&topic], group(&topic, "group", true)).await;
    let again = reader.messages(6).await;
    assert_eq!(again.iter().map(payload_of).collect::<Vec<_>>(), numbered(4..10));
    reader.commit(&again[5]).await;
    drop(reader);
    // Where the group stands counts, not where a new one would start.
    let mut reader = open(&*driver, &[&topic], group(&topic, "group", false)).await;
    publish_numbered(&*driver, &topic, 10..11).await;
    assert_eq!(reader.payloads(1).await, numbered(10..11));
}

pub async fn a_new_group_starts_where_it_was_told(subject: &dyn Subject) {
    let driver = open_driver(subject).await;
    if !driver.capabilities().groups {
        return;
    }
    let topic = topic(subject, "new-group").await;
    publish_numbered(&*driver, &topic, 0..2).await;
    let mut behind_last = open(&*driver, &[&topic], group(&topic, "behind-last", false)).await;
    let mut at_first = open(&*driver, &[&topic], group(&topic, "at-first", true)).await;
    publish_numbered(&*driver, &topic, 2..4).await;
    assert_eq!(behind_last.payloads(2).await, numbered(2..4));
    let from = if driver.capabilities().replay { 0 } else { 2 };
    assert_eq!(at_first.payloads(4 - from).await, numbered(from..4));
}

pub async fn two_groups_do_not_disturb_each_other(subject: &dyn Subject) {
    let driver = open_driver(subject).await;
    if !driver.capabilities().groups {
        return;
    }
    let topic = topic(subject, "two-groups").await;
    let mut one = open(&*driver, &[&topic], group(&topic, "one", true)).await;
    let mut two = open(&*driver, &[&topic], group(&topic, "two", true)).await;
    publish_numbered(&*driver, &topic, 0..4).await;
    let read = one.messages(4).await;
    one.commit(&read[3]).await;
    assert_eq!(two.payloads(4).await, numbered(0..4));
    drop((one, two));
    let mut two = open(&*driver, &[&topic], group(&topic, "two", true)).await;
    assert_eq!(two.payloads(4).await, numbered(0..4));
}

pub async fn members_of_a_group_share_the_work_and_take_over(subject: &dyn Subject) {
    const COUNT: usize = 20;
    let driver = open_driver(subject).await;
    if !driver.capabilities().sharing {
        return;
    }
    let topic = topic(subject, "members").await;
    let (sender, mut read) = mpsc::unbounded_channel();
    let start = shared(group(&topic, "members", true));
    // The first must go on reading while the second joins: some brokers share out the work in its calls.
    let mut members: Vec<JoinHandle<()>> = Vec::new();
    for number in 0..2 {
        let member = open(&*driver, &[&topic], start.clone()).await;
        members.push(tokio::spawn(run_member(number, member, sender.clone())));
    }
    let (mut seen, mut deliveries, mut active) = (BTreeSet::new(), 0, 0);
    for payload in numbered(0..COUNT) {
        publish(&*driver, &topic, &payload).await;
        while !seen.contains(&payload) {
            let (member, payload) = step("a member reads", read.recv()).await.expect("both members run");
            (active, deliveries) = (member, deliveries + 1);
            seen.insert(payload);
        }
    }
    // A message may come twice when the work is shared out anew before its commit; all twice would mean
    // that nothing is shared.
    assert!(deliveries < 2 * COUNT, "{deliveries} deliveries of {COUNT} messages: nothing was shared");
    leave(&mut members, active).await;
    take_over(&driver, &topic, &mut read, active).await;
    leave(&mut members, 0).await;
}

/// Reads and commits message by message until it is told to go.
async fn run_member(number: usize, mut member: Reader, read: mpsc::UnboundedSender<(usize, String)>) {
    loop {
        let mut batch = Vec::new();
        let fetched = member.consumer.fetch(&mut batch, super::ROOMY).await;
        fetched.unwrap_or_else(|error| panic!("fetch of member {number}: {error}"));
        for message in &batch {
            member.commit(message).await;
            if read.send((number, payload_of(message))).is_err() {
                return;
            }
        }
    }
}

async fn leave(members: &mut Vec<JoinHandle<()>>, number: usize) {
    let member = members.remove(number);
    member.abort();
    let ended = step("a member leaves", member).await;
    assert!(
        ended.is_err_and(|error| error.is_cancelled()),
        "member {number} failed before it was told to go"
    );
}

/// Publishes and waits until a member other than `gone` has read the message.
async fn take_over(
    driver: &Arc<dyn BrokerDriver>,
    topic: &sluice_message::Topic,
    read: &mut mpsc::UnboundedReceiver<(usize, String)>,
    gone: usize,
) {
    publish(&**driver, topic, "after the first has gone").await;
    loop {
        let (member, payload) =
            step("the other member takes over", read.recv()).await.expect("one member runs");
        if payload == "after the first has gone" {
            assert_ne!(member, gone);
            return;
        }
    }
}
