//! `policy-assign-content`: a message gets new content, made from a template.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value as Json;
use sluice_api::{Problem, from_value};
use sluice_expression::EvalContext;
use sluice_message::Message;

use crate::{
    Entry, Hook, Policy, Rejection, Verdict,
    catalogue::schema_of,
    freemarker::{self, Template},
    site::Site,
};

pub(crate) const ENTRY: Entry = Entry {
    id: "policy-assign-content",
    aliases: &[],
    versions: &[],
    name: "Assign content",
    description: "Gives each message new content, made from a template.",
    documentation: "The template is written in a part of FreeMarker: `${message.content}`, \
                    `${message.headers['x'][0]}`, `${message.metadata['key']}`, `${message.attributes['a']}`, \
                    `${context.attributes['a']}`, `${request.headers['X'][0]}`; the default `!\"text\"`; the built-ins \
                    `?json_string`, `?lower_case`, `?trim` and `?upper_case`; `<#if>`, `<#elseif>`, `<#else>` with \
                    `==`, `!=`, `??`, `&&`, `||`, `!`; comments `<#-- -->`; and `{#…}` expressions. Anything else of \
                    FreeMarker is refused when the API is deployed. A message for which a value is missing that has \
                    no default is refused. Content that is not UTF-8 shows as replacement characters.",
    example: r#"{"body": "{\"order\": \"${message.content?json_string}\", \"by\": \"${context.attributes['tenant']!'nobody'}\"}"}"#,
    hooks: &[Hook::Publish, Hook::Deliver],
    schema: schema_of::<Settings>,
    build,
};

/// Settings of `policy-assign-content`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Settings {
    /// The template of the new content, at most 64 KiB. Required.
    body: String,
}

#[derive(Debug)]
struct AssignContent(Template);

fn build(configuration: Json, _: Hook, site: &Site<'_>) -> Result<Arc<dyn Policy>, Vec<Problem>> {
    let settings: Settings = from_value(configuration).map_err(|problem| vec![problem])?;
    let template = freemarker::parse("body", &settings.body, site).map_err(|problem| vec![problem])?;
    Ok(Arc::new(AssignContent(template)))
}

impl Policy for AssignContent {
    fn id(&self) -> &'static str {
        ENTRY.id
    }

    fn apply(&self, context: &EvalContext<'_>, message: Message) -> Verdict {
        match self.0.render(&context.with_message(&message)) {
            Ok(content) => Verdict::Continue(message.to_builder().payload(content).build()),
            Err(error) => {
                let text = format!("The content of the message cannot be made: {error}");
                Verdict::Reject(Rejection::new(500, "policy.content.failed", "ASSIGN_CONTENT_ERROR", text))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::tests::{built, message, refused};

    #[test]
    fn a_message_gets_new_content_and_keeps_the_rest() {
        let body =
            r#"{"was": "${message.content?json_string}", "kind": "${message.headers['kind'][0]!"none"}"}"#;
        let policy = built(&ENTRY, Hook::Publish, json!({"body": body})).unwrap();
        let before = message("say \"hi\"").to_builder().key("k").build();
        let Verdict::Continue(after) = policy.apply(&EvalContext::new(), before) else { panic!() };
        assert_eq!(after.payload(), br#"{"was": "say \"hi\"", "kind": "none"}"#);
        assert_eq!(after.key().unwrap(), "k");
    }

    #[test]
    fn a_message_for_which_a_value_is_missing_is_refused() {
        let policy = built(&ENTRY, Hook::Deliver, json!({"body": "a ${message.metadata['none']}"})).unwrap();
        let Verdict::Reject(rejection) = policy.apply(&EvalContext::new(), message("x")) else { panic!() };
        assert_eq!((rejection.status, rejection.code), (500, "policy.content.failed"));
        assert!(
            rejection.message.contains("'message.metadata['none']' has no value"),
            "{}",
            rejection.message
        );
    }

    #[test]
    fn a_template_that_is_not_understood_is_refused_with_its_place() {
        let found = refused(&ENTRY, Hook::Publish, json!({"body": "a\nb ${message.colour}"}));
        assert_eq!(found[0].0, "body");
        assert!(
            found[0].1.starts_with("Line 2, column 5: #message has no property 'colour'."),
            "{}",
            found[0].1
        );
    }
}
