//! A disk that takes no more bytes: nothing is acknowledged to the broker, nothing is lost, and all is well once there
//! is room.
//!
//! The kernel plays the full disk: files of the process may not grow beyond a limit, which is set and lifted from
//! outside while it runs.

use std::{
    env,
    io::{BufRead, BufReader, Write},
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};

use sluice_api::ApiId;
use sluice_broker::{BrokerDriver, ErrorKind, JournalMetrics, Journals, LogOptions, StartAt};
use sluice_message::Topic;

use super::{Broker, message, named, next_payloads, read_from, settings};

const DIRECTORY: &str = "SLUICE_TEST_JOURNAL_DISK";
const COUNT: usize = 250;

#[test]
fn a_full_disk_holds_messages_back_at_the_broker_as_long_as_it_is_full() {
    let directory = tempfile::tempdir().unwrap();
    // A process that ignores the signal is told of the limit by an error, as of a full disk.
    let mut child = Command::new("sh")
        .args(["-c", "trap '' XFSZ; exec \"$0\" \"$@\""])
        .arg(env::current_exe().unwrap())
        .args(["--exact", "journal::disk::journals_on_a_disk_that_fills", "--ignored", "--nocapture"])
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
async fn journals_on_a_disk_that_fills() {
    let broker = Arc::new(Broker::default());
    let journals = Journals::new(env::var(DIRECTORY).unwrap().into(), LogOptions::default());
    let (api, topics, metrics) = (ApiId("a".to_owned()), [Topic::from("t")], JournalMetrics::default());
    let journal =
        journals.journal(&api, &settings("one"), broker.connect(), &topics, metrics.clone()).unwrap();
    let mut reader = read_from(&journal, &["t"], StartAt::Earliest).await;
    broker.put("t", &message("before"));
    assert_eq!(next_payloads(&mut *reader, 1).await, ["before"]);
    broker.until(|broker| broker.kept() == 0).await;
    ask("fill the disk");
    for number in 0..COUNT {
        broker.put("t", &message(&number.to_string()));
    }
    while metrics.errors.get() < 2 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(broker.kept(), COUNT, "nothing is acknowledged that the disk does not have");
    let error = journal.check(&named(&["t"])).await.unwrap_err();
    assert!(error.kind == ErrorKind::Storage && error.message.contains("The topic t is not read"), "{error}");
    let mut again = read_from(&journal, &["t"], StartAt::Earliest).await;
    assert_eq!(next_payloads(&mut *again, 1).await, ["before"]);
    ask("make room");
    let recovered = tokio::time::timeout(Duration::from_secs(60), broker.until(|broker| broker.kept() == 0));
    recovered.await.expect("the journal recovers");
    let mut found: Vec<usize> = Vec::new();
    while found.last().is_none_or(|last| last + 1 < COUNT) {
        found.extend(
            next_payloads(&mut *reader, 1).await.iter().map(|payload| payload.parse::<usize>().unwrap()),
        );
    }
    // What was refused may have been written all the same, and then comes again.
    let mut first: Vec<usize> = Vec::new();
    for number in found {
        if !first.contains(&number) {
            first.push(number);
        }
    }
    assert_eq!(first, (0..COUNT).collect::<Vec<_>>());
    journal.check(&named(&["t"])).await.unwrap();
}

/// Asks the test that started this process for something and waits until it is done.
fn ask(what: &str) {
    println!("\n{what}");
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer).unwrap();
}
