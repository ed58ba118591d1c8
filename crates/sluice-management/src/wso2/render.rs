//! Templates in resources: `{{ secret "name" }}`, `{{ env "NAME" }}`, `{{ default "text" (env "NAME") }}`. They stand in
//! texts, are read when a resource is written, and are kept unread.
//!
//! Whoever writes a resource is no operator. So only those variables can be read that the operator has set apart, and a
//! secret goes only where the model keeps secrets: anywhere else it would be shown, or sent to somebody.

use serde_json::Value;
use sluice_api::{Problem, SECRET_NAMES};

use crate::ManagementOptions;

/// The most text that the templates of one resource may become, in bytes.
const MAX_RENDERED_BYTES: usize = 4 << 20;

/// How deep parentheses may nest.
const MAX_DEPTH: usize = 16;

const OPEN: &str = "{{";
const CLOSE: &str = "}}";

/// Replaces every template in the texts of a resource. Names of fields are left as they are.
pub(super) fn render(resource: &mut Value, options: &ManagementOptions) -> Vec<Problem> {
    let mut rendering = Rendering { options, rendered: 0, problems: Vec::new() };
    rendering.value(resource, "", "");
    rendering.problems
}

/// Whether a text is one reference and nothing else, so that it may be shown where a secret stands.
pub(super) fn is_reference(text: &str) -> bool {
    let inner = text.trim().strip_prefix(OPEN).and_then(|text| text.strip_suffix(CLOSE));
    let words = inner.and_then(|inner| tokens(inner).ok());
    matches!(words.as_deref(), Some([Token::Word("secret" | "env"), Token::Text(_)]))
}

struct Rendering<'o> {
    options: &'o ManagementOptions,
    rendered: usize,
    problems: Vec<Problem>,
}

/// What an expression comes to.
#[derive(Clone)]
struct Term {
    /// Nothing where what was asked for is not there.
    text: Option<String>,
    /// Whether a secret is in it.
    secret: bool,
    /// What was asked for, for people.
    asked: String,
}

impl Rendering<'_> {
    /// `name` is the field that a value stands in.
    fn value(&mut self, value: &mut Value, path: &str, name: &str) {
        match value {
            Value::Object(fields) => {
                for (name, field) in fields {
                    let dot = if path.is_empty() { "" } else { "." };
                    self.value(field, &format!("{path}{dot}{name}"), name);
                }
            }
            Value::Array(items) => {
                for (index, item) in items.iter_mut().enumerate() {
                    self.value(item, &format!("{path}[{index}]"), name);
                }
            }
            Value::String(text) if text.contains(OPEN) => match self.text(text, may_be_secret(path, name)) {
                Ok(rendered) => *text = rendered,
                Err(message) => {
                    self.problems.push(Problem::new(path, "resource.template.invalid", message));
                }
            },
            _ => {}
        }
    }

    fn text(&mut self, text: &str, secret_allowed: bool) -> Result<String, String> {
        let mut rendered = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once(OPEN) {
            let (inner, after) =
                end_of_template(after).ok_or("A template begins with '{{' and has no '}}'.")?;
            rendered.push_str(before);
            let term = Parser { tokens: tokens(inner)?, at: 0, options: self.options }.all()?;
            let text = term.text.ok_or_else(|| format!("{}; write a default, or set it.", term.asked))?;
            if term.secret && !secret_allowed {
                let names = SECRET_NAMES.join("' or '");
                return Err(format!(
                    "A secret may stand only where it is kept as one: in a parameter '{names}' of a policy, or in \
                     'sasl_password' of a broker."
                ));
            }
            rendered.push_str(&text);
            self.rendered = self.rendered.saturating_add(text.len());
            if self.rendered > MAX_RENDERED_BYTES {
                return Err(format!("The templates become more than {MAX_RENDERED_BYTES} bytes of text."));
            }
            rest = after;
        }
        rendered.push_str(rest);
        Ok(rendered)
    }
}

/// Whether the model keeps what stands here as a secret.
fn may_be_secret(path: &str, name: &str) -> bool {
    let in_params = path.starts_with("spec.") && path.contains(".params.") && SECRET_NAMES.contains(&name);
    // Of a list under such a name only the name would be hidden.
    (in_params && !path.ends_with(']')) || path == "spec.broker.properties.sasl_password"
}

/// The inside of a template, and what follows it. A `}}` in quotes ends nothing.
fn end_of_template(text: &str) -> Option<(&str, &str)> {
    let (mut quoted, mut escaped) = (false, false);
    for (at, character) in text.char_indices() {
        match character {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            '}' if !quoted && text[at..].starts_with(CLOSE) => {
                return Some((&text[..at], &text[at + CLOSE.len()..]));
            }
            _ => {}
        }
    }
    None
}

