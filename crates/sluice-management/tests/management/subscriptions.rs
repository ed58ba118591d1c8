//! Subscriptions: who may, how they are written, how they live, and what the publisher's and the consumer's
//! addresses answer.

use std::sync::Arc;

use serde_json::{Value, json};
use sluice_api::{MASK, Subscription, SubscriptionId};
use sluice_gateway::GatewayOptions;
use sluice_management::{Decision, NewSubscription, Registry, Side, SubscriptionUpdate};
use sluice_store::{ConsumerStatus, SubscriptionRecord, SubscriptionStatus};

use crate::support::{PASSWORD, Server, api, gateway, registry, registry_of, send};

const URL: &str = "https://hooks.example/in";

/// A server with a webhook API on the embedded log, and an application.
struct Stage {
    server: Server,
    api: String,
    application: String,
}

impl Stage {
    async fn set() -> Self {
        let server = Server::start().await;
        let body = json!({
            "name": "Orders", "apiVersion": "1", "description": "Orders", "type": "async",
            "listeners": [{"type": "subscription", "entrypoints": [{"type": "webhook"}]}],
            "endpointGroups": [{"name": "g", "type": "log", "endpoints": [
                {"name": "e", "type": "log", "configuration": {"topics": ["orders"]}}
            ]}]
        });
        let api = server.create(&body).await;
        let application =
            json!({"name": "App", "description": "App", "settings": {"app": {"client_id": "me"}}});
        let application = server.call("POST", "applications", Some(&application)).await.json();
        let application = application["id"].as_str().unwrap().to_owned();
        Self { server, api, application }
    }

    async fn plan(&self, security: &str, status: &str, validation: &str) -> String {
        let plan = json!({
            "name": "Plan", "description": "d", "status": status, "validation": validation,
            "security": {"type": security}
        });
        let answer = self.server.call("POST", &format!("v4/apis/{}/plans", self.api), Some(&plan)).await;
        assert_eq!(answer.status, 201, "{}", answer.text);
        answer.json()["id"].as_str().unwrap().to_owned()
    }

    async fn subscribe(&self, plan: &str, body: &Value) -> crate::support::Answer {
        let path = format!("v4/apis/{}/subscriptions?application={}&plan={plan}", self.api, self.application);
        self.server.call("POST", &path, Some(body)).await
    }

    async fn ask(&self, plan: &str, body: &Value) -> crate::support::Answer {
        let path = format!("applications/{}/subscriptions?plan={plan}", self.application);
        self.server.call("POST", &path, Some(body)).await
    }
}

fn configuration(url: &str) -> Value {
    json!({"configuration": {"entrypointId": "webhook", "callbackUrl": url}})
}

#[tokio::test]
async fn every_shape_of_a_configuration_is_the_same_subscription() {
    let callback = json!({"callbackUrl": URL, "headers": [{"name": "X-Key", "value": "v"}]});
    let with = |fields: Value| {
        let mut flat = callback.clone();
        flat.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        flat
    };
    let nested = json!({"entrypointId": "webhook", "entrypointConfiguration": callback});
    let shapes = [
        json!({"configuration": with(json!({"type": "webhook"}))}),
        json!({"configuration": with(json!({"entrypointId": "webhook"}))}),
        json!({"configuration": nested}),
        json!({"consumerConfiguration": nested}),
    ];
    let stage = Stage::set().await;
    for shape in shapes {
        let plan = stage.plan("subscription", "PUBLISHED", "manual").await;
        let created = stage.subscribe(&plan, &shape).await;
        assert_eq!(created.status, 201, "{}", created.text);
        let created = created.json();
        assert_eq!(created["status"], "ACCEPTED", "the publisher needs nobody's agreement");
        let path = format!("v4/apis/{}/subscriptions/{}", stage.api, created["id"].as_str().unwrap());
        let read = stage.server.call("GET", &path, None).await.json();
        let kept = &read["configuration"];
        assert_eq!((&kept["entrypointId"], &kept["callbackUrl"]), (&json!("webhook"), &json!(URL)));
        assert_eq!(kept["headers"], json!([{"name": "X-Key", "value": MASK}]));
    }
}

