//! JSONPath (RFC 9535): compiled here from the library's syntax tree, evaluated in [`find`].
//!
//! The library parses; it does not evaluate. Its evaluation writes down the path of every node it passes,
//! which lets one message with long keys take the memory of the whole process, and has no bound.

mod find;

pub(crate) use find::Found;

use jsonpath_rust::parser::{model, parse_json_path};
use regex::Regex;
use serde_json::Value as Json;

use crate::{pattern, tree::Comparison};

/// The longest path, in bytes.
const MAX_PATH_BYTES: usize = 1 << 10;
/// How many filters and parentheses a path may have. The parser goes back over a function that turns out
/// not to be one, three times for each level; this keeps that within milliseconds.
const MAX_GROUPS: usize = 8;

/// A compiled path.
#[derive(Debug)]
pub(crate) enum JsonPath {
    /// Names and indices only: at most one node.
    Definite(Vec<Step>),
    /// Anything else: a list of nodes.
    Indefinite(Vec<Segment>),
}

/// One step to one node.
#[derive(Debug)]
pub(crate) enum Step {
    Name(Box<str>),
    Index(i64),
}

/// One step to any number of nodes.
#[derive(Debug)]
pub(crate) struct Segment {
    /// Whether it is taken from every node below as well.
    descends: bool,
    selectors: Vec<Selector>,
}

#[derive(Debug)]
enum Selector {
    One(Step),
    All,
    Slice { start: Option<i64>, end: Option<i64>, step: i64 },
    Filter(Filter),
}

#[derive(Debug)]
enum Filter {
    Any(Vec<Filter>),
    All(Vec<Filter>),
    Not(Box<Filter>),
    Exists(Query),
    Compare(Comparison, Operand, Operand),
    Matches(Operand, Regex),
}

/// A path inside a filter.
#[derive(Debug)]
struct Query {
    from_root: bool,
    segments: Vec<Segment>,
}

#[derive(Debug)]
enum Operand {
    Literal(Json),
    /// The node that a query finds, where it finds exactly one.
    Node(Query),
    Length(Box<Operand>),
    Count(Query),
}

impl JsonPath {
    /// Compiles a path; an error is a sentence.
    pub(crate) fn compile(text: &str) -> Result<Self, String> {
        if text.len() > MAX_PATH_BYTES {
            return Err(format!("A JSONPath has at most {MAX_PATH_BYTES} bytes."));
        }
        if text.bytes().filter(|byte| matches!(byte, b'?' | b'(')).count() > MAX_GROUPS {
            return Err(format!("A JSONPath has at most {MAX_GROUPS} filters and parentheses."));
        }
        let query = parse_json_path(text).map_err(|_| {
            format!(
                "'{text}' is no JSONPath as RFC 9535 has it; it begins with $, and names with other signs \
                 than letters, digits and _ stand in ['…']."
            )
        })?;
        let segments = segments(query.segments)?;
        Ok(if segments.iter().all(Segment::is_step) {
            Self::Definite(segments.into_iter().filter_map(Segment::into_step).collect())
        } else {
            Self::Indefinite(segments)
        })
    }
}

impl Segment {
    fn is_step(&self) -> bool {
        !self.descends && matches!(&*self.selectors, [Selector::One(_)])
    }

    fn into_step(self) -> Option<Step> {
        match self.selectors.into_iter().next() {
            Some(Selector::One(step)) => Some(step),
            _ => None,
        }
    }
}

fn segments(parsed: Vec<model::Segment>) -> Result<Vec<Segment>, String> {
    parsed.into_iter().map(segment).collect()
}

fn segment(parsed: model::Segment) -> Result<Segment, String> {
    Ok(match parsed {
        model::Segment::Descendant(inner) => Segment { descends: true, ..segment(*inner)? },
        model::Segment::Selector(one) => Segment { descends: false, selectors: vec![selector(one)?] },
        model::Segment::Selectors(several) => {
            let selectors = several.into_iter().map(selector).collect::<Result<_, _>>()?;
            Segment { descends: false, selectors }
        }
    })
}

fn selector(parsed: model::Selector) -> Result<Selector, String> {
    Ok(match parsed {
        model::Selector::Name(name) => Selector::One(Step::Name(name.into())),
        model::Selector::Index(index) => Selector::One(Step::Index(index)),
        model::Selector::Wildcard => Selector::All,
        model::Selector::Slice(start, end, step) => Selector::Slice { start, end, step: step.unwrap_or(1) },
        model::Selector::Filter(condition) => Selector::Filter(filter(condition)?),
    })
}

