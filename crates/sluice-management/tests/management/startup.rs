//! How long a start takes with many subscriptions. Measured, not judged: run it with `--release --ignored`.

use std::{sync::Arc, time::Instant};

use serde_json::json;
use sluice_api::{ApplicationId, Callback, PlanId, SubscriptionId};
use sluice_gateway::GatewayOptions;
use sluice_management::{Expected, NewApplication, Registry};
use sluice_store::{
    Catalogue, ConsumerConfiguration, ConsumerStatus, Store, SubscriptionRecord, SubscriptionStatus,
    Timestamp,
};

use crate::support::{api, gateway, registry};

const SUBSCRIPTIONS: usize = 100_000;

fn subscription(number: usize, application: &ApplicationId) -> SubscriptionRecord {
    let now = Timestamp::now();
    SubscriptionRecord {
        id: SubscriptionId(format!("subscription-{number}")),
        api: api("busy", "/busy").id,
        plan: PlanId("push".to_owned()),
        application: application.clone(),
        consumer: ConsumerConfiguration {
            connector: "webhook".to_owned(),
            channel: None,
            callback: Callback::to("https://hooks.example/in"),
            hub: None,
        },
        metadata: [("number".to_owned(), number.to_string())].into(),
        status: SubscriptionStatus::Accepted,
        consumer_status: ConsumerStatus::Started,
        failure_cause: None,
        consumer_message: None,
        publisher_message: None,
        subscribed_by: "admin".to_owned(),
        processed_by: Some("admin".to_owned()),
        processed_at: Some(now),
        created_at: now,
        updated_at: now,
        starting_at: Some(now),
        ending_at: None,
        closed_at: None,
        paused_at: None,
        consumer_paused_at: None,
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes long and judges nothing"]
async fn a_start_with_a_hundred_thousand_subscriptions_is_measured() {
    let directory = tempfile::tempdir().unwrap();
    let application = {
        let registry = registry(directory.path()).await;
        let mut busy = api("busy", "/busy");
        busy.receivers.push(sluice_api::from_value(json!({ "type": "webhook" })).unwrap());
        let push = json!({ "id": "push", "name": "Push", "security": { "type": "push" } });
        busy.plans.push(sluice_api::from_value(push).unwrap());
        registry.create(busy.clone(), Catalogue::new()).await.unwrap();
        registry.start(&busy.id, Expected::Any).await.unwrap();
        let application = NewApplication {
            name: "App".to_owned(),
            description: String::new(),
            client_id: None,
            catalogue: Catalogue::new(),
        };
        Arc::clone(&registry.create_application(application).await.unwrap()).id.clone()
    };
    let store = Store::open(directory.path()).await.unwrap();
    let records: Vec<_> = (0..SUBSCRIPTIONS).map(|number| subscription(number, &application)).collect();
    store.save_subscriptions(&records).await.unwrap();
    drop((records, store));

    let gateway = gateway(GatewayOptions::default());
    let start = Instant::now();
    let store = Store::open(directory.path()).await.unwrap();
    let opened = start.elapsed();
    let read = store.subscriptions().await.unwrap().count();
    let listed = start.elapsed();
    let registry = Registry::open(store, gateway).await.unwrap();
    let ready = start.elapsed();
    println!(
        "{read} subscriptions: store open after {opened:?}, all read by {listed:?}, read again and served by {ready:?}"
    );
    assert_eq!(registry.count_subscriptions(&api("busy", "/busy").id), SUBSCRIPTIONS);
}
