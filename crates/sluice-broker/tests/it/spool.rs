//! The spool before a broker that can be away, refuse, or take its time.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures_util::{
    FutureExt,
    future::{BoxFuture, join, join_all},
};
use sluice_api::{ApiId, BrokerConfig, LogConfig, MockConfig};
use sluice_broker::{
    Bounds, BrokerDriver, Capabilities, ConsumeSpec, Consumer, DriverError, ErrorKind, Log, LogOptions,
    Receipt, Spool, SpoolMetrics, Spools, conformance::Subject, conformance_suite,
};
use sluice_message::{Headers, Message, Topic};
use tempfile::TempDir;
use tokio::sync::watch;

/// What a target does with a message that it is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mood {
    Good,
    Away,
    /// Takes no message of this many bytes or more.
    Below(usize),
    /// Every third call fails, every other time after the message was taken all the same.
    Flaky,
    /// Takes a message only once it is in another mood.
    Slow,
    /// Has no topic `none`.
    WithoutTopic,
}

/// A broker that keeps what it is given in memory.
struct Target {
    /// What it says that it is, unless it is away.
    name: &'static str,
    mood: watch::Sender<Mood>,
    taken: watch::Sender<Vec<(Topic, Message)>>,
    /// Calls of `publish` so far.
    calls: watch::Sender<usize>,
}

impl Target {
    fn new(mood: Mood) -> Arc<Self> {
        Self::named("one", mood)
    }

    fn named(name: &'static str, mood: Mood) -> Arc<Self> {
        Arc::new(Self {
            name,
            mood: watch::Sender::new(mood),
            taken: watch::Sender::default(),
            calls: watch::Sender::default(),
        })
    }

    fn payloads(&self) -> Vec<String> {
        self.taken.borrow().iter().map(|(_, message)| payload_of(message)).collect()
    }

    async fn has_taken(&self, count: usize) -> Vec<String> {
        self.taken.subscribe().wait_for(|taken| taken.len() >= count).await.unwrap();
        self.payloads()
    }

    async fn was_called(&self, count: usize) {
        self.calls.subscribe().wait_for(|calls| *calls >= count).await.unwrap();
    }

    fn take(&self, topic: &Topic, message: Message) -> Receipt {
        self.taken.send_modify(|taken| taken.push((topic.clone(), message)));
        Receipt { place: None }
    }
}

fn unreachable() -> DriverError {
    DriverError::new(ErrorKind::Unreachable, "No answer from 10.1.2.3:9092.")
}

impl BrokerDriver for Target {
    fn capabilities(&self) -> Capabilities {
        Capabilities { replay: false, groups: false, sharing: false, ..Capabilities::ALL }
    }

    fn identity(&self) -> BoxFuture<'_, Result<String, DriverError>> {
        let is_away = *self.mood.borrow() == Mood::Away;
        async move { if is_away { Err(unreachable()) } else { Ok(self.name.to_owned()) } }.boxed()
    }

    fn publish<'a>(
        &'a self,
        topic: &'a Topic,
        message: Message,
    ) -> BoxFuture<'a, Result<Receipt, DriverError>> {
        async move {
            self.calls.send_modify(|calls| *calls += 1);
            let call = *self.calls.borrow();
            let mood = *self.mood.borrow();
            match mood {
                Mood::Good => {}
                Mood::Below(limit) if message.payload().len() < limit => {}
                Mood::Away => return Err(unreachable()),
                Mood::Below(_) => {
                    return Err(DriverError::new(ErrorKind::TooLarge, "The broker takes no such message."));
                }
                Mood::Flaky if !call.is_multiple_of(3) => {}
                Mood::Flaky => {
                    if call.is_multiple_of(2) {
                        self.take(topic, message);
                    }
                    return Err(unreachable());
                }
                Mood::WithoutTopic if topic.as_str() != "none" => {}
                Mood::WithoutTopic => return Err(DriverError::new(ErrorKind::NoTopic, "There is no topic.")),
                Mood::Slow => drop(self.mood.subscribe().wait_for(|mood| *mood != Mood::Slow).await),
            }
            Ok(self.take(topic, message))
        }
        .boxed()
    }

    fn consume(&self, _: ConsumeSpec) -> BoxFuture<'_, Result<Box<dyn Consumer>, DriverError>> {
        async { Err(unreachable()) }.boxed()
    }

    fn bounds<'a>(&'a self, _: &'a [Topic]) -> BoxFuture<'a, Result<Bounds, DriverError>> {
        async { Err(unreachable()) }.boxed()
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        async {}.boxed()
    }
}

