//! What one evaluation may use up, and the sizes that bound an expression when it is written.
//!
//! Expressions and messages both come from outside. Whatever they are, an evaluation ends, and soon.

use std::{borrow::Cow, fmt};

use serde_json::Value as Json;

use crate::{error::EvalError, value::Value};

/// The longest expression, in bytes.
pub(crate) const MAX_EXPRESSION_BYTES: usize = 8 << 10;
/// How deep brackets and signs may nest.
pub(crate) const MAX_NESTING: usize = 64;
/// How many operators, properties and calls one expression may have; bounds the depth of its tree, which
/// a chain of operators makes without any bracket.
pub(crate) const MAX_OPERATORS: usize = 256;
/// How much memory a compiled pattern may take, in bytes. With [`MAX_MATCHED_BYTES`] it bounds the time of a
/// match, which grows with the product of both.
pub(crate) const MAX_PATTERN_BYTES: usize = 64 << 10;
/// The longest text that a pattern is matched with, in bytes.
pub(crate) const MAX_MATCHED_BYTES: usize = 64 << 10;

/// What compiling a path or pattern counts for that an evaluation brings forth, in nodes; it takes as long.
const COMPILING: usize = 1 << 13;

const MAX_MADE_TEXT: usize = 1 << 20;
const MAX_NODES: usize = 1 << 20;

/// What is left of the bounds of one evaluation.
#[derive(Debug)]
pub(crate) struct Budget {
    text: usize,
    nodes: usize,
}

impl Budget {
    pub(crate) const fn new() -> Self {
        Self { text: MAX_MADE_TEXT, nodes: MAX_NODES }
    }

    /// Takes room for `bytes` of text that is about to be made.
    pub(crate) fn take_text(&mut self, bytes: usize) -> Result<(), EvalError> {
        self.text = self.text.checked_sub(bytes).ok_or(EvalError::Bound("1 MiB of made text"))?;
        Ok(())
    }

    /// Takes `count` nodes of a document, or items of a list, that are about to be looked at or copied.
    pub(crate) fn take_nodes(&mut self, count: usize) -> Result<(), EvalError> {
        self.nodes = self.nodes.checked_sub(count).ok_or(EvalError::Bound("1,048,576 nodes"))?;
        Ok(())
    }

    /// Takes what it costs to compile a path or a pattern.
    pub(crate) fn take_compiling(&mut self) -> Result<(), EvalError> {
        self.take_nodes(COMPILING)
    }

    /// Takes what it costs to read a text through; a text of 64 bytes counts as a node.
    pub(crate) fn take_reading(&mut self, text: &str) -> Result<(), EvalError> {
        if text.len() > MAX_MATCHED_BYTES {
            return Err(EvalError::Bound("64 KiB of text for a pattern"));
        }
        self.take_nodes(text_weight(text))
    }

    /// Takes what it costs to find all matches of a pattern in a text: each may have to read what is left.
    pub(crate) fn take_all_matches(&mut self, text: &str) -> Result<(), EvalError> {
        self.take_nodes(bytes_weight(text.len().saturating_mul(text.len())))
    }

    /// The text of a value, borrowed where there is one.
    pub(crate) fn show<'a>(&mut self, value: &Value<'a>) -> Result<Cow<'a, str>, EvalError> {
        if let Value::Text(Cow::Borrowed(text)) = value {
            return Ok(Cow::Borrowed(text));
        }
        let mut made = String::new();
        self.append(&mut made, value)?;
        Ok(Cow::Owned(made))
    }

    /// Writes a value as text onto the end of another.
    pub(crate) fn append(&mut self, text: &mut String, value: &Value<'_>) -> Result<(), EvalError> {
        if !value.kind().has_text() {
            return Err(EvalError::Unfit { operation: "Turning into text", found: value.noun() });
        }
        let mut made = BoundedText { made: std::mem::take(text), budget: self };
        value.write_text(&mut made).map_err(|_| EvalError::Bound("1 MiB of made text"))?;
        *text = made.finish();
        Ok(())
    }

    /// An empty text that grows only as far as the bound.
    pub(crate) const fn text(&mut self) -> BoundedText<'_> {
        BoundedText { made: String::new(), budget: self }
    }
}

/// What a JSON value counts for against the bound, everything in it counted. Recursion is bounded: a
/// document does not nest deeper than its parser allows.
pub(crate) fn weight(json: &Json) -> usize {
    match json {
        Json::Null | Json::Bool(_) | Json::Number(_) => 1,
        Json::String(text) => text_weight(text),
        Json::Array(items) => 1 + items.iter().map(weight).sum::<usize>(),
        Json::Object(members) => {
            1 + members.iter().map(|(name, value)| text_weight(name) + weight(value)).sum::<usize>()
        }
    }
}

/// What a value counts for against the bound, everything in it counted.
pub(crate) fn value_weight(value: &Value<'_>) -> usize {
    match value {
        Value::Text(text) => text_weight(text),
        Value::Json(json) => weight(json),
        Value::List(items) => 1 + items.iter().map(value_weight).sum::<usize>(),
        Value::Map(map) => map.weight(),
        _ => 1,
    }
}

const fn text_weight(text: &str) -> usize {
    bytes_weight(text.len())
}

/// What it costs to read so many bytes through, in nodes.
pub(crate) const fn bytes_weight(bytes: usize) -> usize {
    1 + bytes / 64
}

/// Text in the making.
pub(crate) struct BoundedText<'b> {
    made: String,
    budget: &'b mut Budget,
}

impl BoundedText<'_> {
    pub(crate) fn push(&mut self, text: &str) -> Result<(), EvalError> {
        self.budget.take_text(text.len())?;
        self.made.push_str(text);
        Ok(())
    }

    pub(crate) fn finish(self) -> String {
        self.made
    }
}

impl fmt::Write for BoundedText<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.push(text).map_err(|_| fmt::Error)
    }
}
