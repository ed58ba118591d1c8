//! Cases about a broker that goes away and comes back: through a proxy that is cut and frozen.

use std::{sync::Arc, time::Duration};

use sluice_message::{Message, Topic};
use tokio::{sync::mpsc, time::timeout};

use super::{
    ROOMY, Reader, STEP, Subject, assert_rising, group, message, numbered, open, open_driver, payload_of,
    proxy::Proxy, publish, publish_numbered, step, topic, try_open,
};
use crate::{BrokerDriver, DriverError, ErrorKind, StartAt, StopAt};

/// How long something is waited for before it is published once more.
const PATIENCE: Duration = Duration::from_millis(100);

/// A driver through a proxy, and another that always reaches the broker.
struct Outage {
    proxy: Proxy,
    driver: Arc<dyn BrokerDriver>,
    direct: Arc<dyn BrokerDriver>,
}

impl Outage {
    /// None where the broker has no address that a proxy could stand at.
    async fn prepare(subject: &dyn Subject) -> Option<Self> {
        let proxy = Proxy::to(subject.address()?).await;
        let driver = step("open a driver", subject.driver_at(&proxy.address())).await;
        Some(Self { proxy, driver, direct: open_driver(subject).await })
    }
}

pub async fn a_cut_connection_fails_publishes_and_later_ones_succeed(subject: &dyn Subject) {
    let Some(Outage { proxy, driver, .. }) = Outage::prepare(subject).await else { return };
    let topic = topic(subject, "cut").await;
    publish(&*driver, &topic, "before").await;
    proxy.cut();
    is_unreachable(&*driver, &topic).await;
    is_unreachable(&*driver, &topic).await;
    proxy.restore();
    publish_in_the_end(&*driver, &topic, "after").await;
    publish(&*driver, &topic, "and on").await;
}

pub async fn a_silent_broker_fails_publishes_in_time(subject: &dyn Subject) {
    let Some(Outage { proxy, driver, .. }) = Outage::prepare(subject).await else { return };
    let topic = topic(subject, "silent").await;
    publish(&*driver, &topic, "before").await;
    proxy.freeze();
    is_unreachable(&*driver, &topic).await;
    proxy.restore();
    publish_in_the_end(&*driver, &topic, "after").await;
}

pub async fn a_check_says_that_the_broker_is_away_and_when_it_is_back(subject: &dyn Subject) {
    let Some(Outage { proxy, driver, .. }) = Outage::prepare(subject).await else { return };
    let topic = topic(subject, "checked").await;
    let topics = std::slice::from_ref(&topic);
    step("check", driver.check(topics)).await.unwrap_or_else(|error| panic!("check: {error}"));
    proxy.cut();
    let error = step("check without a broker", driver.check(topics)).await.expect_err("the broker is away");
    assert_eq!(error.kind, ErrorKind::Unreachable, "{error}");
    assert!(error.message.contains(&proxy.address()), "the address is not named: {error}");
    proxy.restore();
    step("the check is good again", async {
        while let Err(error) = driver.check(topics).await {
            assert!(error.retryable(), "{error}");
        }
    })
    .await;
}

pub async fn a_driver_opened_before_its_broker_is_there_works_once_it_is(subject: &dyn Subject) {
    let Some(address) = subject.address() else { return };
    let proxy = Proxy::to(address).await;
    proxy.cut();
    let driver = step("open a driver without a broker", subject.driver_at(&proxy.address())).await;
    let topic = topic(subject, "opened-before").await;
    is_unreachable(&*driver, &topic).await;
    let opened = try_open(&*driver, &[&topic], StartAt::Latest, StopAt::Never).await.err();
    assert!(opened.as_ref().is_some_and(DriverError::retryable), "{opened:?}");
    proxy.restore();
    publish_in_the_end(&*driver, &topic, "before").await;
    let mut reader = open(&*driver, &[&topic], StartAt::Latest).await;
    publish(&*driver, &topic, "after").await;
    assert_eq!(reader.payloads(1).await, ["after"]);
}