#[tokio::test]
async fn the_order_that_a_subscriber_wants_is_kept() {
    let stage = Stage::set().await;
    let plan = stage.plan("subscription", "PUBLISHED", "auto").await;
    let mut body = configuration(URL);
    body["configuration"]["order"] = json!("sideways");
    let refused = stage.subscribe(&plan, &body).await;
    assert_eq!(refused.refused(400, "document.field").json()["parameters"]["path"], "configuration.order");
    body["configuration"]["order"] = json!("key");
    let created = stage.subscribe(&plan, &body).await.json();
    let path = format!("v4/apis/{}/subscriptions/{}", stage.api, created["id"].as_str().unwrap());
    let read = stage.server.call("GET", &path, None).await.json();
    assert_eq!(read["configuration"]["order"], "key");
    let written =
        stage.server.call("PUT", &path, Some(&json!({"configuration": read["configuration"]}))).await;
    assert_eq!(written.json()["configuration"]["order"], "key");
}

#[tokio::test]
async fn credentials_are_taken_as_the_user_guide_writes_them_and_never_shown_again() {
    let credentials = [
        json!({"type": "basic", "basic": {"username": "username", "password": "a-very-secured-password"}}),
        json!({"type": "token", "token": {"value": "a-very-secured-token"}}),
        json!({"type": "oauth2", "oauth2": {
            "endpoint": "https://auth.example/oauth/token", "clientId": "a-client-id",
            "clientSecret": "a-very-secured-secret", "scopes": ["roles"]
        }}),
    ];
    let stage = Stage::set().await;
    for auth in credentials {
        let plan = stage.plan("subscription", "PUBLISHED", "auto").await;
        let body = json!({"configuration": {
            "entrypointId": "webhook-advanced", "callbackUrl": "https://example.com", "auth": auth
        }});
        let created = stage.subscribe(&plan, &body).await;
        assert_eq!(created.status, 201, "{}", created.text);
        let path = format!("v4/apis/{}/subscriptions/{}", stage.api, created.json()["id"].as_str().unwrap());
        let read = stage.server.call("GET", &path, None).await;
        assert!(read.text.contains(MASK) && !read.text.contains("a-very-secured"), "{}", read.text);
        // What was read can be written back.
        let written = json!({"configuration": read.json()["configuration"], "metadata": {"a": "b"}});
        let written = stage.server.call("PUT", &path, Some(&written)).await;
        assert_eq!(written.status, 200, "{}", written.text);
        let id = SubscriptionId(path.rsplit('/').next().unwrap().to_owned());
        let mut kept = stage.server.registry.subscription(&id).unwrap().consumer.callback.clone();
        assert!(kept.secrets_mut()[0].1.expose().starts_with("a-very-secured"));
    }
}

#[tokio::test]
async fn a_subscription_to_an_api_in_a_file_outlives_the_absence_of_the_file() {
    let stage = Stage::set().await;
    let mut in_file = api("filed", "/filed");
    let (webhook, plan) =
        (json!({"type": "webhook"}), json!({"id": "p", "name": "p", "security": {"type": "push"}}));
    in_file.receivers.push(sluice_api::from_value(webhook).unwrap());
    in_file.plans.push(sluice_api::from_value(plan).unwrap());
    let sync = async |files| assert_eq!(stage.server.registry.sync_files(files).await.unwrap(), []);
    sync(vec![("filed.yaml".into(), Ok(in_file.clone()))]).await;
    let path = format!("v4/apis/filed/subscriptions?application={}&plan=p", stage.application);
    let created = stage.server.call("POST", &path, Some(&configuration(URL))).await;
    assert_eq!(created.status, 201, "{}", created.text);
    sync(Vec::new()).await;
    sync(vec![("filed.yaml".into(), Ok(in_file))]).await;
    let path = format!("v4/apis/filed/subscriptions/{}", created.json()["id"].as_str().unwrap());
    assert_eq!(stage.server.call("GET", &path, None).await.json()["status"], "ACCEPTED");
}

