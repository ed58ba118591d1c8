//! What an acknowledgement means, and what the broker refuses.

use futures_util::future::join_all;
use serde_json::json;
use sluice_broker::{BrokerDriver, ErrorKind, StartAt};
use sluice_broker_rabbitmq::{Rabbitmq, RabbitmqOptions};
use sluice_message::{Headers, Message};

use crate::support::{consume, message, open, payloads, plain, publish, step, unused, with};

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_reaches_no_queue_is_acknowledged_unless_it_must() {
    let topic = unused("nobody-reads");
    publish(&open(&plain()), &topic, "forgotten").await;
    let strict = open(&with(json!({"producer": {"mandatory": true}})));
    let error =
        step("publish to nobody", strict.publish(&topic, message("lost"))).await.expect_err("unroutable");
    assert_eq!(error.kind, ErrorKind::NoTopic);
    assert!(error.message.contains(topic.as_str()), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn among_many_at_once_only_those_fail_that_reach_no_queue() {
    const COUNT: usize = 400;
    let strict = open(&with(json!({"producer": {"mandatory": true}})));
    let (read, unread) = (unused("read"), unused("unread"));
    let mut reader = consume(&strict, &[&read], StartAt::Latest).await;
    let topics = (0..COUNT).map(|number| if number % 2 == 0 { &read } else { &unread });
    let published = join_all(topics.map(|topic| strict.publish(topic, message("x"))));
    for (number, result) in step("publish", published).await.into_iter().enumerate() {
        let kind = result.err().map(|error| error.kind);
        assert_eq!(kind, (number % 2 == 1).then_some(ErrorKind::NoTopic), "message {number}");
    }
    assert_eq!(payloads(&mut reader, COUNT / 2).await.len(), COUNT / 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_messages_are_under_way_at_once_and_arrive_in_order() {
    const COUNT: usize = 5000;
    let rabbitmq = open(&plain());
    let topic = unused("pipelined");
    let mut reader = consume(&rabbitmq, &[&topic], StartAt::Latest).await;
    let numbers: Vec<String> = (0..COUNT).map(|number| number.to_string()).collect();
    let published = join_all(numbers.iter().map(|number| rabbitmq.publish(&topic, message(number))));
    assert!(step("publish", published).await.iter().all(Result::is_ok));
    assert_eq!(payloads(&mut reader, COUNT).await, numbers);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_over_the_brokers_limit_is_sent_once_and_its_limit_learnt() {
    let rabbitmq = open(&plain());
    let topic = unused("too-large");
    let large = Message::builder().payload(vec![b'x'; 3 << 20]).build();
    for _ in 0..2 {
        let error = step("publish", rabbitmq.publish(&topic, large.clone())).await.expect_err("too large");
        assert_eq!(error.kind, ErrorKind::TooLarge, "{error}");
    }
    let largest = Message::builder().payload(vec![b'x'; 2 << 20]).build();
    step("publish the largest", rabbitmq.publish(&topic, largest)).await.expect("RabbitMQ takes it");
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_that_fill_more_than_a_frame_are_too_large_and_harm_no_other() {
    let rabbitmq = open(&plain());
    let topic = unused("large-header");
    publish(&rabbitmq, &topic, "before").await;
    for (bytes, kind) in [(129 << 10, Some(ErrorKind::TooLarge)), (120 << 10, None)] {
        let headers: Headers = [("large", vec![b'x'; bytes])].into_iter().collect();
        let message = Message::builder().payload("x").headers(headers).build();
        let published = step("publish", rabbitmq.publish(&topic, message)).await;
        assert_eq!(published.err().map(|error| error.kind), kind, "{bytes} bytes");
    }
    publish(&rabbitmq, &topic, "after").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn more_than_the_bounds_allow_is_overloaded() {
    let topic = unused("bounds");
    let few = RabbitmqOptions { queue_messages: 2, queue_kib: 4, ..RabbitmqOptions::default() };
    let rabbitmq = Rabbitmq::open(&plain(), few).expect("opening needs no broker");
    publish(&rabbitmq, &topic, "connected").await;
    let results =
        step("publish", join_all(["a", "b", "c"].map(|one| rabbitmq.publish(&topic, message(one))))).await;
    let kinds = results.into_iter().map(|result| result.err().map(|error| error.kind));
    assert_eq!(kinds.collect::<Vec<_>>(), [None, None, Some(ErrorKind::Overloaded)]);
    let large = || Message::builder().payload(vec![b'x'; 3000]).build();
    let results = step("publish", join_all([(); 2].map(|()| rabbitmq.publish(&topic, large())))).await;
    let kinds = results.into_iter().map(|result| result.err().map(|error| error.kind));
    assert_eq!(kinds.collect::<Vec<_>>(), [None, Some(ErrorKind::Overloaded)]);
    publish(&rabbitmq, &topic, "room again").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_publish_that_nobody_waits_for_any_more_is_followed_to_its_end() {
    let topic = unused("abandoned");
    let few = RabbitmqOptions { queue_messages: 1, ..RabbitmqOptions::default() };
    let rabbitmq = Rabbitmq::open(&plain(), few).expect("opening needs no broker");
    let mut reader = consume(&rabbitmq, &[&topic], StartAt::Latest).await;
    publish(&rabbitmq, &topic, "connected").await;
    for _ in 0..20 {
        let mut abandoned = rabbitmq.publish(&topic, message("abandoned"));
        let polled = futures_util::FutureExt::now_or_never(&mut abandoned);
        assert!(polled.is_none_or(|result| result.is_err_and(|error| error.kind == ErrorKind::Overloaded)));
    }
    assert_eq!(payloads(&mut reader, 2).await, ["connected", "abandoned"]);
    step("close", rabbitmq.close()).await;
}
