//! What comes of requests to a hub: subscriptions, their leases, their ends.

use std::{sync::Arc, time::Duration};

use serde_json::json;
use sluice_api::{
    ApiId, ApplicationId, EventApi, HubSignature, HubTerms, PlanId, Secret, Subscription, SubscriptionId,
    WebsubConfig,
};
use sluice_gateway::{Gateway, GatewayOptions};
use sluice_management::{Expected, Registry, RegistryError, SubscriptionFilter, SubscriptionUpdate};
use sluice_store::{Catalogue, ConsumerStatus, Store, SubscriptionRecord, SubscriptionStatus, Timestamp};
use sluice_websub::{Begins, Desk, HubRequest, Mode, Standing};
use tempfile::TempDir;

use crate::{
    subscriptions,
    support::{gateway, registry_of},
};

const CALLBACK: &str = "https://hooks.example/in?who=me";

/// A subscription as the gateway is given it by a hub with the settings that it has when nobody gives any.
fn served(record: &SubscriptionRecord) -> Subscription {
    let mut served = subscriptions::served(record);
    served.callback.retry = WebsubConfig::default().retry;
    served
}

/// An API with a hub and the channels `paid` and `sent`.
pub(crate) fn news(settings: &serde_json::Value) -> EventApi {
    let document = json!({
        "id": "news", "name": "news", "paths": [{"path": "/news"}],
        "receivers": [{"type": "websub", "configuration": settings}],
        "brokers": [{"type": "log", "configuration": {}}],
        "channels": {"paid": {"produceTo": "in.paid"}, "sent": {}},
        "plans": [{"id": "open", "name": "Open", "security": {"type": "key-less"}}]
    });
    EventApi::from_document(document).unwrap()
}

pub(crate) fn request(id: &str, mode: Mode, callback: &str) -> HubRequest {
    let begins = Begins { broker: "somewhere".to_owned(), position: "paid@0#41".to_owned() };
    HubRequest {
        id: id.to_owned(),
        api: ApiId("news".to_owned()),
        channel: "paid".to_owned(),
        plan: PlanId("open".to_owned()),
        mode,
        callback: callback.to_owned(),
        terms: HubTerms {
            topic: "https://news.example/news/paid".to_owned(),
            hub_url: "https://news.example/news/hub".to_owned(),
            self_url: "https://news.example/news/paid".to_owned(),
            lease_seconds: 600,
            secret: Some(Secret::new("hunter2")),
            signature: HubSignature::Sha256,
        },
        metadata: [("tier".to_owned(), "gold".to_owned())].into(),
        begins: (mode == Mode::Subscribe).then_some(begins),
        received_at_ms: Timestamp::now().0,
    }
}

fn subscribe(id: &str) -> HubRequest {
    request(id, Mode::Subscribe, CALLBACK)
}

struct Stage {
    registry: Registry,
    gateway: Gateway,
    desk: Arc<dyn Desk>,
    directory: TempDir,
}

impl Stage {
    async fn set() -> Self {
        let (directory, gateway) = (tempfile::tempdir().unwrap(), gateway(GatewayOptions::default()));
        let registry = registry_of(directory.path(), &gateway).await;
        let api = news(&json!({}));
        let id = api.id.clone();
        registry.create(api, Catalogue::new()).await.unwrap();
        registry.start(&id, Expected::Any).await.unwrap();
        Self { desk: registry.desk(), registry, gateway, directory }
    }

    /// What the hub does with a request that is verified at once.
    async fn fulfil(&self, request: HubRequest) -> Option<String> {
        self.desk.keep(request.clone()).await.unwrap();
        self.desk.fulfil(&request).await.unwrap().map(|id| id.0)
    }

    fn record(&self, id: &str) -> Arc<SubscriptionRecord> {
        self.registry.subscription(&SubscriptionId(id.to_owned())).unwrap()
    }

    fn standing(&self) -> Standing {
        self.desk.standing(&ApiId("news".to_owned()), "paid", CALLBACK)
    }

    fn count(&self) -> usize {
        self.desk.count(&ApiId("news".to_owned()))
    }

    fn is_served(&self, id: &str) -> bool {
        self.gateway.delivery_state(&SubscriptionId(id.to_owned())).is_some()
    }

    async fn closed(&self, id: &str) -> Arc<SubscriptionRecord> {
        loop {
            let record = self.record(id);
            if record.status == SubscriptionStatus::Closed {
                return record;
            }
            tokio::task::yield_now().await;
        }
    }

