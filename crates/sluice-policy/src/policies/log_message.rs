//! `log-message`: writes what comes by to the gateway's log, within bounds and without credentials.

use std::sync::Arc;

use futures_util::future::{self, BoxFuture, FutureExt};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use sluice_api::{MASK, Problem, from_value};
use sluice_expression::{Api, EvalContext, Response};
use sluice_message::{Headers, Message};

use super::{header_name, headers::no_request};
use crate::{
    Caller, Entry, Hook, Policy, Rejection, Verdict,
    catalogue::schema_of,
    secrecy::may_be_credential,
    site::{Site, all},
};

pub(crate) const ENTRY: Entry = Entry {
    id: "log-message",
    aliases: &[],
    versions: &["v1"],
    name: "Log message",
    description: "Writes what comes by to the gateway's log.",
    documentation: "What stands under `request` is for the client's request at `connect`, `subscribe` and \
                    `unsubscribe`, and for the message at `publish` and `deliver`; what stands under `response` is for \
                    the answer at `respond`, which is a stream, so that there is no payload to log. A line has at most \
                    4 KiB of payload and of headers. Headers that may be credentials by their name show as `********`, \
                    and so do those that API keys stand in; query parameters are not logged. The level is `info`.",
    example: r#"{"request": {"headers": true, "excludeHeaders": ["User-Agent"]}}"#,
    hooks: &[Hook::Connect, Hook::Subscribe, Hook::Unsubscribe, Hook::Respond, Hook::Publish, Hook::Deliver],
    schema: schema_of::<Settings>,
    build,
};

/// As much of a payload, and of all headers together, as a line has: bytes.
const MOST: usize = 4096;

/// Settings of `log-message`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Settings {
    /// What is logged of a request or a message.
    #[serde(default)]
    request: Option<Shown>,
    /// What is logged of an answer.
    #[serde(default)]
    response: Option<Shown>,
}

/// What of it is logged.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Shown {
    /// Whether the payload is. Default false.
    #[serde(default)]
    payload: bool,
    /// Whether the headers are. Default false.
    #[serde(default)]
    headers: bool,
    /// The names of headers that are left out, compared without case.
    #[serde(default)]
    exclude_headers: Vec<String>,
}

#[derive(Debug)]
struct LogMessage {
    shown: Shown,
    hook: &'static str,
}

fn build(configuration: Json, hook: Hook, site: &Site<'_>) -> Result<Arc<dyn Policy>, Vec<Problem>> {
    if configuration.get("fault").is_some() {
        let message =
            "No policy sees what another one refuses; refusals are counted and told by the gateway.";
        return Err(vec![Problem::new("fault", "document.field", message)]);
    }
    let Settings { request, response } = from_value(configuration).map_err(|problem| vec![problem])?;
    let mut problems = Vec::new();
    let problem = |path: &str, message: &str| Problem::new(path, "document.field", message);
    if request.is_some() {
        problems.extend(no_request(hook));
    }
    if response.is_some() && hook != Hook::Respond {
        problems.push(problem("response", "There is no answer yet to be logged; put this at 'respond'."));
    }
    if response.as_ref().is_some_and(|shown| shown.payload) {
        problems.push(problem("response.payload", "An answer is a stream; it has no payload to be logged."));
    }
    let (path, shown) = match (request, response) {
        (Some(shown), _) => ("request", shown),
        (None, Some(shown)) => ("response", shown),
        (None, None) => {
            problems.push(problem("request", "Say here what is to be logged, or at 'response'."));
            ("request", Shown::default())
        }
    };
    let names = shown.exclude_headers.iter().enumerate();
    let named = all(names.map(|(index, name)| header_name(&format!("{path}.excludeHeaders[{index}]"), name)));
    problems.extend(named.err().unwrap_or_default());
    if !hook.has_message() {
        site.read_request();
    }
    if problems.is_empty() { Ok(Arc::new(LogMessage { shown, hook: hook.as_str() })) } else { Err(problems) }
}

impl LogMessage {
    fn headers(&self, headers: &Headers, is_secret: impl Fn(&str) -> bool) -> Option<String> {
        self.shown.headers.then(|| {
            let mut line = String::new();
            let excluded =
                |name: &str| self.shown.exclude_headers.iter().any(|out| out.eq_ignore_ascii_case(name));
            for header in headers.iter().filter(|header| !excluded(&header.name)) {
                let hidden = may_be_credential(&header.name) || is_secret(&header.name);
                let value = if hidden { MASK.into() } else { begin(&header.value) };
                let separator = if line.is_empty() { "" } else { "; " };
                line.push_str(&format!("{separator}{}: {value}", header.name));
                if line.len() > MOST {
                    return begin(line.as_bytes());
                }
            }
            line
        })
    }

    fn payload(&self, payload: Option<&[u8]>) -> Option<String> {
        payload.filter(|_| self.shown.payload).map(begin)
    }
}

/// As much of some bytes as a line has, as text.
fn begin(bytes: &[u8]) -> String {
    match bytes.split_at_checked(MOST) {
        Some((begin, rest)) if !rest.is_empty() => format!("{}…", String::from_utf8_lossy(begin)),
        _ => String::from_utf8_lossy(bytes).into_owned(),
    }
}

