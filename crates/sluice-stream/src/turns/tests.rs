//! Turns over readers that always have a message, on a clock of their own.

use futures_util::{FutureExt, future::BoxFuture};
use sluice_message::Position;

use super::*;

/// A reader that never comes to its end.
struct Endless;

impl Consumer for Endless {
    fn fetch<'a>(
        &'a mut self,
        batch: &'a mut Vec<Message>,
        _: BatchLimit,
    ) -> BoxFuture<'a, Result<(), DriverError>> {
        batch.push(Message::builder().build());
        async { Ok(()) }.boxed()
    }

    fn commit<'a>(&'a mut self, _: &'a Position) -> BoxFuture<'a, Result<(), DriverError>> {
        async { Ok(()) }.boxed()
    }
}

fn turns(count: usize) -> Arc<Turns> {
    Turns::new(count, &Arc::default())
}

async fn turn(turns: &Turns, side: Side) -> Turn {
    let permit = turns.wait(side).await.unwrap();
    turns.give(permit, Box::new(Endless))
}

/// Uses a turn every 900 ms until it is over; says for how long it was kept.
async fn keep(turn: Turn) -> Duration {
    let begin = Instant::now();
    let mut batch = Vec::new();
    while let Some(fetched) = turn.fetch(&mut batch, BatchLimit { messages: 1, bytes: 1 }).await {
        fetched.unwrap();
        sleep(Duration::from_millis(900)).await;
    }
    begin.elapsed()
}

/// Whether a turn comes within a minute to one who waits.
async fn comes(turns: &Turns, side: Side) -> bool {
    tokio::time::timeout(Duration::from_secs(60), turn(turns, side)).await.is_ok()
}

#[tokio::test(start_paused = true)]
async fn a_turn_that_is_used_all_the_time_goes_round() {
    let turns = turns(2);
    let begin = Instant::now();
    for _ in 0..2 {
        tokio::spawn(keep(turn(&turns, Side::Client).await));
    }
    let waiters = (0..4).map(|_| async {
        let own = turn(&turns, Side::Client).await;
        tokio::spawn(keep(own));
        begin.elapsed()
    });
    let came = futures_util::future::join_all(waiters).await;
    // Looked at every 900 ms, five seconds are 5.4.
    let expected = [5_400, 5_400, 10_800, 10_800].map(Duration::from_millis);
    assert_eq!(came, expected);
}

#[tokio::test(start_paused = true)]
async fn a_turn_is_kept_while_nobody_waits() {
    let turns = turns(1);
    let kept = tokio::spawn(keep(turn(&turns, Side::Client).await));
    sleep(Duration::from_secs(60)).await;
    assert!(!kept.is_finished());
    assert!(comes(&turns, Side::Subscription).await);
    assert!(kept.await.unwrap() >= Duration::from_secs(60));
}

#[tokio::test(start_paused = true)]
async fn who_lost_a_turn_queues_behind_those_who_wait() {
    let turns = turns(1);
    let first = turn(&turns, Side::Client).await;
    let order = Mutex::new(Vec::new());
    let again = async {
        keep(first).await;
        let _turn = turn(&turns, Side::Client).await;
        order.lock().unwrap().push("first");
    };
    let (turns, order) = (&turns, &order);
    let others = ["second", "third"].map(|name| async move {
        let own = turn(turns, Side::Client).await;
        order.lock().unwrap().push(name);
        keep(own).await;
    });
    tokio::join!(again, futures_util::future::join_all(others));
    assert_eq!(*order.lock().unwrap(), ["second", "third", "first"]);
}

#[tokio::test(start_paused = true)]
async fn neither_side_can_have_the_turns_that_are_reserved_for_the_other() {
    for (greedy, other) in [(Side::Client, Side::Subscription), (Side::Subscription, Side::Client)] {
        let turns = turns(8);
        let mut held = Vec::new();
        for _ in 0..6 {
            held.push(turns.wait(greedy).await.unwrap());
        }
        assert!(turns.wait(greedy).now_or_never().is_none());
        let _reserved = [turns.wait(other).await.unwrap(), turns.wait(other).await.unwrap()];
        assert!(turns.wait(other).now_or_never().is_none());
        // Those for all come to whoever waits.
        held.clear();
        assert!(comes(&turns, other).await);
    }
}

#[tokio::test(start_paused = true)]
async fn an_unused_turn_is_taken_by_those_only_who_may_have_it() {
    let turns = turns(4);
    let of_clients = turn(&turns, Side::Client).await;
    let _in_use = [turns.wait(Side::Client).await.unwrap(), turns.wait(Side::Client).await.unwrap()];
    let _of_subscriptions = turns.wait(Side::Subscription).await.unwrap();
    assert!(!comes(&turns, Side::Subscription).await);
    let mut batch = Vec::new();
    let limit = BatchLimit { messages: 1, bytes: 1 };
    assert!(of_clients.fetch(&mut batch, limit).await.is_some());
    assert!(comes(&turns, Side::Client).await);
    assert!(of_clients.fetch(&mut batch, limit).await.is_none());
}
