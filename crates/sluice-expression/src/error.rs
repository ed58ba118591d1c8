//! Why an expression was refused when it was written, and why one had no value when it was used.

/// A text that is no expression: where, and what would be right.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("column {column}: {message}")]
pub struct ExpressionError {
    /// The character at which it went wrong, counted from 1 over the whole text.
    pub column: usize,
    /// One sentence that says what is wrong and what is known.
    pub message: String,
}

/// An expression that has no value for what it was given. Conditions take this for false; nothing is
/// allocated for the kinds that a stream of odd messages brings forth.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EvalError {
    /// The expression reads the message, but there is none at this hook.
    #[error("There is no message to read here.")]
    NoMessage,
    /// JSON is asked for in something that is not JSON, or nested too deep to be taken for it.
    #[error("The text is not JSON.")]
    NotJson,
    /// XML is asked for in something that is not XML, or has a document type declaration.
    #[error("The text is not XML, or has a document type declaration.")]
    NotXml,
    /// A text that is to be decoded is not Base64, or what it encodes is not text.
    #[error("The text is not Base64 of a text.")]
    NotBase64,
    /// A text that is to be read as a number, or is to be one of a smaller range.
    #[error("The value is not a number that {0} takes.")]
    NotANumber(&'static str),
    /// A text with places for values that has other places than are known, or more than values.
    #[error("The text to be filled in has a place that is not known, or that there is no value for.")]
    Format,
    /// A secret that this gateway does not have.
    #[error("There is no secret '{0}'.")]
    NoSecret(Box<str>),
    /// A property, an index or a method of something that is null.
    #[error("Null has no {0}; use '?.' where it may be absent.")]
    OfNull(&'static str),
    /// An operator or method that does not fit what it is applied to.
    #[error("{operation} does not work on {found}.")]
    Unfit {
        /// What was to be done.
        operation: &'static str,
        /// The kind of value it was to be done on.
        found: &'static str,
    },
    /// An index beyond the end of a list or text.
    #[error("The index {0} is out of range.")]
    OutOfRange(i64),
    /// Whole numbers beyond 64 bits, or a division by zero.
    #[error("The result of '{0}' is not a number that can be held.")]
    Arithmetic(&'static str),
    /// A text that is to be true or false and is neither.
    #[error("The value is neither true nor false.")]
    NotBoolean,
    /// More text, or more nodes of a document or items of lists, than one evaluation may touch.
    #[error("The evaluation went beyond its bound of {0}.")]
    Bound(&'static str),
    /// A pattern that came from outside the expression and is no regular expression.
    #[error("{0}")]
    Pattern(String),
    /// A JSONPath that came from outside the expression and is none.
    #[error("{0}")]
    JsonPath(String),
    /// An XPath that came from outside the expression and is none.
    #[error("{0}")]
    XPath(String),
    /// A pattern of a date or time that came from outside the expression and is none.
    #[error("{0}")]
    TimePattern(String),
}