impl Policy for LogMessage {
    fn id(&self) -> &'static str {
        ENTRY.id
    }

    fn meet<'a>(&'a self, caller: &'a mut Caller) -> BoxFuture<'a, Result<(), Rejection>> {
        let request = caller.request.as_deref();
        let headers =
            request.and_then(|request| self.headers(&request.headers, |name| caller.chains.withholds(name)));
        let payload = self.payload(request.and_then(|request| request.content.as_deref()));
        let context = caller.context();
        tracing::info!(
            api = context.api().map(|api| &*api.id),
            hook = self.hook,
            method = request.map(|request| &*request.method),
            path = request.map(|request| &*request.path),
            headers,
            payload,
            "A client came by.",
        );
        future::ready(Ok(())).boxed()
    }

    fn respond(&self, caller: &mut Caller, answer: &mut Response) {
        let headers = self.headers(&answer.headers, |_| false);
        let context = caller.context();
        let api = context.api().map(|api| &*api.id);
        tracing::info!(api, hook = self.hook, status = answer.status, headers, "An answer came by.");
    }

    fn apply(&self, context: &EvalContext<'_>, message: Message) -> Verdict {
        let headers = self.headers(message.headers(), |_| false);
        let payload = self.payload(Some(message.payload()));
        let api = context.api().map(|api: &Api| &*api.id);
        let bytes = message.payload().len();
        tracing::info!(api, hook = self.hook, bytes, headers, payload, "A message came by.");
        Verdict::Continue(message)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::tests::{caller, chains, logged, refused, run, step};

    fn log(settings: Json) -> Json {
        step("log-message", settings)
    }

    #[test]
    fn a_message_is_logged_as_far_as_it_is_asked_for() {
        let shown = |settings: Json| {
            let chains = chains(json!([{"publish": [log(json!({ "request": settings }))]}]));
            let caller = caller(&chains, "http-post", &[]);
            logged(|| {
                run(&chains, &caller, "the content").unwrap();
            })
        };
        let bare = shown(json!({}));
        assert!(bare.contains("A message came by.") && bare.contains(r#""hook":"publish""#), "{bare}");
        assert!(bare.contains(r#""api":"kafka-and-sse""#) && bare.contains(r#""bytes":11"#), "{bare}");
        assert!(!bare.contains("the content") && !bare.contains("headers"), "{bare}");
        assert!(shown(json!({"payload": true})).contains("the content"));
    }

    #[test]
    fn headers_are_logged_without_credentials_and_without_what_is_excluded() {
        let chains = chains(json!([{"connect": [
            log(json!({"request": {"headers": true, "excludeHeaders": ["user-agent"]}})),
            step("api-key-auth", json!({"key": "X-Partner"})),
        ]}]));
        let headers =
            [("Authorization", "s3cret"), ("X-Partner", "s3cret"), ("A", "b"), ("User-Agent", "curl")];
        let mut caller = caller(&chains, "sse", &headers);
        let line = logged(|| {
            chains.meet(Hook::Connect, &mut caller).now_or_never().unwrap().unwrap_err();
        });
        assert!(line.contains("Authorization: ********; X-Partner: ********; A: b\""), "{line}");
        assert!(!line.contains("s3cret") && !line.contains("curl"), "{line}");
        assert!(line.contains(r#""method":"POST""#) && line.contains("A client came by."), "{line}");
    }

    #[test]
    fn an_answer_is_logged() {
        let chains = chains(json!([{"respond": [log(json!({"response": {"headers": true}}))]}]));
        let mut caller = caller(&chains, "sse", &[]);
        let mut answer =
            Response { status: 200, headers: [("Set-Cookie", "s3cret"), ("A", "b")].into_iter().collect() };
        let line = logged(|| chains.respond(&mut caller, &mut answer));
        assert!(line.contains(r#""status":200"#) && line.contains("Set-Cookie: ********; A: b\""), "{line}");
    }

    #[test]
    fn a_line_is_bounded() {
        let cut = |bytes: usize| begin("x".repeat(bytes).as_bytes());
        assert_eq!(cut(MOST), "x".repeat(MOST));
        assert_eq!(cut(MOST + 1), format!("{}…", "x".repeat(MOST)));
        let policy = LogMessage { shown: Shown { headers: true, ..Shown::default() }, hook: "publish" };
        let many: Headers = (0..100).map(|number| (format!("x-{number}"), "y".repeat(9000))).collect();
        assert!(policy.headers(&many, |_| false).unwrap().len() <= MOST + '…'.len_utf8());
    }

    #[test]
    fn what_cannot_be_logged_is_refused() {
        let paths = |hook: Hook, settings: Json| refused(&ENTRY, hook, settings)[0].0.clone();
        for hook in [Hook::Connect, Hook::Subscribe, Hook::Unsubscribe, Hook::Publish, Hook::Deliver] {
            assert_eq!(paths(hook, json!({"response": {"headers": true}})), "response");
            assert_eq!(paths(hook, json!({})), "request");
        }
        assert_eq!(paths(Hook::Respond, json!({"request": {}})), "request");
        assert_eq!(paths(Hook::Respond, json!({"response": {"payload": true}})), "response.payload");
        assert_eq!(paths(Hook::Publish, json!({"request": {}, "fault": {"payload": true}})), "fault");
        let names = json!({"request": {"excludeHeaders": ["a", "b c"]}});
        assert_eq!(paths(Hook::Publish, names), "request.excludeHeaders[1]");
        assert_eq!(paths(Hook::Publish, json!({"request": {"body": true}})), "request.body");
    }
}
