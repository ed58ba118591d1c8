//! Clients whose messages tell their position, to resume behind any of them.

use std::sync::Arc;

use bytes::Bytes;
use sluice_broker::{BrokerDriver, ErrorKind, Mock};
use sluice_message::{FrameKind, Message, Partition, Position, Topic};
use sluice_stream::{Begin, HubOptions, Joining, Lag};

use crate::{Bench, batch, position, read, resume::small_ring, within};

const LAGS: [Lag; 3] = [Lag::Skip, Lag::Stop, Lag::CatchUp];

/// The plain text of what a message tells.
fn told(message: &Message) -> String {
    Position::decode(message.position().unwrap()).unwrap().to_string()
}

#[tokio::test]
async fn a_message_is_told_and_rendered_once_for_all_clients_of_the_ring() {
    let bench = Bench::new(HubOptions::default());
    bench.publish(0..5).await;
    let mut first = bench.join_telling(Begin::Latest, Lag::Skip).await;
    let mut others = Vec::new();
    for lag in LAGS {
        others.push(bench.join_telling(Begin::Latest, lag).await);
        others.push(bench.join_with(Begin::Latest, lag).await);
        others.push(bench.join_telling(Begin::After(position("t@0#4")), lag).await);
    }
    bench.publish(5..6).await;
    let message = batch(&mut first).await.remove(0);
    assert_eq!(told(&message), "t@0#5");
    message.frame(FrameKind(1), || Bytes::from("rendered"));
    for other in &mut others {
        let same = batch(other).await.remove(0);
        assert!(Arc::ptr_eq(same.position().unwrap(), message.position().unwrap()));
        assert_eq!(same.frame(FrameKind(1), || panic!("rendered again")), "rendered");
    }
}

#[tokio::test]
async fn a_client_that_resumes_in_the_ring_shares_what_it_is_handed() {
    let bench = Bench::new(HubOptions::default());
    let mut first = bench.join_telling(Begin::Latest, Lag::Skip).await;
    bench.publish(0..4).await;
    let mut seen = Vec::new();
    while seen.len() < 4 {
        seen.extend(batch(&mut first).await);
    }
    let begin = Begin::After(Position::decode(seen[1].position().unwrap()).unwrap());
    let mut again = bench.join_telling(begin, Lag::Stop).await;
    let rest = batch(&mut again).await;
    assert_eq!(rest.len(), 2);
    assert!(Arc::ptr_eq(rest[0].position().unwrap(), seen[2].position().unwrap()));
}

#[tokio::test]
async fn nobody_is_told_where_nobody_wants_it_and_the_first_who_does_is_told_all() {
    let bench = Bench::new(HubOptions::default());
    let mut plain = bench.join(Begin::Latest).await;
    bench.publish(0..2).await;
    for message in batch(&mut plain).await {
        assert_eq!(message.position(), None);
    }
    // What stands in the ring was not told; what comes will be.
    let mut telling = bench.join_telling(Begin::After(position("t@0#-1")), Lag::Stop).await;
    bench.publish(2..4).await;
    let mut seen = Vec::new();
    while seen.len() < 4 {
        seen.extend(batch(&mut telling).await.iter().map(told));
    }
    assert_eq!(seen, ["t@0#0", "t@0#1", "t@0#2", "t@0#3"]);
    assert_eq!(bench.readers_opened(), 0);
    drop(telling);
    read(&mut plain, 2).await;
    bench.publish(4..5).await;
    let last = loop {
        let last = batch(&mut plain).await.pop().unwrap();
        if last.payload() == b"4" {
            break last;
        }
    };
    assert_eq!(last.position(), None, "the hub makes no texts for those who have gone");
}

