//! Walks a JSON document along a compiled path. Every node that is looked at is counted against the
//! bound of the evaluation, so that neither a path nor a document can make it long.

use std::{borrow::Cow, cmp::Ordering};

use serde_json::Value as Json;

use super::{Filter, JsonPath, Operand, Query, Segment, Selector, Step};
use crate::{
    bound::{Budget, weight},
    error::EvalError,
    tree::Comparison,
};

/// What a path leads to.
pub(crate) enum Found<'j> {
    /// The node of a definite path, if it is there.
    One(Option<&'j Json>),
    /// The nodes of an indefinite path, in the order of the document.
    Many(Vec<&'j Json>),
}

impl JsonPath {
    /// The nodes of a document to which this path leads.
    pub(crate) fn find<'j>(&self, document: &'j Json, budget: &mut Budget) -> Result<Found<'j>, EvalError> {
        match self {
            Self::Definite(steps) => {
                Ok(Found::One(steps.iter().try_fold(document, |node, step| step.take(node))))
            }
            Self::Indefinite(segments) => {
                Walk { root: document, budget }.along(segments, document).map(Found::Many)
            }
        }
    }
}

impl Step {
    fn take<'j>(&self, node: &'j Json) -> Option<&'j Json> {
        match self {
            Self::Name(name) => node.as_object()?.get(&**name),
            Self::Index(index) => {
                let items = node.as_array()?;
                items.get(
                    usize::try_from(*index)
                        .ok()
                        .or_else(|| items.len().checked_sub(usize::try_from(index.unsigned_abs()).ok()?))?,
                )
            }
        }
    }
}

struct Walk<'j, 'b> {
    root: &'j Json,
    budget: &'b mut Budget,
}

impl<'j> Walk<'j, '_> {
    fn along(&mut self, segments: &[Segment], from: &'j Json) -> Result<Vec<&'j Json>, EvalError> {
        let mut nodes = vec![from];
        for segment in segments {
            let mut found = Vec::new();
            for node in nodes {
                self.segment(segment, node, &mut found)?;
            }
            nodes = found;
        }
        Ok(nodes)
    }

    // Recursion is bounded: a JSON document does not nest deeper than its parser allows.
    fn segment(
        &mut self,
        segment: &Segment,
        node: &'j Json,
        found: &mut Vec<&'j Json>,
    ) -> Result<(), EvalError> {
        self.budget.take_nodes(1)?;
        for selector in &segment.selectors {
            self.select(selector, node, found)?;
        }
        if segment.descends {
            for child in children(node) {
                self.segment(segment, child, found)?;
            }
        }
        Ok(())
    }

    fn select(
        &mut self,
        selector: &Selector,
        node: &'j Json,
        found: &mut Vec<&'j Json>,
    ) -> Result<(), EvalError> {
        let before = found.len();
        match selector {
            Selector::One(step) => found.extend(step.take(node)),
            Selector::All => found.extend(children(node)),
            Selector::Slice { start, end, step } => {
                found.extend(node.as_array().into_iter().flat_map(|items| slice(items, *start, *end, *step)));
            }
            Selector::Filter(filter) => {
                for child in children(node) {
                    self.budget.take_nodes(1)?;
                    if self.holds(filter, child)? {
                        found.push(child);
                    }
                }
            }
        }
        self.budget.take_nodes(found.len() - before)
    }

    fn holds(&mut self, filter: &Filter, node: &'j Json) -> Result<bool, EvalError> {
        match filter {
            Filter::Any(filters) => self.first(filters, node, true),
            Filter::All(filters) => self.first(filters, node, false).map(|failed| !failed),
            Filter::Not(filter) => self.holds(filter, node).map(|holds| !holds),
            Filter::Exists(query) => self.query(query, node).map(|nodes| !nodes.is_empty()),
            Filter::Compare(comparison, one, two) => {
                let (one, two) = (self.operand(one, node)?, self.operand(two, node)?);
                Ok(compare(*comparison, one.as_deref(), two.as_deref()))
            }
            Filter::Matches(subject, pattern) => {
                let subject = self.operand(subject, node)?;
                Ok(subject.as_deref().and_then(Json::as_str).is_some_and(|text| pattern.is_match(text)))
            }
        }
    }

    /// Whether any of the filters comes out as `wanted`.
    fn first(&mut self, filters: &[Filter], node: &'j Json, wanted: bool) -> Result<bool, EvalError> {
        for filter in filters {
            if self.holds(filter, node)? == wanted {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn query(&mut self, query: &Query, node: &'j Json) -> Result<Vec<&'j Json>, EvalError> {
        self.along(&query.segments, if query.from_root { self.root } else { node })
    }

    fn operand<'o>(
        &mut self,
        operand: &'o Operand,
        node: &'j Json,
    ) -> Result<Option<Cow<'o, Json>>, EvalError>
    where
        'j: 'o,
    {
        Ok(match operand {
            Operand::Literal(value) => Some(Cow::Borrowed(value)),
            Operand::Node(query) => match &*self.query(query, node)? {
                [one] => {
                    // A filter reads its operands through, for every item anew.
                    self.budget.take_nodes(weight(one))?;
                    Some(Cow::Borrowed(*one))
                }
                _ => None,
            },
            Operand::Length(of) => {
                let length = match self.operand(of, node)?.as_deref() {
                    Some(Json::String(text)) => Some(text.chars().count()),
                    Some(Json::Array(items)) => Some(items.len()),
                    Some(Json::Object(members)) => Some(members.len()),
                    _ => None,
                };
                length.map(|length| Cow::Owned(length.into()))
            }
            Operand::Count(query) => Some(Cow::Owned(self.query(query, node)?.len().into())),
        })
    }
}

fn children(node: &Json) -> impl Iterator<Item = &Json> {
    let items = node.as_array().into_iter().flatten();
    items.chain(node.as_object().into_iter().flat_map(serde_json::Map::values))
}

/// The items from `start` to before `end`, by `step`; negative numbers count from the end.
fn slice(items: &[Json], start: Option<i64>, end: Option<i64>, step: i64) -> impl Iterator<Item = &Json> {
    let len = i64::try_from(items.len()).unwrap_or(i64::MAX);
    let from_end = |at: i64| if at < 0 { len.saturating_add(at) } else { at };
    let (first, last) = if step > 0 {
        (start.map_or(0, from_end).clamp(0, len), end.map_or(len, from_end).clamp(0, len))
    } else {
        (start.map_or(len - 1, from_end).clamp(-1, len - 1), end.map_or(-1, from_end).clamp(-1, len - 1))
    };
    let next = move |at: &i64| at.checked_add(step);
    let within = move |at: &i64| match step.cmp(&0) {
        Ordering::Greater => *at < last,
        Ordering::Equal => false,
        Ordering::Less => *at > last,
    };
    std::iter::successors(Some(first), next)
        .take_while(within)
        .filter_map(|at| items.get(usize::try_from(at).ok()?))
}

/// RFC 9535, 2.3.5.2.2: order is known among numbers and among texts; two absent nodes are equal.
fn compare(comparison: Comparison, one: Option<&Json>, two: Option<&Json>) -> bool {
    let order = match (one, two) {
        (Some(Json::Number(one)), Some(Json::Number(two))) => match (one.as_i64(), two.as_i64()) {
            (Some(one), Some(two)) => Some(one.cmp(&two)),
            _ => one.as_f64().partial_cmp(&two.as_f64()),
        },
        (Some(Json::String(one)), Some(Json::String(two))) => Some(one.cmp(two)),
        (one, two) => (one == two).then_some(Ordering::Equal),
    };
    comparison.holds(order)
}
