//! What becomes of clients that are too slow, and how far behind they are seen to be.

use std::sync::{Arc, Weak};

use sluice_broker::ErrorKind;
use sluice_message::Position;
use sluice_stream::{Begin, Cursor, HubOptions, Lag, Step};

use crate::{Bench, batch, flaky::Fault, position, read, resume::small_ring, step};

/// Lets the hub read until it has read everything, as a client sees that keeps up.
async fn publish(bench: &Bench, quick: &mut Cursor, numbers: std::ops::Range<u32>) {
    for number in numbers {
        bench.publish(number..number + 1).await;
        assert_eq!(read(quick, 1).await, (vec![number], 0));
    }
}

#[tokio::test]
async fn a_client_that_wants_to_stop_is_overrun_once_and_resumes_where_it_was() {
    for tells in [false, true] {
        let bench = Bench::new(small_ring());
        let mut quick = bench.join(Begin::Latest).await;
        let mut slow = match tells {
            true => bench.join_telling(Begin::Latest, Lag::Stop).await,
            false => bench.join_with(Begin::Latest, Lag::Stop).await,
        };
        publish(&bench, &mut quick, 0..5).await;
        assert_eq!(read(&mut slow, 5).await.0, [0, 1, 2, 3, 4]);
        publish(&bench, &mut quick, 5..100).await;
        let mut messages = Vec::new();
        assert_eq!(slow.standing().behind(), 95);
        assert_eq!(step(&mut slow, &mut messages).await, Step::Overrun(95));
        for _ in 0..2 {
            assert_eq!(step(&mut slow, &mut messages).await, Step::Ended);
        }
        assert_eq!(slow.position(), position("t@0#4"));
        let mut again = bench.join_with(Begin::After(slow.position()), Lag::Stop).await;
        assert_eq!(read(&mut again, 95).await, ((5..100).collect(), 0));
    }
}

#[tokio::test]
async fn a_client_that_is_overrun_before_its_first_message_resumes_where_it_began() {
    let bench = Bench::new(small_ring());
    bench.publish(0..3).await;
    let mut quick = bench.join(Begin::Latest).await;
    let mut slow = bench.join_with(Begin::Latest, Lag::Stop).await;
    publish(&bench, &mut quick, 3..50).await;
    assert_eq!(step(&mut slow, &mut Vec::new()).await, Step::Overrun(47));
    assert_eq!(slow.position(), position("t@0#2"));
}

#[tokio::test]
async fn what_the_broker_dropped_is_lost_and_what_the_client_was_too_slow_for_is_skipped() {
    let bench = Bench::new(small_ring());
    let mut quick = bench.join(Begin::Latest).await;
    let mut slow = bench.join(Begin::Latest).await;
    let mut stops = bench.join_with(Begin::Latest, Lag::Stop).await;
    publish(&bench, &mut quick, 0..2).await;
    // Two are unread when the broker loses the next three.
    bench.drop_before(0, 5);
    bench.publish(2..6).await;
    let mut messages = Vec::new();
    assert_eq!(step(&mut quick, &mut messages).await, Step::Lost(3));
    assert_eq!(read(&mut quick, 1).await, (vec![5], 0));
    assert_eq!(batch(&mut stops).await.len(), 2);
    assert_eq!(step(&mut stops, &mut messages).await, Step::Lost(3), "no fault of its own");
    assert_eq!(stops.position(), position("t@0#4"));
    assert_eq!(read(&mut stops, 1).await, (vec![5], 0));
    // Six have left the ring when the slow one comes back: 0, 1, 5 to 8; 2 to 4 were never there.
    publish(&bench, &mut quick, 6..17).await;
    assert_eq!(step(&mut slow, &mut messages).await, Step::Skipped(6));
    assert_eq!(step(&mut slow, &mut messages).await, Step::Lost(3));
    assert_eq!(read(&mut slow, 8).await, ((9..17).collect(), 0));
}

#[tokio::test]
async fn a_client_that_catches_up_hears_of_what_the_broker_dropped_as_lost() {
    for tells in [false, true] {
        let bench = Bench::new(small_ring());
        let mut quick = bench.join(Begin::Latest).await;
        let mut slow = match tells {
            true => bench.join_telling(Begin::Latest, Lag::CatchUp).await,
            false => bench.join_with(Begin::Latest, Lag::CatchUp).await,
        };
        publish(&bench, &mut quick, 0..100).await;
        bench.drop_before(0, 30);
        let mut messages = Vec::new();
        assert_eq!(step(&mut slow, &mut messages).await, Step::Lost(30));
        assert_eq!(read(&mut slow, 70).await, ((30..100).collect(), 0));
    }
}

