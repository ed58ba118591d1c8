//! What the tests share: a gateway process, clients of SSE and WebSocket, a webhook listener, a subscriber of hubs,
//! definitions and resources, Kafka, tools.

mod brokers;
mod definitions;
mod gateway;
mod kafka;
mod leash;
mod listener;
mod resources;
mod socket;
mod sse;
mod subscriber;
mod tools;

pub(crate) use brokers::{address, artemis_broker, given, mqtt_broker, rabbitmq_broker, unique};
pub(crate) use definitions::{gravitee_api, kafka_broker, kafka_of_channels, log_broker, native_api, plan};
pub(crate) use gateway::{Gateway, Starting};
pub(crate) use kafka::{kafka, kafka_records, kafka_send, kafka_topic};
pub(crate) use leash::Leash;
pub(crate) use listener::Listener;
pub(crate) use resources::{CALLS_HERE, hub_api, policies, succeeded, webbroker_api, websub_api};
pub(crate) use socket::Socket;
pub(crate) use sse::{Event, Sse};
pub(crate) use subscriber::{Answer, Delivery, Subscriber};
pub(crate) use tools::{node, output, tool};

use std::{future::Future, time::Duration};

/// How long anything may take before a test says that it hangs. Nothing waits this long when all is well.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Awaits `future`, or fails naming what was waited for.
pub(crate) async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(value) => value,
        Err(_) => panic!("still waiting for {what} after {PATIENCE:?}"),
    }
}

/// Repeats `check` until it is true.
pub(crate) async fn until<F: Future<Output = bool>>(what: &str, mut check: impl FnMut() -> F) {
    within(what, async {
        while !check().await {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
}
