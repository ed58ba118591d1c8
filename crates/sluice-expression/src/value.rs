//! The values that expressions are made of, and how one kind stands for another.
//!
//! A value borrows from the message, the subscription or the expression wherever it can.

use std::{borrow::Cow, cmp::Ordering, fmt};

use crate::{
    base64::Base64,
    error::EvalError,
    map::{Entries, Map},
    time::Time,
    tree::{Comparison, Kind},
};

/// The value of an expression, or of a part of it.
#[derive(Debug, Clone)]
pub enum Value<'a> {
    /// Nothing.
    Null,
    /// True or false.
    Boolean(bool),
    /// A whole number.
    Integer(i64),
    /// A number with a fraction, or beyond 64 bits.
    Float(f64),
    /// Text.
    Text(Cow<'a, str>),
    /// Values in order.
    List(Vec<Value<'a>>),
    /// An array or an object of a JSON document; its scalars are values of their own kinds.
    Json(Cow<'a, serde_json::Value>),
    /// Names with values.
    Map(Map<'a>),
    /// A date, with or without a time of day.
    Time(Time),
    /// The pattern by which times are written; it has no text of its own.
    Formatter(Cow<'a, str>),
    /// What encodes or decodes Base64; it has no text of its own.
    Base64(Base64),
}

impl<'a> Value<'a> {
    /// Text that lives longer than the evaluation.
    pub(crate) const fn borrowed_text(text: &'a str) -> Self {
        Self::Text(Cow::Borrowed(text))
    }

    /// Text that the evaluation made.
    pub(crate) const fn made(text: String) -> Self {
        Self::Text(Cow::Owned(text))
    }

    /// A JSON value, borrowed.
    pub(crate) fn from_json(json: &'a serde_json::Value) -> Self {
        match json {
            serde_json::Value::Null => Self::Null,
            serde_json::Value::Bool(flag) => Self::Boolean(*flag),
            serde_json::Value::Number(number) => Self::from_number(number),
            serde_json::Value::String(text) => Self::Text(Cow::Borrowed(text)),
            compound => Self::Json(Cow::Borrowed(compound)),
        }
    }

    fn from_number(number: &serde_json::Number) -> Self {
        // A number too large for f64 does not leave the JSON parser; the default is never taken.
        number.as_i64().map_or_else(|| Self::Float(number.as_f64().unwrap_or_default()), Self::Integer)
    }

    /// The same value without anything borrowed from the JSON document it was found in.
    pub(crate) fn from_owned_json(json: serde_json::Value) -> Value<'static> {
        match json {
            serde_json::Value::Null => Value::Null,
            serde_json::Value::Bool(flag) => Value::Boolean(flag),
            serde_json::Value::Number(number) => Value::from_number(&number),
            serde_json::Value::String(text) => Value::Text(Cow::Owned(text)),
            compound => Value::Json(Cow::Owned(compound)),
        }
    }

    /// The value as JSON: lists and maps with everything in them, times as text; null for what has neither.
    pub fn to_json(&self) -> serde_json::Value {
        match self {
            Self::Null | Self::Formatter(_) | Self::Base64(_) => serde_json::Value::Null,
            Self::Boolean(flag) => (*flag).into(),
            Self::Integer(number) => (*number).into(),
            Self::Float(number) => (*number).into(),
            Self::Text(text) => text.as_ref().into(),
            Self::List(items) => items.iter().map(Value::to_json).collect(),
            Self::Json(json) => json.as_ref().clone(),
            Self::Map(map) => {
                map.entries().into_iter().map(|(name, value)| (name.into_owned(), value.to_json())).collect()
            }
            Self::Time(time) => time.to_string().into(),
        }
    }

    /// A count or a length.
    pub(crate) fn count(count: usize) -> Self {
        Self::Integer(i64::try_from(count).unwrap_or(i64::MAX))
    }

    /// What the value is.
    pub(crate) fn kind(&self) -> Kind {
        match self {
            Self::Null => Kind::Null,
            Self::Boolean(_) => Kind::Boolean,
            Self::Integer(_) | Self::Float(_) => Kind::Number,
            Self::Text(_) => Kind::Text,
            Self::List(_) => Kind::List,
            Self::Json(json) if json.is_array() => Kind::List,
            Self::Json(_) | Self::Map(_) => Kind::Map,
            Self::Time(_) => Kind::Time,
            Self::Formatter(_) => Kind::Formatter,
            Self::Base64(_) => Kind::Base64,
        }
    }

    /// What the value is, for people.
    pub(crate) fn noun(&self) -> &'static str {
        self.kind().noun()
    }

    /// Whether a condition holds: a boolean as it is, null as false, and the words for yes and no.
    ///
    /// # Errors
    /// [`EvalError::NotBoolean`] for anything else.
    pub fn truth(&self) -> Result<bool, EvalError> {
        let text = match self {
            Self::Null => return Ok(false),
            Self::Boolean(flag) => return Ok(*flag),
            Self::Text(text) => text.trim(),
            _ => return Err(EvalError::NotBoolean),
        };
        let is = |words: &[&str]| words.iter().any(|word| text.eq_ignore_ascii_case(word));
        match () {
            () if is(&["true", "on", "yes", "1"]) => Ok(true),
            () if is(&["false", "off", "no", "0", ""]) => Ok(false),
            () => Err(EvalError::NotBoolean),
        }
    }

    /// How many items a list has; `None` when it is no list.
    pub(crate) fn list_len(&self) -> Option<usize> {
        match self {
            Self::List(items) => Some(items.len()),
            Self::Json(json) => json.as_array().map(Vec::len),
            _ => None,
        }
    }

    /// The items of a list, borrowed; nothing when it is no list.
    pub(crate) fn items(&self) -> impl Iterator<Item = Value<'_>> {
        let own: &[Value<'_>] = if let Self::List(items) = self { items } else { &[] };
        let json: &[serde_json::Value] = match self {
            Self::Json(json) => json.as_array().map_or(&[], Vec::as_slice),
            _ => &[],
        };
        own.iter().map(Value::borrowed).chain(json.iter().map(Value::from_json))
    }

    /// The entry of a map; `None` when it has no such entry or is no map.
    pub(crate) fn entry(&self, key: &str) -> Option<Value<'a>> {
        match self {
            Self::Map(map) => map.entry(key),
            Self::Json(Cow::Borrowed(json)) => json.get(key).map(Value::from_json),
            Self::Json(Cow::Owned(json)) => json.get(key).cloned().map(Value::from_owned_json),
            _ => None,
        }
    }

    /// The entries of a map; none when it is no map.
    pub(crate) fn entries(&self) -> Entries<'a> {
        match self {
            Self::Map(map) => map.entries(),
            Self::Json(Cow::Borrowed(json)) => {
                let members = json.as_object().into_iter().flatten();
                members.map(|(name, value)| (Cow::Borrowed(&**name), Value::from_json(value))).collect()
            }
            Self::Json(Cow::Owned(json)) => {
                let members = json.as_object().into_iter().flatten();
                let owned = |json: &serde_json::Value| Value::from_owned_json(json.clone());
                members.map(|(name, value)| (Cow::Owned(name.clone()), owned(value))).collect()
            }
            _ => Vec::new(),
        }
    }

    /// The item at a number, from 0, of a list, or the character there of a text.
    pub(crate) fn at(self, index: &Value<'_>) -> Result<Value<'a>, EvalError> {
        let operation = "An index";
        let Value::Integer(number) = *index else {
            return Err(EvalError::Unfit { operation, found: index.noun() });
        };
        let out_of_range = EvalError::OutOfRange(number);
        let Ok(at) = usize::try_from(number) else { return Err(out_of_range) };
        let found = match self {
            Self::Null => return Err(EvalError::OfNull("index")),
            Self::List(mut items) => (at < items.len()).then(|| items.swap_remove(at)),
            Self::Json(Cow::Borrowed(json)) if json.is_array() => json.get(at).map(Value::from_json),
            Self::Json(Cow::Owned(json)) if json.is_array() => {
                json.get(at).cloned().map(Value::from_owned_json)
            }
            Self::Text(text) => text.chars().nth(at).map(|one| Value::Text(Cow::Owned(one.to_string()))),
            other => return Err(EvalError::Unfit { operation, found: other.noun() }),
        };
        found.ok_or(out_of_range)
    }

    /// The items of a list; nothing when it is no list.
    pub(crate) fn into_items(self) -> Vec<Value<'a>> {
        match self {
            Self::List(items) => items,
            Self::Json(Cow::Borrowed(json)) => {
                json.as_array().into_iter().flatten().map(Value::from_json).collect()
            }
            Self::Json(Cow::Owned(serde_json::Value::Array(items))) => {
                items.into_iter().map(Value::from_owned_json).collect()
            }
            _ => Vec::new(),
        }
    }

    fn borrowed(&self) -> Value<'_> {
        match self {
            Self::Text(text) => Value::Text(Cow::Borrowed(text)),
            Self::Json(json) => Value::Json(Cow::Borrowed(json)),
            small => small.clone(),
        }
    }

    /// Numbers are equal by value, texts by their characters, a list and a text when the items joined by
    /// commas are the text; values of other differing kinds are not equal.
    pub(crate) fn equals(&self, other: &Value<'_>) -> bool {
        match (self, other) {
            (Self::Null, Value::Null) => true,
            (Self::Boolean(one), Value::Boolean(two)) => one == two,
            (Self::Text(one), Value::Text(two)) => one == two,
            (Self::Text(text), list) if list.list_len().is_some() => list.joins_to(text),
            (list, Value::Text(text)) if list.list_len().is_some() => list.joins_to(text),
            (Self::Time(one), Value::Time(two)) => one == two,
            (Self::Json(one), Value::Json(two)) if one.is_object() => one == two,
            (Self::Map(Map::Made(one)), Value::Map(Map::Made(two))) => same_entries(one, two),
            (one, two) => match (one.list_len(), two.list_len()) {
                (Some(len), Some(other_len)) => {
                    len == other_len && one.items().zip(two.items()).all(|(one, two)| one.equals(&two))
                }
                (None, None) => one.compare_numbers(two) == Some(Ordering::Equal),
                _ => false,
            },
        }
    }

    fn joins_to(&self, text: &str) -> bool {
        let mut rest = Remaining(text);
        self.write_text(&mut rest).is_ok() && rest.0.is_empty()
    }

    fn compare_numbers(&self, other: &Value<'_>) -> Option<Ordering> {
        match (self, other) {
            (Self::Integer(one), Value::Integer(two)) => Some(one.cmp(two)),
            (one, two) => one.as_float()?.partial_cmp(&two.as_float()?),
        }
    }

    /// The number as a float; whole numbers beyond 53 bits lose their last digits.
    pub(crate) fn as_float(&self) -> Option<f64> {
        match self {
            Self::Integer(number) => Some(*number as f64),
            Self::Float(number) => Some(*number),
            _ => None,
        }
    }

    /// Whether a comparison holds between two values.
    pub(crate) fn stands(&self, comparison: Comparison, other: &Value<'_>) -> Result<bool, EvalError> {
        match comparison {
            Comparison::Equal => Ok(self.equals(other)),
            Comparison::NotEqual => Ok(!self.equals(other)),
            _ => self.order(other, comparison.sign()).map(|order| comparison.holds(order)),
        }
    }

    /// How two values stand in order; `Ok(None)` when one is not a number (NaN). Null is below everything.
    fn order(&self, other: &Value<'_>, operation: &'static str) -> Result<Option<Ordering>, EvalError> {
        let found = match (self, other) {
            (Self::Null, Value::Null) => return Ok(Some(Ordering::Equal)),
            (Self::Null, _) => return Ok(Some(Ordering::Less)),
            (_, Value::Null) => return Ok(Some(Ordering::Greater)),
            (Self::Text(one), Value::Text(two)) => return Ok(Some(one.cmp(two))),
            (Self::Integer(_) | Self::Float(_), Value::Integer(_) | Value::Float(_)) => {
                return Ok(self.compare_numbers(other));
            }
            (Self::Text(_) | Self::Integer(_) | Self::Float(_), misfit) => misfit.noun(),
            (misfit, _) => misfit.noun(),
        };
        Err(EvalError::Unfit { operation, found })
    }

    /// Writes the value as text: null as nothing, lists joined by commas, objects as JSON. Kinds of which
    /// [`Kind::has_text`] says no have none.
    pub(crate) fn write_text(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        match self {
            Self::Null => Ok(()),
            Self::Boolean(flag) => write!(out, "{flag}"),
            Self::Integer(number) => write!(out, "{number}"),
            Self::Float(number) => write!(out, "{number:?}"),
            Self::Text(text) => out.write_str(text),
            list if list.list_len().is_some() => {
                for (index, item) in list.items().enumerate() {
                    if index > 0 {
                        out.write_str(",")?;
                    }
                    item.write_text(out)?;
                }
                Ok(())
            }
            Self::Json(json) => write!(out, "{json}"),
            Self::Time(time) => write!(out, "{time}"),
            Self::List(_) | Self::Map(_) | Self::Formatter(_) | Self::Base64(_) => Err(fmt::Error),
        }
    }
}

/// Whether two maps have the same names with equal values, in whatever order.
fn same_entries(one: &[(Cow<'_, str>, Value<'_>)], two: &[(Cow<'_, str>, Value<'_>)]) -> bool {
    let by_name = |entries: &'_ [(Cow<'_, str>, Value<'_>)]| {
        let mut order: Vec<usize> = (0..entries.len()).collect();
        order.sort_unstable_by_key(|index| &entries[*index].0);
        order
    };
    let mut pairs = by_name(one).into_iter().zip(by_name(two));
    one.len() == two.len() && pairs.all(|(at, to)| one[at].0 == two[to].0 && one[at].1.equals(&two[to].1))
}

/// Equal as `==` has it inside an expression: a list and a text may be equal.
impl PartialEq<Value<'_>> for Value<'_> {
    fn eq(&self, other: &Value<'_>) -> bool {
        self.equals(other)
    }
}

/// Takes written text off the front of an expected one, so that a comparison needs no copy.
struct Remaining<'t>(&'t str);

impl fmt::Write for Remaining<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0 = self.0.strip_prefix(text).ok_or(fmt::Error)?;
        Ok(())
    }
}
