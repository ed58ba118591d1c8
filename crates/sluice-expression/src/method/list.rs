//! Methods of lists and maps.

use Kind::{Any, Boolean, List, Number, Text};

use super::{Method, equals, to_string};
use crate::{
    call::Call,
    error::EvalError,
    map::{Entries, Map},
    tree::Kind,
    value::Value,
};

const fn list(name: &'static str, arguments: (usize, usize), result: Kind, body: super::Body) -> Method {
    Method::new(List, name, arguments, result, body)
}

const fn map(name: &'static str, arguments: (usize, usize), result: Kind, body: super::Body) -> Method {
    Method::new(Kind::Map, name, arguments, result, body)
}

pub(super) static METHODS: &[Method] = &[
    list("contains", (1, 1), Boolean, |of, call| {
        Ok(Value::Boolean(of.items().any(|item| item.equals(call.value(0)))))
    }),
    list("equals", (1, 1), Boolean, |of, call| equals(&of, call)),
    list("get", (1, 1), Any, |of, call| of.at(call.value(0))),
    list("indexOf", (1, 1), Number, |of, call| {
        Ok(of.items().position(|item| item.equals(call.value(0))).map_or(Value::Integer(-1), Value::count))
    }),
    list("isEmpty", (0, 0), Boolean, |of, _| Ok(Value::Boolean(of.list_len() == Some(0)))),
    list("lastIndexOf", (1, 1), Number, |of, call| {
        let equal = of.items().enumerate().filter(|(_, item)| item.equals(call.value(0)));
        Ok(equal.last().map_or(Value::Integer(-1), |(at, _)| Value::count(at)))
    }),
    list("size", (0, 0), Number, |of, _| Ok(Value::count(of.list_len().unwrap_or_default()))),
    list("toString", (0, 0), Text, |of, call| to_string(&of, call)),
];

pub(super) static OF_MAPS: &[Method] = &[
    map("containsAllKeys", (1, 1), Boolean, |of, call| {
        let keys = call.value(0);
        let each = if let Value::Map(map) = &of { map.weight() } else { 1 };
        call.budget.take_nodes(keys.list_len().unwrap_or_default().saturating_mul(each))?;
        let mut all = true;
        for key in keys.items() {
            all &= of.entry(key_of(&key)?).is_some();
        }
        Ok(Value::Boolean(all))
    }),
    map("containsKey", (1, 1), Boolean, |of, call| Ok(Value::Boolean(entry(&of, call)?.is_some()))),
    map("containsValue", (1, 1), Boolean, |of, call| {
        Ok(Value::Boolean(entries(&of, call)?.iter().any(|(_, value)| value.equals(call.value(0)))))
    }),
    map("equals", (1, 1), Boolean, |of, call| equals(&of, call)),
    map("get", (1, 1), Any, |of, call| Ok(entry(&of, call)?.unwrap_or(Value::Null))),
    map("getFirst", (1, 1), Any, |of, call| Ok(entry(&of, call)?.map_or(Value::Null, first))),
    map("getOrDefault", (2, 2), Any, |of, call| {
        Ok(entry(&of, call)?.unwrap_or_else(|| call.value(1).clone()))
    }),
    map("isEmpty", (0, 0), Boolean, |of, call| Ok(Value::Boolean(entries(&of, call)?.is_empty()))),
    map("keySet", (0, 0), List, |of, call| {
        Ok(Value::List(entries(&of, call)?.into_iter().map(|(name, _)| Value::Text(name)).collect()))
    }),
    map("size", (0, 0), Number, |of, call| Ok(Value::count(entries(&of, call)?.len()))),
    map("toSingleValueMap", (0, 0), Kind::Map, |of, call| {
        let single = entries(&of, call)?.into_iter().map(|(name, value)| (name, first(value)));
        Ok(Value::Map(Map::Made(single.collect())))
    }),
    map("values", (0, 0), List, |of, call| {
        Ok(Value::List(entries(&of, call)?.into_iter().map(|(_, value)| value).collect()))
    }),
];

/// The name by which a map is asked.
fn key_of<'k>(value: &'k Value<'_>) -> Result<&'k str, EvalError> {
    match value {
        Value::Text(text) => Ok(text),
        other => Err(EvalError::Unfit { operation: "A look-up by key", found: other.noun() }),
    }
}

fn entry<'a>(of: &Value<'a>, call: &Call<'_, 'a>) -> Result<Option<Value<'a>>, EvalError> {
    Ok(of.entry(key_of(call.value(0))?))
}

fn entries<'a>(of: &Value<'a>, call: &mut Call<'_, 'a>) -> Result<Entries<'a>, EvalError> {
    let entries = of.entries();
    call.budget.take_nodes(entries.len())?;
    Ok(entries)
}

/// The first item of a list; anything else is its own first.
fn first(value: Value<'_>) -> Value<'_> {
    if value.kind() == List { value.into_items().into_iter().next().unwrap_or(Value::Null) } else { value }
}
