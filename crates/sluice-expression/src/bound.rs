//! What one evaluation may use up, and the sizes that bound an expression when it is written.
//!
//! Expressions and messages both come from outside. Whatever they are, an evaluation ends, and soon.

use std::fmt;

use serde_json::Value as Json;

use crate::error::EvalError;

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

const MAX_MADE_TEXT: usize = 1 << 20;
const MAX_JSON_NODES: usize = 1 << 20;

/// What is left of the bounds of one evaluation.
#[derive(Debug)]
pub(crate) struct Budget {
    text: usize,
    nodes: usize,
}

impl Budget {
    pub(crate) const fn new() -> Self {
        Self { text: MAX_MADE_TEXT, nodes: MAX_JSON_NODES }
    }

    /// Takes room for `bytes` of text that is about to be made.
    pub(crate) fn take_text(&mut self, bytes: usize) -> Result<(), EvalError> {
        self.text = self.text.checked_sub(bytes).ok_or(EvalError::Bound("1 MiB of made text"))?;
        Ok(())
    }

    /// Takes `count` nodes of JSON that are about to be looked at or copied.
    pub(crate) fn take_nodes(&mut self, count: usize) -> Result<(), EvalError> {
        self.nodes = self.nodes.checked_sub(count).ok_or(EvalError::Bound("1,048,576 JSON nodes"))?;
        Ok(())
    }

    /// Takes what it costs to read a text through; a text of 64 bytes counts as a node.
    pub(crate) fn take_reading(&mut self, text: &str) -> Result<(), EvalError> {
        if text.len() > MAX_MATCHED_BYTES {
            return Err(EvalError::Bound("64 KiB of text for a pattern"));
        }
        self.take_nodes(text_weight(text))
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

const fn text_weight(text: &str) -> usize {
    1 + text.len() / 64
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
