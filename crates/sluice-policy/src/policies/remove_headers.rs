//! `remove-headers`: removes headers of a request, of an answer, or of a message.

use std::sync::Arc;

use futures_util::future::{self, BoxFuture, FutureExt};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value as Json;
use sluice_api::{Problem, from_value};
use sluice_expression::{EvalContext, Response};
use sluice_message::{Headers, Message};

use super::{
    header_name,
    headers::{answer_header_name, change_request, changed, misplaced},
};
use crate::{
    Caller, Entry, Hook, Policy, Rejection, Verdict,
    catalogue::schema_of,
    site::{Site, all},
};

pub(crate) const ENTRY: Entry = Entry {
    id: "remove-headers",
    aliases: &[],
    versions: &["v1"],
    name: "Remove headers",
    description: "Removes headers of a request, an answer or a message.",
    documentation: "What stands under `request` is removed at `connect`, `subscribe` and `unsubscribe` from the \
                    client's request, at `publish` and `deliver` from the message; what stands under `response` at \
                    `respond` from the answer. A header is removed however its name is written and however often it \
                    is there.",
    example: r#"{"request": {"headers": [{"name": "X-Internal"}]}}"#,
    hooks: &[Hook::Connect, Hook::Subscribe, Hook::Unsubscribe, Hook::Respond, Hook::Publish, Hook::Deliver],
    schema: schema_of::<Settings>,
    build,
};

/// Settings of `remove-headers`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Settings {
    /// What is removed from the request or the message. It or `response` is needed.
    #[serde(default)]
    request: Option<List>,
    /// What is removed from the answer to the client.
    #[serde(default)]
    response: Option<List>,
}

/// Names of headers.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct List {
    /// The headers.
    headers: Vec<Name>,
}

/// The name of a header.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Name {
    /// The name.
    name: String,
}

/// Either those of the request or those of the answer: at no hook are both there.
#[derive(Debug)]
struct RemoveHeaders(Vec<Box<str>>);

fn build(configuration: Json, hook: Hook, site: &Site<'_>) -> Result<Arc<dyn Policy>, Vec<Problem>> {
    let Settings { request, response } = from_value(configuration).map_err(|problem| vec![problem])?;
    let mut problems = misplaced(hook, request.is_some(), response.is_some());
    if response.is_some() && hook != Hook::Respond {
        let message = "There is no answer yet from which they could be removed; put this at 'respond'.";
        problems.push(Problem::new("response", "document.field", message));
    }
    if !hook.has_message() {
        // Even if no expression reads it, a receiver may make message headers of it.
        site.read_request();
    }
    let mut names = |list: Option<List>, path: &str, check: fn(&str, &str) -> Result<(), Problem>| {
        let headers = list.map(|list| list.headers).unwrap_or_default();
        let checked = all(headers.into_iter().enumerate().map(|(index, Name { name })| {
            check(&format!("{path}[{index}].name"), &name)?;
            Ok(name.into_boxed_str())
        }));
        checked.map_err(|found| problems.extend(found)).unwrap_or_default()
    };
    let mut removed = names(request, "request.headers", header_name);
    removed.extend(names(response, "response.headers", answer_header_name));
    if problems.is_empty() { Ok(Arc::new(RemoveHeaders(removed))) } else { Err(problems) }
}

impl RemoveHeaders {
    fn remove_from(&self, headers: &mut Headers) {
        for name in &self.0 {
            headers.remove(name);
        }
    }
}

