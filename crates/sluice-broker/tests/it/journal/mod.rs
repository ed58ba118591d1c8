//! The journal around a broker that keeps nothing, and can be away.

mod broker;
mod crash;
mod disk;

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use futures_util::{FutureExt, future::BoxFuture};
use serde_json::json;
use sluice_api::ApiId;
use sluice_broker::{
    BatchLimit, BrokerDriver, ConsumeSpec, Consumer, DriverError, ErrorKind, Journal, JournalMetrics,
    Journals, LogOptions, StartAt, StopAt, conformance::Subject, conformance_suite,
};
use sluice_message::{Headers, Message, Topic};
use tempfile::TempDir;

use self::broker::{Broker, CREDIT, LARGEST};

/// A gateway's journals before one broker.
struct Bench {
    broker: Arc<Broker>,
    journals: Journals,
    metrics: JournalMetrics,
    /// The one connection to the broker.
    driver: Arc<dyn BrokerDriver>,
    _directory: TempDir,
}

impl Bench {
    fn new() -> Self {
        Self::with(LogOptions::default())
    }

    fn with(options: LogOptions) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let broker = Arc::new(Broker::default());
        Self {
            journals: Journals::new(directory.path().join("journal"), options),
            metrics: JournalMetrics::default(),
            driver: broker.connect(),
            broker,
            _directory: directory,
        }
    }

    fn try_open(
        &self,
        driver: &Arc<dyn BrokerDriver>,
        host: &str,
        topics: &[&str],
    ) -> Result<Arc<Journal>, DriverError> {
        let topics = named(topics);
        let (api, driver) = (ApiId("api".to_owned()), Arc::clone(driver));
        self.journals.journal(&api, &settings(host), driver, &topics, self.metrics.clone())
    }

    fn open(&self, topics: &[&str]) -> Arc<Journal> {
        self.try_open(&self.driver, "one", topics).unwrap()
    }

    /// A journal of which everything is sure to come in.
    async fn begun(&self, topics: &[&str]) -> Arc<Journal> {
        let journal = self.open(topics);
        read_from(&journal, topics, StartAt::Latest).await;
        journal
    }

    fn put(&self, topic: &str, payload: &str) {
        self.broker.put(topic, &message(payload));
    }
}

fn settings(host: &str) -> sluice_api::Broker {
    let settings = json!({ "serverHost": host, "serverPort": 1883, "topic": "t" });
    sluice_api::Broker::parse("default", "mqtt5", Some(settings)).unwrap()
}

fn named(topics: &[&str]) -> Vec<Topic> {
    topics.iter().copied().map(Topic::from).collect()
}

fn message(payload: &str) -> Message {
    Message::builder().payload(payload.to_owned()).build()
}

async fn read_from(journal: &Journal, topics: &[&str], start: StartAt) -> Box<dyn Consumer> {
    let spec = ConsumeSpec { topics: named(topics), start, stop: StopAt::Never };
    journal.consume(spec).await.unwrap()
}

async fn next(reader: &mut dyn Consumer, count: usize) -> Vec<Message> {
    let mut found = Vec::new();
    while found.len() < count {
        let limit = BatchLimit { messages: count - found.len(), bytes: 1 << 24 };
        reader.fetch(&mut found, limit).await.unwrap();
    }
    found
}

async fn next_payloads(reader: &mut dyn Consumer, count: usize) -> Vec<String> {
    next(reader, count).await.iter().map(payload_of).collect()
}

fn payload_of(message: &Message) -> String {
    String::from_utf8_lossy(message.payload()).into_owned()
}

/// Topics of the suite, which a journal has to know beforehand.
const POOL: [&str; 4] = ["suite/0", "suite/1/+", "suite 2", "süite/#"];

struct JournalSubject {
    bench: Bench,
    taken: std::sync::atomic::AtomicUsize,
}

impl JournalSubject {
    fn new() -> Self {
        Self { bench: Bench::new(), taken: Default::default() }
    }
}

impl Subject for JournalSubject {
    fn driver(&self) -> BoxFuture<'_, Arc<dyn BrokerDriver>> {
        async { self.bench.begun(&POOL).await as Arc<dyn BrokerDriver> }.boxed()
    }

    fn topic<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Topic> {
        let number = self.taken.fetch_add(1, Ordering::SeqCst);
        async move { Topic::from(POOL[number]) }.boxed()
    }

    fn missing_topic(&self) -> Topic {
        Topic::from(POOL[POOL.len() - 1])
    }

    fn makes_topics(&self) -> bool {
        true
    }

    fn too_large(&self) -> usize {
        LARGEST + 1
    }
}

conformance_suite!(JournalSubject::new());