pub async fn a_reader_at_latest_goes_on_after_an_outage(subject: &dyn Subject) {
    let Some(Outage { proxy, driver, direct }) = Outage::prepare(subject).await else { return };
    let topic = topic(subject, "latest-outage").await;
    let mut reader = open(&*driver, &[&topic], StartAt::Latest).await;
    publish(&*direct, &topic, "before").await;
    let mut read = reader.messages(1).await;
    proxy.cut();
    let (sender, mut found) = mpsc::unbounded_channel();
    let reading = tokio::spawn(async move {
        while let Some(message) = reader.next_in_the_end().await {
            if sender.send(message).is_err() {
                return;
            }
        }
    });
    is_unreachable(&*driver, &topic).await;
    proxy.restore();
    // Without offsets, what comes before the reader is back is lost to it: something comes until it reads.
    let first = step("the reader is back", async {
        loop {
            publish(&*direct, &topic, "during").await;
            if let Ok(message) = timeout(PATIENCE, found.recv()).await {
                return message.expect("the reader goes on");
            }
        }
    })
    .await;
    read.push(first);
    publish(&*direct, &topic, "last").await;
    while read.last().is_some_and(|message| payload_of(message) != "last") {
        read.push(step("the last message", found.recv()).await.expect("the reader goes on"));
    }
    assert_rising(&read);
    reading.abort();
}

pub async fn a_group_gets_after_an_outage_what_was_not_committed_and_what_it_missed(subject: &dyn Subject) {
    let Some(Outage { proxy, driver, direct }) = Outage::prepare(subject).await else { return };
    let capabilities = driver.capabilities();
    if !capabilities.groups || capabilities.replay {
        return;
    }
    let (topic, elsewhere) = (topic(subject, "group-outage").await, topic(subject, "elsewhere").await);
    let start = group(&topic, "outage", true);
    let mut reader = open(&*driver, &[&topic], start.clone()).await;
    publish_numbered(&*direct, &topic, 0..6).await;
    let mut read = reader.messages(6).await;
    reader.commit(&read[1]).await;
    let stale = read[5].clone();
    proxy.cut();
    is_unreachable(&*driver, &elsewhere).await;
    publish_numbered(&*direct, &topic, 6..9).await;
    proxy.restore();
    let mut again: Vec<Message> = Vec::new();
    while again.last().is_none_or(|message| payload_of(message) != "m8") {
        let next = step("what comes after the outage", reader.next_in_the_end()).await;
        again.push(next.expect("the reader goes on"));
        // What was handed out before the outage is not what came again.
        reader.commit(&stale).await;
    }
    let mut expected: Vec<String> = again.iter().map(payload_of).collect();
    // Whether that commit had arrived, the outage may have left open.
    expected.retain(|payload| payload != "m0" && payload != "m1");
    assert_eq!(expected, numbered(2..9));
    read.extend(again);
    assert_rising(&read);
    drop(reader);
    let mut next = open(&*driver, &[&topic], start).await;
    let payloads = next.payloads(1).await;
    assert!(["m0", "m1", "m2"].contains(&&*payloads[0]), "a stale commit acknowledged up to {payloads:?}");
}

/// A publish fails as it does while the broker is away.
async fn is_unreachable(driver: &dyn BrokerDriver, topic: &Topic) {
    let published = step("publish without a broker", driver.publish(topic, message("during"))).await;
    let error = published.expect_err("nobody can have acknowledged this");
    assert_eq!(error.kind, ErrorKind::Unreachable, "{error}");
}

/// Publishes again and again until it succeeds, as callers do.
async fn publish_in_the_end(driver: &dyn BrokerDriver, topic: &Topic, payload: &str) {
    step("publish once the broker is back", async {
        while let Err(error) = driver.publish(topic, message(payload)).await {
            assert_eq!(error.kind, ErrorKind::Unreachable, "{error}");
        }
    })
    .await;
}

impl Reader {
    /// The next message, whatever retryable errors come before it; None after a long time without one.
    async fn next_in_the_end(&mut self) -> Option<Message> {
        timeout(STEP, async {
            while self.ahead.is_empty() {
                let mut batch = Vec::new();
                match self.consumer.fetch(&mut batch, ROOMY).await {
                    Ok(()) => assert!(!batch.is_empty(), "an outage ended the reader"),
                    Err(error) => assert!(error.retryable(), "an outage ended the reader: {error}"),
                }
                self.ahead.extend(batch);
            }
            self.ahead.remove(0)
        })
        .await
        .ok()
    }
}
