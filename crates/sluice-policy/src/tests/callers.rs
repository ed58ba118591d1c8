//! What happens to a client when it comes and when it is answered, and how flows and plans are chosen for it.

use std::{sync::Arc, time::Duration};

use serde_json::{Value, json};
use sluice_api::{ApiId, ApplicationId, Callback, PlanId, Subscription, SubscriptionId};
use sluice_expression::Response;

use super::{caller, chains, compiled, connected, problems, request, run, step};
use crate::{Caller, Chains, Hook, Outcome};

fn assign(name: &str, value: &str) -> Value {
    step("assign-attributes", json!({"attributes": [{"name": name, "value": value}]}))
}

fn with(mut step: Value, field: &str, value: &str) -> Value {
    step[field] = json!(value);
    step
}

fn noted(caller: &Caller, name: &str) -> Option<String> {
    caller.attributes().get(name).and_then(Value::as_str).map(str::to_owned)
}

#[tokio::test]
async fn an_api_without_policies_keeps_next_to_nothing_of_a_client() {
    let plans = json!([{"id": "open", "name": "Open", "security": {"type": "key-less"}}]);
    let chains = compiled(json!({"plans": plans}));
    assert!(!chains.reads_request());
    let plan = PlanId("open".to_owned());
    let caller = Caller::new(&chains, "http-post", "/a/b").with_accept(Some("text/plain")).with_plan(&plan);
    // Its path is kept, as the API may be deployed anew with policies that go by it.
    assert!(&*caller.sub_path == "/a/b" && caller.accept.is_none());
    assert_eq!((noted(&caller, "gravitee.attribute.plan"), caller.attributes().len()), (None, 1));
    let caller = connected(&chains, caller).await.unwrap();
    assert!(!chains.responds(&caller) && caller.flows.get().is_none());
    assert!(chains.select(Hook::Publish, &caller).is_empty());
}

#[tokio::test]
async fn a_client_that_moves_to_policies_is_known_to_them() {
    let plan = |flows: Value| json!({"id": "open", "name": "Open", "security": {"type": "key-less"}, "flows": flows});
    let bare = compiled(json!({"plans": [plan(json!([]))]}));
    let filter = step(
        "message-filtering",
        json!({"filter": "{#context.attributes['gravitee.attribute.plan'] == 'open'}"}),
    );
    let channel = json!({"channel": "/a/b", "channelOperator": "EQUALS"});
    let flows = json!([{"channel": channel, "deliver": [filter]}]);
    let strict = compiled(json!({"plans": [plan(flows)]}));
    let caller = Caller::new(&bare, "sse", "/a/b").with_plan(&PlanId("open".to_owned()));
    assert!(bare.select(Hook::Deliver, &caller).is_empty());
    let moved = caller.moved_to(&strict);
    assert!(!strict.select(Hook::Deliver, &moved).is_empty());
    assert_eq!(noted(&moved, "gravitee.attribute.plan"), Some("open".to_owned()));
}

#[test]
fn a_request_is_asked_for_where_something_reads_it() {
    let reads = |fields: Value| compiled(fields).reads_request();
    let filter = |filter: &str| step("message-filtering", json!({"filter": filter}));
    let publish = |step: Value| json!({"flows": [{"publish": [step]}]});
    assert!(!reads(publish(filter("{#message.content == 'a'}"))));
    assert!(reads(publish(filter("{#message.content == #request.method}"))));
    let conditioned = with(filter("true"), "condition", "{#request.headers['x'] != null}");
    assert!(reads(publish(conditioned)));
    let transform = step("transform-headers", json!({"removeHeaders": ["x"]}));
    assert!(reads(json!({"flows": [{"connect": [transform.clone()]}]})));
    assert!(!reads(publish(transform)));
    let rule = "{#request.headers['x'] != null}";
    let plan = json!({"name": "Open", "security": {"type": "key-less"}, "selectionRule": rule});
    assert!(reads(json!({"plans": [plan]})));
}

#[tokio::test]
async fn a_client_meets_the_policies_of_its_plan_then_those_of_the_api_in_order() {
    let plans = json!([
        {"id": "one", "name": "One", "security": {"type": "key-less"}, "flows": [{"connect": [assign("x", "plan")]}]},
        {"id": "two", "name": "Two", "security": {"type": "key-less"}},
    ]);
    let own = assign("y", "{#context.attributes['x']}:{#context.attributes['plan']}");
    let chains = compiled(json!({"plans": plans, "flows": [{"connect": [own]}]}));
    let y = async |plan: &str| {
        let caller = caller(&chains, "sse", &[]).with_plan(&PlanId(plan.to_owned()));
        noted(&connected(&chains, caller).await.unwrap(), "y")
    };
    assert_eq!(y("one").await.as_deref(), Some("plan:one"));
    assert_eq!(y("two").await.as_deref(), Some(":two"));
}