#[tokio::test]
async fn what_can_not_be_subscribed_to_is_refused_with_its_field() {
    let stage = Stage::set().await;
    let plan = stage.plan("subscription", "PUBLISHED", "auto").await;
    let key_less = stage.plan("key-less", "PUBLISHED", "auto").await;
    let staging = stage.plan("subscription", "STAGING", "auto").await;
    let cases = [
        (&key_less, json!({}), "plan.keyless", "plan"),
        (&staging, configuration(URL), "plan.staging", "plan"),
        (&plan, json!({}), "subscription.entrypoint.missing", "configuration.entrypointId"),
        (
            &plan,
            json!({"configuration": {"callbackUrl": URL}}),
            "subscription.entrypoint.missing",
            "configuration.entrypointId",
        ),
        (
            &plan,
            json!({"configuration": {"entrypointId": "sse", "callbackUrl": URL}}),
            "subscription.entrypoint.invalid",
            "configuration.entrypointId",
        ),
        (
            &plan,
            json!({"configuration": {"entrypointId": "webhook"}}),
            "field.required",
            "configuration.callbackUrl",
        ),
        (
            &plan,
            json!({"consumerConfiguration": {
                "entrypointId": "webhook", "entrypointConfiguration": {"callbackUrl": URL, "colour": "red"}
            }}),
            "document.field",
            "consumerConfiguration.entrypointConfiguration.colour",
        ),
        (
            &plan,
            json!({"filter": "{#true}", "configuration": {"entrypointId": "webhook", "callbackUrl": URL}}),
            "feature.unsupported",
            "filter",
        ),
    ];
    for (plan, body, code, path) in cases {
        let answer = stage.subscribe(plan, &body).await;
        assert_eq!(answer.refused(400, code).json()["parameters"]["path"], path, "{}", answer.text);
    }
    for url in ["ftp://a.example/", "a.example", "", "https://u:p@a.example/"] {
        let answer = stage.subscribe(&plan, &configuration(url)).await;
        assert_eq!(answer.status, 400, "{url}: {}", answer.text);
        assert_eq!(answer.json()["parameters"]["path"], "configuration.callbackUrl", "{}", answer.text);
    }
    let mut many = configuration(URL);
    many["metadata"] =
        (0..65).map(|number| (number.to_string(), json!("v"))).collect::<serde_json::Map<_, _>>().into();
    stage.subscribe(&plan, &many).await.refused(400, "subscription.metadata.invalid");
    assert_eq!(stage.subscribe(&plan, &configuration(URL)).await.status, 201);
    stage.subscribe(&plan, &configuration(URL)).await.refused(400, "subscription.exists");
    stage.subscribe("nowhere", &configuration(URL)).await.refused(404, "plan.notFound");
    let no_plan = format!("v4/apis/{}/subscriptions?application={}", stage.api, stage.application);
    stage.server.call("POST", &no_plan, None).await.refused(400, "field.required");
}

