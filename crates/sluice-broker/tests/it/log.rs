//! The driver suite against the embedded log.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use futures_util::{FutureExt, future::BoxFuture};
use sluice_broker::{
    BatchLimit, BrokerDriver, ConsumeSpec, Log, LogOptions, StartAt, StopAt, conformance::Subject,
    conformance_suite,
};
use sluice_message::{Message, Topic};
use tempfile::TempDir;

struct LogSubject {
    directory: TempDir,
    topics: AtomicUsize,
}

impl LogSubject {
    fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap(), topics: AtomicUsize::new(0) }
    }
}

impl Subject for LogSubject {
    fn driver(&self) -> BoxFuture<'_, Arc<dyn BrokerDriver>> {
        async {
            Arc::new(Log::open(&self.directory, LogOptions::default()).unwrap()) as Arc<dyn BrokerDriver>
        }
        .boxed()
    }

    fn topic<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Topic> {
        let number = self.topics.fetch_add(1, Ordering::SeqCst);
        async move { Topic::from(format!("{name}-{number}")) }.boxed()
    }

    fn missing_topic(&self) -> Topic {
        Topic::from("missing")
    }

    fn makes_topics(&self) -> bool {
        true
    }

    fn too_large(&self) -> usize {
        LogOptions::default().max_message_bytes + 1
    }
}

conformance_suite!(LogSubject::new());

#[tokio::test]
async fn the_largest_message_comes_through() {
    let directory = tempfile::tempdir().unwrap();
    let log = Log::open(&directory, LogOptions::default()).unwrap();
    let overhead = Message::builder().build().size();
    let size = LogOptions::default().max_message_bytes - overhead;
    let topic = Topic::from("t");
    log.publish(&topic, Message::builder().payload(vec![b'x'; size]).build()).await.unwrap();
    let spec = ConsumeSpec { topics: vec![topic], start: StartAt::Earliest, stop: StopAt::End };
    let mut batch = Vec::new();
    let mut reader = log.consume(spec).await.unwrap();
    reader.fetch(&mut batch, BatchLimit { messages: 1, bytes: 1 }).await.unwrap();
    assert_eq!(batch[0].payload().len(), size);
}

#[tokio::test]
async fn each_directory_is_a_log_of_its_own_and_so_is_one_that_was_deleted() {
    let mut known = std::collections::HashSet::new();
    let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    for directory in [&one, &other, &one] {
        let log = Log::open(directory, LogOptions::default()).unwrap();
        assert!(known.insert(log.identity().await.unwrap()), "{known:?}");
        log.close().await;
        std::fs::remove_dir_all(directory).unwrap();
    }
}

#[tokio::test]
async fn one_directory_is_open_once() {
    let directory = tempfile::tempdir().unwrap();
    let log = Log::open(&directory, LogOptions::default()).unwrap();
    let error = Log::open(&directory, LogOptions::default()).unwrap_err();
    assert_eq!(error.code(), "broker.configuration");
    log.close().await;
    Log::open(&directory, LogOptions::default()).unwrap().close().await;
}

#[tokio::test]
async fn names_that_are_no_topic_and_too_many_topics_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let log = Log::open(&directory, LogOptions { max_topics: 2, ..LogOptions::default() }).unwrap();
    let message = || Message::builder().payload("m").build();
    for name in ["", ".", "..", "a/b", "a\0b", "ä", &"x".repeat(241)] {
        let error = log.publish(&Topic::from(name), message()).await.unwrap_err();
        assert_eq!(error.code(), "broker.configuration", "{name:?}");
    }
    for name in ["one", "two", "one"] {
        log.publish(&Topic::from(name), message()).await.unwrap();
    }
    let error = log.publish(&Topic::from("three"), message()).await.unwrap_err();
    assert_eq!(error.code(), "broker.configuration");
}
