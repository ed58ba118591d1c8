//! The task that reads one topic of the broker into the log.
//!
//! A batch is written in one piece, and acknowledged to the broker only when the disk has it. There is one batch under
//! way at a time: what comes meanwhile gathers in the driver, up to what the broker hands out without acknowledgement,
//! and makes the next batch. While the disk takes nothing, nothing is acknowledged, and the broker stops by itself.

use std::{convert::Infallible, sync::Arc, time::Duration};

use prometheus_client::metrics::gauge::Gauge;
use sluice_message::{Message, Position};
use tokio::{
    sync::watch,
    time::{Instant, sleep},
};

use super::{
    envelope,
    lane::{Lane, Route},
};
use crate::{BatchLimit, ConsumeSpec, DriverError, ErrorKind, StartAt, StopAt};

/// What is written in one piece at the most, beyond a single message that is larger.
const BATCH: BatchLimit = BatchLimit { messages: 2_000, bytes: 1 << 20 };
/// The wait before what failed is tried again; it doubles each time.
const FIRST_DELAY: Duration = Duration::from_millis(200);
/// The longest such wait.
const LONGEST_DELAY: Duration = Duration::from_secs(5);

pub(super) struct Reading {
    lane: Arc<Lane>,
    route: watch::Receiver<Option<Route>>,
    outage: Outage,
}

/// A series of failures.
struct Outage {
    since: Option<Instant>,
    delay: Duration,
}

/// Why a reader of the broker is given up.
enum Given {
    /// It is to be read by another driver, or not at all.
    Up,
    /// It failed; the next one may not.
    Failed(DriverError),
}

impl From<DriverError> for Given {
    fn from(error: DriverError) -> Self {
        Self::Failed(error)
    }
}

impl Reading {
    pub(super) fn new(lane: Arc<Lane>) -> Self {
        let (route, outage) = (lane.route.subscribe(), Outage { since: None, delay: FIRST_DELAY });
        Self { lane, route, outage }
    }

    /// Reads until the lane is at its end. Does not begin before `former`, a lane of the same topic, has ended: the
    /// broker keeps the place of one reader. `ending` tells that it is over, by being dropped at the latest.
    pub(super) async fn run(mut self, former: Option<watch::Receiver<bool>>, ending: watch::Sender<bool>) {
        if let Some(mut former) = former {
            let _ = former.wait_for(|ended| *ended).await;
        }
        loop {
            let route = self.route.borrow_and_update().clone();
            let Some(route) = route else { break };
            self.read(&route).await;
        }
        ending.send_replace(true);
    }

    /// Reads by this driver as long as it is the one.
    async fn read(&mut self, route: &Route) {
        loop {
            let error = match self.follow(route).await {
                Err(Given::Failed(error)) => error,
                Err(Given::Up) => return,
            };
            if self.pause(route, error).await.is_err() {
                return;
            }
        }
    }

    /// Opens a reader and keeps what it hands out.
    async fn follow(&mut self, route: &Route) -> Result<Infallible, Given> {
        let start = StartAt::Group { name: Arc::clone(&self.lane.group), from_earliest: false, sole: true };
        let topics = vec![self.lane.name.wanted.clone()];
        let opening = route.driver.consume(ConsumeSpec { topics, start, stop: StopAt::Never });
        let mut reader = unless_up(&mut self.route, route, opening).await??;
        self.lane.begin().await?;
        self.works();
        let Lane { api, name, group, .. } = &*self.lane;
        tracing::debug!(%api, topic = %name.wanted, %group, "A topic is read into the journal.");
        let _reading = Held::new(&route.metrics.reading);
        loop {
            if !is_by(&self.route.borrow(), route) {
                return Err(Given::Up);
            }
            let mut batch = Vec::new();
            unless_up(&mut self.route, route, reader.fetch(&mut batch, BATCH)).await??;
            if batch.is_empty() {
                let text = format!("The broker's reader of {} has ended.", self.lane.name.wanted);
                return Err(DriverError::new(ErrorKind::Other, text).into());
            }
            self.outage.delay = FIRST_DELAY;
            self.keep(route, &batch).await?;
            let kept: Position = batch.iter().filter_map(Message::place).collect();
            unless_up(&mut self.route, route, reader.commit(&kept)).await??;
        }
    }

    /// Writes a batch, however long that takes.
    async fn keep(&mut self, route: &Route, batch: &[Message]) -> Result<(), Given> {
        let sealed: Vec<_> = batch.iter().map(envelope::seal).collect();
        while let Err(error) = self.lane.log.append_all(&self.lane.name.stored, sealed.clone()).await {
            self.pause(route, error).await?;
        }
        self.works();
        route.metrics.messages.inc_by(batch.len() as u64);
        route.metrics.bytes.inc_by(sealed.iter().map(|message| message.size() as u64).sum());
        Ok(())
    }

    /// Waits before the next try.
    async fn pause(&mut self, route: &Route, error: DriverError) -> Result<(), Given> {
        if self.outage.since.is_none() {
            // Whoever keeps the state of the broker asks for it, and tells the log once.
            tracing::debug!(
                api = %self.lane.api, topic = %self.lane.name.wanted, %error,
                "A topic is not read into the journal; its messages wait at the broker. That is tried again and again."
            );
            self.outage.since = Some(Instant::now());
        }
        route.metrics.errors.inc();
        self.lane.set_error(Some(error));
        let delay = self.outage.delay;
        self.outage.delay = (delay * 2).min(LONGEST_DELAY);
        unless_up(&mut self.route, route, sleep(delay)).await
    }

    /// Notes that messages come in.
    fn works(&mut self) {
        self.lane.set_error(None);
        let (api, topic) = (&self.lane.api, &self.lane.name.wanted);
        if let Some(since) = self.outage.since.take() {
            let after_ms = since.elapsed().as_millis();
            tracing::debug!(%api, %topic, after_ms, "A topic is read into the journal again.");
        }
    }
}

/// Does this as long as the topic is to be read by this driver. What is done already counts.
async fn unless_up<T>(
    now: &mut watch::Receiver<Option<Route>>,
    route: &Route,
    work: impl Future<Output = T>,
) -> Result<T, Given> {
    tokio::select! {
        biased;
        done = work => Ok(done),
        _ = now.wait_for(|now| !is_by(now, route)) => Err(Given::Up),
    }
}

/// Whether a topic is read by this driver now.
fn is_by(now: &Option<Route>, route: &Route) -> bool {
    now.as_ref().is_some_and(|now| Arc::ptr_eq(&now.driver, &route.driver))
}

/// Counts as long as it lives.
struct Held(Gauge);

impl Held {
    fn new(gauge: &Gauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.dec();
    }
}
