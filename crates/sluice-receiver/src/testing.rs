//! What tests of several receivers begin with: a binding to a mock.

use std::{sync::Arc, time::Duration};

use serde_json::{Value, json};
use sluice_api::{BrokerConfig, EventApi, from_value};
use sluice_broker::Mock;
use sluice_message::Topic;
use sluice_policy::{Chains, ChosenBy};
use sluice_stream::{Begin, HubOptions, Hubs, MemoryPositions, StreamMetrics};
use tokio::sync::Semaphore;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{ApiMetrics, Binding, FailureLog};

/// A binding to a mock with these settings, with the policies of these flows.
pub(crate) fn binding(mock: &Value, flows: &Value) -> Binding {
    let api: EventApi = from_value(json!({
        "id": "a",
        "name": "a",
        "paths": [{ "path": "/a" }],
        "receivers": [{ "type": "websocket" }],
        "brokers": [{ "name": "b", "type": "mock", "configuration": mock }],
        "flows": flows,
    }))
    .unwrap();
    let chains = Chains::compile(&api, &Arc::default()).unwrap();
    let BrokerConfig::Mock(mock) = &api.brokers[0].configuration else { panic!("not a mock") };
    Binding {
        api: api.id.clone(),
        driver: Arc::new(Mock::new(mock.clone())),
        publish_topics: vec![Topic::from("t")],
        deliver_topics: vec![Topic::from("t")],
        chosen_by: ChosenBy::new(&api.brokers[0].configuration),
        begin: Begin::Latest,
        hubs: Hubs::new(HubOptions::default(), Arc::new(StreamMetrics::default())),
        positions: Arc::new(MemoryPositions::default()),
        chains,
        max_body_bytes: 1000,
        body_bytes: Arc::new(Semaphore::new(1000)),
        body_timeout: Duration::from_secs(30),
        drain: CancellationToken::new(),
        metrics: ApiMetrics::default(),
        failures: FailureLog::default(),
        in_flight: TaskTracker::new(),
    }
}
