//! A tree and a context to a value. Every way through here ends: trees are bounded when they are parsed,
//! and what they make or walk is counted against a [`Budget`].

use std::borrow::Cow;

use crate::{
    EvalContext,
    bound::{Budget, weight},
    error::EvalError,
    jsonpath::{Found, JsonPath},
    pattern,
    root::Property,
    tree::{Calculation, Escape, Node, Path, Pattern},
    value::Value,
};

/// One evaluation under way.
pub(crate) struct Evaluation<'a> {
    context: EvalContext<'a>,
    budget: Budget,
}

impl<'a> Evaluation<'a> {
    pub(crate) const fn new(context: EvalContext<'a>) -> Self {
        Self { context, budget: Budget::new() }
    }

    /// The value of a part of an expression.
    pub(crate) fn value(&mut self, node: &'a Node) -> Result<Value<'a>, EvalError> {
        match node {
            Node::Null | Node::Boolean(_) | Node::Integer(_) | Node::Float(_) | Node::Text(_) => {
                Ok(node.literal().unwrap_or(Value::Null))
            }
            Node::Property(property) => property.read(&self.context),
            Node::List(items) => self.all(items).map(Value::List),
            Node::Not(of) => self.truth(of).map(|flag| Value::Boolean(!flag)),
            Node::Negate(of) => self.negate(of),
            Node::And(sides) => Ok(Value::Boolean(self.truth(&sides[0])? && self.truth(&sides[1])?)),
            Node::Or(sides) => Ok(Value::Boolean(self.truth(&sides[0])? || self.truth(&sides[1])?)),
            Node::Compare(comparison, sides) => {
                let (one, two) = (self.value(&sides[0])?, self.value(&sides[1])?);
                one.stands(*comparison, &two).map(Value::Boolean)
            }
            Node::Calculate(calculation, sides) => self.calculate(*calculation, sides),
            Node::Matches(subject, pattern) => self.matches(subject, pattern),
            Node::Choose(parts) => {
                let chosen = if self.truth(&parts[0])? { &parts[1] } else { &parts[2] };
                self.value(chosen)
            }
            Node::Elvis(sides) => match self.value(&sides[0])? {
                Value::Null => self.value(&sides[1]),
                Value::Text(text) if text.is_empty() => self.value(&sides[1]),
                present => Ok(present),
            },
            Node::Member { of, key, safe } => self.member(of, key, *safe),
            Node::Index { of, index, safe } => self.index(of, index, *safe),
            Node::Call { of, method, arguments, safe } => {
                let of = self.value(of)?;
                if *safe && matches!(of, Value::Null) {
                    return Ok(Value::Null);
                }
                let arguments = self.all(arguments)?;
                method.call(of, &arguments, &mut self.budget)
            }
            Node::JsonPath { document, path } => self.json_path(document, path),
            Node::Escape(escape, of) => self.escape(*escape, of),
        }
    }

    /// Writes a value as text onto the end of another, within the bound.
    pub(crate) fn append(&mut self, text: &mut String, value: &Value<'_>) -> Result<(), EvalError> {
        text.push_str(&self.text(value)?);
        Ok(())
    }

    fn text(&mut self, value: &Value<'_>) -> Result<String, EvalError> {
        if !value.has_text() {
            return Err(EvalError::Unfit { operation: "Turning into text", found: value.kind() });
        }
        let mut made = self.budget.text();
        value.write_text(&mut made).map_err(|_| EvalError::Bound("1 MiB of made text"))?;
        Ok(made.finish())
    }

    fn all(&mut self, nodes: &'a [Node]) -> Result<Vec<Value<'a>>, EvalError> {
        nodes.iter().map(|node| self.value(node)).collect()
    }

    fn truth(&mut self, node: &'a Node) -> Result<bool, EvalError> {
        self.value(node)?.truth()
    }

    fn negate(&mut self, of: &'a Node) -> Result<Value<'a>, EvalError> {
        match self.value(of)? {
            Value::Integer(number) => {
                number.checked_neg().map(Value::Integer).ok_or(EvalError::Arithmetic("-"))
            }
            Value::Float(number) => Ok(Value::Float(-number)),
            other => Err(EvalError::Unfit { operation: "-", found: other.kind() }),
        }
    }

    fn calculate(&mut self, calculation: Calculation, sides: &'a [Node; 2]) -> Result<Value<'a>, EvalError> {
        let (one, two) = (self.value(&sides[0])?, self.value(&sides[1])?);
        let joins = matches!(calculation, Calculation::Add);
        if joins && (matches!(one, Value::Text(_)) || matches!(two, Value::Text(_))) {
            let mut joined = String::new();
            for side in [&one, &two] {
                // Joined text shows what is missing, as it does in the language this one follows.
                let side =
                    if matches!(side, Value::Null) { &Value::Text(Cow::Borrowed("null")) } else { side };
                self.append(&mut joined, side)?;
            }
            return Ok(Value::Text(Cow::Owned(joined)));
        }
        let sign = calculation.sign();
        if let (Value::Integer(one), Value::Integer(two)) = (&one, &two) {
            return whole(calculation, *one, *two).map(Value::Integer).ok_or(EvalError::Arithmetic(sign));
        }
        match (one.as_float(), two.as_float()) {
            (Some(one), Some(two)) => Ok(Value::Float(fraction(calculation, one, two))),
            (None, _) => Err(EvalError::Unfit { operation: sign, found: one.kind() }),
            (_, None) => Err(EvalError::Unfit { operation: sign, found: two.kind() }),
        }
    }

    fn matches(&mut self, subject: &'a Node, pattern: &'a Pattern) -> Result<Value<'a>, EvalError> {
        let operation = "matches";
        let subject = match self.value(subject)? {
            Value::Text(text) => text,
            Value::Null => return Ok(Value::Boolean(false)),
            other => return Err(EvalError::Unfit { operation, found: other.kind() }),
        };
        self.budget.take_reading(&subject)?;
        let matched = match pattern {
            Pattern::Compiled(pattern) => pattern.is_match(&subject),
            Pattern::Computed(node) => match self.value(node)? {
                Value::Text(text) => pattern::whole(&text).map_err(EvalError::Pattern)?.is_match(&subject),
                other => return Err(EvalError::Unfit { operation, found: other.kind() }),
            },
        };
        Ok(Value::Boolean(matched))
    }

    fn member(&mut self, of: &'a Node, key: &str, safe: bool) -> Result<Value<'a>, EvalError> {
        match self.value(of)? {
            Value::Null if safe => Ok(Value::Null),
            Value::Null => Err(EvalError::OfNull("property")),
            map if map.kind() == "a map" => Ok(map.entry(key).unwrap_or(Value::Null)),
            other => Err(EvalError::Unfit { operation: "A property", found: other.kind() }),
        }
    }

    fn index(&mut self, of: &'a Node, index: &'a Node, safe: bool) -> Result<Value<'a>, EvalError> {
        let of = self.value(of)?;
        match (&of, self.value(index)?) {
            (Value::Null, _) if safe => Ok(Value::Null),
            (Value::Null, _) => Err(EvalError::OfNull("index")),
            (map, Value::Text(key)) if map.kind() == "a map" => Ok(map.entry(&key).unwrap_or(Value::Null)),
            (_, number) => of.at(&number),
        }
    }

    fn json_path(&mut self, document: &'a Node, path: &'a Path) -> Result<Value<'a>, EvalError> {
        let computed;
        let path = match path {
            Path::Compiled(path) => path,
            Path::Computed(node) => match self.value(node)? {
                Value::Text(text) => {
                    computed = JsonPath::compile(&text).map_err(EvalError::JsonPath)?;
                    &computed
                }
                other => return Err(EvalError::Unfit { operation: "#jsonPath", found: other.kind() }),
            },
        };
        // What the message holds is parsed once for all who ask, and borrowed.
        if let Node::Property(Property::MessageContent) = document {
            let message = self.context.message().ok_or(EvalError::NoMessage)?;
            return match message.json().ok_or(EvalError::NotJson)? {
                Cow::Borrowed(json) => self.borrowed(path, json),
                Cow::Owned(json) => self.copied(path, &json),
            };
        }
        match self.value(document)? {
            Value::Json(Cow::Borrowed(json)) => self.borrowed(path, json),
            Value::Json(Cow::Owned(json)) => self.copied(path, &json),
            Value::Text(text) => {
                let json = serde_json::from_str(&text).map_err(|_| EvalError::NotJson)?;
                self.copied(path, &json)
            }
            other => Err(EvalError::Unfit { operation: "#jsonPath", found: other.kind() }),
        }
    }

    fn borrowed(&mut self, path: &JsonPath, json: &'a serde_json::Value) -> Result<Value<'a>, EvalError> {
        Ok(match path.find(json, &mut self.budget)? {
            Found::One(node) => node.map_or(Value::Null, Value::from_json),
            Found::Many(nodes) => Value::List(nodes.into_iter().map(Value::from_json).collect()),
        })
    }

    /// As [`borrowed`](Self::borrowed), of a document that does not live as long as the message.
    fn copied(&mut self, path: &JsonPath, json: &serde_json::Value) -> Result<Value<'a>, EvalError> {
        let found = path.find(json, &mut self.budget)?;
        let mut copy = |node: &serde_json::Value| {
            self.budget.take_nodes(weight(node))?;
            Ok(Value::from_owned_json(node.clone()))
        };
        match found {
            Found::One(node) => node.map_or(Ok(Value::Null), copy),
            Found::Many(nodes) => nodes.into_iter().map(&mut copy).collect::<Result<_, _>>().map(Value::List),
        }
    }

    fn escape(&mut self, escape: Escape, of: &'a Node) -> Result<Value<'a>, EvalError> {
        let plain = match self.value(of)? {
            Value::Null => return Ok(Value::Null),
            Value::Text(text) => text,
            other => Cow::Owned(self.text(&other)?),
        };
        let mut made = self.budget.text();
        for character in plain.chars() {
            match escape.replacement(character) {
                Some(replacement) => made.push(&replacement)?,
                None => made.push(character.encode_utf8(&mut [0; 4]))?,
            }
        }
        Ok(Value::Text(Cow::Owned(made.finish())))
    }
}

impl Escape {
    fn replacement(self, character: char) -> Option<Cow<'static, str>> {
        let fixed = match (self, character) {
            (Self::Json, '"') => "\\\"",
            (Self::Json, '\\') => "\\\\",
            (Self::Json, '\n') => "\\n",
            (Self::Json, '\r') => "\\r",
            (Self::Json, '\t') => "\\t",
            (Self::Json, control) if control < ' ' => {
                return Some(Cow::Owned(format!("\\u{:04x}", u32::from(control))));
            }
            (Self::Xml, '&') => "&amp;",
            (Self::Xml, '<') => "&lt;",
            (Self::Xml, '>') => "&gt;",
            (Self::Xml, '"') => "&quot;",
            (Self::Xml, '\'') => "&apos;",
            _ => return None,
        };
        Some(Cow::Borrowed(fixed))
    }
}

fn whole(calculation: Calculation, one: i64, two: i64) -> Option<i64> {
    match calculation {
        Calculation::Add => one.checked_add(two),
        Calculation::Subtract => one.checked_sub(two),
        Calculation::Multiply => one.checked_mul(two),
        Calculation::Divide => one.checked_div(two),
        Calculation::Remainder => one.checked_rem(two),
    }
}

fn fraction(calculation: Calculation, one: f64, two: f64) -> f64 {
    match calculation {
        Calculation::Add => one + two,
        Calculation::Subtract => one - two,
        Calculation::Multiply => one * two,
        Calculation::Divide => one / two,
        Calculation::Remainder => one % two,
    }
}
