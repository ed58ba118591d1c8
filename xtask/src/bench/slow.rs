//! `cargo xtask bench slow`: what a client costs that reads nothing, beside a thousand that do.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use super::{client::Connection, report, start_with};

const CLIENTS: usize = 1000;
const TIME: Duration = Duration::from_secs(600);
/// Between two looks at memory.
const STEP: Duration = Duration::from_secs(30);
const PAYLOAD: usize = 1024;
const RATE: u32 = 10;

/// The ring's bound is a megabyte, so that what is more than that shows.
const CONFIG: &str = "limits: { ringBytes: 1048576, writeTimeoutMs: 3600000 }\n";

const API: &str = r#"{"name":"Slow","paths":[{"path":"/slow"}],
"receivers":[{"type":"http-post"},{"type":"sse"}],
"brokers":[{"type":"log","configuration":{"topics":["slow"]}}],
"plans":[{"name":"Open","security":{"type":"key-less"}}]}"#;

pub(super) fn measure(directory: &Path) -> Result<(), String> {
    let (gateway, _) = start_with(directory, API, CONFIG)?;
    let (over, read) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let mut readers = Vec::new();
    for _ in 1..CLIENTS {
        let mut stream = Connection::events(&gateway.address, "/slow", "")?;
        let (over, read) = (Arc::clone(&over), Arc::clone(&read));
        let reader = thread::Builder::new().stack_size(64 << 10).spawn(move || {
            let mut line = String::new();
            while !over.load(Ordering::Relaxed) && stream.line(&mut line).is_ok() {
                if line.starts_with("data:") {
                    read.fetch_add(1, Ordering::Relaxed);
                }
            }
        });
        readers.push(reader.map_err(|error| format!("A client could not be started: {error}."))?);
    }
    let silent = Connection::events(&gateway.address, "/slow", "")?;
    let mut publisher = Connection::open(&gateway.address)?;
    let body = "x".repeat(PAYLOAD);
    let (begin, mut published, mut memory) = (Instant::now(), 0_u64, Vec::new());
    let mut next_look = STEP;
    while begin.elapsed() < TIME {
        publisher.done("POST", "/slow", "", &body)?;
        published += 1;
        thread::sleep(Duration::from_secs(1) / RATE);
        if begin.elapsed() >= next_look {
            next_look += STEP;
            memory.push(gateway.resident_mib()?);
            eprintln!(
                "xtask: {} s, {:.1} MiB",
                begin.elapsed().as_secs(),
                memory.last().copied().unwrap_or_default()
            );
        }
    }
    over.store(true, Ordering::Relaxed);
    let expected = published * (CLIENTS as u64 - 1);
    println!(
        "{published} messages of {PAYLOAD} B to {CLIENTS} SSE clients in {TIME:?}, one of which reads nothing"
    );
    println!("read by the others: {} of {expected}", read.load(Ordering::Relaxed));
    report("resident memory meanwhile", "MiB", &memory);
    drop(silent);
    drop(gateway);
    for reader in readers {
        // It ends with the gateway, if not before.
        let _ = reader.join();
    }
    Ok(())
}
