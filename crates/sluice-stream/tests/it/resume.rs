//! Readers that outlive a connection: they begin at a position and miss nothing when they are slow.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use futures_util::{FutureExt, future::join_all};
use proptest::prelude::*;
use sluice_broker::{BrokerDriver, ErrorKind, Mock};
use sluice_message::{Message, Offset, Partition, Topic};
use sluice_stream::{Begin, Cursor, HubOptions, Joining, Lag, Step};

use crate::{Bench, batch, flaky::Fault, number, position, read, within};

pub(crate) fn small_ring() -> HubOptions {
    HubOptions { ring_messages: 8, ..HubOptions::default() }
}

async fn refused(bench: &Bench, text: &str) -> ErrorKind {
    let begin = Begin::After(position(text));
    let joined =
        within(bench.hubs.join(&bench.driver(), &bench.topics, Joining::new(begin, Lag::CatchUp))).await;
    joined.unwrap_err().kind
}

#[tokio::test]
async fn a_position_is_where_the_client_began_and_then_behind_what_it_was_given() {
    let bench = Bench::new(HubOptions::default());
    for lag in [Lag::Skip, Lag::CatchUp] {
        let before = bench.join_with(Begin::Latest, lag).await.position();
        let mut late = bench.join_with(Begin::Earliest, lag).await;
        let mut cursor = bench.join_with(Begin::Latest, lag).await;
        assert_eq!(cursor.position(), before);
        bench.publish(0..3).await;
        assert_eq!(read(&mut cursor, 3).await.0, [0, 1, 2]);
        let next = before.next(&bench.topics[0], Partition(0)).unwrap().0 + 3;
        assert_eq!(cursor.position().to_string(), format!("t@0#{}", next - 1));
        assert!(late.position().iter().count() == 0, "it was given nothing yet");
        read(&mut late, next).await;
        assert_eq!(late.position(), cursor.position());
    }
}

#[tokio::test]
async fn a_reader_resumes_in_the_ring_and_opens_nothing() {
    let bench = Bench::new(HubOptions::default());
    let _listens = bench.join(Begin::Latest).await;
    let mut cursor = bench.join_with(Begin::Latest, Lag::CatchUp).await;
    bench.publish(0..4).await;
    read(&mut cursor, 4).await;
    let stored = cursor.position();
    drop(cursor);
    bench.publish(4..15).await;
    let mut again = bench.join_with(Begin::After(stored), Lag::CatchUp).await;
    assert_eq!(read(&mut again, 11).await, ((4..15).collect(), 0));
    assert_eq!(bench.readers_opened(), 0);
}

#[tokio::test]
async fn a_reader_that_began_at_an_empty_topic_gets_its_first_message_after_a_restart() {
    let mut bench = Bench::new(HubOptions::default());
    let stored = bench.join_with(Begin::Latest, Lag::CatchUp).await.position();
    assert_eq!(stored.to_string(), "t@0#-1");
    bench.restart(HubOptions::default());
    bench.publish(0..5).await;
    let mut again = bench.join_with(Begin::After(stored), Lag::CatchUp).await;
    assert_eq!(read(&mut again, 5).await, ((0..5).collect(), 0));
    bench.publish(5..6).await;
    assert_eq!(read(&mut again, 1).await, (vec![5], 0), "it has come to the ring");
    assert_eq!(bench.metrics.client_readers.get(), 0);
}

#[tokio::test]
async fn a_thousand_readers_at_the_head_open_no_reader_before_and_after_a_restart() {
    let mut bench = Bench::new(HubOptions::default());
    bench.publish(0..10).await;
    let mut stored = bench.join(Begin::Latest).await.position();
    for round in 10..12 {
        bench.restart(HubOptions::default());
        let joins = (0..1000).map(|_| bench.join_with(Begin::After(stored.clone()), Lag::CatchUp));
        let mut cursors = join_all(joins).await;
        bench.publish(round..round + 1).await;
        for cursor in &mut cursors {
            assert_eq!(read(cursor, 1).await, (vec![round], 0));
        }
        stored = cursors[0].position();
    }
    assert_eq!(bench.readers_opened(), 0);
}

