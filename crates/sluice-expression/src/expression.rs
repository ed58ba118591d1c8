//! A template: plain text with expressions in braces, parsed once and evaluated for each message.

use std::{borrow::Cow, fmt};

use crate::{
    EvalContext, EvalError, ExpressionError, Value,
    bound::MAX_EXPRESSION_BYTES,
    evaluate::Evaluation,
    lexer,
    parser::Parser,
    tree::{Kind, Node},
};

/// A parsed text with `{#…}` or `{(…)}` in it.
#[derive(Debug)]
pub struct Expression {
    source: Box<str>,
    parts: Vec<Part>,
    reads_message: bool,
}

#[derive(Debug)]
enum Part {
    Text(Box<str>),
    Tree(Node),
}

/// What begins an expression inside a text. The last one is refused by the parser, so that nobody takes
/// it for plain text.
const OPENINGS: [&str; 3] = ["{#", "{(", "{T("];

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
        let mut reads_message = false;
        let mut rest = 0;
        while let Some(open) = next_opening(source, rest) {
            if open > rest {
                parts.push(Part::Text(source[rest..open].into()));
            }
            let mut parser = Parser::new(source, open + 1)?;
            let (tree, end) = parser.braced()?;
            let alone = open == 0 && end == source.len();
            if !alone && tree.kind() == Kind::Map {
                return Err(lexer::refuse(source, open, "A map has no text; name one of its entries."));
            }
            parts.push(Part::Tree(tree));
            reads_message |= parser.reads_message;
            rest = end;
        }
        if rest < source.len() || parts.is_empty() {
            parts.push(Part::Text(source[rest..].into()));
        }
        Ok(Self { source: source.into(), parts, reads_message })
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
                        Part::Tree(tree) => {
                            let value = evaluation.value(tree)?;
                            evaluation.append(&mut text, &value)?;
                        }
                    }
                }
                Ok(Value::Text(Cow::Owned(text)))
            }
        }
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
        self.reads_message
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
    braces.find(|at| OPENINGS.iter().any(|opening| source[*at..].starts_with(opening)))
}