impl Policy for RemoveHeaders {
    fn id(&self) -> &'static str {
        ENTRY.id
    }

    fn meet<'a>(&'a self, caller: &'a mut Caller) -> BoxFuture<'a, Result<(), Rejection>> {
        change_request(caller, |headers| self.remove_from(headers));
        future::ready(Ok(())).boxed()
    }

    fn respond(&self, _: &mut Caller, answer: &mut Response) {
        self.remove_from(&mut answer.headers);
    }

    fn apply(&self, _: &EvalContext<'_>, message: Message) -> Verdict {
        // A message as it came shares what is made of it with all clients.
        if self.0.iter().all(|name| message.headers().get(name).is_none()) {
            return Verdict::Continue(message);
        }
        Verdict::Continue(changed(&message, |headers| self.remove_from(headers)))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{
        Chains, Outcome,
        tests::{caller, chains, connected, message, refused, step},
    };

    fn set(name: &str, value: &str) -> Json {
        step("set-headers", json!({"request": {"headers": [{"name": name, "value": value}]}}))
    }

    fn remove(name: &str) -> Json {
        step("remove-headers", json!({"request": {"headers": [{"name": name}]}}))
    }

    /// The headers of a message at a hook after these steps.
    fn after(hook: Hook, steps: &[Json]) -> Vec<(String, String)> {
        let mut flow = json!({});
        flow[hook.as_str()] = json!(steps);
        let chains: Chains = chains(json!([flow]));
        let caller = caller(&chains, "websocket", &[]);
        let headers: Headers = [("X-A", "1"), ("x-a", "2"), ("B", "3")].into_iter().collect();
        let message = message("x").to_builder().headers(headers).build();
        let Outcome::Pass(message) = chains.select(hook, &caller).run(&caller.context(), message) else {
            panic!()
        };
        let text = |header: &sluice_message::Header| {
            (header.name.to_string(), String::from_utf8_lossy(&header.value).into_owned())
        };
        message.headers().iter().map(text).collect()
    }

    fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn a_header_of_a_message_goes_however_it_is_written() {
        for hook in [Hook::Publish, Hook::Deliver] {
            assert_eq!(after(hook, &[remove("x-A")]), pairs(&[("B", "3")]));
            assert_eq!(after(hook, &[set("x-a", "9")]), pairs(&[("B", "3"), ("x-a", "9")]));
        }
    }

    #[test]
    fn what_is_set_and_removed_happens_in_the_order_of_the_list() {
        assert_eq!(
            after(Hook::Publish, &[remove("x-a"), set("X-A", "9")]),
            pairs(&[("B", "3"), ("X-A", "9")])
        );
        assert_eq!(after(Hook::Publish, &[set("X-A", "9"), remove("x-a")]), pairs(&[("B", "3")]));
    }

    #[tokio::test]
    async fn a_header_of_a_request_goes_before_anything_reads_it() {
        for hook in [Hook::Connect, Hook::Subscribe, Hook::Unsubscribe] {
            let mut flow = json!({});
            flow[hook.as_str()] = json!([remove("AUTHORIZATION"), set("x-by", "{#request.method}")]);
            let chains = chains(json!([flow]));
            let mut caller = caller(&chains, "http-post", &[("Authorization", "x"), ("a", "b")]);
            chains.meet(hook, &mut caller).await.unwrap();
            let headers = &caller.request().unwrap().headers;
            assert_eq!(*headers, [("a", "b"), ("x-by", "POST")].into_iter().collect());
        }
    }

    #[tokio::test]
    async fn a_header_of_an_answer_goes() {
        let steps = json!([step("remove-headers", json!({"response": {"headers": [{"name": "server"}]}}))]);
        let chains = chains(json!([{"respond": steps}]));
        let mut caller = connected(&chains, caller(&chains, "sse", &[])).await.unwrap();
        let mut answer =
            Response { status: 200, headers: [("Server", "x"), ("A", "b")].into_iter().collect() };
        chains.respond(&mut caller, &mut answer);
        assert_eq!(answer.headers, [("A", "b")].into_iter().collect());
    }

    #[test]
    fn what_cannot_be_done_at_a_hook_is_refused() {
        let paths = |hook: Hook, settings: Json| refused(&ENTRY, hook, settings)[0].0.clone();
        let list = json!({"headers": [{"name": "a"}]});
        for hook in [Hook::Connect, Hook::Subscribe, Hook::Unsubscribe, Hook::Publish, Hook::Deliver] {
            assert_eq!(paths(hook, json!({ "response": list })), "response");
        }
        assert_eq!(paths(Hook::Respond, json!({ "request": list })), "request");
        assert_eq!(paths(Hook::Connect, json!({})), "request");
        assert_eq!(
            paths(Hook::Connect, json!({"request": {"headers": [{"name": "a b"}]}})),
            "request.headers[0].name"
        );
        assert_eq!(
            paths(Hook::Respond, json!({"response": {"headers": [{"name": "Content-Length"}]}})),
            "response.headers[0].name"
        );
        assert_eq!(paths(Hook::Connect, json!({"headers": []})), "headers");
    }
}
