//! `message-filtering`: only messages for which an expression is true go on.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value as Json;
use sluice_api::{Problem, from_value};
use sluice_expression::{EvalContext, Expression, Value};
use sluice_message::Message;

use crate::{DropReason, Entry, Hook, Policy, Verdict, catalogue::schema_of, site::Site};

const ID: &str = "message-filtering";

pub(crate) const ENTRY: Entry = Entry {
    id: ID,
    aliases: &[],
    versions: &[],
    name: "Message filtering",
    description: "Lets only those messages go on for which an expression is true.",
    documentation: "A message for which the filter is not true goes no further: a subscriber does not get it, and a \
                    post is answered 403. Where the filter does not read the message but gives a text, such as \
                    `{#subscription.metadata.filter}`, that text is the filter: subscribers bring their own.",
    example: r#"{"filter": "{#jsonPath(#message.content, '$.state') == 'paid'}"}"#,
    hooks: &[Hook::Publish, Hook::Deliver],
    schema: schema_of::<Settings>,
    build,
};

/// Settings of `message-filtering`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Settings {
    /// The expression; a message for which it is true goes on. Where it does not read the message but gives
    /// a text (say, from the metadata of the subscription), that text is the expression: a subscriber can
    /// bring its own. Required.
    filter: String,
    /// Whether the broker takes a message that was filtered out for delivered. Default true. On the way to
    /// the broker there is nothing to acknowledge, and it makes no difference.
    #[serde(default = "yes")]
    ack_filtered_message: bool,
    /// Whether a message for which the expression has no value is filtered out. Default true; otherwise it
    /// goes on.
    #[serde(default = "yes")]
    filter_message_on_filtering_error: bool,
}

const fn yes() -> bool {
    true
}

#[derive(Debug)]
struct MessageFiltering {
    filter: Expression,
    acknowledge: bool,
    drop_on_error: bool,
    /// Whether the subscriber wrote the filter, and not the publisher.
    brought: bool,
}

fn build(configuration: Json, _: Hook, site: &Site<'_>) -> Result<Arc<dyn Policy>, Vec<Problem>> {
    let settings: Settings = from_value(configuration).map_err(|problem| vec![problem])?;
    let filter = site.condition("filter", &settings.filter).map_err(|problem| vec![problem])?;
    Ok(Arc::new(MessageFiltering {
        filter,
        acknowledge: settings.ack_filtered_message,
        drop_on_error: settings.filter_message_on_filtering_error,
        brought: false,
    }))
}