#[tokio::test]
async fn a_consumer_asks_and_the_publisher_agrees_again_after_a_change() {
    let stage = Stage::set().await;
    let plan = stage.plan("subscription", "PUBLISHED", "manual").await;
    let mut wish = configuration(URL);
    wish["request"] = json!("please");
    let asked = stage.ask(&plan, &wish).await.json();
    assert_eq!((&asked["status"], &asked["request"]), (&json!("PENDING"), &json!("please")));
    let id = asked["id"].as_str().unwrap().to_owned();
    let at_api = format!("v4/apis/{}/subscriptions/{id}", stage.api);
    let at_application = format!("applications/{}/subscriptions/{id}", stage.application);
    let call =
        async |method: &str, path: &str, body: Option<&Value>| stage.server.call(method, path, body).await;
    let start = format!("{at_application}/_changeConsumerStatus?status=STARTED");
    call("POST", &start, None).await.refused(400, "subscription.notAccepted");
    let decision = json!({"accepted": true, "reason": "gladly", "ending_at": 9_999_999_999_999_i64});
    let process = format!("{at_api}/_process");
    let accepted = call("POST", &process, Some(&decision)).await.json();
    assert_eq!((&accepted["status"], &accepted["reason"]), (&json!("ACCEPTED"), &json!("gladly")));
    assert_eq!(accepted["ending_at"], 9_999_999_999_999_i64);
    call("POST", &process, Some(&decision)).await.refused(400, "subscription.processed");

    // What it says about itself is its own; whom the gateway calls is not.
    let metadata = call("PUT", &at_application, Some(&json!({"metadata": {"feature": "b"}}))).await.json();
    assert_eq!((&metadata["status"], &metadata["metadata"]["feature"]), (&json!("ACCEPTED"), &json!("b")));
    let moved = configuration("https://elsewhere.example/");
    assert_eq!(call("PUT", &at_application, Some(&moved)).await.json()["status"], "PENDING");
    assert_eq!(call("POST", &process, Some(&decision)).await.json()["status"], "ACCEPTED");
    let published = call("PUT", &at_api, Some(&configuration(URL))).await.json();
    assert_eq!(published["status"], "ACCEPTED", "the publisher needs nobody's agreement");

    let stop = format!("{at_application}/_changeConsumerStatus?status=STOPPED");
    assert_eq!(call("POST", &stop, None).await.json()["consumerStatus"], "STOPPED");
    assert_eq!(
        call("POST", &format!("{at_api}/status?status=PAUSED"), None).await.json()["status"],
        "PAUSED"
    );
    assert_eq!(
        call("POST", &format!("{at_api}/status?status=RESUMED"), None).await.json()["status"],
        "ACCEPTED"
    );
    assert_eq!(call("DELETE", &at_application, None).await.json()["status"], "CLOSED");
    call("PUT", &at_api, Some(&moved)).await.refused(400, "subscription.closed");
    assert_eq!(stage.ask(&plan, &wish).await.status, 201, "it may ask anew");
}

#[tokio::test]
async fn a_portal_subscribes_by_an_address_of_its_own() {
    let stage = Stage::set().await;
    let plan = stage.plan("subscription", "PUBLISHED", "manual").await;
    let body = json!({"application": stage.application, "plan": plan, "configuration": {
        "entrypointId": "webhook", "entrypointConfiguration": {"callbackUrl": URL}
    }});
    let request = stage.server.anonymous("POST", "/portal/environments/DEFAULT/subscriptions");
    let answer = send(request.basic_auth("admin", Some(PASSWORD)).json(&body)).await;
    assert_eq!(
        (answer.status.as_u16(), &answer.json()["status"]),
        (201, &json!("PENDING")),
        "{}",
        answer.text
    );
}

#[tokio::test]
async fn lists_come_in_pages_with_the_names_behind_the_ids() {
    let stage = Stage::set().await;
    for status in ["auto", "manual", "manual"] {
        let plan = stage.plan("subscription", "PUBLISHED", status).await;
        assert_eq!(stage.ask(&plan, &configuration(URL)).await.status, 201);
    }
    let list = async |query: &str| {
        let path = format!("v4/apis/{}/subscriptions?{query}", stage.api);
        stage.server.call("GET", &path, None).await
    };
    let accepted = list("").await.json();
    assert_eq!(accepted["page"]["total_elements"], 1, "only accepted ones unless others are asked for");
    let page = list("status=PENDING,ACCEPTED&size=2&page=2&expand=keys,security").await.json();
    assert_eq!(
        page["page"],
        json!({"current": 2, "per_page": 2, "size": 1, "total_pages": 2, "total_elements": 3})
    );
    let line = &page["data"][0];
    assert_eq!((&line["security"], &line["keys"]), (&json!("subscription"), &json!([])));
    assert_eq!((&line["application"], &line["client_id"]), (&json!(stage.application), &json!("me")));
    assert_eq!(page["metadata"][&stage.application]["name"], "App");
    list("size=101").await.refused(400, "page.invalid");
    list("status=HAPPY").await.refused(400, "subscription.status.invalid");
    let other = format!("applications/{}/subscriptions?api=other&status=PENDING", stage.application);
    assert_eq!(stage.server.call("GET", &other, None).await.json()["data"], json!([]));
    let subscribers = format!("v4/apis/{}/subscribers?query=ap", stage.api);
    assert_eq!(stage.server.call("GET", &subscribers, None).await.json()[0]["name"], "App");
}

