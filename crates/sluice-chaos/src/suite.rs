//! A run from its beginning to its end: everything is started, publishers and consumers work while faults are
//! injected, then publishers stop and consumers get the time to see everything.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use reqwest::Client;
use tokio::{
    task::JoinSet,
    time::{Instant, sleep, timeout},
};

use crate::{
    Fault, Options, Report,
    apis::Apis,
    fault::Turns,
    gateway::Gateway,
    journal::Journal,
    kafka::Kafka,
    ledger::{Channel, Excuses},
    observer::Observer,
    proxy::Proxy,
    publisher::Desk,
    setup,
    subscriber::Subscriber,
};

/// How long publishers may need for their last message.
const LAST_MESSAGES: Duration = Duration::from_secs(60);
/// How long consumers may need, after that, to see everything.
const DRAIN: Duration = Duration::from_secs(180);
/// Times of recovery, by what had recovered.
pub(crate) type Recoveries = Arc<Mutex<BTreeMap<String, Vec<Duration>>>>;

/// Everything that takes part in a run.
pub(crate) struct Suite {
    pub(crate) journal: Arc<Journal>,
    pub(crate) client: Client,
    pub(crate) gateway: Gateway,
    pub(crate) kafka: Option<Kafka>,
    pub(crate) subscriber: Subscriber,
    /// Between the gateway and the subscribers.
    pub(crate) callbacks: Proxy,
    pub(crate) apis: Vec<Apis>,
    pub(crate) channels: Vec<Arc<Channel>>,
    pub(crate) desk: Arc<Desk>,
    pub(crate) excuses: Excuses,
    pub(crate) recoveries: Recoveries,
    pub(crate) kills_within: u64,
    pub(crate) observers: Vec<Arc<Observer>>,
    pub(crate) publishers: JoinSet<()>,
    pub(crate) consumers: JoinSet<()>,
}

/// Runs the suite.
pub(crate) async fn run(options: Options) -> Result<Report, String> {
    let started = Instant::now();
    let mut suite = setup::start(&options).await?;
    let faults = suite.inject_all(&options).await?;
    suite.settle().await?;
    suite.tear_down().await?;
    Ok(suite.report(options.seed, faults, started.elapsed()))
}

impl Suite {
    /// Injects fault after fault; how often each.
    async fn inject_all(&mut self, options: &Options) -> Result<BTreeMap<Fault, u64>, String> {
        let faults = options.faults();
        let usual = faults.len() as u64 * 2;
        let rounds = options.rounds.unwrap_or(if options.minutes.is_some() { u64::MAX } else { usual });
        let time = options.minutes.map_or(Duration::MAX, |minutes| Duration::from_secs(minutes * 60));
        let started = Instant::now();
        let mut injected = BTreeMap::new();
        self.progress("before the first fault").await?;
        for (round, turn) in (1..=rounds).zip(Turns::new(options.seed, &faults, options.longest())) {
            if started.elapsed() > time {
                break;
            }
            self.inject(round, &turn).await?;
            *injected.entry(turn.fault).or_default() += 1;
        }
        Ok(injected)
    }

    /// Lets publishers finish and consumers see what there is.
    async fn settle(&mut self) -> Result<(), String> {
        self.journal.say("publishers stop");
        self.desk.stop.cancel();
        if timeout(LAST_MESSAGES, finished(&mut self.publishers)).await.is_err() {
            self.journal.fault("The gateway took no message any more although nothing was broken.");
            self.desk.give_up.cancel();
            finished(&mut self.publishers).await;
        }
        let acknowledged: u64 = self.channels.iter().map(|channel| channel.acknowledged()).sum();
        self.journal.say(&format!("{acknowledged} messages were acknowledged; consumers finish"));
        let started = Instant::now();
        while !self.observers.iter().all(|observer| observer.is_complete()) && started.elapsed() < DRAIN {
            self.revive().await?;
            sleep(Duration::from_millis(100)).await;
        }
        self.journal.say(&format!("consumers have finished after {:.1?}", started.elapsed()));
        self.consumers.shutdown().await;
        Ok(())
    }

    async fn tear_down(&mut self) -> Result<(), String> {
        self.gateway.terminate().await?;
        match &mut self.kafka {
            Some(kafka) => kafka.stop().await,
            None => Ok(()),
        }
    }

    fn report(&self, seed: u64, faults: BTreeMap<Fault, u64>, time: Duration) -> Report {
        let recoveries = self.recoveries.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Report {
            seed,
            faults,
            kills_within: self.kills_within,
            judgements: self.observers.iter().map(|observer| observer.judge()).collect(),
            others: self.journal.faults(),
            answers: self.desk.answers(),
            recoveries,
            time,
        }
    }
}

async fn finished(tasks: &mut JoinSet<()>) {
    while tasks.join_next().await.is_some() {}
}