fn filter(parsed: model::Filter) -> Result<Filter, String> {
    let all = |filters: Vec<model::Filter>| filters.into_iter().map(filter).collect::<Result<_, _>>();
    let (filter, not) = match parsed {
        model::Filter::Or(filters) => (Filter::Any(all(filters)?), false),
        model::Filter::And(filters) => (Filter::All(all(filters)?), false),
        model::Filter::Atom(model::FilterAtom::Filter { expr, not }) => (filter(*expr)?, not),
        model::Filter::Atom(model::FilterAtom::Test { expr, not }) => (test(*expr)?, not),
        model::Filter::Atom(model::FilterAtom::Comparison(comparison)) => (compare(*comparison)?, false),
    };
    Ok(if not { Filter::Not(Box::new(filter)) } else { filter })
}

fn test(parsed: model::Test) -> Result<Filter, String> {
    let (subject, pattern, compile): (_, _, fn(&str) -> _) = match parsed {
        model::Test::Function(function) => match *function {
            model::TestFunction::Match(subject, pattern) => (subject, pattern, pattern::whole),
            model::TestFunction::Search(subject, pattern) => (subject, pattern, pattern::part),
            other => return Err(format!("The JSONPath function {other} is no condition by itself.")),
        },
        path => return Ok(Filter::Exists(query(path)?)),
    };
    let model::FnArg::Literal(model::Literal::String(pattern)) = pattern else {
        return Err("The pattern of match and search in a JSONPath has to be a text in quotes.".to_owned());
    };
    Ok(Filter::Matches(argument(subject)?, compile(&pattern)?))
}

fn compare(parsed: model::Comparison) -> Result<Filter, String> {
    use model::Comparison as C;
    let (comparison, one, two) = match parsed {
        C::Eq(one, two) => (Comparison::Equal, one, two),
        C::Ne(one, two) => (Comparison::NotEqual, one, two),
        C::Gt(one, two) => (Comparison::Greater, one, two),
        C::Gte(one, two) => (Comparison::GreaterOrEqual, one, two),
        C::Lt(one, two) => (Comparison::Less, one, two),
        C::Lte(one, two) => (Comparison::LessOrEqual, one, two),
    };
    Ok(Filter::Compare(comparison, comparable(one)?, comparable(two)?))
}

fn comparable(parsed: model::Comparable) -> Result<Operand, String> {
    let (from_root, steps) = match parsed {
        model::Comparable::Literal(value) => return Ok(Operand::Literal(literal(value))),
        model::Comparable::Function(called) => return function(called),
        model::Comparable::SingularQuery(model::SingularQuery::Current(steps)) => (false, steps),
        model::Comparable::SingularQuery(model::SingularQuery::Root(steps)) => (true, steps),
    };
    let segments = steps.into_iter().map(|step| {
        let step = match step {
            model::SingularQuerySegment::Index(index) => Step::Index(index),
            model::SingularQuerySegment::Name(name) => Step::Name(name.into()),
        };
        Segment { descends: false, selectors: vec![Selector::One(step)] }
    });
    Ok(Operand::Node(Query { from_root, segments: segments.collect() }))
}

fn literal(parsed: model::Literal) -> Json {
    match parsed {
        model::Literal::Int(number) => number.into(),
        model::Literal::Float(number) => number.into(),
        model::Literal::String(text) => text.into(),
        model::Literal::Bool(flag) => flag.into(),
        model::Literal::Null => Json::Null,
    }
}

fn function(parsed: model::TestFunction) -> Result<Operand, String> {
    match parsed {
        model::TestFunction::Length(of) => Ok(Operand::Length(Box::new(argument(*of)?))),
        model::TestFunction::Count(model::FnArg::Test(of)) => query(*of).map(Operand::Count),
        model::TestFunction::Value(model::FnArg::Test(of)) => query(*of).map(Operand::Node),
        other => Err(format!(
            "The JSONPath function {other} cannot be compared. Known are: length, count, value, and as \
             conditions match, search."
        )),
    }
}

fn argument(parsed: model::FnArg) -> Result<Operand, String> {
    match parsed {
        model::FnArg::Literal(value) => Ok(Operand::Literal(literal(value))),
        model::FnArg::Test(test) => match *test {
            model::Test::Function(called) => function(*called),
            path => query(path).map(Operand::Node),
        },
        model::FnArg::Filter(_) => Err("A condition is no argument of a JSONPath function.".to_owned()),
    }
}

fn query(parsed: model::Test) -> Result<Query, String> {
    match parsed {
        model::Test::RelQuery(path) => Ok(Query { from_root: false, segments: segments(path)? }),
        model::Test::AbsQuery(path) => Ok(Query { from_root: true, segments: segments(path.segments)? }),
        model::Test::Function(called) => {
            Err(format!("A path was expected, not the JSONPath function {called}."))
        }
    }
}