#[tokio::test]
async fn there_are_no_keys_and_none_can_be_made() {
    let stage = Stage::set().await;
    let plan = stage.plan("subscription", "PUBLISHED", "auto").await;
    let created = stage.subscribe(&plan, &configuration(URL)).await.json();
    let id = created["id"].as_str().unwrap();
    for at in [format!("v4/apis/{}", stage.api), format!("applications/{}", stage.application)] {
        let keys = format!("{at}/subscriptions/{id}/apikeys");
        assert_eq!(stage.server.call("GET", &keys, None).await.json(), json!([]));
        stage.server.call("POST", &format!("{keys}/_renew"), None).await.refused(400, "feature.unsupported");
        stage.server.call("DELETE", &format!("{keys}/k"), None).await.refused(404, "apiKey.notFound");
    }
    let can =
        format!("v4/apis/{}/subscriptions/_canCreate?key=k&application={}", stage.api, stage.application);
    assert_eq!(stage.server.call("GET", &can, None).await.json(), json!(false));
}

#[tokio::test]
async fn an_archived_application_loses_its_subscriptions_and_can_be_restored() {
    let stage = Stage::set().await;
    let plan = stage.plan("subscription", "PUBLISHED", "auto").await;
    let created = stage.subscribe(&plan, &configuration(URL)).await.json();
    let application = format!("applications/{}", stage.application);
    let renamed = json!({"name": "New", "description": "d", "settings": {"app": {"client_id": "other"}}});
    assert_eq!(stage.server.call("PUT", &application, Some(&renamed)).await.json()["name"], "New");
    assert_eq!(stage.server.call("DELETE", &application, None).await.status, 204);
    let at_api = format!("v4/apis/{}/subscriptions/{}", stage.api, created["id"].as_str().unwrap());
    let closed = stage.server.call("GET", &at_api, None).await.json();
    assert_eq!((&closed["status"], &closed["client_id"]), (&json!("CLOSED"), &json!("other")));
    stage.subscribe(&plan, &configuration(URL)).await.refused(400, "application.archived");
    assert_eq!(stage.server.call("GET", "applications", None).await.json(), json!([]));
    let archived = stage.server.call("GET", "applications?status=ARCHIVED&query=ne", None).await.json();
    assert_eq!(archived[0]["status"], "ARCHIVED");
    let restored = stage.server.call("POST", &format!("{application}/_restore"), None).await.json();
    assert_eq!(restored["status"], "ACTIVE");
    assert_eq!(stage.subscribe(&plan, &configuration(URL)).await.status, 201);
}