impl Policy for MessageFiltering {
    fn id(&self) -> &'static str {
        ID
    }

    fn apply(&self, context: &EvalContext<'_>, message: Message) -> Verdict {
        let context = context.with_message(&message);
        // What is delivered would tell a subscriber about the publisher's secrets.
        let context = if self.brought { context.for_client() } else { context };
        let reason = match self.filter.holds(&context) {
            Ok(true) => return Verdict::Continue(message),
            Ok(false) => DropReason::Unwanted,
            Err(_) if !self.drop_on_error => return Verdict::Continue(message),
            Err(error) => DropReason::Undecided(error),
        };
        Verdict::Drop { reason, acknowledge: self.acknowledge }
    }

    fn bind(&self, context: &EvalContext<'_>) -> Option<Arc<dyn Policy>> {
        if self.filter.reads_message() {
            return None;
        }
        let Ok(Value::Text(text)) = self.filter.evaluate(context) else { return None };
        // A text that does not parse stays what it is: neither true nor false, and so an error for every
        // message, for which there is a setting.
        let filter = Expression::parse(&text).ok()?;
        let Self { acknowledge, drop_on_error, .. } = *self;
        Some(Arc::new(Self { filter, acknowledge, drop_on_error, brought: true }))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;
    use sluice_expression::{Environment, EvalError, Subscription, SubscriptionKind};

    use super::*;
    use crate::tests::built;

    const BY_SUBSCRIPTION: &str =
        "{#jsonPath(#message.content, '$.feature') == #subscription.metadata.feature}";

    /// How a policy with these settings judges a payload for a subscriber with this metadata.
    fn judge(settings: Json, metadata: &[(&str, &str)], payload: &'static str) -> Verdict {
        let metadata: BTreeMap<_, _> =
            metadata.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect();
        let subscription = Subscription::new("s", SubscriptionKind::Push, &metadata);
        let secrets = [("pin".to_owned(), "1234".to_owned())].into();
        let environment = Environment { secrets, ..Environment::default() };
        let context = EvalContext::new().with_subscription(Some(subscription)).with_environment(&environment);
        let shared = built(&ENTRY, Hook::Deliver, settings).unwrap();
        let policy = shared.bind(&context).unwrap_or(shared);
        policy.apply(&context, Message::builder().payload(payload).build())
    }

    fn passes(settings: Json, metadata: &[(&str, &str)], payload: &'static str) -> bool {
        matches!(judge(settings, metadata, payload), Verdict::Continue(_))
    }

    #[test]
    fn only_messages_for_which_the_filter_is_true_go_on() {
        let settings = json!({"filter": "{#jsonPath(#message.content, '$.feature') == 'demo-filter'}"});
        assert!(passes(settings.clone(), &[], r#"{"feature":"demo-filter"}"#));
        assert!(!passes(settings.clone(), &[], r#"{"feature":"another"}"#));
        assert!(!passes(settings, &[], r#"{"other":1}"#));
    }

    #[test]
    fn a_filter_compares_with_the_metadata_of_the_subscription() {
        let settings = json!({"filter": BY_SUBSCRIPTION});
        assert!(passes(settings.clone(), &[("feature", "a")], r#"{"feature":"a"}"#));
        assert!(!passes(settings.clone(), &[("feature", "b")], r#"{"feature":"a"}"#));
        assert!(!passes(settings, &[], r#"{"feature":"a"}"#));
    }

    #[test]
    fn a_message_without_a_result_is_dropped_or_passed_as_set() {
        let settings = json!({"filter": BY_SUBSCRIPTION});
        let verdict = judge(settings, &[("feature", "a")], "no json");
        let Verdict::Drop { reason, acknowledge: true } = verdict else { panic!("{verdict:?}") };
        assert_eq!(reason, DropReason::Undecided(EvalError::NotJson));
        let settings = json!({"filter": BY_SUBSCRIPTION, "filterMessageOnFilteringError": false});
        assert!(passes(settings, &[("feature", "a")], "no json"));
    }

    #[test]
    fn a_filtered_message_is_acknowledged_as_set() {
        let settings = json!({"filter": "false", "ackFilteredMessage": false});
        let verdict = judge(settings, &[], "x");
        assert!(matches!(verdict, Verdict::Drop { reason: DropReason::Unwanted, acknowledge: false }));
    }

    #[test]
    fn a_subscriber_can_bring_the_filter() {
        let settings = json!({"filter": "{#subscription.metadata.filter}"});
        let own = |filter| [("filter", filter), ("wanted", "a")];
        let payload = r#"{"f":"a"}"#;
        assert!(passes(settings.clone(), &own("{#jsonPath(#message.content, '$.f') == 'a'}"), payload));
        assert!(!passes(settings.clone(), &own("{#jsonPath(#message.content, '$.f') == 'b'}"), payload));
        let by_metadata = own("{#jsonPath(#message.content, '$.f') == #subscription.metadata.wanted}");
        assert!(passes(settings.clone(), &by_metadata, payload));
        assert!(passes(settings.clone(), &own("true"), payload));
        assert!(!passes(settings, &[], payload));
    }

    #[test]
    fn a_brought_filter_that_does_not_parse_is_a_filtering_error() {
        let own = [("filter", "{#nothing}")];
        let settings = json!({"filter": "{#subscription.metadata.filter}"});
        let verdict = judge(settings.clone(), &own, "x");
        let Verdict::Drop { reason, .. } = verdict else { panic!("{verdict:?}") };
        assert_eq!(reason, DropReason::Undecided(EvalError::NotBoolean));
        let settings = json!({"filter": settings["filter"], "filterMessageOnFilteringError": false});
        assert!(passes(settings, &own, "x"));
    }

    #[test]
    fn a_brought_filter_does_not_see_what_is_the_publishers() {
        let own = [("filter", "{#secrets.get('pin') == '1234'}")];
        let verdict = judge(json!({"filter": "{#subscription.metadata.filter}"}), &own, "x");
        let Verdict::Drop { reason, .. } = verdict else { panic!("{verdict:?}") };
        assert_eq!(reason, DropReason::Undecided(EvalError::NoSecret("pin".into())));
        assert!(passes(json!({"filter": "{#secrets.get('pin') == '1234'}"}), &[], "x"));
    }

    #[test]
    fn settings_that_cannot_work_are_refused() {
        for (settings, path, code, says) in [
            (json!({}), "", "document.field", "filter"),
            (json!({"filter": 1}), "filter", "document.field", "text"),
            (json!({"filter": "{(true)}", "colour": 1}), "colour", "document.field", "colour"),
            (
                json!({"filter": "{#message.colour}"}),
                "filter",
                "expression.invalid",
                "Column 11: #message has no",
            ),
            (json!({"filter": "#message.content == 'a'"}), "filter", "expression.invalid", "in braces"),
            (json!({"filter": ""}), "filter", "expression.invalid", "in braces"),
        ] {
            let problems = built(&ENTRY, Hook::Deliver, settings.clone()).unwrap_err();
            let [problem] = &*problems else { panic!("{problems:?}") };
            assert_eq!((&*problem.path, problem.code), (path, code), "{settings}");
            assert!(problem.message.contains(says), "{}", problem.message);
        }
    }
}