#[tokio::test]
async fn a_position_names_every_partition_so_that_nothing_is_read_from_its_beginning_again() {
    for lag in LAGS {
        let mut bench = Bench::new(HubOptions::default());
        bench.topics.push("u".into());
        bench.publish_to(1, 0..3).await;
        let mut cursor = bench.join_telling(Begin::Latest, lag).await;
        assert_eq!(cursor.position(), position("t@0#-1;u@0#2"));
        bench.publish_to(0, 0..1).await;
        assert_eq!(told(&batch(&mut cursor).await[0]), "t@0#0;u@0#2");
        assert_eq!(cursor.position(), position("t@0#0;u@0#2"));
    }
}

#[tokio::test]
async fn what_is_dropped_of_a_partition_that_had_nothing_yet_is_a_gap() {
    let mut bench = Bench::new(small_ring());
    bench.topics.push("u".into());
    bench.publish_to(0, 0..100).await;
    bench.publish_to(1, 0..100).await;
    let mut cursor = bench.join_telling(Begin::Earliest, Lag::CatchUp).await;
    let first = batch(&mut cursor).await.remove(0);
    drop(cursor);
    let begun = Position::decode(first.position().unwrap()).unwrap();
    let (other, next) = match &first.place().unwrap().topic {
        topic if *topic == bench.topics[0] => (1, Some(0)),
        _ => (0, Some(0)),
    };
    assert_eq!(begun.next(&bench.topics[other], Partition(0)).map(|next| next.0), next);
    bench.drop_before(other, 10);
    let mut again = bench.join_telling(Begin::After(begun), Lag::CatchUp).await;
    let (seen, lost) = read(&mut again, 199).await;
    assert_eq!((seen.len(), lost), (189, 10));
}

#[tokio::test]
async fn after_catching_up_a_client_shares_the_ring_and_its_reader_is_gone() {
    for lag in LAGS {
        let bench = Bench::new(small_ring());
        bench.publish(0..100).await;
        let mut first = bench.join_telling(Begin::Latest, Lag::Skip).await;
        let mut cursor = bench.join_telling(Begin::After(position("t@0#9")), lag).await;
        let mut seen = Vec::new();
        while seen.len() < 90 {
            seen.extend(batch(&mut cursor).await.iter().map(told));
        }
        let expected: Vec<_> = (10..100).map(|offset| format!("t@0#{offset}")).collect();
        assert_eq!(seen, expected);
        bench.publish(100..101).await;
        let (own, shared) = (batch(&mut cursor).await.remove(0), batch(&mut first).await.remove(0));
        assert!(Arc::ptr_eq(own.position().unwrap(), shared.position().unwrap()));
        assert_eq!((bench.readers_opened(), bench.metrics.client_readers.get()), (1, 0));
    }
}

#[tokio::test]
async fn a_reader_alone_tells_positions_and_resumes_behind_them() {
    let config = serde_json::from_str(r#"{"messageInterval": 0, "messageCount": 5}"#).unwrap();
    let mock: Arc<dyn BrokerDriver> = Arc::new(Mock::new(config));
    let (bench, topics) = (Bench::new(HubOptions::default()), [Topic::from("t")]);
    let join = |begin| {
        let joining = Joining::new(begin, Lag::Stop).telling_positions(true);
        within(bench.hubs.join(&mock, &topics, joining))
    };
    for begin in [Begin::Latest, Begin::Earliest] {
        let seen: Vec<_> = batch(&mut join(begin).await.unwrap()).await.iter().map(told).collect();
        assert_eq!(seen, ["t@0#0", "t@0#1", "t@0#2", "t@0#3", "t@0#4"]);
    }
    let mut again = join(Begin::After(position("t@0#2"))).await.unwrap();
    assert_eq!(batch(&mut again).await.iter().map(told).collect::<Vec<_>>(), ["t@0#3", "t@0#4"]);
    assert_eq!(again.standing().behind(), 0);
    let beyond = join(Begin::After(position("t@0#5"))).await;
    assert_eq!(beyond.unwrap_err().kind, ErrorKind::PositionLost);
}
