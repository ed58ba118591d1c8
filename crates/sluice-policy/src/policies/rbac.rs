//! `rbac`: lets only those on who have one of some roles, as earlier policies have found out.

use std::sync::Arc;

use futures_util::future::{self, BoxFuture, FutureExt};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value as Json;
use sluice_api::{Problem, from_value};
use sluice_expression::EvalContext;
use sluice_message::Message;

use super::not_blank;
use crate::{
    Caller, Entry, Hook, Policy, Rejection, Verdict,
    catalogue::schema_of,
    identity::{forbidden, roles},
    site::{Site, all},
};

pub(crate) const ENTRY: Entry = Entry {
    id: "rbac",
    aliases: &[],
    versions: &["v1"],
    name: "Roles",
    description: "Lets only those on who have one of some roles.",
    documentation: "Roles are what `api-key-auth` and `basic-auth` have noted before, on the client or on the message. \
                    Whoever has none of those that are allowed is answered 403. Roles are compared as they are \
                    written.",
    example: r#"{"allowedRoles": ["writer", "admin"]}"#,
    hooks: &[Hook::Connect, Hook::Subscribe, Hook::Unsubscribe, Hook::Publish, Hook::Deliver],
    schema: schema_of::<Settings>,
    build,
};

/// Settings of `rbac`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Settings {
    /// The roles of which one is enough. Required.
    allowed_roles: Vec<String>,
}

#[derive(Debug)]
struct Rbac {
    allowed: Vec<String>,
}

fn build(configuration: Json, _: Hook, _: &Site<'_>) -> Result<Arc<dyn Policy>, Vec<Problem>> {
    let Settings { allowed_roles: allowed } = from_value(configuration).map_err(|problem| vec![problem])?;
    if allowed.is_empty() {
        let message = "A role is needed here, or nobody could ever be let on.";
        return Err(vec![Problem::new("allowedRoles", "document.field", message)]);
    }
    let named = allowed.iter().enumerate();
    all(named.map(|(index, role)| not_blank(&format!("allowedRoles[{index}]"), role)))?;
    Ok(Arc::new(Rbac { allowed }))
}

impl Rbac {
    fn judged(&self, context: &EvalContext<'_>, message: Option<&Message>) -> Result<(), Box<Rejection>> {
        if roles(context, message).any(|role| self.allowed.iter().any(|allowed| allowed == role)) {
            return Ok(());
        }
        Err(forbidden("policy.role.missing", "This needs a role that the client does not have."))
    }
}

impl Policy for Rbac {
    fn id(&self) -> &'static str {
        ENTRY.id
    }

    fn guards(&self) -> bool {
        true
    }

    fn meet<'a>(&'a self, caller: &'a mut Caller) -> BoxFuture<'a, Result<(), Rejection>> {
        let judged = self.judged(&caller.context(), None).map_err(|rejection| *rejection);
        future::ready(judged).boxed()
    }

    fn apply(&self, context: &EvalContext<'_>, message: Message) -> Verdict {
        match self.judged(context, Some(&message)) {
            Ok(()) => Verdict::Continue(message),
            Err(rejection) => Verdict::Reject(*rejection),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{
        ApiKey, Chains, Credentials, Outcome,
        tests::{caller, connected, message, refused, step, with_credentials},
    };

    fn chains(flows: &Json) -> Chains {
        let credentials = Arc::new(Credentials::default());
        let key = |text: &str, role: &str| ApiKey {
            name: text.to_owned(),
            hash: ApiKey::hash_of(text),
            expires_at_ms: None,
            issuer: None,
            roles: vec![role.to_owned()],
        };
        credentials.set_keys([key("a", "writer"), key("b", "reader")]);
        with_credentials(json!({ "flows": flows }), &credentials)
    }

    fn of_key() -> Json {
        step("api-key-auth", json!({}))
    }

    fn for_writers() -> Json {
        step("rbac", json!({"allowedRoles": ["admin", "writer"]}))
    }

    #[tokio::test]
    async fn who_has_a_role_by_its_key_is_let_on_in_a_later_flow() {
        let chains = chains(&json!([{"connect": [of_key()]}, {"connect": [for_writers()]}]));
        let status = async |key| {
            connected(&chains, caller(&chains, "sse", &[("api-key", key)]))
                .await
                .map_or_else(|no| no.status, |_| 0)
        };
        assert_eq!((status("a").await, status("b").await, status("c").await), (0, 403, 401));
    }

    #[tokio::test]
    async fn what_was_learnt_of_a_client_or_a_message_counts_for_its_messages() {
        for flow in [
            json!({"connect": [of_key()], "publish": [for_writers()]}),
            json!({"publish": [of_key(), for_writers()]}),
        ] {
            let chains = chains(&json!([flow]));
            let passes = async |key| {
                let caller =
                    connected(&chains, caller(&chains, "websocket", &[("api-key", key)])).await.unwrap();
                let outcome = chains.select(Hook::Publish, &caller).run(&caller.context(), message("x"));
                matches!(outcome, Outcome::Pass(_))
            };
            assert!(passes("a").await && !passes("b").await);
        }
    }

    #[tokio::test]
    async fn nobody_has_no_role() {
        let chains = chains(&json!([{"connect": [for_writers()]}]));
        let rejection = connected(&chains, caller(&chains, "sse", &[])).await.unwrap_err();
        assert_eq!((rejection.status, rejection.code), (403, "policy.role.missing"));
        assert!(rejection.response.unwrap().body.contains(r#""error":"Forbidden""#));
    }

    #[test]
    fn a_rule_that_lets_nobody_on_is_refused() {
        let paths = |settings: Json| refused(&ENTRY, Hook::Connect, settings)[0].0.clone();
        assert_eq!(paths(json!({"allowedRoles": []})), "allowedRoles");
        assert_eq!(paths(json!({"allowedRoles": ["a", ""]})), "allowedRoles[1]");
        assert_eq!(paths(json!({"roles": ["a"]})), "roles");
    }
}
