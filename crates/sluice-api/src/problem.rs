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

/// A problem on its way through serde, which carries errors as text: its parts are told apart by a character
/// that no path and no message has.
pub(crate) struct Carried(pub(crate) Problem);

const BETWEEN: char = '\u{1f}';

impl fmt::Display for Carried {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Problem { path, code, message } = &self.0;
        write!(f, "{BETWEEN}{code}{BETWEEN}{path}{BETWEEN}{message}")
    }
}

impl Carried {
    /// The problem in an error text, if it carries one. Codes other than these are not carried.
    pub(crate) fn find(text: &str) -> Option<Problem> {
        let mut parts = text.splitn(4, BETWEEN).skip(1);
        let code = match parts.next()? {
            "connector.unknown" => "connector.unknown",
            _ => "document.field",
        };
        Some(Problem::new(parts.next()?, code, parts.next()?))
    }
}

/// `outer` and `inner` as one path; an inner path that begins with an index takes no dot.
pub(crate) fn join(outer: &str, inner: &str) -> String {
    match (outer, inner) {
        ("", path) | (path, "") => path.to_owned(),
        (outer, inner) if inner.starts_with('[') => format!("{outer}{inner}"),
        (outer, inner) => format!("{outer}.{inner}"),
    }
}
