//! A template: plain text with expressions in braces, parsed once and evaluated for each message.

use std::{borrow::Cow, fmt};

use crate::{
    EvalContext, EvalError, ExpressionError, Value,
    bound::{Budget, MAX_EXPRESSION_BYTES},
    evaluate::Evaluation,
    lexer,
    parser::{Parser, Reads},
    tree::Node,
};

/// A parsed text with `{#…}`, `{(…)}` or `{T(…)…}` in it.
#[derive(Debug)]
pub struct Expression {
    source: Box<str>,
    parts: Vec<Part>,
    reads: Reads,
}

#[derive(Debug)]
enum Part {
    Text(Box<str>),
    Tree(Node),
}

/// A part of an evaluated text, for those who trust what the author wrote more than what came in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece<'a> {
    /// Plain text, as the author wrote it.
    Written(&'a str),
    /// What an expression came to, as text; `None` for null.
    Evaluated(Option<Cow<'a, str>>),
}

/// What begins an expression after a brace; spaces may stand between.
const OPENINGS: [&str; 3] = ["#", "(", "T("];

impl Expression {
    /// Parses a text of at most 8 KiB; braces that begin no expression are plain text.
    ///
    /// # Errors
    /// The first thing that is not understood or can never work, with its column.
    pub fn parse(source: &str) -> Result<Self, ExpressionError> {
        if source.len() > MAX_EXPRESSION_BYTES {
            let message = format!("An expression has at most {MAX_EXPRESSION_BYTES} bytes.");
            return Err(ExpressionError { column: 1, message });
        }
        let mut parts = Vec::new();
        let mut reads = Reads::default();
        let mut rest = 0;
        while let Some(open) = next_opening(source, rest) {
            if open > rest {
                parts.push(Part::Text(source[rest..open].into()));
            }
            let mut parser = Parser::new(source, open + 1, reads)?;
            let (tree, end) = parser.braced()?;
            reads = parser.reads;
            let alone = open == 0 && end == source.len();
            if !alone && !tree.kind().has_text() {
                let noun = tree.kind().noun();
                let message = format!("There is no text for {noun}; name something that it holds or makes.");
                return Err(lexer::refuse(source, open, message));
            }
            parts.push(Part::Tree(tree));
            rest = end;
        }
        if rest < source.len() || parts.is_empty() {
            parts.push(Part::Text(source[rest..].into()));
        }
        Ok(Self { source: source.into(), parts, reads })
    }

    /// The value: of the kind it has where the text is one expression and nothing else, otherwise text, in
    /// which null leaves no trace.
    ///
    /// # Errors
    /// Where there is no value for this context; see [`EvalError`].
    pub fn evaluate<'a>(&'a self, context: &EvalContext<'a>) -> Result<Value<'a>, EvalError> {
        let mut evaluation = Evaluation::new(*context);
        match &*self.parts {
            [Part::Tree(tree)] => evaluation.value(tree),
            [Part::Text(text)] => Ok(Value::Text(Cow::Borrowed(text))),
            parts => {
                let mut text = String::new();
                for part in parts {
                    match part {
                        Part::Text(plain) => text.push_str(plain),
                        Part::Tree(tree) => evaluation.append(&mut text, tree)?,
                    }
                }
                Ok(Value::Text(Cow::Owned(text)))
            }
        }
    }

    /// The value as text, as it stands in the middle of other text; `None` where it is null.
    ///
    /// # Errors
    /// Where there is no value for this context, or one that has no text.
    pub fn text<'a>(&'a self, context: &EvalContext<'a>) -> Result<Option<Cow<'a, str>>, EvalError> {
        match self.evaluate(context)? {
            Value::Null => Ok(None),
            Value::Text(text) => Ok(Some(text)),
            value => Budget::new().show(&value).map(Some),
        }
    }

    /// The value as text, in the parts of which it is made.
    ///
    /// # Errors
    /// Where there is no value for this context, or one that has no text.
    pub fn pieces<'a>(&'a self, context: &EvalContext<'a>) -> Result<Vec<Piece<'a>>, EvalError> {
        let mut evaluation = Evaluation::new(*context);
        let pieces = self.parts.iter().map(|part| match part {
            Part::Text(plain) => Ok(Piece::Written(plain)),
            Part::Tree(tree) => match evaluation.value(tree)? {
                Value::Null => Ok(Piece::Evaluated(None)),
                Value::Text(text) => Ok(Piece::Evaluated(Some(text))),
                value => Budget::new().show(&value).map(|text| Piece::Evaluated(Some(text))),
            },
        });
        pieces.collect()
    }

    /// The text with the same thing in place of everything that would be worked out.
    pub fn with(&self, value: &str) -> String {
        let parts = self.parts.iter().map(|part| match part {
            Part::Text(plain) => plain,
            Part::Tree(_) => value,
        });
        parts.collect()
    }

    /// Whether the condition that this expression is holds; see [`Value::truth`].
    ///
    /// # Errors
    /// Where there is no value for this context, or one that is neither true nor false.
    pub fn holds(&self, context: &EvalContext<'_>) -> Result<bool, EvalError> {
        self.evaluate(context)?.truth()
    }

    /// Whether it cannot be evaluated without a message.
    pub const fn reads_message(&self) -> bool {
        self.reads.message
    }

    /// Whether it reads the HTTP exchange, `#request` or `#response`, which has to be made for each
    /// connection.
    pub const fn reads_request(&self) -> bool {
        self.reads.exchange
    }

    /// Whether it reads the subscription, so that its value differs from client to client.
    pub const fn reads_subscription(&self) -> bool {
        self.reads.subscription
    }

    /// Whether it reads nothing of any client or message, so that it has a value before one comes.
    pub const fn is_known_beforehand(&self) -> bool {
        let Reads { message, subscription, exchange, client, .. } = &self.reads;
        !(*message || *subscription || *exchange || *client)
    }

    /// The names of the secrets that it reads. One that there is not is an error in every evaluation, so
    /// whoever deploys it looks for them first.
    pub fn secrets(&self) -> impl Iterator<Item = &str> {
        self.reads.secrets.iter().map(|name| &**name)
    }

    /// The names of the dictionaries that it reads, as far as they are known without a message.
    pub fn dictionaries(&self) -> impl Iterator<Item = &str> {
        self.reads.dictionaries.iter().map(|name| &**name)
    }

    /// Whether it is plain text, without any expression in it.
    pub fn is_plain(&self) -> bool {
        matches!(&*self.parts, [Part::Text(_)])
    }
}

/// As it was written.
impl fmt::Display for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.source)
    }
}

