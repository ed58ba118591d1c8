//! Methods of texts. Positions count characters.

use std::borrow::Cow;

use Kind::{Boolean, List, Number, Text};
use regex::{Captures, Regex};

use super::{Method, equals};
use crate::{
    bound::BoundedText,
    call::{Call, Called},
    error::EvalError,
    pattern,
    tree::Kind,
    value::Value,
};

const fn text(name: &'static str, arguments: (usize, usize), result: Kind, body: super::Body) -> Method {
    Method::new(Text, name, arguments, result, body)
}

pub(super) static METHODS: &[Method] = &[
    text("charAt", (1, 1), Text, |of, call| of.at(call.value(0))),
    text("compareTo", (1, 1), Number, |of, call| Ok(order(plain(&of).cmp(call.text(0)?)))),
    text("compareToIgnoreCase", (1, 1), Number, |of, call| {
        Ok(order(folded(plain(&of)).cmp(folded(call.text(0)?))))
    }),
    text("concat", (1, 1), Text, |of, call| {
        let parts = [plain(&of), call.text(0)?];
        join(parts.into_iter(), "", call)
    }),
    text("contains", (1, 1), Boolean, |of, call| Ok(Value::Boolean(plain(&of).contains(call.text(0)?)))),
    text("endsWith", (1, 1), Boolean, |of, call| Ok(Value::Boolean(plain(&of).ends_with(call.text(0)?)))),
    text("equals", (1, 1), Boolean, |of, call| equals(&of, call)),
    text("equalsIgnoreCase", (1, 1), Boolean, |of, call| {
        Ok(Value::Boolean(match call.value(0) {
            Value::Text(other) => folded(plain(&of)).eq(folded(other)),
            _ => false,
        }))
    }),
    // The language has no bytes; see `base64`.
    text("getBytes", (0, 1), Text, |of, _| Ok(of)),
    text("indexOf", (1, 2), Number, |of, call| {
        let from = if call.arguments.len() > 1 { position(plain(&of), call.integer(1)?)? } else { 0 };
        let found = plain(&of)[from..].find(call.text(0)?);
        Ok(character(plain(&of), found.map(|at| from + at)))
    }),
    text("isBlank", (0, 0), Boolean, |of, _| Ok(Value::Boolean(plain(&of).trim().is_empty()))),
    text("isEmpty", (0, 0), Boolean, |of, _| Ok(Value::Boolean(plain(&of).is_empty()))),
    text("lastIndexOf", (1, 1), Number, |of, call| {
        Ok(character(plain(&of), plain(&of).rfind(call.text(0)?)))
    }),
    text("length", (0, 0), Number, |of, _| Ok(Value::count(plain(&of).chars().count()))),
    text("matches", (1, 1), Boolean, |of, call| {
        let pattern = compile(call, pattern::whole)?;
        call.budget.take_reading(plain(&of))?;
        Ok(Value::Boolean(pattern.is_match(plain(&of))))
    }),
    text("repeat", (1, 1), Text, |of, call| {
        let count = call.integer(0)?;
        let count = usize::try_from(count).map_err(|_| EvalError::OutOfRange(count))?;
        call.budget.take_text(plain(&of).len().saturating_mul(count))?;
        Ok(Value::made(plain(&of).repeat(count)))
    }),
    text("replace", (2, 2), Text, |of, call| {
        let (from, to) = (call.text(0)?, call.text(1)?);
        join(plain(&of).split(from), to, call)
    }),
    text("replaceAll", (2, 2), Text, |of, call| replace_matches(&of, usize::MAX, call)),
    text("replaceFirst", (2, 2), Text, |of, call| replace_matches(&of, 1, call)),
    text("split", (1, 1), List, |of, call| split(&of, call)),
    text("startsWith", (1, 1), Boolean, |of, call| Ok(Value::Boolean(plain(&of).starts_with(call.text(0)?)))),
    text("strip", (0, 0), Text, |of, _| Ok(cut(of, str::trim))),
    text("stripLeading", (0, 0), Text, |of, _| Ok(cut(of, str::trim_start))),
    text("stripTrailing", (0, 0), Text, |of, _| Ok(cut(of, str::trim_end))),
    text("subSequence", (2, 2), Text, substring),
    text("substring", (1, 2), Text, substring),
    text("toLowerCase", (0, 0), Text, |of, call| {
        call.budget.take_text(plain(&of).len())?;
        Ok(Value::made(plain(&of).to_lowercase()))
    }),
    text("toString", (0, 0), Text, |of, _| Ok(of)),
    text("toUpperCase", (0, 0), Text, |of, call| {
        call.budget.take_text(plain(&of).len())?;
        Ok(Value::made(plain(&of).to_uppercase()))
    }),
    text("trim", (0, 0), Text, |of, _| Ok(cut(of, str::trim))),
];

fn plain<'v>(of: &'v Value<'_>) -> &'v str {
    if let Value::Text(text) = of { text } else { "" }
}

fn folded(text: &str) -> impl Iterator<Item = char> {
    text.chars().flat_map(char::to_lowercase)
}

fn order(order: std::cmp::Ordering) -> Value<'static> {
    Value::Integer(order as i64)
}

