//! How much a driver moves, to be put beside what its bare client library moves in a loop of its own.
//!
//! Each driver's benchmark (`benches/speed.rs` in its crate) brings the bare loops; what is measured of the driver, and
//! how both are told, stands here, so that the figures of all drivers mean the same. Only built with the feature
//! `conformance`, which no product has.

#![allow(
    clippy::panic,
    clippy::print_stdout,
    reason = "this is for benchmarks: they stop at the first thing that fails, and print"
)]

use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use sluice_message::{Message, Position, Topic};

use crate::{BatchLimit, BrokerDriver, ConsumeSpec, Consumer, StartAt, StopAt};

/// What is moved in one round.
#[derive(Debug, Clone, Copy)]
pub struct Load {
    /// So many messages.
    pub messages: usize,
    /// Each with a payload of so many bytes.
    pub bytes: usize,
    /// So many publishes under way at once.
    pub in_flight: usize,
    /// A group acknowledges what it has read after so many messages, and at the end.
    pub commit_every: usize,
    /// Rounds of each side, taken in turns.
    pub rounds: usize,
}

impl Default for Load {
    /// 50,000 messages of 1 KiB, 1,000 under way, acknowledged by the 100, 5 rounds.
    fn default() -> Self {
        Self { messages: 50_000, bytes: 1024, in_flight: 1000, commit_every: 100, rounds: 5 }
    }
}

impl Load {
    /// The payload of every message.
    pub fn payload(&self) -> Bytes {
        Bytes::from(vec![b'x'; self.bytes])
    }
}

/// Messages a second, round by round.
#[derive(Debug, Clone, Default)]
struct Rates(Vec<f64>);

impl Rates {
    /// One round more: so many messages in this time.
    fn add(&mut self, messages: usize, took: Duration) {
        self.0.push(messages as f64 / took.as_secs_f64());
    }

    /// The smallest, the middle and the largest; zeros where there are none.
    fn spread(&self) -> (f64, f64, f64) {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        let at = |index: usize| sorted.get(index).copied().unwrap_or_default();
        (at(0), at(sorted.len() / 2), at(sorted.len().saturating_sub(1)))
    }
}

/// Publishes the load through a driver; how long that took, to the last acknowledgement.
pub async fn publish(driver: &dyn BrokerDriver, topic: &Topic, load: Load) -> Duration {
    let payload = load.payload();
    let started = Instant::now();
    let publishes = (0..load.messages)
        .map(|_| driver.publish(topic, Message::builder().payload(payload.clone()).build()));
    let mut settled = stream::iter(publishes).buffer_unordered(load.in_flight);
    while let Some(published) = settled.next().await {
        published.unwrap_or_else(|error| panic!("a publish failed: {error}"));
    }
    started.elapsed()
}

/// Opens a reader of one topic.
pub async fn open(driver: &dyn BrokerDriver, topic: &Topic, start: StartAt) -> Box<dyn Consumer> {
    let spec = ConsumeSpec { topics: vec![topic.clone()], start, stop: StopAt::Never };
    driver.consume(spec).await.unwrap_or_else(|error| panic!("{topic} could not be read: {error}"))
}

/// Reads the load from a reader, and commits where it reads for a group; how long that took.
pub async fn read(reader: &mut dyn Consumer, load: Load, commits: bool) -> Duration {
    const FETCH: BatchLimit = BatchLimit { messages: 1024, bytes: 1 << 20 };
    let started = Instant::now();
    let (mut batch, mut read, mut committed) = (Vec::new(), 0, 0);
    while read < load.messages {
        reader.fetch(&mut batch, FETCH).await.unwrap_or_else(|error| panic!("a fetch failed: {error}"));
        read += batch.len();
        let is_due = read - committed >= load.commit_every || read >= load.messages;
        if let Some(place) = batch.last().and_then(Message::place).filter(|_| commits && is_due) {
            let position = Position::from_iter([place]);
            reader.commit(&position).await.unwrap_or_else(|error| panic!("a commit failed: {error}"));
            committed = read;
        }
        batch.clear();
    }
    started.elapsed()
}

/// Lets a driver and its bare library do the same, round by round and each first in every other round, and prints both.
/// Either says how long it took for the messages of the load.
pub async fn compare(
    what: &str,
    load: Load,
    mut driver: impl AsyncFnMut() -> Duration,
    mut bare: impl AsyncFnMut() -> Duration,
) {
    let (mut of_driver, mut of_bare) = (Rates::default(), Rates::default());
    for round in 0..load.rounds {
        let is_first = round % 2 == 0;
        if is_first {
            of_driver.add(load.messages, driver().await);
        }
        of_bare.add(load.messages, bare().await);
        if !is_first {
            of_driver.add(load.messages, driver().await);
        }
    }
    tell(what, &of_driver, &of_bare);
}

/// A variable by which `cargo xtask bench drivers` says where the broker is.
pub fn variable(name: &str) -> String {
    std::env::var(name)
        .unwrap_or_else(|_| panic!("{name} is not set: run this with `cargo xtask bench drivers`."))
}

/// A name that no earlier run has used.
pub fn unused(name: &str) -> String {
    let time = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    format!("{name}-{}-{}", std::process::id(), time.as_nanos())
}

/// Prints the rates of a driver and of its bare library side by side.
fn tell(what: &str, driver: &Rates, bare: &Rates) {
    let ((least, middle, most), (bare_least, bare_middle, bare_most)) = (driver.spread(), bare.spread());
    println!(
        "{what}: driver {middle:.0}/s ({least:.0} to {most:.0}), bare library {bare_middle:.0}/s ({bare_least:.0} to \
         {bare_most:.0}), {:.0} %",
        100.0 * middle / bare_middle
    );
}
