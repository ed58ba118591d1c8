//! What every broker driver must do, written once and run by the tests of each driver.
//!
//! A test says how to reach its broker with [`Subject`] and expands the cases with
//! [`conformance_suite!`](crate::conformance_suite), one test for each fact. An ability that a driver does
//! not claim in its [`Capabilities`](crate::Capabilities) is checked the other way round: asking for it must
//! fail with [`ErrorKind::Unsupported`]. Only built with the feature `conformance`, which no product has.
//!
//! Nothing here waits for a time to pass. Where a case must show that nothing more comes, it publishes one
//! more message and finds that message next. Groups are opened before anything is published, because without
//! [`Capabilities::replay`](crate::Capabilities::replay) nothing older comes.

#![allow(
    clippy::panic,
    clippy::expect_used,
    missing_docs,
    reason = "these are tests: they stop at the first thing that is not as it says, and their names are the facts"
)]

mod acknowledging;
mod groups;
mod identity;
mod outages;
mod proxy;
mod publishing;
mod reading;
mod refusals;
mod round_trip;
mod subject;

use std::{fmt, sync::Arc, time::Duration};

use sluice_message::{Message, Offset, Partition, Place, Position, Topic};
use tokio::time::timeout;

pub use self::{
    acknowledging::*,
    groups::*,
    identity::*,
    outages::*,
    publishing::*,
    reading::*,
    refusals::*,
    round_trip::*,
    subject::{Subject, Wrong},
};
use crate::{BatchLimit, BrokerDriver, ConsumeSpec, Consumer, DriverError, ErrorKind, StartAt, StopAt};

/// Expands every case of the suite into a test of its own, against the [`Subject`] that the expression gives;
/// the expression is evaluated in async code, once for each test. The crate needs tokio with `macros` and
/// `rt-multi-thread`. A driver that cannot run them all names its cases behind `only`.
#[macro_export]
macro_rules! conformance_suite {
    ($subject:expr) => {
        $crate::conformance_suite! { $subject, only
            a_broker_stays_the_same_over_restarts,
            a_publish_names_the_place_where_a_reader_finds_the_message,
            every_part_of_a_message_survives_the_round_trip,
            headers_survive_as_claimed,
            the_content_type_survives,
            each_publisher_keeps_its_order_among_others,
            a_missing_topic_is_made_or_refused,
            a_message_over_the_limit_is_refused_and_harms_no_other,
            publishing_after_close_fails_as_closed,
            closing_waits_for_what_is_in_flight,
            a_reader_at_latest_sees_what_is_acknowledged_from_then_on,
            a_reader_at_latest_misses_nothing_under_load,
            a_reader_at_earliest_sees_all,
            a_reader_after_a_position_starts_right_behind_it,
            a_position_beyond_the_end_is_lost,
            one_reader_reads_two_topics,
            two_readers_of_one_topic_both_see_all,
            a_batch_stays_within_its_limit,
            a_message_larger_than_the_limit_comes_alone,
            a_dropped_fetch_loses_nothing,
            a_reader_that_stops_at_the_end_sees_all_and_ends,
            a_reader_that_stops_at_the_end_ends_at_once_where_nothing_is,
            bounds_tell_where_a_topic_starts_and_ends,
            a_position_at_a_time_lies_before_all_of_that_time_and_later,
            a_check_finds_what_is_there,
            what_is_not_claimed_is_refused,
            a_topic_covers_itself_and_no_other,
            only_a_group_commits,
            a_group_never_stops_at_the_end,
            a_group_continues_behind_its_commit_after_a_restart,
            a_new_group_starts_where_it_was_told,
            two_groups_do_not_disturb_each_other,
            a_group_keeps_what_came_while_its_reader_was_away,
            a_group_gets_its_messages_in_order_with_rising_offsets,
            what_is_not_committed_comes_again_to_the_next_reader,
            a_commit_of_one_topic_leaves_the_other,
            a_commit_of_a_former_reader_does_no_harm,
            a_reader_that_is_not_committed_to_stops_and_goes_on_after_a_commit,
            members_of_a_group_share_the_work_and_take_over,
            a_cut_connection_fails_publishes_and_later_ones_succeed,
            a_silent_broker_fails_publishes_in_time,
            a_check_says_that_the_broker_is_away_and_when_it_is_back,
            a_driver_opened_before_its_broker_is_there_works_once_it_is,
            a_reader_at_latest_goes_on_after_an_outage,
            a_group_gets_after_an_outage_what_was_not_committed_and_what_it_missed,
            an_address_where_nobody_listens_is_told,
            another_protocol_at_the_address_is_told,
            settings_that_cannot_work_are_told
        }
    };
    ($subject:expr, only $($case:ident),+ $(,)?) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                let subject = $subject;
                $crate::conformance::$case(&subject).await;
            }
        )+
    };
}