#[tokio::test]
async fn a_flow_that_was_chosen_when_the_client_came_stays_chosen() {
    // The condition would not be true any more when the answer is made.
    let flow = json!({
        "condition": "{#request.headers['X-Flow'] != null}",
        "connect": [step("transform-headers", json!({"removeHeaders": ["x-flow"]}))],
        "respond": [step("transform-headers", json!({"addHeaders": [{"name": "X-Ran", "value": "yes"}]}))],
        "publish": [step("message-filtering", json!({"filter": "false"}))],
    });
    let chains = chains(json!([flow]));
    let mut with = connected(&chains, caller(&chains, "http-post", &[("x-flow", "1")])).await.unwrap();
    assert!(with.request().unwrap().headers.is_empty());
    assert!(run(&chains, &with, "x").is_none() && chains.responds(&with));
    let mut answer = Response { status: 202, ..Response::default() };
    chains.respond(&mut with, &mut answer);
    assert_eq!(answer.headers.get("x-ran").unwrap(), "yes");
    let without = connected(&chains, caller(&chains, "http-post", &[])).await.unwrap();
    assert!(run(&chains, &without, "x").is_some() && !chains.responds(&without));
}

#[tokio::test]
async fn a_steps_condition_is_asked_once_for_a_client_after_what_ran_before_it() {
    let flow = json!({
        "connect": [
            assign("a", "1"),
            with(assign("b", "2"), "condition", "{#context.attributes['a'] == '1'}"),
            with(assign("c", "3"), "condition", "{#context.attributes['a'] == '2'}"),
            with(assign("d", "4"), "condition", "{#request.headers['x'][0] == '1'}"),
        ],
        "publish": [with(step("message-filtering", json!({"filter": "false"})), "condition",
            "{#context.attributes['b'] == '3'}")],
    });
    let chains = chains(json!([flow]));
    let caller = connected(&chains, caller(&chains, "http-post", &[])).await.unwrap();
    assert_eq!(
        (noted(&caller, "b").as_deref(), noted(&caller, "c"), noted(&caller, "d")),
        (Some("2"), None, None)
    );
    assert!(run(&chains, &caller, "x").is_some());
}

#[test]
fn a_flow_with_an_http_selector_is_for_its_path_and_methods() {
    let fits = |http: Value, receiver: &'static str, path: &str| {
        let flow = json!([{"http": http, "publish": [step("latency", json!({}))], "deliver": [step("latency", json!({}))]}]);
        let chains = chains(flow);
        let caller = Caller::new(&chains, receiver, path);
        let hook = if receiver == "http-post" { Hook::Publish } else { Hook::Deliver };
        !chains.select(hook, &caller).is_empty()
    };
    assert!(fits(json!({"path": "/a/:b"}), "sse", "a/1/c") && !fits(json!({"path": "/a/:b"}), "sse", "/a"));
    assert!(!fits(json!({"path": "/a", "pathOperator": "EQUALS"}), "sse", "/a/b"));
    let get = json!({"methods": ["GET"]});
    assert!(
        fits(get.clone(), "sse", "")
            && fits(get.clone(), "websocket", "")
            && !fits(get.clone(), "http-post", "")
    );
    assert!(fits(json!({"methods": ["POST", "PUT"]}), "http-post", ""));
    // A subscription is called: there is no method.
    assert!(fits(json!({}), "webhook", "") && !fits(get, "webhook", ""));
}

#[test]
fn a_channel_for_one_direction_is_for_clients_that_go_that_way() {
    let chosen = |operation: &str, receiver: &'static str| {
        let channel = json!({"operations": [operation]});
        let chains = chains(json!([{"channel": channel, "connect": [step("latency", json!({}))],
            "publish": [step("latency", json!({}))]}]));
        let caller = Caller::new(&chains, receiver, "");
        let chain = chains.select(Hook::Publish, &caller);
        (caller.flows.get().map_or(0, |flows| flows.len()), chain.is_empty())
    };
    assert_eq!(chosen("publish", "http-post"), (1, false));
    assert_eq!(chosen("publish", "sse").0, 0);
    assert_eq!(chosen("subscribe", "websocket"), (1, true));
    assert_eq!(chosen("publish", "websocket"), (1, false));
}