    /// The same after a restart.
    async fn again(self) -> Self {
        let Self { registry, gateway: former, desk, directory } = self;
        drop((registry, former, desk));
        let gateway = gateway(GatewayOptions::default());
        let registry = registry_of(directory.path(), &gateway).await;
        Self { desk: registry.desk(), registry, gateway, directory }
    }
}

#[tokio::test]
async fn a_request_survives_a_restart_until_it_is_settled() {
    let stage = Stage::set().await;
    let (one, two) = (subscribe("one"), request("two", Mode::Unsubscribe, "https://other.example/"));
    for request in [&one, &two] {
        stage.desk.keep(request.clone()).await.unwrap();
    }
    let stage = stage.again().await;
    assert_eq!(stage.desk.unsettled().await.unwrap(), [one.clone(), two.clone()]);
    assert_eq!((stage.standing(), stage.count()), (Standing::Unknown, 0));
    stage.desk.drop_request(&two).await.unwrap();
    assert_eq!(stage.desk.fulfil(&one).await.unwrap(), Some(SubscriptionId("one".to_owned())));
    let stage = stage.again().await;
    assert_eq!(stage.desk.unsettled().await.unwrap(), []);
    assert_eq!((stage.standing(), stage.count()), (Standing::Subscribed, 1));
    assert!(stage.is_served("one"));
    let terms = stage.record("one").consumer.hub.clone().unwrap();
    assert_eq!(terms, one.terms, "with its secret");
}

#[tokio::test]
async fn a_fulfilled_request_is_a_subscription_like_any_other() {
    let stage = Stage::set().await;
    let before = Timestamp::now();
    assert_eq!(stage.fulfil(subscribe("one")).await.as_deref(), Some("one"));
    let record = stage.record("one");
    assert_eq!(
        (record.status, record.consumer_status),
        (SubscriptionStatus::Accepted, ConsumerStatus::Started)
    );
    assert_eq!(
        (record.consumer.connector.as_str(), record.consumer.channel.as_deref()),
        ("websub", Some("paid"))
    );
    assert_eq!(record.metadata["tier"], "gold");
    let lease = Duration::from_secs(600);
    assert!(
        record.ending_at >= Some(before.after(lease))
            && record.ending_at <= Some(Timestamp::now().after(lease))
    );
    let application = stage.registry.application(&record.application).unwrap();
    assert_eq!((application.id.0.as_str(), application.name.as_str()), ("websub", "WebSub subscribers"));
    let filter = SubscriptionFilter { callbacks: vec![CALLBACK.to_owned()], ..SubscriptionFilter::default() };
    assert_eq!(stage.registry.subscriptions(&filter).len(), 1);
    let filter = SubscriptionFilter { channels: vec!["sent".to_owned()], ..SubscriptionFilter::default() };
    assert!(stage.registry.subscriptions(&filter).is_empty());
    // Others at the same plan are no contradiction.
    let other = request("two", Mode::Subscribe, "https://other.example/");
    assert_eq!(stage.fulfil(other).await.as_deref(), Some("two"));
    assert_eq!(stage.count(), 2);
}

#[tokio::test]
async fn a_renewal_keeps_the_subscription_and_replaces_what_was_agreed_on() {
    let stage = Stage::set().await;
    stage.fulfil(subscribe("one")).await;
    let first = stage.record("one");
    stage.registry.pause_subscription(&first.id).await.unwrap();
    let mut again = subscribe("two");
    again.terms.lease_seconds = 6000;
    again.terms.secret = Some(Secret::new("changed"));
    again.metadata.clear();
    assert_eq!(stage.fulfil(again.clone()).await.as_deref(), Some("one"));
    let renewed = stage.record("one");
    assert_eq!(renewed.consumer.hub.as_ref(), Some(&again.terms));
    assert_eq!((renewed.created_at, renewed.status), (first.created_at, SubscriptionStatus::Paused));
    assert!(renewed.ending_at > first.ending_at && renewed.metadata.is_empty());
    assert_eq!(stage.count(), 1);
    assert_eq!(stage.desk.unsettled().await.unwrap(), []);

    stage.registry.resume_subscription(&first.id).await.unwrap();
    let failed = Arc::new(served(&stage.record("one")));
    let after = stage.registry.fail_subscription(&failed, "delivery.status", "500").await.unwrap();
    assert_eq!(after.consumer_status, ConsumerStatus::Failure);
    assert!(!stage.is_served("one"));
    assert_eq!(stage.fulfil(subscribe("three")).await.as_deref(), Some("one"));
    assert_eq!(stage.record("one").consumer_status, ConsumerStatus::Started);
    // What the gateway said of the time before is not held against it.
    let after = stage.registry.fail_subscription(&failed, "delivery.gone", "410").await.unwrap();
    assert_eq!(
        (after.consumer_status, after.status),
        (ConsumerStatus::Started, SubscriptionStatus::Accepted)
    );
}

