//! The methods that may be called on texts, lists and maps: one table, read by the parser for what is
//! known and by the evaluator for what is done. None writes, and none is reached by reflection.

use std::borrow::Cow;

use Kind::{Any, Boolean, List, Map, Number, Text};

use crate::{bound::Budget, error::EvalError, tree::Kind, value::Value};

/// One method.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Method {
    Contains,
    ContainsKey,
    EndsWith,
    Equals,
    EqualsIgnoreCase,
    Get,
    GetOrDefault,
    IndexOf,
    IsBlank,
    IsEmpty,
    Length,
    Replace,
    Size,
    StartsWith,
    Substring,
    ToLowerCase,
    ToUpperCase,
    Trim,
}

struct Entry {
    name: &'static str,
    method: Method,
    /// The fewest and the most arguments.
    arguments: (usize, usize),
    on: &'static [Kind],
    result: Kind,
}

const fn entry(
    name: &'static str,
    method: Method,
    arguments: (usize, usize),
    on: &'static [Kind],
    result: Kind,
) -> Entry {
    Entry { name, method, arguments, on, result }
}

/// In the order of [`Method`], so that a method finds its entry.
const METHODS: [Entry; 18] = [
    entry("contains", Method::Contains, (1, 1), &[Text, List], Boolean),
    entry("containsKey", Method::ContainsKey, (1, 1), &[Map], Boolean),
    entry("endsWith", Method::EndsWith, (1, 1), &[Text], Boolean),
    entry("equals", Method::Equals, (1, 1), &[Text, List, Map], Boolean),
    entry("equalsIgnoreCase", Method::EqualsIgnoreCase, (1, 1), &[Text], Boolean),
    entry("get", Method::Get, (1, 1), &[List, Map], Any),
    entry("getOrDefault", Method::GetOrDefault, (2, 2), &[Map], Any),
    entry("indexOf", Method::IndexOf, (1, 1), &[Text, List], Number),
    entry("isBlank", Method::IsBlank, (0, 0), &[Text], Boolean),
    entry("isEmpty", Method::IsEmpty, (0, 0), &[Text, List, Map], Boolean),
    entry("length", Method::Length, (0, 0), &[Text], Number),
    entry("replace", Method::Replace, (2, 2), &[Text], Text),
    entry("size", Method::Size, (0, 0), &[List, Map], Number),
    entry("startsWith", Method::StartsWith, (1, 1), &[Text], Boolean),
    entry("substring", Method::Substring, (1, 2), &[Text], Text),
    entry("toLowerCase", Method::ToLowerCase, (0, 0), &[Text], Text),
    entry("toUpperCase", Method::ToUpperCase, (0, 0), &[Text], Text),
    entry("trim", Method::Trim, (0, 0), &[Text], Text),
];

impl Method {
    /// The method of this name for a value of this kind; an error is a sentence that lists those there are.
    pub(crate) fn find(name: &str, of: Kind, arguments: usize) -> Result<Self, String> {
        let fits = |entry: &&Entry| of == Any || entry.on.contains(&of);
        let Some(entry) = METHODS.iter().filter(fits).find(|entry| entry.name == name) else {
            let known: Vec<_> = METHODS.iter().filter(fits).map(|entry| entry.name).collect();
            let noun = of.noun();
            return Err(if known.is_empty() {
                format!("There are no methods on {noun}.")
            } else {
                format!("There is no method '{name}' on {noun}. Known are: {}.", known.join(", "))
            });
        };
        let (fewest, most) = entry.arguments;
        if (fewest..=most).contains(&arguments) {
            return Ok(entry.method);
        }
        let count = if fewest == most { fewest.to_string() } else { format!("{fewest} or {most}") };
        Err(format!("The method '{name}' takes {count} arguments, not {arguments}."))
    }