struct Fixture {
    directory: TempDir,
    spools: Spools,
    metrics: SpoolMetrics,
}

impl Fixture {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let spools = Spools::new(directory.path().join("spool"), LogOptions::default());
        Self { directory, spools, metrics: SpoolMetrics::default() }
    }

    fn spool(&self, target: &Arc<Target>, max_bytes: u64) -> Arc<Spool> {
        self.try_spool(target, max_bytes).unwrap()
    }

    fn try_spool(&self, target: &Arc<Target>, max_bytes: u64) -> Result<Arc<Spool>, DriverError> {
        self.open(target, Some(max_bytes), &BrokerConfig::Log(LogConfig::default()))
    }

    fn open(
        &self,
        target: &Arc<Target>,
        max_bytes: Option<u64>,
        broker: &BrokerConfig,
    ) -> Result<Arc<Spool>, DriverError> {
        let settings = max_bytes.map(|max_bytes| sluice_api::Spool { max_bytes });
        let driver = Arc::clone(target) as Arc<dyn BrokerDriver>;
        self.spools.spool(&orders(), settings.as_ref(), broker, driver, self.metrics.clone())
    }
}

fn orders() -> ApiId {
    ApiId("orders".to_owned())
}

const ROOMY: u64 = 1 << 20;

fn message(payload: &str) -> Message {
    Message::builder().payload(payload.to_owned()).build()
}

fn payload_of(message: &Message) -> String {
    String::from_utf8_lossy(message.payload()).into_owned()
}

fn numbered(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|number| format!("m{number}")).collect()
}

async fn try_publish(spool: &Spool, payload: &str) -> Result<Receipt, DriverError> {
    spool.publish(&Topic::from("t"), message(payload)).await
}

async fn publish(spool: &Spool, range: std::ops::Range<usize>) {
    for payload in numbered(range) {
        try_publish(spool, &payload).await.unwrap();
    }
}

