//! `policy-assign-attributes`: notes values on a client or on a message, for the policies and expressions that
//! come later. Attributes never leave the gateway.

use std::sync::Arc;

use futures_util::future::{self, BoxFuture, FutureExt};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value as Json;
use sluice_api::{Problem, from_value};
use sluice_expression::{EvalContext, Expression, Response};
use sluice_message::{Attributes, Message};

use super::{Named, not_blank};
use crate::{Caller, Entry, Hook, Policy, Rejection, Verdict, catalogue::schema_of, site::Site, steering};

pub(crate) const ENTRY: Entry = Entry {
    id: "policy-assign-attributes",
    aliases: &["assign-attributes"],
    versions: &[],
    name: "Assign attributes",
    description: "Notes values for the policies and expressions that come later.",
    documentation: "At `connect`, `subscribe` and `unsubscribe` the values are noted on the client, for `#context.attributes`, at `respond` for \
                    the policies that follow there; at `publish` and `deliver` on the message, for \
                    `#message.attributes`. A value keeps its kind: a \
                    number stays a number. Where an expression has no value, null is noted. All values are \
                    worked out before the first is noted.",
    example: r#"{"attributes": [{"name": "tenant", "value": "{#request.headers['X-Tenant'][0]}"}]}"#,
    hooks: &[Hook::Connect, Hook::Subscribe, Hook::Unsubscribe, Hook::Respond, Hook::Publish, Hook::Deliver],
    schema: schema_of::<Settings>,
    build,
};

/// Settings of `policy-assign-attributes`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Settings {
    /// The attributes to set. Required.
    attributes: Vec<Named>,
    /// Without meaning: the flow says where the policy runs. It is taken because older definitions have it.
    #[serde(default, rename = "scope")]
    _scope: Option<super::Scope>,
}

#[derive(Debug)]
struct AssignAttributes(Vec<(Box<str>, Expression)>);

fn build(configuration: Json, hook: Hook, site: &Site<'_>) -> Result<Arc<dyn Policy>, Vec<Problem>> {
    let settings: Settings = from_value(configuration).map_err(|problem| vec![problem])?;
    let attributes = Named::parse_all(settings.attributes, "attributes", site, not_blank)?;
    let problems: Vec<_> =
        (0..).zip(&attributes).filter_map(|(at, (name, _))| unheard(at, name, hook)).collect();
    if !problems.is_empty() {
        return Err(problems);
    }
    if attributes.iter().any(|(name, _)| steering::chooses_setting(name)) {
        site.choose_settings();
    }
    Ok(Arc::new(AssignAttributes(attributes)))
}

/// A problem where an attribute means to steer a broker and nothing would listen to it.
fn unheard(at: usize, name: &str, hook: Hook) -> Option<Problem> {
    let too_late = || {
        (hook != Hook::Connect && steering::chooses_setting(name)).then(|| {
            format!(
                "'{name}' is heard when a client comes, as its connection to the broker is settled then. Assign it at \
                 'connect'."
            )
        })
    };
    let shared = || {
        (matches!(hook, Hook::Publish | Hook::Deliver) && steering::chooses_group(name)).then(|| {
            format!("'{name}' is heard when a client comes: it is in a group, not its messages. Assign it at 'connect'.")
        })
    };
    let message = steering::unheard(name).or_else(too_late).or_else(shared)?;
    Some(Problem::new(format!("attributes[{at}].name"), "feature.unsupported", message))
}

impl AssignAttributes {
    fn assigned(&self, mut attributes: Attributes, context: &EvalContext<'_>) -> Attributes {
        for (name, value) in &self.0 {
            attributes.set(name.clone(), value.evaluate(context).map_or(Json::Null, |value| value.to_json()));
        }
        attributes
    }
}

