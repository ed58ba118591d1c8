//! What is compiled, which flows run for whom, and in which order.

use std::sync::Arc;

use serde_json::{Value, json};
use sluice_api::{PlanId, Problem};
use sluice_expression::EvalContext;
use sluice_message::Message;

use super::{api, chains, compiled, environment, message, problems};
use crate::{
    Caller, Chain, Chains, DropReason, Entry, Hook, Outcome, Policy, Rejection, Verdict, compile, site::Site,
};

fn filter(expression: &str) -> Value {
    json!({"policy": "message-filtering", "configuration": {"filter": expression}})
}

/// A filter for messages whose content is a word.
fn only(word: &str) -> Value {
    filter(&format!("{{#message.content.contains('{word}')}}"))
}

fn select(chains: &Chains, hook: Hook, receiver: &'static str, sub_path: &str) -> Chain {
    chains.select(hook, &Caller::new(chains, receiver, sub_path))
}

fn passes(chain: &Chain, payload: &'static str) -> bool {
    matches!(chain.run(&EvalContext::new(), message(payload)), Outcome::Pass(_))
}

#[test]
fn the_filter_of_the_recorded_flow_filters_what_is_delivered() {
    let step = json!({
        "name": "Message filtering",
        "description": "Apply filter to messages",
        "enabled": true,
        "policy": "message-filtering",
        "configuration": {"filter": "{#jsonPath(#message.content, '$.feature') == 'demo-filter'}"}
    });
    let plans = json!([{"name": "Open", "security": {"type": "key-less"}}]);
    let flows = json!([{"name": "", "enabled": true, "deliver": [step]}]);
    let chains = compiled(json!({"flows": flows, "plans": plans}));
    let deliver = select(&chains, Hook::Deliver, "sse", "/");
    assert!(passes(&deliver, r#"{"feature":"demo-filter"}"#));
    assert!(!passes(&deliver, r#"{"feature":"other"}"#));
    let outcome = deliver.run(&EvalContext::new(), message("no json"));
    let Outcome::Dropped { policy: "message-filtering", reason: DropReason::Undecided(_), acknowledge: true } =
        outcome
    else {
        panic!("{outcome:?}")
    };
    assert!(select(&chains, Hook::Publish, "http-post", "/").is_empty());
}

#[test]
fn problems_are_told_all_at_once_with_their_paths() {
    let wrong = json!([{
        "publish": [{"policy": "nope"}],
        "deliver": [
            only("x"),
            {"policy": "message-filtering"},
            filter("{#message.colour}"),
            {"policy": "message-filtering", "enabled": false, "configuration": {"filter": "{(true)}", "more": 1},
                "messageCondition": "{(1"},
        ],
    }]);
    let plans = json!([
        {"name": "Open", "security": {"type": "key-less"}, "flows": wrong},
        {"name": "Over", "security": {"type": "key-less"}, "flows": wrong, "status": "closed"},
    ]);
    let channel = json!({"channel": {"entrypoints": ["sse-advanced", "sms"]}, "enabled": false});
    let found = problems(json!({"flows": [channel], "plans": plans}));
    let found: Vec<_> = found.iter().map(|(path, code, message)| (&**path, *code, &**message)).collect();
    let at = |index: usize| format!("plans[0].flows[0].deliver[{index}]");
    assert_eq!(
        found[..2],
        [
            (
                "flows[0].channel.entrypoints[1]",
                "connector.unknown",
                "There is no receiver 'sms'. Known are: http-get, http-post, sse, webhook, \
                 webhook-receiver, websocket, websub."
            ),
            (
                "plans[0].flows[0].publish[0].policy",
                "policy.unknown",
                "There is no policy 'nope'. Known are: api-key-auth, basic-auth, latency, log-message, message-filtering, \
                 policy-assign-attributes, policy-assign-content, policy-interrupt, rate-limit, rbac, remove-headers, \
                 set-headers, transform-headers, webhook-signature-generator, websub-hmac-auth."
            ),
        ]
    );
    let rest: Vec<_> = found[2..].iter().map(|(path, code, _)| ((*path).to_owned(), *code)).collect();
    assert_eq!(
        rest,
        [
            (format!("{}.configuration", at(1)), "policy.configuration.invalid"),
            (format!("{}.configuration.filter", at(2)), "expression.invalid"),
            (format!("{}.configuration.more", at(3)), "policy.configuration.invalid"),
            (format!("{}.messageCondition", at(3)), "expression.invalid"),
        ]
    );
    assert!(found[3].2.starts_with("Column 11: #message has no property 'colour'."));
}

#[test]
fn flows_of_the_plan_in_use_run_before_those_of_the_api() {
    let plans = json!([
        {"id": "one", "name": "One", "security": {"type": "key-less"}, "flows": [{"deliver": [only("plan-one")]}]},
        {"id": "two", "name": "Two", "security": {"type": "key-less"}},
    ]);
    let own = json!([{"deliver": [filter("{#jsonPath(#message.content, '$.a') == 1}")]}]);
    let chains = compiled(json!({"flows": own, "plans": plans}));
    let chain = |plan: &str| {
        let caller = Caller::new(&chains, "sse", "").with_plan(&PlanId(plan.to_owned()));
        chains.select(Hook::Deliver, &caller)
    };
    let reason = |plan: &str| {
        let outcome = chain(plan).run(&EvalContext::new(), message("no json"));
        let Outcome::Dropped { reason, .. } = outcome else { panic!("{outcome:?}") };
        reason
    };
    assert_eq!(reason("one"), DropReason::Unwanted);
    assert!(matches!(reason("two"), DropReason::Undecided(_)));
}

#[test]
fn a_flow_runs_where_its_channel_fits() {
    let fits = |channel: Value, hook: Hook, receiver: &'static str, path: &str| {
        let flow = json!([{"channel": channel, "publish": [only("x")], "deliver": [only("x")]}]);
        !select(&chains(flow), hook, receiver, path).is_empty()
    };
    let deliver = |channel: Value, path: &str| fits(channel, Hook::Deliver, "sse", path);
    assert!(deliver(json!({}), "") && deliver(json!({}), "/a/b"));
    assert!(deliver(json!({"channel": "/a"}), "/a/") && deliver(json!({"channel": "a/"}), "/a/b"));
    assert!(!deliver(json!({"channel": "/a"}), "/ab") && !deliver(json!({"channel": "/a/b"}), "/a"));
    assert!(deliver(json!({"channel": "/a/:id/c"}), "a/7/c/d") && !deliver(json!({"channel": "/:id"}), "/"));
    let equals = json!({"channel": "/a", "channelOperator": "EQUALS"});
    assert!(deliver(equals.clone(), "/a/") && !deliver(equals, "/a/b"));
    let subscribe = json!({"operations": ["subscribe"]});
    assert!(deliver(subscribe.clone(), "/") && !fits(subscribe, Hook::Publish, "http-post", "/"));
    let sse = json!({"entrypoints": ["sse-advanced", "http-get"]});
    assert!(deliver(sse.clone(), "/") && !fits(sse, Hook::Publish, "http-post", "/"));
}

#[test]
fn what_is_switched_off_does_not_run() {
    let mut off = only("x");
    off["enabled"] = json!(false);
    let flows = json!([{"deliver": [off]}, {"enabled": false, "deliver": [only("x")]}]);
    let chain = select(&chains(flows), Hook::Deliver, "sse", "/");
    assert!(chain.is_empty());
    assert!(passes(&chain, "y"));
}

#[test]
fn a_step_is_passed_over_unless_its_condition_is_true() {
    let with = |condition: &str| {
        let mut step = filter("false");
        step["messageCondition"] = json!(condition);
        passes(&select(&chains(json!([{"deliver": [step]}])), Hook::Deliver, "sse", "/"), "no json")
    };
    assert!(!with("{#message.content == 'no json'}"));
    assert!(with("{#message.content == 'other'}"));
    assert!(with("{#jsonPath(#message.content, '$.a') == 1}"));
    assert!(with("{(1)}"));
    assert!(!with(" "));
}

#[test]
fn a_condition_without_an_expression_is_refused() {
    let mut step = only("x");
    step["messageCondition"] = json!("#message.content == 'x'");
    let found = problems(json!({"flows": [{"deliver": [step]}]}));
    assert_eq!((&*found[0].0, found[0].1), ("flows[0].deliver[0].messageCondition", "expression.invalid"));
}

/// Stands at `publish` only: replaces the content, and refuses its own.
#[derive(Debug)]
struct Stamp;

impl Policy for Stamp {
    fn id(&self) -> &'static str {
        "stamp"
    }

    fn apply(&self, _context: &EvalContext<'_>, message: Message) -> Verdict {
        if message.payload() == b"stamped" {
            return Verdict::Reject(Rejection::new(400, "stamp.twice", "STAMPED", "It is stamped already."));
        }
        Verdict::Continue(message.to_builder().payload("stamped").build())
    }
}

const STAMPS: &[Entry] = &[Entry {
    id: "stamp",
    aliases: &["old-stamp"],
    versions: &[],
    name: "Stamp",
    description: "",
    documentation: "",
    example: "{}",
    hooks: &[Hook::Publish],
    schema: || json!({}),
    build: |_: Value, _: Hook, _: &Site<'_>| Ok(Arc::new(Stamp)),
}];

fn stamped(steps: &Value) -> Chains {
    let api = api(json!({"flows": [{"publish": steps}]}));
    Chains::from_compiled(compile::api(&api, &environment(), &Arc::default(), STAMPS).unwrap())
}

#[test]
fn a_policy_sees_what_the_one_before_it_made_and_ends_the_chain_by_refusing() {
    let run = |steps: Value| {
        select(&stamped(&steps), Hook::Publish, "http-post", "/").run(&EvalContext::new(), message("x"))
    };
    let once = run(json!([{"policy": "stamp"}]));
    assert!(matches!(once, Outcome::Pass(message) if message.payload() == b"stamped"));
    let twice = run(json!([{"policy": "stamp"}, {"policy": "old-stamp"}, {"policy": "stamp"}]));
    assert!(matches!(twice, Outcome::Rejected(Rejection { status: 400, code: "stamp.twice", .. })));
}

#[test]
fn a_policy_is_refused_where_it_may_not_stand() {
    let api = api(json!({"flows": [{"deliver": [{"policy": "stamp"}]}]}));
    let problems = compile::api(&api, &environment(), &Arc::default(), STAMPS).unwrap_err();
    assert_eq!(
        problems,
        [Problem::new(
            "flows[0].deliver[0].policy",
            "policy.hook.unsupported",
            "'stamp' runs only at: publish."
        )]
    );
}
