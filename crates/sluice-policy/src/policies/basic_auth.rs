//! `basic-auth`: asks a client for a user name and a password (RFC 7617).

use std::sync::Arc;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use futures_util::future::BoxFuture;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value as Json;
use sluice_api::{Problem, Secret, from_value};
use sluice_expression::{EvalContext, Expression};
use sluice_message::Message;

use super::{not_blank, not_longer};
use crate::{
    Caller, Entry, Hook, Policy, Rejection, Verdict,
    catalogue::schema_of,
    identity::{Brought, Identity, unauthorized},
    secrecy::same,
    site::{Site, all},
};

pub(crate) const ENTRY: Entry = Entry {
    id: "basic-auth",
    aliases: &[],
    versions: &["v1"],
    name: "Basic authentication",
    description: "Asks a client for a user name and a password.",
    documentation: "They are looked for in the `Authorization` header of the client's request: at `publish` and \
                    `deliver` in the one by which the connection was made, for a client that is called in that of the \
                    message. Whoever does not know them is answered 401 with `WWW-Authenticate`, or with \
                    `allowUnauthenticated` let on as nobody in particular. The user name and the roles are noted as \
                    the attributes `auth.subject` and `auth.roles`, on the client, at `publish` and `deliver` on the \
                    message.",
    example: r#"{"username": "sender", "password": "{#secrets.get('webhook')}", "roles": ["writer"]}"#,
    hooks: &[Hook::Connect, Hook::Subscribe, Hook::Unsubscribe, Hook::Publish, Hook::Deliver],
    schema: schema_of::<Settings>,
    build,
};

/// The longest name, password and realm, in bytes.
const LONGEST: usize = 256;

/// Settings of `basic-auth`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Settings {
    /// The name of the user, at most 256 bytes and without a colon. Required.
    username: String,
    /// The password, at most 256 bytes; it may have expressions in it, as `{#secrets.get('sender')}`. Required.
    password: Secret,
    /// Whether those are let on, too, who do not prove to be this user. Default false.
    #[serde(default)]
    allow_unauthenticated: bool,
    /// What a browser shows where it asks for name and password, at most 256 bytes. Default `Restricted`.
    #[serde(default = "Settings::default_realm")]
    realm: String,
    /// What this user is, for policies that ask for a role.
    #[serde(default)]
    roles: Vec<String>,
}

impl Settings {
    fn default_realm() -> String {
        "Restricted".to_owned()
    }
}

struct BasicAuth {
    username: String,
    password: Expression,
    allow_unauthenticated: bool,
    challenge: String,
    identity: Identity,
}

/// Without the password.
impl std::fmt::Debug for BasicAuth {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BasicAuth").field("username", &self.username).finish_non_exhaustive()
    }
}

