//! The expression language: whatever is written parses or is refused, and whatever parses has a value or
//! says why not, on whatever message. The first line of the input is the expression, the rest the payload.

#![no_main]

use std::collections::BTreeMap;

use libfuzzer_sys::fuzz_target;
use sluice_expression::{EvalContext, Expression, Request, Subscription, SubscriptionKind};
use sluice_message::{Attributes, Message};

fuzz_target!(|input: &str| {
    let (source, payload) = input.split_once('\n').unwrap_or((input, ""));
    let expression = match Expression::parse(source) {
        Ok(expression) => expression,
        Err(error) => return assert!((1..=source.chars().count() + 1).contains(&error.column)),
    };
    assert_eq!(expression.to_string(), source);
    let message = Message::builder().payload(payload.to_owned()).key("key").metadata("name", "text").build();
    let metadata = BTreeMap::from([("feature".to_owned(), payload.to_owned())]);
    let request = Request {
        path: "/a/b".to_owned(),
        params: vec![("a".to_owned(), payload.to_owned()); 3],
        content: Some(payload.to_owned().into()),
        ..Request::default()
    };
    let attributes = Attributes::default();
    let context = EvalContext::new()
        .with_message(&message)
        .with_subscription(Some(Subscription::new("id", SubscriptionKind::Push, &metadata)))
        .with_request(Some(&request))
        .with_attributes(&attributes);
    let _ = expression.holds(&context);
    let _ = expression.evaluate(&EvalContext::new());
});
