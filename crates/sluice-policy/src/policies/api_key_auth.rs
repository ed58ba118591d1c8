//! `api-key-auth`: asks a client for one of the API's keys.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use sluice_api::{Problem, from_value};
use sluice_expression::EvalContext;
use sluice_message::Message;

use super::header_name;
use crate::{
    Caller, Credentials, Entry, Hook, Policy, Rejection, Verdict,
    catalogue::schema_of,
    identity::{Brought, Identity, unauthorized},
    site::Site,
};

pub(crate) const ENTRY: Entry = Entry {
    id: "api-key-auth",
    aliases: &[],
    versions: &["v1"],
    name: "API key",
    description: "Asks a client for one of the keys of the API.",
    documentation: "The key is looked for in the client's request: at `publish` and `deliver` in the one by which the \
                    connection was made. Where there is none, because the client is called, it is looked for in the \
                    headers of the message. A key that is missing, unknown, revoked or expired is answered 401. The \
                    name of the key and its roles are noted as the attributes `auth.subject` and `auth.roles`, on the \
                    client, at `publish` and `deliver` on the message. The header with the key never goes on to a \
                    broker.",
    example: r#"{"key": "X-API-Key", "in": "header"}"#,
    hooks: &[Hook::Connect, Hook::Subscribe, Hook::Unsubscribe, Hook::Publish, Hook::Deliver],
    schema: schema_of::<Settings>,
    build,
};

/// The longest name of a header or query parameter, in characters.
const LONGEST_NAME: usize = 128;

/// Settings of `api-key-auth`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Settings {
    /// The name of the header or query parameter that the key stands in, at most 128 characters. Default `API-Key`.
    #[serde(default = "Settings::default_key")]
    key: String,
    /// Where the key stands. Default `header`.
    #[serde(default)]
    r#in: Place,
    /// What may stand before the key, as `Bearer `; it is taken off, in whatever case it is written. Default ``.
    #[serde(default)]
    value_prefix: String,
    /// The issuer whose keys are taken, beside those that name no issuer; any when empty. Default ``.
    #[serde(default)]
    issuer: String,
}

impl Settings {
    fn default_key() -> String {
        "API-Key".to_owned()
    }
}

/// Where a key stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Place {
    /// In a header; names are compared without case.
    #[default]
    Header,
    /// In a query parameter.
    Query,
}

#[derive(Debug)]
struct ApiKeyAuth {
    settings: Settings,
    credentials: Arc<Credentials>,
}

fn build(configuration: Json, _: Hook, site: &Site<'_>) -> Result<Arc<dyn Policy>, Vec<Problem>> {
    if configuration.get("name").is_some() {
        let message = "There is no setting 'name' here; the name of the header goes into 'key'.";
        return Err(vec![Problem::new("name", "document.field", message)]);
    }
    let settings: Settings = from_value(configuration).map_err(|problem| vec![problem])?;
    header_name("key", &settings.key).map_err(|problem| vec![problem])?;
    if settings.key.len() > LONGEST_NAME {
        let message = format!("It can have at most {LONGEST_NAME} characters.");
        return Err(vec![Problem::new("key", "document.field", message)]);
    }
    site.read_request();
    if settings.r#in == Place::Header {
        site.withhold(&settings.key);
    }
    Ok(Arc::new(ApiKeyAuth { settings, credentials: Arc::clone(site.credentials) }))
}