#[test]
fn a_plan_takes_clients_for_whom_its_rule_is_true() {
    let plan = |id: &str, rule: &str| json!({"id": id, "name": id, "security": {"type": "key-less"}, "selectionRule": rule});
    let chains = compiled(json!({"plans": [
        plan("gold", "{#request.headers['tier'][0] == 'gold'}"), plan("blank", " "), plan("odd", "{(1)}"),
    ]}));
    let admits =
        |plan: &str, headers| chains.admits(&PlanId(plan.to_owned()), &caller(&chains, "sse", headers));
    assert!(admits("gold", &[("Tier", "gold")]));
    assert!(!admits("gold", &[("Tier", "silver")]) && !admits("gold", &[]));
    assert!(admits("blank", &[]) && !admits("odd", &[]));
}

#[test]
fn what_cannot_be_read_where_it_stands_is_refused_when_the_api_is_deployed() {
    let plans =
        json!([{"name": "Open", "security": {"type": "key-less"}, "selectionRule": "{#message.id == '1'}"}]);
    let found = problems(json!({"plans": plans, "flows": [{
        "condition": "{#message.content == 'x'}",
        "connect": [
            assign("a", "{#message.content}"),
            with(assign("a", "b"), "messageCondition", "{#message.content == 'x'}"),
            with(assign("a", "b"), "condition", "yes"),
        ],
        "deliver": [assign("a", "{#secrets.get('pin')} {#dictionaries['words']['one']}"),
            assign("a", "{#secrets.get('pan')}"), assign("a", "{#dictionaries['wards']['one']}")],
    }]}));
    let found: Vec<_> = found.iter().map(|(path, code, _)| (&**path, *code)).collect();
    let value = "configuration.attributes[0].value";
    assert_eq!(
        found,
        [
            ("flows[0].condition", "expression.invalid"),
            (&*format!("flows[0].connect[0].{value}"), "expression.invalid"),
            ("flows[0].connect[1].messageCondition", "document.field"),
            ("flows[0].connect[2].condition", "expression.invalid"),
            (&*format!("flows[0].deliver[1].{value}"), "expression.secret.unknown"),
            (&*format!("flows[0].deliver[2].{value}"), "expression.dictionary.unknown"),
            ("plans[0].selectionRule", "expression.invalid"),
        ]
    );
}

#[tokio::test]
async fn a_subscriptions_metadata_and_application_are_seen_by_expressions() {
    let chains = chains(json!([{"connect": [assign(
        "seen",
        "{#subscription.id} {#subscription.type} {#subscription.metadata.a} {#subscription.applicationName} \
         {#context.attributes['application']} {#context.attributes['subscription']} {#api.name}",
    )]}]));
    let subscription = Subscription {
        id: SubscriptionId("s1".to_owned()),
        api: ApiId("kafka-and-sse".to_owned()),
        plan: PlanId("push".to_owned()),
        application: ApplicationId("a1".to_owned()),
        application_name: "Shop".to_owned(),
        client_id: None,
        metadata: [("a".to_owned(), "b".to_owned())].into(),
        channel: None,
        callback: sluice_api::from_value::<Callback>(json!({"callbackUrl": "https://shop.example/hook"}))
            .unwrap(),
        hub: None,
        starting_at: None,
        ending_at: None,
    };
    let caller = Caller::new(&chains, "webhook", "").with_subscription(Arc::new(subscription));
    let caller = connected(&chains, caller).await.unwrap();
    assert_eq!(noted(&caller, "seen").as_deref(), Some("s1 push b Shop a1 s1 Kafka and SSE"));
}

#[tokio::test(start_paused = true)]
async fn waits_add_up_for_a_message_and_pass_for_a_client() {
    let latency = |time: u64, unit: &str| step("latency", json!({"time": time, "timeUnit": unit}));
    let chains = chains(json!([{
        "connect": [latency(2, "SECONDS")],
        "publish": [latency(30, "MILLISECONDS"), latency(1, "SECONDS")],
    }]));
    let before = tokio::time::Instant::now();
    let caller = connected(&chains, caller(&chains, "http-post", &[])).await.unwrap();
    assert_eq!(before.elapsed(), Duration::from_secs(2));
    let outcome = chains.select(Hook::Publish, &caller).run(&caller.context(), super::message("x"));
    assert!(
        matches!(outcome, Outcome::Delayed(_, time) if time == Duration::from_millis(1030)),
        "{outcome:?}"
    );
}

#[test]
fn a_client_that_was_made_sees_what_its_chains_were_compiled_with() {
    let chains: Chains = chains(json!([{"publish": [step("message-filtering",
        json!({"filter": "{#secrets.get('pin') == '1234' && #dictionaries['words']['one'] == 'eins' && #request.contextPath == '/data/kafka'}"}))]}]));
    let caller = Caller::new(&chains, "http-post", "").with_request(Arc::new(request(&[])));
    drop(chains.clone());
    assert!(run(&chains, &caller, "x").is_some());
}
