//! `cargo xtask bench hub`: ten thousand subscribers of one channel by WebSub: how long until all of them are verified,
//! and what it takes to bring each a message.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use super::{client::Connection, report, start_with, ticks_per_second};
use crate::gateway::Gateway;

const SUBSCRIBERS: u64 = 10_000;
const MAKERS: u64 = 8;
const PAYLOAD: usize = 1024;
const ROUNDS: usize = 7;
/// Longer than any round takes.
const PATIENCE: Duration = Duration::from_secs(300);
const ADMIN: &str = "Authorization: Basic YWRtaW46YWRtaW4=\r\n";

/// All subscribers are on this machine.
const CONFIG: &str = "webhooks: { allow: [127.0.0.0/8] }\n";

const API: &str = r#"{"name":"Hub","paths":[{"path":"/bench"}],"channels":{"c":{}},
"receivers":[{"type":"websub","qos":"at-least-once","configuration":{"requestsPerHost":1000000}}],
"brokers":[{"type":"log"}],
"plans":[{"name":"Open","security":{"type":"key-less"}}]}"#;

pub(super) fn measure(directory: &Path) -> Result<(), String> {
    let (gateway, _) = start_with(directory, API, CONFIG)?;
    let idle = gateway.resident_mib()?;
    let subscribers = Subscribers::start()?;
    let begin = Instant::now();
    subscribe(&gateway.address, &subscribers.address)?;
    let answered = begin.elapsed().as_secs_f64();
    wait_for("every subscription is verified", || Ok(count(&gateway, "websub_unsettled_requests")? == 0))?;
    let verified = begin.elapsed().as_secs_f64();
    println!("{SUBSCRIBERS} subscribers of one channel");
    report("requests to subscribe, until the last 202", "s", &[answered]);
    report("  until the last is verified", "s", &[verified]);
    let memory = (gateway.resident_mib()? - idle) * 1024.0 / SUBSCRIBERS as f64;
    report("  memory of a subscription", "KiB", &[memory]);
    let (mut seconds, mut cpu) = (Vec::new(), Vec::new());
    let (mut publisher, ticks) = (Connection::open(&gateway.address)?, ticks_per_second()?);
    for _ in 0..ROUNDS {
        let (expected, busy) = (subscribers.taken() + SUBSCRIBERS, gateway.cpu_seconds(ticks)?);
        let begin = Instant::now();
        let address = "/bench/hub?hub.mode=publish&hub.topic=c";
        publisher.done("POST", address, "Content-Type: text/plain\r\n", &"x".repeat(PAYLOAD))?;
        wait_for("every subscriber has the message", || Ok(subscribers.taken() >= expected))?;
        seconds.push(begin.elapsed().as_secs_f64());
        cpu.push((gateway.cpu_seconds(ticks)? - busy) * 1_000_000.0 / SUBSCRIBERS as f64);
    }
    report("one message of 1 KiB to all of them", "s", &seconds);
    let rates: Vec<_> = seconds.iter().map(|seconds| SUBSCRIBERS as f64 / seconds).collect();
    report("  deliveries", "/s", &rates);
    report("  processor time of the gateway for a delivery", "µs", &cpu);
    report("  broker consumers", "", &[count(&gateway, "hub_consumers")? as f64]);
    report("  resident memory", "MiB", &[gateway.resident_mib()?]);
    Ok(())
}

/// Asks for all subscriptions, as subscribers would.
fn subscribe(gateway: &str, callbacks: &str) -> Result<(), String> {
    let makers: Vec<_> = (0..MAKERS)
        .map(|maker| {
            let (gateway, callbacks) = (gateway.to_owned(), callbacks.to_owned());
            thread::spawn(move || {
                let mut client = Connection::open(&gateway)?;
                for number in (maker..SUBSCRIBERS).step_by(MAKERS as usize) {
                    let form = format!(
                        "hub.mode=subscribe&hub.topic=c&hub.secret=s{number}&hub.callback=http://{callbacks}/{number}"
                    );
                    let headers = "Content-Type: application/x-www-form-urlencoded\r\n";
                    client.done("POST", "/bench/hub", headers, &form)?;
                }
                Ok(())
            })
        })
        .collect();
    makers.into_iter().try_for_each(|maker| maker.join().map_err(|_| "A client failed.".to_owned())?)
}

/// A number of the gateway's, over all APIs.
pub(super) fn count(gateway: &Gateway, name: &str) -> Result<u64, String> {
    let metrics = Connection::open(&gateway.management)?.done("GET", "/metrics", ADMIN, "")?;
    let lines = metrics.lines().filter_map(|line| line.strip_prefix("sluice_")?.strip_prefix(name));
    let values = lines.filter_map(|rest| rest.rsplit(' ').next()?.parse::<u64>().ok());
    values.reduce(|sum, value| sum + value).ok_or_else(|| format!("There is no counter '{name}'."))
}

fn wait_for(what: &str, mut done: impl FnMut() -> Result<bool, String>) -> Result<(), String> {
    let begin = Instant::now();
    while begin.elapsed() < PATIENCE {
        if done()? {
            return Ok(());
        }
        thread::sleep(Duration::from_millis(1));
    }
    Err(format!("Not within {PATIENCE:?}: {what}."))
}

/// All subscribers at one address: confirm what the hub asks, and take what it brings.
struct Subscribers {
    address: String,
    taken: Arc<AtomicU64>,
}

impl Subscribers {
    fn start() -> Result<Self, String> {
        let fault = |error| format!("No address for subscribers: {error}.");
        let listener = TcpListener::bind("127.0.0.1:0").map_err(fault)?;
        let address = listener.local_addr().map_err(fault)?.to_string();
        let taken = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&taken);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let counter = Arc::clone(&counter);
                // A connection that ends badly is one that the gateway counts as failed.
                thread::spawn(move || serve(stream, &counter).ok());
            }
        });
        Ok(Self { address, taken })
    }

    fn taken(&self) -> u64 {
        self.taken.load(Ordering::Relaxed)
    }
}

fn serve(stream: TcpStream, taken: &AtomicU64) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut stream = BufReader::new(stream);
    let (mut line, mut body) = (String::new(), Vec::new());
    loop {
        line.clear();
        if stream.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let challenge = line.split(['?', '&', ' ']).find_map(|part| part.strip_prefix("hub.challenge="));
        let answer = challenge.unwrap_or_default().to_owned();
        let is_message = line.starts_with("POST");
        let mut length = 0;
        loop {
            line.clear();
            stream.read_line(&mut line)?;
            if line.trim_end().is_empty() {
                break;
            }
            if let Some((name, value)) = line.split_once(':')
                && name.eq_ignore_ascii_case("content-length")
            {
                length = value.trim().parse().unwrap_or(0);
            }
        }
        body.resize(length, 0);
        stream.read_exact(&mut body)?;
        let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{answer}", answer.len());
        stream.get_mut().write_all(answer.as_bytes())?;
        taken.fetch_add(u64::from(is_message), Ordering::Relaxed);
    }
}
