//! Cases about what does not work: abilities that are not claimed, and settings that cannot work.

use std::sync::Arc;

use sluice_message::{Position, Topic};

use super::{
    ROOMY, Reader, Subject, group, message, open_driver,
    proxy::{Stranger, nobody},
    refuses, shared, step, topic, try_open,
};
use crate::{BrokerDriver, DriverError, ErrorKind, StartAt, StopAt};

pub async fn a_check_finds_what_is_there(subject: &dyn Subject) {
    let driver = open_driver(subject).await;
    let topic = topic(subject, "check").await;
    step("check", driver.check(&[topic])).await.unwrap_or_else(|error| panic!("check: {error}"));
}

pub async fn what_is_not_claimed_is_refused(subject: &dyn Subject) {
    let driver = open_driver(subject).await;
    let capabilities = driver.capabilities();
    let topic = topic(subject, "unclaimed").await;
    if !capabilities.replay {
        for start in [StartAt::Earliest, StartAt::After(Position::new())] {
            refuses(&*driver, &topic, start, ErrorKind::Unsupported).await;
        }
        let topics = [topic.clone()];
        let bounds = step("ask for bounds", driver.bounds(&topics)).await.err();
        let position = step("ask for a time", driver.position_at(&topics, 0)).await.err();
        let at_end = try_open(&*driver, &[&topic], StartAt::Latest, StopAt::End).await.err();
        for error in [bounds, position, at_end] {
            assert_eq!(error.map(|error| error.kind), Some(ErrorKind::Unsupported));
        }
    }
    let start = group(&topic, "unclaimed", true);
    if !capabilities.groups {
        refuses(&*driver, &topic, start.clone(), ErrorKind::Unsupported).await;
    }
    if !capabilities.sharing {
        refuses(&*driver, &topic, shared(start), ErrorKind::Unsupported).await;
    }
}

pub async fn a_topic_covers_itself_and_no_other(subject: &dyn Subject) {
    let driver = open_driver(subject).await;
    let (one, other) = (topic(subject, "one").await, topic(subject, "other").await);
    assert!(driver.covers(&one, &one));
    assert!(!driver.covers(&one, &other));
}

pub async fn an_address_where_nobody_listens_is_told(subject: &dyn Subject) {
    if subject.address().is_none() {
        return;
    }
    let address = nobody().await;
    let driver = step("open a driver", subject.driver_at(&address)).await;
    let topic = topic(subject, "nobody").await;
    for (call, error) in failures(driver, &topic).await {
        assert_eq!(error.kind, ErrorKind::Unreachable, "{call}: {error}");
        assert!(error.message.contains(&address), "{call} does not name {address}: {error}");
    }
}

pub async fn another_protocol_at_the_address_is_told(subject: &dyn Subject) {
    if subject.address().is_none() {
        return;
    }
    let stranger = Stranger::listen().await;
    let driver = step("open a driver", subject.driver_at(&stranger.address)).await;
    let topic = topic(subject, "stranger").await;
    for (call, error) in failures(driver, &topic).await {
        assert!(error.message.contains(&stranger.address), "{call} does not name the address: {error}");
    }
}

pub async fn settings_that_cannot_work_are_told(subject: &dyn Subject) {
    for wrong in step("open drivers", subject.wrong()).await {
        let (what, driver, topic) = (wrong.what, wrong.driver, wrong.topic);
        if let Some(kind) = wrong.check {
            let checked = step(what, driver.check(std::slice::from_ref(&topic))).await.err();
            assert_eq!(checked.as_ref().map(|error| error.kind), Some(kind), "check, {what}: {checked:?}");
        }
        if let Some(kind) = wrong.publish {
            let published = step(what, driver.publish(&topic, message("lost"))).await.err();
            assert_eq!(
                published.as_ref().map(|error| error.kind),
                Some(kind),
                "publish, {what}: {published:?}"
            );
        }
        if let Some(kind) = wrong.consume {
            let read = match try_open(&*driver, &[&topic], StartAt::Latest, StopAt::Never).await {
                Ok(reader) => first_error(reader).await,
                Err(error) => error,
            };
            assert_eq!(read.kind, kind, "consume, {what}: {read}");
        }
        step(what, driver.close()).await;
    }
}

/// The errors of all calls to a driver whose broker is not there.
async fn failures(driver: Arc<dyn BrokerDriver>, topic: &Topic) -> Vec<(&'static str, DriverError)> {
    let checked = step("check", driver.check(std::slice::from_ref(topic))).await.err();
    let published = step("publish", driver.publish(topic, message("lost"))).await.err();
    let consumed = try_open(&*driver, &[topic], StartAt::Latest, StopAt::Never).await.err();
    step("close", driver.close()).await;
    let calls = [("check", checked), ("publish", published), ("consume", consumed)];
    calls
        .into_iter()
        .map(|(call, error)| (call, error.unwrap_or_else(|| panic!("{call} worked without a broker"))))
        .collect()
}

async fn first_error(mut reader: Reader) -> DriverError {
    let mut batch = Vec::new();
    let fetched = step("fetch what is not to be had", reader.consumer.fetch(&mut batch, ROOMY)).await;
    fetched.expect_err("a reader of what is not to be had says so")
}
