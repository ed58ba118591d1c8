//! What the suite for all drivers cannot provoke: retention, a full queue, corrupt records.

use tempfile::TempDir;

use super::{chunk::ChunkKey, *};
use crate::{BatchLimit, StartAt, StopAt};

const SIZE: usize = 1000;

fn open(directory: &TempDir, change: impl FnOnce(&mut LogOptions)) -> Log {
    let mut options = LogOptions { retention_interval: Duration::from_millis(1), ..LogOptions::default() };
    change(&mut options);
    Log::open(directory, options).unwrap()
}

fn topic() -> Topic {
    Topic::from("t")
}

fn message() -> Message {
    Message::builder().payload(vec![b'x'; SIZE]).build()
}

/// Publishes so many messages, each in a chunk of its own.
async fn publish(log: &Log, count: u64) {
    for _ in 0..count {
        log.publish(&topic(), message()).await.unwrap();
    }
}

async fn wait_for(log: &Log, condition: impl FnMut(&Extent) -> bool) -> Extent {
    *log.topic(&topic()).await.unwrap().extent.subscribe().wait_for(condition).await.unwrap()
}

async fn consume(log: &Log, start: StartAt) -> Result<Box<dyn Consumer>, DriverError> {
    log.consume(ConsumeSpec { topics: vec![topic()], start, stop: StopAt::Never }).await
}

async fn fetch(reader: &mut Box<dyn Consumer>) -> Result<Vec<u64>, DriverError> {
    let mut batch = Vec::new();
    reader.fetch(&mut batch, BatchLimit { messages: 1000, bytes: 1 << 20 }).await?;
    Ok(batch.iter().filter_map(|message| Some(message.place()?.offset.0)).collect())
}

fn group() -> StartAt {
    StartAt::Group { name: "g".into(), from_earliest: true, sole: false }
}

fn kind<T>(result: Result<T, DriverError>) -> Option<ErrorKind> {
    result.err().map(|error| error.kind)
}

#[tokio::test]
async fn a_topic_of_which_all_was_too_old_goes_on_with_its_next_offset() {
    let directory = tempfile::tempdir().unwrap();
    for round in 0..3 {
        let log = open(&directory, |options| options.retention_age = Duration::ZERO);
        publish(&log, 5).await;
        let extent = wait_for(&log, |extent| extent.start == 5 * (round + 1)).await;
        assert_eq!(extent.end, extent.start);
        log.close().await;
    }
}

#[tokio::test]
async fn a_topic_over_its_size_loses_its_oldest_and_says_so_to_whoever_wanted_them() {
    let directory = tempfile::tempdir().unwrap();
    let log = open(&directory, |options| options.retention_bytes = 20 * SIZE as u64);
    let mut reader = consume(&log, StartAt::Earliest).await.unwrap();
    let mut member = consume(&log, group()).await.unwrap();
    publish(&log, 100).await;
    let small = |extent: &Extent| extent.bytes_at_end - extent.bytes_at_start <= 20 * SIZE as u64;
    let Extent { start, end, .. } = wait_for(&log, |extent| extent.end == 100 && small(extent)).await;
    assert!((80..=90).contains(&start), "{start}");
    assert_eq!(kind(fetch(&mut reader).await), Some(ErrorKind::PositionLost));
    let first = Place { topic: topic(), partition: Partition(0), offset: Offset(0) };
    let after = consume(&log, StartAt::After([&first].into_iter().collect())).await;
    assert_eq!(kind(after), Some(ErrorKind::PositionLost));
    // A group is told once, and goes on with what there is.
    assert_eq!(kind(fetch(&mut member).await), Some(ErrorKind::PositionLost));
    drop(member);
    let rest: Vec<u64> = (start..end).collect();
    assert_eq!(fetch(&mut consume(&log, group()).await.unwrap()).await.unwrap(), rest);
    drop(reader);
    log.close().await;
    let log = open(&directory, |_| {});
    assert_eq!(fetch(&mut consume(&log, StartAt::Earliest).await.unwrap()).await.unwrap(), rest);
}

#[tokio::test]
async fn the_newest_messages_stay_even_when_they_alone_are_over_the_size() {
    let directory = tempfile::tempdir().unwrap();
    let log = open(&directory, |options| options.retention_bytes = SIZE as u64 / 2);
    publish(&log, 3).await;
    // Retention looks after every write, so that it has by the time of the close.
    log.close().await;
    let log = open(&directory, |_| {});
    let extent = wait_for(&log, |_| true).await;
    assert_eq!((extent.start, extent.end), (2, 3));
}

