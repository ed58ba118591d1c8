//! An expression after parsing: every name resolved, every literal path and pattern compiled.

use std::cmp::Ordering;

use regex::Regex;

use crate::{
    class::Function, jsonpath::JsonPath, method::Method, root::Property, value::Value, xpath::XPath,
};

/// One part of an expression.
#[derive(Debug)]
pub(crate) enum Node {
    Null,
    Boolean(bool),
    Integer(i64),
    Float(f64),
    Text(Box<str>),
    Property(&'static Property),
    /// A secret by its name.
    Secret(Box<str>),
    /// The item that a selection or projection looks at.
    This,
    List(Vec<Node>),
    Map(Vec<(Box<str>, Node)>),
    Not(Box<Node>),
    Negate(Box<Node>),
    And(Box<[Node; 2]>),
    Or(Box<[Node; 2]>),
    Compare(Comparison, Box<[Node; 2]>),
    /// The value, and a list of the lowest and the highest.
    Between(Box<[Node; 2]>),
    InstanceOf(Box<Node>, Class),
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
        /// All methods of this name, one for each kind of value that it may be called on.
        methods: Box<[&'static Method]>,
        arguments: Vec<Node>,
        safe: bool,
    },
    /// A function of a class.
    Static {
        function: &'static Function,
        arguments: Vec<Node>,
    },
    /// The items for which the body is true, or what the body makes of each item.
    Each {
        of: Box<Node>,
        pick: Pick,
        body: Box<Node>,
        safe: bool,
    },
    JsonPath {
        document: Document,
        path: Path<JsonPath>,
    },
    XPath {
        document: Box<Node>,
        path: Path<XPath>,
        result: XPathResult,
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
    Power,
}

impl Calculation {
    pub(crate) const fn sign(self) -> &'static str {
        match self {
            Self::Add => "+",
            Self::Subtract => "-",
            Self::Multiply => "*",
            Self::Divide => "/",
            Self::Remainder => "%",
            Self::Power => "^",
        }
    }
}

/// Which items of a list, or entries of a map, are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pick {
    /// Those for which the body is true.
    All,
    First,
    Last,
    /// What the body makes of each.
    Made,
}

/// What `instanceof` asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Class {
    Text,
    Whole,
    Fraction,
    Number,
    Boolean,
    List,
    Map,
}

/// The right side of `matches`.
#[derive(Debug)]
pub(crate) enum Pattern {
    Compiled(Regex),
    Computed(Box<Node>),
}

/// The document that `#jsonPath` reads.
#[derive(Debug)]
pub(crate) enum Document {
    /// The payload of the message, which is parsed once for all who ask.
    Payload,
    Computed(Box<Node>),
}

/// The path that a function follows.
#[derive(Debug)]
pub(crate) enum Path<P> {
    Compiled(P),
    Computed(Box<Node>),
}

/// As what `#xpath` gives what it finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum XPathResult {
    Text,
    Boolean,
    Number,
    /// The text of the first node; null where there is none.
    Node,
    /// The texts of all nodes.
    Nodes,
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
    Time,
    Formatter,
    Base64,
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
            Self::Time => "a time",
            Self::Formatter => "a formatter of times",
            Self::Base64 => "a Base64 codec",
        }
    }

    /// Whether there is a text for such a value.
    pub(crate) const fn has_text(self) -> bool {
        !matches!(self, Self::Map | Self::Formatter | Self::Base64)
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
            | Self::Between(_)
            | Self::InstanceOf(..)
            | Self::Matches(..) => Kind::Boolean,
            Self::Integer(_) | Self::Float(_) | Self::Negate(_) => Kind::Number,
            Self::Text(_) | Self::Secret(_) | Self::Escape(..) => Kind::Text,
            Self::List(_) => Kind::List,
            Self::Map(_) => Kind::Map,
            Self::Property(property) => property.kind,
            Self::Calculate(Calculation::Add, sides) => match (sides[0].kind(), sides[1].kind()) {
                (Kind::Text, _) | (_, Kind::Text) => Kind::Text,
                (Kind::Number, Kind::Number) => Kind::Number,
                _ => Kind::Any,
            },
            Self::Calculate(..) => Kind::Number,
            Self::Call { methods, safe: false, .. } => Method::result_of(methods),
            Self::Static { function, .. } => function.result,
            Self::XPath { result, .. } => result.kind(),
            Self::This
            | Self::Call { .. }
            | Self::Choose(_)
            | Self::Elvis(_)
            | Self::Member { .. }
            | Self::Index { .. }
            | Self::Each { .. }
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
            Self::Text(text) => Some(Value::borrowed_text(text)),
            _ => None,
        }
    }
}

impl XPathResult {
    const fn kind(self) -> Kind {
        match self {
            Self::Text => Kind::Text,
            Self::Boolean => Kind::Boolean,
            Self::Number => Kind::Number,
            Self::Node => Kind::Any,
            Self::Nodes => Kind::List,
        }
    }
}

impl Class {
    /// Whether a value is of this class. Whole numbers are not told apart by their size.
    pub(crate) fn holds(self, value: &Value<'_>) -> bool {
        match self {
            Self::Text => matches!(value, Value::Text(_)),
            Self::Whole => matches!(value, Value::Integer(_)),
            Self::Fraction => matches!(value, Value::Float(_)),
            Self::Number => value.kind() == Kind::Number,
            Self::Boolean => matches!(value, Value::Boolean(_)),
            Self::List => value.kind() == Kind::List,
            Self::Map => value.kind() == Kind::Map,
        }
    }
}
