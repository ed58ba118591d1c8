//! What conditions are understood, what they see, and what bounds them.

use std::fmt::Write as _;

use proptest::prelude::*;
use serde_json::{Value as Json, json};
use sluice_expression::{Api, EvalContext, Request};
use sluice_message::{Attributes, Message};

use super::{Condition, LONGEST, View};

fn request() -> Request {
    Request {
        method: "POST".to_owned(),
        path: "/orders/paid".to_owned(),
        host: "events.example".to_owned(),
        remote_address: "192.0.2.1".to_owned(),
        headers: [("X-Tenant", "blue"), ("x-tenant", "red"), ("Content-Type", "text/plain")]
            .into_iter()
            .collect(),
        params: vec![("a".to_owned(), "1".to_owned()), ("a".to_owned(), "2".to_owned())],
        ..Request::default()
    }
}

fn order() -> Message {
    let payload = json!({"state": "paid", "total": 12, "rate": 0.5, "big": u64::MAX, "items": [{"id": "a", "n": 1},
        {"id": "b", "n": 3}], "none": null, "deep": {"er": {"est": true}}});
    Message::builder()
        .payload(payload.to_string())
        .key("k")
        .headers([("X-Kind", "order")].into_iter().collect())
        .build()
}

/// Whether a condition is true of a message, sent by somebody known.
fn of(condition: &str, message: &Message) -> bool {
    let condition =
        Condition::parse(condition, true).unwrap_or_else(|problem| panic!("{condition}: {problem}"));
    let (api, request) = (
        Api { id: "i".to_owned(), name: "n".to_owned(), version: "v1".to_owned(), ..Api::default() },
        request(),
    );
    let mut attributes = Attributes::default();
    attributes.set(crate::identity::SUBJECT, json!("ann"));
    attributes.set(crate::identity::ROLES, json!(["writer", "reader"]));
    let context = EvalContext::new().with_api(&api).with_request(Some(&request)).with_attributes(&attributes);
    condition.value(&View::new(context, Some(message), "paid")) == Some(true)
}

fn holds(condition: &str) -> bool {
    of(condition, &order())
}

fn refused(condition: &str) -> String {
    Condition::parse(condition, true).unwrap_err()
}

#[test]
fn every_variable_shows_what_its_name_says() {
    for condition in [
        "request.method == 'POST' && request.path == '/orders/paid' && request.host == 'events.example'",
        "request.remoteAddress == '192.0.2.1' && request.headers['x-tenant'] == 'blue'",
        "request.params.a == '1' && !('b' in request.params) && size(request.params) == 1",
        "api.id == 'i' && api.name == 'n' && api.version == 'v1' && channel == 'paid'",
        "subject == 'ann' && 'writer' in roles && !('admin' in roles)",
        "message.key == 'k' && message.headers['x-kind'] == 'order' && message.payload.contains('paid')",
        "message.json.state == 'paid' && message.json.total > 10 && message.json.rate < 1.0",
        "message.json.big == 18446744073709551615u && message.json.none == null",
        "message.json.items[1].id == 'b' && message.json['deep'].er.est && message['json'].deep.er.est",
        "has(message.json.state) && !has(message.json.other) && has(message.json.deep.er)",
        "request['method'] == 'POST' && has(request.headers) && has(message.json)",
    ] {
        assert!(holds(condition), "{condition}");
    }
}

#[test]
fn the_language_is_there_with_its_loops_and_functions() {
    for condition in [
        "message.json.items.exists(item, item.n > 2) && message.json.items.all(item, item.id != 'c')",
        "message.json.items.filter(item, item.n > 2).size() == 1",
        "message.json.items.map(item, item.id) == ['a', 'b'] && message.json.items.exists_one(i, i.n == 1)",
        "channel.startsWith('pa') && channel.endsWith('id') && channel.matches('^p[a-z]+$')",
        "request.method in ['POST', 'PUT'] ? int('3') == 3 : false",
        "{'a': 1}.a == 1 && string(12) == '12' && double(1) == 1.0 && type(1) == int",
        // A name of a loop goes before a variable of the same name.
        "['x'].exists(request, request == 'x')",
        // What stands on the other side decides where one side has no value.
        "message.json.none.x == 1 || true",
    ] {
        assert!(holds(condition), "{condition}");
    }
}