/// Waits until nothing waits, which is recorded a moment after the last message was forwarded.
async fn is_empty(spool: &Spool) {
    while spool.status().waiting_bytes > 0 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn what_is_taken_while_the_broker_is_away_arrives_in_order_when_it_is_back() {
    let fixture = Fixture::new();
    let target = Target::new(Mood::Away);
    let spool = fixture.spool(&target, ROOMY);
    publish(&spool, 0..20).await;
    target.was_called(2).await;
    let status = spool.status();
    assert_eq!((status.waiting_messages, fixture.metrics.waiting_messages.get()), (20, 20));
    assert!(status.waiting_bytes > 0 && status.oldest_waiting_since_ms.is_some());
    assert_eq!(status.last_error.map(|error| error.kind), Some(ErrorKind::Unreachable));
    target.mood.send_replace(Mood::Good);
    publish(&spool, 20..25).await;
    assert_eq!(target.has_taken(25).await, numbered(0..25));
    is_empty(&spool).await;
    let status = spool.status();
    assert_eq!((status.waiting_messages, status.waiting_bytes, status.set_aside_messages), (0, 0, 0));
    assert!(status.last_error.is_none());
    while fixture.metrics.waiting_bytes.get() > 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!((fixture.metrics.forwarded.get(), fixture.metrics.waiting_messages.get()), (25, 0));
}

#[tokio::test]
async fn a_message_arrives_with_all_its_parts_at_its_topic() {
    let fixture = Fixture::new();
    let target = Target::new(Mood::Good);
    let spool = fixture.spool(&target, ROOMY);
    let headers: Headers = [("trace", "1"), ("Trace", "2")].into_iter().collect();
    let full = Message::builder().key("k").payload("p").headers(headers).timestamp_ms(3).build();
    spool.publish(&Topic::from("full"), full.clone()).await.unwrap();
    spool.publish(&Topic::from("deleted"), Message::builder().key("k").build()).await.unwrap();
    target.has_taken(2).await;
    let taken = target.taken.borrow();
    let [(first, found), (second, tombstone)] = &taken[..] else { panic!("{}", taken.len()) };
    assert_eq!((first.as_str(), second.as_str()), ("full", "deleted"));
    assert_eq!((found.key(), found.headers()), (full.key(), full.headers()));
    assert_eq!((found.payload(), found.timestamp_ms(), found.place()), (&b"p"[..], Some(3), None));
    assert!(tombstone.payload_bytes().is_none() && tombstone.timestamp_ms().is_some());
}

#[tokio::test]
async fn no_message_overtakes_one_that_failed() {
    let fixture = Fixture::new();
    let target = Target::new(Mood::Flaky);
    let spool = fixture.spool(&target, ROOMY);
    publish(&spool, 0..16).await;
    is_empty(&spool).await;
    let mut found = target.payloads();
    assert!(found.len() > 16, "some were taken although the call failed");
    found.dedup();
    assert_eq!(found, numbered(0..16));
}

#[tokio::test]
async fn more_than_may_wait_is_refused_and_what_was_taken_is_kept() {
    let fixture = Fixture::new();
    let target = Target::new(Mood::Away);
    let spool = fixture.spool(&target, 20_000);
    let mut count = 0;
    let error = loop {
        match try_publish(&spool, &format!("{count:<1000}")).await {
            Ok(_) => count += 1,
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind, ErrorKind::Overloaded);
    assert!(error.message.contains("guarantees.spool.maxBytes"), "{error}");
    assert!((15..20).contains(&count), "{count} messages of 1000 bytes in 20,000");
    // Many at once do not get past the bound together.
    let payload = "x".repeat(1000);
    let together = join_all((0..10).map(|_| try_publish(&spool, &payload))).await;
    assert!(together.iter().all(Result::is_err) && spool.status().waiting_bytes <= 20_000);
    let large = try_publish(&spool, &"x".repeat(20_000)).await;
    assert_eq!(large.err().map(|error| error.kind), Some(ErrorKind::TooLarge), "it would never fit");
    target.mood.send_replace(Mood::Good);
    let found = target.has_taken(count).await;
    assert_eq!(found, (0..count).map(|number| format!("{number:<1000}")).collect::<Vec<_>>());
    is_empty(&spool).await;
    try_publish(&spool, "again").await.unwrap();
}

#[tokio::test]
async fn what_the_broker_refuses_for_good_is_set_aside_and_blocks_nobody() {
    let fixture = Fixture::new();
    let target = Target::new(Mood::Below(100));
    let spool = fixture.spool(&target, 20_000);
    let poison = "x".repeat(5000);
    for payload in ["before", &poison, "after"] {
        try_publish(&spool, payload).await.unwrap();
    }
    assert_eq!(target.has_taken(2).await, ["before", "after"]);
    is_empty(&spool).await;
    let status = spool.status();
    assert!(status.set_aside_messages == 1 && status.set_aside_bytes > 5000, "{status:?}");
    assert_eq!((fixture.metrics.set_aside.get(), fixture.metrics.forwarded.get()), (1, 2));
    // It takes room, and is set aside again as long as nobody has changed the limit.
    let second = try_publish(&spool, &"x".repeat(15_000)).await;
    assert_eq!(second.err().map(|error| error.kind), Some(ErrorKind::Overloaded));
    assert_eq!(spool.retry_set_aside().await.unwrap(), 1);
    target.was_called(4).await;
    is_empty(&spool).await;
    assert_eq!(spool.status().set_aside_messages, 1);
    target.mood.send_replace(Mood::Good);
    let (one, two) = join(spool.retry_set_aside(), spool.retry_set_aside()).await;
    assert_eq!(one.unwrap() + two.unwrap(), 1, "two at the same time do not both");
    assert_eq!(target.has_taken(3).await, ["before", "after", &poison]);
    let status = spool.status();
    assert_eq!((status.set_aside_messages, status.set_aside_bytes), (0, 0));
    assert_eq!(spool.retry_set_aside().await.unwrap(), 0);
}

#[tokio::test]
async fn a_new_process_goes_on_with_what_waits() {
    let fixture = Fixture::new();
    let away = Target::new(Mood::Away);
    let spool = fixture.spool(&away, ROOMY);
    publish(&spool, 0..5).await;
    spool.close().await;
    assert_eq!(try_publish(&spool, "late").await.err().map(|error| error.kind), Some(ErrorKind::Closed));
    let Fixture { directory, spools, .. } = fixture;
    drop((spool, spools));
    let good = Target::new(Mood::Good);
    let spools = Spools::new(directory.path().join("spool"), LogOptions::default());
    let fixture = Fixture { directory, spools, metrics: SpoolMetrics::default() };
    let spool = loop {
        // The former log lets go of the directory a moment after its last user.
        match fixture.try_spool(&good, ROOMY) {
            Ok(spool) => break spool,
            Err(_) => tokio::task::yield_now().await,
        }
    };
    publish(&spool, 5..7).await;
    assert_eq!(good.has_taken(7).await, numbered(0..7));
    assert!(away.payloads().is_empty());
}

#[tokio::test]
async fn what_waits_goes_to_the_driver_of_the_newest_handle() {
    let fixture = Fixture::new();
    let (away, good) = (Target::new(Mood::Away), Target::new(Mood::Good));
    let former = fixture.spool(&away, ROOMY);
    publish(&former, 0..3).await;
    away.was_called(1).await;
    let newer = fixture.spool(&good, ROOMY);
    publish(&newer, 3..4).await;
    publish(&former, 4..5).await;
    assert_eq!(good.has_taken(5).await, numbered(0..5));
    former.close().await;
    assert_eq!(try_publish(&former, "late").await.err().map(|error| error.kind), Some(ErrorKind::Closed));
    publish(&newer, 5..6).await;
    assert_eq!(good.has_taken(6).await, numbered(0..6));
    assert!(away.payloads().is_empty());
}

#[tokio::test]
async fn a_forwarder_begins_only_when_the_one_before_it_has_ended() {
    let fixture = Fixture::new();
    let (slow, good) = (Target::new(Mood::Slow), Target::new(Mood::Good));
    let former = fixture.spool(&slow, ROOMY);
    publish(&former, 0..3).await;
    slow.was_called(1).await;
    drop(former);
    let newer = fixture.spool(&good, ROOMY);
    publish(&newer, 3..4).await;
    assert_eq!(*good.calls.borrow(), 0, "the first message is still with the former");
    slow.mood.send_replace(Mood::Good);
    assert_eq!(good.has_taken(3).await, numbered(1..4));
    assert_eq!(slow.payloads(), numbered(0..1));
}

#[tokio::test]
async fn closing_waits_for_the_message_under_way_and_leaves_the_rest() {
    let fixture = Fixture::new();
    let slow = Target::new(Mood::Slow);
    let spool = fixture.spool(&slow, ROOMY);
    publish(&spool, 0..3).await;
    slow.was_called(1).await;
    let mut closing = spool.close();
    assert!(closing.as_mut().now_or_never().is_none());
    slow.mood.send_replace(Mood::Good);
    closing.await;
    assert_eq!(slow.payloads(), numbered(0..1));
    assert_eq!(spool.status().waiting_messages, 2);
}

#[tokio::test]
async fn apis_do_not_wait_for_each_other() {
    let fixture = Fixture::new();
    let (away, good) = (Target::new(Mood::Away), Target::new(Mood::Good));
    let orders = fixture.spool(&away, ROOMY);
    let settings = sluice_api::Spool { max_bytes: ROOMY };
    let driver = Arc::clone(&good) as Arc<dyn BrokerDriver>;
    let (api, broker) = (ApiId("other".to_owned()), BrokerConfig::Log(LogConfig::default()));
    let other = fixture.spools.spool(&api, Some(&settings), &broker, driver, SpoolMetrics::default());
    let other = other.unwrap();
    publish(&orders, 0..3).await;
    publish(&other, 0..3).await;
    assert_eq!(good.has_taken(3).await, numbered(0..3));
    assert_eq!((orders.status().waiting_messages, away.payloads().len()), (3, 0));
}

#[tokio::test]
async fn a_message_whose_topic_is_refused_for_a_minute_is_set_aside_and_the_next_goes_on() {
    let directory = tempfile::tempdir().unwrap();
    // By the paused clock the disk takes long.
    let options = LogOptions { publish_timeout: Duration::from_hours(1000), ..LogOptions::default() };
    let spools = Spools::new(directory.path().join("spool"), options);
    let fixture = Fixture { directory, spools, metrics: SpoolMetrics::default() };
    let target = Target::new(Mood::Away);
    let spool = fixture.spool(&target, ROOMY);
    spool.publish(&Topic::from("none"), message("late")).await.unwrap();
    publish(&spool, 0..1).await;
    target.was_called(1).await;
    tokio::time::pause();
    let since = tokio::time::Instant::now();
    target.mood.send_replace(Mood::WithoutTopic);
    while target.payloads().is_empty() {
        tokio::time::advance(Duration::from_millis(100)).await;
    }
    assert!(since.elapsed() >= Duration::from_mins(1), "{:?}", since.elapsed());
    assert_eq!(target.payloads(), numbered(0..1));
    assert_eq!((spool.status().set_aside_messages, fixture.metrics.set_aside.get()), (1, 1));
    tokio::time::resume();
    target.mood.send_replace(Mood::Good);
    assert_eq!(spool.retry_set_aside().await.unwrap(), 1);
    assert_eq!(target.has_taken(2).await, ["m0", "late"]);
}

/// Waits until the spool knows which broker it is before.
async fn knows_its_broker(spool: &Spool, target: &Target) {
    publish(spool, 0..1).await;
    target.has_taken(1).await;
    is_empty(spool).await;
    // It asks in the background, of a target that answers at once.
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn what_was_taken_for_another_broker_is_set_aside_until_somebody_says_otherwise() {
    let fixture = Fixture::new();
    let (one, two) = (Target::named("one", Mood::Good), Target::named("two", Mood::Good));
    let former = fixture.spool(&one, ROOMY);
    knows_its_broker(&former, &one).await;
    one.mood.send_replace(Mood::Away);
    publish(&former, 1..4).await;
    // The same settings, as behind a name that leads elsewhere now.
    let newer = fixture.spool(&two, ROOMY);
    publish(&newer, 4..5).await;
    publish(&former, 5..6).await;
    publish(&newer, 6..7).await;
    assert_eq!(two.has_taken(2).await, ["m4", "m6"]);
    is_empty(&newer).await;
    let status = newer.status();
    assert_eq!((status.set_aside_messages, fixture.metrics.set_aside.get()), (4, 4));
    assert_eq!(newer.retry_set_aside().await.unwrap(), 4);
    assert_eq!(two.has_taken(6).await, ["m4", "m6", "m1", "m2", "m3", "m5"]);
    assert_eq!(one.payloads(), numbered(0..1));
}

#[tokio::test]
async fn what_was_taken_for_a_known_broker_waits_until_it_is_known_which_one_this_is() {
    let fixture = Fixture::new();
    let one = Target::named("one", Mood::Good);
    let former = fixture.spool(&one, ROOMY);
    knows_its_broker(&former, &one).await;
    one.mood.send_replace(Mood::Away);
    publish(&former, 1..3).await;
    let again = Target::named("one", Mood::Away);
    let newer = fixture.open(&again, Some(ROOMY), &BrokerConfig::Mock(MockConfig::default())).unwrap();
    while newer.status().last_error.is_none() {
        tokio::task::yield_now().await;
    }
    again.mood.send_replace(Mood::Good);
    assert_eq!(again.has_taken(2).await, numbered(1..3), "the same broker, found by another name");
    assert_eq!(newer.status().set_aside_messages, 0);
}

#[tokio::test]
async fn what_was_taken_before_a_broker_was_ever_there_is_for_the_one_that_the_settings_named() {
    let fixture = Fixture::new();
    let (away, good) = (Target::new(Mood::Away), Target::new(Mood::Good));
    let former = fixture.spool(&away, ROOMY);
    publish(&former, 0..2).await;
    let other = fixture.open(&good, Some(ROOMY), &BrokerConfig::Mock(MockConfig::default())).unwrap();
    publish(&other, 2..3).await;
    assert_eq!(good.has_taken(1).await, numbered(2..3));
    assert_eq!(other.status().set_aside_messages, 2);
}

#[tokio::test]
async fn what_is_set_aside_can_be_discarded_and_makes_room() {
    let fixture = Fixture::new();
    let target = Target::new(Mood::Below(100));
    let spool = fixture.spool(&target, 20_000);
    for _ in 0..2 {
        try_publish(&spool, &"x".repeat(7000)).await.unwrap();
    }
    publish(&spool, 0..1).await;
    assert_eq!(target.has_taken(1).await, numbered(0..1));
    is_empty(&spool).await;
    let large = "x".repeat(15_000);
    assert_eq!(try_publish(&spool, &large).await.err().map(|error| error.kind), Some(ErrorKind::Overloaded));
    assert_eq!(spool.discard_set_aside().await.unwrap(), 2);
    assert!(spool.status().is_empty());
    assert_eq!(fixture.metrics.set_aside_messages.get(), 0);
    assert_eq!(spool.discard_set_aside().await.unwrap(), 0);
    try_publish(&spool, &large).await.unwrap();
    spool.close().await;
    assert_eq!(spool.discard_set_aside().await.err().map(|error| error.kind), Some(ErrorKind::Closed));
}

#[tokio::test]
async fn a_handle_without_settings_brings_what_is_there_to_the_broker() {
    let fixture = Fixture::new();
    assert!(!fixture.spools.holds(&orders()).unwrap());
    assert!(!fixture.directory.path().join("spool").exists(), "looking makes nothing");
    let away = Target::new(Mood::Away);
    let spool = fixture.spool(&away, ROOMY);
    publish(&spool, 0..3).await;
    let good = Target::new(Mood::Good);
    let left = fixture.open(&good, None, &BrokerConfig::Log(LogConfig::default())).unwrap();
    publish(&spool, 3..4).await;
    spool.close().await;
    assert_eq!(good.has_taken(4).await, numbered(0..4));
    is_empty(&left).await;
    left.close().await;
    drop((spool, left));
    while fixture.spools.holds(&orders()).unwrap() {
        tokio::task::yield_now().await;
    }
}

/// A spool before the embedded log.
struct Spooled {
    _directory: TempDir,
    log: Log,
    spools: Mutex<Spools>,
    topics: AtomicUsize,
}

impl Spooled {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let log = Log::open(directory.path().join("log"), LogOptions::default()).unwrap();
        let spools = Mutex::new(Spools::new(directory.path().join("spool"), LogOptions::default()));
        Self { _directory: directory, log, spools, topics: AtomicUsize::new(0) }
    }
}

impl Subject for Spooled {
    fn driver(&self) -> BoxFuture<'_, Arc<dyn BrokerDriver>> {
        async {
            let (api, settings) = (ApiId("a".to_owned()), sluice_api::Spool { max_bytes: 1 << 30 });
            let spools = self.spools.lock().unwrap();
            let (broker, log) = (BrokerConfig::Log(LogConfig::default()), Arc::new(self.log.clone()));
            let spool = spools.spool(&api, Some(&settings), &broker, log, SpoolMetrics::default());
            spool.unwrap() as Arc<dyn BrokerDriver>
        }
        .boxed()
    }

    fn topic<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Topic> {
        let number = self.topics.fetch_add(1, Ordering::SeqCst);
        async move { Topic::from(format!("{name}-{number}")) }.boxed()
    }

    fn missing_topic(&self) -> Topic {
        Topic::from("missing")
    }

    fn makes_topics(&self) -> bool {
        true
    }

    fn too_large(&self) -> usize {
        LogOptions::default().max_message_bytes + 1
    }
}

mod conformance {
    use super::*;

    // The other cases expect to find at once what they have published, or that it was made just then.
    conformance_suite!(
        Spooled::new(),
        only a_publish_names_the_place_where_a_reader_finds_the_message,
        every_part_of_a_message_survives_the_round_trip,
        each_publisher_keeps_its_order_among_others,
        a_missing_topic_is_made_or_refused,
        a_message_over_the_limit_is_refused_and_harms_no_other,
        publishing_after_close_fails_as_closed,
        closing_waits_for_what_is_in_flight,
        a_reader_at_earliest_sees_all,
        a_dropped_fetch_loses_nothing,
        a_group_never_stops_at_the_end,
    );
}