#[tokio::test]
async fn more_than_the_queue_holds_is_refused_and_what_it_holds_is_kept() {
    let directory = tempfile::tempdir().unwrap();
    let log = open(&directory, |options| {
        options.queue_messages = 3;
        options.publish_timeout = Duration::from_millis(100);
    });
    publish(&log, 1).await;
    // Nobody writes as long as this is held.
    let store = log.0.shared.store.write().unwrap();
    let topic = topic();
    let results = std::thread::scope(|scope| {
        let publishers = scope.spawn(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
            runtime.block_on(futures_util::future::join_all((0..10).map(|_| log.publish(&topic, message()))))
        });
        publishers.join().unwrap()
    });
    drop(store);
    let kinds: Vec<_> = results.into_iter().map(kind).collect();
    let count = |kind| kinds.iter().filter(|found| **found == Some(kind)).count();
    assert_eq!((count(ErrorKind::Unreachable), count(ErrorKind::Overloaded)), (3, 7), "{kinds:?}");
    // What was accepted is written after all; until then there may be no room.
    wait_for(&log, |extent| extent.end == 4).await;
    publish(&log, 1).await;
    assert_eq!(wait_for(&log, |_| true).await.end, 5);
}

#[tokio::test]
async fn bytes_that_do_not_fit_the_queue_wait_for_room() {
    let directory = tempfile::tempdir().unwrap();
    let log = open(&directory, |options| {
        options.max_message_bytes = 2 * SIZE;
        options.queue_bytes = 3 * u32::try_from(SIZE).unwrap();
    });
    let topic = topic();
    let results = futures_util::future::join_all((0..50).map(|_| log.publish(&topic, message()))).await;
    assert!(results.iter().all(Result::is_ok));
}

#[tokio::test]
async fn a_message_of_the_largest_size_fits_a_queue_that_is_smaller() {
    let directory = tempfile::tempdir().unwrap();
    let log = open(&directory, |options| {
        options.max_message_bytes = 2 * SIZE;
        options.queue_bytes = 1;
    });
    publish(&log, 1).await;
    let large = Message::builder().payload(vec![b'x'; 2 * SIZE]).build();
    assert_eq!(kind(log.publish(&topic(), large).await), Some(ErrorKind::TooLarge));
}

#[tokio::test]
async fn any_limit_on_a_message_lets_the_log_open() {
    for limit in [0, u32::MAX as usize, usize::MAX] {
        let directory = tempfile::tempdir().unwrap();
        let log = open(&directory, |options| options.max_message_bytes = limit);
        let expected = (limit == 0).then_some(ErrorKind::TooLarge);
        assert_eq!(kind(log.publish(&topic(), message()).await), expected, "{limit}");
    }
}

#[tokio::test]
async fn a_log_that_keeps_until_trimmed_keeps_what_retention_would_not() {
    let directory = tempfile::tempdir().unwrap();
    let keep = |options: &mut LogOptions| *options = options.clone().kept_until_trimmed();
    let log = open(&directory, |options| {
        (options.retention_age, options.retention_bytes) = (Duration::ZERO, 0);
        keep(options);
    });
    publish(&log, 10).await;
    log.trim(&topic(), Offset(0)).await.unwrap();
    assert_eq!(log.held(&topic()).0, 0..10);
    log.trim(&topic(), Offset(4)).await.unwrap();
    assert_eq!(log.held(&topic()).0, 4..10);
    // Of what lies beyond the end there is nothing to delete; a topic that is not there has nothing at all.
    log.trim(&topic(), Offset(1000)).await.unwrap();
    assert_eq!(log.held(&topic()), (10..10, 0));
    log.trim(&Topic::from("other"), Offset(1)).await.unwrap();
    log.close().await;
    let log = open(&directory, keep);
    assert_eq!(log.held(&topic()), (10..10, 0));
    publish(&log, 1).await;
    assert_eq!(log.held(&topic()).0, 10..11);
    log.close().await;
    assert_eq!(kind(log.trim(&topic(), Offset(11)).await), Some(ErrorKind::Closed));
}

#[tokio::test]
async fn trimming_spares_what_was_written_in_one_piece_with_what_is_kept() {
    let directory = tempfile::tempdir().unwrap();
    let log = open(&directory, |_| {});
    publish(&log, 1).await;
    let (topic, jobs) = (topic(), 0..20);
    futures_util::future::join_all(jobs.map(|_| log.publish(&topic, message()))).await;
    log.close().await;
    let last =
        Store::open(directory.path()).unwrap().chunks(&topic, 1).unwrap().next_back().unwrap().unwrap();
    assert!(last.count > 1, "{last:?}");
    let log = open(&directory, |_| {});
    log.trim(&topic, Offset(last.end() - 1)).await.unwrap();
    assert_eq!(log.held(&topic).0, last.first..last.end());
}