impl Policy for AssignAttributes {
    fn id(&self) -> &'static str {
        ENTRY.id
    }

    fn meet<'a>(&'a self, caller: &'a mut Caller) -> BoxFuture<'a, Result<(), Rejection>> {
        caller.attributes = self.assigned(caller.attributes.clone(), &caller.context());
        future::ready(Ok(())).boxed()
    }

    fn respond(&self, caller: &mut Caller, answer: &mut Response) {
        let context = caller.context().with_response(Some(answer));
        caller.attributes = self.assigned(caller.attributes.clone(), &context);
    }

    fn apply(&self, context: &EvalContext<'_>, message: Message) -> Verdict {
        let attributes = self.assigned(message.attributes().clone(), &context.with_message(&message));
        Verdict::Continue(message.to_builder().attributes(attributes).build())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{Hook, unheard};

    use crate::tests::{caller, chains, connected, run, step};

    #[tokio::test]
    async fn a_client_is_noted_on_when_it_comes_and_its_messages_can_read_it() {
        let assign = json!({"attributes": [
            {"name": "gravitee.attribute.kafka.topics", "value": "{#request.headers['X-Topic'][0]}"},
            {"name": "number", "value": "{(1 + 1)}"},
            {"name": "missing", "value": "{#request.headers['X-None'][0]}"},
            {"name": "plan", "value": "mine"},
        ]});
        let filter = json!({"filter": "{#context.attributes['kafka.topics'] == #message.content}"});
        let chains = chains(json!([{
            "connect": [step("assign-attributes", assign)],
            "publish": [step("message-filtering", filter)],
        }]));
        let caller =
            connected(&chains, caller(&chains, "http-post", &[("x-topic", "orders")])).await.unwrap();
        let attributes = caller.attributes();
        assert_eq!(attributes.get("gravitee.attribute.kafka.topics"), Some(&json!("orders")));
        assert_eq!(attributes.get("number"), Some(&json!(2)));
        assert_eq!(attributes.get("missing"), Some(&json!(null)));
        assert_eq!(attributes.get("gravitee.attribute.api"), Some(&json!("kafka-and-sse")));
        assert!(run(&chains, &caller, "orders").is_some() && run(&chains, &caller, "others").is_none());
    }

    #[test]
    fn on_a_message_the_attributes_land_on_the_message() {
        let assign = json!({"scope": "REQUEST", "attributes": [
            {"name": "a", "value": "{#jsonPath(#message.content, '$.a')}"},
            {"name": "b", "value": "{#message.attributes['a']}"},
        ]});
        let chains = chains(json!([{"publish": [step("policy-assign-attributes", assign)]}]));
        let message = run(&chains, &caller(&chains, "http-post", &[]), r#"{"a":[1,"x"]}"#).unwrap();
        assert_eq!(message.attributes().get("a"), Some(&json!([1, "x"])));
        assert_eq!(message.attributes().get("b"), Some(&json!(null)));
    }

    #[test]
    fn a_connection_is_chosen_when_a_client_comes_and_not_later() {
        let name = "gravitee.attribute.kafka.security.sasl.username";
        assert!(unheard(0, name, Hook::Connect).is_none());
        for later in [Hook::Subscribe, Hook::Publish, Hook::Deliver] {
            assert!(unheard(0, name, later).unwrap().message.contains("'connect'"));
        }
    }

    #[test]
    fn a_group_is_chosen_when_a_client_comes_and_not_for_a_message() {
        let name = "gravitee.attribute.kafka.groupId";
        assert!(unheard(0, name, Hook::Connect).is_none() && unheard(0, name, Hook::Subscribe).is_none());
        for later in [Hook::Publish, Hook::Deliver] {
            assert!(unheard(0, name, later).unwrap().message.contains("'connect'"));
        }
    }

    #[test]
    fn an_attribute_that_means_to_steer_an_endpoint_is_heard_or_refused() {
        let unheard = |at, name| unheard(at, name, Hook::Connect);
        assert!(unheard(0, "gravitee.attributes.endpoint.kafka.consumer.topics").is_none());
        let problem = unheard(3, "gravitee.attribute.mock.groupId").unwrap();
        assert_eq!((&*problem.path, problem.code), ("attributes[3].name", "feature.unsupported"));
    }
}
