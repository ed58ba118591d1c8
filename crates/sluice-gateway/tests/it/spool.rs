//! What is in the spool of an API that wants none any more.

use std::{path::Path, sync::Arc};

use futures_util::{FutureExt, future::BoxFuture};
use serde_json::json;
use sluice_api::{ApiId, BrokerConfig, EventApi, Spool as Settings, from_value};
use sluice_broker::{
    Bounds, BrokerDriver, Capabilities, ConsumeSpec, Consumer, DriverError, ErrorKind, Mock, Receipt, Spool,
    SpoolMetrics, SpoolStatus, Spools,
};
use sluice_gateway::{DriverFactory, Gateway, GatewayOptions};
use sluice_message::{Message, Topic};
use sluice_stream::{MemoryNotes, MemoryPositions};
use tokio::sync::watch;

/// A mock that takes messages only while it is open.
#[derive(Clone)]
struct Door {
    mock: Mock,
    is_open: watch::Sender<bool>,
    taken: watch::Sender<usize>,
}

impl Door {
    fn shut() -> Self {
        let mock = Mock::new(sluice_api::MockConfig::default());
        Self { mock, is_open: watch::Sender::new(false), taken: watch::Sender::default() }
    }
}

impl BrokerDriver for Door {
    fn capabilities(&self) -> Capabilities {
        self.mock.capabilities()
    }

    fn identity(&self) -> BoxFuture<'_, Result<String, DriverError>> {
        self.mock.identity()
    }

    fn publish<'a>(&'a self, _: &'a Topic, _: Message) -> BoxFuture<'a, Result<Receipt, DriverError>> {
        async {
            if !*self.is_open.borrow() {
                return Err(DriverError::new(ErrorKind::Unreachable, "The door is shut."));
            }
            self.taken.send_modify(|taken| *taken += 1);
            Ok(Receipt { place: None })
        }
        .boxed()
    }

    fn consume(&self, spec: ConsumeSpec) -> BoxFuture<'_, Result<Box<dyn Consumer>, DriverError>> {
        self.mock.consume(spec)
    }

    fn bounds<'a>(&'a self, topics: &'a [Topic]) -> BoxFuture<'a, Result<Bounds, DriverError>> {
        self.mock.bounds(topics)
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        async {}.boxed()
    }
}

/// A door, and a spool before it.
struct Spooling(Door, Arc<Spools>);

impl DriverFactory for Spooling {
    fn open(&self, _: &BrokerConfig) -> Result<Arc<dyn BrokerDriver>, DriverError> {
        Ok(Arc::new(self.0.clone()))
    }

    fn spool(
        &self,
        api: &ApiId,
        settings: Option<&Settings>,
        broker: &BrokerConfig,
        driver: Arc<dyn BrokerDriver>,
        metrics: SpoolMetrics,
    ) -> Result<Arc<Spool>, DriverError> {
        self.1.spool(api, settings, broker, driver, metrics)
    }

    fn has_spooled(&self, api: &ApiId) -> Result<bool, DriverError> {
        self.1.holds(api)
    }
}

fn gateway(door: &Door, spools: &Arc<Spools>) -> Gateway {
    Gateway::new(
        GatewayOptions::default(),
        Box::new(Spooling(door.clone(), Arc::clone(spools))),
        Arc::new(MemoryPositions::default()),
        Arc::new(MemoryNotes::default()),
    )
}

fn spools(directory: &Path) -> Arc<Spools> {
    Arc::new(Spools::new(directory.join("spool"), sluice_broker::LogOptions::default()))
}

fn orders() -> ApiId {
    ApiId("orders".to_owned())
}

fn api(has_spool: bool) -> EventApi {
    let api = json!({
        "id": "orders",
        "name": "Orders",
        "paths": [{ "path": "/orders" }],
        "receivers": [{ "type": "http-post" }],
        "brokers": [{ "type": "mock" }],
        "guarantees": if has_spool { json!({ "spool": {} }) } else { json!({}) },
    });
    from_value(api).unwrap()
}

/// Puts messages into the spool of the API, as its publishers do.
async fn fill(door: &Door, spools: &Spools, count: usize) {
    let (settings, broker) = (Settings::default(), api(true).brokers.remove(0).configuration);
    let driver = Arc::new(door.clone());
    let spool = spools.spool(&orders(), Some(&settings), &broker, driver, SpoolMetrics::default()).unwrap();
    for _ in 0..count {
        spool.publish(&Topic::from("mock"), Message::builder().payload("p").build()).await.unwrap();
    }
    spool.close().await;
}

fn waiting(status: Option<SpoolStatus>) -> Option<u64> {
    status.map(|status| status.waiting_messages)
}

/// Opens the door, and waits until the spool is empty and shown no more.
async fn drains(gateway: &Gateway, door: &Door, count: usize) {
    door.is_open.send_replace(true);
    door.taken.subscribe().wait_for(|taken| *taken == count).await.unwrap();
    while gateway.spool_status(&orders()).is_some() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn what_waits_goes_on_when_the_api_wants_no_spool_any_more() {
    let directory = tempfile::tempdir().unwrap();
    let (door, spools) = (Door::shut(), spools(directory.path()));
    let gateway = gateway(&door, &spools);
    gateway.deploy(api(true)).unwrap();
    assert_eq!(waiting(gateway.spool_status(&orders())), Some(0), "shown although it is empty");
    fill(&door, &spools, 3).await;
    gateway.deploy(api(false)).unwrap();
    assert_eq!(waiting(gateway.spool_status(&orders())), Some(3));
    assert!(gateway.metrics_text().contains("sluice_spool_waiting_messages{api=\"orders\"} 3"));
    drains(&gateway, &door, 3).await;
    assert!(gateway.discard_set_aside(&orders()).await.is_none());
    gateway.shut_down().await;
}

#[tokio::test]
async fn what_waits_goes_on_after_a_restart_of_an_api_without_a_spool() {
    let directory = tempfile::tempdir().unwrap();
    let (door, former) = (Door::shut(), spools(directory.path()));
    fill(&door, &former, 2).await;
    drop(former);
    let spools = spools(directory.path());
    // The former process lets go of the directory a moment after its last user.
    while spools.holds(&orders()).is_err() {
        tokio::task::yield_now().await;
    }
    let gateway = gateway(&door, &spools);
    gateway.deploy(api(false)).unwrap();
    assert_eq!(waiting(gateway.spool_status(&orders())), Some(2));
    drains(&gateway, &door, 2).await;
    gateway.shut_down().await;
}

#[tokio::test]
async fn an_api_without_a_spool_makes_no_directory_for_one() {
    let directory = tempfile::tempdir().unwrap();
    let (door, spools) = (Door::shut(), spools(directory.path()));
    let gateway = gateway(&door, &spools);
    gateway.deploy(api(false)).unwrap();
    assert!(gateway.spool_status(&orders()).is_none() && !directory.path().join("spool").exists());
}
