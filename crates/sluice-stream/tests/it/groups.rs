//! Groups: each message to one member, and to another one where that goes before it was done with it.

use sluice_broker::{BatchLimit, ConsumeSpec, StartAt, StopAt};
use sluice_stream::{NoGroup, Sharing};

use super::*;

fn sharing(name: &str) -> Sharing {
    Sharing { owner: "a".into(), name: name.into(), from_earliest: false, confirms: true }
}

impl Bench {
    async fn member(&self, sharing: &Sharing) -> Cursor {
        self.try_member(sharing).await.unwrap()
    }

    async fn try_member(&self, sharing: &Sharing) -> Result<Cursor, NoGroup> {
        within(self.hubs.join_group(&self.driver(), &self.topics, sharing)).await
    }

    async fn publish_keyed(&self, key: &'static str, numbers: std::ops::Range<u32>) {
        for number in numbers {
            let message = Message::builder().key(key).payload(number.to_string()).build();
            within(self.flaky.publish(&self.topics[0], message)).await.unwrap();
        }
    }

    async fn assert_committed(&self, group: &str, next: u32) {
        // A reader of the same group begins behind what is committed.
        let start = StartAt::Group { name: group.into(), from_earliest: true, sole: false };
        let spec = ConsumeSpec { topics: self.topics.clone(), start, stop: StopAt::Never };
        let mut reader = within(self.flaky.consume(spec)).await.unwrap();
        let mut batch = Vec::new();
        within(reader.fetch(&mut batch, BatchLimit { messages: 1, bytes: 1 })).await.unwrap();
        assert_eq!(number(&batch[0]), next);
    }
}