#[tokio::test]
async fn how_far_a_client_is_behind_is_seen_while_it_stands_still() {
    let bench = Bench::new(small_ring());
    bench.publish(0..50).await;
    let mut quick = bench.join(Begin::Latest).await;
    let mut catching_up = bench.join_with(Begin::Earliest, Lag::CatchUp).await;
    let mut in_ring = bench.join(Begin::Latest).await;
    assert_eq!((catching_up.standing().behind(), in_ring.standing().behind()), (50, 0));
    publish(&bench, &mut quick, 50..60).await;
    assert_eq!((catching_up.standing().behind(), in_ring.standing().behind()), (60, 10));
    let given = batch(&mut catching_up).await.len() as u64;
    assert_eq!(catching_up.standing().behind(), 60 - given);
    publish(&bench, &mut quick, 60..70).await;
    assert_eq!((catching_up.standing().behind(), in_ring.standing().behind()), (70 - given, 20));
    read(&mut catching_up, 70 - given).await;
    read(&mut in_ring, 20).await;
    assert_eq!((catching_up.standing().behind(), in_ring.standing().behind()), (0, 0));
    let standing = Arc::clone(in_ring.standing());
    drop((in_ring, catching_up, quick, bench));
    assert_eq!(standing.behind(), 0, "the hub is gone, or nobody is behind");
}

#[tokio::test]
async fn one_of_a_thousand_clients_that_reads_nothing_keeps_no_message() {
    let bench = Bench::new(small_ring());
    let mut quick = bench.join_telling(Begin::Latest, Lag::Skip).await;
    let mut others = Vec::new();
    for index in 0..999 {
        let lag = [Lag::Skip, Lag::Stop, Lag::CatchUp][index % 3];
        others.push(bench.join_telling(Begin::Latest, lag).await);
    }
    let mut handed_out: Vec<Weak<str>> = Vec::new();
    while handed_out.len() < 500 {
        let number = handed_out.len() as u32;
        bench.publish(number..number + 1).await;
        handed_out.extend(
            batch(&mut quick).await.iter().map(|message| Arc::downgrade(message.position().unwrap())),
        );
    }
    let kept = handed_out.iter().filter(|text| text.upgrade().is_some()).count();
    // The ring, and the text of the last message, which is one of them.
    assert_eq!(kept, 8);
    assert_eq!(others[0].standing().behind(), 500);
}

#[tokio::test]
async fn an_overrun_client_resumes_also_across_a_broken_connection() {
    let bench = Bench::new(small_ring());
    let mut quick = bench.join(Begin::Latest).await;
    let mut slow = bench.join_telling(Begin::Latest, Lag::Stop).await;
    publish(&bench, &mut quick, 0..3).await;
    let told = batch(&mut slow).await.pop().unwrap();
    bench.flaky.break_next(Fault::Fetch(ErrorKind::Unreachable));
    publish(&bench, &mut quick, 3..30).await;
    assert!(matches!(step(&mut slow, &mut Vec::new()).await, Step::Overrun(_)));
    assert_eq!(Position::decode(told.position().unwrap()).unwrap(), slow.position());
    let mut again = bench.join_telling(Begin::After(slow.position()), Lag::CatchUp).await;
    let given = u64::from(crate::number(&told)) + 1;
    assert_eq!(read(&mut again, 30 - given).await, ((given as u32..30).collect(), 0));
}

#[tokio::test]
async fn clients_of_all_kinds_leave_their_hub_alone_when_they_go() {
    let bench = Bench::new(HubOptions { linger: std::time::Duration::from_millis(20), ..small_ring() });
    for lag in [Lag::Skip, Lag::Stop, Lag::CatchUp] {
        let cursors =
            [bench.join_telling(Begin::Latest, lag).await, bench.join_with(Begin::Latest, lag).await];
        assert_eq!(bench.metrics.hub_consumers.get(), 1);
        drop(cursors);
        crate::within(async {
            while bench.metrics.hub_consumers.get() > 0 {
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
        })
        .await;
    }
}
