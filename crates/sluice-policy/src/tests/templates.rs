//! Response templates: which one answers an error, and what it says.

use serde_json::{Value, json};

use super::{caller, compiled, connected, problems, run, step};
use crate::{Chains, Hook, Outcome, Rejection};

fn interrupting(templates: Value) -> Chains {
    let interrupt = step(
        "policy-interrupt",
        json!({
            "errorKey": "NO_TENANT",
            "message": "No tenant for {#request.remoteAddress}.",
            "variables": [{"name": "who", "value": "{#request.headers['who'][0]}"}],
        }),
    );
    let mut fields = json!({"flows": [{"connect": [interrupt.clone()], "publish": [interrupt]}]});
    fields["responseTemplates"] = templates;
    compiled(fields)
}

async fn rejected(chains: &Chains, accept: Option<&str>) -> Rejection {
    let caller = caller(chains, "http-post", &[("who", "me")]).with_accept(accept);
    connected(chains, caller).await.unwrap_err()
}

/// Status, content type and body of the answer.
async fn answer(templates: Value, accept: Option<&str>) -> Option<(u16, String, String)> {
    let response = rejected(&interrupting(templates), accept).await.response?;
    Some((response.status, response.content_type, response.body))
}

#[tokio::test]
async fn an_error_without_a_template_is_told_in_its_own_words() {
    let rejection = rejected(&interrupting(json!({})), Some("application/json")).await;
    assert_eq!((rejection.status, rejection.code, &*rejection.key), (500, "policy.interrupted", "NO_TENANT"));
    assert_eq!(rejection.message, "No tenant for 192.0.2.1.");
    assert_eq!(rejection.parameters["who"], "me");
    assert!(rejection.response.is_none());
    let other = json!({"OTHER": {"*/*": {"status": 418}}});
    assert!(answer(other, None).await.is_none());
}

#[tokio::test]
async fn the_template_of_the_key_answers_with_what_the_error_says_of_itself() {
    let body = r##"{"who":"{#parameters['who']}","path":"{#request.contextPath}"}"##;
    let templates = json!({"NO_TENANT": {"application/json": {"status": 412, "body": body,
        "headers": {"X-Who": "{#parameters['who']}", "X-Plain": "a"}}}});
    let response = rejected(&interrupting(templates), Some("application/json")).await.response.unwrap();
    assert_eq!((response.status, &*response.content_type), (412, "application/json"));
    assert_eq!(response.body, r#"{"who":"me","path":"/data/kafka"}"#);
    assert_eq!(response.headers.get("x-who").unwrap(), "me");
    assert_eq!(response.headers.get("x-plain").unwrap(), "a");
}

#[tokio::test]
async fn the_type_that_the_client_likes_best_is_chosen() {
    let body = |body: &str| json!({"status": 400, "body": body});
    let templates = json!({"NO_TENANT": {
        "application/json": body("json"), "text/xml": body("xml"), "*/*": body("any"),
    }});
    for (accept, wanted) in [
        (Some("application/json"), "json"),
        (Some("text/xml;q=0.9, application/json;q=0.5"), "xml"),
        (Some("image/png, Text/XML ; q=0.1"), "xml"),
        (Some("text/*"), "xml"),
        (Some("application/json;q=0, */*"), "any"),
        (Some("image/png"), "any"),
        (Some("*/*"), "any"),
        (None, "any"),
        (Some(""), "any"),
    ] {
        let (.., found) = answer(templates.clone(), accept).await.unwrap();
        assert_eq!(found, wanted, "{accept:?}");
    }
    let only_json = json!({"NO_TENANT": {"application/json": body("json")}});
    assert_eq!(answer(only_json.clone(), None).await.unwrap().2, "json");
    assert!(answer(only_json, Some("text/plain")).await.is_none());
    let default = json!({"DEFAULT": {"default": {"status": 400, "body": "b", "headers": {"content-type": "text/html"}}}});
    assert_eq!(answer(default, Some("x/y")).await.unwrap().1, "text/html");
}

#[tokio::test]
async fn a_rejected_message_is_answered_by_a_template_too() {
    let templates = json!({"NO_TENANT": {"*/*": {"status": 422, "body": "{#parameters['who']}"}}});
    let chains = interrupting(templates);
    let caller = caller(&chains, "http-post", &[("who", "me")]);
    assert!(run(&chains, &caller, "x").is_none());
    let outcome = chains.select(Hook::Publish, &caller).run(&caller.context(), super::message("x"));
    let Outcome::Rejected(rejection) = outcome else { panic!("{outcome:?}") };
    let response = rejection.response.unwrap();
    assert_eq!((response.status, &*response.body), (422, "me"));
    assert_eq!(response.content_type, "text/plain; charset=utf-8");
}

#[tokio::test]
async fn a_template_without_a_value_leaves_the_error_its_own_words() {
    let templates = json!({"NO_TENANT": {"*/*": {"status": 400, "body": "{#request.headers['none'][0]}"}}});
    assert!(answer(templates, None).await.is_none());
}

#[test]
fn the_gateways_own_errors_are_answered_by_templates_as_well() {
    let chains =
        compiled(json!({"responseTemplates": {"REQUEST_TIMEOUT": {"*/*": {"status": 504, "body": "slow"}}}}));
    let caller = caller(&chains, "sse", &[]);
    let rendered = |key: &str| chains.rendered(&caller, key, &[].into());
    assert_eq!(rendered("REQUEST_TIMEOUT").unwrap().body, "slow");
    assert!(rendered("OTHER").is_none());
}

#[test]
fn a_template_that_cannot_work_is_refused() {
    let found = problems(json!({"responseTemplates": {"A": {
        "text/plain": {"status": 400, "body": "{#message.content}"},
        "text/xml": {"status": 400, "body": "{#nothing}", "headers": {"X": "{#nothing}"}},
    }}}));
    let paths: Vec<_> = found.iter().map(|(path, ..)| &**path).collect();
    assert_eq!(
        paths,
        [
            "responseTemplates.A.text/plain.body",
            "responseTemplates.A.text/xml.headers.X",
            "responseTemplates.A.text/xml.body"
        ]
    );
}
