//! XPath: the part of 1.0 that messages are asked with. Compiled in [`parse`], evaluated in [`find`].
//!
//! Paths along children, descendants, attributes and parents, predicates by position, existence and
//! comparison, and the functions of [`Function`]. Names are compared without their namespaces. Of the
//! libraries there are, those that do more are not kept, or bring a whole XPath 3.1 without a bound on an
//! evaluation.

mod find;
mod parse;

use crate::tree::Comparison;

/// A compiled path.
#[derive(Debug)]
pub(crate) struct XPath(Expr);

#[derive(Debug)]
enum Expr {
    Or(Box<[Expr; 2]>),
    And(Box<[Expr; 2]>),
    Compare(Comparison, Box<[Expr; 2]>),
    Text(Box<str>),
    Number(f64),
    Call(Function, Vec<Expr>),
    Path { absolute: bool, steps: Vec<Step> },
}

/// One step from some nodes to others.
#[derive(Debug)]
struct Step {
    axis: Axis,
    test: Test,
    predicates: Vec<Expr>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Axis {
    Itself,
    Parent,
    Child,
    Attribute,
    DescendantOrSelf,
}

/// Which nodes of an axis are taken.
#[derive(Debug, PartialEq, Eq)]
enum Test {
    /// Elements, or attributes, of this name.
    Name(Box<str>),
    /// Every element, or attribute.
    Named,
    Text,
    Node,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Function {
    Boolean,
    Concat,
    Contains,
    Count,
    False,
    Last,
    LocalName,
    NormalizeSpace,
    Not,
    Number,
    Position,
    StartsWith,
    String,
    StringLength,
    Sum,
    True,
}

/// Every function with the fewest and the most arguments.
const FUNCTIONS: [(&str, Function, usize, usize); 16] = [
    ("boolean", Function::Boolean, 1, 1),
    ("concat", Function::Concat, 2, usize::MAX),
    ("contains", Function::Contains, 2, 2),
    ("count", Function::Count, 1, 1),
    ("false", Function::False, 0, 0),
    ("last", Function::Last, 0, 0),
    ("local-name", Function::LocalName, 0, 1),
    ("normalize-space", Function::NormalizeSpace, 0, 1),
    ("not", Function::Not, 1, 1),
    ("number", Function::Number, 0, 1),
    ("position", Function::Position, 0, 0),
    ("starts-with", Function::StartsWith, 2, 2),
    ("string", Function::String, 0, 1),
    ("string-length", Function::StringLength, 0, 1),
    ("sum", Function::Sum, 1, 1),
    ("true", Function::True, 0, 0),
];
