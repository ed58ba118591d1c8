//! What a reader of a group is handed: everything, wherever it was put, and nothing twice.

use std::sync::Arc;

use sluice_api::Balancing;
use sluice_broker::{BrokerDriver, ErrorKind, StartAt, StopAt};
use sluice_message::{Message, Position};

use super::{Pair, directories, payloads, read, topic};

fn behind(messages: &[Message]) -> Position {
    messages.iter().filter_map(Message::place).collect()
}

fn round_robin(directories: &[tempfile::TempDir; 2]) -> Pair {
    Pair::open(directories, Balancing::RoundRobin, false)
}

#[tokio::test]
async fn a_reader_is_handed_what_went_to_any_of_them() {
    let pair = round_robin(&directories());
    for number in 0..10 {
        pair.publish(&number.to_string()).await.unwrap();
    }
    assert_eq!(pair.logs.clone().map(|log| log.asked()), [5, 5]);
    let mut reader = pair.reader(StartAt::Earliest, StopAt::Never).await.unwrap();
    let messages = read(&mut *reader, 10).await;
    assert_eq!(payloads(&messages), (0..10).map(|number| number.to_string()).collect::<Vec<_>>());
    let places: std::collections::HashSet<_> = messages.iter().filter_map(Message::place).collect();
    assert_eq!(places.len(), 10, "no two messages have one place");
    let shown = |message: &Message| {
        message
            .metadata()
            .filter(|(name, _)| *name == "partition")
            .map(|(_, value)| value.into_owned())
            .collect::<Vec<_>>()
    };
    assert!(messages.iter().all(|message| shown(message) == vec!["0".to_owned()]));
}

#[tokio::test]
async fn a_receipt_names_the_place_where_a_reader_finds_the_message() {
    let pair = round_robin(&directories());
    let mut reader = pair.reader(StartAt::Earliest, StopAt::Never).await.unwrap();
    for payload in ["first", "second"] {
        let place = pair.publish(payload).await.unwrap().place;
        assert_eq!(read(&mut *reader, 1).await[0].place(), place.as_ref());
    }
}

#[tokio::test]
async fn a_position_goes_on_over_a_restart_at_each_of_them() {
    let directories = directories();
    let pair = round_robin(&directories);
    for number in 0..6 {
        pair.publish(&number.to_string()).await.unwrap();
    }
    let mut reader = pair.reader(StartAt::Earliest, StopAt::Never).await.unwrap();
    let position = behind(&read(&mut *reader, 6).await);
    let (identity, text) = (pair.merged.identity().await.unwrap(), position.encode());
    drop(reader);
    pair.close().await;
    let pair = round_robin(&directories);
    assert_eq!(pair.merged.identity().await.unwrap(), identity);
    for number in 6..10 {
        pair.publish(&number.to_string()).await.unwrap();
    }
    let position = Position::decode(&text).unwrap();
    let mut reader = pair.reader(StartAt::After(position), StopAt::Never).await.unwrap();
    assert_eq!(payloads(&read(&mut *reader, 4).await), ["6", "7", "8", "9"]);
}

#[tokio::test]
async fn the_same_brokers_in_another_order_are_another_group() {
    let [one, other] = directories();
    let pair = round_robin(&[one, other]);
    let drivers = [1, 0].map(|at: usize| Arc::clone(&pair.logs[at]) as Arc<dyn BrokerDriver>);
    let turned = sluice_broker::balance::Merged::new(drivers);
    assert_ne!(turned.identity().await.unwrap(), pair.merged.identity().await.unwrap());
}

#[tokio::test]
async fn one_that_goes_away_stops_nobody_and_goes_on_where_it_was_left() {
    let pair = round_robin(&directories());
    pair.put(0, "a1").await;
    pair.put(1, "b1").await;
    let ends = pair.merged.ends(&[topic()]).await.unwrap();
    let mut reader = pair.reader(StartAt::After(ends), StopAt::Never).await.unwrap();
    pair.put(1, "b2").await;
    assert_eq!(payloads(&read(&mut *reader, 1).await), ["b2"]);
    pair.logs[1].goes_away();
    pair.put(1, "b3").await;
    pair.put(0, "a2").await;
    assert_eq!(payloads(&read(&mut *reader, 1).await), ["a2"]);
    // Another reader finds it as it was left.
    let bounds = pair.merged.bounds(&[topic()]).await.unwrap();
    assert_eq!(bounds.values().map(|held| held.end.0).collect::<Vec<_>>(), [2, 2]);
    pair.logs[1].is_back();
    assert_eq!(payloads(&read(&mut *reader, 1).await), ["b3"]);
}