/// How long one step of a case may take. Far more than any needs, so that only a step that hangs meets it.
const STEP: Duration = Duration::from_secs(60);

/// Waits for one step, and fails the test with the name of the step when it hangs.
async fn step<T>(name: impl fmt::Display, work: impl Future<Output = T>) -> T {
    match timeout(STEP, work).await {
        Ok(value) => value,
        Err(_) => panic!("this step did not end within {} s: {name}", STEP.as_secs()),
    }
}

async fn open_driver(subject: &dyn Subject) -> Arc<dyn BrokerDriver> {
    step("open a driver", subject.driver()).await
}

async fn topic(subject: &dyn Subject, name: &str) -> Topic {
    step(format_args!("make the topic {name}"), subject.topic(name)).await
}

/// Closes the driver and opens another onto the same broker. The caller has dropped its readers.
async fn restart(subject: &dyn Subject, driver: Arc<dyn BrokerDriver>) -> Arc<dyn BrokerDriver> {
    step("close the driver", driver.close()).await;
    drop(driver);
    open_driver(subject).await
}

/// Publishes a message with this payload and returns its place, if the broker says one.
async fn publish(driver: &dyn BrokerDriver, topic: &Topic, payload: &str) -> Option<Place> {
    publish_message(driver, topic, message(payload)).await
}

async fn publish_message(driver: &dyn BrokerDriver, topic: &Topic, message: Message) -> Option<Place> {
    let name = format!(
        "publish {:?} to {topic}",
        String::from_utf8_lossy(&message.payload()[..message.payload().len().min(40)])
    );
    step(&name, driver.publish(topic, message)).await.unwrap_or_else(|error| panic!("{name}: {error}")).place
}

fn message(payload: &str) -> Message {
    Message::builder().payload(payload.to_owned()).build()
}

fn payload_of(message: &Message) -> String {
    String::from_utf8_lossy(message.payload()).into_owned()
}

/// Consecutive payloads, `m3` to `m7` for `3..8`.
fn numbered(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|number| format!("m{number}")).collect()
}

async fn publish_numbered(driver: &dyn BrokerDriver, topic: &Topic, range: std::ops::Range<usize>) {
    for payload in numbered(range) {
        publish(driver, topic, &payload).await;
    }
}

/// A group with one reader. Names of groups are of letters, digits and dashes, whatever topics are made of.
fn group(topic: &Topic, name: &str, from_earliest: bool) -> StartAt {
    let topic: String =
        topic.as_str().chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    StartAt::Group { name: format!("{name}-of-{topic}").into(), from_earliest, sole: true }
}

/// The same group, open to several readers.
fn shared(start: StartAt) -> StartAt {
    match start {
        StartAt::Group { name, from_earliest, .. } => StartAt::Group { name, from_earliest, sole: false },
        other => other,
    }
}

/// The position behind this message.
fn behind(message: &Message) -> Position {
    Position::from_iter([message.place().expect("a message that was read has a place")])
}

