//! Publishing while the broker is away.

use std::time::Duration;

use serde_json::json;
use sluice_broker::{BrokerDriver, ErrorKind};
use sluice_broker_rabbitmq::{Rabbitmq, RabbitmqOptions};
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    sync::watch,
};

use crate::support::{at, message, publish, step, unused, variable};

/// More than any step may take: what waits for it fails its test.
const FOR_EVER: Duration = Duration::from_hours(1);

/// A way to RabbitMQ that can be closed.
async fn way() -> (String, watch::Sender<bool>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
    let address = listener.local_addr().expect("it listens").to_string();
    let (is_open, open) = watch::channel(true);
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let mut open = open.clone();
            tokio::spawn(async move {
                let passing = async {
                    let mut broker = TcpStream::connect(variable("SLUICE_TEST_RABBITMQ")).await?;
                    copy_bidirectional(&mut client, &mut broker).await
                };
                tokio::select! {
                    _ = open.wait_for(|is_open| !is_open) => {}
                    _ = passing => {}
                }
            });
        }
    });
    (address, is_open)
}

#[tokio::test(flavor = "multi_thread")]
async fn publishers_are_told_at_once_that_the_broker_is_away_and_go_on_when_it_is_back() {
    let (address, is_open) = way().await;
    let patient = RabbitmqOptions { publish_timeout: FOR_EVER, ..RabbitmqOptions::default() };
    let rabbitmq = Rabbitmq::open(&at(&address, json!({})), patient).expect("opening needs no broker");
    let topic = unused("outage");
    publish(&rabbitmq, &topic, "before").await;
    is_open.send_replace(false);
    for _ in 0..2 {
        let published = step("publish", rabbitmq.publish(&topic, message("during"))).await;
        let error = published.expect_err("the broker is away");
        assert_eq!(error.kind, ErrorKind::Unreachable, "{error}");
        assert!(error.message.contains(&address), "{error}");
    }
    is_open.send_replace(true);
    let is_back = async {
        while let Err(error) = rabbitmq.publish(&topic, message("after")).await {
            assert_eq!(error.kind, ErrorKind::Unreachable, "{error}");
            tokio::task::yield_now().await;
        }
    };
    step("publish once the broker is back", is_back).await;
    publish(&rabbitmq, &topic, "and on").await;
}
