//! What a filter costs on one message that is parsed already: `cargo bench -p sluice-expression`. Prints the
//! median over rounds; it asserts nothing, as times are no tests.

use std::{collections::BTreeMap, hint::black_box, time::Instant};

use sluice_expression::{EvalContext, Expression, Subscription, SubscriptionKind};
use sluice_message::Message;

const FILTERS: [&str; 4] = [
    "{#jsonPath(#message.content, '$.feature') == #subscription.metadata.feature}",
    "{#message.headers['x-kind'][0] == 'order' && #message.metadata['topic'] != null}",
    "{#jsonPath(#message.content, '$.items').?[price > 10].size() > 1}",
    "{#jsonPath(#message.content, '$.feature').matches('demo-[a-z]+')}",
];
const ROUNDS: usize = 101;
const CALLS: u32 = 20_000;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let items: Vec<_> =
        (0..10).map(|at| serde_json::json!({"price": at * 2, "name": "a".repeat(60)})).collect();
    let payload = serde_json::json!({"feature": "demo-filter", "items": items}).to_string();
    let headers = [("x-kind", "order")].into_iter().collect();
    let message = Message::builder().payload(payload.clone()).headers(headers).build();
    let metadata = BTreeMap::from([("feature".to_owned(), "demo-filter".to_owned())]);
    let subscription = Subscription::new("sub", SubscriptionKind::Push, &metadata);
    let context = EvalContext::new().with_message(&message).with_subscription(Some(subscription));
    println!("a message of {} bytes", payload.len());
    for source in FILTERS {
        let filter = Expression::parse(source)?;
        filter.holds(&context)?;
        let mut rounds: Vec<_> = (0..ROUNDS).map(|_| round(&filter, &context)).collect();
        rounds.sort_unstable();
        println!("{:>6} ns  {source}", rounds[ROUNDS / 2]);
    }
    Ok(())
}

/// Nanoseconds for each call, over one round of calls.
fn round(filter: &Expression, context: &EvalContext<'_>) -> u128 {
    let start = Instant::now();
    for _ in 0..CALLS {
        // The value is looked at, so that no call is left out.
        let _ = black_box(filter.holds(black_box(context)));
    }
    start.elapsed().as_nanos() / u128::from(CALLS)
}