async fn until_no_reader(bench: &Bench) {
    let gone = async {
        while bench.metrics.group_consumers.get() > 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    within(gone).await;
}

/// Takes messages until there are so many, confirming each.
async fn work(cursor: &mut Cursor, count: usize) -> Vec<u32> {
    let mut done = Vec::new();
    while done.len() < count {
        for message in batch(cursor).await {
            done.push(number(&message));
            cursor.confirm().unwrap().done(message.place().unwrap());
        }
    }
    done
}

#[tokio::test]
async fn each_message_goes_to_one_member_and_to_every_client_without_a_group() {
    let bench = Bench::new(HubOptions::default());
    let (mut one, mut other) = (bench.member(&sharing("g")).await, bench.member(&sharing("g")).await);
    let mut alone = bench.join(Begin::Latest).await;
    assert!(alone.confirm().is_none());
    let mut elsewhere = bench.member(&sharing("other")).await;
    bench.publish(0..20).await;
    let mut done = Vec::new();
    while done.len() < 20 {
        let (mut first, mut second) = (Vec::new(), Vec::new());
        let step = within(async {
            tokio::select! {
                step = one.next(&mut first) => step,
                step = other.next(&mut second) => step,
            }
        });
        assert_eq!(step.await.unwrap(), Step::Messages);
        for (cursor, batch) in [(&one, first), (&other, second)] {
            for message in batch {
                done.push(number(&message));
                cursor.confirm().unwrap().done(message.place().unwrap());
            }
        }
    }
    done.sort_unstable();
    assert_eq!(done, (0..20).collect::<Vec<_>>());
    assert_eq!(read(&mut alone, 20).await.0, done);
    let mut all = work(&mut elsewhere, 20).await;
    all.sort_unstable();
    assert_eq!(all, done);
    assert_eq!((bench.metrics.group_consumers.get(), bench.metrics.hub_consumers.get()), (2, 1));
}

#[tokio::test]
async fn what_a_member_was_handed_and_did_not_confirm_goes_to_another() {
    let bench = Bench::new(HubOptions::default());
    let (mut one, mut other) = (bench.member(&sharing("g")).await, bench.member(&sharing("g")).await);
    bench.publish(0..4).await;
    let taken: Vec<_> = batch(&mut one).await.iter().map(number).collect();
    assert_eq!(taken[0], 0);
    drop(one);
    assert_eq!(work(&mut other, 4).await, [0, 1, 2, 3]);
}

#[tokio::test]
async fn a_member_that_takes_nothing_keeps_the_messages_of_its_keys_and_no_others() {
    let bench = Bench::new(HubOptions::default());
    let (mut stuck, mut idle) = (bench.member(&sharing("g")).await, bench.member(&sharing("g")).await);
    bench.publish_keyed("its own", 0..1).await;
    assert_eq!(batch(&mut stuck).await.len(), 1);
    bench.publish_keyed("its own", 1..600).await;
    bench.publish_keyed("free", 600..620).await;
    assert_eq!(work(&mut idle, 20).await, (600..620).collect::<Vec<_>>());
    drop(stuck);
    assert_eq!(work(&mut idle, 600).await, (0..600).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_gateway_that_comes_after_another_goes_on_behind_what_was_confirmed() {
    let mut bench = Bench::new(HubOptions { linger: Duration::ZERO, ..HubOptions::default() });
    let mut one = bench.member(&sharing("g")).await;
    bench.publish(0..6).await;
    let mut taken = Vec::new();
    while taken.len() < 6 {
        taken.extend(batch(&mut one).await);
    }
    for done in [0, 1, 3] {
        one.confirm().unwrap().done(taken[done].place().unwrap());
    }
    drop(one);
    until_no_reader(&bench).await;
    bench.restart(HubOptions::default());
    let mut next = bench.member(&sharing("g")).await;
    assert_eq!(work(&mut next, 4).await, [2, 3, 4, 5]);
}

#[tokio::test]
async fn what_a_client_that_confirms_nothing_takes_is_committed() {
    let bench = Bench::new(HubOptions { linger: Duration::ZERO, ..HubOptions::default() });
    let mut one = bench.member(&Sharing { confirms: false, ..sharing("g") }).await;
    assert!(one.confirm().is_none());
    bench.publish(0..3).await;
    assert_eq!(read(&mut one, 3).await.0, [0, 1, 2]);
    drop(one);
    until_no_reader(&bench).await;
    bench.publish(3..4).await;
    bench.assert_committed("g", 3).await;
}

#[tokio::test]
async fn a_new_group_begins_where_it_is_told() {
    let bench = Bench::new(HubOptions::default());
    bench.publish(0..2).await;
    let mut late = bench.member(&sharing("late")).await;
    let mut early = bench.member(&Sharing { from_earliest: true, ..sharing("early") }).await;
    bench.publish(2..3).await;
    assert_eq!(work(&mut late, 1).await, [2]);
    assert_eq!(work(&mut early, 3).await, [0, 1, 2]);
}

#[tokio::test]
async fn a_broken_connection_loses_nothing_of_a_group() {
    let bench = Bench::new(HubOptions::default());
    bench.flaky.break_next(Fault::Consume(ErrorKind::Unreachable));
    let mut one = bench.member(&sharing("g")).await;
    for round in 1..4 {
        bench.flaky.break_next(Fault::Fetch(ErrorKind::Unreachable));
        bench.publish(round * 10..round * 10 + 2).await;
        assert_eq!(work(&mut one, 2).await, [round * 10, round * 10 + 1]);
    }
}

#[tokio::test]
async fn members_hear_of_a_broker_that_cannot_be_read() {
    let bench = Bench::new(HubOptions::default());
    bench.flaky.break_next(Fault::Consume(ErrorKind::Configuration));
    let refused = bench.try_member(&sharing("g")).await;
    assert!(matches!(refused, Err(NoGroup::Driver(error)) if error.kind == ErrorKind::Configuration));
    let mut one = bench.member(&sharing("g")).await;
    bench.flaky.break_next(Fault::Fetch(ErrorKind::Configuration));
    bench.publish(0..1).await;
    let ended = within(one.next(&mut Vec::new())).await;
    assert_eq!(ended.unwrap_err().kind, ErrorKind::Configuration);
    let mut again = bench.member(&sharing("g")).await;
    assert_eq!(work(&mut again, 1).await, [0], "the next one makes the group anew");
}

#[tokio::test]
async fn one_owner_has_so_many_groups_and_others_have_theirs() {
    let bench = Bench::new(HubOptions { max_groups: 1, linger: Duration::ZERO, ..HubOptions::default() });
    let first = bench.member(&sharing("one")).await;
    let _same = bench.member(&sharing("one")).await;
    assert!(matches!(bench.try_member(&sharing("two")).await, Err(NoGroup::TooMany)));
    let _other = bench.member(&Sharing { owner: "b".into(), ..sharing("two") }).await;
    drop((first, _same));
    let joined = async {
        while bench.try_member(&sharing("two")).await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    within(joined).await;
}

#[tokio::test]
async fn a_call_that_is_dropped_loses_nothing() {
    let bench = Bench::new(HubOptions::default());
    let mut one = bench.member(&sharing("g")).await;
    let mut done = Vec::new();
    for number in 0..50 {
        let mut taken = Vec::new();
        let dropped = tokio::time::timeout(Duration::ZERO, one.next(&mut taken)).await;
        if dropped.is_ok() {
            done.extend(taken.iter().map(self::number));
        }
        bench.publish(number..number + 1).await;
    }
    while done.len() < 50 {
        done.extend(batch(&mut one).await.iter().map(number));
    }
    assert_eq!(done, (0..50).collect::<Vec<_>>());
}
