//! Any order of publishing, reading, falling behind, coming again and losing at the broker: every message is
//! handed out in order, or accounted for.

use proptest::prelude::*;
use sluice_broker::ErrorKind;
use sluice_message::{Message, Partition, Position, Topic};
use sluice_stream::{Begin, Cursor, Joining, Lag, Step};

use crate::{Bench, flaky::Fault, number, resume::small_ring, within};

#[derive(Debug, Clone)]
enum Act {
    Publish(usize, u32),
    Read(usize),
    /// A client comes again behind one of the messages that it was handed, wherever in its past.
    Resume(usize, prop::sample::Index),
    /// The broker drops what it has of a topic, up to one of its messages.
    Drop(usize, prop::sample::Index),
    Break,
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let act = prop_oneof![
        20 => (0usize..2, 1u32..20).prop_map(|(topic, count)| Act::Publish(topic, count)),
        25 => (0usize..6).prop_map(Act::Read),
        6 => (0usize..6, any::<prop::sample::Index>()).prop_map(|(client, place)| Act::Resume(client, place)),
        2 => (0usize..2, any::<prop::sample::Index>()).prop_map(|(topic, place)| Act::Drop(topic, place)),
        1 => Just(Act::Break),
    ];
    prop::collection::vec(act, 0..60)
}

/// A client with what it knows of each topic.
struct Client {
    cursor: Cursor,
    joining: Joining,
    /// The message of each topic that it expects next.
    next: [u64; 2],
    /// Messages that it was told to be missing and that it has not come past yet.
    missing: u64,
    /// The texts of all messages that it was handed.
    told: Vec<String>,
}

impl Client {
    async fn join(bench: &Bench, joining: Joining, next: [u64; 2]) -> Self {
        let cursor = bench.join_as(joining.clone()).await;
        Self { cursor, joining, next, missing: 0, told: Vec::new() }
    }

    fn unread(&self, published: [u32; 2]) -> u64 {
        u64::from(published[0] + published[1])
            .checked_sub(self.next[0] + self.next[1] + self.missing)
            .unwrap()
    }

    async fn read(&mut self, bench: &Bench) {
        let mut batch: Vec<Message> = Vec::new();
        let step = within(self.cursor.next(&mut batch)).await.unwrap();
        match (step, self.joining.lag) {
            (Step::Messages, _) => batch.iter().for_each(|message| self.take(message, &bench.topics)),
            (Step::Lost(count), _) | (Step::Skipped(count), Lag::Skip) => self.missing += count,
            (Step::Overrun(_), Lag::Stop) => {
                assert_eq!(within(self.cursor.next(&mut batch)).await.unwrap(), Step::Ended);
                self.joining.begin = Begin::After(self.cursor.position());
                self.cursor = bench.join_as(self.joining.clone()).await;
            }
            (step, lag) => panic!("{step:?} for {lag:?}"),
        }
        self.check_position(&self.cursor.position(), &bench.topics);
    }

    /// A message must be the next of its topic, but for those that are known to be missing.
    fn take(&mut self, message: &Message, topics: &[Topic]) {
        let topic = topics.iter().position(|topic| *topic == message.place().unwrap().topic).unwrap();
        let number = u64::from(number(message));
        let passed = number.checked_sub(self.next[topic]).expect("in order, and nothing twice");
        self.missing = self.missing.checked_sub(passed).expect("what is missing was told");
        self.next[topic] = number + 1;
        if self.joining.tells_positions {
            let text = message.position().expect("every message tells").to_string();
            self.check_position(&Position::decode(&text).unwrap(), topics);
            self.told.push(text);
        }
    }

    /// A position is behind what was handed out, and passes nothing but what is known to be missing.
    fn check_position(&self, position: &Position, topics: &[Topic]) {
        let mut passed = 0;
        for (next, topic) in self.next.iter().zip(topics) {
            let named = position.next(topic, Partition(0)).unwrap_or_default().0;
            passed += named.checked_sub(*next).expect("nothing would come twice");
        }
        // A client that skips may be looked up while the ring has overtaken it and it has not heard so yet.
        let is_exact = self.joining.lag != Lag::Skip || self.joining.tells_positions;
        assert!(!is_exact || passed <= self.missing, "nothing would be passed over");
    }

    /// The same client, come again behind one of its messages; it has forgotten everything else.
    async fn resume(&self, bench: &Bench, place: prop::sample::Index) -> Option<Self> {
        let text = (!self.told.is_empty()).then(|| place.get(&self.told))?;
        let position = Position::decode(text).unwrap();
        let next = |topic: usize| position.next(&bench.topics[topic], Partition(0)).unwrap_or_default().0;
        let next = [next(0), next(1)];
        // What a client missed that skips is counted by the ring, in which it stays.
        let lag = if self.joining.lag == Lag::Stop { Lag::Stop } else { Lag::CatchUp };
        let joining = Joining::new(Begin::After(position), lag).telling_positions(true);
        Some(Self::join(bench, joining, next).await)
    }
}

async fn act_out(acts: Vec<Act>, last: prop::sample::Index) {
    let mut bench = Bench::new(small_ring());
    bench.topics.push("u".into());
    let mut published = [0, 0];
    let mut clients = Vec::new();
    for lag in [Lag::Skip, Lag::Stop, Lag::CatchUp] {
        for tells in [false, true] {
            let joining = Joining::new(Begin::Latest, lag).telling_positions(tells);
            clients.push(Client::join(&bench, joining, [0, 0]).await);
        }
    }
    for act in acts {
        match act {
            Act::Publish(topic, count) => {
                bench.publish_to(topic, published[topic]..published[topic] + count).await;
                published[topic] += count;
            }
            Act::Read(client) if clients[client].unread(published) > 0 => clients[client].read(&bench).await,
            Act::Read(_) => {}
            Act::Resume(client, place) => {
                if let Some(resumed) = clients[client].resume(&bench, place).await {
                    clients[client] = resumed;
                }
            }
            Act::Drop(topic, place) => {
                bench.drop_before(topic, place.index(published[topic] as usize + 1) as u64);
            }
            Act::Break => bench.flaky.break_next(Fault::Fetch(ErrorKind::Unreachable)),
        }
    }
    let mut again = Vec::new();
    for client in &clients {
        again.extend(client.resume(&bench, last).await);
    }
    for client in clients.iter_mut().chain(&mut again) {
        while client.unread(published) > 0 {
            client.read(&bench).await;
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 8, ..ProptestConfig::default() })]
    #[test]
    fn every_message_comes_in_order_or_is_accounted_for(acts in acts(), last in any::<prop::sample::Index>()) {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(act_out(acts, last));
    }
}
