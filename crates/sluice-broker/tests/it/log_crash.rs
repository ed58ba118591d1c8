//! A process that writes to the log is killed at any moment: what it acknowledged is there. A last write that
//! reached the disk in part is forgotten.

use std::{
    collections::BTreeMap,
    env,
    fs::{self, File},
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use sluice_broker::{BatchLimit, BrokerDriver, ConsumeSpec, Log, LogOptions, StartAt, StopAt};
use sluice_message::{Message, Topic};
use tokio::task::JoinSet;

const DIRECTORY: &str = "SLUICE_TEST_LOG_DIRECTORY";
const ROUND: &str = "SLUICE_TEST_ROUND";
const TOPICS: [&str; 2] = ["one", "two"];

#[tokio::test]
async fn what_a_killed_process_acknowledged_is_there() {
    let directory = tempfile::tempdir().unwrap();
    let mut acknowledged = BTreeMap::new();
    for round in 0..5 {
        write_and_be_killed(directory.path(), round, 300 + 100 * round, &mut acknowledged);
        let log = Log::open(&directory, LogOptions::default()).unwrap();
        for topic in TOPICS {
            let found = read_all(&log, topic).await;
            for (number, message) in found.iter().enumerate() {
                assert_eq!(message.place().unwrap().offset.0, number as u64, "offsets go on without a gap");
            }
            for ((_, offset), payload) in acknowledged.iter().filter(|((of, _), _)| of == topic) {
                let found = found.get(*offset).map(Message::payload);
                assert_eq!(found, Some(payload.as_bytes()), "round {round}, {topic} {offset}");
            }
        }
        log.close().await;
    }
    assert!(acknowledged.len() >= 5 * 300);
}

#[tokio::test]
async fn a_last_write_that_reached_the_disk_in_part_is_forgotten_and_the_log_goes_on() {
    let original = tempfile::tempdir().unwrap();
    let log = Log::open(&original, LogOptions::default()).unwrap();
    for _ in 0..3 {
        publish(&log).await;
    }
    for missing in [1, 12, 20, 600] {
        // What follows the last write in the file: nothing, or the zeros with which it was made.
        for zeros in [false, true] {
            let directory = tempfile::tempdir().unwrap();
            copy(original.path(), directory.path());
            tear(&newest_journal(directory.path()), missing, zeros);
            for expected in [2, 3] {
                let log = Log::open(&directory, LogOptions::default()).unwrap();
                assert_eq!(read_all(&log, TOPICS[0]).await.len(), expected, "{missing} bytes, {zeros}");
                assert_eq!(publish(&log).await, expected as u64);
                log.close().await;
            }
        }
    }
}

async fn publish(log: &Log) -> u64 {
    let message = Message::builder().payload(vec![b'x'; 1000]).build();
    log.publish(&Topic::from(TOPICS[0]), message).await.unwrap().place.unwrap().offset.0
}

/// Copies what a killed process would leave behind.
fn copy(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            fs::create_dir(&to).unwrap();
            copy(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}

fn newest_journal(directory: &Path) -> PathBuf {
    let files = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let journals = files.filter(|path| path.extension().is_some_and(|extension| extension == "jnl"));
    journals.max_by_key(|path| path.file_stem()?.to_str()?.parse::<u64>().ok()).unwrap()
}

/// Takes the last bytes that were written off the file.
fn tear(journal: &Path, missing: u64, zeros: bool) {
    let bytes = fs::read(journal).unwrap();
    let end = bytes.iter().rposition(|byte| *byte != 0).unwrap() as u64 + 1;
    let file = File::options().write(true).open(journal).unwrap();
    file.set_len(end - missing).unwrap();
    if zeros {
        file.set_len(bytes.len() as u64).unwrap();
    }
}

/// Runs [`publishes_until_it_is_killed`] in a process of its own, kills it after so many acknowledgements and
/// collects them all: topic and offset, with the payload.
fn write_and_be_killed(
    directory: &Path,
    round: usize,
    count: usize,
    acknowledged: &mut BTreeMap<(String, usize), String>,
) {
    let mut child = Command::new(env::current_exe().unwrap())
        .args(["--exact", "log_crash::publishes_until_it_is_killed", "--ignored", "--nocapture"])
        .env(DIRECTORY, directory)
        .env(ROUND, round.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut seen = 0;
    for line in lines.map_while(Result::ok) {
        let words: Vec<_> = line.split(' ').collect();
        if let ["acknowledged", topic, offset, payload, "."] = words[..] {
            let before = acknowledged.insert((topic.to_owned(), offset.parse().unwrap()), payload.to_owned());
            assert_eq!(before, None, "an offset was used twice");
            seen += 1;
        }
        if seen == count {
            child.kill().unwrap();
        }
    }
    assert!(seen >= count, "the writer ended by itself after {seen} messages");
    child.wait().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "runs in the process that another test kills"]
async fn publishes_until_it_is_killed() {
    let log = Log::open(env::var(DIRECTORY).unwrap(), LogOptions::default()).unwrap();
    let round = env::var(ROUND).unwrap();
    let mut publishers = JoinSet::new();
    for publisher in 0..8 {
        let (log, round) = (log.clone(), round.clone());
        publishers.spawn(async move {
            let name = TOPICS[publisher % 2];
            let topic = Topic::from(name);
            for number in 0.. {
                let payload = format!("{round}/{publisher}/{number}");
                let message = Message::builder().payload(payload.clone()).build();
                let offset = log.publish(&topic, message).await.unwrap().place.unwrap().offset.0;
                println!("\nacknowledged {name} {offset} {payload} .");
            }
        });
    }
    publishers.join_all().await;
}

async fn read_all(log: &Log, topic: &str) -> Vec<Message> {
    let spec = ConsumeSpec { topics: vec![Topic::from(topic)], start: StartAt::Earliest, stop: StopAt::End };
    let mut reader = log.consume(spec).await.unwrap();
    let mut found = Vec::new();
    loop {
        let before = found.len();
        reader.fetch(&mut found, BatchLimit { messages: 500, bytes: 1 << 20 }).await.unwrap();
        if found.len() == before {
            return found;
        }
    }
}