#[tokio::test]
async fn who_unsubscribes_is_closed_and_may_come_again() {
    let stage = Stage::set().await;
    let leave = request("none", Mode::Unsubscribe, CALLBACK);
    assert_eq!(stage.fulfil(leave).await, None);
    stage.fulfil(subscribe("one")).await;
    assert_eq!(stage.fulfil(request("bye", Mode::Unsubscribe, CALLBACK)).await.as_deref(), Some("one"));
    let closed = stage.record("one");
    assert_eq!(closed.status, SubscriptionStatus::Closed);
    assert_eq!(closed.failure_cause.as_deref(), Some("The subscriber has unsubscribed."));
    assert_eq!((stage.standing(), stage.count()), (Standing::Unknown, 0));
    let stage = stage.again().await;
    assert_eq!((stage.standing(), stage.is_served("one")), (Standing::Unknown, false));
    assert_eq!(stage.fulfil(subscribe("two")).await.as_deref(), Some("two"));
    assert_eq!(stage.desk.unsettled().await.unwrap(), []);
}

#[tokio::test]
async fn a_lease_that_is_over_ends_the_subscription_by_itself() {
    let stage = Stage::set().await;
    let mut short = subscribe("one");
    short.terms.lease_seconds = 1;
    stage.fulfil(short).await;
    stage.fulfil(request("two", Mode::Subscribe, "https://other.example/")).await;
    let end = stage.record("one").ending_at.unwrap();
    // Told at once, whenever the record is closed.
    while stage.standing() == Standing::Subscribed {
        tokio::task::yield_now().await;
    }
    assert!(Timestamp::now() >= end);
    let closed = stage.closed("one").await;
    assert_eq!(closed.failure_cause.as_deref(), Some("The lease is over."));
    assert_eq!((stage.count(), stage.is_served("one")), (1, false));
}

#[tokio::test]
async fn a_lease_that_ended_while_nothing_ran_is_over_at_the_start() {
    let stage = Stage::set().await;
    let mut short = subscribe("one");
    short.terms.lease_seconds = 1;
    stage.fulfil(short).await;
    let end = stage.record("one").ending_at.unwrap();
    let Stage { registry, gateway: former, desk, directory } = stage;
    drop((registry, former, desk));
    while Timestamp::now() <= end {
        tokio::task::yield_now().await;
    }
    let gateway = gateway(GatewayOptions::default());
    let registry = registry_of(directory.path(), &gateway).await;
    let record = registry.subscription(&SubscriptionId("one".to_owned())).unwrap();
    assert_eq!(record.status, SubscriptionStatus::Closed);
}

#[tokio::test]
async fn a_renewal_that_came_in_time_is_one_although_it_was_confirmed_late() {
    let stage = Stage::set().await;
    let mut short = subscribe("one");
    short.terms.lease_seconds = 1;
    stage.fulfil(short).await;
    let (in_time, end) = (subscribe("two"), stage.record("one").ending_at.unwrap());
    while Timestamp::now() <= end {
        tokio::task::yield_now().await;
    }
    // Whether or not its record was closed by now, there is one open subscription of this callback.
    let id = stage.fulfil(in_time).await.unwrap();
    assert_eq!((stage.standing(), stage.count()), (Standing::Subscribed, 1));
    assert!(["one", "two"].contains(&&*id) && stage.is_served(&id));
}

#[tokio::test]
async fn a_subscriber_that_is_gone_has_ended_its_subscription() {
    let stage = Stage::set().await;
    stage.fulfil(subscribe("one")).await;
    let gone = Arc::new(served(&stage.record("one")));
    let after = stage.registry.fail_subscription(&gone, "delivery.gone", "It answered 410.").await.unwrap();
    assert_eq!(after.status, SubscriptionStatus::Closed);
    assert_eq!(after.failure_cause.as_deref(), Some("It answered 410."));
    assert_eq!((stage.standing(), stage.is_served("one")), (Standing::Unknown, false));
}

#[tokio::test]
async fn what_is_no_longer_offered_makes_no_subscription() {
    let stage = Stage::set().await;
    let mut nowhere = subscribe("one");
    nowhere.channel = "gone".to_owned();
    assert_eq!(stage.fulfil(nowhere).await, None);
    let plan = PlanId("open".to_owned());
    stage.registry.close_plan(&ApiId("news".to_owned()), &plan).await.unwrap();
    assert_eq!(stage.fulfil(subscribe("two")).await, None);
    let mut other = subscribe("three");
    other.api = ApiId("none".to_owned());
    assert_eq!(stage.fulfil(other).await, None);
    assert_eq!(stage.desk.unsettled().await.unwrap(), [], "each is settled all the same");
    assert_eq!(stage.count(), 0);
}