/// The pattern that the first argument is.
fn compile(call: &mut Call<'_, '_>, compile: fn(&str) -> Result<Regex, String>) -> Result<Regex, EvalError> {
    let source = call.text(0)?;
    call.budget.take_compiling()?;
    compile(source).map_err(EvalError::Pattern)
}

/// Whether a pattern matches itself and nothing else.
fn is_plain(pattern: &str) -> bool {
    !pattern.is_empty() && regex::escape(pattern) == pattern
}

/// The parts between matches. Empty ones at the end are left out, as the language has it.
fn split<'a>(of: &Value<'a>, call: &mut Call<'_, 'a>) -> Called<'a> {
    let (subject, separator) = (plain(of), call.text(0)?);
    let mut parts: Vec<String> = if is_plain(separator) {
        call.budget.take_nodes(subject.matches(separator).count())?;
        subject.split(separator).map(str::to_owned).collect()
    } else {
        let pattern = compile(call, pattern::part)?;
        call.budget.take_all_matches(subject)?;
        // An empty match at the very beginning divides nothing.
        let from = usize::from(pattern.find(subject).is_some_and(|found| found.end() == 0));
        pattern.split(subject).skip(from).map(str::to_owned).collect()
    };
    while parts.len() > 1 && parts.last().is_some_and(String::is_empty) {
        parts.pop();
    }
    Ok(Value::List(parts.into_iter().map(Value::made).collect()))
}

fn replace_matches<'a>(of: &Value<'a>, most: usize, call: &mut Call<'_, 'a>) -> Called<'a> {
    let (subject, pattern, replacement) = (plain(of), call.text(0)?, call.text(1)?);
    if most > 1 && is_plain(pattern) && !replacement.contains(['$', '\\']) {
        return join(subject.split(pattern), replacement, call);
    }
    let pattern = compile(call, pattern::part)?;
    if most > 1 {
        call.budget.take_all_matches(subject)?;
    } else {
        call.budget.take_reading(subject)?;
    }
    let mut made = call.budget.text();
    let mut rest = 0;
    for captures in pattern.captures_iter(subject).take(most) {
        let Some(whole) = captures.get(0) else { continue };
        made.push(&subject[rest..whole.start()])?;
        expand(replacement, &captures, &mut made)?;
        rest = whole.end();
    }
    made.push(&subject[rest..])?;
    Ok(Value::made(made.finish()))
}

/// Writes a replacement, in which `$1` stands for the first group and a backslash before itself or `$` for
/// the plain sign.
fn expand(replacement: &str, captures: &Captures<'_>, made: &mut BoundedText<'_>) -> Result<(), EvalError> {
    let mut rest = replacement;
    while let Some(at) = rest.find(['$', '\\']) {
        made.push(&rest[..at])?;
        let after = &rest[at + 1..];
        let next = after.chars().next().ok_or(EvalError::Format)?;
        if rest.as_bytes()[at] == b'$' {
            let group = next.to_digit(10).and_then(|digit| usize::try_from(digit).ok());
            let group = group.filter(|group| *group < captures.len()).ok_or(EvalError::Format)?;
            made.push(captures.get(group).map_or("", |found| found.as_str()))?;
        } else {
            made.push(&after[..next.len_utf8()])?;
        }
        rest = &after[next.len_utf8()..];
    }
    made.push(rest)
}

/// Parts with a text between them.
pub(crate) fn join<'a, 'p>(
    parts: impl Iterator<Item = &'p str>,
    between: &str,
    call: &mut Call<'_, 'a>,
) -> Called<'a> {
    let mut made = call.budget.text();
    for (index, part) in parts.enumerate() {
        if index > 0 {
            made.push(between)?;
        }
        made.push(part)?;
    }
    Ok(Value::made(made.finish()))
}

/// The number of the character that begins at a byte; -1 for a place that there is not.
fn character(text: &str, at: Option<usize>) -> Value<'static> {
    at.map_or(Value::Integer(-1), |at| Value::count(text[..at].chars().count()))
}

/// The byte at which the character of this number begins.
fn position(text: &str, at: i64) -> Result<usize, EvalError> {
    let count = usize::try_from(at).map_err(|_| EvalError::OutOfRange(at))?;
    let mut bytes = text.char_indices().map(|(byte, _)| byte).chain([text.len()]);
    bytes.nth(count).ok_or(EvalError::OutOfRange(at))
}

fn substring<'a>(of: Value<'a>, call: &mut Call<'_, 'a>) -> Called<'a> {
    let start = position(plain(&of), call.integer(0)?)?;
    let end =
        if call.arguments.len() > 1 { position(plain(&of), call.integer(1)?)? } else { plain(&of).len() };
    if end < start {
        return Err(EvalError::OutOfRange(call.integer(0)?));
    }
    Ok(cut(of, |text| &text[start..end]))
}

/// A part of a text, borrowed where the text is.
fn cut(of: Value<'_>, part: impl Fn(&str) -> &str) -> Value<'_> {
    match of {
        Value::Text(Cow::Borrowed(text)) => Value::borrowed_text(part(text)),
        Value::Text(Cow::Owned(text)) => Value::made(part(&text).to_owned()),
        other => other,
    }
}