#[derive(Debug, Clone, PartialEq)]
enum Token<'t> {
    Word(&'t str),
    Text(String),
    Open,
    Close,
    Pipe,
}

fn tokens(text: &str) -> Result<Vec<Token<'_>>, String> {
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let (token, length) = match first {
            '(' => (Token::Open, 1),
            ')' => (Token::Close, 1),
            '|' => (Token::Pipe, 1),
            '"' => quoted(rest)?,
            _ => {
                let end =
                    rest.find(|it: char| !it.is_ascii_alphanumeric() && it != '_').unwrap_or(rest.len());
                if end == 0 {
                    return Err(format!("'{first}' can not stand in a template."));
                }
                (Token::Word(&rest[..end]), end)
            }
        };
        tokens.push(token);
        rest = rest[length..].trim_start();
    }
    Ok(tokens)
}

/// A text in double quotes, and how long it is with them.
fn quoted(text: &str) -> Result<(Token<'_>, usize), String> {
    let mut value = String::new();
    let mut characters = text.char_indices().skip(1);
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Ok((Token::Text(value), at + 1)),
            '\\' => value.extend(characters.next().map(|(_, escaped)| escaped)),
            other => value.push(other),
        }
    }
    Err("A text in a template has no closing quote.".to_owned())
}

struct Parser<'t, 'o> {
    tokens: Vec<Token<'t>>,
    at: usize,
    options: &'o ManagementOptions,
}

impl<'t> Parser<'t, '_> {
    fn all(mut self) -> Result<Term, String> {
        let term = self.pipeline(0)?;
        match self.tokens.get(self.at) {
            None => Ok(term),
            Some(_) => Err("There is more in this template than one expression.".to_owned()),
        }
    }

    fn next(&mut self) -> Option<Token<'t>> {
        let token = self.tokens.get(self.at).cloned();
        self.at += 1;
        token
    }

    /// Calls, each with what the one before it comes to as its last argument.
    fn pipeline(&mut self, depth: usize) -> Result<Term, String> {
        if depth > MAX_DEPTH {
            return Err(format!("Parentheses nest deeper than {MAX_DEPTH}."));
        }
        let mut term = self.call(None, depth)?;
        while self.tokens.get(self.at) == Some(&Token::Pipe) {
            self.at += 1;
            term = self.call(Some(term), depth)?;
        }
        Ok(term)
    }

    fn call(&mut self, piped: Option<Term>, depth: usize) -> Result<Term, String> {
        let function = match self.next() {
            Some(Token::Word(function)) => function,
            Some(Token::Text(text)) if piped.is_none() => return Ok(literal(text)),
            Some(Token::Open) if piped.is_none() => return self.group(depth),
            _ => return Err(USAGE.to_owned()),
        };
        let mut arguments = Vec::new();
        loop {
            match self.tokens.get(self.at) {
                Some(Token::Text(text)) => {
                    arguments.push(literal(text.clone()));
                    self.at += 1;
                }
                Some(Token::Open) => {
                    self.at += 1;
                    arguments.push(self.group(depth)?);
                }
                _ => break,
            }
        }
        arguments.extend(piped);
        self.apply(function, &arguments)
    }

    fn group(&mut self, depth: usize) -> Result<Term, String> {
        let term = self.pipeline(depth + 1)?;
        match self.next() {
            Some(Token::Close) => Ok(term),
            _ => Err("A parenthesis is not closed.".to_owned()),
        }
    }

    fn apply(&self, function: &str, arguments: &[Term]) -> Result<Term, String> {
        match (function, arguments) {
            ("secret", [Term { text: Some(name), secret: false, .. }]) => {
                // Secrets are named by their paths; the contract writes those at the top without the slash.
                let secrets = &self.options.environment.secrets;
                let text = secrets.get(name).or_else(|| secrets.get(&format!("/{name}"))).cloned();
                Ok(Term { text, secret: true, asked: format!("There is no secret '{name}'") })
            }
            ("env", [Term { text: Some(name), secret: false, .. }]) => {
                let text = self.options.template_variables.get(name).cloned();
                let asked = format!("There is no variable SLUICE_TEMPLATE_{name} for templates");
                Ok(Term { text, secret: false, asked })
            }
            ("default", [fallback, value]) => {
                let given = value.text.as_ref().is_some_and(|text| !text.is_empty());
                Ok(if given { value.clone() } else { fallback.clone() })
            }
            _ => Err(USAGE.to_owned()),
        }
    }
}

const USAGE: &str = "Templates are {{ secret \"name\" }}, {{ env \"NAME\" }} and {{ default \"text\" (env \"NAME\") }}, also \
                     as {{ env \"NAME\" | default \"text\" }}.";

