//! A tree and a context to a value. Every way through here ends: trees are bounded when they are parsed,
//! and what they make or walk is counted against a [`Budget`].

use std::borrow::Cow;

use crate::{
    EvalContext,
    bound::{Budget, bytes_weight, value_weight, weight},
    document,
    error::EvalError,
    jsonpath::{Found, JsonPath},
    map::{Entries, Map},
    method::Method,
    pattern,
    tree::{Calculation, Comparison, Document, Escape, Kind, Node, Path, Pattern, Pick, XPathResult},
    value::Value,
    xpath::XPath,
};

/// One evaluation under way.
pub(crate) struct Evaluation<'a> {
    context: EvalContext<'a>,
    budget: Budget,
    /// The items that the selections and projections look at around what is evaluated, outermost first.
    items: Vec<Value<'a>>,
}

impl<'a> Evaluation<'a> {
    pub(crate) const fn new(context: EvalContext<'a>) -> Self {
        Self { context, budget: Budget::new(), items: Vec::new() }
    }

    /// The value of a part of an expression.
    pub(crate) fn value(&mut self, node: &'a Node) -> Result<Value<'a>, EvalError> {
        let value = self.outright(node)?;
        if !self.items.is_empty() {
            // Inside a loop everything counts. No operation takes longer than its operands are large.
            self.budget.take_nodes(value_weight(&value))?;
        }
        Ok(value)
    }

    fn outright(&mut self, node: &'a Node) -> Result<Value<'a>, EvalError> {
        match node {
            Node::Null | Node::Boolean(_) | Node::Integer(_) | Node::Float(_) | Node::Text(_) => {
                Ok(node.literal().unwrap_or(Value::Null))
            }
            Node::Property(property) => {
                self.budget.take_nodes(property.cost(&self.context))?;
                property.read(&self.context)
            }
            Node::Secret(name) => self.secret(name),
            Node::This => Ok(self.items.last().cloned().unwrap_or(Value::Null)),
            Node::List(items) => self.all(items).map(Value::List),
            Node::Map(entries) => self.map(entries),
            Node::Not(of) => self.truth(of).map(|flag| Value::Boolean(!flag)),
            Node::Negate(of) => self.negate(of),
            Node::And(sides) => Ok(Value::Boolean(self.truth(&sides[0])? && self.truth(&sides[1])?)),
            Node::Or(sides) => Ok(Value::Boolean(self.truth(&sides[0])? || self.truth(&sides[1])?)),
            Node::Compare(comparison, sides) => {
                let (one, two) = (self.value(&sides[0])?, self.value(&sides[1])?);
                one.stands(*comparison, &two).map(Value::Boolean)
            }
            Node::Between(sides) => self.between(sides),
            Node::InstanceOf(of, class) => Ok(Value::Boolean(class.holds(&self.value(of)?))),
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
            Node::Call { of, methods, arguments, safe } => {
                let of = self.value(of)?;
                if *safe && matches!(of, Value::Null) {
                    return Ok(Value::Null);
                }
                let arguments = self.all(arguments)?;
                Method::call(methods, of, &arguments, &mut self.budget)
            }
            Node::Static { function, arguments } => {
                let arguments = self.all(arguments)?;
                function.call(&arguments, &mut self.budget)
            }
            Node::Each { of, pick, body, safe } => self.each(of, *pick, body, *safe),
            Node::JsonPath { document, path } => self.json_path(document, path),
            Node::XPath { document, path, result } => self.xpath(document, path, *result),
            Node::Escape(escape, of) => self.escape(*escape, of),
        }
    }

    /// Writes the value of a part as text onto the end of another.
    pub(crate) fn append(&mut self, text: &mut String, node: &'a Node) -> Result<(), EvalError> {
        let value = self.value(node)?;
        self.budget.append(text, &value)
    }

    fn all(&mut self, nodes: &'a [Node]) -> Result<Vec<Value<'a>>, EvalError> {
        nodes.iter().map(|node| self.value(node)).collect()
    }

    fn map(&mut self, entries: &'a [(Box<str>, Node)]) -> Result<Value<'a>, EvalError> {
        let made = entries.iter().map(|(name, node)| Ok((Cow::Borrowed(&**name), self.value(node)?)));
        made.collect::<Result<_, _>>().map(|entries| Value::Map(Map::Made(entries)))
    }

    fn secret(&self, name: &str) -> Result<Value<'a>, EvalError> {
        let secret = self.context.environment().and_then(|environment| environment.secrets.get(name));
        secret.map(|text| Value::borrowed_text(text)).ok_or_else(|| EvalError::NoSecret(name.into()))
    }

    fn truth(&mut self, node: &'a Node) -> Result<bool, EvalError> {
        self.value(node)?.truth()
    }

    fn between(&mut self, sides: &'a [Node; 2]) -> Result<Value<'a>, EvalError> {
        let (value, bounds) = (self.value(&sides[0])?, self.value(&sides[1])?.into_items());
        let [lowest, highest] = &*bounds else {
            return Err(EvalError::Unfit { operation: "between", found: "a list of another length" });
        };
        let within = value.stands(Comparison::GreaterOrEqual, lowest)?
            && value.stands(Comparison::LessOrEqual, highest)?;
        Ok(Value::Boolean(within))
    }

    fn each(&mut self, of: &'a Node, pick: Pick, body: &'a Node, safe: bool) -> Result<Value<'a>, EvalError> {
        let of = self.value(of)?;
        let is_map = of.kind() == Kind::Map;
        let mut items = match of.kind() {
            Kind::Null if safe => return Ok(Value::Null),
            Kind::Null => return Err(EvalError::OfNull("items")),
            Kind::Map => entries(&of),
            Kind::List => of.into_items(),
            _ => return Err(EvalError::Unfit { operation: "A selection", found: of.noun() }),
        };
        self.budget.take_nodes(items.len())?;
        if pick == Pick::Last {
            items.reverse();
        }
        let mut kept = Vec::new();
        for item in items {
            self.items.push(item);
            let made = self.value(body);
            let item = self.items.pop().unwrap_or(Value::Null);
            match pick {
                Pick::Made => kept.push(made?),
                _ if made?.truth()? => kept.push(item),
                _ => {}
            }
            if matches!(pick, Pick::First | Pick::Last) && !kept.is_empty() {
                break;
            }
        }
        let picked_map = is_map && pick != Pick::Made;
        let whole =
            |kept| if picked_map { Value::Map(Map::Made(from_entries(kept))) } else { Value::List(kept) };
        Ok(match pick {
            Pick::First | Pick::Last if !is_map => kept.pop().unwrap_or(Value::Null),
            Pick::First | Pick::Last if kept.is_empty() => Value::Null,
            _ => whole(kept),
        })
    }

    fn negate(&mut self, of: &'a Node) -> Result<Value<'a>, EvalError> {
        match self.value(of)? {
            Value::Integer(number) => {
                number.checked_neg().map(Value::Integer).ok_or(EvalError::Arithmetic("-"))
            }
            Value::Float(number) => Ok(Value::Float(-number)),
            other => Err(EvalError::Unfit { operation: "-", found: other.noun() }),
        }
    }

    fn calculate(&mut self, calculation: Calculation, sides: &'a [Node; 2]) -> Result<Value<'a>, EvalError> {
        let (one, two) = (self.value(&sides[0])?, self.value(&sides[1])?);
        let joins = matches!(calculation, Calculation::Add);
        if joins && (matches!(one, Value::Text(_)) || matches!(two, Value::Text(_))) {
            let mut joined = String::new();
            for side in [&one, &two] {
                // Joined text shows what is missing, as it does in the language this one follows.
                let side = if matches!(side, Value::Null) { &Value::borrowed_text("null") } else { side };
                self.budget.append(&mut joined, side)?;
            }
            return Ok(Value::made(joined));
        }
        let sign = calculation.sign();
        if let (Value::Integer(one), Value::Integer(two)) = (&one, &two) {
            return whole(calculation, *one, *two).ok_or(EvalError::Arithmetic(sign));
        }
        match (one.as_float(), two.as_float()) {
            (Some(one), Some(two)) => Ok(Value::Float(fraction(calculation, one, two))),
            (None, _) => Err(EvalError::Unfit { operation: sign, found: one.noun() }),
            (_, None) => Err(EvalError::Unfit { operation: sign, found: two.noun() }),
        }
    }

    fn matches(&mut self, subject: &'a Node, pattern: &'a Pattern) -> Result<Value<'a>, EvalError> {
        let operation = "matches";
        let subject = match self.value(subject)? {
            Value::Text(text) => text,
            Value::Null => return Ok(Value::Boolean(false)),
            other => return Err(EvalError::Unfit { operation, found: other.noun() }),
        };
        self.budget.take_reading(&subject)?;
        let matched = match pattern {
            Pattern::Compiled(pattern) => pattern.is_match(&subject),
            Pattern::Computed(node) => match self.value(node)? {
                Value::Text(text) => {
                    self.budget.take_compiling()?;
                    pattern::whole(&text).map_err(EvalError::Pattern)?.is_match(&subject)
                }
                other => return Err(EvalError::Unfit { operation, found: other.noun() }),
            },
        };
        Ok(Value::Boolean(matched))
    }

    fn member(&mut self, of: &'a Node, key: &str, safe: bool) -> Result<Value<'a>, EvalError> {
        match self.value(of)? {
            Value::Null if safe => Ok(Value::Null),
            Value::Null => Err(EvalError::OfNull("property")),
            map if map.kind() == Kind::Map => Ok(map.entry(key).unwrap_or(Value::Null)),
            other => Err(EvalError::Unfit { operation: "A property", found: other.noun() }),
        }
    }

    fn index(&mut self, of: &'a Node, index: &'a Node, safe: bool) -> Result<Value<'a>, EvalError> {
        let of = self.value(of)?;
        match (&of, self.value(index)?) {
            (Value::Null, _) if safe => Ok(Value::Null),
            (Value::Null, _) => Err(EvalError::OfNull("index")),
            (map, Value::Text(key)) if map.kind() == Kind::Map => Ok(map.entry(&key).unwrap_or(Value::Null)),
            (_, number) => of.at(&number),
        }
    }

    fn json_path(
        &mut self,
        document: &'a Document,
        path: &'a Path<JsonPath>,
    ) -> Result<Value<'a>, EvalError> {
        let computed;
        let path = match path {
            Path::Compiled(path) => path,
            Path::Computed(node) => {
                let text = self.path_text(node, "#jsonPath")?;
                computed = JsonPath::compile(&text).map_err(EvalError::JsonPath)?;
                &computed
            }
        };
        let document = match document {
            Document::Payload => {
                let message = self.context.message().ok_or(EvalError::NoMessage)?;
                let json = message.json().ok_or(EvalError::NotJson)?;
                if let Cow::Owned(_) = json {
                    // There was no room to keep it: it was parsed for this call.
                    self.budget.take_nodes(bytes_weight(message.payload().len()))?;
                }
                Value::Json(json)
            }
            Document::Computed(node) => self.value(node)?,
        };
        match document {
            Value::Json(Cow::Borrowed(json)) => self.borrowed(path, json),
            Value::Json(Cow::Owned(json)) => self.copied(path, &json),
            Value::Text(text) => {
                let json = serde_json::from_str(&text).map_err(|_| EvalError::NotJson)?;
                self.copied(path, &json)
            }
            other => Err(EvalError::Unfit { operation: "#jsonPath", found: other.noun() }),
        }
    }

    /// A path that the expression makes and that has to be compiled now.
    fn path_text(&mut self, node: &'a Node, operation: &'static str) -> Result<Cow<'a, str>, EvalError> {
        self.budget.take_compiling()?;
        match self.value(node)? {
            Value::Text(text) => Ok(text),
            other => Err(EvalError::Unfit { operation, found: other.noun() }),
        }
    }

    fn xpath(
        &mut self,
        document: &'a Node,
        path: &'a Path<XPath>,
        result: XPathResult,
    ) -> Result<Value<'a>, EvalError> {
        let computed;
        let path = match path {
            Path::Compiled(path) => path,
            Path::Computed(node) => {
                let text = self.path_text(node, "#xpath")?;
                computed = XPath::compile(&text).map_err(EvalError::XPath)?;
                &computed
            }
        };
        match self.value(document)? {
            Value::Text(text) => path.find(&document::parse_xml(&text)?, result, &mut self.budget),
            other => Err(EvalError::Unfit { operation: "#xpath", found: other.noun() }),
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
            other => self.budget.show(&other)?,
        };
        let mut made = self.budget.text();
        for character in plain.chars() {
            match escape.replacement(character) {
                Some(replacement) => made.push(&replacement)?,
                None => made.push(character.encode_utf8(&mut [0; 4]))?,
            }
        }
        Ok(Value::made(made.finish()))
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

/// A map as a list of maps, each with a key and a value.
fn entries<'a>(map: &Value<'a>) -> Vec<Value<'a>> {
    let entry = |(name, value)| {
        let parts = [("key", Value::Text(name)), ("value", value)];
        Value::Map(Map::Made(parts.map(|(part, value)| (Cow::Borrowed(part), value)).into()))
    };
    map.entries().into_iter().map(entry).collect()
}

/// The entries of a map that [`entries`] took apart.
fn from_entries<'a>(entries: Vec<Value<'a>>) -> Entries<'a> {
    let mut made = Vec::new();
    for entry in entries {
        if let (Some(Value::Text(name)), Some(value)) = (entry.entry("key"), entry.entry("value")) {
            made.push((name, value));
        }
    }
    made
}

fn whole<'a>(calculation: Calculation, one: i64, two: i64) -> Option<Value<'a>> {
    let number = match calculation {
        Calculation::Add => one.checked_add(two),
        Calculation::Subtract => one.checked_sub(two),
        Calculation::Multiply => one.checked_mul(two),
        Calculation::Divide => one.checked_div(two),
        Calculation::Remainder => one.checked_rem(two),
        Calculation::Power => match u32::try_from(two) {
            Ok(exponent) => one.checked_pow(exponent),
            Err(_) => return Some(Value::Float((one as f64).powf(two as f64))),
        },
    };
    number.map(Value::Integer)
}

fn fraction(calculation: Calculation, one: f64, two: f64) -> f64 {
    match calculation {
        Calculation::Add => one + two,
        Calculation::Subtract => one - two,
        Calculation::Multiply => one * two,
        Calculation::Divide => one / two,
        Calculation::Remainder => one % two,
        Calculation::Power => one.powf(two),
    }
}
