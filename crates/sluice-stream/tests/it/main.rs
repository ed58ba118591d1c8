//! Hubs over the embedded log, with a wrapper that breaks what a real broker only breaks now and then.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test stops at the first surprise"
)]

mod flaky;
mod groups;
mod interleavings;
mod patterns;
mod resume;
mod slow;
mod telling;

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use flaky::{Fault, Flaky};
use sluice_broker::{BrokerDriver, ErrorKind, Log, LogOptions};
use sluice_message::{Message, Position, Topic};
use sluice_stream::{Begin, Cursor, HubOptions, Hubs, Joining, Lag, Step, StreamMetrics};
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(30);

struct Bench {
    hubs: Arc<Hubs>,
    metrics: Arc<StreamMetrics>,
    flaky: Arc<Flaky>,
    topics: Vec<Topic>,
    _dir: TempDir,
}

impl Bench {
    fn new(options: HubOptions) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let log = Log::open(dir.path(), LogOptions::default()).unwrap();
        let metrics = Arc::new(StreamMetrics::default());
        let hubs = Hubs::new(options, Arc::clone(&metrics));
        Self { hubs, metrics, flaky: Arc::new(Flaky::new(log)), topics: vec!["t".into()], _dir: dir }
    }

    fn driver(&self) -> Arc<dyn BrokerDriver> {
        Arc::clone(&self.flaky) as Arc<dyn BrokerDriver>
    }

    async fn join(&self, begin: Begin) -> Cursor {
        self.join_with(begin, Lag::Skip).await
    }

    async fn join_with(&self, begin: Begin, lag: Lag) -> Cursor {
        self.join_as(Joining::new(begin, lag)).await
    }

    /// A client whose messages tell their position.
    async fn join_telling(&self, begin: Begin, lag: Lag) -> Cursor {
        self.join_as(Joining::new(begin, lag).telling_positions(true)).await
    }

    async fn join_as(&self, joining: Joining) -> Cursor {
        within(self.hubs.join(&self.driver(), &self.topics, joining)).await.unwrap()
    }

    async fn publish(&self, numbers: std::ops::Range<u32>) {
        self.publish_to(0, numbers).await;
    }

    async fn publish_to(&self, topic: usize, numbers: std::ops::Range<u32>) {
        for number in numbers {
            let message = Message::builder().payload(number.to_string()).build();
            within(self.flaky.publish(&self.topics[topic], message)).await.unwrap();
        }
    }

    /// The gateway starts again: no hub, no client, the same broker.
    fn restart(&mut self, options: HubOptions) {
        self.hubs = Hubs::new(options, Arc::clone(&self.metrics));
    }

    fn drop_before(&self, topic: usize, offset: u64) {
        self.flaky.drop_before(&self.topics[topic], offset);
    }

    /// Readers of single clients that were opened so far.
    fn readers_opened(&self) -> u64 {
        self.flaky.readers().opened.load(Ordering::SeqCst)
    }
}

async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.expect("this hangs")
}

/// Reads until `count` messages were handed out or missed; gives the numbers, and how many were missed.
async fn read(cursor: &mut Cursor, count: u64) -> (Vec<u32>, u64) {
    let (mut numbers, mut missing, mut batch) = (Vec::new(), 0, Vec::new());
    while numbers.len() as u64 + missing < count {
        match within(cursor.next(&mut batch)).await.unwrap() {
            Step::Messages => numbers.extend(batch.iter().map(number)),
            Step::Skipped(missed) | Step::Lost(missed) => missing += missed,
            end @ (Step::Overrun(_) | Step::Ended) => panic!("{end:?} after {numbers:?}"),
        }
    }
    (numbers, missing)
}

/// The next batch, which must hold messages.
async fn batch(cursor: &mut Cursor) -> Vec<Message> {
    let mut batch = Vec::new();
    assert_eq!(step(cursor, &mut batch).await, Step::Messages);
    batch
}

async fn step(cursor: &mut Cursor, batch: &mut Vec<Message>) -> Step {
    within(cursor.next(batch)).await.unwrap()
}

