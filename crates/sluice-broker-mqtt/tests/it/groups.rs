//! Durable readers: what a gateway that is killed comes back to.

use std::sync::Arc;

use serde_json::{Value, json};
use sluice_broker::{BrokerDriver, ErrorKind, StartAt};

use crate::support::{
    commit, consume, group, next, numbered, payloads, plain, publish, step, text, told, try_consume, unused,
    with,
};

/// What is left of a gateway that was killed: its connections end without a word.
async fn kill(runtime: tokio::runtime::Runtime) {
    step("the runtime ends", tokio::task::spawn_blocking(move || drop(runtime))).await.expect("it ends");
}

async fn loses_nothing_when_killed(settings: Value) {
    let topic = unused("killed");
    let gateway = tokio::runtime::Runtime::new().expect("a runtime");
    let (of, with_settings) = (topic.clone(), settings.clone());
    let killed = gateway.spawn(async move {
        let mqtt = with(with_settings);
        let mut reader = consume(&mqtt, &[of.as_str()], group(&of, true)).await;
        for payload in numbered(0..6) {
            publish(&mqtt, of.clone(), &payload).await;
        }
        let mut read = Vec::new();
        for _ in 0..4 {
            read.push(next(&mut reader).await);
        }
        commit(&mut reader, &read[1]).await;
        // Later than any acknowledgement that was handed over before.
        publish(&mqtt, of, "m6").await;
        std::mem::forget((reader, mqtt));
    });
    step("the first gateway reads", killed).await.expect("it reads");
    kill(gateway).await;
    publish(&plain(), topic.clone(), "m7").await;
    let mqtt = with(settings);
    let mut reader = consume(&mqtt, &[topic.as_str()], group(&topic, true)).await;
    let mut found = Vec::new();
    while found.last().is_none_or(|last| last != "m7") {
        let message = next(&mut reader).await;
        found.push(text(&message));
        commit(&mut reader, &message).await;
    }
    // Whether the broker got the acknowledgements of the first two, the kill may have left open.
    found.retain(|payload| payload != "m0" && payload != "m1");
    assert_eq!(found, numbered(2..8));
    step("close", mqtt.close()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_gateway_loses_nothing() {
    for version in ["5", "3.1.1"] {
        for qos in [1, 2] {
            loses_nothing_when_killed(
                json!({"version": version, "consumer": {"qos": qos}, "producer": {"qos": qos}}),
            )
            .await;
        }
    }
}

#[tokio::test]
async fn what_was_not_committed_comes_again_and_then_what_came_meanwhile() {
    let (mqtt, topic) = (plain(), unused("again"));
    let mut reader = consume(&mqtt, &[topic.as_str()], group(&topic, true)).await;
    for payload in numbered(0..3) {
        publish(&mqtt, topic.clone(), &payload).await;
    }
    let read = [next(&mut reader).await, next(&mut reader).await, next(&mut reader).await];
    commit(&mut reader, &read[0]).await;
    drop(reader);
    publish(&mqtt, topic.clone(), "m3").await;
    let mut reader = consume(&mqtt, &[topic.as_str()], group(&topic, true)).await;
    assert_eq!(payloads(&mut reader, 3).await, numbered(1..4));
}

#[tokio::test]
async fn a_sole_reader_is_the_only_one_of_its_group() {
    let (mqtt, topic) = (plain(), unused("sole"));
    let reader = consume(&mqtt, &[topic.as_str()], group(&topic, true)).await;
    let second =
        try_consume(&mqtt, &[topic.as_str()], group(&topic, true)).await.err().expect("there is one");
    assert!(second.retryable() && second.message.contains(topic.as_str()), "{second}");
    drop(reader);
    consume(&mqtt, &[topic.as_str()], group(&topic, true)).await;
}

#[tokio::test]
async fn members_of_a_group_share_the_work_and_come_back_to_what_they_left() {
    let (mqtt, topic) = (plain(), unused("members"));
    let start = || group(&topic, false);
    let mut first = consume(&mqtt, &[topic.as_str()], start()).await;
    let mut second = consume(&mqtt, &[topic.as_str()], start()).await;
    for payload in numbered(0..6) {
        publish(&mqtt, topic.clone(), &payload).await;
    }
    let (of_first, mut of_second) = (payloads(&mut first, 3).await, Vec::new());
    for _ in 0..3 {
        let message = next(&mut second).await;
        of_second.push(text(&message));
        commit(&mut second, &message).await;
    }
    let mut all: Vec<_> = of_first.iter().chain(&of_second).cloned().collect();
    all.sort();
    assert_eq!(all, numbered(0..6));
    drop(first);
    // What the first had not committed waits for the next with its number; what is new goes to whoever is there, as
    // soon as the first has said goodbye.
    let mut first = consume(&mqtt, &[topic.as_str()], start()).await;
    assert_eq!(payloads(&mut first, 3).await, of_first);
}

#[tokio::test]
async fn a_durable_reader_at_qos_0_is_refused() {
    let (mqtt, topic) = (with(json!({"consumer": {"qos": 0}})), unused("qos-0"));
    assert!(!mqtt.capabilities().groups);
    let error =
        try_consume(&mqtt, &[topic.as_str()], group(&topic, true)).await.err().expect("nothing is kept");
    assert_eq!(error.kind, ErrorKind::Unsupported);
    assert!(error.message.contains("consumer.qos"), "{error}");
}

#[tokio::test]
async fn a_session_takes_up_new_filters_and_leaves_out_what_is_wanted_no_more() {
    let (mqtt, root) = (plain(), unused("changed"));
    let [old, kept, new] = ["old", "kept", "new"].map(|name| format!("{root}/{name}"));
    drop(consume(&mqtt, &[&old, &kept], group(&root, true)).await);
    publish(&mqtt, &*kept, "while away").await;
    let mut reader = consume(&mqtt, &[&kept, &new], group(&root, true)).await;
    for topic in [&old, &new] {
        publish(&mqtt, &**topic, topic).await;
    }
    assert_eq!(payloads(&mut reader, 2).await, ["while away", &new]);
}

#[tokio::test]
async fn a_durable_reader_works_under_a_share_of_others() {
    let (mqtt, topic) = (with(json!({"consumer": {"share": "fleet"}})), unused("fleet"));
    let mut durable = consume(&mqtt, &[topic.as_str()], group(&topic, true)).await;
    let mut other = consume(&mqtt, &[topic.as_str()], StartAt::Latest).await;
    for payload in numbered(0..4) {
        publish(&mqtt, topic.clone(), &payload).await;
    }
    let mut all = [payloads(&mut durable, 2).await, payloads(&mut other, 2).await].concat();
    all.sort();
    assert_eq!(all, numbered(0..4));
}

#[tokio::test]
async fn a_retained_message_comes_to_a_durable_reader_once() {
    let (mqtt, topic) = (with(json!({"producer": {"retained": true}})), unused("retained-once"));
    publish(&mqtt, topic.clone(), "retained").await;
    let mut reader = consume(&mqtt, &[topic.as_str()], group(&topic, true)).await;
    let retained = next(&mut reader).await;
    assert_eq!(told(&retained, "retain").as_deref(), Some("true"));
    commit(&mut reader, &retained).await;
    drop(reader);
    let mut reader = consume(&mqtt, &[topic.as_str()], group(&topic, true)).await;
    publish(&plain(), topic.clone(), "new").await;
    assert_eq!(payloads(&mut reader, 1).await, ["new"]);
    publish(&mqtt, topic, "").await;
}

#[tokio::test]
async fn many_drivers_of_one_process_do_not_drive_each_other_out() {
    let drivers: Vec<_> = (0..4).map(|_| Arc::new(plain())).collect();
    let topic = unused("many");
    let mut readers = Vec::new();
    for mqtt in &drivers {
        readers.push(consume(mqtt, &[topic.as_str()], StartAt::Latest).await);
        publish(mqtt, unused("nothing"), "connects").await;
    }
    publish(&drivers[0], topic, "m").await;
    for reader in &mut readers {
        assert_eq!(payloads(reader, 1).await, ["m"]);
    }
}
