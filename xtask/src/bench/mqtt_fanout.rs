//! `cargo xtask bench mqtt-fanout`: ten thousand SSE clients on one MQTT wildcard, and how many sessions that takes at
//! the broker.

use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    path::Path,
    thread,
    time::Instant,
};

use super::{client::Connection, hub::count, report, start_with, ticks_per_second};
use crate::broker::{Broker, Brokers};

const CLIENTS: usize = 10_000;
/// Threads that read; each has so many of the clients.
const READERS: usize = 2;
/// What the wildcard stands for.
const TOPICS: [&str; 5] = [
    "sensors/roof/temp",
    "sensors/cellar/temp",
    "sensors/hall/temp",
    "sensors/yard/temp",
    "sensors/attic/temp",
];
/// In one round, over all topics: few enough that a client's socket holds them until its turn.
const MESSAGES: usize = 20;
const ROUNDS: usize = 7;
const PAYLOAD: usize = 1024;

pub(super) fn measure(directory: &Path) -> Result<(), String> {
    let brokers = Brokers::start(&[Broker::Mosquitto], None)?;
    let address = brokers.variables().iter().find(|(name, _)| *name == "SLUICE_TEST_MQTT");
    let (_, address) = address.ok_or("Mosquitto has no address.")?;
    let port = address.rsplit(':').next().and_then(|port| port.parse().ok());
    let port: u16 = port.ok_or("Mosquitto has no port.")?;
    let api = format!(
        r#"{{"name":"Sensors","paths":[{{"path":"/temperatures"}}],"receivers":[{{"type":"sse"}}],
"brokers":[{{"type":"mqtt5","configuration":{{"serverHost":"127.0.0.1","serverPort":{port},
"consumer":{{"topic":"sensors/+/temp"}}}}}}],"plans":[{{"name":"Open","security":{{"type":"key-less"}}}}]}}"#
    );
    let (gateway, _) = start_with(directory, &api, "{}\n")?;
    // The first client brings the connection to the broker.
    let mut clients = vec![Connection::events(&gateway.address, "/temperatures", "")?];
    let idle = gateway.resident_mib()?;
    while clients.len() < CLIENTS {
        clients.push(Connection::events(&gateway.address, "/temperatures", "")?);
    }
    let memory = (gateway.resident_mib()? - idle) * 1024.0 / CLIENTS as f64;
    println!("{CLIENTS} SSE clients on sensors/+/temp, messages of {PAYLOAD} B to {} topics", TOPICS.len());
    report("sessions at the broker", "", &[connections_to(port)? as f64]);
    report("  readers of the gateway", "", &[count(&gateway, "hub_consumers")? as f64]);
    report("memory of a client, idle", "KiB", &[memory]);
    let (mut publisher, ticks) = (Publisher::connect(address)?, ticks_per_second()?);
    let (mut rates, mut cpu) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let (begin, busy) = (Instant::now(), gateway.cpu_seconds(ticks)?);
        for (number, topic) in (0..MESSAGES).zip(TOPICS.iter().cycle()) {
            publisher.publish(topic, &format!("{number} {}", "x".repeat(PAYLOAD)))?;
        }
        read_all(&mut clients)?;
        let deliveries = (CLIENTS * MESSAGES) as f64;
        rates.push(deliveries / begin.elapsed().as_secs_f64());
        cpu.push((gateway.cpu_seconds(ticks)? - busy) * 1_000_000.0 / deliveries);
    }
    report("deliveries, every message to every client", "/s", &rates);
    report("  processor time of the gateway for a delivery", "µs", &cpu);
    let memory = (gateway.resident_mib()? - idle) * 1024.0 / CLIENTS as f64;
    report("memory of a client, afterwards", "KiB", &[memory]);
    // One more than before: the publisher.
    report("connections to the broker, afterwards", "", &[connections_to(port)? as f64]);
    Ok(())
}

/// Has every client read the messages of a round, which have to be all, in order.
fn read_all(clients: &mut [Connection]) -> Result<(), String> {
    thread::scope(|scope| {
        let parts = clients.chunks_mut(CLIENTS.div_ceil(READERS));
        let readers: Vec<_> =
            parts.map(|part| scope.spawn(move || part.iter_mut().try_for_each(read_round))).collect();
        let mut joined = readers.into_iter().map(thread::ScopedJoinHandle::join);
        joined.try_for_each(|read| read.map_err(|_| "A reader failed.".to_owned())?)
    })
}

fn read_round(client: &mut Connection) -> Result<(), String> {
    let mut line = String::new();
    for number in 0..MESSAGES {
        let data = loop {
            client.line(&mut line)?;
            if let Some(data) = line.strip_prefix("data: ") {
                break data;
            }
        };
        if data.split(' ').next().and_then(|word| word.parse().ok()) != Some(number) {
            return Err(format!("A client got '{data}' where message {number} of the round was due."));
        }
    }
    Ok(())
}

/// Connections of clients on this machine to this port of it, as the system counts them.
fn connections_to(port: u16) -> Result<usize, String> {
    const ESTABLISHED: &str = "01";
    let table = fs::read_to_string("/proc/net/tcp").map_err(|error| format!("/proc/net/tcp: {error}."))?;
    let port = format!(":{port:04X}");
    let is_one = |line: &&str| {
        let columns: Vec<&str> = line.split_whitespace().collect();
        matches!(&*columns, [_, _, remote, ESTABLISHED, ..] if remote.ends_with(&port))
    };
    Ok(table.lines().filter(is_one).count())
}

/// As much MQTT 3.1.1 as publishing takes: one message at a time, each acknowledged before the next.
struct Publisher(TcpStream);

impl Publisher {
    fn connect(address: &str) -> Result<Self, String> {
        let stream = TcpStream::connect(address).map_err(|error| format!("{address}: {error}."))?;
        let mut publisher = Self(stream);
        // Level 4, a clean session, no keep-alive, no name.
        publisher.exchange(b"\x10\x0c\0\x04MQTT\x04\x02\0\0\0\0", [0x20, 2, 0, 0])?;
        Ok(publisher)
    }

    fn publish(&mut self, topic: &str, payload: &str) -> Result<(), String> {
        const NUMBER: [u8; 2] = [0, 1];
        let mut packet = vec![0x32];
        let mut left = 2 + topic.len() + NUMBER.len() + payload.len();
        while left > 0 {
            let more = if left > 127 { 128 } else { 0 };
            packet.push(u8::try_from(left % 128).unwrap_or_default() | more);
            left /= 128;
        }
        packet.extend(u16::try_from(topic.len()).unwrap_or(u16::MAX).to_be_bytes());
        packet.extend(topic.bytes().chain(NUMBER).chain(payload.bytes()));
        self.exchange(&packet, [0x40, 2, 0, 1])
    }

    /// Sends a packet, which has to be answered so.
    fn exchange(&mut self, packet: &[u8], expected: [u8; 4]) -> Result<(), String> {
        let mut answer = [0; 4];
        let exchanged = self.0.write_all(packet).and_then(|()| self.0.read_exact(&mut answer));
        exchanged.map_err(|error| format!("Publishing by MQTT failed: {error}."))?;
        if answer == expected { Ok(()) } else { Err(format!("The broker answered {answer:?}.")) }
    }
}
