//! A broker that is frozen, and readers that do not ask.

use std::{sync::Arc, time::Duration};

use serde_json::json;
use sluice_broker::{BrokerDriver, ErrorKind, StartAt};
use sluice_broker_mqtt::{Mqtt, MqttOptions};
use sluice_message::Message;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
};

use crate::support::{
    consume, group, message, next, payloads, plain, publish, settings, step, text, unused, variable, with,
};

/// A way to the broker that stops forwarding without closing anything. Connections made later pass.
struct Proxy {
    address: String,
    frozen: watch::Sender<usize>,
}

impl Proxy {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it is bound").to_string();
        // Connections below this number are frozen.
        let (frozen, below) = watch::channel(0);
        tokio::spawn(async move {
            for number in 0.. {
                let (client, _) = listener.accept().await.expect("it listens");
                let broker =
                    TcpStream::connect(variable("SLUICE_TEST_MQTT")).await.expect("the broker is there");
                let ((from_client, to_client), (from_broker, to_broker)) =
                    (client.into_split(), broker.into_split());
                tokio::spawn(pump(from_client, to_broker, number, below.clone()));
                tokio::spawn(pump(from_broker, to_client, number, below.clone()));
            }
        });
        Self { address, frozen }
    }

    /// The first so many connections forward nothing any more.
    fn freeze(&self, connections: usize) {
        self.frozen.send_replace(connections);
    }
}

async fn pump(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, number: usize, below: watch::Receiver<usize>) {
    let mut buffer = vec![0; 4096];
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        if *below.borrow() > number {
            std::future::pending::<()>().await;
        }
        if to.write_all(&buffer[..count]).await.is_err() {
            return;
        }
    }
}

#[tokio::test]
async fn a_frozen_broker_is_found_out_by_keep_alive_and_the_reader_goes_on() {
    for version in ["5", "3.1.1"] {
        let (proxy, direct, topic) = (Proxy::start().await, plain(), unused("frozen"));
        let through = settings(&proxy.address, json!({"version": version, "keepAlive": 1}));
        let through = Mqtt::open(&through, MqttOptions::default()).expect("opening needs no broker");
        let mut reader = consume(&through, &[topic.as_str()], group(&topic, true)).await;
        publish(&direct, topic.clone(), "before").await;
        assert_eq!(payloads(&mut reader, 1).await, ["before"]);
        proxy.freeze(1);
        publish(&direct, topic.clone(), "while frozen").await;
        let mut batch = Vec::new();
        let limit = sluice_broker::BatchLimit { messages: 1, bytes: 1 << 20 };
        let error =
            step("the loss is told", reader.fetch(&mut batch, limit)).await.expect_err("it is frozen");
        assert!(error.retryable() && error.message.contains(&proxy.address), "{error}");
        // What was not committed comes again, then what came meanwhile.
        assert_eq!(payloads(&mut reader, 2).await, ["before", "while frozen"]);
    }
}

#[tokio::test]
async fn publishing_finds_out_a_frozen_broker_and_sends_again() {
    let (proxy, topic) = (Proxy::start().await, unused("frozen-publish"));
    let through = settings(&proxy.address, json!({"keepAlive": 1}));
    let options = MqttOptions { publish_timeout: Duration::from_secs(30), ..MqttOptions::default() };
    let through = Mqtt::open(&through, options).expect("opening needs no broker");
    publish(&through, topic.clone(), "before").await;
    let mut reader = consume(&plain(), &[topic.as_str()], StartAt::Latest).await;
    proxy.freeze(1);
    publish(&through, topic, "sent again").await;
    assert_eq!(payloads(&mut reader, 1).await, ["sent again"]);
}

#[tokio::test]
async fn without_attempts_a_message_whose_connection_is_lost_fails() {
    for settings_of in
        [json!({"keepAlive": 1, "reconnectAttempts": 0}), json!({"keepAlive": 1, "producer": {"qos": 2}})]
    {
        let (proxy, topic) = (Proxy::start().await, unused("no-attempts"));
        let options = MqttOptions { publish_timeout: Duration::from_secs(30), ..MqttOptions::default() };
        let through =
            Mqtt::open(&settings(&proxy.address, settings_of), options).expect("opening needs no broker");
        publish(&through, topic.clone(), "before").await;
        proxy.freeze(1);
        let error =
            step("publish", through.publish(&topic, message("lost"))).await.expect_err("nobody has it");
        assert_eq!(error.kind, ErrorKind::Unreachable, "{error}");
        assert!(error.message.contains(&proxy.address), "{error}");
    }
}

