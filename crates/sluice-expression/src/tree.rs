//! An expression after parsing: every name resolved, every literal path and pattern compiled.

use std::cmp::Ordering;

use regex::Regex;

use crate::{jsonpath::JsonPath, method::Method, root::Property, value::Value};

/// One part of an expression.
#[derive(Debug)]
pub(crate) enum Node {
    Null,
    Boolean(bool),
    Integer(i64),
    Float(f64),
    Text(Box<str>),
    Property(Property),
    List(Vec<Node>),
    Not(Box<Node>),
    Negate(Box<Node>),
    And(Box<[Node; 2]>),
    Or(Box<[Node; 2]>),
    Compare(Comparison, Box<[Node; 2]>),
    Calculate(Calculation, Box<[Node; 2]>),
    Matches(Box<Node>, Pattern),
    /// Condition, value if true, value if not.
    Choose(Box<[Node; 3]>),
    /// The first, or the second where the first is null or empty.
    Elvis(Box<[Node; 2]>),
    Member {
        of: Box<Node>,
        key: Box<str>,
        safe: bool,
    },
    Index {
        of: Box<Node>,
        index: Box<Node>,
        safe: bool,
    },
    Call {
        of: Box<Node>,
        method: Method,
        arguments: Vec<Node>,
        safe: bool,
    },
    JsonPath {
        document: Box<Node>,
        path: Path,
    },
    Escape(Escape, Box<Node>),
}

/// How two values are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Comparison {
    Equal,
    NotEqual,
    Less,
    Greater,
    LessOrEqual,
    GreaterOrEqual,
}

impl Comparison {
    /// Whether it holds for values that stand so to each other; `None` where they have no order.
    pub(crate) const fn holds(self, order: Option<Ordering>) -> bool {
        match self {
            Self::Equal => matches!(order, Some(Ordering::Equal)),
            Self::NotEqual => !matches!(order, Some(Ordering::Equal)),
            Self::Less => matches!(order, Some(Ordering::Less)),
            Self::Greater => matches!(order, Some(Ordering::Greater)),
            Self::LessOrEqual => matches!(order, Some(Ordering::Less | Ordering::Equal)),
            Self::GreaterOrEqual => matches!(order, Some(Ordering::Greater | Ordering::Equal)),
        }
    }

    pub(crate) const fn sign(self) -> &'static str {
        match self {
            Self::Equal => "==",
            Self::NotEqual => "!=",
            Self::Less => "<",
            Self::Greater => ">",
            Self::LessOrEqual => "<=",
            Self::GreaterOrEqual => ">=",
        }
    }
}

/// What is done with two numbers; the first also joins texts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Calculation {
    Add,
    Subtract,
    Multiply,
    Divide,
    Remainder,
}

impl Calculation {
    pub(crate) const fn sign(self) -> &'static str {
        match self {
            Self::Add => "+",
            Self::Subtract => "-",
            Self::Multiply => "*",
            Self::Divide => "/",
            Self::Remainder => "%",
        }
    }
}

/// The right side of `matches`.
#[derive(Debug)]
pub(crate) enum Pattern {
    Compiled(Regex),
    Computed(Box<Node>),
}

/// The second argument of `#jsonPath`.
#[derive(Debug)]
pub(crate) enum Path {
    Compiled(JsonPath),
    Computed(Box<Node>),
}

/// How a text is made fit to stand in a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Escape {
    Json,
    Xml,
}

/// What is known of a value before there is one; what cannot work is refused when it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Any,
    Null,
    Boolean,
    Number,
    Text,
    List,
    Map,
}

impl Kind {
    /// The kind in words, as errors have it.
    pub(crate) const fn noun(self) -> &'static str {
        match self {
            Self::Any => "a value",
            Self::Null => "null",
            Self::Boolean => "a boolean",
            Self::Number => "a number",
            Self::Text => "a text",
            Self::List => "a list",
            Self::Map => "a map",
        }
    }
}

impl Node {
    /// What its value will be, as far as that is certain.
    pub(crate) fn kind(&self) -> Kind {
        match self {
            Self::Null => Kind::Null,
            Self::Boolean(_)
            | Self::Not(_)
            | Self::And(_)
            | Self::Or(_)
            | Self::Compare(..)
            | Self::Matches(..) => Kind::Boolean,
            Self::Integer(_) | Self::Float(_) | Self::Negate(_) => Kind::Number,
            Self::Text(_) | Self::Escape(..) => Kind::Text,
            Self::List(_) => Kind::List,
            Self::Property(property) => property.kind(),
            Self::Calculate(Calculation::Add, sides) => match (sides[0].kind(), sides[1].kind()) {
                (Kind::Text, _) | (_, Kind::Text) => Kind::Text,
                (Kind::Number, Kind::Number) => Kind::Number,
                _ => Kind::Any,
            },
            Self::Calculate(..) => Kind::Number,
            Self::Call { method, safe: false, .. } => method.result(),
            Self::Call { .. }
            | Self::Choose(_)
            | Self::Elvis(_)
            | Self::Member { .. }
            | Self::Index { .. }
            | Self::JsonPath { .. } => Kind::Any,
        }
    }

    /// The value of a literal.
    pub(crate) fn literal(&self) -> Option<Value<'_>> {
        match self {
            Self::Null => Some(Value::Null),
            Self::Boolean(flag) => Some(Value::Boolean(*flag)),
            Self::Integer(number) => Some(Value::Integer(*number)),
            Self::Float(number) => Some(Value::Float(*number)),
            Self::Text(text) => Some(Value::Text((&**text).into())),
            _ => None,
        }
    }
}
