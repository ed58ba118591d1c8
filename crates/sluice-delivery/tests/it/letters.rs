//! Dead letters that are larger than their broker takes, that are in several topics, or that are of others.

use sluice_broker::{BatchLimit, BrokerDriver, ConsumeSpec, Log, LogOptions, StartAt, StopAt};
use sluice_delivery::Replay;
use sluice_message::{Headers, Message, Topic};

use crate::{
    bench::{Bench, Offer, patient, until},
    receiver::{Receiver, Reply},
};

/// Bytes of the largest message of the broker.
const LIMIT: usize = 4096;

fn offer() -> Offer {
    Offer { dead_letters: true, ..Offer::default() }
}

/// What a topic has.
async fn all(log: &Log, topic: &str) -> Vec<Message> {
    let topics = vec![Topic::from(topic)];
    let spec = ConsumeSpec { topics, start: StartAt::Earliest, stop: StopAt::End };
    let mut consumer = log.consume(spec).await.unwrap();
    let (mut all, mut batch) = (Vec::new(), Vec::new());
    loop {
        consumer.fetch(&mut batch, BatchLimit { messages: 100, bytes: 1 << 20 }).await.unwrap();
        if batch.is_empty() {
            return all;
        }
        all.append(&mut batch);
    }
}

fn of(length: usize) -> Message {
    Message::builder().payload("x".repeat(length)).build()
}

#[tokio::test]
async fn a_letter_that_is_too_large_for_its_broker_has_less_in_it_and_never_stops_a_subscription() {
    let dir = tempfile::tempdir().unwrap();
    let log =
        Log::open(dir.path(), LogOptions { max_message_bytes: LIMIT, ..LogOptions::default() }).unwrap();
    let (bench, mut receiver) = (Bench::new(), Receiver::start().await);
    bench.offer_from(&log, &offer());
    bench.subscribe("s", patient(receiver.url("/"), 1)).await;
    receiver.answers([const { Reply::Status(422) }; 5]);
    let publish = async |message| log.publish(&Topic::from("t"), message).await.unwrap();

    publish(of(10)).await;
    until(async || bench.metrics.dead_lettered.get() == 1).await;
    let room = LIMIT - all(&log, "dead").await[0].size() + 10;
    let overhead = of(0).size();
    for message in [of(room), of(room + 1), of(LIMIT - overhead)] {
        publish(message).await;
    }
    // Not even its key has room beside what is known of it.
    publish(Message::builder().payload("x").key("k".repeat(LIMIT - overhead - 1)).build()).await;
    publish(of(11)).await;
    until(async || bench.metrics.delivered.get() == 1).await;
    assert_eq!((bench.metrics.dead_lettered.get(), bench.metrics.given_up.get()), (4, 1));
    let letters = all(&log, "dead").await;
    let has =
        |name: &str| letters.iter().map(|letter| letter.headers().get(name).is_some()).collect::<Vec<_>>();
    assert_eq!(
        letters.iter().map(|letter| letter.payload().len()).collect::<Vec<_>>(),
        [10, room, room + 1, 0]
    );
    assert_eq!(has("sluice-dlq-cause"), [true, true, false, true]);
    assert_eq!(has("sluice-dlq-payload"), [false, false, false, true]);
    assert_eq!(has("sluice-dlq-offset"), [true; 4]);

    let brought = receiver.texts(6).await.len();
    bench.replay("s", Replay::DeadLetters).await.unwrap();
    until(async || bench.metrics.replayed.get() == 3).await;
    until(async || bench.metrics.letters_passed_over.get() == 1).await;
    let again: Vec<_> = receiver.texts(3).await.iter().map(String::len).collect();
    assert_eq!((brought, again), (6, vec![10, room, room + 1]));
    publish(of(12)).await;
    assert_eq!(receiver.texts(1).await[0].len(), 12, "the letter without its message is not brought");
}

#[tokio::test]
async fn a_letter_in_several_topics_is_brought_once_and_one_of_another_api_never() {
    let (bench, mut receiver) = (Bench::new(), Receiver::start().await);
    bench.offer(&offer());
    bench.subscribe("s", patient(receiver.url("/"), 1)).await;
    let ids = [("sluice-dlq-api", "b"), ("sluice-dlq-subscription", "s")];
    let other = Message::builder().payload("other").headers(Headers::from_iter(ids)).build();
    bench.log.publish(&Topic::from("dead"), other).await.unwrap();
    receiver.answers([Reply::Status(422)]);
    bench.publish("bad").await;
    assert_eq!(receiver.texts(1).await, ["bad"]);
    until(async || bench.metrics.dead_lettered.get() == 1).await;
    assert_eq!((all(&bench.log, "dead").await.len(), all(&bench.log, "copies").await.len()), (2, 1));

    bench.replay("s", Replay::DeadLetters).await.unwrap();
    assert_eq!(receiver.texts(1).await, ["bad"]);
    until(async || bench.metrics.replayed.get() == 1).await;
    bench.replay("s", Replay::DeadLetters).await.unwrap();
    bench.publish("usual").await;
    assert_eq!(receiver.texts(1).await, ["usual"]);
    assert_eq!(bench.metrics.replayed.get(), 1);
}