#[tokio::test]
async fn what_is_published_while_the_gateway_is_away_comes_in_later() {
    let bench = Bench::new();
    let journal = bench.begun(&["a"]).await;
    bench.put("a", "first");
    let mut reader = read_from(&journal, &["a"], StartAt::Earliest).await;
    assert_eq!(next_payloads(&mut *reader, 1).await, ["first"]);
    let at = next(&mut *read_from(&journal, &["a"], StartAt::Earliest).await, 1).await;
    drop(reader);
    journal.close().await;
    drop(journal);
    assert_eq!(bench.broker.read_now(), 0);
    bench.put("a", "second");
    let journal = bench.open(&["a"]);
    let after = StartAt::After(at.iter().filter_map(Message::place).collect());
    let mut reader = read_from(&journal, &["a"], after).await;
    assert_eq!(next_payloads(&mut *reader, 1).await, ["second"]);
    assert_eq!(bench.broker.groups().len(), 1);
}

#[tokio::test]
async fn everything_about_a_message_is_kept_and_its_own_topic_with_it() {
    let bench = Bench::new();
    let journal = bench.begun(&["plants/#"]).await;
    let headers: Headers = [("content-type", "text/plain"), ("a", "1"), ("A", "2")].into_iter().collect();
    let full =
        Message::builder().key("k").payload("p").headers(headers).timestamp_ms(3).metadata("retain", "true");
    let (full, tombstone) = (full.build(), Message::builder().key("k").build());
    bench.broker.put("plants/oil", &full);
    bench.broker.put("plants/corn", &tombstone);
    let mut reader = read_from(&journal, &["plants/#"], StartAt::Earliest).await;
    let found = next(&mut *reader, 2).await;
    assert_eq!((found[0].headers(), found[0].key()), (full.headers(), full.key()));
    assert_eq!((found[0].payload(), found[0].timestamp_ms()), (full.payload(), Some(3)));
    assert!(found[1].payload_bytes().is_none());
    let told: Vec<_> = found[0].metadata().collect();
    for expected in [("topic", "plants/oil"), ("retain", "true"), ("offset", "0")] {
        assert!(told.iter().any(|(name, value)| (*name, &**value) == expected), "{told:?}");
    }
    assert_eq!(found[1].place().unwrap().topic.as_str(), "plants/#");
}

