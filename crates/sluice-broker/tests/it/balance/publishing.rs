//! Which broker of a group takes a message, and what happens when one does not.

use sluice_api::Balancing;
use sluice_broker::{ErrorKind, LogOptions};

use super::{Pair, directories, message, topic};

#[tokio::test]
async fn brokers_are_published_to_by_weight() {
    let pair = Pair::open(&directories(), Balancing::WeightedRoundRobin, false);
    for number in 0..40 {
        pair.publish(&number.to_string()).await.unwrap();
    }
    assert_eq!(pair.logs.clone().map(|log| log.asked()), [30, 10]);
    assert_eq!(pair.metrics.clone().map(|metrics| metrics.published.get()), [30, 10]);
}

#[tokio::test]
async fn what_one_broker_does_not_take_the_next_is_given_once() {
    let pair = Pair::open(&directories(), Balancing::RoundRobin, false);
    pair.logs[0].goes_away();
    for number in 0..10 {
        pair.publish(&number.to_string()).await.unwrap();
    }
    assert_eq!(pair.logs[1].asked(), 10);
    // The first one found out; whether another one did depends on how long the others took.
    let failed = pair.metrics[0].failed.get();
    assert!(failed >= 1 && pair.logs[0].asked() as u64 == failed);
    assert_eq!(pair.metrics[0].passed_over.get(), 10 - failed);
}

#[tokio::test]
async fn a_secondary_takes_messages_only_while_the_primary_does_not() {
    let pair = Pair::open(&directories(), Balancing::RoundRobin, true);
    pair.publish("1").await.unwrap();
    assert_eq!(pair.logs[1].asked(), 0);
    pair.logs[0].goes_away();
    pair.publish("2").await.unwrap();
    assert_eq!(pair.logs[1].asked(), 1);
    pair.logs[0].is_back();
    // The primary is tried again when it was left alone for long enough.
    let mut number = 2;
    while pair.metrics[0].published.get() < 3 {
        number += 1;
        pair.publish(&number.to_string()).await.unwrap();
    }
    let before = pair.logs[1].asked();
    pair.publish("last").await.unwrap();
    assert_eq!(pair.logs[1].asked(), before);
}

#[tokio::test]
async fn a_message_that_nobody_takes_is_tried_once_at_each() {
    let pair = Pair::open(&directories(), Balancing::RoundRobin, true);
    pair.logs[0].fails_with(ErrorKind::Refused);
    pair.logs[1].goes_away();
    let error = pair.publish("1").await.unwrap_err();
    assert_eq!((error.kind, pair.logs.clone().map(|log| log.asked())), (ErrorKind::Refused, [1, 1]));
    pair.publish("2").await.unwrap_err();
    assert_eq!(pair.logs.clone().map(|log| log.asked()), [2, 2]);
}

#[tokio::test]
async fn a_message_that_is_at_fault_itself_is_given_to_nobody_else() {
    let pair = Pair::open(&directories(), Balancing::RoundRobin, false);
    let large = message(&"x".repeat(LogOptions::default().max_message_bytes + 1));
    let error = sluice_broker::BrokerDriver::publish(&pair.group, &topic(), large).await.unwrap_err();
    assert_eq!((error.kind, pair.logs.clone().map(|log| log.asked())), (ErrorKind::TooLarge, [1, 0]));
    pair.publish("small").await.unwrap();
    pair.publish("small").await.unwrap();
    assert_eq!(pair.logs.clone().map(|log| log.asked()), [2, 1]);
}