/// An event API with two plans whose subscribers are called, and an application, in the registry alone.
async fn offered(registry: &Registry) -> NewSubscription {
    let mut draft = api("orders", "/orders");
    let webhook = json!({"type": "webhook"});
    draft.receivers.push(sluice_api::from_value(webhook).unwrap());
    for id in ["one", "two"] {
        let plan = json!({"id": id, "name": id, "security": {"type": "push"}});
        draft.plans.push(sluice_api::from_value(plan).unwrap());
    }
    let api = registry.create(draft, sluice_store::Catalogue::new()).await.unwrap().record.id().clone();
    let application = sluice_management::NewApplication {
        name: "App".to_owned(),
        description: String::new(),
        client_id: None,
        catalogue: sluice_store::Catalogue::new(),
    };
    let application = registry.create_application(application).await.unwrap().id.clone();
    let consumer = json!({"connector": "webhook", "channel": null, "callback": {
        "callbackUrl": URL, "headers": [{"name": "X-Key", "value": "hunter2"}]
    }});
    NewSubscription {
        api,
        plan: sluice_api::PlanId("one".to_owned()),
        application,
        consumer: Some(sluice_api::from_value(consumer).unwrap()),
        metadata: [("feature".to_owned(), "a".to_owned())].into(),
        message: None,
    }
}

/// A subscription as the gateway is given it.
pub(crate) fn served(record: &SubscriptionRecord) -> Subscription {
    Subscription {
        id: record.id.clone(),
        api: record.api.clone(),
        plan: record.plan.clone(),
        application: record.application.clone(),
        application_name: String::new(),
        client_id: None,
        metadata: record.metadata.clone(),
        channel: record.consumer.channel.clone(),
        callback: record.consumer.callback.clone(),
        hub: record.consumer.hub.clone(),
        starting_at: record.starting_at.map(|time| time.0),
        ending_at: record.ending_at.map(|time| time.0),
    }
}

fn decision(accepted: bool) -> Decision {
    Decision { accepted, reason: None, starting_at: None, ending_at: None }
}

#[tokio::test]
async fn a_failure_of_a_former_callback_says_nothing_of_the_present_one() {
    let directory = tempfile::tempdir().unwrap();
    let registry = registry(directory.path()).await;
    let wanted = offered(&registry).await;
    let made = registry.subscribe(wanted, Side::Consumer).await.unwrap();
    let present = served(&made);
    let mut former = present.clone();
    former.callback.callback_url.push_str("/former");
    let after = registry.fail_subscription(&Arc::new(former), "delivery.status", "500").await.unwrap();
    assert_eq!(after.consumer_status, ConsumerStatus::Started);
    // Only at a hub has a subscriber that is gone ended its subscription.
    let after = registry.fail_subscription(&Arc::new(present), "delivery.gone", "410").await.unwrap();
    assert_eq!(after.consumer_status, ConsumerStatus::Failure);
}

/// Every step that a subscription can take.
const STEPS: [&str; 9] =
    ["accept", "reject", "pause", "resume", "close", "start", "stop", "fail", "resume failure"];

async fn take(registry: &Registry, id: &SubscriptionId, step: &str) -> Option<SubscriptionRecord> {
    let changed = match step {
        "accept" => registry.process_subscription(id, decision(true)).await,
        "reject" => registry.process_subscription(id, decision(false)).await,
        "pause" => registry.pause_subscription(id).await,
        "resume" => registry.resume_subscription(id).await,
        "close" => registry.close_subscription(id).await,
        "start" => registry.set_consumer_status(id, ConsumerStatus::Started).await,
        "stop" => registry.set_consumer_status(id, ConsumerStatus::Stopped).await,
        "fail" => {
            let served = served(&registry.subscription(id).unwrap());
            registry.fail_subscription(&Arc::new(served), "delivery.status", "500").await
        }
        _ => registry.resume_failure(id).await,
    };
    changed.ok().map(|record| (*record).clone())
}

