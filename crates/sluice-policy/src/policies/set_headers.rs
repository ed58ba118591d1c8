//! `set-headers`: sets headers of a request, of an answer, or of a message.

use std::sync::Arc;

use futures_util::future::{self, BoxFuture, FutureExt};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value as Json;
use sluice_api::{Problem, from_value};
use sluice_expression::{EvalContext, Expression, Response};
use sluice_message::{Headers, Message};

use super::{
    Named, header_name,
    headers::{answer_header_name, change_request, changed, fits_http, misplaced},
    not_longer,
};
use crate::{Caller, Entry, Hook, Policy, Rejection, Verdict, catalogue::schema_of, site::Site};

pub(crate) const ENTRY: Entry = Entry {
    id: "set-headers",
    aliases: &[],
    versions: &["v1"],
    name: "Set headers",
    description: "Sets headers of a request, an answer or a message.",
    documentation: "What stands under `request` is set at `connect`, `subscribe` and `unsubscribe` on the client's \
                    request, at `publish` and `deliver` on the message; what stands under `response` on the answer to \
                    the client: at `connect`, `subscribe`, `unsubscribe` and `respond`. A header takes the place of \
                    all of its name, however that is written; of two settings of one name the later counts. All values \
                    are worked out before the first change. A header whose expression has no value is left as it was, \
                    and so is one of HTTP whose value has a line break or another control character.",
    example: r#"{"request": {"headers": [{"name": "X-Source", "value": "webhook"}]}}"#,
    hooks: &[Hook::Connect, Hook::Subscribe, Hook::Unsubscribe, Hook::Respond, Hook::Publish, Hook::Deliver],
    schema: schema_of::<Settings>,
    build,
};

/// The longest name that can be written, in bytes. Values have the bound of all texts with expressions.
const LONGEST_NAME: usize = 256;

/// Settings of `set-headers`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Settings {
    /// What is set on the request or the message. It or `response` is needed.
    #[serde(default)]
    request: Option<List>,
    /// What is set on the answer to the client.
    #[serde(default)]
    response: Option<List>,
}

/// Headers with their values.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct List {
    /// The headers, in order; names have at most 256 bytes, values 8,192.
    headers: Vec<Named>,
}

#[derive(Debug, Default)]
struct SetHeaders {
    request: Assigned,
    response: Assigned,
    of_http: bool,
}

type Assigned = Vec<(Box<str>, Expression)>;

fn build(configuration: Json, hook: Hook, site: &Site<'_>) -> Result<Arc<dyn Policy>, Vec<Problem>> {
    let Settings { request, response } = from_value(configuration).map_err(|problem| vec![problem])?;
    let mut problems = misplaced(hook, request.is_some(), response.is_some());
    if response.is_some() && hook.has_message() {
        let message = "A message has no answer of its own; put this at 'connect', 'subscribe', 'unsubscribe' or \
                       'respond'.";
        problems.push(Problem::new("response", "document.field", message));
    }
    if !hook.has_message() {
        // Even if no expression reads it, a receiver may make message headers of it.
        site.read_request();
    }
    let mut list = |list: Option<List>, path: &str, named: fn(&str, &str) -> Result<(), Problem>| {
        let headers = list.map(|list| list.headers).unwrap_or_default();
        let names = headers.iter().enumerate();
        problems.extend(names.filter_map(|(index, Named { name, .. })| {
            not_longer(&format!("{path}[{index}].name"), name, LONGEST_NAME).err()
        }));
        let parsed = Named::parse_all(headers, path, site, named);
        parsed.map_err(|found| problems.extend(found)).unwrap_or_default()
    };
    let policy = SetHeaders {
        request: list(request, "request.headers", header_name),
        response: list(response, "response.headers", answer_header_name),
        of_http: !hook.has_message(),
    };
    if problems.is_empty() { Ok(Arc::new(policy)) } else { Err(problems) }
}

impl SetHeaders {
    /// The headers that have a value now.
    fn values(&self, assigned: &Assigned, context: &EvalContext<'_>) -> Vec<(Box<str>, String)> {
        let values = assigned.iter().filter_map(|(name, value)| {
            let value = value.text(context).ok().flatten()?;
            (!self.of_http || fits_http(&value)).then(|| (name.clone(), value.into_owned()))
        });
        values.collect()
    }
}

