//! Text to a compiled XPath, by recursive descent. What is not known is refused.

use super::{Axis, Expr, FUNCTIONS, Step, Test, XPath};
use crate::tree::Comparison;

/// The longest path, in bytes.
const MAX_PATH_BYTES: usize = 1 << 10;
/// How deep parentheses and brackets may nest.
const MAX_NESTING: usize = 16;

type Parsed<T> = Result<T, String>;

struct Parser<'t> {
    text: &'t str,
    rest: &'t str,
    nesting: usize,
}

impl XPath {
    /// Compiles a path; an error is a sentence.
    pub(crate) fn compile(text: &str) -> Parsed<Self> {
        if text.len() > MAX_PATH_BYTES {
            return Err(format!("An XPath has at most {MAX_PATH_BYTES} bytes."));
        }
        let mut parser = Parser { text, rest: text.trim_start(), nesting: 0 };
        let expr = parser.or()?;
        if parser.rest.is_empty() { Ok(Self(expr)) } else { Err(parser.refuse("the end")) }
    }
}

impl<'t> Parser<'t> {
    fn or(&mut self) -> Parsed<Expr> {
        if self.nesting == MAX_NESTING {
            return Err(format!("An XPath nests at most {MAX_NESTING} deep."));
        }
        self.nesting += 1;
        let mut left = self.and()?;
        while self.take_word("or") {
            left = Expr::Or(Box::new([left, self.and()?]));
        }
        self.nesting -= 1;
        Ok(left)
    }

    fn and(&mut self) -> Parsed<Expr> {
        let mut left = self.comparison()?;
        while self.take_word("and") {
            left = Expr::And(Box::new([left, self.comparison()?]));
        }
        Ok(left)
    }

    fn comparison(&mut self) -> Parsed<Expr> {
        const SIGNS: [(&str, Comparison); 6] = [
            ("<=", Comparison::LessOrEqual),
            (">=", Comparison::GreaterOrEqual),
            ("!=", Comparison::NotEqual),
            ("=", Comparison::Equal),
            ("<", Comparison::Less),
            (">", Comparison::Greater),
        ];
        let left = self.value()?;
        let Some((_, comparison)) = SIGNS.into_iter().find(|(sign, _)| self.take(sign)) else {
            return Ok(left);
        };
        Ok(Expr::Compare(comparison, Box::new([left, self.value()?])))
    }

    fn value(&mut self) -> Parsed<Expr> {
        if self.take("(") {
            let inner = self.or()?;
            self.expect(")")?;
            return Ok(inner);
        }
        let first = self.rest.chars().next();
        if let Some(quote @ ('\'' | '"')) = first {
            let inner = &self.rest[1..];
            let end = inner.find(quote).ok_or_else(|| self.refuse("a closing quote"))?;
            self.skip(end + 2);
            return Ok(Expr::Text(inner[..end].into()));
        }
        if first.is_some_and(|digit| digit.is_ascii_digit()) {
            let end = self.rest.find(|digit: char| !digit.is_ascii_digit() && digit != '.');
            let written = &self.rest[..end.unwrap_or(self.rest.len())];
            let number = written.parse().map_err(|_| self.refuse("a number"))?;
            self.skip(written.len());
            return Ok(Expr::Number(number));
        }
        let name = self.name();
        let called = !name.is_empty() && self.rest[name.len()..].trim_start().starts_with('(');
        if called && !matches!(name, "text" | "node") { self.call(name) } else { self.path() }
    }

    fn call(&mut self, name: &str) -> Parsed<Expr> {
        let Some((_, function, fewest, most)) = FUNCTIONS.into_iter().find(|(known, ..)| *known == name)
        else {
            let known: Vec<_> = FUNCTIONS.iter().map(|(known, ..)| *known).collect();
            let known = known.join(", ");
            return Err(format!("The XPath function '{name}' is not available. Known are: {known}."));
        };
        self.skip(name.len());
        self.expect("(")?;
        let mut arguments = Vec::new();
        while !self.take(")") {
            if !arguments.is_empty() {
                self.expect(",")?;
            }
            arguments.push(self.or()?);
        }
        if (fewest..=most).contains(&arguments.len()) {
            return Ok(Expr::Call(function, arguments));
        }
        Err(format!("The XPath function '{name}' does not take {} arguments.", arguments.len()))
    }

