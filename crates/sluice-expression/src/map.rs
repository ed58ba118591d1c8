//! The maps that expressions read: views of what is there, and the few that an expression makes itself.

use std::{
    borrow::Cow,
    collections::{BTreeMap, HashMap},
};

use sluice_message::{Attributes, Headers, Message};

use crate::{bound::value_weight, value::Value};

/// The prefix under which attributes are known that the language names without it.
const ATTRIBUTE_PREFIX: &str = "gravitee.attribute.";

/// A map from names to values.
#[derive(Debug, Clone)]
pub enum Map<'a> {
    /// A map without an entry.
    Empty,
    /// Headers: names without case to lists of texts.
    Headers(&'a Headers),
    /// Query parameters: names to lists of texts.
    Params(&'a [(String, String)]),
    /// What the broker tells about a message: names to texts.
    Metadata(&'a Message),
    /// Attributes: names, with or without their prefix, to any values.
    Attributes(&'a Attributes),
    /// Names to texts.
    Texts(&'a BTreeMap<String, String>),
    /// Names to maps of texts.
    Dictionaries(&'a BTreeMap<String, BTreeMap<String, String>>),
    /// What is known of the TLS of a connection that has none.
    NoTls,
    /// A map that the expression itself made, in order; a name does not repeat.
    Made(Entries<'a>),
}

/// Names with their values, in order.
pub type Entries<'a> = Vec<(Cow<'a, str>, Value<'a>)>;

impl<'a> Map<'a> {
    /// The value of a name.
    pub(crate) fn entry(&self, key: &str) -> Option<Value<'a>> {
        match self {
            Self::Empty => None,
            Self::Headers(headers) => {
                list(headers.iter().filter(|header| header.name.eq_ignore_ascii_case(key)).map(header_text))
            }
            Self::Params(params) => list(
                params.iter().filter(|(name, _)| name == key).map(|(_, text)| Value::borrowed_text(text)),
            ),
            Self::Metadata(message) => {
                message.metadata().find(|(name, _)| *name == key).map(|(_, text)| Value::Text(text))
            }
            Self::Attributes(attributes) => {
                let prefixed = || attributes.get(&format!("{ATTRIBUTE_PREFIX}{key}"));
                attributes.get(key).or_else(prefixed).map(Value::from_json)
            }
            Self::Texts(texts) => texts.get(key).map(|text| Value::borrowed_text(text)),
            Self::Dictionaries(maps) => maps.get(key).map(|texts| Value::Map(Map::Texts(texts))),
            Self::NoTls => matches!(key, "client" | "server").then_some(Value::Map(Map::Empty)),
            Self::Made(entries) => {
                entries.iter().find(|(name, _)| name == key).map(|(_, value)| value.clone())
            }
        }
    }

    /// What one look-up costs, in nodes.
    pub(crate) fn weight(&self) -> usize {
        match self {
            Self::Headers(headers) => 1 + headers.len(),
            Self::Params(params) => 1 + params.len(),
            Self::Made(entries) => 1 + entries.iter().map(|(_, value)| value_weight(value)).sum::<usize>(),
            _ => 1,
        }
    }

    /// Every name once with its value, in the order of the map.
    pub(crate) fn entries(&self) -> Entries<'a> {
        match self {
            Self::Empty | Self::NoTls => Vec::new(),
            Self::Headers(headers) => {
                grouped(headers.iter().map(|header| (&*header.name, header_text(header))), true)
            }
            Self::Params(params) => {
                grouped(params.iter().map(|(name, text)| (&**name, Value::borrowed_text(text))), false)
            }
            Self::Metadata(message) => {
                message.metadata().map(|(name, text)| (Cow::Borrowed(name), Value::Text(text))).collect()
            }
            Self::Attributes(attributes) => {
                attributes.iter().map(|(name, json)| (Cow::Borrowed(name), Value::from_json(json))).collect()
            }
            Self::Texts(texts) => texts
                .iter()
                .map(|(name, text)| (Cow::Borrowed(&**name), Value::borrowed_text(text)))
                .collect(),
            Self::Dictionaries(maps) => maps
                .iter()
                .map(|(name, texts)| (Cow::Borrowed(&**name), Value::Map(Map::Texts(texts))))
                .collect(),
            Self::Made(entries) => entries.clone(),
        }
    }
}

fn header_text(header: &sluice_message::Header) -> Value<'_> {
    Value::Text(String::from_utf8_lossy(&header.value))
}

/// The values of a name that may repeat; `None` where it is not there.
fn list<'a>(values: impl Iterator<Item = Value<'a>>) -> Option<Value<'a>> {
    let values: Vec<_> = values.collect();
    (!values.is_empty()).then_some(Value::List(values))
}

/// Names that may repeat with the lists of their values, each under its first name.
fn grouped<'a>(pairs: impl Iterator<Item = (&'a str, Value<'a>)>, ignore_case: bool) -> Entries<'a> {
    let mut order = Vec::new();
    let mut lists: HashMap<Cow<'a, str>, Vec<Value<'a>>> = HashMap::new();
    for (name, value) in pairs {
        let key = if ignore_case { Cow::Owned(name.to_ascii_lowercase()) } else { Cow::Borrowed(name) };
        let list = lists.entry(key.clone()).or_default();
        if list.is_empty() {
            order.push((name, key));
        }
        list.push(value);
    }
    let entry = |(name, key): (&'a str, _)| {
        (Cow::Borrowed(name), Value::List(lists.remove(&key).unwrap_or_default()))
    };
    order.into_iter().map(entry).collect()
}
