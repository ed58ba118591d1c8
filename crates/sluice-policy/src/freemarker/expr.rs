//! What stands between the braces of `${…}` and in conditions, and its value.

use std::borrow::Cow;

use sluice_expression::{EvalContext, Expression};

use super::{RenderError, missing};

/// An expression of a template, with its way of writing where an error may name it.
#[derive(Debug)]
pub(super) enum Expr {
    /// Names joined by dots and brackets, as the expression that they are.
    Path(Expression, Box<str>),
    /// A text or a number.
    Literal(Box<str>),
    /// `?name`
    BuiltIn(Box<Expr>, BuiltIn),
    /// `!default`; without one, the empty text.
    Default(Box<Expr>, Option<Box<Expr>>),
    /// `??`
    Exists(Box<Expr>),
    /// `==` where true, else `!=`.
    Compare(Box<[Expr; 2]>, bool),
    Not(Box<Expr>),
    And(Vec<Expr>),
    Or(Vec<Expr>),
}

/// What can be done with a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BuiltIn {
    JsonString,
    LowerCase,
    Trim,
    UpperCase,
}

impl BuiltIn {
    /// Every one by its name.
    pub(super) const ALL: [(&'static str, Self); 4] = [
        ("json_string", Self::JsonString),
        ("lower_case", Self::LowerCase),
        ("trim", Self::Trim),
        ("upper_case", Self::UpperCase),
    ];

    fn of(self, text: Cow<'_, str>) -> Cow<'_, str> {
        match self {
            Self::JsonString => {
                // A text always has a JSON form; it stands between two quotes.
                let quoted = serde_json::Value::from(text).to_string();
                Cow::Owned(quoted[1..quoted.len() - 1].to_owned())
            }
            Self::LowerCase => Cow::Owned(text.to_lowercase()),
            Self::UpperCase => Cow::Owned(text.to_uppercase()),
            Self::Trim => match text {
                Cow::Borrowed(text) => Cow::Borrowed(text.trim()),
                Cow::Owned(text) => Cow::Owned(text.trim().to_owned()),
            },
        }
    }
}

impl Expr {
    /// Its value as text.
    pub(super) fn print<'a>(&'a self, context: &EvalContext<'a>) -> Result<Cow<'a, str>, RenderError> {
        match self {
            Self::Path(path, written) => path.text(context).ok().flatten().ok_or_else(|| missing(written)),
            Self::Literal(text) => Ok(Cow::Borrowed(text)),
            Self::BuiltIn(of, built_in) => Ok(built_in.of(of.print(context)?)),
            Self::Default(of, default) => match (of.print(context), default) {
                (Err(RenderError::Missing(_)), Some(default)) => default.print(context),
                (Err(RenderError::Missing(_)), None) => Ok(Cow::Borrowed("")),
                (value, _) => value,
            },
            condition => {
                condition.holds(context).map(|holds| Cow::Borrowed(if holds { "true" } else { "false" }))
            }
        }
    }

    /// Its value as true or false.
    pub(super) fn holds(&self, context: &EvalContext<'_>) -> Result<bool, RenderError> {
        match self {
            Self::Exists(of) => match of.print(context) {
                Ok(_) => Ok(true),
                Err(RenderError::Missing(_)) => Ok(false),
                Err(error) => Err(error),
            },
            Self::Compare(sides, equal) => {
                Ok((sides[0].print(context)? == sides[1].print(context)?) == *equal)
            }
            Self::Not(of) => of.holds(context).map(|holds| !holds),
            Self::And(all) => {
                for one in all {
                    if !one.holds(context)? {
                        return Ok(false);
                    }
                }
                Ok(true)
            }
            Self::Or(all) => {
                for one in all {
                    if one.holds(context)? {
                        return Ok(true);
                    }
                }
                Ok(false)
            }
            text => match &*text.print(context)? {
                "true" => Ok(true),
                "false" => Ok(false),
                _ => Err(RenderError::NotBoolean(text.written())),
            },
        }
    }

    fn written(&self) -> String {
        match self {
            Self::Path(_, written) => written.to_string(),
            Self::Literal(text) => format!("\"{text}\""),
            Self::BuiltIn(of, _) | Self::Default(of, _) => of.written(),
            _ => String::new(),
        }
    }
}
