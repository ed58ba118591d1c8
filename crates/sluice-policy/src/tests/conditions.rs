//! `executionCondition`: at every hook, each time that a step is reached.

use serde_json::{Value, json};
use sluice_expression::Response;

use super::{caller, chains, compiled, connected, logged, message, problems, run, step};
use crate::{Caller, Chains, Hook, Outcome};

/// A step that refuses, under a condition.
fn interrupt(condition: &str) -> Value {
    let mut step = step("policy-interrupt", json!({"errorKey": "MET"}));
    step["executionCondition"] = json!(condition);
    step
}

fn at(hook: Hook, step: &Value) -> Chains {
    let mut flow = json!({});
    flow[hook.as_str()] = json!([step]);
    chains(json!([flow]))
}

#[tokio::test]
async fn a_step_runs_at_every_hook_only_where_its_condition_is_true() {
    for hook in [Hook::Connect, Hook::Subscribe, Hook::Unsubscribe, Hook::Publish, Hook::Deliver] {
        let chains = at(hook, &interrupt("request.headers['x-tenant'] == 'blue' && channel == 'paid/late'"));
        assert!(chains.reads_request());
        let refused = async |tenant, path| {
            let request = super::request(&[("X-Tenant", tenant)]);
            let mut caller = Caller::new(&chains, "websocket", path).with_request(request.into());
            match hook.meets_client() {
                true => chains.meet(hook, &mut caller).await.is_err(),
                false => {
                    let outcome = chains.select(hook, &caller).run(&caller.context(), message("x"));
                    matches!(outcome, Outcome::Rejected(_))
                }
            }
        };
        assert!(refused("blue", "/paid/late/").await, "{hook:?}");
        assert!(!refused("red", "/paid/late").await && !refused("blue", "/").await, "{hook:?}");
    }
}

#[tokio::test]
async fn an_answer_is_changed_only_where_the_condition_is_true() {
    let mut step = step("set-headers", json!({"response": {"headers": [{"name": "a", "value": "b"}]}}));
    step["executionCondition"] = json!("request.method == 'GET' || 'x' in request.headers");
    let chains = at(Hook::Respond, &step);
    for (headers, wanted) in [(&[][..], 0), (&[("X", "1")], 1)] {
        let mut caller = connected(&chains, caller(&chains, "sse", headers)).await.unwrap();
        let mut answer = Response::default();
        chains.respond(&mut caller, &mut answer);
        assert_eq!(answer.headers.len(), wanted);
    }
}

#[test]
fn each_message_is_asked_anew_and_sees_what_the_steps_before_made_of_it() {
    let content = step("policy-assign-content", json!({"body": "{\"made\": ${message.content}}"}));
    let chains = chains(json!([{"publish": [content, interrupt("message.json.made > 1")]}]));
    let caller = caller(&chains, "http-post", &[]);
    assert!(run(&chains, &caller, "1").is_some() && run(&chains, &caller, "2").is_none());
    assert!(run(&chains, &caller, "0").is_some());
}

#[test]
fn a_step_whose_condition_has_no_value_is_passed_by_and_that_is_told_once_in_a_while() {
    let chains = at(Hook::Publish, &interrupt("message.json.state == 'paid'"));
    let caller = caller(&chains, "http-post", &[]);
    let log = logged(|| {
        for content in ["no json", "{}", "[]", r#"{"state": "open"}"#] {
            assert!(run(&chains, &caller, content).is_some());
        }
    });
    assert_eq!(log.matches("A condition has no value").count(), 1, "{log}");
    assert!(log.contains("\"api\":\"kafka-and-sse\"") && !log.contains("no json"), "{log}");
    assert!(run(&chains, &caller, r#"{"state": "paid"}"#).is_none());
}

#[tokio::test]
async fn nobody_gets_past_a_guard_by_leaving_its_condition_without_a_value() {
    for (policy, settings) in [
        ("api-key-auth", json!({})),
        ("basic-auth", json!({"username": "ann", "password": "x"})),
        ("websub-hmac-auth", json!({})),
        ("rbac", json!({"allowedRoles": ["clerk"]})),
    ] {
        let guarded = |hook: Hook, condition: &str| {
            let mut step = step(policy, settings.clone());
            step["executionCondition"] = json!(condition);
            at(hook, &step)
        };
        let chains = guarded(Hook::Connect, "request.headers['x-inside'] != 'yes'");
        let come = async |headers| connected(&chains, caller(&chains, "sse", headers)).await.is_ok();
        assert!(!come(&[]).await && !come(&[("X-Inside", "no")]).await, "{policy}");
        assert!(come(&[("X-Inside", "yes")]).await, "{policy}");
        let chains = guarded(Hook::Publish, "message.json.total > 1000");
        let caller = caller(&chains, "http-post", &[]);
        let passes = |content| run(&chains, &caller, content).is_some();
        assert!(passes(r#"{"total": 1000}"#), "{policy}");
        for content in [r#"{"total": 1001}"#, r#"{"total": "1001"}"#, "{}", "["] {
            assert!(!passes(content), "{policy} {content}");
        }
    }
}

#[tokio::test]
async fn who_an_earlier_policy_has_found_out_is_seen() {
    let mut auth = step("basic-auth", json!({"username": "ann", "password": "x", "roles": ["writer"]}));
    auth["executionCondition"] = json!("has(request.headers.authorization)");
    let chains = chains(json!([{"connect": [auth, interrupt("subject != 'ann' || !('writer' in roles)")]}]));
    let come =
        async |headers| connected(&chains, caller(&chains, "sse", headers)).await.map_err(|no| no.status);
    assert!(come(&[("Authorization", "Basic YW5uOng=")]).await.is_ok());
    assert_eq!(come(&[("Authorization", "Basic YW5uOnk=")]).await.unwrap_err(), 401);
    assert_eq!(come(&[]).await.unwrap_err(), 500);
}

#[test]
fn what_is_not_understood_is_refused_with_its_path_also_where_a_step_is_switched_off() {
    let mut off = interrupt("nobody == 1");
    off["enabled"] = json!(false);
    let plans = json!([{"name": "Open", "security": {"type": "key-less"},
        "flows": [{"subscribe": [interrupt("message.key == 'a'")]}]}]);
    let found =
        problems(json!({"plans": plans, "flows": [{"publish": [interrupt("  "), off, interrupt("1 +")]}]}));
    let found: Vec<_> = found.iter().map(|(path, code, _)| (&**path, *code)).collect();
    assert_eq!(
        found,
        [
            ("flows[0].publish[1].executionCondition", "expression.invalid"),
            ("flows[0].publish[2].executionCondition", "expression.invalid"),
            ("plans[0].flows[0].subscribe[0].executionCondition", "expression.invalid"),
        ]
    );
    assert!(!compiled(json!({"flows": [{"publish": [interrupt("channel == 'a'")]}]})).reads_request());
}