fn build(configuration: Json, _: Hook, site: &Site<'_>) -> Result<Arc<dyn Policy>, Vec<Problem>> {
    let Settings { username, password, allow_unauthenticated, realm, roles } =
        from_value(configuration).map_err(|problem| vec![problem])?;
    let mut problems = Vec::new();
    for (path, text) in [("username", &*username), ("password", password.expose()), ("realm", &*realm)] {
        problems.extend(not_blank(path, text).and_then(|()| not_longer(path, text, LONGEST)).err());
    }
    if username.contains(':') {
        let message = "A user name with a colon could never be told from its password.";
        problems.push(Problem::new("username", "document.field", message));
    }
    if realm.chars().any(char::is_control) || !realm.is_ascii() {
        let message = "A realm goes into a header: ASCII without control characters.";
        problems.push(Problem::new("realm", "document.field", message));
    }
    let named = roles.iter().enumerate().map(|(index, role)| not_blank(&format!("roles[{index}]"), role));
    problems.extend(all(named).err().unwrap_or_default());
    match site.text("password", password.expose()) {
        Ok(password) if problems.is_empty() => {
            site.read_request();
            let realm = realm.replace('\\', r"\\").replace('"', r#"\""#);
            let challenge = format!(r#"Basic realm="{realm}""#);
            let identity = Identity::new(&username, &roles);
            Ok(Arc::new(BasicAuth { username, password, allow_unauthenticated, challenge, identity }))
        }
        password => {
            problems.extend(password.err());
            Err(problems)
        }
    }
}

impl BasicAuth {
    fn identified(
        &self,
        context: &EvalContext<'_>,
        message: Option<&Message>,
    ) -> Result<Option<Identity>, Box<Rejection>> {
        let brought = Brought::with(context.request(), message);
        if brought.is_some_and(|brought| self.knows(&brought, context)) {
            return Ok(Some(self.identity.clone()));
        }
        if self.allow_unauthenticated {
            return Ok(None);
        }
        let mut rejection =
            unauthorized("policy.basic.invalid", "A valid user name and password are needed.");
        rejection.headers.set("WWW-Authenticate", self.challenge.clone());
        Err(rejection)
    }

    fn knows(&self, brought: &Brought<'_>, context: &EvalContext<'_>) -> bool {
        let Some(written) = brought.header("authorization").and_then(decoded) else { return false };
        let Some(colon) = written.iter().position(|byte| *byte == b':') else { return false };
        let Some(password) = self.password.text(context).ok().flatten().filter(|text| !text.is_empty())
        else {
            return false;
        };
        // Both are compared in any case, so that the time tells nothing about the name either.
        let named = same(&written[..colon], self.username.as_bytes());
        same(&written[colon + 1..], password.as_bytes()) & named
    }
}

/// `user:password` of an `Authorization` header; `None` where it has none.
fn decoded(header: &str) -> Option<Vec<u8>> {
    let (scheme, credentials) = header.split_once(' ')?;
    let is_basic = scheme.eq_ignore_ascii_case("basic");
    is_basic.then(|| STANDARD.decode(credentials.trim()).ok()).flatten()
}

impl Policy for BasicAuth {
    fn id(&self) -> &'static str {
        ENTRY.id
    }

    fn guards(&self) -> bool {
        true
    }

    fn meet<'a>(&'a self, caller: &'a mut Caller) -> BoxFuture<'a, Result<(), Rejection>> {
        let identified = self.identified(&caller.context(), None);
        Identity::met(caller, identified)
    }

    fn apply(&self, context: &EvalContext<'_>, message: Message) -> Verdict {
        let identified = self.identified(context, Some(&message));
        Identity::seen(message, identified)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::tests::{built, caller, chains, connected, refused, request, step};

    fn header(user: &str, password: &str) -> String {
        format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))
    }

    /// What becomes of a request with this `Authorization` header.
    fn identified(settings: Json, written: Option<&str>) -> Result<Option<Identity>, Box<Rejection>> {
        let chains = chains(json!([{"connect": [step("basic-auth", settings.clone())]}]));
        let mut request = request(&[]);
        if let Some(written) = written {
            request.headers.append("authorization", written.to_owned());
        }
        let mut caller = Caller::new(&chains, "sse", "").with_request(Arc::new(request));
        let policy = built(&ENTRY, Hook::Connect, settings).unwrap();
        policy.meet(&mut caller).now_or_never().unwrap()?;
        let context = caller.context();
        let subject = crate::identity::subject(&context, None);
        Ok(subject.map(|subject| Identity::new(subject, &[])))
    }

    fn user() -> Json {
        json!({"username": "ann", "password": "it's: {#secrets.get('pin')}"})
    }

    #[test]
    fn who_knows_name_and_password_is_let_on() {
        let right = header("ann", "it's: 1234");
        assert!(identified(user(), Some(&right)).unwrap().is_some());
        assert!(identified(user(), Some(&right.replace("Basic", "bAsIc"))).is_ok());
        let wrong = [
            header("ann", "it's: 12345"),
            header("Ann", "it's: 1234"),
            header("", ""),
            "Basic ".to_owned(),
            "Basic !".to_owned(),
            "Bearer x".to_owned(),
            format!("Basic {}", STANDARD.encode("ann")),
        ];
        for wrong in wrong.iter().map(|wrong| Some(&**wrong)).chain([None]) {
            let rejection = identified(user(), wrong).unwrap_err();
            assert_eq!(rejection.status, 401, "{wrong:?}");
            assert_eq!(rejection.headers.get("www-authenticate").unwrap(), r#"Basic realm="Restricted""#);
        }
    }

    #[test]
    fn where_it_is_allowed_others_are_let_on_as_nobody() {
        let mut settings = user();
        settings["allowUnauthenticated"] = json!(true);
        assert!(identified(settings.clone(), None).unwrap().is_none());
        assert!(identified(settings.clone(), Some("Basic !")).unwrap().is_none());
        assert!(identified(settings, Some(&header("ann", "it's: 1234"))).unwrap().is_some());
    }

    #[tokio::test]
    async fn a_client_is_told_how_to_ask_and_why_in_the_words_of_the_contract() {
        let mut settings = user();
        settings["realm"] = json!(r#"My "own" \ realm"#);
        let chains = chains(json!([{"connect": [
            step("set-headers", json!({"response": {"headers": [{"name": "X-A", "value": "b"}]}})),
            step("basic-auth", settings),
        ]}]));
        let rejection = connected(&chains, caller(&chains, "sse", &[])).await.unwrap_err();
        let challenge = rejection.headers.get("WWW-Authenticate").unwrap();
        assert_eq!(challenge, r#"Basic realm="My \"own\" \\ realm""#);
        assert_eq!(rejection.headers.get("x-a").unwrap(), "b");
        let answer = rejection.response.unwrap();
        let body: Json = serde_json::from_str(&answer.body).unwrap();
        assert_eq!((answer.status, &*answer.content_type), (401, "application/json"));
        assert_eq!((&body["error"], &body["message"]), (&json!("Unauthorized"), &json!(rejection.message)));
    }

    #[test]
    fn the_password_shows_nowhere() {
        let policy = built(&ENTRY, Hook::Connect, json!({"username": "ann", "password": "hunter2"})).unwrap();
        assert!(!format!("{policy:?}").contains("hunter2"));
    }

    #[test]
    fn settings_that_cannot_work_are_refused() {
        let paths = |settings: Json| {
            let found = refused(&ENTRY, Hook::Connect, settings);
            found.into_iter().map(|(path, _)| path).collect::<Vec<_>>()
        };
        let settings = json!({"username": "a:b", "password": "", "realm": "a\nb", "roles": ["x", " "]});
        assert_eq!(paths(settings), ["password", "username", "realm", "roles[1]"]);
        assert_eq!(paths(json!({"username": "x".repeat(257), "password": "x"})), ["username"]);
        assert_eq!(paths(json!({"username": "x"})), [""]);
        assert_eq!(paths(json!({"username": "x", "password": "{#secrets.get('pan')}"})), ["password"]);
    }

    proptest! {
        #[test]
        fn whatever_stands_in_the_header_is_no_password(written in ".*") {
            prop_assert!(identified(user(), Some(&written)).is_err());
        }

        #[test]
        fn every_user_is_known_by_its_own_password(name in "[^:\\p{C}]{1,20}", password in "[^{]{1,20}") {
            prop_assume!(!name.trim().is_empty() && !password.trim().is_empty());
            let settings = json!({"username": name, "password": password});
            prop_assert!(identified(settings, Some(&header(&name, &password))).is_ok());
        }
    }
}
