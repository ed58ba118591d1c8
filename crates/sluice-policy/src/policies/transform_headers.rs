//! `transform-headers`: sets, appends and removes headers of a request, of an answer, or of a message.

use std::{borrow::Cow, sync::Arc};

use futures_util::future::{self, BoxFuture, FutureExt};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value as Json;
use sluice_api::{Problem, from_value};
use sluice_expression::{EvalContext, Expression, Response};
use sluice_message::{Headers, Message};

use super::{
    Named, header_name,
    headers::{answer_header_name, fits_http},
};
use crate::{
    Caller, Entry, Hook, Policy, Rejection, Verdict,
    catalogue::schema_of,
    site::{Site, all},
};

pub(crate) const ENTRY: Entry = Entry {
    id: "transform-headers",
    aliases: &[],
    versions: &[],
    name: "Transform headers",
    description: "Sets, appends and removes headers of a request, an answer or a message.",
    documentation: "Headers are set, appended, removed and reduced to the whitelist, in this order; names are \
                    compared without case. All values are worked out before the first change. A header whose \
                    expression has no value is not added, and neither is one of a request or an answer whose \
                    value has a line break or another control character. At `connect` expressions, and messages \
                    made from request headers, see the change.",
    example: r#"{"addHeaders": [{"name": "X-Kind", "value": "{#message.metadata['topic']}"}], "removeHeaders": ["X-Internal"]}"#,
    hooks: &[Hook::Connect, Hook::Subscribe, Hook::Unsubscribe, Hook::Respond, Hook::Publish, Hook::Deliver],
    schema: schema_of::<Settings>,
    build,
};

/// Settings of `transform-headers`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Settings {
    /// Headers to set, in place of those of the same name.
    #[serde(default)]
    add_headers: Vec<Named>,
    /// Headers to add behind those of the same name.
    #[serde(default)]
    append_headers: Vec<Named>,
    /// The names of headers to remove.
    #[serde(default)]
    remove_headers: Vec<String>,
    /// The names of the only headers to keep; all are kept when this is empty.
    #[serde(default)]
    whitelist_headers: Vec<String>,
    /// Without meaning: the flow says where the policy runs. It is taken because older definitions have it.
    #[serde(default, rename = "scope")]
    _scope: Option<super::Scope>,
}

#[derive(Debug)]
struct TransformHeaders {
    set: Vec<(Box<str>, Expression)>,
    append: Vec<(Box<str>, Expression)>,
    remove: Vec<Box<str>>,
    keep: Vec<Box<str>>,
    /// Whether the headers go into HTTP, which has rules for their values.
    of_http: bool,
}

fn build(configuration: Json, hook: Hook, site: &Site<'_>) -> Result<Arc<dyn Policy>, Vec<Problem>> {
    let settings: Settings = from_value(configuration).map_err(|problem| vec![problem])?;
    if hook.meets_client() {
        // Even if no expression reads it, a receiver may make message headers of it.
        site.read_request();
    }
    let check = if hook == Hook::Respond { answer_header_name } else { header_name };
    let mut problems = Vec::new();
    let set = Named::parse_all(settings.add_headers, "addHeaders", site, check);
    let append = Named::parse_all(settings.append_headers, "appendHeaders", site, check);
    let names = |list: Vec<String>, path: &str| {
        all(list.into_iter().enumerate().map(|(index, name)| {
            header_name(&format!("{path}[{index}]"), &name)?;
            Ok(name.into_boxed_str())
        }))
    };
    let mut or_problems = |found: Vec<Problem>| problems.extend(found);
    let policy = TransformHeaders {
        set: set.map_err(&mut or_problems).unwrap_or_default(),
        append: append.map_err(&mut or_problems).unwrap_or_default(),
        remove: names(settings.remove_headers, "removeHeaders").map_err(&mut or_problems).unwrap_or_default(),
        keep: names(settings.whitelist_headers, "whitelistHeaders")
            .map_err(&mut or_problems)
            .unwrap_or_default(),
        of_http: !hook.has_message(),
    };
    if problems.is_empty() { Ok(Arc::new(policy)) } else { Err(problems) }
}

impl TransformHeaders {
    /// Headers as they are to be. The context may show them: they are changed in a copy.
    fn transformed(&self, mut headers: Headers, context: &EvalContext<'_>) -> Headers {
        for (name, value) in self.values(&self.set, context) {
            headers.set(name, value);
        }
        for (name, value) in self.values(&self.append, context) {
            headers.append(name, value);
        }
        for name in &self.remove {
            headers.remove(name);
        }
        if self.keep.is_empty() {
            return headers;
        }
        let kept = headers
            .iter()
            .filter(|header| self.keep.iter().any(|name| header.name.eq_ignore_ascii_case(name)));
        kept.map(|header| (header.name.clone(), header.value.clone())).collect()
    }

    fn values<'v>(
        &'v self,
        list: &'v [(Box<str>, Expression)],
        context: &EvalContext<'v>,
    ) -> impl Iterator<Item = (Box<str>, String)> + use<'v> {
        let context = *context;
        list.iter().filter_map(move |(name, value)| {
            let value = value.text(&context).ok().flatten()?;
            (!self.of_http || fits_http(&value)).then(|| (name.clone(), Cow::into_owned(value)))
        })
    }
}