#[tokio::test]
async fn a_slow_reader_that_catches_up_misses_nothing_and_a_quick_one_is_not_touched() {
    let bench = Bench::new(small_ring());
    let mut slow = bench.join_with(Begin::Latest, Lag::CatchUp).await;
    let mut quick = bench.join_with(Begin::Latest, Lag::CatchUp).await;
    for round in 0..3 {
        let numbers = round * 100..round * 100 + 100;
        for number in numbers.clone() {
            bench.publish(number..number + 1).await;
            assert_eq!(read(&mut quick, 1).await, (vec![number], 0));
        }
        assert_eq!(read(&mut slow, 100).await, (numbers.collect(), 0));
    }
    assert_eq!(bench.readers_opened(), 3, "one for each time that the slow one fell behind");
}

#[tokio::test]
async fn no_more_readers_than_allowed_catch_up_at_a_time_and_each_has_its_turn() {
    let bench = Bench::new(HubOptions { catch_up_readers: 2, ..small_ring() });
    bench.publish(0..300).await;
    let _listens = bench.join(Begin::Latest).await;
    let clients = (0..12).map(|client| {
        let bench = &bench;
        async move {
            let begin = Begin::After(position(&format!("t@0#{client}")));
            let mut cursor = bench.join_with(begin, Lag::CatchUp).await;
            assert_eq!(read(&mut cursor, 299 - client).await.0, (client as u32 + 1..300).collect::<Vec<_>>());
        }
    });
    join_all(clients).await;
    assert_eq!(bench.flaky.readers().most.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn readers_that_stall_in_their_turn_do_not_keep_others_from_theirs() {
    let bench = Bench::new(HubOptions { catch_up_readers: 2, ..small_ring() });
    bench.publish(0..300).await;
    let join = || bench.join_with(Begin::Earliest, Lag::CatchUp);
    let mut stalled = [join().await, join().await];
    let mut batch = Vec::new();
    for cursor in &mut stalled {
        assert_eq!(within(cursor.next(&mut batch)).await.unwrap(), Step::Messages);
    }
    let given = u64::from(number(batch.last().unwrap())) + 1;
    let mut third = join().await;
    assert_eq!(read(&mut third, 300).await, ((0..300).collect(), 0));
    for cursor in &mut stalled {
        assert_eq!(read(cursor, 300 - given).await, ((given as u32..300).collect(), 0));
    }
    assert_eq!(bench.flaky.readers().most.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn a_turn_that_falls_to_a_client_that_does_not_look_comes_to_the_next() {
    let bench = Bench::new(HubOptions { catch_up_readers: 1, ..small_ring() });
    bench.publish(0..300).await;
    let join = || bench.join_with(Begin::Earliest, Lag::CatchUp);
    let mut stalled = join().await;
    assert!(!batch(&mut stalled).await.is_empty());
    let mut queued = join().await;
    assert!(queued.next(&mut Vec::new()).now_or_never().is_none());
    let mut third = join().await;
    assert_eq!(read(&mut third, 300).await, ((0..300).collect(), 0));
    assert_eq!(read(&mut queued, 300).await, ((0..300).collect(), 0));
    assert_eq!(bench.flaky.readers().most.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn offsets_that_hold_no_message_are_passed_once_and_then_known() {
    let mut bench = Bench::new(HubOptions::default());
    bench.flaky.make_hole(7..10);
    bench.publish(0..10).await;
    let mut stored = position("t@0#6");
    for round in 10..12 {
        bench.restart(HubOptions::default());
        let mut cursor = bench.join_with(Begin::After(stored), Lag::CatchUp).await;
        let (seen, _) = tokio::join!(read(&mut cursor, 1), bench.publish(round..round + 1));
        assert_eq!(seen, (vec![round], 0));
        stored = cursor.position();
    }
    let mut behind_the_hole = bench.join_with(Begin::After(position("t@0#6")), Lag::CatchUp).await;
    assert_eq!(read(&mut behind_the_hole, 2).await, (vec![10, 11], 0));
}

#[tokio::test]
async fn messages_that_are_gone_behind_a_position_are_a_gap() {
    for (after, missing) in [("t@0#2", 4), ("t@0#-1", 7)] {
        let bench = Bench::new(HubOptions::default());
        bench.publish(0..10).await;
        bench.drop_before(0, 7);
        let mut cursor = bench.join_with(Begin::After(position(after)), Lag::CatchUp).await;
        let (seen, skipped) = read(&mut cursor, 3 + missing).await;
        assert_eq!((seen, skipped), (vec![7, 8, 9], missing));
    }
}

#[tokio::test]
async fn a_reader_that_was_up_to_date_hears_of_a_gap_too() {
    let bench = Bench::new(HubOptions::default());
    bench.publish(0..1).await;
    let mut cursor = bench.join_with(Begin::Latest, Lag::CatchUp).await;
    bench.drop_before(0, 3);
    bench.publish(1..4).await;
    assert_eq!(read(&mut cursor, 3).await, (vec![3], 2));
    assert_eq!(cursor.position(), position("t@0#3"));
}

#[tokio::test]
async fn a_position_that_was_not_made_here_is_refused() {
    let bench = Bench::new(HubOptions::default());
    bench.publish(0..3).await;
    for text in ["t@0#3", "other@0#1", "t@0#1;other@0#-1", "t@1#0"] {
        assert_eq!(refused(&bench, text).await, ErrorKind::PositionLost, "{text}");
    }
    let mut at_the_end = bench.join_with(Begin::After(position("t@0#2")), Lag::CatchUp).await;
    bench.publish(3..4).await;
    assert_eq!(read(&mut at_the_end, 1).await.0, [3]);
}

#[tokio::test]
async fn a_position_that_the_hub_has_not_come_to_yet_is_as_good_as_any() {
    let bench = Bench::new(HubOptions::default());
    let _listens = bench.join(Begin::Latest).await;
    // The hub waits some time before it reads again.
    bench.flaky.break_next(Fault::Fetch(ErrorKind::Unreachable));
    bench.publish(0..3).await;
    let mut cursor = bench.join_with(Begin::After(position("t@0#1")), Lag::CatchUp).await;
    assert_eq!(read(&mut cursor, 1).await.0, [2]);
    bench.publish(3..5).await;
    assert_eq!(read(&mut cursor, 2).await.0, [3, 4]);
    assert_eq!(bench.metrics.positions_lost.get(), 0);
}

#[tokio::test]
async fn a_reader_alone_resumes_where_it_was() {
    let config = serde_json::from_str(r#"{"messageInterval": 0, "messageCount": 5}"#).unwrap();
    let mock: Arc<dyn BrokerDriver> = Arc::new(Mock::new(config));
    let bench = Bench::new(HubOptions::default());
    let topics = [Topic::from("t")];
    let begin = Begin::After(position("t@0#2"));
    let mut cursor =
        within(bench.hubs.join(&mock, &topics, Joining::new(begin, Lag::CatchUp))).await.unwrap();
    let (mut batch, mut offsets) = (Vec::new(), Vec::new());
    while within(cursor.next(&mut batch)).await.unwrap() == Step::Messages {
        offsets.extend(batch.iter().map(|message| message.place().unwrap().offset));
    }
    assert_eq!(offsets, [Offset(3), Offset(4)]);
    assert_eq!(cursor.position(), position("t@0#4"));
    let beyond =
        within(bench.hubs.join(&mock, &topics, Joining::new(Begin::After(position("t@0#5")), Lag::Skip)))
            .await;
    assert_eq!(beyond.unwrap_err().kind, ErrorKind::PositionLost);
}

#[derive(Debug, Clone)]
enum Act {
    Publish(usize, u32),
    Read(usize),
    Resume(usize),
    Break,
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let act = prop_oneof![
        20 => (0usize..2, 1u32..20).prop_map(|(topic, count)| Act::Publish(topic, count)),
        20 => (0usize..3).prop_map(Act::Read),
        8 => (0usize..3).prop_map(Act::Resume),
        1 => Just(Act::Break),
    ];
    prop::collection::vec(act, 0..60)
}

/// A client with what it has seen of each topic.
struct Client {
    cursor: Cursor,
    seen: [u32; 2],
}

impl Client {
    /// One step, each message of which must be the next of its topic.
    async fn read(&mut self, topics: &[Topic]) {
        let mut batch: Vec<Message> = Vec::new();
        assert_eq!(within(self.cursor.next(&mut batch)).await.unwrap(), Step::Messages);
        for message in &batch {
            let topic = topics.iter().position(|topic| *topic == message.place().unwrap().topic).unwrap();
            assert_eq!(number(message), self.seen[topic], "of topic {topic}");
            self.seen[topic] += 1;
        }
    }
}

async fn act_out(acts: Vec<Act>) {
    let mut bench = Bench::new(small_ring());
    bench.topics.push("u".into());
    let mut published = [0, 0];
    let mut clients = Vec::new();
    for _ in 0..3 {
        let cursor = bench.join_with(Begin::Latest, Lag::CatchUp).await;
        clients.push(Client { cursor, seen: [0, 0] });
    }
    for act in acts {
        match act {
            Act::Publish(topic, count) => {
                bench.publish_to(topic, published[topic]..published[topic] + count).await;
                published[topic] += count;
            }
            Act::Read(client) if clients[client].seen != published => {
                clients[client].read(&bench.topics).await;
            }
            Act::Read(_) => {}
            Act::Resume(client) => {
                let begin = Begin::After(clients[client].cursor.position());
                clients[client].cursor = bench.join_with(begin, Lag::CatchUp).await;
            }
            Act::Break => bench.flaky.break_next(Fault::Fetch(ErrorKind::Unreachable)),
        }
    }
    for client in &mut clients {
        while client.seen != published {
            client.read(&bench.topics).await;
        }
        let text = client.cursor.position();
        let next = |topic: usize| text.next(&bench.topics[topic], Partition(0)).unwrap_or_default().0;
        assert_eq!([next(0), next(1)], published.map(u64::from));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_of_all_speeds_come_and_go_while_messages_are_published() {
    const COUNT: u32 = 2000;
    let bench = Bench::new(HubOptions { catch_up_readers: 2, ..small_ring() });
    let mut clients = Vec::new();
    for speed in 0..6 {
        let cursor = bench.join_with(Begin::Latest, Lag::CatchUp).await;
        clients.push((speed, Client { cursor, seen: [0, 0] }));
    }
    let reading = clients.into_iter().map(|(speed, mut client)| {
        let bench = &bench;
        async move {
            for steps in 1.. {
                if client.seen[0] == COUNT {
                    break;
                }
                client.read(&bench.topics).await;
                tokio::time::sleep(Duration::from_millis(4 * speed)).await;
                if steps % 7 == 0 {
                    let begin = Begin::After(client.cursor.position());
                    client.cursor = bench.join_with(begin, Lag::CatchUp).await;
                }
            }
        }
    });
    let publishing = async {
        for start in (0..COUNT).step_by(50) {
            bench.publish(start..start + 50).await;
        }
    };
    tokio::join!(publishing, join_all(reading));
    assert_eq!(bench.metrics.client_readers.get(), 0);
    assert!(bench.readers_opened() > 0);
    assert!(bench.flaky.readers().most.load(Ordering::SeqCst) <= 2);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, ..ProptestConfig::default() })]
    #[test]
    fn at_any_speed_each_reader_gets_every_message_once_and_in_order(acts in acts()) {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(act_out(acts));
    }
}
