//! The mock broker.

use std::{sync::Arc, time::Duration};

use futures_util::{FutureExt, future::BoxFuture};
use sluice_api::{MockConfig, NameValue};
use sluice_broker::{
    BatchLimit, BrokerDriver, ConsumeSpec, Consumer, Mock, StartAt, StopAt, conformance::Subject,
    conformance_suite,
};
use sluice_message::{Message, Position, Topic};

struct MockSubject;

impl Subject for MockSubject {
    fn driver(&self) -> BoxFuture<'_, Arc<dyn BrokerDriver>> {
        async { Arc::new(mock(0, None)) as Arc<dyn BrokerDriver> }.boxed()
    }

    fn topic<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Topic> {
        async move { Topic::from(name) }.boxed()
    }

    fn missing_topic(&self) -> Topic {
        Topic::from("missing")
    }

    fn makes_topics(&self) -> bool {
        true
    }

    fn too_large(&self) -> usize {
        unreachable!("a mock takes messages of any size")
    }
}

// The other cases read what they published, which a mock forgets.
conformance_suite!(
    MockSubject,
    only a_broker_stays_the_same_over_restarts, publishing_after_close_fails_as_closed, what_is_not_claimed_is_refused, a_check_finds_what_is_there, only_a_group_commits, a_group_never_stops_at_the_end
);

fn mock(message_interval: u64, message_count: Option<u64>) -> Mock {
    let pair = |name: &str, value: &str| vec![NameValue { name: name.to_owned(), value: value.to_owned() }];
    Mock::new(MockConfig {
        message_interval,
        message_content: "message".to_owned(),
        message_count,
        headers: pair("header1", "headerValue1"),
        metadata: pair("metadata1", "metadataValue1"),
    })
}

async fn reader(mock: &Mock, start: StartAt) -> Box<dyn Consumer> {
    mock.consume(ConsumeSpec { topics: vec![Topic::from("mock")], start, stop: StopAt::Never }).await.unwrap()
}

async fn fetch(reader: &mut Box<dyn Consumer>, messages: usize) -> Vec<Message> {
    let mut batch = Vec::new();
    reader.fetch(&mut batch, BatchLimit { messages, bytes: 1 << 20 }).await.unwrap();
    batch
}

fn ids(messages: &[Message]) -> Vec<&str> {
    messages.iter().filter_map(Message::id).collect()
}

#[tokio::test]
async fn messages_are_numbered_and_carry_what_was_configured() {
    let mock = mock(0, None);
    let mut reader = reader(&mock, StartAt::Latest).await;
    let messages = fetch(&mut reader, 2).await;
    assert_eq!(ids(&messages), ["0", "1"]);
    assert_eq!(messages[1].payload(), b"message 1");
    assert_eq!(messages[0].headers().get("header1").unwrap(), "headerValue1");
    assert!(messages[0].metadata().any(|entry| entry == ("metadata1", "metadataValue1".into())));
}

#[tokio::test]
async fn each_reader_counts_for_itself_and_ends_after_the_last() {
    let mock = mock(0, Some(3));
    for _ in 0..2 {
        let mut reader = reader(&mock, StartAt::Earliest).await;
        assert_eq!(ids(&fetch(&mut reader, 10).await), ["0", "1", "2"]);
        assert!(fetch(&mut reader, 10).await.is_empty());
    }
}

#[tokio::test]
async fn a_reader_resumes_behind_its_position() {
    let mock = mock(0, Some(3));
    let read = fetch(&mut reader(&mock, StartAt::Earliest).await, 2).await;
    let position = Position::from_iter([read[1].place().unwrap()]);
    assert_eq!(ids(&fetch(&mut reader(&mock, StartAt::After(position)).await, 10).await), ["2"]);
}

#[tokio::test(start_paused = true)]
async fn a_message_comes_each_interval_even_when_calls_are_dropped() {
    let mock = mock(1000, None);
    let start = tokio::time::Instant::now();
    let mut reader = reader(&mock, StartAt::Earliest).await;
    for _ in 0..3 {
        assert!(tokio::time::timeout(Duration::from_millis(300), fetch(&mut reader, 10)).await.is_err());
    }
    assert_eq!(ids(&fetch(&mut reader, 10).await), ["0"]);
    assert_eq!(start.elapsed().as_millis() / 10, 100);
    assert_eq!(ids(&fetch(&mut reader, 10).await), ["1"]);
    assert_eq!(start.elapsed().as_millis() / 10, 200);
}

#[tokio::test]
async fn closing_ends_a_wait_that_would_never_end() {
    let mock = mock(u64::MAX, None);
    let mut reader = reader(&mock, StartAt::Earliest).await;
    let mut batch = Vec::new();
    let fetch = reader.fetch(&mut batch, BatchLimit { messages: 1, bytes: 1 });
    let (fetched, ()) = futures_util::future::join(fetch, mock.close()).await;
    assert_eq!(fetched.unwrap_err().code(), "broker.closed");
}