impl Policy for TransformHeaders {
    fn id(&self) -> &'static str {
        ENTRY.id
    }

    fn meet<'a>(&'a self, caller: &'a mut Caller) -> BoxFuture<'a, Result<(), Rejection>> {
        if let Some(request) = &caller.request {
            let headers = self.transformed(request.headers.clone(), &caller.context());
            if let Some(request) = &mut caller.request {
                Arc::make_mut(request).headers = headers;
            }
        }
        future::ready(Ok(())).boxed()
    }

    fn respond(&self, caller: &mut Caller, answer: &mut Response) {
        let context = caller.context().with_response(Some(answer));
        answer.headers = self.transformed(answer.headers.clone(), &context);
    }

    fn apply(&self, context: &EvalContext<'_>, message: Message) -> Verdict {
        let headers = self.transformed(message.headers().clone(), &context.with_message(&message));
        Verdict::Continue(message.to_builder().headers(headers).build())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::tests::{built, caller, chains, connected, message, refused, step};

    const ALL: [&str; 3] = ["x-a: 1", "X-B: 2", "x-a: 3"];

    fn headers(lines: &[&str]) -> Headers {
        let pairs = lines.iter().map(|line| line.split_once(": ").unwrap());
        pairs.map(|(name, value)| (name, value.to_owned())).collect()
    }

    /// The headers of a message with [`ALL`] after a policy with these settings.
    fn transformed(settings: Json) -> Headers {
        let policy = built(&ENTRY, Hook::Deliver, settings).unwrap();
        let message = message("content").to_builder().headers(headers(&ALL)).build();
        let Verdict::Continue(message) = policy.apply(&EvalContext::new(), message) else { panic!() };
        message.headers().clone()
    }

    #[test]
    fn headers_are_set_appended_removed_and_reduced_in_this_order() {
        assert_eq!(transformed(json!({})), headers(&ALL));
        let set = json!({"addHeaders": [{"name": "X-A", "value": "{#message.headers['x-b'][0]}"}]});
        assert_eq!(transformed(set), headers(&["X-B: 2", "X-A: 2"]));
        let append = json!({"appendHeaders": [{"name": "X-A", "value": "4"}]});
        assert_eq!(transformed(append), headers(&["x-a: 1", "X-B: 2", "x-a: 3", "X-A: 4"]));
        assert_eq!(transformed(json!({"removeHeaders": ["X-A", "none"]})), headers(&["X-B: 2"]));
        assert_eq!(transformed(json!({"whitelistHeaders": ["x-b"]})), headers(&["X-B: 2"]));
        let all = json!({
            "addHeaders": [{"name": "x-c", "value": "1"}],
            "appendHeaders": [{"name": "X-C", "value": "2"}, {"name": "X-D", "value": "3"}],
            "removeHeaders": ["x-d"],
            "whitelistHeaders": ["x-C", "x-d"],
            "scope": "REQUEST",
        });
        assert_eq!(transformed(all), headers(&["x-c: 1", "X-C: 2"]));
    }

    #[test]
    fn a_header_without_a_value_is_not_added() {
        let value = |value: &str| transformed(json!({"addHeaders": [{"name": "x-a", "value": value}]}));
        assert_eq!(value("{#message.headers['none'][0]}"), headers(&ALL));
        assert_eq!(value("{#message.metadata['none']}"), headers(&ALL));
        assert_eq!(value("a\nb"), headers(&["X-B: 2", "x-a: a\nb"]));
    }

    #[tokio::test]
    async fn a_line_break_gets_into_no_header_of_http() {
        let add =
            |name: &str| json!({"addHeaders": [{"name": name, "value": "{#context.attributes['evil']}"}]});
        let evil = json!({"attributes": [{"name": "evil", "value": "a\r\nSet-Cookie: b"}]});
        let chains = chains(json!([{
            "connect": [step("assign-attributes", evil), step("transform-headers", add("x-in"))],
            "respond": [step("transform-headers", add("x-out"))],
        }]));
        let mut caller = connected(&chains, caller(&chains, "sse", &[("x", "y")])).await.unwrap();
        assert_eq!(caller.request().unwrap().headers, headers(&["x: y"]));
        let mut answer = Response { status: 200, headers: headers(&["content-type: text/event-stream"]) };
        chains.respond(&mut caller, &mut answer);
        assert_eq!(answer.headers, headers(&["content-type: text/event-stream"]));
    }

    #[test]
    fn names_that_are_none_and_headers_that_frame_an_answer_are_refused() {
        let settings = json!({
            "addHeaders": [{"name": "a b", "value": "{#nothing}"}, {"name": "a", "value": "{#nothing}"}],
            "removeHeaders": [""],
            "whitelistHeaders": ["a:"],
        });
        let paths: Vec<_> =
            refused(&ENTRY, Hook::Deliver, settings).into_iter().map(|(path, _)| path).collect();
        assert_eq!(
            paths,
            ["addHeaders[0].name", "addHeaders[1].value", "removeHeaders[0]", "whitelistHeaders[0]"]
        );
        let length = json!({"appendHeaders": [{"name": "Content-Length", "value": "1"}]});
        assert_eq!(refused(&ENTRY, Hook::Respond, length.clone())[0].0, "appendHeaders[0].name");
        assert!(built(&ENTRY, Hook::Publish, length).is_ok());
    }
}
