//! A disk that takes no more bytes: publishing fails, reading goes on, and all is well once there is room.
//!
//! The kernel plays the full disk: files of the process may not grow beyond a limit, which is set and lifted
//! from outside while it runs.

use std::{
    env,
    io::{BufRead, BufReader, Write},
    process::{Command, Stdio},
    time::Duration,
};

use sluice_broker::{BatchLimit, BrokerDriver, ConsumeSpec, ErrorKind, Log, LogOptions, StartAt, StopAt};
use sluice_message::{Message, Topic};

const DIRECTORY: &str = "SLUICE_TEST_LOG_DIRECTORY";

#[test]
fn a_full_disk_fails_publishing_only_and_only_as_long_as_it_is_full() {
    let directory = tempfile::tempdir().unwrap();
    // A process that ignores the signal is told of the limit by an error, as of a full disk.
    let mut child = Command::new("sh")
        .args(["-c", "trap '' XFSZ; exec \"$0\" \"$@\""])
        .arg(env::current_exe().unwrap())
        .args(["--exact", "log_disk::publishes_to_a_disk_that_fills", "--ignored", "--nocapture"])
        .env(DIRECTORY, directory.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let id = child.id().to_string();
    let limit = |bytes: &str| {
        let set =
            Command::new("prlimit").args(["--pid", &id, &format!("--fsize={bytes}:unlimited")]).status();
        assert!(set.expect("prlimit, of util-linux, is installed").success());
    };
    let mut answers = child.stdin.take().unwrap();
    for line in BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok) {
        match &*line {
            "fill the disk" => limit("1"),
            "make room" => limit("unlimited"),
            _ => continue,
        }
        writeln!(answers, "done").unwrap();
    }
    assert!(child.wait().unwrap().success());
}

#[tokio::test]
#[ignore = "runs in the process whose disk another test fills"]
async fn publishes_to_a_disk_that_fills() {
    let log = Log::open(env::var(DIRECTORY).unwrap(), LogOptions::default()).unwrap();
    let topic = Topic::from("t");
    let publish = async |payload: &str| {
        log.publish(&topic, Message::builder().payload(payload.to_owned()).build()).await
    };
    let spec = ConsumeSpec { topics: vec![topic.clone()], start: StartAt::Earliest, stop: StopAt::Never };
    publish("before").await.unwrap();
    ask("fill the disk");
    for _ in 0..3 {
        assert_eq!(publish("refused").await.unwrap_err().kind, ErrorKind::Storage);
    }
    let mut reader = log.consume(spec.clone()).await.unwrap();
    assert_eq!(read(&mut *reader).await, ["before"]);
    ask("make room");
    let recovered = async {
        while publish("after").await.is_err() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), recovered).await.expect("the log recovers");
    let mut found = Vec::new();
    while found.last().is_none_or(|last| last != "after") {
        found.extend(read(&mut *reader).await);
    }
    // What was refused may have been written all the same, but once at the most.
    assert!(found.iter().filter(|payload| *payload == "refused").count() <= 3);
    log.close().await;
    let log = Log::open(env::var(DIRECTORY).unwrap(), LogOptions::default()).unwrap();
    let mut reader = log.consume(spec).await.unwrap();
    assert_eq!(read(&mut *reader).await.len(), 1 + found.len());
}

/// Asks the test that started this process for something and waits until it is done.
fn ask(what: &str) {
    println!("\n{what}");
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer).unwrap();
}

async fn read(reader: &mut dyn sluice_broker::Consumer) -> Vec<String> {
    let mut batch = Vec::new();
    reader.fetch(&mut batch, BatchLimit { messages: 100, bytes: 1 << 20 }).await.unwrap();
    batch.iter().map(|message| String::from_utf8_lossy(message.payload()).into_owned()).collect()
}