#[tokio::test]
async fn hundreds_that_are_verified_at_once_all_become_subscriptions() {
    let stage = Stage::set().await;
    let requests = (0..1200).map(|number| {
        // Every third comes twice.
        let callback = format!("https://hooks.example/{}", number - number % 3 / 2);
        request(&format!("r{number}"), Mode::Subscribe, &callback)
    });
    let requests: Vec<_> = requests.collect();
    let fulfilled = requests.iter().map(async |request| {
        stage.desk.keep(request.clone()).await.unwrap();
        stage.desk.fulfil(request).await.unwrap().unwrap()
    });
    let ids = futures_util::future::join_all(fulfilled).await;
    let distinct: std::collections::BTreeSet<_> = ids.into_iter().collect();
    assert_eq!((distinct.len(), stage.count()), (800, 800));
    assert_eq!(stage.desk.unsettled().await.unwrap(), []);
    let filter = SubscriptionFilter::default();
    assert_eq!(stage.again().await.registry.subscriptions(&filter).len(), 800);
}

#[tokio::test]
async fn subscribers_are_called_as_the_api_says_by_now() {
    let stage = Stage::set().await;
    stage.fulfil(subscribe("one")).await;
    let record = stage.record("one");
    assert_eq!(stage.registry.hub_terms(&record).unwrap().signature, HubSignature::Sha256);
    let settings = json!({"signature": "sha512", "retry": {"maxAttempts": 9}, "order": "key"});
    let id = ApiId("news".to_owned());
    stage.registry.update(&id, Expected::Any, news(&settings), Catalogue::new()).await.unwrap();
    assert_eq!(
        stage.registry.hub_terms(&record).unwrap().signature,
        HubSignature::Sha256,
        "it runs as before"
    );
    stage.registry.deploy(&id, Expected::Any).await.unwrap();
    assert_eq!(stage.registry.hub_terms(&record).unwrap().signature, HubSignature::Sha512);
    // A failure of how it was called before says nothing of how it is called now.
    let former = Arc::new(served(&record));
    let after = stage.registry.fail_subscription(&former, "delivery.status", "500").await.unwrap();
    assert_eq!(after.consumer_status, ConsumerStatus::Started);
}

#[tokio::test]
async fn a_subscriber_of_the_hub_is_changed_there_only() {
    let stage = Stage::set().await;
    stage.fulfil(subscribe("one")).await;
    let record = stage.record("one");
    let mut consumer = record.consumer.clone();
    consumer.callback.callback_url = "https://elsewhere.example/".to_owned();
    let update = SubscriptionUpdate { consumer: Some(consumer), ..SubscriptionUpdate::default() };
    let changed =
        stage.registry.update_subscription(&record.id, update, sluice_management::Side::Publisher).await;
    assert!(matches!(changed, Err(RegistryError::Conflict(problem)) if problem.code == "subscription.hub"));
    // What a contract shows of it, without what was agreed on, may be sent back.
    let mut consumer = record.consumer.clone();
    consumer.hub = None;
    let update = SubscriptionUpdate { consumer: Some(consumer), ..SubscriptionUpdate::default() };
    let same =
        stage.registry.update_subscription(&record.id, update, sluice_management::Side::Publisher).await;
    assert_eq!(same.unwrap().consumer, record.consumer);
    let archived = stage.registry.archive_application(&ApplicationId("websub".to_owned())).await;
    assert!(
        matches!(archived, Err(RegistryError::Conflict(problem)) if problem.code == "application.builtIn")
    );
}

#[tokio::test]
async fn subscriptions_and_requests_go_with_their_api() {
    let stage = Stage::set().await;
    stage.fulfil(subscribe("one")).await;
    stage.desk.keep(subscribe("two")).await.unwrap();
    let id = ApiId("news".to_owned());
    stage.registry.stop(&id, Expected::Any).await.unwrap();
    stage.registry.delete(&id, Expected::Any, true).await.unwrap();
    assert_eq!((stage.standing(), stage.count()), (Standing::Unknown, 0));
    let Stage { registry, gateway, desk, directory } = stage;
    drop((registry, gateway));
    assert!(desk.keep(subscribe("three")).await.is_err(), "nobody keeps it any more");
    let kept = Store::open(directory.path()).await.unwrap();
    assert!(kept.hub_requests().await.unwrap().is_empty());
    assert_eq!(kept.subscriptions().await.unwrap().count(), 0);
}
