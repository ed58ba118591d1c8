//! Who gets what, and what is committed, event by event.

use proptest::prelude::*;
use sluice_message::{Offset, Partition};

use super::*;

fn message(offset: u64, key: Option<&'static str>) -> Message {
    let place = Place { topic: "t".into(), partition: Partition(0), offset: Offset(offset) };
    let builder = Message::builder().place(place).payload(offset.to_string());
    key.map_or_else(|| builder.clone(), |key| builder.clone().key(key)).build()
}

fn add(dealing: &mut Dealing, messages: &[(u64, Option<&'static str>)]) {
    dealing.add(&mut messages.iter().map(|(offset, key)| message(*offset, *key)).collect());
}

fn offsets(batch: &[Message]) -> Vec<u64> {
    batch.iter().filter_map(|message| Some(message.place()?.offset.0)).collect()
}

fn take(dealing: &mut Dealing, id: u64) -> Vec<u64> {
    let mut batch = Vec::new();
    dealing.take(id, &mut batch);
    offsets(&batch)
}

fn confirm(dealing: &mut Dealing, id: u64, offset: u64) {
    dealing.confirm(id, message(offset, None).place().unwrap());
}

fn enter(dealing: &mut Dealing) -> u64 {
    dealing.enter(true, Arc::default())
}

fn next(dealing: &mut Dealing) -> Option<u64> {
    let position = dealing.committable()?;
    position.next(&"t".into(), Partition(0)).map(|next| next.0)
}

#[test]
fn those_who_ask_are_served_in_turn() {
    let mut dealing = Dealing::new();
    let (one, other) = (enter(&mut dealing), enter(&mut dealing));
    for (offset, id) in [(0, other), (1, one), (2, other)] {
        if offset == 0 {
            dealing.ask(other);
            dealing.ask(one);
        }
        add(&mut dealing, &[(offset, None)]);
        assert_eq!(take(&mut dealing, id), [offset]);
        dealing.ask(id);
    }
}

#[test]
fn where_many_wait_each_gets_its_share_and_no_more_than_that() {
    let mut dealing = Dealing::new();
    let (one, other) = (enter(&mut dealing), enter(&mut dealing));
    add(&mut dealing, &(0..10).map(|offset| (offset, None)).collect::<Vec<_>>());
    dealing.ask(one);
    assert_eq!(take(&mut dealing, one), [0, 1, 2, 3, 4]);
    dealing.ask(other);
    assert_eq!(take(&mut dealing, other), [5, 6, 7], "of what is left");
    add(&mut dealing, &(10..100).map(|offset| (offset, None)).collect::<Vec<_>>());
    dealing.ask(one);
    assert_eq!(take(&mut dealing, one).len(), MOST_AT_ONCE);
}

#[test]
fn a_key_stays_with_one_member_until_all_of_it_is_confirmed() {
    let mut dealing = Dealing::new();
    let (one, other) = (enter(&mut dealing), enter(&mut dealing));
    add(&mut dealing, &[(0, Some("a"))]);
    dealing.ask(one);
    assert_eq!(take(&mut dealing, one), [0]);
    dealing.ask(other);
    add(&mut dealing, &[(1, Some("a")), (2, Some("b"))]);
    assert_eq!(take(&mut dealing, other), [2]);
    dealing.ask(one);
    assert_eq!(take(&mut dealing, one), [1]);
    dealing.ask(other);
    add(&mut dealing, &[(3, Some("a"))]);
    confirm(&mut dealing, one, 0);
    assert_eq!(take(&mut dealing, other), [0; 0]);
    confirm(&mut dealing, one, 1);
    assert_eq!(take(&mut dealing, other), [3]);
}

#[test]
fn what_a_member_leaves_behind_goes_to_others_before_what_came_later() {
    let mut dealing = Dealing::new();
    let (one, other) = (enter(&mut dealing), enter(&mut dealing));
    add(&mut dealing, &(0..6).map(|offset| (offset, Some("a"))).collect::<Vec<_>>());
    dealing.ask(one);
    assert_eq!(take(&mut dealing, one), [0, 1, 2]);
    confirm(&mut dealing, one, 0);
    dealing.ask(one);
    assert_eq!(next(&mut dealing), Some(1));
    dealing.ask(other);
    dealing.leave(one);
    assert_eq!(take(&mut dealing, other), [1, 2, 3, 4, 5]);
    assert_eq!(next(&mut dealing), None);
    for offset in 1..6 {
        confirm(&mut dealing, other, offset);
    }
    assert_eq!(next(&mut dealing), Some(6));
}

#[test]
fn only_what_is_confirmed_without_a_hole_is_committed() {
    let mut dealing = Dealing::new();
    let one = enter(&mut dealing);
    add(&mut dealing, &[(0, None), (1, None), (5, None)]);
    dealing.ask(one);
    take(&mut dealing, one);
    confirm(&mut dealing, one, 5);
    assert_eq!(next(&mut dealing), None);
    confirm(&mut dealing, one, 0);
    assert_eq!(next(&mut dealing), Some(1));
    confirm(&mut dealing, one, 1);
    confirm(&mut dealing, one, 1);
    assert_eq!((next(&mut dealing), next(&mut dealing)), (Some(6), None));
}

#[test]
fn a_member_that_confirms_nothing_is_done_with_what_it_takes() {
    let mut dealing = Dealing::new();
    let one = dealing.enter(false, Arc::default());
    add(&mut dealing, &[(0, Some("a")), (1, Some("a"))]);
    dealing.ask(one);
    assert_eq!(next(&mut dealing), None);
    assert_eq!(take(&mut dealing, one), [0, 1]);
    assert_eq!(next(&mut dealing), Some(2));
    assert!(dealing.keys.is_empty());
}

#[test]
fn a_partition_that_begins_again_goes_on_from_there() {
    let mut dealing = Dealing::new();
    let one = enter(&mut dealing);
    add(&mut dealing, &[(0, None), (1, None), (2, None), (3, None)]);
    dealing.ask(one);
    assert_eq!(take(&mut dealing, one), [0, 1, 2, 3]);
    add(&mut dealing, &[(4, None), (5, None)]);
    confirm(&mut dealing, one, 0);
    assert_eq!(next(&mut dealing), Some(1));
    add(&mut dealing, &[(1, None), (2, None)]);
    confirm(&mut dealing, one, 3);
    dealing.ask(one);
    assert_eq!(take(&mut dealing, one), [1, 2], "what was read before comes again from the broker");
    assert_eq!(next(&mut dealing), None);
}

#[test]
fn no_more_is_read_than_there_is_room_for() {
    let mut dealing = Dealing::new();
    assert_eq!(dealing.room().unwrap().messages, AHEAD.messages);
    add(&mut dealing, &(0..255).map(|offset| (offset, None)).collect::<Vec<_>>());
    assert_eq!(dealing.room().unwrap().messages, 1);
    add(&mut dealing, &[(255, None)]);
    assert!(dealing.room().is_none());
    let one = enter(&mut dealing);
    dealing.ask(one);
    assert_eq!(dealing.room().unwrap().messages, MOST_AT_ONCE);
    let large = Message::builder().payload(vec![b'x'; AHEAD.bytes]).build();
    let mut dealing = Dealing::new();
    dealing.add(&mut vec![large]);
    assert!(dealing.room().is_none());
}

#[test]
fn a_message_that_nobody_confirms_lets_a_bounded_number_pass() {
    let mut dealing = Dealing::new();
    let (stuck, busy) = (enter(&mut dealing), dealing.enter(false, Arc::default()));
    add(&mut dealing, &[(0, None)]);
    dealing.ask(stuck);
    assert_eq!(take(&mut dealing, stuck), [0]);
    let mut offset = 1;
    while dealing.room().is_some() {
        add(&mut dealing, &[(offset, None)]);
        dealing.ask(busy);
        assert_eq!(take(&mut dealing, busy), [offset]);
        offset += 1;
    }
    assert_eq!(offset, WINDOW as u64);
    dealing.leave(stuck);
    dealing.ask(busy);
    assert_eq!(take(&mut dealing, busy), [0]);
    assert!(dealing.room().is_some());
    assert_eq!(next(&mut dealing), Some(WINDOW as u64));
}

/// Two members, of which one has a message of the key "a", and the other one none.
fn with_a_stuck_member() -> (Dealing, u64) {
    let mut dealing = Dealing::new();
    let (stuck, idle) = (enter(&mut dealing), enter(&mut dealing));
    add(&mut dealing, &[(0, Some("a"))]);
    dealing.ask(stuck);
    assert_eq!(take(&mut dealing, stuck), [0]);
    (dealing, idle)
}

#[test]
fn what_waits_for_a_busy_member_keeps_nothing_from_one_that_asks() {
    let (mut dealing, idle) = with_a_stuck_member();
    let ahead = AHEAD.messages as u64;
    add(&mut dealing, &(1..=ahead).map(|offset| (offset, Some("a"))).collect::<Vec<_>>());
    assert!(dealing.room().is_none() && !dealing.is_short(), "nobody asks");
    dealing.ask(idle);
    assert!(dealing.is_short());
    assert_eq!(dealing.room().unwrap().messages, AHEAD.messages);
    add(&mut dealing, &[(ahead + 1, Some("a")), (ahead + 2, Some("b"))]);
    assert_eq!(take(&mut dealing, idle), [ahead + 2]);
}

#[test]
fn what_waits_for_a_busy_member_is_bounded_by_the_window() {
    let (mut dealing, idle) = with_a_stuck_member();
    dealing.ask(idle);
    let mut read = 1;
    while let Some(room) = dealing.room() {
        assert!(room.messages <= AHEAD.messages && room.bytes <= AHEAD.bytes);
        add(&mut dealing, &[(read, Some("a"))]);
        read += 1;
    }
    assert_eq!(read, WINDOW as u64);
}

#[test]
fn what_waits_for_a_busy_member_is_bounded_in_bytes() {
    let (mut dealing, idle) = with_a_stuck_member();
    dealing.ask(idle);
    let mut read = 0;
    while dealing.room().is_some() {
        read += 1;
        let place = Place { topic: "t".into(), partition: Partition(0), offset: Offset(read) };
        let large = Message::builder().place(place).key("a").payload(vec![b'x'; 1 << 19]).build();
        dealing.add(&mut vec![large]);
    }
    assert_eq!(dealing.waiting.len(), 8);
    assert!(dealing.waiting_bytes >= PARKED.bytes);
}

/// Something that happens to a group with three members.
#[derive(Debug, Clone)]
enum Event {
    Read(Option<usize>),
    Ask(usize),
    Take(usize),
    Confirm(usize),
    Replace(usize),
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let event = prop_oneof![
        proptest::option::of(0..3usize).prop_map(Event::Read),
        (0..3usize).prop_map(Event::Ask),
        (0..3usize).prop_map(Event::Take),
        (0..3usize).prop_map(Event::Confirm),
        (0..3usize).prop_map(Event::Replace),
    ];
    prop::collection::vec(event, 0..80)
}

proptest! {
    #[test]
    fn whatever_happens_nothing_is_lost_and_every_key_is_handed_out_in_its_order(events in events()) {
        const KEYS: [&str; 3] = ["a", "b", "c"];
        let mut dealing = Dealing::new();
        let mut members = [0, 1, 2].map(|_| enter(&mut dealing));
        let mut held: [VecDeque<u64>; 3] = Default::default();
        let (mut keys, mut confirmed) = (Vec::new(), Vec::new());
        for event in events {
            match event {
                Event::Read(key) => {
                    add(&mut dealing, &[(keys.len() as u64, key.map(|key| KEYS[key]))]);
                    keys.push(key);
                }
                Event::Ask(who) => dealing.ask(members[who]),
                Event::Take(who) => held[who].extend(take(&mut dealing, members[who])),
                Event::Confirm(who) => {
                    if let Some(offset) = held[who].pop_front() {
                        confirm(&mut dealing, members[who], offset);
                        confirmed.push(offset);
                    }
                }
                Event::Replace(who) => {
                    dealing.leave(members[who]);
                    held[who].clear();
                    members[who] = enter(&mut dealing);
                }
            }
            let is_kept_back = |dealt: &Dealt| {
                let holder = dealt.message.key().and_then(|key| dealing.keys.get(key));
                holder.is_some_and(|(holder, _)| !dealing.asks(*holder))
            };
            prop_assert!(!dealing.is_short() || dealing.waiting.iter().all(is_kept_back));
        }
        // The rest goes to the first one.
        members[1..].iter().for_each(|id| dealing.leave(*id));
        loop {
            dealing.ask(members[0]);
            held[0].extend(take(&mut dealing, members[0]));
            let Some(offset) = held[0].pop_front() else { break };
            confirm(&mut dealing, members[0], offset);
            confirmed.push(offset);
        }
        for key in [Some(0), Some(1), Some(2)] {
            let of_key: Vec<_> = confirmed.iter().filter(|offset| keys[**offset as usize] == key).collect();
            prop_assert!(of_key.is_sorted(), "{:?}", of_key);
        }
        confirmed.sort_unstable();
        prop_assert_eq!(&confirmed, &(0..keys.len() as u64).collect::<Vec<_>>());
        prop_assert!(dealing.keys.is_empty() && dealing.window.is_empty() && dealing.waiting_bytes == 0);
        prop_assert_eq!(next(&mut dealing), (!keys.is_empty()).then_some(keys.len() as u64));
    }
}
