//! `executionCondition`: a CEL expression before a step, evaluated each time that the step is reached.
//!
//! Parsing and evaluating are those of the `cel` crate; what bounds them is ours. Both are recursive, so the length of
//! a text, the values in it and how deep they nest are bounded when an API is deployed. Time and memory follow from
//! what is read: no loop stands inside another, and what one evaluation reads is bounded.

mod check;
mod undecided;
mod view;

#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, LazyLock},
};

use cel::{
    Context, Env, ExecutionError, Value,
    common::{ast::IdedExpr, types::CelBool},
    extractors::This,
    parser::PrattParser,
};
use regex::Regex;

pub(crate) use self::view::View;
use self::{check::Check, undecided::Undecided};

/// The longest expression, in bytes.
const LONGEST: usize = 4096;
/// As many names, values and operators as an expression may have.
const MOST_PARTS: usize = 512;
/// The longest text that a pattern is matched with, in bytes. The time of a match grows with this and the pattern.
const MOST_MATCHED: usize = 64 << 10;

/// The functions of the language; they do not depend on an API.
static FUNCTIONS: LazyLock<Arc<Env>> =
    LazyLock::new(|| Arc::new(Env::default().with_optional_support(false).with_stdlib()));

/// A condition that was understood.
pub(crate) struct Condition {
    source: Box<str>,
    expression: IdedExpr,
    patterns: Arc<BTreeMap<String, Regex>>,
    reads_request: bool,
    undecided: Undecided,
}

impl fmt::Debug for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Condition").field(&self.source).finish()
    }
}

impl Condition {
    /// Parses a condition for a place with or without messages.
    ///
    /// # Errors
    /// One sentence that says what is wrong, with the place where that is known.
    pub(crate) fn parse(source: &str, has_message: bool) -> Result<Self, String> {
        if source.len() > LONGEST {
            return Err(format!("A condition has at most {LONGEST} bytes."));
        }
        let parser = PrattParser::default().max_expression_node_count(MOST_PARTS).error_reporting_limit(1);
        let expression = parser.parse(source).map_err(|found| {
            let first = found.errors.into_iter().next();
            first.map_or_else(String::new, |error| match error.pos {
                (line, column) if line > 0 => format!("Line {line}, column {column}: {}.", error.msg),
                _ => format!("{}.", error.msg),
            })
        })?;
        let mut check = Check::new(has_message);
        check.whole(&expression)?;
        Ok(Self {
            source: source.into(),
            patterns: Arc::new(check.patterns),
            reads_request: check.reads_request,
            expression,
            undecided: Undecided::default(),
        })
    }

    /// Whether it needs the HTTP request of a client.
    pub(crate) const fn reads_request(&self) -> bool {
        self.reads_request
    }

    /// Whether it is true; `None` where it has no value, which the log tells now and then.
    pub(crate) fn value(&self, view: &View<'_>) -> Option<bool> {
        let mut context = Context::with_env(Arc::clone(&FUNCTIONS));
        context.set_variable_resolver(view);
        if !self.patterns.is_empty() {
            let patterns = Arc::clone(&self.patterns);
            let matches = move |This(text): This<Arc<String>>, pattern: Arc<String>| {
                let pattern = patterns.get(&*pattern).filter(|_| text.len() <= MOST_MATCHED);
                let matched = pattern.map(|pattern| pattern.is_match(&text));
                matched.ok_or_else(|| ExecutionError::function_error("matches", "The text is too long."))
            };
            // Refused only where the language had such a function by itself; then the expression has no value.
            let _ = context.add_function("matches", matches);
        }
        let value = Value::resolve_val(&self.expression, &context).ok();
        let value = value.and_then(|value| value.downcast_ref::<CelBool>().map(|value| *value.inner()));
        let value = value.filter(|_| !view.is_exhausted());
        if value.is_none() {
            self.undecided.tell(&self.source, view.api());
        }
        value
    }
}