impl ApiKeyAuth {
    fn identified(&self, brought: Option<Brought<'_>>) -> Result<Option<Identity>, Box<Rejection>> {
        let Settings { key, r#in: place, value_prefix, issuer } = &self.settings;
        let (what, text) = match place {
            Place::Header => ("header", brought.and_then(|brought| brought.header(key))),
            Place::Query => ("query parameter", brought.and_then(|brought| brought.param(key))),
        };
        let text = text.map(|text| without_prefix(text, value_prefix)).filter(|text| !text.is_empty());
        let refuse = |text: String| unauthorized("policy.api-key.invalid", text);
        let text = text.ok_or_else(|| refuse(format!("An API key is needed, in the {what} '{key}'.")))?;
        let known = self
            .credentials
            .key(text)
            .filter(|known| issuer.is_empty() || known.issuer.as_ref().is_none_or(|by| by == issuer));
        let known = known.ok_or_else(|| refuse("The API key is not known, or no longer good.".to_owned()))?;
        Ok(Some(Identity::new(&known.name, &known.roles)))
    }
}

fn without_prefix<'t>(text: &'t str, prefix: &str) -> &'t str {
    match text.split_at_checked(prefix.len()) {
        Some((begin, rest)) if begin.eq_ignore_ascii_case(prefix) => rest.trim_start(),
        _ => text,
    }
}