#[tokio::test]
async fn a_deployment_with_nothing_new_has_the_same_journal() {
    let bench = Bench::new();
    let journal = bench.begun(&["a", "b"]).await;
    assert!(Arc::ptr_eq(&journal, &bench.open(&["a", "b", "a"])));
    assert_eq!(bench.broker.opened.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn topics_come_and_go_and_those_that_stay_are_read_by_the_same_reader() {
    let bench = Bench::new();
    let former = bench.begun(&["a", "b"]).await;
    let latter = bench.begun(&["b", "c"]).await;
    assert_eq!((bench.broker.read_now(), bench.broker.opened.load(Ordering::SeqCst)), (3, 3));
    assert_eq!(former.identity().await.unwrap(), latter.identity().await.unwrap());
    drop(former);
    bench.broker.until(|broker| broker.read_now() == 2).await;
    bench.put("b", "still");
    let mut reader = read_from(&latter, &["b"], StartAt::Earliest).await;
    assert_eq!(next_payloads(&mut *reader, 1).await, ["still"]);
    assert_eq!(bench.broker.doubled.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn another_connection_takes_over_without_a_gap_or_a_second_session() {
    let bench = Bench::new();
    let journal = bench.begun(&["a"]).await;
    let mut reader = read_from(&journal, &["a"], StartAt::Latest).await;
    let (other, mut handles) = (bench.broker.connect(), vec![journal]);
    for number in 0..100 {
        bench.put("a", &number.to_string());
        if number % 10 == 0 {
            let driver = if number % 20 == 0 { &other } else { &bench.driver };
            handles.push(bench.try_open(driver, "one", &["a"]).unwrap());
        }
        if number % 30 == 0 {
            handles.remove(0);
        }
        tokio::task::yield_now().await;
    }
    let mut found = next_payloads(&mut *reader, 100).await;
    bench.broker.until(|broker| broker.kept() == 0).await;
    found.dedup();
    let mut missing: Vec<_> = (0..100).map(|number| number.to_string()).collect();
    while !missing.is_empty() {
        missing.retain(|payload| !found.contains(payload));
        if !missing.is_empty() {
            found.extend(next_payloads(&mut *reader, 1).await);
        }
    }
    assert_eq!(bench.broker.doubled.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_journal_that_is_opened_right_after_the_last_was_dropped_waits_for_its_reader_to_end() {
    let bench = Bench::new();
    for _ in 0..50 {
        drop(bench.begun(&["a"]).await);
    }
    assert_eq!((bench.broker.doubled.load(Ordering::SeqCst), bench.broker.groups().len()), (0, 1));
}

#[tokio::test]
async fn another_address_is_another_place() {
    let bench = Bench::new();
    let journal = bench.begun(&["a"]).await;
    journal.publish(&Topic::from("a"), message("here")).await.unwrap();
    let other = bench.try_open(&bench.driver, "two", &["a"]).unwrap();
    assert_ne!(journal.identity().await.unwrap(), other.identity().await.unwrap());
    read_from(&other, &["a"], StartAt::Latest).await;
    other.publish(&Topic::from("a"), message("both")).await.unwrap();
    let mut reader = read_from(&other, &["a"], StartAt::Earliest).await;
    assert_eq!(next_payloads(&mut *reader, 1).await, ["both"]);
    let groups = bench.broker.groups();
    assert!(groups.len() == 2 && groups.iter().all(|group| group.starts_with("sluice/api/")), "{groups:?}");
}

#[tokio::test]
async fn a_broker_that_is_away_is_told_and_does_not_keep_anybody_from_reading_what_is_there() {
    let bench = Bench::new();
    bench.broker.set_away(true);
    let journal = bench.open(&["a"]);
    let spec = ConsumeSpec { topics: named(&["a"]), start: StartAt::Latest, stop: StopAt::Never };
    let error = journal.consume(spec).await.err().unwrap();
    assert!(error.kind == ErrorKind::Unreachable && error.message.contains("10.1.2.3"), "{error}");
    bench.broker.set_away(false);
    while bench.metrics.reading.get() == 0 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let mut reader = read_from(&journal, &["a"], StartAt::Latest).await;
    journal.check(&named(&["a"])).await.unwrap();
    bench.put("a", "first");
    assert_eq!(next_payloads(&mut *reader, 1).await, ["first"]);
    bench.broker.until(|broker| broker.kept() == 0).await;
    assert_eq!(bench.metrics.reading.get(), 1);
    bench.broker.set_away(true);
    bench.broker.until(|broker| broker.read_now() == 0).await;
    let errors = bench.metrics.errors.get();
    while bench.metrics.errors.get() <= errors {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(journal.check(&named(&["a"])).await.unwrap_err().kind, ErrorKind::Unreachable);
    assert_eq!(bench.metrics.reading.get(), 0);
    let mut reader = read_from(&journal, &["a"], StartAt::Earliest).await;
    assert_eq!(next_payloads(&mut *reader, 1).await, ["first"]);
    bench.put("a", "second");
    bench.broker.set_away(false);
    assert_eq!(next_payloads(&mut *reader, 1).await, ["second"]);
    bench.broker.until(|broker| broker.kept() == 0).await;
    assert_eq!((bench.metrics.messages.get(), bench.metrics.reading.get()), (2, 1));
}

#[tokio::test]
async fn a_crowd_of_messages_comes_in_order_however_few_the_broker_hands_out_at_once() {
    let bench = Bench::new();
    let journal = bench.begun(&["a"]).await;
    let mut reader = read_from(&journal, &["a"], StartAt::Earliest).await;
    let expected: Vec<_> = (0..CREDIT * 25).map(|number| number.to_string()).collect();
    for payload in &expected {
        bench.put("a", payload);
    }
    assert_eq!(next_payloads(&mut *reader, expected.len()).await, expected);
    bench.broker.until(|broker| broker.kept() == 0).await;
    assert_eq!(bench.metrics.messages.get(), expected.len() as u64);
}

#[tokio::test]
async fn what_retention_drops_before_it_was_read_is_told_as_lost() {
    let bench = Bench::with(LogOptions { retention_bytes: 1000, ..LogOptions::default() });
    let journal = bench.begun(&["a/#"]).await;
    let mut reader = read_from(&journal, &["a/#"], StartAt::Earliest).await;
    let topic = Topic::from("a/1");
    loop {
        journal.publish(&topic, message(&"x".repeat(500))).await.unwrap();
        let bounds = journal.bounds(&named(&["a/#"])).await.unwrap();
        if bounds.values().all(|held| held.start.0 > 0) {
            break;
        }
    }
    let error = reader.fetch(&mut Vec::new(), BatchLimit { messages: 1, bytes: 1 }).await.unwrap_err();
    assert!(
        error.kind == ErrorKind::PositionLost && error.message.contains("the topic a/# would"),
        "{error}"
    );
}

#[tokio::test]
async fn a_topic_that_the_settings_do_not_name_is_refused() {
    let bench = Bench::new();
    let journal = bench.begun(&["a"]).await;
    let spec = ConsumeSpec { topics: named(&["b"]), start: StartAt::Latest, stop: StopAt::Never };
    let consumed = journal.consume(spec).await.err().unwrap();
    let bounds = journal.bounds(&named(&["a", "b"])).await.unwrap_err();
    let position = journal.position_at(&named(&["b"]), 0).await.unwrap_err();
    for error in [consumed, bounds, position] {
        assert!(
            error.kind == ErrorKind::Unsupported && error.message.contains("The topic b is none"),
            "{error}"
        );
    }
    // Publishing is the broker's matter.
    journal.publish(&Topic::from("b"), message("x")).await.unwrap();
}

#[tokio::test]
async fn topics_are_bounded() {
    let bench = Bench::with(LogOptions { max_topics: 2, ..LogOptions::default() });
    let _journal = bench.open(&["a", "b"]);
    bench.open(&["b", "a"]);
    let error = bench.try_open(&bench.driver, "one", &["a", "c"]).unwrap_err();
    let is_told = error.message.contains("The topic c") && error.message.contains("journal.maxTopics");
    assert!(error.kind == ErrorKind::Configuration && is_told, "{error}");
}
