//! Walks an XML document along a compiled path. Every node that is looked at, and every text that is made,
//! is counted against the bound of the evaluation.

use std::borrow::Cow;

use roxmltree::{Document, Node};

use super::{Axis, Expr, Function, Step, Test, XPath};
use crate::{
    bound::Budget,
    error::EvalError,
    tree::{Comparison, XPathResult},
    value::Value,
};

/// A node of a document; an attribute by its number in its element.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Spot<'d> {
    node: Node<'d, 'd>,
    attribute: Option<usize>,
}

/// What an expression has come to.
enum Found<'d> {
    /// In the order of the document.
    Spots(Vec<Spot<'d>>),
    Text(Cow<'d, str>),
    Number(f64),
    Boolean(bool),
}

/// Where a predicate stands: the node, its number from 1 and how many there are.
#[derive(Clone, Copy)]
struct Focus<'d> {
    spot: Spot<'d>,
    position: usize,
    size: usize,
}

struct Walk<'b> {
    budget: &'b mut Budget,
}

impl XPath {
    /// What this path finds in a document, in the form that is asked for.
    pub(crate) fn find(
        &self,
        document: &Document<'_>,
        result: XPathResult,
        budget: &mut Budget,
    ) -> Result<Value<'static>, EvalError> {
        let spot = Spot { node: document.root(), attribute: None };
        let mut walk = Walk { budget };
        let found = walk.expr(&self.0, Focus { spot, position: 1, size: 1 })?;
        Ok(match (result, found) {
            (XPathResult::Boolean, found) => Value::Boolean(found.truth()),
            (XPathResult::Number, found) => Value::Float(walk.number(found)?),
            (XPathResult::Node, Found::Spots(spots)) if spots.is_empty() => Value::Null,
            (XPathResult::Nodes, Found::Spots(spots)) => {
                let texts = spots.iter().map(|spot| Ok(Value::made(walk.text_of(spot)?.into_owned())));
                Value::List(texts.collect::<Result<_, EvalError>>()?)
            }
            (_, found) => Value::made(walk.text(found)?.into_owned()),
        })
    }
}

impl<'d> Found<'d> {
    fn truth(&self) -> bool {
        match self {
            Self::Spots(spots) => !spots.is_empty(),
            Self::Text(text) => !text.is_empty(),
            Self::Number(number) => *number != 0.0 && !number.is_nan(),
            Self::Boolean(flag) => *flag,
        }
    }
}

