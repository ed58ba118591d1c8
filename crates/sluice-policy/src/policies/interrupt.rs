//! `policy-interrupt`: turns a client or a message away with an error of the API's own.

use std::{borrow::Cow, collections::BTreeMap, sync::Arc};

use futures_util::future::{self, BoxFuture, FutureExt};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value as Json;
use sluice_api::{Problem, from_value};
use sluice_expression::{EvalContext, Expression};
use sluice_message::Message;

use super::{Named, not_blank};
use crate::{Caller, Entry, Hook, Policy, Rejection, Verdict, catalogue::schema_of, site::Site};

pub(crate) const ENTRY: Entry = Entry {
    id: "policy-interrupt",
    aliases: &[],
    versions: &[],
    name: "Interrupt",
    description: "Turns a client or a message away with an error of the API's own.",
    documentation: "The answer is the response template that the API has for `errorKey`; without one it is 500 \
                    with the message. With a `condition` on the step, only those for which it is true are turned \
                    away. The variables are what the template reads as `#parameters`; one whose expression has no \
                    value is empty.",
    example: r#"{"errorKey": "NO_TENANT", "message": "Say who you are in X-Tenant."}"#,
    hooks: &[Hook::Connect, Hook::Subscribe, Hook::Unsubscribe, Hook::Publish, Hook::Deliver],
    schema: schema_of::<Settings>,
    build,
};

/// Settings of `policy-interrupt`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Settings {
    /// The key by which the API's response templates name this error. Required.
    error_key: String,
    /// What is told where there is no template; it may have expressions in it.
    #[serde(default)]
    message: String,
    /// What the error says about itself, for the template.
    #[serde(default)]
    variables: Vec<Named>,
}

#[derive(Debug)]
struct Interrupt {
    key: String,
    message: Expression,
    variables: Vec<(Box<str>, Expression)>,
}

fn build(configuration: Json, _: Hook, site: &Site<'_>) -> Result<Arc<dyn Policy>, Vec<Problem>> {
    let settings: Settings = from_value(configuration).map_err(|problem| vec![problem])?;
    let key = not_blank("errorKey", &settings.error_key);
    let message = site.text("message", &settings.message);
    let variables = Named::parse_all(settings.variables, "variables", site, not_blank);
    match (key, message, variables) {
        (Ok(()), Ok(message), Ok(variables)) => {
            Ok(Arc::new(Interrupt { key: settings.error_key, message, variables }))
        }
        (key, message, variables) => {
            let mut problems = variables.err().unwrap_or_default();
            problems.extend(key.err());
            problems.extend(message.err());
            Err(problems)
        }
    }
}

impl Interrupt {
    fn rejection(&self, context: &EvalContext<'_>) -> Rejection {
        let value = |expression: &Expression| expression.text(context).ok().flatten().map(Cow::into_owned);
        let parameters = self.variables.iter();
        let parameters: BTreeMap<_, _> = parameters
            .map(|(name, expression)| (String::from(&**name), value(expression).unwrap_or_default()))
            .collect();
        let message = value(&self.message).filter(|message| !message.is_empty());
        let message = message.unwrap_or_else(|| format!("This API turns it away: {}.", self.key));
        Rejection { parameters, ..Rejection::new(500, "policy.interrupted", self.key.clone(), message) }
    }
}

impl Policy for Interrupt {
    fn id(&self) -> &'static str {
        ENTRY.id
    }

    fn meet<'a>(&'a self, caller: &'a mut Caller) -> BoxFuture<'a, Result<(), Rejection>> {
        future::ready(Err(self.rejection(&caller.context()))).boxed()
    }

    fn apply(&self, context: &EvalContext<'_>, message: Message) -> Verdict {
        Verdict::Reject(self.rejection(&context.with_message(&message)))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::tests::{built, message, refused};

    fn rejection(settings: Json) -> Rejection {
        let policy = built(&ENTRY, Hook::Publish, settings).unwrap();
        match policy.apply(&EvalContext::new(), message("hello")) {
            Verdict::Reject(rejection) => rejection,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn it_turns_a_message_away_with_what_it_says_of_itself() {
        let rejection = rejection(json!({
            "errorKey": "MINE", "message": "No {#message.content}.",
            "variables": [{"name": "a", "value": "{#message.content}"}, {"name": "b", "value": "{#message.metadata['x']}"}],
        }));
        assert_eq!((rejection.status, &*rejection.key, &*rejection.message), (500, "MINE", "No hello."));
        assert_eq!((&*rejection.parameters["a"], &*rejection.parameters["b"]), ("hello", ""));
    }

    #[test]
    fn without_a_message_the_key_is_told() {
        for message in ["", "{#message.metadata['x']}"] {
            let rejection = rejection(json!({"errorKey": "MINE", "message": message}));
            assert_eq!(rejection.message, "This API turns it away: MINE.");
        }
    }

    #[test]
    fn everything_that_is_wrong_is_told_at_once() {
        let variables = json!([{"name": " ", "value": "x"}]);
        let found = refused(
            &ENTRY,
            Hook::Connect,
            json!({"errorKey": "", "message": "{#x}", "variables": variables}),
        );
        let paths: Vec<_> = found.iter().map(|(path, _)| &**path).collect();
        assert_eq!(paths, ["variables[0].name", "errorKey", "message"]);
    }
}
