//! A process that is killed in the middle of spooling: what it acknowledged reaches the broker, in order.

use std::{
    collections::HashMap,
    env,
    io::{BufRead, BufReader},
    path::Path,
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use futures_util::{FutureExt, future::BoxFuture};
use sluice_api::{ApiId, BrokerConfig, LogConfig};
use sluice_broker::{
    BatchLimit, Bounds, BrokerDriver, Capabilities, ConsumeSpec, Consumer, DriverError, ErrorKind, Log,
    LogOptions, Receipt, Spool, SpoolMetrics, Spools, StartAt, StopAt,
};
use sluice_message::{Message, Topic};
use tokio::task::JoinSet;

const DIRECTORY: &str = "SLUICE_TEST_SPOOL_DIRECTORY";
const ROUND: &str = "SLUICE_TEST_ROUND";
const TOPIC: &str = "t";
const PUBLISHERS: usize = 4;

/// The embedded log as a broker that is away now and then.
struct Unsteady {
    log: Log,
    calls: AtomicUsize,
}

impl BrokerDriver for Unsteady {
    fn capabilities(&self) -> Capabilities {
        self.log.capabilities()
    }

    fn identity(&self) -> BoxFuture<'_, Result<String, DriverError>> {
        self.log.identity()
    }

    fn publish<'a>(
        &'a self,
        topic: &'a Topic,
        message: Message,
    ) -> BoxFuture<'a, Result<Receipt, DriverError>> {
        if self.calls.fetch_add(1, Ordering::SeqCst) % 100 == 99 {
            return async { Err(DriverError::new(ErrorKind::Unreachable, "No answer.")) }.boxed();
        }
        self.log.publish(topic, message)
    }

    fn consume(&self, spec: ConsumeSpec) -> BoxFuture<'_, Result<Box<dyn Consumer>, DriverError>> {
        self.log.consume(spec)
    }

    fn bounds<'a>(&'a self, topics: &'a [Topic]) -> BoxFuture<'a, Result<Bounds, DriverError>> {
        self.log.bounds(topics)
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        self.log.close()
    }
}

fn open(directory: &Path) -> (Spools, Arc<Spool>, Log) {
    let log = Log::open(directory.join("log"), LogOptions::default()).unwrap();
    let driver = Arc::new(Unsteady { log: log.clone(), calls: AtomicUsize::new(0) });
    let spools = Spools::new(directory.join("spool"), LogOptions::default());
    let (settings, broker) = (sluice_api::Spool::default(), BrokerConfig::Log(LogConfig::default()));
    let api = ApiId("a".to_owned());
    let spool = spools.spool(&api, Some(&settings), &broker, driver, SpoolMetrics::default()).unwrap();
    (spools, spool, log)
}

#[tokio::test]
async fn what_a_killed_process_acknowledged_reaches_the_broker_in_order() {
    let directory = tempfile::tempdir().unwrap();
    let mut acknowledged = Vec::new();
    for round in 0..5 {
        spool_and_be_killed(directory.path(), round, 200, &mut acknowledged);
    }
    let (_spools, spool, log) = open(directory.path());
    while spool.status().waiting_messages > 0 {
        tokio::task::yield_now().await;
    }
    let found = read_all(&log).await;
    // Where each message came first: a repeat is allowed, and brings nothing before its time.
    let mut first: HashMap<&str, usize> = HashMap::new();
    for (place, payload) in found.iter().enumerate() {
        first.entry(payload).or_insert(place);
    }
    let mut last: HashMap<&str, usize> = HashMap::new();
    for payload in &acknowledged {
        let place = *first.get(&**payload).unwrap_or_else(|| panic!("{payload} is lost"));
        let (publisher, _) = payload.rsplit_once('/').unwrap();
        let before = last.insert(publisher, place);
        assert!(before.is_none_or(|before| before < place), "{payload} was overtaken");
    }
    assert!(acknowledged.len() >= 5 * 200);
}

/// Runs [`spools_until_it_is_killed`] in a process of its own, kills it after so many acknowledgements and adds
/// their payloads.
fn spool_and_be_killed(directory: &Path, round: usize, count: usize, acknowledged: &mut Vec<String>) {
    let mut child = Command::new(env::current_exe().unwrap())
        .args(["--exact", "spool_crash::spools_until_it_is_killed", "--ignored", "--nocapture"])
        .env(DIRECTORY, directory)
        .env(ROUND, round.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let before = acknowledged.len();
    for line in lines.map_while(Result::ok) {
        if let ["acknowledged", payload, "."] = line.split(' ').collect::<Vec<_>>()[..] {
            acknowledged.push(payload.to_owned());
        }
        if acknowledged.len() == before + count {
            child.kill().unwrap();
        }
    }
    assert!(acknowledged.len() >= before + count, "the process ended by itself");
    child.wait().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "runs in the process that another test kills"]
async fn spools_until_it_is_killed() {
    let (_spools, spool, _log) = open(Path::new(&env::var(DIRECTORY).unwrap()));
    let round = env::var(ROUND).unwrap();
    let mut publishers = JoinSet::new();
    for publisher in 0..PUBLISHERS {
        let (spool, round) = (spool.clone(), round.clone());
        publishers.spawn(async move {
            for number in 0.. {
                let payload = format!("{round}/{publisher}/{number}");
                let message = Message::builder().payload(payload.clone()).build();
                spool.publish(&Topic::from(TOPIC), message).await.unwrap();
                println!("\nacknowledged {payload} .");
            }
        });
    }
    publishers.join_all().await;
}

async fn read_all(log: &Log) -> Vec<String> {
    let spec = ConsumeSpec { topics: vec![Topic::from(TOPIC)], start: StartAt::Earliest, stop: StopAt::End };
    let mut reader = log.consume(spec).await.unwrap();
    let mut found = Vec::new();
    loop {
        let mut batch = Vec::new();
        reader.fetch(&mut batch, BatchLimit { messages: 500, bytes: 1 << 20 }).await.unwrap();
        if batch.is_empty() {
            return found;
        }
        found.extend(batch.iter().map(|message| String::from_utf8_lossy(message.payload()).into_owned()));
    }
}