impl Walk<'_> {
    fn expr<'d>(&mut self, expr: &Expr, focus: Focus<'d>) -> Result<Found<'d>, EvalError> {
        self.budget.take_nodes(1)?;
        Ok(match expr {
            Expr::Or(sides) => {
                Found::Boolean(self.expr(&sides[0], focus)?.truth() || self.expr(&sides[1], focus)?.truth())
            }
            Expr::And(sides) => {
                Found::Boolean(self.expr(&sides[0], focus)?.truth() && self.expr(&sides[1], focus)?.truth())
            }
            Expr::Compare(comparison, sides) => {
                let (one, two) = (self.expr(&sides[0], focus)?, self.expr(&sides[1], focus)?);
                Found::Boolean(self.compare(*comparison, one, two)?)
            }
            Expr::Text(text) => {
                self.budget.take_text(text.len())?;
                Found::Text(Cow::Owned(text.to_string()))
            }
            Expr::Number(number) => Found::Number(*number),
            Expr::Call(function, arguments) => self.call(*function, arguments, focus)?,
            Expr::Path { absolute, steps } => {
                let root = || Spot { node: focus.spot.node.document().root(), attribute: None };
                let mut spots = vec![if *absolute { root() } else { focus.spot }];
                for step in steps {
                    spots = self.step(step, &spots)?;
                }
                Found::Spots(spots)
            }
        })
    }

    fn step<'d>(&mut self, step: &Step, from: &[Spot<'d>]) -> Result<Vec<Spot<'d>>, EvalError> {
        let mut found = Vec::new();
        for spot in from {
            let mut here = Vec::new();
            for candidate in step.axis.of(*spot) {
                self.budget.take_nodes(1)?;
                if step.test.holds(candidate) {
                    here.push(candidate);
                }
            }
            for predicate in &step.predicates {
                here = self.those(predicate, here)?;
            }
            found.extend(here);
        }
        // Steps down from nodes inside each other meet again, and so do steps up.
        found.sort_unstable_by_key(|spot| (spot.node.id().get(), spot.attribute));
        found.dedup();
        Ok(found)
    }

    /// The nodes for which a predicate holds; a number asks for a position.
    fn those<'d>(&mut self, predicate: &Expr, spots: Vec<Spot<'d>>) -> Result<Vec<Spot<'d>>, EvalError> {
        let size = spots.len();
        let mut kept = Vec::new();
        for (index, spot) in spots.into_iter().enumerate() {
            let position = index + 1;
            let holds = match self.expr(predicate, Focus { spot, position, size })? {
                Found::Number(number) => number == position as f64,
                found => found.truth(),
            };
            if holds {
                kept.push(spot);
            }
        }
        Ok(kept)
    }

    fn call<'d>(
        &mut self,
        function: Function,
        arguments: &[Expr],
        focus: Focus<'d>,
    ) -> Result<Found<'d>, EvalError> {
        let mut given = Vec::new();
        for argument in arguments {
            given.push(self.expr(argument, focus)?);
        }
        let mut given = given.into_iter();
        // Left out, the argument is the node at which the predicate stands.
        let mut next = || given.next().unwrap_or_else(|| Found::Spots(vec![focus.spot]));
        Ok(match function {
            Function::Boolean => Found::Boolean(next().truth()),
            Function::Not => Found::Boolean(!next().truth()),
            Function::True => Found::Boolean(true),
            Function::False => Found::Boolean(false),
            Function::Position => Found::Number(focus.position as f64),
            Function::Last => Found::Number(focus.size as f64),
            Function::Number => Found::Number(self.number(next())?),
            Function::String => Found::Text(self.text(next())?),
            Function::StringLength => Found::Number(self.text(next())?.chars().count() as f64),
            Function::NormalizeSpace => {
                let words: Vec<_> = self.text(next())?.split_whitespace().map(str::to_owned).collect();
                Found::Text(Cow::Owned(words.join(" ")))
            }
            Function::Contains => Found::Boolean(self.text(next())?.contains(&*self.text(next())?)),
            Function::StartsWith => Found::Boolean(self.text(next())?.starts_with(&*self.text(next())?)),
            Function::Concat => {
                let mut joined = String::new();
                for part in given {
                    let part = self.text(part)?;
                    self.budget.take_text(part.len())?;
                    joined.push_str(&part);
                }
                Found::Text(Cow::Owned(joined))
            }
            Function::Count => Found::Number(spots(next())?.len() as f64),
            Function::LocalName => {
                let name = spots(next())?.first().and_then(Spot::name).unwrap_or_default().to_owned();
                Found::Text(Cow::Owned(name))
            }
            Function::Sum => {
                let mut sum = 0.0;
                for spot in spots(next())? {
                    sum += number(&self.text_of(&spot)?);
                }
                Found::Number(sum)
            }
        })
    }

    /// Nodes are compared by each of their texts: one that holds is enough.
    fn compare(&mut self, comparison: Comparison, one: Found<'_>, two: Found<'_>) -> Result<bool, EvalError> {
        if matches!(one, Found::Boolean(_)) || matches!(two, Found::Boolean(_)) {
            return Ok(comparison.holds(Some(one.truth().cmp(&two.truth()))));
        }
        let numeric = !matches!(comparison, Comparison::Equal | Comparison::NotEqual)
            || matches!(one, Found::Number(_))
            || matches!(two, Found::Number(_));
        let (ones, twos) = (self.texts(one)?, self.texts(two)?);
        self.budget.take_nodes(ones.len().saturating_mul(twos.len()))?;
        Ok(ones.iter().any(|one| {
            twos.iter().any(|two| {
                let order = if numeric { number(one).partial_cmp(&number(two)) } else { Some(one.cmp(two)) };
                comparison.holds(order)
            })
        }))
    }

    fn texts<'d>(&mut self, found: Found<'d>) -> Result<Vec<Cow<'d, str>>, EvalError> {
        match found {
            Found::Spots(spots) => spots.iter().map(|spot| self.text_of(spot)).collect(),
            single => Ok(vec![self.text(single)?]),
        }
    }

    fn text<'d>(&mut self, found: Found<'d>) -> Result<Cow<'d, str>, EvalError> {
        Ok(match found {
            Found::Spots(spots) => spots.first().map_or(Ok(Cow::Borrowed("")), |spot| self.text_of(spot))?,
            Found::Text(text) => text,
            Found::Number(number) => Cow::Owned(number.to_string()),
            Found::Boolean(flag) => Cow::Borrowed(if flag { "true" } else { "false" }),
        })
    }

    fn number(&mut self, found: Found<'_>) -> Result<f64, EvalError> {
        Ok(match found {
            Found::Number(number) => number,
            Found::Boolean(flag) => f64::from(u8::from(flag)),
            other => number(&self.text(other)?),
        })
    }

    /// The text of an attribute, or all text below a node.
    fn text_of<'d>(&mut self, spot: &Spot<'d>) -> Result<Cow<'d, str>, EvalError> {
        if let Some(index) = spot.attribute {
            return Ok(Cow::Borrowed(spot.node.attributes().nth(index).map_or("", |found| found.value())));
        }
        let mut texts = Vec::new();
        for node in spot.node.descendants() {
            self.budget.take_nodes(1)?;
            if node.is_text() {
                texts.extend(node.text());
            }
        }
        if let [only] = *texts {
            self.budget.take_nodes(only.len() / 64)?;
            return Ok(Cow::Borrowed(only));
        }
        self.budget.take_text(texts.iter().map(|text| text.len()).sum())?;
        Ok(Cow::Owned(texts.concat()))
    }
}

