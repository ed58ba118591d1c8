//! `cargo xtask bench quick`: the few figures that tell whether something got much worse.
//!
//! It measures the shipped command as a whole process from outside. Nothing is judged: figures are printed with
//! their spread, for a person to compare on the same machine.

use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    path::Path,
    process::{Command, ExitCode},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use crate::{
    gateway::{Gateway, Start},
    kafka::Kafka,
    run,
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

/// Builds the command as it is shipped, measures, prints.
pub(crate) fn quick() -> Result<ExitCode, String> {
    eprintln!("xtask: building with the release profile");
    run::output(run::cargo().args(["build", "--release", "--package", "sluice"]))?;
    let directory = std::env::temp_dir().join(format!("sluice-bench-{}", std::process::id()));
    fs::create_dir_all(&directory).map_err(|error| format!("{}: {error}.", directory.display()))?;
    let measured = measure(&directory);
    // What cannot be removed is left to the system's tidying.
    let _ = fs::remove_dir_all(&directory);
    measured.map(|()| ExitCode::SUCCESS)
}

fn measure(directory: &Path) -> Result<(), String> {
    println!("{}", machine());
    eprintln!("xtask: {STARTS} starts");
    let binary = run::target().join("release/sluice");
    let dev = Start { binary: &binary, directory, arguments: vec!["dev".into()] };
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

    let kafka = Kafka::start(None)?;
    kafka.make_topic(TOPIC)?;
    let api = directory.join("kafka.json");
    fs::write(&api, kafka_api(&kafka.plain_address()))
        .map_err(|error| format!("{}: {error}.", api.display()))?;
    eprintln!("xtask: POST to Kafka");
    let arguments = vec!["run".into(), "--api".into(), api.display().to_string()];
    load(&Start { binary: &binary, directory, arguments }, "Kafka, acks=all, one node", "/bench")
}

/// What the system says about the process.
impl Gateway {
    fn resident_mib(&self) -> Result<f64, String> {
        let status = self.proc_file("status")?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<f64>().ok());
        kib.map(|kib| kib / 1024.0).ok_or_else(|| "No VmRSS in /proc.".to_owned())
    }

    /// Seconds of processor time used so far, in user and kernel mode.
    fn cpu_seconds(&self, ticks_per_second: f64) -> Result<f64, String> {
        let stat = self.proc_file("stat")?;
        // Fields 14 and 15; the second, a name in parentheses, may hold spaces.
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        let field = |index: usize| fields.get(index).and_then(|field| field.parse::<f64>().ok());
        match (field(11), field(12)) {
            (Some(user), Some(system)) => Ok((user + system) / ticks_per_second),
            _ => Err("/proc/…/stat is not as expected.".to_owned()),
        }
    }

    fn proc_file(&self, name: &str) -> Result<String, String> {
        let path = format!("/proc/{}/{name}", self.id());
        fs::read_to_string(&path).map_err(|error| format!("{path}: {error}."))
    }
}

/// Posts from several connections for some time, several times; prints throughput and processor time.
fn load(start: &Start<'_>, broker: &str, path: &str) -> Result<(), String> {
    let gateway = start.start()?;
    let ticks = run::output(Command::new("getconf").arg("CLK_TCK"))?.trim().parse::<f64>();
    let ticks = ticks.map_err(|error| format!("getconf CLK_TCK: {error}."))?;
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

fn report(what: &str, unit: &str, figures: &[f64]) {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    let (Some(min), Some(max)) = (sorted.first(), sorted.last()) else { return };
    let median = sorted[sorted.len() / 2];
    println!("{what:<56} {median:>9.1} {unit:<11} ({min:.1} to {max:.1}, {} runs)", sorted.len());
}

/// What the figures were measured on.
fn machine() -> String {
    let cpus = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpus.lines().find_map(|line| line.strip_prefix("model name")?.split(": ").nth(1));
    let cores = thread::available_parallelism().map_or(0, usize::from);
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    format!("{cores} cores, {}, Linux {}", model.unwrap_or("unknown processor"), kernel.trim())
}

fn kafka_api(address: &str) -> String {
    format!(
        r#"{{"name":"Bench","paths":[{{"path":"/bench"}}],"receivers":[{{"type":"http-post"}}],
"brokers":[{{"type":"kafka","configuration":{{"bootstrapServers":"{address}","topics":["{TOPIC}"]}}}}],
"plans":[{{"name":"Open","security":{{"type":"key-less"}}}}]}}"#
    )
}
