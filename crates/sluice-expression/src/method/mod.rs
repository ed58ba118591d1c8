//! The methods that may be called on values: tables, read by the parser for what is known and by the
//! evaluator for what is done. None writes, and none is reached by reflection.

mod list;
mod scalar;
pub(crate) mod text;

use crate::{
    call::{Call, Called},
    error::EvalError,
    pattern, time,
    tree::Kind,
    value::Value,
};

/// One method of one kind of value.
#[derive(Debug)]
pub(crate) struct Method {
    name: &'static str,
    on: Kind,
    /// The fewest and the most arguments.
    arguments: (usize, usize),
    result: Kind,
    body: Body,
}

type Body = for<'a> fn(Value<'a>, &mut Call<'_, 'a>) -> Called<'a>;

impl Method {
    const fn new(on: Kind, name: &'static str, arguments: (usize, usize), result: Kind, body: Body) -> Self {
        Self { name, on, arguments, result, body }
    }

    /// The methods of this name for a value of this kind, which may be any; an error is a sentence that
    /// lists those there are.
    pub(crate) fn find(name: &str, of: Kind, arguments: usize) -> Result<Box<[&'static Self]>, String> {
        let on_kind = || all().filter(|method| of == Kind::Any || method.on == of);
        let named: Vec<_> = on_kind().filter(|method| method.name == name).collect();
        let takes = |method: &&&Self| (method.arguments.0..=method.arguments.1).contains(&arguments);
        let fitting: Box<[_]> = named.iter().filter(takes).copied().collect();
        if !fitting.is_empty() {
            return Ok(fitting);
        }
        let noun = of.noun();
        if let Some(method) = named.first() {
            let (fewest, most) = method.arguments;
            let count = if fewest == most { fewest.to_string() } else { format!("{fewest} to {most}") };
            return Err(format!("The method '{name}' takes {count} arguments, not {arguments}."));
        }
        let mut known: Vec<_> = on_kind().map(|method| method.name).collect();
        known.sort_unstable();
        known.dedup();
        Err(if known.is_empty() {
            format!("There are no methods on {noun}.")
        } else {
            format!("There is no method '{name}' on {noun}. Known are: {}.", known.join(", "))
        })
    }

    /// What one of these methods gives, whichever it is.
    pub(crate) fn result_of(methods: &[&Self]) -> Kind {
        match methods {
            [first, rest @ ..] if rest.iter().all(|method| method.result == first.result) => first.result,
            _ => Kind::Any,
        }
    }

    /// Calls the one of these methods that is for this kind of value.
    pub(crate) fn call<'a>(
        methods: &[&'static Self],
        of: Value<'a>,
        arguments: &[Value<'a>],
        budget: &mut crate::bound::Budget,
    ) -> Called<'a> {
        let kind = of.kind();
        let Some(method) = methods.iter().find(|method| method.on == kind) else {
            if kind == Kind::Null {
                return Err(EvalError::OfNull("method"));
            }
            let operation = methods.first().map_or("A method", |method| method.name);
            return Err(EvalError::Unfit { operation, found: of.noun() });
        };
        (method.body)(of, &mut Call { name: method.name, arguments, budget })
    }
}

/// Says in a sentence what is wrong with a text.
pub(crate) type Check = fn(&str) -> Result<(), String>;

/// How the first argument of this method or function is checked where it is known when the expression is
/// written.
pub(crate) fn check_of_literal(name: &str) -> Option<Check> {
    match name {
        "matches" | "replaceAll" | "replaceFirst" | "split" => Some(|text| pattern::part(text).map(drop)),
        "ofPattern" | "SimpleDateFormat" => Some(time::check_pattern),
        _ => None,
    }
}

fn all() -> impl Iterator<Item = &'static Method> {
    [text::METHODS, list::METHODS, list::OF_MAPS, scalar::METHODS].into_iter().flatten()
}

/// Two values are equal as `==` has it.
fn equals<'a>(of: &Value<'a>, call: &mut Call<'_, 'a>) -> Called<'a> {
    Ok(Value::Boolean(of.equals(call.value(0))))
}

/// The text of a value.
fn to_string<'a>(of: &Value<'a>, call: &mut Call<'_, 'a>) -> Called<'a> {
    call.budget.show(of).map(Value::Text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_has_a_method_of_a_name_once() {
        let mut seen = std::collections::HashSet::new();
        assert!(all().all(|method| seen.insert((method.name, method.on.noun()))));
    }
}