#[test]
fn a_condition_without_a_value_is_not_true() {
    for condition in [
        "message.json.other == 'x'",
        "message.json.state > 3",
        "message.json.total / 0 == 1",
        "9223372036854775807 + 1 > 0",
        "request.headers['none'] == ''",
        "channel",
        "1",
        "int(channel) == 1",
        "roles[7] == 'x'",
        "-(-9223372036854775807 - 1) > 0",
        "(-9223372036854775807 - 1) / -1 > 0",
        "(-9223372036854775807 - 1) % -1 > 0",
    ] {
        assert!(!holds(condition), "{condition}");
    }
    let binary = Message::builder().payload(&b"\xff\x00"[..]).build();
    assert!(of("message.payload == null && message.json == null && message.key == null", &binary));
    assert!(!of("message.payload.contains('a')", &binary));
}

#[test]
fn without_a_request_or_somebody_known_there_is_null() {
    let condition = |source: &str| {
        Condition::parse(source, false).unwrap().value(&View::new(EvalContext::new(), None, "")) == Some(true)
    };
    assert!(condition("request == null && subject == null && roles == [] && channel == '' && api == null"));
    assert!(!condition("request.method == 'POST'") && !condition("request.headers['a'] == 'b'"));
}

#[test]
fn what_is_not_there_is_refused_with_what_there_is() {
    for (condition, said) in [
        (
            "user == 'x'",
            "There is no variable 'user'. Known are: api, channel, message, request, roles, subject.",
        ),
        ("[1].exists(x, y == 1)", "There is no variable 'y'"),
        ("[1].exists(x, x == 1) && x == 1", "There is no variable 'x'"),
        ("request.body == ''", "'request' has no 'body' in it. It has: headers, host"),
        ("channel.name == ''", "'channel' has no 'name' in it. It has: nothing."),
        ("has(request.header)", "'request' has no 'header' in it"),
        ("channel.reverse() == ''", "There is no function 'reverse'. Known are: bool,"),
        ("timestamp('x') == 1", "There is no function 'timestamp'"),
        ("channel.matches(request.path)", "has to be a text in quotes"),
        ("channel.matches('(')", "'(' is no pattern"),
        ("channel.matches('[a-z]{1000}{1000}')", "too large"),
        ("a.B{c: 1} == 1", "There are no types here"),
        ("message.?json == 1", "Line 1, column 8: unsupported syntax '.?'."),
        ("channel ==", "Line 1, column "),
        ("channel == 'a'\n&& &&", "Line 2, column "),
        ("", "Line "),
    ] {
        let found = refused(condition);
        assert!(found.contains(said), "{condition}: {found}");
    }
    let no_message = Condition::parse("message.payload == ''", false).unwrap_err();
    assert!(no_message.contains("There is no message to read here"), "{no_message}");
}

#[test]
fn only_what_reads_the_request_asks_for_it() {
    let reads = |source: &str| Condition::parse(source, true).unwrap().reads_request();
    assert!(reads("request.method == 'GET'") && reads("[1].all(x, has(request.headers.a))"));
    assert!(!reads("channel == 'request'") && !reads("['a'].exists(request, request == 'a')"));
}

#[test]
fn an_expression_nested_ten_thousand_deep_is_refused() {
    let deep = |open: &str, middle: &str, close: &str, times: usize| {
        let mut text = open.repeat(times);
        write!(text, "{middle}{}", close.repeat(times)).unwrap();
        text
    };
    for times in [20, 100, 400, 1300, 10_000] {
        for condition in [
            deep("[", "1", "]", times),
            deep("{1:", "1", "}", times),
            deep("size(", "channel", ")", times),
            deep("!-", "true", "", times),
            deep("", "1", "+1", times),
            deep("", "channel", "[0]", times),
            deep("", "message.json", ".a", times),
            deep("", "channel", ".size()", times),
            deep("true?true:", "true", "", times),
            deep("[1].exists(x,", "true", ")", times),
            deep("", "1", "<1", times),
        ] {
            refused(&condition);
        }
        // Parentheses make no part of their own; there are too many bytes of them at last.
        assert_eq!(Condition::parse(&deep("(", "true", ")", times), true).is_ok(), 2 * times + 4 <= LONGEST);
        refused(&deep("(", "", "", times));
    }
}

