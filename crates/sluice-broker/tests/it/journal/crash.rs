//! A process that is killed in the middle of reading: what it acknowledged to the broker is in the journal.
//!
//! The test is the broker: it writes messages to the process, which answers with acknowledgements.

use std::{
    collections::HashMap,
    env,
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Command, Stdio},
    sync::Arc,
};

use futures_util::{FutureExt, future::BoxFuture};
use sluice_api::ApiId;
use sluice_broker::{
    BatchLimit, Bounds, BrokerDriver, Capabilities, ConsumeSpec, Consumer, DriverError, ErrorKind, Journal,
    JournalMetrics, Journals, LogOptions, Receipt, StartAt, StopAt,
};
use sluice_message::{Message, Offset, Partition, Place, Position, Topic};
use tokio::sync::mpsc;

use super::{next_payloads, read_from, settings};

const DIRECTORY: &str = "SLUICE_TEST_JOURNAL_DIRECTORY";
const TOPIC: &str = "numbers/#";
/// Messages that the broker hands out without an acknowledgement.
const CREDIT: usize = 50;

/// The broker at the other end of standard input and output; without a line it is silent.
struct Pipe {
    lines: tokio::sync::Mutex<Option<mpsc::Receiver<String>>>,
}

struct PipeReader {
    lines: mpsc::Receiver<String>,
    next: u64,
}

impl BrokerDriver for Pipe {
    fn capabilities(&self) -> Capabilities {
        Capabilities { replay: false, sharing: false, ..Capabilities::ALL }
    }

    fn identity(&self) -> BoxFuture<'_, Result<String, DriverError>> {
        async { Ok("pipe".to_owned()) }.boxed()
    }

    fn publish<'a>(&'a self, _: &'a Topic, _: Message) -> BoxFuture<'a, Result<Receipt, DriverError>> {
        async { Err(DriverError::new(ErrorKind::Unsupported, "Only for reading.")) }.boxed()
    }

    fn consume(&self, _: ConsumeSpec) -> BoxFuture<'_, Result<Box<dyn Consumer>, DriverError>> {
        async {
            let lines = self.lines.lock().await.take();
            let lines = lines.ok_or_else(|| DriverError::new(ErrorKind::Unreachable, "There is no line."))?;
            Ok(Box::new(PipeReader { lines, next: 0 }) as Box<dyn Consumer>)
        }
        .boxed()
    }

    fn bounds<'a>(&'a self, _: &'a [Topic]) -> BoxFuture<'a, Result<Bounds, DriverError>> {
        async { Err(DriverError::new(ErrorKind::Unsupported, "There are no offsets.")) }.boxed()
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        async {}.boxed()
    }
}

impl Consumer for PipeReader {
    fn fetch<'a>(
        &'a mut self,
        batch: &'a mut Vec<Message>,
        limit: BatchLimit,
    ) -> BoxFuture<'a, Result<(), DriverError>> {
        async move {
            let mut lines = Vec::new();
            self.lines.recv_many(&mut lines, limit.messages).await;
            for line in lines {
                let place =
                    Place { topic: Topic::from(TOPIC), partition: Partition(0), offset: Offset(self.next) };
                batch.push(Message::builder().payload(line).place(place).build());
                self.next += 1;
            }
            Ok(())
        }
        .boxed()
    }

    fn commit<'a>(&'a mut self, position: &'a Position) -> BoxFuture<'a, Result<(), DriverError>> {
        let next = position.next(&Topic::from(TOPIC), Partition(0)).unwrap();
        println!("\nacknowledged {} .", next.0);
        async { Ok(()) }.boxed()
    }
}

fn open(directory: &Path, lines: Option<mpsc::Receiver<String>>) -> (Journals, Arc<Journal>) {
    let journals = Journals::new(directory.join("journal"), LogOptions::default());
    let driver = Arc::new(Pipe { lines: tokio::sync::Mutex::new(lines) });
    let (api, topics) = (ApiId("a".to_owned()), [Topic::from(TOPIC)]);
    let journal =
        journals.journal(&api, &settings("pipe"), driver, &topics, JournalMetrics::default()).unwrap();
    (journals, journal)
}

#[tokio::test]
async fn what_a_killed_process_acknowledged_to_the_broker_is_in_the_journal_in_order() {
    let directory = tempfile::tempdir().unwrap();
    let mut acknowledged = 0;
    for round in 0..6 {
        acknowledged = serve_and_kill(directory.path(), acknowledged, 300 + 137 * round);
    }
    let (_journals, journal) = open(directory.path(), None);
    let spec = ConsumeSpec { topics: vec![Topic::from(TOPIC)], start: StartAt::Earliest, stop: StopAt::End };
    let mut reader = journal.consume(spec).await.unwrap();
    let mut found = Vec::new();
    loop {
        let before = found.len();
        reader.fetch(&mut found, BatchLimit { messages: 500, bytes: 1 << 20 }).await.unwrap();
        if found.len() == before {
            break;
        }
    }
    // Where each message came first: a repeat is allowed, and brings nothing before its time.
    let mut first: HashMap<u64, usize> = HashMap::new();
    for (place, message) in found.iter().enumerate() {
        let number = String::from_utf8_lossy(message.payload()).parse().unwrap();
        first.entry(number).or_insert(place);
    }
    let mut last = None;
    for number in 0..acknowledged {
        let place = *first.get(&number).unwrap_or_else(|| panic!("{number} is lost"));
        assert!(last.is_none_or(|last| last < place), "{number} was overtaken");
        last = Some(place);
    }
    assert!(acknowledged >= 6 * 300);
}

/// Hands the messages from this number on to [`journals_until_it_is_killed`] in a process of its own, as many at a
/// time as the broker has credit for, and kills it after so many acknowledgements. The first number that is not
/// acknowledged.
fn serve_and_kill(directory: &Path, first: u64, count: u64) -> u64 {
    let mut child = Command::new(env::current_exe().unwrap())
        .args(["--exact", "journal::crash::journals_until_it_is_killed", "--ignored", "--nocapture"])
        .env(DIRECTORY, directory)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    let (mut acknowledged, mut sent) = (first, first);
    for line in BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok) {
        match line.split(' ').collect::<Vec<_>>()[..] {
            ["acknowledged", next, "."] => acknowledged = first + next.parse::<u64>().unwrap(),
            ["begin"] => {}
            _ => continue,
        }
        if acknowledged >= first + count {
            // What was on its way is read on, as the broker would: it came before the end.
            let _ = child.kill();
            continue;
        }
        while sent < acknowledged + CREDIT as u64 {
            let _ = writeln!(input, "{sent}");
            sent += 1;
        }
    }
    child.wait().unwrap();
    assert!(acknowledged >= first + count, "the process ended by itself");
    acknowledged
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "runs in the process that another test kills"]
async fn journals_until_it_is_killed() {
    let (sender, lines) = mpsc::channel(CREDIT);
    std::thread::spawn(move || {
        for line in std::io::stdin().lines() {
            sender.blocking_send(line.unwrap()).unwrap();
        }
    });
    let (_journals, journal) = open(Path::new(&env::var(DIRECTORY).unwrap()), Some(lines));
    println!("\nbegin");
    let mut reader = read_from(&journal, &[TOPIC], StartAt::Latest).await;
    loop {
        next_payloads(&mut *reader, 1).await;
    }
}