#[tokio::test]
async fn more_chunks_than_fit_one_piece_are_trimmed_and_looked_through() {
    let directory = tempfile::tempdir().unwrap();
    let log = open(&directory, |_| {});
    publish(&log, 1).await;
    log.close().await;
    let count = 25_000;
    {
        let store = Store::open(directory.path()).unwrap();
        let chunk = store.chunks(&topic(), 0).unwrap().next().unwrap().unwrap();
        let mut changes = store.changes();
        for first in 1..count {
            let appended_ms = i64::try_from(first).unwrap();
            store.put_chunk(&mut changes, &ChunkKey { first, appended_ms, ..chunk }, vec![1]);
        }
        // The first was written now; all others long ago, as by a clock that was set back.
        store.write(changes).unwrap();
        store.sync().unwrap();
    }
    let log = open(&directory, |options| options.retention_age = Duration::MAX);
    let now = now_ms();
    for (time, next) in [(0, 0), (now + 1_000_000, count)] {
        let position = log.position_at(&[topic()], time).await.unwrap();
        assert_eq!(position.next(&topic(), Partition(0)), Some(Offset(next)), "{time}");
    }
    log.trim(&topic(), Offset(1)).await.unwrap();
    let position = log.position_at(&[topic()], 20_000).await.unwrap();
    assert_eq!(position.next(&topic(), Partition(0)), Some(Offset(20_000)));
    log.trim(&topic(), Offset(count - 1)).await.unwrap();
    assert_eq!(log.held(&topic()).0, count - 1..count);
}

#[tokio::test]
async fn a_corrupt_record_is_an_error_with_its_place() {
    let directory = tempfile::tempdir().unwrap();
    let log = open(&directory, |_| {});
    publish(&log, 2).await;
    log.close().await;
    {
        let store = Store::open(directory.path()).unwrap();
        let chunk = store.chunks(&topic(), 1).unwrap().next().unwrap().unwrap();
        let mut changes = store.changes();
        store.put_chunk(&mut changes, &chunk, vec![1, 9, 9, 9, 9, 9]);
        let chunk = ChunkKey { first: 2, ..chunk };
        store.put_chunk(&mut changes, &chunk, vec![77]);
        store.write(changes).unwrap();
        store.sync().unwrap();
    }
    let log = open(&directory, |_| {});
    for (start, offset) in [(0, "offset 1"), (1, "offset 2")] {
        let place = Place { topic: topic(), partition: Partition(0), offset: Offset(start) };
        let mut reader = consume(&log, StartAt::After([&place].into_iter().collect())).await.unwrap();
        let error = fetch(&mut reader).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Storage);
        assert!(error.message.contains(offset) && error.message.contains("topic t"), "{error}");
    }
    publish(&log, 1).await;
}

#[tokio::test]
async fn messages_before_a_corrupt_record_are_read_and_then_it_is_an_error() {
    let directory = tempfile::tempdir().unwrap();
    let log = open(&directory, |_| {});
    publish(&log, 3).await;
    log.close().await;
    {
        let store = Store::open(directory.path()).unwrap();
        let chunk = store.chunks(&topic(), 2).unwrap().next().unwrap().unwrap();
        let mut changes = store.changes();
        store.put_chunk(&mut changes, &chunk, vec![77]);
        store.write(changes).unwrap();
        store.sync().unwrap();
    }
    let log = open(&directory, |_| {});
    let mut reader = consume(&log, StartAt::Earliest).await.unwrap();
    assert_eq!(fetch(&mut reader).await.unwrap(), [0, 1]);
    let error = fetch(&mut reader).await.unwrap_err();
    assert!(error.kind == ErrorKind::Storage && error.message.contains("offset 2"), "{error}");
}

#[tokio::test]
async fn groups_are_bounded() {
    let directory = tempfile::tempdir().unwrap();
    let log = open(&directory, |options| options.max_groups = 1);
    consume(&log, group()).await.unwrap();
    consume(&log, group()).await.unwrap();
    let other = StartAt::Group { name: "other".into(), from_earliest: true, sole: false };
    assert_eq!(kind(consume(&log, other).await), Some(ErrorKind::Configuration));
}