#[test]
fn the_deepest_and_the_longest_that_is_taken_is_evaluated() {
    let nested = |times: usize| format!("{}1{} == 1", "[".repeat(times), "]".repeat(times));
    assert!(Condition::parse(&nested(14), true).is_ok());
    refused(&nested(15));
    assert!(!holds(&nested(14)));
    let long = |bytes: usize| format!("channel != '{}'", "x".repeat(bytes - 13));
    assert_eq!(long(LONGEST).len(), LONGEST);
    assert!(holds(&long(LONGEST)));
    refused(&long(LONGEST + 1));
}

#[test]
fn a_loop_in_a_loop_is_refused_and_one_behind_another_is_not() {
    assert!(refused("[1].all(x, [2].all(y, x < y))").contains("A loop"));
    assert!(refused("[1].map(x, [2].map(y, y))  == []").contains("A loop"));
    assert!(holds("[1, 2].map(x, x * 2).filter(x, x > 2).exists(x, x == 4) && [1].all(x, x == 1)"));
}

#[test]
fn what_is_read_is_bounded() {
    let numbers = |count: usize| Message::builder().payload(json!(vec![1; count]).to_string()).build();
    // The list itself is a value, too.
    assert!(of("message.json.all(x, x == 1)", &numbers(4095)));
    assert!(!of("message.json.all(x, x == 1)", &numbers(4096)));
    assert!(!of("message.json.all(x, x == 1) || true", &numbers(4096)));
    let text = |bytes: usize| Message::builder().payload("x".repeat(bytes)).build();
    assert!(of("message.payload.matches('^x+$')", &text(64 << 10)));
    assert!(!of("message.payload.matches('^x+$')", &text((64 << 10) + 1)));
    assert!(of("message.payload.startsWith('x')", &text(8 << 20)));
    assert!(!of("message.payload.startsWith('x')", &text((8 << 20) + 1)));
    assert!(!of("[1, 2, 3].all(n, message.payload.startsWith('x'))", &text(4 << 20)));
}

#[test]
fn content_that_nests_as_deep_as_it_may_is_read() {
    let deep = Message::builder().payload(format!("{}{}", "[".repeat(127), "]".repeat(127))).build();
    assert!(of("message.json == message.json && size(message.json) == 1", &deep));
}

proptest! {
    #[test]
    fn whatever_is_written_is_refused_or_has_an_answer(
        source in prop::collection::vec(
            prop::sample::select(vec![
                "message", "request", ".json", ".payload", ".items", "['a']", "[0]", "channel", "roles", "1", "-1", "2u",
                "0.5", "'a'", "\"b\"", "null", "true", "(", ")", "[", "]", "{", "}", ":", "?", ",", "&&", "||", "!",
                "-", "+", "*", "/", "%", "==", "<", " in ", ".exists(x, ", ".map(x, ", "x", "has(", "size(", "int(",
                "string(", "bytes(", ".contains(", ".matches('a+')", "'\\", "r'", "`", "\n", "é", "9223372036854775807",
            ]),
            0..14,
        ),
        payload in ".*",
    ) {
        if let Ok(condition) = Condition::parse(&source.concat(), true) {
            let message = Message::builder().payload(payload).build();
            let _value = condition.value(&View::new(EvalContext::new(), Some(&message), "paid"));
        }
    }

    #[test]
    fn any_content_is_seen_as_it_is(text in ".*", number in any::<i64>(), name in "[a-z]{1,8}") {
        let payload: Json = json!({ (name.clone()): [number, text] });
        let message = Message::builder().payload(payload.to_string()).build();
        let condition = format!("message.json.{name}[0] == {number} && size(message.json.{name}) == 2");
        // Some names are words of the language.
        prop_assert!(Condition::parse(&condition, true).is_err() || of(&condition, &message));
    }
}