    fn path(&mut self) -> Parsed<Expr> {
        let mut steps = Vec::new();
        let absolute = self.rest.starts_with('/');
        let mut more = if absolute { self.slashes(&mut steps) } else { true };
        if absolute && steps.is_empty() && !self.begins_step() {
            more = false;
        }
        while more {
            steps.push(self.step()?);
            more = self.slashes(&mut steps);
        }
        Ok(Expr::Path { absolute, steps })
    }

    /// Takes one or two slashes; two stand for a step to all descendants.
    fn slashes(&mut self, steps: &mut Vec<Step>) -> bool {
        if self.take("//") {
            steps.push(Step { axis: Axis::DescendantOrSelf, test: Test::Node, predicates: Vec::new() });
            return true;
        }
        self.take("/")
    }

    fn begins_step(&self) -> bool {
        self.rest.starts_with(['.', '@', '*']) || !self.name().is_empty()
    }

    fn step(&mut self) -> Parsed<Step> {
        if self.take("..") {
            return Ok(Step { axis: Axis::Parent, test: Test::Node, predicates: Vec::new() });
        }
        if self.take(".") {
            return Ok(Step { axis: Axis::Itself, test: Test::Node, predicates: Vec::new() });
        }
        let axis = if self.take("@") { Axis::Attribute } else { Axis::Child };
        let test = self.test(axis)?;
        let mut predicates = Vec::new();
        while self.take("[") {
            predicates.push(self.or()?);
            self.expect("]")?;
        }
        Ok(Step { axis, test, predicates })
    }

    fn test(&mut self, axis: Axis) -> Parsed<Test> {
        if self.take("*") {
            return Ok(Test::Named);
        }
        let name = self.name();
        if name.is_empty() {
            return Err(self.refuse("the name of an element"));
        }
        self.skip(name.len());
        if self.rest.starts_with("::") {
            return Err(format!("Axes such as '{name}::' are not available in an XPath."));
        }
        if self.take(":") {
            return self.test(axis);
        }
        if axis == Axis::Child && self.take("(") {
            self.expect(")")?;
            return match name {
                "text" => Ok(Test::Text),
                "node" => Ok(Test::Node),
                _ => Err(self.refuse("text() or node()")),
            };
        }
        Ok(Test::Name(name.into()))
    }

    /// The name that stands here; empty where there is none.
    fn name(&self) -> &'t str {
        let inside = |character: char| character.is_alphanumeric() || "_-.".contains(character);
        let begins = |character: char| character.is_alphabetic() || character == '_';
        let end = self.rest.find(|character| !inside(character)).unwrap_or(self.rest.len());
        if self.rest.starts_with(begins) { &self.rest[..end] } else { "" }
    }

    fn skip(&mut self, bytes: usize) {
        self.rest = self.rest[bytes..].trim_start();
    }

    fn take(&mut self, sign: &str) -> bool {
        let found = self.rest.starts_with(sign);
        if found {
            self.skip(sign.len());
        }
        found
    }

    fn take_word(&mut self, word: &str) -> bool {
        let found = self.name() == word;
        if found {
            self.skip(word.len());
        }
        found
    }

    fn expect(&mut self, sign: &str) -> Parsed<()> {
        if self.take(sign) { Ok(()) } else { Err(self.refuse(&format!("'{sign}'"))) }
    }

    fn refuse(&self, wanted: &str) -> String {
        let at = self.text[..self.text.len() - self.rest.len()].chars().count() + 1;
        format!("'{}' is no XPath that is known here: expected {wanted} at character {at} of it.", self.text)
    }
}
