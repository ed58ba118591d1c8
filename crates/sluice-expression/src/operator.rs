//! The operators between two values: how strongly they bind, what they fit, and the part of the tree that
//! they make. What is certain never to work is refused.

use crate::{
    lexer::Token,
    parser::{Parsed, Parser},
    pattern,
    tree::{Calculation, Comparison, Kind, Node, Pattern},
};

/// An operator with a value on each side.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Infix {
    Or,
    And,
    Compare(Comparison),
    Matches,
    Between,
    InstanceOf,
    Calculate(Calculation),
}

impl Infix {
    /// The operator that a token is.
    pub(crate) fn of(token: &Token<'_>) -> Option<Self> {
        let lower;
        let sign = match token {
            Token::Sign(sign) => *sign,
            Token::Word(word) => {
                lower = word.to_ascii_lowercase();
                &*lower
            }
            _ => return None,
        };
        Some(match sign {
            "||" | "or" => Self::Or,
            "&&" | "and" => Self::And,
            "==" | "eq" => Self::Compare(Comparison::Equal),
            "!=" | "ne" => Self::Compare(Comparison::NotEqual),
            "<" | "lt" => Self::Compare(Comparison::Less),
            ">" | "gt" => Self::Compare(Comparison::Greater),
            "<=" | "le" => Self::Compare(Comparison::LessOrEqual),
            ">=" | "ge" => Self::Compare(Comparison::GreaterOrEqual),
            "matches" => Self::Matches,
            "between" => Self::Between,
            "instanceof" => Self::InstanceOf,
            "+" => Self::Calculate(Calculation::Add),
            "-" => Self::Calculate(Calculation::Subtract),
            "*" => Self::Calculate(Calculation::Multiply),
            "/" | "div" => Self::Calculate(Calculation::Divide),
            "%" | "mod" => Self::Calculate(Calculation::Remainder),
            "^" => Self::Calculate(Calculation::Power),
            _ => return None,
        })
    }

    /// How strongly it binds; all bind to the left.
    pub(crate) const fn strength(self) -> u8 {
        match self {
            Self::Or => 1,
            Self::And => 2,
            Self::Compare(_) | Self::Matches | Self::Between | Self::InstanceOf => 3,
            Self::Calculate(Calculation::Add | Calculation::Subtract) => 4,
            Self::Calculate(Calculation::Power) => 6,
            Self::Calculate(_) => 5,
        }
    }

    /// Whether it asks how two values stand to each other; such do not chain.
    pub(crate) const fn compares(self) -> bool {
        self.strength() == 3
    }

    /// The tree of two values with this between them; the operator stands at byte `at`, what follows it at
    /// `right_at`.
    pub(crate) fn join(
        self,
        parser: &Parser<'_>,
        left: Node,
        right: Node,
        (at, right_at): (usize, usize),
    ) -> Parsed<Node> {
        match self {
            Self::Or => Ok(Node::Or(Box::new([left, right]))),
            Self::And => Ok(Node::And(Box::new([left, right]))),
            Self::Compare(comparison) => compare(parser, comparison, left, right, at),
            Self::Matches => matches(parser, left, right, right_at),
            Self::Between => match &right {
                Node::List(bounds) if bounds.len() == 2 => Ok(Node::Between(Box::new([left, right]))),
                _ => Err(parser.refuse(right_at, "After 'between' stands a list of two, as in {1, 5}.")),
            },
            // What follows it is no value; the parser reads it by itself.
            Self::InstanceOf => Err(parser.refuse(at, "'instanceof' needs a class.")),
            Self::Calculate(calculation) => calculate(parser, calculation, left, right, at),
        }
    }
}

fn compare(parser: &Parser<'_>, comparison: Comparison, left: Node, right: Node, at: usize) -> Parsed<Node> {
    let ordered = !matches!(comparison, Comparison::Equal | Comparison::NotEqual);
    let comparable = match (left.kind(), right.kind()) {
        (Kind::Any | Kind::Null, _) | (_, Kind::Any | Kind::Null) => true,
        (one, two) => one == two && matches!(one, Kind::Text | Kind::Number),
    };
    if ordered && !comparable {
        let (one, two) = (left.kind().noun(), right.kind().noun());
        return Err(parser.refuse(at, format!("There is no order between {one} and {two}.")));
    }
    Ok(Node::Compare(comparison, Box::new([left, right])))
}

/// A value with a pattern that has to match the whole of it; `at` is where the pattern stands.
pub(crate) fn matches(parser: &Parser<'_>, subject: Node, pattern: Node, at: usize) -> Parsed<Node> {
    let pattern = match pattern {
        Node::Text(text) => {
            Pattern::Compiled(pattern::whole(&text).map_err(|reason| parser.refuse(at, reason))?)
        }
        computed => Pattern::Computed(Box::new(computed)),
    };
    Ok(Node::Matches(Box::new(subject), pattern))
}

fn calculate(
    parser: &Parser<'_>,
    calculation: Calculation,
    left: Node,
    right: Node,
    at: usize,
) -> Parsed<Node> {
    let kinds = [left.kind(), right.kind()];
    let may_join = |kind: &Kind| matches!(kind, Kind::Text | Kind::Any);
    let joins = calculation == Calculation::Add && kinds.iter().any(may_join);
    let fits = |kind: &Kind| match kind {
        Kind::Any | Kind::Number => true,
        other => joins && other.has_text(),
    };
    if let Some(misfit) = kinds.iter().find(|kind| !fits(kind)) {
        let (sign, noun) = (calculation.sign(), misfit.noun());
        return Err(parser.refuse(at, format!("'{sign}' does not work on {noun}.")));
    }
    Ok(Node::Calculate(calculation, Box::new([left, right])))
}
