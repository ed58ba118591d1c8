//! What was acknowledged is there after the worst end a process can have.

use std::{
    collections::HashSet,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use serde_json::{Value, json};

use crate::harness::{Gateway, Sse, Starting, kafka_broker, kafka_topic, log_broker, native_api, within};

/// Publishers at once, and acknowledgements after which the gateway is killed.
const PUBLISHERS: usize = 16;
const ACKNOWLEDGED_BEFORE_KILL: usize = 500;

/// Publishes from several clients until the gateway is gone; gives what it has acknowledged.
async fn publish_until_killed(gateway: Gateway, round: usize) -> (Starting, Vec<String>) {
    let acknowledged = Arc::new(Mutex::new(Vec::new()));
    let over = Arc::new(AtomicBool::new(false));
    let publishers: Vec<_> = (0..PUBLISHERS)
        .map(|publisher| {
            let (client, url) = (gateway.client().clone(), gateway.url("/load"));
            let (acknowledged, over) = (Arc::clone(&acknowledged), Arc::clone(&over));
            tokio::spawn(async move {
                for number in 0.. {
                    let body = format!("{round}-{publisher}-{number}");
                    match client.post(&url).body(body.clone()).send().await {
                        Ok(response) if response.status() == 202 => acknowledged.lock().unwrap().push(body),
                        // Neither acknowledged nor killed: the publisher would try again.
                        Ok(response) => assert!(!response.status().is_success()),
                        Err(_) if over.load(Ordering::Relaxed) => return,
                        Err(_) => {}
                    }
                }
            })
        })
        .collect();
    within("enough acknowledgements", async {
        while acknowledged.lock().unwrap().len() < ACKNOWLEDGED_BEFORE_KILL {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    })
    .await;
    over.store(true, Ordering::Relaxed);
    let next = gateway.kill();
    for publisher in publishers {
        within("a publisher to see the end", publisher).await.unwrap();
    }
    let acknowledged = acknowledged.lock().unwrap().clone();
    (next, acknowledged)
}

async fn loses_nothing(broker: Value) {
    let mut api = native_api("Load", "/load", &broker);
    api["brokers"][0]["configuration"]["consumer"] = json!({ "autoOffsetReset": "earliest" });
    let mut starting = Starting::run().api(&api);
    let mut acknowledged = HashSet::new();
    for round in 0..3 {
        let gateway = starting.start().await;
        let (next, messages) = publish_until_killed(gateway, round).await;
        assert!(messages.len() >= ACKNOWLEDGED_BEFORE_KILL);
        acknowledged.extend(messages);
        starting = next;
    }
    let gateway = starting.start().await;
    let mut stream = Sse::open(&gateway, "/load").await;
    let mut missing = acknowledged.clone();
    let mut last = std::collections::HashMap::new();
    while !missing.is_empty() {
        let message = stream.message().await;
        let (publisher, number) = message.rsplit_once('-').unwrap();
        let number: u64 = number.parse().unwrap();
        let before = last.insert(publisher.to_owned(), number);
        assert!(before.is_none_or(|before| before <= number), "{message} came after {before:?}");
        missing.remove(&message);
    }
}

#[tokio::test]
async fn a_gateway_killed_under_load_loses_no_acknowledged_message_on_the_embedded_log() {
    loses_nothing(log_broker("load")).await;
}

#[tokio::test]
async fn a_gateway_killed_under_load_loses_no_acknowledged_message_on_kafka() {
    loses_nothing(kafka_broker(&kafka_topic("load", 1).await)).await;
}