fn set(headers: &mut Headers, values: Vec<(Box<str>, String)>) {
    for (name, value) in values {
        headers.set(name, value);
    }
}

impl Policy for SetHeaders {
    fn id(&self) -> &'static str {
        ENTRY.id
    }

    fn meet<'a>(&'a self, caller: &'a mut Caller) -> BoxFuture<'a, Result<(), Rejection>> {
        let context = caller.context();
        let (request, response) =
            (self.values(&self.request, &context), self.values(&self.response, &context));
        change_request(caller, |headers| set(headers, request));
        set(&mut caller.answer_headers, response);
        future::ready(Ok(())).boxed()
    }

    fn respond(&self, caller: &mut Caller, answer: &mut Response) {
        let values = self.values(&self.response, &caller.context().with_response(Some(answer)));
        set(&mut answer.headers, values);
    }

    fn apply(&self, context: &EvalContext<'_>, message: Message) -> Verdict {
        let values = self.values(&self.request, &context.with_message(&message));
        Verdict::Continue(changed(&message, |headers| set(headers, values)))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::tests::{built, caller, chains, connected, message, refused, step};

    fn list(headers: &[(&str, &str)]) -> Json {
        let headers = headers.iter().map(|(name, value)| json!({"name": name, "value": value}));
        json!({"headers": headers.collect::<Vec<_>>()})
    }

    #[test]
    fn of_two_of_one_name_the_later_counts() {
        let settings = json!({"request": list(&[("X-A", "1"), ("x-a", "2"), ("b", "{#message.content}")])});
        let policy = built(&ENTRY, Hook::Deliver, settings).unwrap();
        let Verdict::Continue(message) = policy.apply(&EvalContext::new(), message("x")) else { panic!() };
        assert_eq!(*message.headers(), [("x-a", "2"), ("b", "x")].into_iter().collect());
    }

    #[tokio::test]
    async fn headers_for_the_answer_are_on_it_whatever_it_is() {
        let steps = json!([step("set-headers", json!({"response": list(&[("X-Api", "{#api.name}")])}))]);
        let chains = chains(json!([{"connect": steps.clone(), "respond": steps}]));
        let mut caller = connected(&chains, caller(&chains, "sse", &[])).await.unwrap();
        let mut answer = Response { status: 200, headers: [("x-api", "old")].into_iter().collect() };
        chains.respond(&mut caller, &mut answer);
        assert_eq!(answer.headers, [("X-Api", "Kafka and SSE")].into_iter().collect());
    }

    #[tokio::test]
    async fn a_line_break_gets_into_no_header_of_http() {
        let bad = list(&[("x-a", "{#request.headers['x'][0]}")]);
        let steps = json!([step("set-headers", json!({"request": bad, "response": bad}))]);
        let chains = chains(json!([{"connect": steps}]));
        let caller = connected(&chains, caller(&chains, "sse", &[("x", "a\r\nb: c")])).await.unwrap();
        assert!(caller.answer_headers.is_empty());
        assert!(caller.request().unwrap().headers.get("x-a").is_none());
    }

    #[test]
    fn what_cannot_be_done_at_a_hook_is_refused() {
        let paths = |hook: Hook, settings: Json| {
            let found = refused(&ENTRY, hook, settings);
            found.into_iter().map(|(path, _)| path).collect::<Vec<_>>()
        };
        for hook in [Hook::Publish, Hook::Deliver] {
            assert_eq!(paths(hook, json!({"response": list(&[("a", "b")])})), ["response"]);
        }
        assert_eq!(paths(Hook::Respond, json!({"request": list(&[("a", "b")])})), ["request"]);
        assert_eq!(paths(Hook::Connect, json!({})), ["request"]);
        let long = ("a".repeat(257), "b".repeat(8193));
        assert_eq!(
            paths(Hook::Connect, json!({"request": list(&[(&long.0, &long.1), ("é", "x")])})),
            ["request.headers[0].name", "request.headers[0].value", "request.headers[1].name"]
        );
        assert_eq!(
            paths(Hook::Connect, json!({"response": list(&[("transfer-encoding", "x")])})),
            ["response.headers[0].name"]
        );
        assert_eq!(
            paths(Hook::Connect, json!({"request": {"headers": [{"name": "a"}]}})),
            ["request.headers[0]"]
        );
    }
}