fn position(text: &str) -> Position {
    text.parse().unwrap()
}

fn number(message: &Message) -> u32 {
    std::str::from_utf8(message.payload()).unwrap().parse().unwrap()
}

#[tokio::test]
async fn after_a_broken_connection_reading_goes_on_where_it_was() {
    let bench = Bench::new(HubOptions::default());
    bench.publish(0..5).await;
    let mut cursor = bench.join(Begin::Latest).await;
    for round in 1..4 {
        bench.publish(round * 10..round * 10 + 3).await;
        assert_eq!(read(&mut cursor, 3).await.0, [round * 10, round * 10 + 1, round * 10 + 2]);
        // Broken while nothing has been read since the place was fixed, and broken again while opening.
        bench.flaky.break_next(Fault::Fetch(ErrorKind::Unreachable));
        bench.flaky.break_next(Fault::Consume(ErrorKind::Unreachable));
    }
    assert_eq!(bench.metrics.positions_lost.get(), 0);
}

#[tokio::test]
async fn what_is_published_while_the_connection_is_away_is_not_passed_over() {
    let bench = Bench::new(HubOptions::default());
    let mut cursor = bench.join(Begin::Latest).await;
    bench.flaky.break_next(Fault::Fetch(ErrorKind::Unreachable));
    bench.flaky.break_next(Fault::Consume(ErrorKind::Unreachable));
    bench.publish(0..20).await;
    assert_eq!(read(&mut cursor, 20).await, ((0..20).collect(), 0));
}

#[tokio::test]
async fn messages_that_the_broker_has_lost_are_a_gap_that_every_client_hears_of() {
    let bench = Bench::new(HubOptions::default());
    bench.publish(0..1).await;
    let mut one = bench.join(Begin::Latest).await;
    let mut two = bench.join(Begin::Latest).await;
    bench.drop_before(0, 3);
    bench.publish(1..4).await;
    for cursor in [&mut one, &mut two] {
        assert_eq!(read(cursor, 3).await, (vec![3], 2), "two are missing, and nothing comes twice");
    }
    assert_eq!(bench.metrics.positions_lost.get(), 1);
}

#[tokio::test]
async fn a_broker_that_takes_a_loss_back_causes_no_gap_and_no_repetition() {
    let bench = Bench::new(HubOptions::default());
    let mut cursor = bench.join(Begin::Latest).await;
    bench.publish(0..3).await;
    assert_eq!(read(&mut cursor, 3).await, (vec![0, 1, 2], 0));
    bench.flaky.break_next(Fault::Fetch(ErrorKind::PositionLost));
    bench.publish(3..6).await;
    assert_eq!(read(&mut cursor, 3).await, (vec![3, 4, 5], 0));
}

#[tokio::test]
async fn a_client_that_catches_up_survives_broken_connections_and_dropped_messages() {
    let bench = Bench::new(HubOptions::default());
    bench.publish(0..300).await;
    let mut cursor = bench.join(Begin::Earliest).await;
    bench.flaky.break_next(Fault::Consume(ErrorKind::Unreachable));
    bench.flaky.break_next(Fault::Fetch(ErrorKind::Unreachable));
    let (mut seen, _) = read(&mut cursor, 1).await;
    let come_to = u64::from(*seen.last().unwrap()) + 1;
    bench.drop_before(0, come_to + 50);
    let (rest, skipped) = read(&mut cursor, 300 - come_to).await;
    seen.extend(rest);
    assert_eq!(skipped, 50);
    let kept = (0..come_to as u32).chain(come_to as u32 + 50..300);
    assert_eq!(seen, kept.collect::<Vec<_>>());
}