impl<'d> Spot<'d> {
    fn name(&self) -> Option<&'d str> {
        match self.attribute {
            Some(index) => self.node.attributes().nth(index).map(|attribute| attribute.name()),
            None => self.node.is_element().then(|| self.node.tag_name().name()),
        }
    }
}

impl Axis {
    fn of<'d>(self, spot: Spot<'d>) -> Box<dyn Iterator<Item = Spot<'d>> + 'd> {
        let node = spot.node;
        let of_node = |node| Spot { node, attribute: None };
        match self {
            Self::Itself => Box::new(std::iter::once(spot)),
            Self::Parent if spot.attribute.is_some() => Box::new(std::iter::once(of_node(node))),
            Self::Parent => Box::new(node.parent().into_iter().map(of_node)),
            Self::DescendantOrSelf if spot.attribute.is_some() => Box::new(std::iter::once(spot)),
            Self::DescendantOrSelf => Box::new(node.descendants().map(of_node)),
            Self::Child | Self::Attribute if spot.attribute.is_some() => Box::new(std::iter::empty()),
            Self::Child => Box::new(node.children().map(of_node)),
            Self::Attribute => {
                let count = node.attributes().count();
                Box::new((0..count).map(move |index| Spot { node, attribute: Some(index) }))
            }
        }
    }
}

impl Test {
    fn holds(&self, spot: Spot<'_>) -> bool {
        match self {
            Self::Name(name) => spot.name() == Some(name),
            Self::Named => spot.name().is_some(),
            Self::Text => spot.attribute.is_none() && spot.node.is_text(),
            Self::Node => true,
        }
    }
}

fn spots(found: Found<'_>) -> Result<Vec<Spot<'_>>, EvalError> {
    match found {
        Found::Spots(spots) => Ok(spots),
        _ => Err(EvalError::Unfit { operation: "A count, sum or name in an XPath", found: "no nodes" }),
    }
}

/// The number that a text is, and no number where it is none.
fn number(text: &str) -> f64 {
    text.trim().parse().unwrap_or(f64::NAN)
}