#[tokio::test]
async fn more_than_is_held_at_a_time_is_refused() {
    let (proxy, topic) = (Proxy::start().await, unused("overloaded"));
    let options = MqttOptions { queue_messages: 2, queue_kib: 64, ..MqttOptions::default() };
    let through = Mqtt::open(&settings(&proxy.address, json!({})), options).expect("opening needs no broker");
    let through = Arc::new(through);
    publish(&through, topic.clone(), "before").await;
    proxy.freeze(1);
    let held: Vec<_> = (0..2)
        .map(|number| {
            let (through, topic) = (Arc::clone(&through), topic.clone());
            tokio::spawn(async move { through.publish(&topic, message(&number.to_string())).await })
        })
        .collect();
    let refused = step("a third is refused", async {
        loop {
            match futures_util::poll!(through.publish(&topic, message("third"))) {
                std::task::Poll::Ready(refused) => return refused,
                std::task::Poll::Pending => tokio::task::yield_now().await,
            }
        }
    })
    .await;
    assert_eq!(refused.expect_err("two are under way").kind, ErrorKind::Overloaded);
    let large = Message::builder().payload(vec![0; 64 << 10]).build();
    let error = step("publish", through.publish(&topic, large)).await.expect_err("it never fits");
    assert_eq!(error.kind, ErrorKind::TooLarge);
    held.iter().for_each(tokio::task::JoinHandle::abort);
}

#[tokio::test]
async fn a_reader_that_does_not_ask_holds_no_more_than_it_may() {
    const COUNT: usize = 40;
    let options = MqttOptions { read_ahead_kib: 8, ..MqttOptions::default() };
    let config = settings(&variable("SLUICE_TEST_MQTT"), json!({}));
    let mqtt = Mqtt::open(&config, options).expect("opening needs no broker");
    let topic = unused("slow");
    let mut reader = consume(&mqtt, &[topic.as_str()], group(&topic, true)).await;
    let direct = plain();
    let payload = |number: usize| format!("{number:<4000}");
    for number in 0..COUNT {
        publish(&direct, topic.clone(), &payload(number)).await;
    }
    for number in 0..COUNT {
        let found = next(&mut reader).await;
        assert_eq!(text(&found), payload(number));
        crate::support::commit(&mut reader, &found).await;
    }
}

#[tokio::test]
async fn a_reader_comes_back_to_more_than_it_may_hold() {
    const COUNT: usize = 40;
    for version in ["5", "3.1.1"] {
        let topic = unused("much-waits");
        let config = settings(&variable("SLUICE_TEST_MQTT"), json!({"version": version}));
        let options = MqttOptions { read_ahead_kib: 8, ..MqttOptions::default() };
        let payload = |number: usize| format!("{number:<4000}");
        {
            let before = Mqtt::open(&config, options).expect("opening needs no broker");
            drop(consume(&before, &[topic.as_str()], group(&topic, true)).await);
            for number in 0..COUNT {
                publish(&before, topic.clone(), &payload(number)).await;
            }
            step("close", before.close()).await;
        }
        let mqtt = Mqtt::open(&config, options).expect("opening needs no broker");
        let mut reader = consume(&mqtt, &[topic.as_str()], group(&topic, true)).await;
        for number in 0..COUNT {
            let found = next(&mut reader).await;
            assert_eq!(text(&found), payload(number));
            crate::support::commit(&mut reader, &found).await;
        }
    }
}

#[tokio::test]
async fn a_reader_whose_session_another_gateway_takes_is_told() {
    let topic = unused("twins");
    let id = format!("twin-{topic}");
    let (one, other) = (with(json!({"clientId": id})), with(json!({"clientId": id})));
    let mut first = consume(&one, &[topic.as_str()], group(&topic, true)).await;
    let _second = consume(&other, &[topic.as_str()], group(&topic, true)).await;
    let mut batch = Vec::new();
    let limit = sluice_broker::BatchLimit { messages: 1, bytes: 1 << 20 };
    let error = step("the loss is told", first.fetch(&mut batch, limit)).await.expect_err("it is driven out");
    assert!(error.retryable() && error.message.contains(&variable("SLUICE_TEST_MQTT")), "{error}");
    // They drive each other out for ever, and a broker that is asked answers all the same.
    let error = step("check tells of it", async {
        loop {
            match one.check(&[]).await {
                Ok(()) => tokio::time::sleep(Duration::from_millis(50)).await,
                Err(error) => break error,
            }
        }
    })
    .await;
    assert!(error.message.contains("do not last") && error.message.contains("clientId"), "{error}");
}
