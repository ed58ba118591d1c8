//! What becomes of the streams of an API that is deployed anew: those that need not end go on under the new
//! deployment, without their clients noticing.

use std::sync::{Arc, OnceLock};

use sluice_api::{Broker, EventApi, Flow, Plan, PlanSecurity};
use sluice_policy::Caller;
use tokio_util::sync::CancellationToken;

use crate::Binding;

/// The end of a deployment: another one that comes in its place, or none.
#[derive(Debug)]
pub struct Succession {
    successor: OnceLock<Arc<Binding>>,
    has_come: CancellationToken,
}

impl Succession {
    /// Of a deployment that stops, without a successor, when `drain` is cancelled. So streams have one thing to
    /// wait for, not two.
    pub fn new(drain: &CancellationToken) -> Self {
        Self { successor: OnceLock::new(), has_come: drain.child_token() }
    }

    /// Tells streams where to go on. The first call counts.
    pub fn set(&self, successor: Arc<Binding>) {
        let _first = self.successor.set(successor);
        self.has_come.cancel();
    }

    /// Resolves when there is a successor, or will be none.
    pub(crate) async fn has_come(&self) {
        self.has_come.cancelled().await;
    }

    /// The successor, once there is one.
    pub(crate) fn get(&self) -> Option<&Arc<Binding>> {
        self.successor.get()
    }
}

/// Where a client that came by the receiver of this kind goes on after its API was deployed anew; `None` where
/// it has to come again, because something has changed that was settled when it came.
///
/// Deployments may have followed each other quickly, so the last one is looked for.
pub(crate) fn successor(former: &Binding, kind: &str, caller: &Caller) -> Option<(Arc<Binding>, Caller)> {
    let mut latest = former.succession.get()?;
    while let Some(later) = latest.succession.get() {
        latest = later;
    }
    let (old, new) = (&*former.definition, &*latest.definition);
    let same_broker = Arc::ptr_eq(&former.driver, &latest.driver)
        && Arc::ptr_eq(&former.publisher, &latest.publisher)
        && brokers(former).eq(brokers(latest));
    let receiver =
        |api: &EventApi| api.receivers.iter().find(|receiver| receiver.configuration.kind() == kind).cloned();
    let channel = |api: &EventApi| former.channel.as_deref().and_then(|name| api.channels.get(name)).cloned();
    let same_channel = former.channel == latest.channel && channel(old) == channel(new);
    // What is made of them is settled when a client comes.
    let chosen_by = &latest.chosen_by;
    let made_of_them = chosen_by.differs() || chosen_by.makes_groups() || latest.whose.is_some();
    let same_values = !made_of_them || old.properties == new.properties;
    let knows_enough = !latest.chains.reads_request() || caller.request().is_some();
    let stays = !latest.drain.is_cancelled()
        && same_broker
        && same_values
        && same_channel
        && receiver(old) == receiver(new)
        && old.guarantees == new.guarantees
        && old.limits == new.limits
        && meets_alike(old, new)
        && is_admitted(new, caller)
        && knows_enough;
    stays.then(|| (Arc::clone(latest), caller.moved_to(&latest.chains)))
}

/// The brokers that a client is connected with: those that serve, or those that a policy chose for it.
fn brokers(binding: &Binding) -> impl Iterator<Item = &Broker> {
    let api = &*binding.definition;
    let chosen = binding.endpoint.as_deref();
    let brokers = chosen.into_iter().flat_map(|endpoint| api.named(endpoint));
    let serving = api.serving().filter(move |_| chosen.is_none());
    brokers.chain(serving).map(|(_, broker)| broker)
}

/// Whether the plan by which a client came still lets such clients in.
fn is_admitted(api: &EventApi, caller: &Caller) -> bool {
    let plan = api.plans.iter().find(|plan| Some(&plan.id) == caller.plan());
    plan.is_some_and(|plan| plan.status.admits() && matches!(plan.security, PlanSecurity::KeyLess))
}