#[tokio::test]
async fn one_that_is_away_at_the_beginning_brings_what_was_made_since() {
    let pair = round_robin(&directories());
    pair.put(1, "old").await;
    pair.logs[1].goes_away();
    // Strictly later than the time at which the old one was taken.
    let taken = std::time::SystemTime::now();
    while taken.elapsed().unwrap_or_default().as_millis() < 2 {
        tokio::task::yield_now().await;
    }
    let ends = pair.merged.ends(&[topic()]).await.unwrap();
    assert_eq!(pair.merged.bounds(&[topic()]).await.unwrap_err().kind, ErrorKind::Unreachable);
    let mut reader = pair.reader(StartAt::After(ends.clone()), StopAt::Never).await.unwrap();
    pair.put(1, "since").await;
    pair.put(0, "meanwhile").await;
    assert_eq!(payloads(&read(&mut *reader, 1).await), ["meanwhile"]);
    pair.logs[1].is_back();
    assert_eq!(payloads(&read(&mut *reader, 1).await), ["since"]);
    // The same for a reader that goes on at the place that was fixed then.
    let mut again = pair.reader(StartAt::After(ends), StopAt::Never).await.unwrap();
    assert_eq!(payloads(&read(&mut *again, 2).await), ["meanwhile", "since"]);
}

#[tokio::test]
async fn only_when_all_are_away_a_reader_is_told() {
    let pair = round_robin(&directories());
    let mut reader = pair.reader(StartAt::Earliest, StopAt::Never).await.unwrap();
    pair.logs.iter().for_each(|log| log.goes_away());
    let error = reader.fetch(&mut Vec::new(), super::LIMIT).await.unwrap_err();
    assert!(error.retryable(), "{error}");
    assert!(pair.reader(StartAt::Earliest, StopAt::Never).await.is_err());
    pair.logs.iter().for_each(|log| log.is_back());
    pair.put(0, "a").await;
    assert_eq!(payloads(&read(&mut *reader, 1).await), ["a"]);
}

#[tokio::test]
async fn a_reader_that_ends_leaves_out_nothing_of_one_that_is_away() {
    let pair = round_robin(&directories());
    pair.put(0, "a").await;
    pair.put(1, "b").await;
    let mut reader = pair.reader(StartAt::Earliest, StopAt::End).await.unwrap();
    let messages = read(&mut *reader, 2).await;
    let mut none = Vec::new();
    reader.fetch(&mut none, super::LIMIT).await.unwrap();
    assert!(none.is_empty());
    pair.merged.bounds(&[topic()]).await.unwrap();
    pair.logs[1].goes_away();
    let refused = pair.reader(StartAt::Earliest, StopAt::End).await;
    assert_eq!(refused.err().unwrap().kind, ErrorKind::Unreachable);
    // Who has all that was there misses nothing.
    let mut reader = pair.reader(StartAt::After(behind(&messages)), StopAt::End).await.unwrap();
    reader.fetch(&mut none, super::LIMIT).await.unwrap();
    assert!(none.is_empty());
}

#[tokio::test]
async fn a_position_that_one_of_them_does_not_have_is_lost() {
    let [one, other] = directories();
    let pair = round_robin(&[one, other]);
    pair.put(0, "a").await;
    pair.put(1, "b").await;
    let mut reader = pair.reader(StartAt::Earliest, StopAt::Never).await.unwrap();
    let mut position = behind(&read(&mut *reader, 2).await);
    let (topic, partition, _) =
        position.nexts().last().map(|(topic, at, next)| (topic.clone(), at, next)).unwrap();
    position.set_next(&topic, partition, sluice_message::Offset(100));
    let lost = pair.reader(StartAt::After(position), StopAt::Never).await;
    assert_eq!(lost.err().unwrap().kind, ErrorKind::PositionLost);
}
