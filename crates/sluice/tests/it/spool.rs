//! A spool on the real binary: what it takes while Kafka is away reaches Kafka, whatever happens to the gateway.

use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};

use crate::harness::{Sse, Starting, kafka, kafka_topic, native_api, until};

/// Lets the Kafka of the tests be found at this address, from now on.
async fn find_kafka_at(address: &str) {
    let listener = TcpListener::bind(address).await.unwrap();
    let kafka = kafka().split(',').next().unwrap().to_owned();
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let kafka = kafka.clone();
            tokio::spawn(async move {
                let mut broker = TcpStream::connect(kafka).await.unwrap();
                let _over = tokio::io::copy_bidirectional(&mut client, &mut broker).await;
            });
        }
    });
}

#[tokio::test]
async fn what_the_spool_took_while_kafka_was_away_reaches_it_in_order_although_the_gateway_was_killed() {
    let topic = kafka_topic("spooled", 1).await;
    // A port that was free a moment ago, with nothing behind it.
    let away = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let consumer = json!({ "autoOffsetReset": "earliest" });
    let settings = json!({ "bootstrapServers": away, "topics": [topic], "consumer": consumer });
    let mut api = native_api("Spooled", "/spooled", &json!({ "type": "kafka", "configuration": settings }));
    api["guarantees"] = json!({ "spool": { "maxBytes": 1 << 20 } });
    let gateway = Starting::run().api(&api).start().await;

    let body = |number: usize| format!("{number} {}", "x".repeat(100_000));
    let mut acknowledged = 0;
    let refused = loop {
        let answer = gateway.post("/spooled", body(acknowledged)).await;
        if answer.status() != 202 {
            break answer;
        }
        acknowledged += 1;
    };
    assert!((2..20).contains(&acknowledged), "{acknowledged} messages are not about one MiB");
    assert_eq!(refused.status(), 503);
    assert!(refused.headers().contains_key("retry-after"));
    assert_eq!(refused.json::<Value>().await.unwrap()["code"], "broker.overloaded");
    let spool = gateway.shown("/apis/spooled").await["spool"].clone();
    assert_eq!((&spool["waitingMessages"], &spool["setAsideMessages"]), (&json!(acknowledged), &json!(0)));
    assert!(spool["waitingBytes"].as_u64().unwrap() <= 1 << 20, "{spool}");
    assert!(spool["oldestWaitingSince"].is_string(), "{spool}");

    let gateway = gateway.kill().start().await;
    assert_eq!(gateway.shown("/apis/spooled").await["spool"]["waitingMessages"], acknowledged);
    until("the reason to show", || async {
        gateway.shown("/apis/spooled").await["spool"]["lastError"]["code"] == "broker.unreachable"
    })
    .await;
    find_kafka_at(&away).await;
    until("the spool to be empty", || async { gateway.metric("sluice_spool_waiting_messages").await == 0.0 })
        .await;
    gateway.publish("/spooled", &body(acknowledged)).await;
    let mut stream = Sse::open(&gateway, "/spooled").await;
    for number in 0..=acknowledged {
        let message = stream.message().await;
        assert!(message.starts_with(&format!("{number} ")), "{message:.5} in place of {number}");
    }
    let forwarded = (acknowledged + 1) as f64;
    assert_eq!(gateway.metric("sluice_spool_forwarded_messages_total").await, forwarded);
}
