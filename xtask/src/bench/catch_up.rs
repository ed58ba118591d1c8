//! `cargo xtask bench catch-up`: what live clients feel of one that reads a million older messages.

use std::{
    path::Path,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use super::{client::Connection, report, start_with};

const BEHIND: u64 = 1_000_000;
const PUBLISHERS: u64 = 32;
const LIVE: usize = 50;
/// Messages a second while latency is measured.
const RATE: u32 = 200;
const MEASURED: Duration = Duration::from_secs(10);
const ROUNDS: usize = 3;

const API: &str = r#"{"name":"Live","paths":[{"path":"/live"}],
"receivers":[{"type":"http-post"},{"type":"sse","qos":"at-least-once"}],
"brokers":[{"type":"log","configuration":{"topics":["live"]}}],
"plans":[{"name":"Open","security":{"type":"key-less"}}]}"#;

/// The position before the first message of the topic, as a client brings it: `live@0#-1`.
const BEGINNING: &str = "bGl2ZUAwIy0x";

pub(super) fn measure(directory: &Path) -> Result<(), String> {
    let (gateway, _) = start_with(directory, API, "limits: { publishTimeoutMs: 30000 }\n")?;
    eprintln!("xtask: publishing {BEHIND} messages");
    publish(&gateway.address)?;
    let live = Live::start(&gateway.address)?;
    let (mut alone, mut beside, mut rates) = (Vec::new(), Vec::new(), Vec::new());
    for round in 1..=ROUNDS {
        eprintln!("xtask: round {round} of {ROUNDS}");
        alone.push(live.p99_of(MEASURED)?);
        let read = Arc::new(AtomicU64::new(0));
        let behind = catch_up(&gateway.address, &read);
        let begin = Instant::now();
        beside.push(live.p99_of(MEASURED)?);
        let done = read.load(Ordering::Relaxed);
        #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
        rates.push(done as f64 / begin.elapsed().as_secs_f64());
        // It reads on until it has everything, or the rounds are over.
        drop(behind);
    }
    report(&format!("p99 from POST to {LIVE} SSE clients, {RATE}/s"), "ms", &alone);
    report(&format!("  while one reads {BEHIND} older messages"), "ms", &beside);
    report("  messages that this one reads", "messages/s", &rates);
    live.stop()
}

fn publish(address: &str) -> Result<(), String> {
    let publishers: Vec<_> = (0..PUBLISHERS)
        .map(|_| {
            let address = address.to_owned();
            thread::spawn(move || {
                let mut connection = Connection::open(&address)?;
                let body = "x".repeat(100);
                for _ in 0..BEHIND / PUBLISHERS {
                    connection.done("POST", "/live", "", &body)?;
                }
                Ok::<_, String>(())
            })
        })
        .collect();
    publishers.into_iter().try_for_each(joined)
}

/// A client that begins with the first message; it ends with the gateway.
fn catch_up(address: &str, read: &Arc<AtomicU64>) -> JoinHandle<Result<(), String>> {
    let (address, read) = (address.to_owned(), Arc::clone(read));
    thread::spawn(move || {
        let begin = format!("Last-Event-ID: {BEGINNING}\r\n");
        let mut stream = Connection::events(&address, "/live", &begin)?;
        let mut line = String::new();
        while read.load(Ordering::Relaxed) < BEHIND {
            stream.line(&mut line)?;
            if line.starts_with("data:") {
                read.fetch_add(1, Ordering::Relaxed);
            }
        }
        Ok(())
    })
}

/// A publisher and clients that measure how long each message takes.
struct Live {
    over: Arc<AtomicBool>,
    latencies: Arc<Mutex<Vec<f64>>>,
    threads: Vec<JoinHandle<Result<(), String>>>,
}

impl Live {
    fn start(address: &str) -> Result<Self, String> {
        let (over, latencies) = (Arc::new(AtomicBool::new(false)), Arc::default());
        let mut threads = Vec::new();
        for _ in 0..LIVE {
            let stream = Connection::events(address, "/live", "")?;
            let (over, latencies) = (Arc::clone(&over), Arc::clone(&latencies));
            threads.push(thread::spawn(move || listen(stream, &over, &latencies)));
        }
        let (address, ending) = (address.to_owned(), Arc::clone(&over));
        threads.push(thread::spawn(move || {
            let mut connection = Connection::open(&address)?;
            while !ending.load(Ordering::Relaxed) {
                connection.done("POST", "/live", "", &format!("at {}", now_us()))?;
                thread::sleep(Duration::from_secs(1) / RATE);
            }
            Ok(())
        }));
        Ok(Self { over, latencies, threads })
    }

    /// The 99th percentile of what is measured from now on, in milliseconds.
    fn p99_of(&self, time: Duration) -> Result<f64, String> {
        self.lock().clear();
        thread::sleep(time);
        let mut latencies = std::mem::take(&mut *self.lock());
        latencies.sort_by(f64::total_cmp);
        latencies.get(latencies.len() * 99 / 100).copied().ok_or_else(|| "Nothing was delivered.".to_owned())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<f64>> {
        self.latencies.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stop(self) -> Result<(), String> {
        self.over.store(true, Ordering::Relaxed);
        self.threads.into_iter().try_for_each(joined)
    }
}

fn listen(mut stream: Connection, over: &AtomicBool, latencies: &Mutex<Vec<f64>>) -> Result<(), String> {
    let mut line = String::new();
    while !over.load(Ordering::Relaxed) {
        stream.line(&mut line)?;
        let Some(sent) = line.strip_prefix("data: at ").and_then(|sent| sent.parse::<u64>().ok()) else {
            continue;
        };
        #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
        let taken = now_us().saturating_sub(sent) as f64 / 1000.0;
        latencies.lock().unwrap_or_else(PoisonError::into_inner).push(taken);
    }
    Ok(())
}

fn joined(thread: JoinHandle<Result<(), String>>) -> Result<(), String> {
    thread.join().map_err(|_| "A client failed.".to_owned())?
}

fn now_us() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_micros()).unwrap_or(u64::MAX)
}
