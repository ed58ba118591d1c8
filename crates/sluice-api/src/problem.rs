//! One thing that is wrong with a definition, in the words that logs, answers and docs share.

use std::fmt;

/// A fault in something that a person wrote: where, which rule, and what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The field, as `receivers[0].configuration.qos`; empty for the document as a whole.
    pub path: String,
    /// The stable code of the rule, as in docs/errors.md.
    pub code: &'static str,
    /// One sentence that says what is wrong and what would be right.
    pub message: String,
}

impl Problem {
    /// A problem at a field.
    pub fn new(path: impl Into<String>, code: &'static str, message: impl Into<String>) -> Self {
        Self { path: path.into(), code, message: message.into() }
    }

    /// The same problem seen from further out: `outer` goes before its path.
    #[must_use]
    pub fn within(mut self, outer: &str) -> Self {
        self.path = join(outer, &self.path);
        self
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.path.is_empty() {
            write!(f, "{}", self.message)
        } else {
            write!(f, "{}: {}", self.path, self.message)
        }
    }
}

impl std::error::Error for Problem {}

/// `outer` and `inner` as one path; an inner path that begins with an index takes no dot.
pub(crate) fn join(outer: &str, inner: &str) -> String {
    match (outer, inner) {
        ("", path) | (path, "") => path.to_owned(),
        (outer, inner) if inner.starts_with('[') => format!("{outer}{inner}"),
        (outer, inner) => format!("{outer}.{inner}"),
    }
}