async fn try_open(
    driver: &dyn BrokerDriver,
    topics: &[&Topic],
    start: StartAt,
    stop: StopAt,
) -> Result<Reader, DriverError> {
    let name = format!("consume {topics:?} from {start:?} to {stop:?}");
    let spec = ConsumeSpec { topics: topics.iter().map(|&topic| topic.clone()).collect(), start, stop };
    step(name, driver.consume(spec)).await.map(|consumer| Reader { consumer, ahead: Vec::new() })
}

async fn open(driver: &dyn BrokerDriver, topics: &[&Topic], start: StartAt) -> Reader {
    let opened = try_open(driver, topics, start, StopAt::Never).await;
    opened.unwrap_or_else(|error| panic!("consume {topics:?}: {error}"))
}

/// Asserts that the driver refuses to start reading here, with an error of this kind.
async fn refuses(driver: &dyn BrokerDriver, topic: &Topic, start: StartAt, kind: ErrorKind) {
    match try_open(driver, &[topic], start.clone(), StopAt::Never).await {
        Ok(_) => panic!("consume {topic} from {start:?} should fail with {kind:?}"),
        Err(error) => assert_eq!(error.kind, kind, "consume {topic} from {start:?}: {error}"),
    }
}

const ROOMY: BatchLimit = BatchLimit { messages: 1000, bytes: 1 << 20 };

/// A reader that hands out as many messages as a case asks for.
struct Reader {
    consumer: Box<dyn Consumer>,
    ahead: Vec<Message>,
}

impl Reader {
    /// One call of `fetch`.
    async fn batch(&mut self, limit: BatchLimit) -> Vec<Message> {
        let mut batch = Vec::new();
        let fetched = step("fetch a batch", self.consumer.fetch(&mut batch, limit)).await;
        fetched.unwrap_or_else(|error| panic!("fetch: {error}"));
        assert!(
            !batch.is_empty(),
            "fetch left the batch empty, which says that the topic has ended for good"
        );
        batch
    }

    /// The payloads of all messages until the reader ends.
    async fn until_the_end(&mut self) -> Vec<String> {
        let mut found = Vec::new();
        loop {
            let before = found.len();
            let fetched = step("fetch to the end", self.consumer.fetch(&mut found, ROOMY)).await;
            fetched.unwrap_or_else(|error| panic!("fetch: {error}"));
            if found.len() == before {
                return found.iter().map(payload_of).collect();
            }
        }
    }

    /// The next so many messages.
    async fn messages(&mut self, count: usize) -> Vec<Message> {
        while self.ahead.len() < count {
            let batch = self.batch(ROOMY).await;
            self.ahead.extend(batch);
        }
        self.ahead.drain(..count).collect()
    }

    /// The payloads of the next so many messages of a group, each committed before the next is waited for.
    async fn committed(&mut self, count: usize) -> Vec<String> {
        let mut payloads = Vec::new();
        while payloads.len() < count {
            let message = self.messages(1).await.remove(0);
            self.commit(&message).await;
            payloads.push(payload_of(&message));
        }
        payloads
    }

    /// The payloads of the next so many messages.
    async fn payloads(&mut self, count: usize) -> Vec<String> {
        self.messages(count).await.iter().map(payload_of).collect()
    }

    async fn commit(&mut self, message: &Message) {
        let position = behind(message);
        step("commit", self.consumer.commit(&position))
            .await
            .unwrap_or_else(|error| panic!("commit: {error}"));
    }
}

/// Asserts that offsets of one partition rise from message to message.
fn assert_rising(messages: &[Message]) {
    let mut last: Option<(Partition, Offset)> = None;
    for place in messages.iter().filter_map(Message::place) {
        let here = (place.partition, place.offset);
        assert!(last.is_none_or(|last| last < here), "{here:?} was read after {last:?}");
        last = Some(here);
    }
}