fn next_opening(source: &str, from: usize) -> Option<usize> {
    let mut braces = source[from..].match_indices('{').map(|(at, _)| from + at);
    braces.find(|at| {
        let inside = source[at + 1..].trim_start_matches(' ');
        OPENINGS.iter().any(|opening| inside.starts_with(opening))
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;
    use sluice_message::Attributes;

    use super::*;

    #[test]
    fn a_value_can_be_had_as_text_and_as_json() {
        let had = |source: &str| {
            let expression = Expression::parse(source).unwrap();
            let context = EvalContext::new();
            let text = expression.text(&context).map(|text| text.map(Cow::into_owned));
            (text, expression.evaluate(&context).unwrap().to_json())
        };
        assert_eq!(had("{#node.id}"), (Ok(None), json!(null)));
        assert_eq!(had("{(1.5)}"), (Ok(Some("1.5".to_owned())), json!(1.5)));
        assert_eq!(had("{({1, 'a', true})}"), (Ok(Some("1,a,true".to_owned())), json!([1, "a", true])));
        let (text, json) = had("{({a: 1, b: {2}})}");
        assert!(matches!(text, Err(EvalError::Unfit { .. })));
        assert_eq!(json, json!({"a": 1, "b": [2]}));
    }

    #[test]
    fn the_dictionaries_that_it_reads_are_known() {
        let expression =
            Expression::parse("{#dictionaries['a']['x'] + #dictionaries.b.y + #dictionaries[#node.id]}")
                .unwrap();
        assert_eq!(expression.dictionaries().collect::<Vec<_>>(), ["a", "b"]);
    }

    #[test]
    fn what_was_written_is_told_from_what_came_in() {
        let source = "a-{#context.attributes['x']}{(1)}/{#context.attributes['y']}";
        let mut attributes = Attributes::default();
        attributes.set("x", json!("b"));
        let expression = Expression::parse(source).unwrap();
        let context = EvalContext::new().with_attributes(&attributes);
        let evaluated = |text: &'static str| Piece::Evaluated(Some(Cow::Borrowed(text)));
        assert_eq!(
            expression.pieces(&context).unwrap(),
            [
                Piece::Written("a-"),
                evaluated("b"),
                evaluated("1"),
                Piece::Written("/"),
                Piece::Evaluated(None)
            ]
        );
    }

    #[test]
    fn what_has_a_value_before_a_client_comes_is_known() {
        for (source, known) in [
            ("plain", true),
            ("{#properties['x'] + #api.id + #secrets.get('a') + #dictionaries['d'].x + #node.id}", true),
            ("{#context.attributes['x']}", false),
            ("{#parameters['x']}", false),
            ("{#request.id}", false),
            ("{#subscription.id}", false),
            ("{#api.id}-{#message.id}", false),
        ] {
            assert_eq!(Expression::parse(source).unwrap().is_known_beforehand(), known, "{source}");
        }
    }

    #[test]
    fn parameters_are_what_an_error_says_about_itself() {
        let parameters = BTreeMap::from([("limit".to_owned(), "5".to_owned())]);
        let expression = Expression::parse("{#parameters['limit']}").unwrap();
        assert_eq!(expression.text(&EvalContext::new().with_parameters(&parameters)), Ok(Some("5".into())));
        assert_eq!(expression.text(&EvalContext::new()), Ok(None));
    }
}
