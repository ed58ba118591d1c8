//! What the language does and what it refuses, by its public face.

#![expect(clippy::panic, reason = "a test helper that fails says for which expression")]

mod bounds;
mod language;
mod refusals;

use std::collections::BTreeMap;

use sluice_expression::{EvalContext, EvalError, Expression, Subscription, SubscriptionKind, Value};
use sluice_message::{Headers, Message, Offset, Partition, Place, Topic};

/// What the expressions of these tests look at.
struct World {
    message: Message,
    metadata: BTreeMap<String, String>,
}

impl World {
    fn new() -> Self {
        let headers: Headers =
            [("Foo", "bar-value"), ("x-header-test", "one"), ("X-Header-Test", "two")].into_iter().collect();
        let place = Place { topic: Topic::from("orders"), partition: Partition(3), offset: Offset(42) };
        let message = Message::builder()
            .payload(
                r#"{"feature":"demo-filter","price":12.5,"count":3,"ok":true,"none":null,
                    "tags":["a","b"],"deep":{"er":{"x":"y"}},"text":"{\"in\":1}",
                    "book":[{"title":"A","price":8},{"title":"B","price":12},{"title":"C"}]}"#,
            )
            .key("the-key")
            .headers(headers)
            .metadata("extra", "more")
            .id("id-1")
            .place(place)
            .build();
        let metadata =
            [("feature", "demo-filter"), ("bar", "bar-value"), ("pattern", "demo-.*"), ("both", "one,two")];
        let metadata = metadata.map(|(name, text)| (name.to_owned(), text.to_owned()));
        Self { message, metadata: metadata.into() }
    }

    fn context(&self) -> EvalContext<'_> {
        let subscription =
            Subscription { id: "sub-1", kind: SubscriptionKind::Push, metadata: &self.metadata };
        EvalContext::new().with_message(&self.message).with_subscription(Some(subscription))
    }
}

/// Whether the condition holds in the world of these tests.
fn holds(source: &str) -> bool {
    let expression = Expression::parse(source).unwrap_or_else(|error| panic!("{source}: {error}"));
    expression.holds(&World::new().context()).unwrap_or_else(|error| panic!("{source}: {error}"))
}

/// Why there is no value in the world of these tests.
fn failure(source: &str) -> EvalError {
    let expression = Expression::parse(source).unwrap_or_else(|error| panic!("{source}: {error}"));
    let world = World::new();
    let value = expression.evaluate(&world.context());
    value.err().unwrap_or_else(|| panic!("{source} has a value"))
}

/// The text of the value, made by a template around the expression.
fn text(source: &str) -> String {
    let expression =
        Expression::parse(&format!("<{source}>")).unwrap_or_else(|error| panic!("{source}: {error}"));
    let world = World::new();
    match expression.evaluate(&world.context()).unwrap_or_else(|error| panic!("{source}: {error}")) {
        Value::Text(text) => text.trim_start_matches('<').trim_end_matches('>').to_owned(),
        other => panic!("{source} gave {other:?}"),
    }
}
