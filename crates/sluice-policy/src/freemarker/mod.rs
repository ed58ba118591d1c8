//! Templates in the part of FreeMarker that event APIs use: `${…}` with defaults and four built-ins, `<#if>`, comments;
//! and beside it the `{#…}` of expressions. What is not known is refused when a template is parsed, with line and column,
//! and never printed as it stands.
//!
//! Names mean what they mean in expressions: `${message.headers['x'][0]}` is the value of
//! `{#message.headers['x'][0]}`, and missing where that is null or has no value.

mod expr;
mod parse;
#[cfg(test)]
mod tests;

use sluice_api::Limits;
use sluice_expression::{EvalContext, Expression};

use expr::Expr;
pub(crate) use parse::parse;

/// The longest template, in bytes.
pub(crate) const MAX_TEMPLATE_BYTES: usize = 64 << 10;
/// The longest text that a template makes, in bytes: no message is larger than the largest body taken.
const MAX_MADE_BYTES: usize = Limits::MAX_BODY_BYTES;

/// A parsed template.
#[derive(Debug)]
pub(crate) struct Template(Vec<Part>);

#[derive(Debug)]
enum Part {
    Text(Box<str>),
    /// `{#…}`
    Expression(Expression),
    /// `${…}`
    Value(Expr),
    /// `<#if …>` and each `<#elseif …>` with what they lead to, then what `<#else>` does.
    If(Vec<(Expr, Vec<Part>)>, Vec<Part>),
}

/// Why a template made no text of a message.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum RenderError {
    /// A value is missing, and there is no default for it; how it is written.
    Missing(String),
    /// A condition is neither true nor false; how it is written.
    NotBoolean(String),
    /// The text would be longer than 64 MiB.
    TooLong,
}

impl std::fmt::Display for RenderError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Missing(what) => write!(f, "'{what}' has no value for this message and no default."),
            Self::NotBoolean(what) => write!(f, "'{what}' is neither true nor false for this message."),
            Self::TooLong => write!(f, "The content would be longer than {MAX_MADE_BYTES} bytes."),
        }
    }
}

impl Template {
    /// The text that it makes.
    pub(crate) fn render(&self, context: &EvalContext<'_>) -> Result<String, RenderError> {
        let mut made = Made(String::new());
        made.parts(&self.0, context)?;
        Ok(made.0)
    }
}

/// Text in the making.
struct Made(String);

impl Made {
    fn parts(&mut self, parts: &[Part], context: &EvalContext<'_>) -> Result<(), RenderError> {
        for part in parts {
            match part {
                Part::Text(plain) => self.push(plain)?,
                Part::Expression(expression) => {
                    let value = expression.text(context).map_err(|_| missing(expression))?;
                    self.push(&value.unwrap_or_default())?;
                }
                Part::Value(expr) => self.push(&expr.print(context)?)?,
                Part::If(branches, otherwise) => {
                    let mut chosen = otherwise;
                    for (condition, then) in branches {
                        if condition.holds(context)? {
                            chosen = then;
                            break;
                        }
                    }
                    self.parts(chosen, context)?;
                }
            }
        }
        Ok(())
    }

    fn push(&mut self, text: &str) -> Result<(), RenderError> {
        if self.0.len() + text.len() > MAX_MADE_BYTES {
            return Err(RenderError::TooLong);
        }
        self.0.push_str(text);
        Ok(())
    }
}

fn missing(what: &impl ToString) -> RenderError {
    RenderError::Missing(what.to_string())
}