fn literal(text: String) -> Term {
    Term { text: Some(text), secret: false, asked: String::new() }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;
    use sluice_policy::Environment;

    use super::*;

    fn rendered(mut resource: Value) -> (Value, Vec<Problem>) {
        let environment = Environment {
            secrets: [("/hook".to_owned(), "s3cret".to_owned())].into(),
            ..Environment::default()
        };
        let options = ManagementOptions {
            environment: Arc::new(environment),
            template_variables: [("HOST".to_owned(), "a.example".to_owned())].into(),
            ..ManagementOptions::default()
        };
        let problems = render(&mut resource, &options);
        (resource, problems)
    }

    #[test]
    fn variables_and_defaults_are_put_in() {
        for (template, text) in [
            (r#"{{ env "HOST" }}"#, "a.example"),
            (r#"x-{{env "HOST"}}-y"#, "x-a.example-y"),
            (r#"{{ default "b" (env "HOST") }}"#, "a.example"),
            (r#"{{ env "NONE" | default "b" }}"#, "b"),
            (r#"{{ default "b" (env "NONE") }}"#, "b"),
            (r#"{{ "{{" }} {{ "a}}b\"" }}"#, "{{ a}}b\""),
            (r#"{{ default (env "HOST") (env "NONE") }}"#, "a.example"),
        ] {
            assert_eq!(
                rendered(json!({ "spec": template })),
                (json!({ "spec": text }), vec![]),
                "{template}"
            );
        }
    }

    #[test]
    fn a_secret_stands_only_where_it_is_kept_as_one() {
        let template = r#"{{ secret "hook" }}"#;
        let allowed = json!({ "spec": { "allChannels": { "on_produce": { "policies": [
            { "params": { "secret": template } }
        ] } }, "broker": { "properties": { "sasl_password": r#"{{ secret "/hook" }}"# } } } });
        let (resource, problems) = rendered(allowed);
        assert_eq!(problems, []);
        assert_eq!(resource["spec"]["broker"]["properties"]["sasl_password"], "s3cret");
        let policies = &resource["spec"]["allChannels"]["on_produce"]["policies"];
        assert_eq!(policies[0]["params"]["secret"], "s3cret");
        for (pointer, path) in [
            (json!({ "metadata": { "name": template } }), "metadata.name"),
            (json!({ "spec": { "x": { "params": { "key": template } } } }), "spec.x.params.key"),
            (json!({ "spec": { "x": { "params": { "secret": [template] } } } }), "spec.x.params.secret[0]"),
            (json!({ "spec": { "password": template } }), "spec.password"),
        ] {
            let (_, problems) = rendered(pointer);
            assert_eq!(problems[0].path, path);
            assert!(!problems[0].message.contains("s3cret"));
        }
        let (_, problems) = rendered(json!({ "spec": r#"{{ default "x" (secret "hook") }}"# }));
        assert_eq!(problems.len(), 1);
    }

    #[test]
    fn what_is_no_template_or_asks_for_what_is_not_there_is_told() {
        for template in [
            "{{",
            "{{ }}",
            "{{ x }}",
            r#"{{ env "PATH" }}"#,
            r#"{{ env "HOST" "HOST" }}"#,
            r#"{{ env "HOST" | env "HOST" }}"#,
            r#"{{ secret "none" }}"#,
            r#"{{ env (secret "hook") }}"#,
            r#"{{ env "HOST }}"#,
            r#"{{ (env "HOST" }}"#,
            r#"{{ .Env.HOST }}"#,
            &format!("{{{{ {}\"x\"{} }}}}", "(".repeat(17), ")".repeat(17)),
        ] {
            let (_, problems) = rendered(json!({ "a": template }));
            assert_eq!(problems.len(), 1, "{template}");
            assert_eq!((&*problems[0].path, problems[0].code), ("a", "resource.template.invalid"));
        }
        let deep = format!("{{{{ {}\"x\"{} }}}}", "(".repeat(16), ")".repeat(16));
        assert_eq!(rendered(json!({ "a": deep })).1, []);
    }

    #[test]
    fn what_templates_become_is_bounded() {
        let text = r#"{{ env "HOST" }}"#.repeat(MAX_RENDERED_BYTES / 9 + 1);
        let (_, problems) = rendered(json!({ "a": text }));
        assert!(problems[0].message.contains("bytes"), "{}", problems[0].message);
        let text = r#"{{ env "HOST" }}"#.repeat(MAX_RENDERED_BYTES / 9);
        assert_eq!(rendered(json!({ "a": text })).1, []);
    }

    #[test]
    fn only_a_reference_is_shown_in_place_of_a_secret() {
        assert!(is_reference(r#"{{ secret "a" }}"#) && is_reference(r#" {{env "A"}} "#));
        for text in ["plain", r#"x{{ secret "a" }}"#, r#"{{ default "x" (env "A") }}"#, r#"{{ "x" }}"#] {
            assert!(!is_reference(text), "{text}");
        }
    }
}
