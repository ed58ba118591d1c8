//! `cargo xtask bench quick`: the few figures that tell whether something got much worse.

use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use super::{binary, report, ticks_per_second};
use crate::{
    certificates::Certificates,
    gateway::{ANYWHERE, Start},
    kafka::Kafka,
};

const STARTS: usize = 11;
const LOADS: usize = 5;
const LOAD_TIME: Duration = Duration::from_secs(5);
const CONNECTIONS: usize = 32;
const PAYLOAD: usize = 1024;
/// The topic of Kafka that is published to.
const TOPIC: &str = "bench";
/// How long after the start memory is looked at.
const IDLE: Duration = Duration::from_secs(2);

pub(super) fn measure(directory: &Path) -> Result<(), String> {
    eprintln!("xtask: {STARTS} starts");
    let binary = binary();
    let dev =
        Start { binary: &binary, directory, arguments: vec!["dev".into()], listen: ANYWHERE.to_owned() };
    drop(dev.start()?);
    let (mut ready, mut memory) = (Vec::new(), Vec::new());
    for _ in 0..STARTS {
        let gateway = dev.start()?;
        ready.push(gateway.ready_after.as_secs_f64() * 1000.0);
        thread::sleep(IDLE);
        memory.push(gateway.resident_mib()?);
    }
    report("exec to ready, `sluice dev`, existing data directory", "ms", &ready);
    report("resident memory, idle", "MiB", &memory);

    eprintln!("xtask: POST to the embedded log");
    load(&dev, "embedded log", "/data/ingestion")?;

    let certificates = Certificates::make()?;
    let kafka = Kafka::start(None, &certificates)?;
    kafka.make_topic(TOPIC)?;
    let api = directory.join("kafka.json");
    fs::write(&api, kafka_api(&kafka.plain_address()))
        .map_err(|error| format!("{}: {error}.", api.display()))?;
    eprintln!("xtask: POST to Kafka");
    let arguments = vec!["run".into(), "--api".into(), api.display().to_string()];
    load(
        &Start { binary: &binary, directory, arguments, listen: ANYWHERE.to_owned() },
        "Kafka, acks=all, one node",
        "/bench",
    )
}

/// Posts from several connections for some time, several times; prints throughput and processor time.
fn load(start: &Start<'_>, broker: &str, path: &str) -> Result<(), String> {
    let gateway = start.start()?;
    let ticks = ticks_per_second()?;
    // Connections, topics and caches are made before anything is counted.
    post_for(&gateway.address, path, Duration::from_secs(1))?;
    let (mut rates, mut cpu) = (Vec::new(), Vec::new());
    for _ in 0..LOADS {
        let before = gateway.cpu_seconds(ticks)?;
        let begin = Instant::now();
        let posted = post_for(&gateway.address, path, LOAD_TIME)?;
        rates.push(posted / begin.elapsed().as_secs_f64());
        cpu.push((gateway.cpu_seconds(ticks)? - before) / posted * 1e6);
    }
    report(&format!("POST {PAYLOAD} B, {CONNECTIONS} connections, {broker}"), "messages/s", &rates);
    report("  processor time of the gateway", "µs/message", &cpu);
    Ok(())
}

/// How many messages were acknowledged.
fn post_for(address: &str, path: &str, time: Duration) -> Result<f64, String> {
    let over = Arc::new(AtomicBool::new(false));
    let request = Arc::new(format!(
        "POST {path} HTTP/1.1\r\nHost: {address}\r\nContent-Length: {PAYLOAD}\r\n\r\n{}",
        "x".repeat(PAYLOAD)
    ));
    let clients: Vec<_> = (0..CONNECTIONS)
        .map(|_| {
            let (over, request, address) = (Arc::clone(&over), Arc::clone(&request), address.to_owned());
            thread::spawn(move || post_until(&over, &address, request.as_bytes()))
        })
        .collect();
    thread::sleep(time);
    over.store(true, Ordering::Relaxed);
    let mut posted = 0;
    for client in clients {
        posted += client.join().map_err(|_| "A client failed.".to_owned())??;
    }
    Ok(f64::from(posted))
}

fn post_until(over: &AtomicBool, address: &str, request: &[u8]) -> Result<u32, String> {
    let fault = |error: std::io::Error| format!("{address}: {error}.");
    let mut stream = TcpStream::connect(address).map_err(fault)?;
    stream.set_nodelay(true).map_err(fault)?;
    let (mut posted, mut buffer) = (0, [0; 1024]);
    while !over.load(Ordering::Relaxed) {
        stream.write_all(request).map_err(fault)?;
        let mut read = 0;
        while !buffer[..read].ends_with(b"\r\n\r\n") {
            let more = stream.read(&mut buffer[read..]).map_err(fault)?;
            if more == 0 {
                return Err(format!("{address}: the gateway closed the connection."));
            }
            read += more;
        }
        if !buffer.starts_with(b"HTTP/1.1 202") {
            return Err(format!("not acknowledged: {}", String::from_utf8_lossy(&buffer[..read])));
        }
        posted += 1;
    }
    Ok(posted)
}

fn kafka_api(address: &str) -> String {
    format!(
        r#"{{"name":"Bench","paths":[{{"path":"/bench"}}],"receivers":[{{"type":"http-post"}}],
"brokers":[{{"type":"kafka","configuration":{{"bootstrapServers":"{address}","topics":["{TOPIC}"]}}}}],
"plans":[{{"name":"Open","security":{{"type":"key-less"}}}}]}}"#
    )
}