#[tokio::test]
async fn whatever_happens_in_whichever_order_a_subscription_is_in_a_state_that_makes_sense() {
    use SubscriptionStatus::{Accepted, Closed, Paused, Pending, Rejected};
    let directory = tempfile::tempdir().unwrap();
    let registry = registry(directory.path()).await;
    let wanted = offered(&registry).await;
    // A short generator in place of chance, so that a failure can be repeated.
    let mut number: u64 = 0x9e37_79b9_7f4a_7c15;
    for _ in 0..40 {
        let mut before = (*registry.subscribe(wanted.clone(), Side::Consumer).await.unwrap()).clone();
        for _ in 0..12 {
            number = number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let step = STEPS[usize::try_from(number >> 33).unwrap() % STEPS.len()];
            let after = take(&registry, &before.id, step).await;
            let allowed = match step {
                "accept" | "reject" => before.status == Pending,
                "pause" => before.status == Accepted,
                "resume" => before.status == Paused,
                "close" => matches!(before.status, Pending | Accepted | Paused),
                "start" | "stop" => matches!(before.status, Accepted | Paused),
                "fail" => true,
                _ => before.status.is_open() && before.consumer_status == ConsumerStatus::Failure,
            };
            assert_eq!(after.is_some(), allowed, "{step} of {before:?}");
            let Some(after) = after else { continue };
            assert!(after.updated_at > before.updated_at);
            assert_eq!(after.paused_at.is_some(), after.status == Paused, "{step}: {after:?}");
            assert_eq!(
                after.closed_at.is_some(),
                matches!(after.status, Closed | Rejected),
                "{step}: {after:?}"
            );
            let failed = after.consumer_status == ConsumerStatus::Failure;
            assert_eq!(after.failure_cause.is_some(), failed, "{step}: {after:?}");
            if !before.status.is_open() {
                assert_eq!(after.status, before.status, "what is over stays over");
            }
            before = after;
        }
        registry.close_subscription(&before.id).await.ok();
    }
}

#[tokio::test]
async fn what_was_kept_is_there_after_a_restart_and_ends_with_its_plan() {
    let directory = tempfile::tempdir().unwrap();
    let id = {
        let registry = registry(directory.path()).await;
        let wanted = offered(&registry).await;
        registry.subscribe(wanted, Side::Publisher).await.unwrap().id.clone()
    };
    let registry = registry_of(directory.path(), &gateway(GatewayOptions::default())).await;
    let kept = registry.subscription(&id).unwrap();
    assert_eq!((kept.status, &*kept.metadata["feature"]), (SubscriptionStatus::Accepted, "a"));
    assert_eq!(kept.consumer.callback.headers[0].value.expose(), "hunter2");
    let two = sluice_api::PlanId("two".to_owned());
    assert_eq!(registry.transfer_subscription(&id, &two).await.unwrap().plan, two);
    assert!(registry.transfer_subscription(&id, &two).await.is_err(), "it has that plan already");
    registry.close_plan(&kept.api, &kept.plan).await.unwrap();
    assert_eq!(registry.subscription(&id).unwrap().status, SubscriptionStatus::Accepted);
    registry.close_plan(&kept.api, &two).await.unwrap();
    assert_eq!(registry.subscription(&id).unwrap().status, SubscriptionStatus::Closed);
}

#[tokio::test]
async fn a_masked_secret_stays_with_its_header_and_goes_to_no_other_address() {
    let directory = tempfile::tempdir().unwrap();
    let registry = registry(directory.path()).await;
    let wanted = offered(&registry).await;
    let mut consumer = wanted.consumer.clone().unwrap();
    let id = registry.subscribe(wanted, Side::Publisher).await.unwrap().id.clone();
    consumer.callback.headers[0].value = sluice_api::Secret::new(MASK);
    let first = sluice_api::from_value(json!({"name": "X-First", "value": "new"})).unwrap();
    consumer.callback.headers.insert(0, first);
    let update = |consumer| SubscriptionUpdate { consumer: Some(consumer), ..SubscriptionUpdate::default() };
    let changed = registry.update_subscription(&id, update(consumer.clone()), Side::Publisher).await.unwrap();
    assert_eq!(changed.consumer.callback.headers[1].value.expose(), "hunter2");
    consumer.callback.callback_url = "https://elsewhere.example/".to_owned();
    let stolen = registry.update_subscription(&id, update(consumer), Side::Publisher).await.unwrap_err();
    assert!(stolen.to_string().contains("mask"), "{stolen}");
}