    const fn entry(self) -> &'static Entry {
        &METHODS[self as usize]
    }

    /// What it gives.
    pub(crate) const fn result(self) -> Kind {
        self.entry().result
    }

    /// Calls the method; the parser has seen to the number of arguments.
    pub(crate) fn call<'a>(
        self,
        of: Value<'a>,
        arguments: &[Value<'a>],
        budget: &mut Budget,
    ) -> Result<Value<'a>, EvalError> {
        let unfit =
            |found: &Value<'_>| EvalError::Unfit { operation: self.entry().name, found: found.kind() };
        let argument = |index: usize| arguments.get(index).unwrap_or(&Value::Null);
        if matches!(self, Self::Equals) {
            return Ok(Value::Boolean(of.equals(argument(0))));
        }
        match of {
            Value::Null => Err(EvalError::OfNull("method")),
            Value::Text(text) => self.on_text(text, arguments, budget, &unfit),
            Value::Boolean(_) | Value::Integer(_) | Value::Float(_) => Err(unfit(&of)),
            list if list.list_len().is_some() => match self {
                Self::Contains => Ok(Value::Boolean(list.items().any(|item| item.equals(argument(0))))),
                Self::IndexOf => Ok(index(list.items().position(|item| item.equals(argument(0))))),
                Self::Get => list.at(argument(0)),
                Self::IsEmpty => Ok(Value::Boolean(list.list_len() == Some(0))),
                Self::Size => Ok(index(list.list_len())),
                _ => Err(unfit(&list)),
            },
            map => match self {
                Self::ContainsKey => Ok(Value::Boolean(map.entry(key(argument(0))?).is_some())),
                Self::Get => Ok(map.entry(key(argument(0))?).unwrap_or(Value::Null)),
                Self::GetOrDefault => Ok(map.entry(key(argument(0))?).unwrap_or_else(|| argument(1).clone())),
                Self::IsEmpty => Ok(Value::Boolean(map.map_len() == 0)),
                Self::Size => Ok(index(Some(map.map_len()))),
                _ => Err(unfit(&map)),
            },
        }
    }

    fn on_text<'a>(
        self,
        text: Cow<'a, str>,
        arguments: &[Value<'a>],
        budget: &mut Budget,
        unfit: &dyn Fn(&Value<'_>) -> EvalError,
    ) -> Result<Value<'a>, EvalError> {
        let words = |index: usize| match arguments.get(index) {
            Some(Value::Text(text)) => Ok(&**text),
            other => Err(unfit(other.unwrap_or(&Value::Null))),
        };
        Ok(match self {
            Self::Contains => Value::Boolean(text.contains(words(0)?)),
            Self::EndsWith => Value::Boolean(text.ends_with(words(0)?)),
            Self::EqualsIgnoreCase => Value::Boolean(same_without_case(&text, words(0)?)),
            Self::IndexOf => index(text.find(words(0)?).map(|at| text[..at].chars().count())),
            Self::IsBlank => Value::Boolean(text.trim().is_empty()),
            Self::IsEmpty => Value::Boolean(text.is_empty()),
            Self::Length => index(Some(text.chars().count())),
            Self::Replace => {
                let (from, to) = (words(0)?, words(1)?);
                let mut made = budget.text();
                for (index, part) in text.split(from).enumerate() {
                    if index > 0 {
                        made.push(to)?;
                    }
                    made.push(part)?;
                }
                Value::Text(Cow::Owned(made.finish()))
            }
            Self::StartsWith => Value::Boolean(text.starts_with(words(0)?)),
            Self::Substring => {
                let start = position(&text, arguments.first(), unfit)?;
                let end = arguments.get(1).map_or(Ok(text.len()), |end| position(&text, Some(end), unfit))?;
                cut(text, start, end)?
            }
            Self::ToLowerCase | Self::ToUpperCase => {
                budget.take_text(text.len())?;
                let lower = matches!(self, Self::ToLowerCase);
                Value::Text(Cow::Owned(if lower { text.to_lowercase() } else { text.to_uppercase() }))
            }
            Self::Trim => {
                let end = text.trim_end().len();
                let start = end - text.trim().len();
                cut(text, start, end)?
            }
            Self::ContainsKey | Self::Equals | Self::Get | Self::GetOrDefault | Self::Size => {
                return Err(unfit(&Value::Text(text)));
            }
        })
    }
}

/// A count or a position as a value; -1 for a position that there is not.
fn index(at: Option<usize>) -> Value<'static> {
    Value::Integer(at.map_or(-1, |at| i64::try_from(at).unwrap_or(i64::MAX)))
}

/// The name by which a map is asked.
fn key<'k>(value: &'k Value<'_>) -> Result<&'k str, EvalError> {
    match value {
        Value::Text(text) => Ok(text),
        other => Err(EvalError::Unfit { operation: "A look-up by key", found: other.kind() }),
    }
}

fn same_without_case(one: &str, two: &str) -> bool {
    one.chars().flat_map(char::to_lowercase).eq(two.chars().flat_map(char::to_lowercase))
}

/// The byte at which the character of this number begins.
fn position(
    text: &str,
    at: Option<&Value<'_>>,
    unfit: &dyn Fn(&Value<'_>) -> EvalError,
) -> Result<usize, EvalError> {
    let Some(Value::Integer(at)) = at else { return Err(unfit(at.unwrap_or(&Value::Null))) };
    let count = usize::try_from(*at).map_err(|_| EvalError::OutOfRange(*at))?;
    let mut bytes = text.char_indices().map(|(byte, _)| byte).chain([text.len()]);
    bytes.nth(count).ok_or(EvalError::OutOfRange(*at))
}

fn cut(text: Cow<'_, str>, start: usize, end: usize) -> Result<Value<'_>, EvalError> {
    let out_of_range = || EvalError::OutOfRange(i64::try_from(start).unwrap_or(i64::MAX));
    Ok(Value::Text(match text {
        Cow::Borrowed(text) => Cow::Borrowed(text.get(start..end).ok_or_else(out_of_range)?),
        Cow::Owned(text) => Cow::Owned(text.get(start..end).ok_or_else(out_of_range)?.to_owned()),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_method_finds_its_own_entry() {
        for entry in &METHODS {
            assert_eq!(entry.method.entry().name, entry.name);
        }
    }
}