impl Policy for ApiKeyAuth {
    fn id(&self) -> &'static str {
        ENTRY.id
    }

    fn guards(&self) -> bool {
        true
    }

    fn meet<'a>(&'a self, caller: &'a mut Caller) -> BoxFuture<'a, Result<(), Rejection>> {
        let identified = self.identified(Brought::with(caller.request.as_deref(), None));
        Identity::met(caller, identified)
    }

    fn apply(&self, context: &EvalContext<'_>, message: Message) -> Verdict {
        let identified = self.identified(Brought::with(context.request(), Some(&message)));
        Identity::seen(message, identified)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{
        ApiKey, Chains, Outcome,
        tests::{caller, connected, message, refused, request, step, with_credentials},
    };

    fn key(text: &str, expires_at_ms: Option<i64>, issuer: Option<&str>) -> ApiKey {
        ApiKey {
            name: format!("key-{text}"),
            hash: ApiKey::hash_of(text),
            expires_at_ms,
            issuer: issuer.map(str::to_owned),
            roles: vec!["writer".to_owned()],
        }
    }

    fn credentials() -> Arc<Credentials> {
        let credentials = Arc::new(Credentials::default());
        credentials.set_keys([
            key("good", None, None),
            key("over", Some(1), None),
            key("ours", None, Some("us")),
            key("theirs", None, Some("them")),
        ]);
        credentials
    }

    fn at(hook: &str, settings: Json, credentials: &Arc<Credentials>) -> Chains {
        let mut flow = json!({});
        flow[hook] = json!([step("api-key-auth", settings)]);
        with_credentials(json!({"flows": [flow]}), credentials)
    }

    /// The status that a client with these headers is turned away with; 0 where it is let on.
    async fn status(settings: Json, headers: &[(&'static str, &'static str)]) -> u16 {
        let chains = at("connect", settings, &credentials());
        connected(&chains, caller(&chains, "sse", headers)).await.map_or_else(|refused| refused.status, |_| 0)
    }

    #[tokio::test]
    async fn a_good_key_is_let_on_and_no_other() {
        assert_eq!(status(json!({}), &[("api-key", "good")]).await, 0);
        for headers in
            [&[][..], &[("api-key", "bad")], &[("api-key", "over")], &[("api-key", "")], &[("x", "good")]]
        {
            assert_eq!(status(json!({}), headers).await, 401, "{headers:?}");
        }
        assert_eq!(status(json!({"key": "X-Partner"}), &[("x-partner", "good")]).await, 0);
    }

    #[tokio::test]
    async fn a_prefix_is_taken_off_in_whatever_case() {
        let settings = json!({"key": "Authorization", "valuePrefix": "Bearer "});
        for value in ["Bearer good", "bearer  good", "good"] {
            assert_eq!(status(settings.clone(), &[("authorization", value)]).await, 0, "{value}");
        }
        for value in ["Bearer ", "Bearer", "Basic good", "é good"] {
            assert_eq!(status(settings.clone(), &[("authorization", value)]).await, 401, "{value}");
        }
    }

    #[tokio::test]
    async fn an_issuer_takes_its_own_keys_and_those_of_nobody() {
        let settings = json!({"issuer": "us"});
        for (key, wanted) in [("good", 0), ("ours", 0), ("theirs", 401)] {
            assert_eq!(status(settings.clone(), &[("api-key", key)]).await, wanted, "{key}");
        }
        assert_eq!(status(json!({}), &[("api-key", "theirs")]).await, 0);
    }

    #[tokio::test]
    async fn a_key_is_found_in_the_query() {
        let chains = at("connect", json!({"key": "k", "in": "query"}), &credentials());
        let with = |name: &str| {
            let params = vec![(name.to_owned(), "good".to_owned())];
            let request = crate::Request { params, ..request(&[("k", "good")]) };
            connected(&chains, Caller::new(&chains, "sse", "/").with_request(Arc::new(request)))
        };
        assert!(with("k").await.is_ok() && with("K").await.is_err());
    }

    #[tokio::test]
    async fn a_key_counts_from_when_it_is_set_until_it_is_revoked() {
        let credentials = Arc::new(Credentials::default());
        let chains = at("connect", json!({}), &credentials);
        let come = async || connected(&chains, caller(&chains, "sse", &[("api-key", "new")])).await.is_ok();
        assert!(!come().await);
        credentials.set_keys([key("new", None, None)]);
        assert!(come().await);
        credentials.set_keys([]);
        assert!(!come().await);
    }

    #[tokio::test]
    async fn at_messages_the_clients_request_counts_and_for_one_that_is_called_the_message() {
        for hook in [Hook::Publish, Hook::Deliver] {
            let chains = at(hook.as_str(), json!({}), &credentials());
            let run = |caller: &Caller, message| chains.select(hook, caller).run(&caller.context(), message);
            let with = |key| caller(&chains, "websocket", &[("API-KEY", key)]);
            let Outcome::Pass(passed) = run(&with("good"), message("x")) else { panic!("{hook:?}") };
            assert_eq!(passed.attributes().get("auth.subject"), Some(&json!("key-good")));
            let headers: sluice_message::Headers = [("api-key", "good")].into_iter().collect();
            let own = message("x").to_builder().headers(headers).build();
            assert!(matches!(run(&with("bad"), own.clone()), Outcome::Rejected(_)));
            let called = Caller::new(&chains, "websub", "/");
            let outcome = run(&called, own);
            assert_eq!(matches!(outcome, Outcome::Pass(_)), hook == Hook::Deliver, "{outcome:?}");
        }
    }

    #[tokio::test]
    async fn the_header_of_a_key_goes_on_to_no_broker() {
        let chains = at("connect", json!({"key": "X-Partner"}), &credentials());
        let caller =
            connected(&chains, caller(&chains, "http-post", &[("x-partner", "good")])).await.unwrap();
        let headers: sluice_message::Headers = [("x-PARTNER", "good"), ("a", "b")].into_iter().collect();
        let message = message("x").to_builder().headers(headers).build();
        let chain = chains.select(Hook::Publish, &caller);
        assert!(!chain.is_empty());
        let Outcome::Pass(message) = chain.run(&caller.context(), message) else { panic!() };
        assert_eq!(message.headers().iter().map(|header| &*header.name).collect::<Vec<_>>(), ["a"]);
        assert!(chains.select(Hook::Deliver, &caller).is_empty());
    }

    #[test]
    fn settings_that_cannot_work_are_refused() {
        let paths = |settings: Json| refused(&ENTRY, Hook::Connect, settings);
        let named = paths(json!({"name": "X-API-Key", "in": "header"}));
        assert_eq!(named[0].0, "name");
        assert!(named[0].1.contains("goes into 'key'"), "{named:?}");
        assert_eq!(paths(json!({"key": "a b"}))[0].0, "key");
        assert_eq!(paths(json!({"key": "a".repeat(129)}))[0].0, "key");
        assert_eq!(paths(json!({"in": "cookie"}))[0].0, "in");
        assert_eq!(paths(json!({"keys": "x"}))[0].0, "keys");
    }
}