/// Whether a client that comes is met alike: by the same policies, under the same conditions.
fn meets_alike(old: &EventApi, new: &EventApi) -> bool {
    let alike = |old: &Plan, new: &Plan| {
        old.selection_rule == new.selection_rule && meetings(&old.flows).eq(meetings(&new.flows))
    };
    let plans_alike = old.plans.iter().filter(|plan| plan.status.admits()).all(|plan| {
        // A plan that is gone is judged by whether a client came by it.
        new.plans.iter().find(|other| other.id == plan.id).is_none_or(|other| alike(plan, other))
    });
    meetings(&old.flows).eq(meetings(&new.flows)) && plans_alike
}

/// The flows with policies that a client meets when it comes, without those for messages.
fn meetings(flows: &[Flow]) -> impl Iterator<Item = Flow> {
    let meeting = flows.iter().filter(|flow| flow.enabled && !flow.connect.is_empty());
    meeting.map(|flow| Flow {
        name: String::new(),
        respond: Vec::new(),
        subscribe: Vec::new(),
        unsubscribe: Vec::new(),
        publish: Vec::new(),
        deliver: Vec::new(),
        ..flow.clone()
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::testing::{self, Bench};

    /// Whether an SSE client of a deployment with the first parts goes on under one with the others.
    fn goes_on(former: &Value, later: &Value) -> bool {
        goes_on_changed(former, later, |_| {})
    }

    fn goes_on_changed(former: &Value, later: &Value, change: impl FnOnce(&mut Binding)) -> bool {
        let former = Arc::new(testing::binding_of(former));
        let mut later = Binding {
            driver: Arc::clone(&former.driver),
            publisher: Arc::clone(&former.publisher),
            ..testing::binding_of(later)
        };
        change(&mut later);
        let caller = testing::caller(&former, "sse");
        former.succession.set(Arc::new(later));
        successor(&former, "sse", &caller).is_some()
    }

    fn step(policy: &str, configuration: &Value) -> Value {
        json!({ "policy": policy, "configuration": configuration })
    }

    fn filter() -> Value {
        step("message-filtering", &json!({ "filter": "{#message.content == 'x'}" }))
    }

    fn plan(id: &str, more: &Value) -> Value {
        let mut plan = json!({ "id": id, "name": id, "security": { "type": "key-less" } });
        plan.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        plan
    }

    #[tokio::test]
    async fn a_stream_goes_on_where_nothing_has_changed_that_was_settled_when_it_came() {
        let plans = |plans: &[Value]| json!({ "plans": plans });
        let deliver = json!({ "flows": [{ "deliver": [filter()], "publish": [filter()] }] });
        let post_too = json!({ "receivers": [{ "type": "http-post" }, { "type": "sse" }] });
        for change in [
            json!({}),
            json!({ "description": "New.", "name": "b", "version": "2" }),
            json!({ "paths": [{ "path": "/b" }] }),
            json!({ "cors": { "allowOrigin": ["*"] } }),
            deliver,
            post_too,
            plans(&[plan("open", &json!({ "flows": [{ "deliver": [filter()] }] }))]),
            plans(&[plan("open", &json!({ "status": "deprecated" })), plan("other", &json!({}))]),
        ] {
            assert!(goes_on(&json!({}), &change), "{change}");
            assert!(goes_on(&change, &json!({})), "{change}, taken back");
        }
    }

    #[tokio::test]
    async fn a_stream_whose_topic_may_be_made_of_properties_ends_when_they_change() {
        let with = |topic: &str, value: &str| {
            let settings = json!({ "topics": ["t"], "consumer": { "topics": [topic] } });
            json!({
                "brokers": [{ "name": "b", "type": "log", "configuration": settings }],
                "properties": [{ "key": "p", "value": value }],
            })
        };
        let made = "{#context.attributes['x'] ?: #properties['p']}";
        assert!(goes_on(&with("t", "1"), &with("t", "2")) && goes_on(&with(made, "1"), &with(made, "1")));
        assert!(!goes_on(&with(made, "1"), &with(made, "2")));
    }

    #[tokio::test]
    async fn a_stream_ends_where_something_has_changed_that_was_settled_when_it_came() {
        let broker = json!({ "name": "b", "type": "log", "configuration": { "topics": ["u"] } });
        let sse = |more: &Value| {
            let mut receiver = json!({ "type": "sse" });
            receiver.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            json!({ "receivers": [receiver] })
        };
        let interrupt = step("policy-interrupt", &json!({ "errorKey": "NO" }));
        for change in [
            json!({ "brokers": [broker] }),
            json!({ "receivers": [{ "type": "http-post" }] }),
            sse(&json!({ "qos": "at-least-once" })),
            sse(&json!({ "configuration": { "metadataAsComment": true } })),
            json!({ "guarantees": { "slowClients": "skip" } }),
            json!({ "limits": { "maxBodyBytes": 7 } }),
            json!({ "flows": [{ "connect": [interrupt] }] }),
            json!({ "plans": [plan("open", &json!({ "status": "closed" }))] }),
            json!({ "plans": [plan("open", &json!({ "status": "staging" }))] }),
            json!({ "plans": [plan("open", &json!({ "selectionRule": "{#request.method == 'GET'}" }))] }),
            json!({ "plans": [plan("open", &json!({ "flows": [{ "connect": [interrupt] }] }))] }),
            json!({ "plans": [plan("other", &json!({}))] }),
            json!({ "plans": [] }),
        ] {
            assert!(!goes_on(&json!({}), &change), "{change}");
        }
    }

    #[tokio::test]
    async fn a_stream_ends_with_its_connection_to_the_broker() {
        let other = testing::binding_of(&json!({}));
        let (driver, publisher) = (Arc::clone(&other.driver), Arc::clone(&other.publisher));
        assert!(!goes_on_changed(&json!({}), &json!({}), |later| later.driver = driver));
        assert!(!goes_on_changed(&json!({}), &json!({}), |later| later.publisher = publisher));
    }

    #[tokio::test]
    async fn a_stream_whose_request_was_not_kept_ends_where_a_policy_wants_to_read_it() {
        let reading = step("message-filtering", &json!({ "filter": "{#request.headers['x'] != null}" }));
        assert!(!goes_on(&json!({}), &json!({ "flows": [{ "deliver": [reading] }] })));
    }

    #[tokio::test]
    async fn a_stream_of_a_channel_goes_on_in_that_channel_alone_and_while_its_topics_stay() {
        let channels = |prices: Value| json!({ "channels": { "prices": prices, "orders": {} } });
        let whole = channels(json!({}));
        let goes_on = |former_channel: Option<&str>, later: &Value, later_channel: Option<&str>| {
            let former =
                Arc::new(Binding { channel: former_channel.map(Into::into), ..testing::binding_of(&whole) });
            let later = Binding {
                channel: later_channel.map(Into::into),
                driver: Arc::clone(&former.driver),
                publisher: Arc::clone(&former.publisher),
                ..testing::binding_of(later)
            };
            former.succession.set(Arc::new(later));
            successor(&former, "sse", &testing::caller(&former, "sse")).is_some()
        };
        let (prices, orders) = (Some("prices"), Some("orders"));
        assert!(goes_on(prices, &whole, prices));
        assert!(goes_on(orders, &channels(json!({ "consumeFrom": "other" })), orders), "another has changed");
        assert!(!goes_on(prices, &channels(json!({ "consumeFrom": "other" })), prices));
        assert!(!goes_on(prices, &whole, orders));
        assert!(!goes_on(prices, &json!({ "channels": { "orders": {} } }), prices), "it is gone");
        assert!(!goes_on(prices, &json!({}), None), "there are no channels any more");
        assert!(!goes_on(None, &whole, prices));
    }

    #[tokio::test]
    async fn the_last_of_many_deployments_counts() {
        let bench = Bench::new(8, &json!({}));
        let caller = testing::caller(&bench.binding, "sse");
        assert!(successor(&bench.binding, "sse", &caller).is_none(), "there is none yet");
        let between = bench.successor(&json!({ "plans": [] }));
        let last = bench.successor(&json!({ "description": "Last." }));
        bench.binding.succession.set(Arc::clone(&between));
        between.succession.set(Arc::clone(&last));
        let (found, moved) = successor(&bench.binding, "sse", &caller).unwrap();
        assert!(Arc::ptr_eq(&found, &last));
        assert_eq!(moved.plan(), caller.plan());
        last.drain.cancel();
        assert!(successor(&bench.binding, "sse", &caller).is_none(), "it has stopped");
    }
}