#[tokio::test]
async fn a_call_that_is_dropped_again_and_again_does_not_keep_a_client_from_catching_up() {
    let bench = Bench::new(HubOptions::default());
    bench.publish(0..10).await;
    let mut cursor = bench.join(Begin::Earliest).await;
    for _ in 0..3 {
        bench.flaky.break_next(Fault::Consume(ErrorKind::Unreachable));
    }
    let (mut seen, mut batch) = (Vec::new(), Vec::new());
    within(async {
        while seen.len() < 10 {
            // Shorter than any pause after a failure.
            let call = tokio::time::timeout(Duration::from_millis(20), cursor.next(&mut batch));
            if let Ok(step) = call.await {
                assert_eq!(step.unwrap(), Step::Messages);
                seen.extend(batch.iter().map(number));
            }
        }
    })
    .await;
    assert_eq!(seen, (0..10).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_broker_that_cannot_be_opened_refuses_the_client_with_its_error_in_time() {
    let bench = Bench::new(HubOptions { open_timeout: Duration::from_millis(300), ..HubOptions::default() });
    for _ in 0..50 {
        bench.flaky.break_next(Fault::Consume(ErrorKind::Refused));
    }
    let refused =
        within(bench.hubs.join(&bench.driver(), &bench.topics, Joining::new(Begin::Latest, Lag::Skip))).await;
    assert_eq!(refused.unwrap_err().kind, ErrorKind::Refused);
}

#[tokio::test]
async fn an_error_that_cannot_be_retried_ends_the_streams_and_a_new_client_begins_a_new_hub() {
    let bench = Bench::new(HubOptions::default());
    let mut cursor = bench.join(Begin::Latest).await;
    bench.flaky.break_next(Fault::Fetch(ErrorKind::Closed));
    bench.publish(0..1).await;
    let mut batch = Vec::new();
    let error = loop {
        match within(cursor.next(&mut batch)).await {
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind, ErrorKind::Closed);
    let mut next = bench.join(Begin::Latest).await;
    bench.publish(1..2).await;
    assert_eq!(read(&mut next, 1).await.0, [1]);
}

#[tokio::test]
async fn all_clients_share_one_consumer_which_ends_some_time_after_the_last_of_them() {
    let bench = Bench::new(HubOptions { linger: Duration::from_millis(50), ..HubOptions::default() });
    let cursors = [bench.join(Begin::Latest).await, bench.join(Begin::Latest).await];
    assert_eq!(bench.metrics.hub_consumers.get(), 1);
    drop(cursors);
    within(async {
        while bench.metrics.hub_consumers.get() > 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    let mut again = bench.join(Begin::Latest).await;
    bench.publish(0..1).await;
    assert_eq!(read(&mut again, 1).await.0, [0]);
}

#[tokio::test]
async fn a_client_that_the_ring_overtakes_while_it_catches_up_misses_nothing() {
    let bench = Bench::new(HubOptions { ring_messages: 8, ..HubOptions::default() });
    bench.publish(0..200).await;
    let mut cursor = bench.join(Begin::Earliest).await;
    let mut batch = Vec::new();
    assert_eq!(within(cursor.next(&mut batch)).await.unwrap(), Step::Messages);
    let mut seen: Vec<u32> = batch.iter().map(number).collect();
    // Far more than the ring holds goes by before the client reads on.
    bench.publish(200..400).await;
    while seen.len() < 400 {
        assert_eq!(within(cursor.next(&mut batch)).await.unwrap(), Step::Messages);
        seen.extend(batch.iter().map(number));
    }
    assert_eq!(seen, (0..400).collect::<Vec<_>>());
    drop(cursor);
    assert_eq!(bench.metrics.client_readers.get(), 0);
}

#[tokio::test]
async fn a_slow_client_is_told_how_much_it_missed_and_others_are_not_touched() {
    let bench = Bench::new(HubOptions { ring_messages: 8, ..HubOptions::default() });
    let mut slow = bench.join(Begin::Latest).await;
    let mut quick = bench.join(Begin::Latest).await;
    for number in 0..100 {
        bench.publish(number..number + 1).await;
        assert_eq!(read(&mut quick, 1).await, (vec![number], 0));
    }
    let (seen, skipped) = read(&mut slow, 100).await;
    assert_eq!(seen.len() as u64 + skipped, 100);
    assert!(skipped >= 92, "{skipped}");
    assert_eq!(seen.last(), Some(&99));
}
